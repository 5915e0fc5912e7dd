from __future__ import annotations

import gc
import os
import shutil
import socket
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import ray
from forked import Forked
from ray.cluster_utils import Cluster

from siod.errors import UserError
from siod.tuning.running.cluster import answer, refuse_unreachable, refuse_unshared, session

ASK = """
import sys
from pathlib import Path
import ray
from siod.tuning.running.cluster import refuse_unshared, session
class Actor:
    def one(self):
        return 1
if "alone" in sys.argv:
    with session():
        pass
with session(sys.argv[1]):
    refuse_unshared([Path(sys.argv[2])])
    assert ray.get(ray.remote(Actor).remote().one.remote()) == 1
"""


@pytest.mark.parametrize("address", ["10.0.0.1", "no-port:", ":6379", "host:ray", "ray://host"])
def test_what_is_no_address_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(UserError, match=r"expected host:port, for example 10\.0\.0\.1:6379"):
        refuse_unreachable(address)


def test_an_address_nobody_listens_on_is_refused_with_the_remedy() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match=f"'127.0.0.1:{port}': nobody listens there .*ray start --head"):
        refuse_unreachable(f"127.0.0.1:{port}")


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_somebody_listens_on_passes(scheme: str) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        refuse_unreachable(f"{scheme}127.0.0.1:{server.getsockname()[1]}")


def test_words_are_left_to_ray() -> None:
    refuse_unreachable("auto")


def test_a_node_says_when_it_does_not_see_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("siod.tuning.running.cluster.VISIBLE_SECONDS", 0.0)
    assert answer(tmp_path / "token", "node") == " does not see what this machine writes there"


def test_a_node_leaves_its_answer_beside_the_file_it_found(tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    assert answer(tmp_path / "token", "node") == "token-node"
    assert (tmp_path / "token-node").exists()


@pytest.mark.ray
def test_a_session_on_one_machine_shares_everything_with_itself(ray_session: None, tmp_path: Path) -> None:
    del ray_session
    refuse_unshared([tmp_path / "runs"])
    assert not list(tmp_path.iterdir())


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="only root can give a node another view of the file system",
)
def test_a_folder_that_a_node_does_not_share_is_refused_and_a_shared_one_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    (tmp_path / "own").mkdir()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    ray = str(Path(sys.executable).with_name("ray"))
    start = f"mount -t tmpfs none {tmp_path}/own && exec {ray} start --address {cluster.address} --num-cpus 1 --block"
    # In a process namespace of its own, all of the node ends with its first process.
    apart = [shutil.which("unshare") or "", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"]
    elsewhere = subprocess.Popen(
        [*apart, "sh", "-c", start], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert elsewhere.stdout is not None
        assert any("Ray runtime started" in line for line in elsewhere.stdout)

        def ask(folder: str, *words: str) -> tuple[int | None, str]:
            asking = Forked(ASK, cluster.address, str(tmp_path / folder), *words, environment=environment)
            said = asking.rest()
            return asking.returncode, said

        # As a shell has it: a session of the process's own must not leave Ray asking a cluster without tokens for some.
        environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
        code, said = ask("both", "alone")
        assert code == 0, said
        assert "does not see what this machine writes there; name a folder all nodes share" in ask("own")[1]
        assert not list((tmp_path / "own").iterdir())
    finally:
        elsewhere.kill()
        elsewhere.communicate(timeout=30)
        cluster.shutdown()


@pytest.mark.ray
@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("RAY_TMPDIR", "scratch-of-the-job" * 6, "give its sockets a shorter folder, for example RAY_TMPDIR=/tmp"),
        ("HOME", "/proc/nowhere", "set HOME and RAY_TMPDIR to folders that can be written"),
    ],
)
def test_a_folder_that_ray_cannot_use_is_told_with_the_remedy(
    tmp_path: Path, name: str, value: str, sentence: str
) -> None:
    folder = tmp_path / value
    if not value.startswith("/proc"):
        folder.mkdir()
    code = "from siod.tuning.running.cluster import session\nwith session(): pass"
    started = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {name: str(folder)}, capture_output=True, text=True, check=False
    )
    assert started.returncode == 1
    told = started.stderr.splitlines()[-1]
    assert told.startswith("siod.errors.UserError: Ray cannot start on this machine (")
    assert told.endswith(sentence)


def test_a_machine_too_busy_for_ray_to_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(**settings: object) -> None:
        del settings
        raise Exception("The current node timed out during startup.")  # noqa: TRY002  (what Ray raises)

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", late)
    with (
        pytest.raises(UserError, match=r"Ray cannot start \(.*timed out during startup.*; run again when .* less busy"),
        session(),
    ):
        pass


def test_what_tune_leaves_in_cycles_is_freed_before_ray_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cycle:
        """An object that refers to itself."""

        def __init__(self) -> None:
            self.itself = self

    alive: list[bool] = []
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "nodes", list)
    gc.disable()
    try:
        with session():
            reference = weakref.ref(Cycle())
            monkeypatch.setattr(ray, "shutdown", lambda: alive.append(reference() is not None))
    finally:
        gc.enable()
    assert alive == [False]
