"""A run's peak of memory is its own, also in a process that trained another run before."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest
import torch

from siod.data.source import PreparedData
from siod.training import cost, loop
from siod.training.context import InProcess
from siod.training.cost import PeakMemory, epoch_cost
from siod.training.experiment import Experiment
from siod.training.results import EPOCH_SECONDS, PEAK_MEMORY_MIB

CPU = torch.device("cpu")
MIB = 2**20


def take(mib: int) -> None:
    """Have so much memory resident, and let go of it."""
    ballast = bytearray(mib * MIB)
    ballast[::4096] = b"\1" * len(ballast[::4096])


def test_what_is_taken_and_let_go_of_counts_from_when_it_is_measured(tmp_path: Path) -> None:
    del tmp_path
    take(700)
    memory = PeakMemory(CPU)
    before = memory.mib()
    assert before is not None
    take(300)
    after = memory.mib()
    assert after is not None
    assert 290 < after - before < 350
    again = PeakMemory(CPU).mib()
    assert again is not None
    assert abs(again - before) < 50


def _two_runs(rank: int, small: Experiment, data: PreparedData, folder: Path) -> None:
    del rank
    torch.set_num_threads(1)
    peaks = []
    for name in ("one", "other"):
        (told,) = loop.run(small, data, InProcess(folder / name, device=CPU)).history
        peaks.append(told[PEAK_MEMORY_MIB])
        take(2048)
    (folder / "peaks").write_text(" ".join(map(str, peaks)))


@pytest.mark.slow
def test_a_run_is_not_charged_with_the_peak_of_what_its_process_did_before(
    small: Experiment, small_data: PreparedData, tmp_path: Path
) -> None:
    once = small.with_changes({"recipe.epochs": 1, "dminer": None})
    torch.multiprocessing.spawn(_two_runs, args=(once, small_data, tmp_path), nprocs=1)
    one, other = map(float, (tmp_path / "peaks").read_text().split())
    assert 100 < one < 2000
    assert 100 < other < 2000


def _where_nothing_is_forgotten(rank: int, folder: Path) -> None:
    del rank
    cost.PROCESS = folder  # no clear_refs there, and none can be made
    # A process begins with the greatest peak of the one that started it.
    inherited = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)
    first = PeakMemory(CPU)
    take(inherited + 300)
    known = first.mib()
    assert known is not None
    assert known > inherited + 300
    second = PeakMemory(CPU)
    take(100)
    assert second.mib() is None
    assert epoch_cost(time.perf_counter(), second).keys() == {EPOCH_SECONDS}
    take(inherited + 900)
    greater = second.mib()
    assert greater is not None
    assert greater > inherited + 900


def test_where_peaks_cannot_be_forgotten_only_a_greater_one_is_told(tmp_path: Path) -> None:
    """In a process of its own, whose greatest peak is known."""
    torch.multiprocessing.spawn(_where_nothing_is_forgotten, args=(tmp_path / "gone",), nprocs=1)
