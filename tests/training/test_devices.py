"""The device of a worker is the one that was reserved for it, not one that happens to be visible."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from siod.errors import RunError
from siod.training import machine
from siod.training.devices import reserved_device
from siod.training.machine import this_machine, usable_cores
from siod.training.placement import Placement

CORES = len(os.sched_getaffinity(0))
HAS_GPU_DRIVER = machine.has_gpu_driver


def pretend_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr("siod.training.machine.has_gpu_driver", lambda: True)


def test_a_run_without_a_gpu_stays_on_the_cpu_where_gpus_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch)
    assert reserved_device(Placement(1, 1, 0)) == torch.device("cpu")


@pytest.mark.parametrize("gpus", [0.25, 1, 2])
def test_a_run_with_a_gpu_takes_the_first_of_those_made_visible(monkeypatch: pytest.MonkeyPatch, gpus: float) -> None:
    pretend_gpus(monkeypatch)
    assert reserved_device(Placement(1, 1, gpus)) == torch.device("cuda", 0)


def test_a_reserved_gpu_that_torch_cannot_use_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    with pytest.raises(RunError) as caught:
        reserved_device(Placement(1, 9, 1, 8))
    assert str(caught.value) == (
        f"a GPU was asked for (compute.gpus_per_worker 1), but torch {torch.__version__} sees none it can use "
        "(CUDA_VISIBLE_DEVICES: 2); mend the driver, install torch for CUDA, or use --device cpu"
    )


def test_this_machine_offers_what_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch)
    here = this_machine()
    assert here.gpus == 4
    assert 1 <= here.cpus <= CORES


def test_without_a_driver_there_is_no_gpu_and_torch_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend_gpus(monkeypatch)
    monkeypatch.setattr(machine, "has_gpu_driver", HAS_GPU_DRIVER)
    monkeypatch.setattr(machine, "NVIDIA", str(tmp_path / "no-library.so"))
    monkeypatch.setattr(machine, "AMD", tmp_path / "no-device")
    assert this_machine().gpus == 0
    (tmp_path / "no-device").touch()
    assert this_machine().gpus == 4


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, CORES),
        ({"cpu.max": "max 100000\n"}, CORES),
        ({"cpu.max": "150000 100000\n"}, 1),  # a core and a half
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu.max": "99900000 100000\n"}, CORES),  # no more than it is bound to
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, CORES),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    ],
)
def test_a_container_s_quota_bounds_the_cores(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(tmp_path) == cores
