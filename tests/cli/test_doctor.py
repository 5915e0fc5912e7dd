from __future__ import annotations

import socket
from importlib import metadata
from typing import TYPE_CHECKING, NamedTuple

from siod.cli import doctor
from siod.cli.doctor import Finding, _no_gpu
from siod.training.machine import usable_cores

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.cli.conftest import Siod


def test_a_sound_installation_is_shown_with_its_versions(siod: Siod, tmp_path: Path) -> None:
    done = siod("doctor")
    assert done.code == 0
    for name in doctor.REQUIRED:
        assert f"ok       {name} {metadata.version(name)}\n" in done.out
    assert f"cache: {tmp_path / 'cache'}, " in done.out
    assert "made by the first study" in done.out
    assert not (tmp_path / "runs").exists()


def test_what_a_trial_would_get_here_is_shown(siod: Siod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("siod.training.machine.has_gpu_driver", lambda: True)
    cores = usable_cores()
    loaders = min(12, cores - 1)
    load = {0: "", 1: " (1 loader process)"}.get(loaders, f" ({loaders} loader processes)")
    idle = "nothing idle" if cores <= 13 else f"idle: {cores - 13} CPU"
    line = f"ok       a study here: 1 trial at once, each 1 GPU, {1 + loaders} CPU{load}; {idle}"
    assert line in siod("doctor").out.splitlines()


def test_what_is_missing_stands_with_its_remedy(siod: Siod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "REQUIRED", ("torch", "no-such-package"))
    done = siod("doctor")
    assert done.code == 1
    assert "missing  no-such-package; install it: pip install no-such-package\n" in done.out


def test_a_tracking_server_that_does_not_answer_is_missing(siod: Siod, free_port: int) -> None:
    done = siod("doctor", "--tracking", f"http://127.0.0.1:{free_port}")
    assert done.code == 1
    assert f"missing  tracking: tracking server http://127.0.0.1:{free_port}: does not answer" in done.out


def test_a_disk_that_is_nearly_full_is_worth_a_note(siod: Siod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "FREE_GB", 10**9)
    done = siod("doctor")
    assert done.code == 0
    assert "GB free; free some or name another with --cache\n" in done.out


def test_a_gpu_that_torch_does_not_see_is_told_from_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _no_gpu("2.14.1", "13.0").what == "no GPU"
    (tmp_path / "nvidia-smi").touch(mode=0o755)
    assert _no_gpu("2.14.1", None).what == "a GPU that torch 2.14.1 was built without"
    found = _no_gpu("2.14.1", "13.0")
    assert found.what == "a GPU that torch 2.14.1 cannot use"
    assert "CUDA 13.0" in found.remedy


def test_a_finding_is_one_line() -> None:
    assert str(Finding("note", "no GPU", "use the CPU")) == "note     no GPU; use the CPU"


def test_a_taken_port_is_refused(siod: Siod) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        sentence = siod("ui", "--port", port).refusal
    assert sentence == f"port {port}: Address already in use; name another with --port"


def test_the_pages_of_a_server_are_its_own(siod: Siod) -> None:
    done = siod("ui", "--tracking", "http://host:5000")
    assert (done.code, done.out) == (0, "the tracking server shows its own pages: http://host:5000\n")


def test_few_open_files_are_worth_a_note(siod: Siod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 1024))
    done = siod("doctor")
    assert done.code == 0
    assert "note     1024 open files at most; Ray and loader processes may need more: ulimit -n 65536\n" in done.out
    monkeypatch.setattr("resource.getrlimit", lambda _: (4096, 4096))
    assert "ok       4096 open files at most\n" in siod("doctor").out


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def free_bytes(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """As much room everywhere, on the disk and in shared memory."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(count, 0, count))


def test_a_container_with_little_shared_memory_is_told_how_to_get_more(
    siod: Siod, monkeypatch: pytest.MonkeyPatch
) -> None:
    free_bytes(monkeypatch, 64 * 10**6)
    done = siod("doctor")
    assert done.code == 0
    assert (
        "note     shared memory: 64 MB free; give the container more (docker run --shm-size=16g), or set " in done.out
    )


STUDY = """
from siod.training.presets import digits_centernet
from siod.tuning.space import Float, Search
from siod.tuning.study import Arm, Study

STUDY = Study(
    name="mine", question="?", arms=(Arm(name="base"), Arm(name="slow", changes={"recipe.learning_rate": 1e-4})),
    base=digits_centernet().with_changes({"compute.loader_workers": %d}), baseline="base", seeds=(0, 1), %s
)
"""
SEARCH = 'search=Search(trials=5), space={"recipe.weight_decay": Float(low=1e-5, high=1e-3, log=True)},'


def test_a_study_that_has_no_room_is_told_what_it_needs(
    siod: Siod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(STUDY % (1, ""))
    enough = siod("doctor", "mine.py")
    assert enough.code == 0
    assert "ok       room for mine: its 4 trials leave up to " in enough.out
    free_bytes(monkeypatch, 10**5)
    done = siod("doctor", "mine.py")
    assert done.code == 1
    assert "missing  room for mine: its 4 trials leave up to " in done.out
    assert (
        "0 MB free; free some (siod runs prune), name another with --runs, or set compute.keep_checkpoints" in done.out
    )
    assert "missing  shared memory: 0 MB free, the study's batches take up to " in done.out


def test_the_trials_of_a_search_are_counted(siod: Siod, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(STUDY % (0, SEARCH))
    assert "room for mine: its 14 trials leave up to " in siod("doctor", "mine.py").out  # 2 x 2, and 5 for each arm
