from __future__ import annotations

import socket
from importlib import metadata
from typing import TYPE_CHECKING

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
