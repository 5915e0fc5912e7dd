"""A process whose GPU is lost to it ends itself; its trial goes on in another, and is given up if that is no help."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from siod.errors import RunError
from siod.json_file import read_json, write_json
from siod.tuning.running.watch import MOST_FAILURES_ALIKE, Watch
from siod.tuning.showing.board import Board
from siod.tuning.trials.device_fault import FAULT_RECORD, clear_fault_record, is_device_fault, read_fault_record

ILLEGAL = "CUDA error: an illegal memory access was encountered"


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (torch.AcceleratorError(ILLEGAL), True),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), False),
        (torch.AcceleratorError("CUDA error: out of memory"), False),
        (RuntimeError("size mismatch"), False),
        (RunError(f"the Ray Train workers failed: {ILLEGAL}"), False),  # other processes' GPUs, and they are gone
        (ValueError(ILLEGAL), False),
    ],
)
def test_only_what_outlives_the_error_ends_the_process(error: Exception, lost: bool) -> None:  # noqa: FBT001
    assert is_device_fault(error) is lost


DIE = """
import sys, torch
from pathlib import Path
from siod.tuning.trials.device_fault import end_process
try:
    raise torch.AcceleratorError(sys.argv[2])
except torch.AcceleratorError as error:
    try:
        end_process(error, Path(sys.argv[1]))
    finally:
        print("and went on")
"""


def test_a_process_notes_why_it_ends(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DIE, str(tmp_path), ILLEGAL], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    found = read_fault_record(tmp_path)
    assert found is not None
    assert found.sentence == f"AcceleratorError: {ILLEGAL}"
    assert found.traceback.startswith("Traceback")
    clear_fault_record(tmp_path)
    assert read_fault_record(tmp_path) is None
    clear_fault_record(tmp_path)


class Deaf:
    """A recorder that records nothing."""

    def begin(self, job: Any) -> None: ...
    def fail(self, job: Any, sentence: str, trace: str) -> None: ...


@pytest.fixture
def watched(tmp_path: Path) -> tuple[Watch, list[Any]]:
    """A study of six trials, each in a folder of its own."""
    jobs = [SimpleNamespace(name=f"arm/{seed}", run_dir=tmp_path / str(seed), number=None) for seed in range(6)]
    watch = Watch(Board.of("s", {job.name: 2 for job in jobs}), Deaf())  # type: ignore[arg-type]
    for job in jobs:
        watch.add(job)  # type: ignore[arg-type]
    return watch, jobs


def die(watch: Watch, index: int) -> None:
    trial: Any = SimpleNamespace(config={"index": index}, error_file=None)
    watch.on_trial_error(0, [], trial)


def test_trials_whose_gpus_fail_alike_end_the_study_with_the_reason(watched: tuple[Watch, list[Any]]) -> None:
    watch, jobs = watched
    for index, job in enumerate(jobs[:MOST_FAILURES_ALIKE]):
        assert watch.board.abort_reason == ""
        write_json(job.run_dir / FAULT_RECORD, {"sentence": f"CUDA error: at 0x{index}", "traceback": "Traceback"})
        die(watch, index)
    assert watch.board.abort_reason == "5 trials in a row failed alike: its GPU failed: CUDA error: at 0x4"
    assert watch.board.rows["arm/0"].error == "its GPU failed: CUDA error: at 0x0"


def test_a_death_without_a_fault_record_is_reported_as_before(watched: tuple[Watch, list[Any]]) -> None:
    watch, _ = watched
    die(watch, 0)
    assert watch.board.rows["arm/0"].error == "its process died (out of memory, killed, or a lost node)"


FAULTY = '''
import os
from pathlib import Path
from typing import Literal

import torch

from siod.methods.method import Method, MethodSpec
from siod.methods.zoo import add_method


class Faulty(MethodSpec):
    """Lose the GPU in the second epoch, the first time or always."""

    kind: Literal["faulty"] = "faulty"
    notes: Path
    always: bool = False


class FaultyMethod(Method):
    def __init__(self, spec, detector):
        super().__init__(detector)
        self.spec = spec

    def after_update(self, moment):
        if moment.step == 0:
            with self.spec.notes.open("a") as notes:
                notes.write(f"{moment.epoch} {os.getpid()}\\n")
        lost_before = len(self.spec.notes.read_text().splitlines()) > 2
        if moment.epoch == 2 and (self.spec.always or not lost_before):
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")


add_method(Faulty, FaultyMethod)
'''

STUDY = """
from pathlib import Path

from faulty import Faulty
from siod.data.digits import Digits
from siod.training.experiment import Scratch
from siod.training.presets import digits_centernet
from siod.tuning.study import Arm, Study

TINY = {"data": Digits(train_images=8, val_images=3), "weights": Scratch(), "recipe.epochs": 2, "recipe.batch_size": 4}
STUDY = Study(
    name="faulty", question="Does it go on?", base=digits_centernet().with_changes(TINY), baseline="once",
    arms=(
        Arm(name="once", changes={"method": Faulty(notes=Path("once").resolve())}),
        Arm(name="always", changes={"method": Faulty(notes=Path("always").resolve(), always=True)}),
    ),
)
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_trial_whose_gpu_fails_goes_on_in_another_process_from_its_last_epoch(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    (tmp_path / "study.py").write_text(STUDY)
    command = [sys.executable, "-c", "from siod.cli.main import main; main()", "study", "run", "study.py"]
    command += ["--runs", "runs", "--cache", "cache", "--max-concurrent", "1", "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 1, done.stderr
    assert "1 trained, 0 reused, 1 failed" in done.stdout
    assert f"failed: always/0: its GPU failed: AcceleratorError: {ILLEGAL}" in done.stderr

    # The first epoch, the second that failed, and the second again elsewhere.
    epochs, processes = zip(*(line.split() for line in (tmp_path / "once").read_text().splitlines()), strict=True)
    assert epochs == ("1", "2", "2")
    assert processes[0] == processes[1] != processes[2]
    (result,) = (tmp_path / "runs" / "trials").glob("*/result.json")
    assert read_json(result)["epochs"] == 2
    assert re.search(r"resuming after epoch 1 of 2", (result.parent / "train.log").read_text())

    # Tried once more, as --max-failures says, then given up; never in a process that had failed.
    epochs, processes = zip(*(line.split() for line in (tmp_path / "always").read_text().splitlines()), strict=True)
    assert epochs == ("1", "2", "2")
    assert processes[1] != processes[2]
