"""The check for a GPU, as far as it runs without one: its code, and what it says of checks that fail, hang or die."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
GPU = ROOT / "tests" / "gpu"
ELSEWHERE = ("ray", "mlflow", "optuna", "sklearn", "scipy", "pycocotools", "psutil", "loky", "pyarrow", "matplotlib")
FAULTY = """
import os, signal, subprocess, sys, time

def holds(setting, report):
    report.figures(found=1 / 3, nothing=float("inf"))

def fails(setting, report):
    report.figures(found=3.0)
    report.require(False, "three is more than two")
    for number in range(5):
        with report.part(f"part {number}"):
            raise KeyError(number)

def raises(setting, report):
    raise ValueError("no such thing\\nas that")

def hangs(setting, report):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    report.figures(other=other.pid)
    time.sleep(600)

def dies(setting, report):
    report.figures(ran=1.0)
    os.kill(os.getpid(), signal.SIGSEGV)

def leaves(setting, report):
    os._exit(0)

def goes_on(setting, report):
    report.figures(ran=1.0)
"""

Lines = dict[str, dict[str, Any]]


def check(*words: str, tree: Path = ROOT, **environment: str) -> tuple[int, list[dict[str, Any]]]:
    """Run the script; one thread, because it shares the cores with other tests."""
    done = subprocess.run(
        [sys.executable, str(tree / "tests" / "gpu" / "check.py"), *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line_and_is_content() -> None:
    code, (line,) = check()
    assert code == 0
    assert line["gpu"] is None
    assert line["says"] == f"torch {torch.__version__} sees no GPU here: nothing to check"


def test_the_caps_of_all_checks_fit_into_eight_minutes() -> None:
    code, lines = check("--list")
    assert code == 0
    assert len(lines) == 11
    assert sum(line["cap_s"] for line in lines) <= 480


def test_missing_modules_are_named_with_the_command_that_gets_them() -> None:
    """Without site-packages all eight are missing."""
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(GPU / "check.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    (line,) = map(json.loads, done.stdout.splitlines())
    modules = "torch, torchvision, numpy, pydantic, jaxtyping, msgspec, filelock, PIL"
    assert line["why"].startswith(f"missing: {modules}; get them with: {sys.executable} -m pip install 'torch>=2.9' ")
    assert line["why"].endswith("'filelock>=3.16' 'pillow>=11'")


@pytest.fixture(scope="module")
def bare_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library and the check alone, as an archive may have them, and nowhere to import other packages from."""
    tree = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "siod", tree / "siod", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(GPU, tree / "tests" / "gpu", ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "blocked").mkdir()
    (tree / "blocked" / "sitecustomize.py").write_text(f"import sys\nsys.modules |= dict.fromkeys({ELSEWHERE})\n")
    return tree


@pytest.fixture(scope="module")
def on_a_cpu(bare_tree: Path) -> tuple[int, Lines]:
    words = ("--device", "cpu", "--small", "--patience", "8", "--commit", "0123abc")
    code, lines = check(*words, tree=bare_tree, PYTHONPATH=str(bare_tree / "blocked"))
    return code, {line["check"]: line for line in lines}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_check_runs_on_a_cpu_from_an_unpacked_tree(on_a_cpu: tuple[int, Lines]) -> None:
    code, lines = on_a_cpu
    assert {name: line.get("why") for name, line in lines.items() if not line["ok"]} == {}
    assert code == 0
    order = "machine parity_fp32 one_step resume parity_half nccl cost syncs methods loader evaluation all"
    assert list(lines) == order.split()
    assert lines["all"]["failed"] == []
    assert lines["machine"]["figures"]["siod"] == "0123abc"
    assert lines["machine"]["figures"]["torch"] == torch.__version__


@pytest.mark.slow
def test_on_a_cpu_the_checks_come_to_what_they_must(on_a_cpu: tuple[int, Lines]) -> None:
    """A CPU is equal to itself; five detectors plain and mined; fourteen variants in three precisions, three steps."""
    figures = {name: line["figures"] for name, line in on_a_cpu[1].items() if name != "all"}
    assert len(figures["parity_fp32"]) == 10
    assert len(figures["parity_half"]) == 20
    for apart in (figures["parity_fp32"] | figures["parity_half"]).values():
        assert set(apart.values()) == {0.0}
    assert figures["one_step"]["steps"] == 14 * 3 * 3
    assert figures["resume"] == {"control": 0.0, "resumed": 0.0}
    assert figures["nccl"] == {"backend": "gloo", "gradient": 0.0}
    assert len(figures["cost"]) == 6
    assert len(figures["methods"]) == 7
    assert figures["methods"]["co_student"]["pseudo_per_image"] > 1
    assert figures["evaluation"]["centernet_r18_bf16"]["detections"] == 100
    assert figures["loader"]["workers_1"]["fed"] > 0


# What it says of checks that fail.


@pytest.fixture(scope="module")
def modules() -> Iterator[Any]:
    """The script's modules, which are no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(GPU))
        import check  # noqa: PLC0415  (beside the script)
        import kernel_trace  # noqa: PLC0415
        import parity  # noqa: PLC0415
        import running  # noqa: PLC0415

        yield {"check": check, "kernel_trace": kernel_trace, "parity": parity, "running": running}


@pytest.fixture(scope="module")
def outcome(modules: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Exit code and lines of some faulty checks, each with its cap in seconds."""
    file = tmp_path_factory.mktemp("faulty") / "faulty.py"
    file.write_text(FAULTY)

    def run(caps_s: dict[str, float], deadline: float = 600.0) -> tuple[int, Lines]:
        checks = [modules["running"].Check(name, file, name, cap_s, "") for name, cap_s in caps_s.items()]
        words = ["--device", "cpu", "--small", "--deadline", str(deadline)]
        with redirect_stdout(io.StringIO()) as out:
            code = modules["check"].main(words, checks)
        lines = [json.loads(line) for line in out.getvalue().splitlines()]
        return code, {line["check"]: line for line in lines}

    return run


@pytest.fixture(scope="module")
def faults(outcome: Any) -> Lines:
    """One run of checks that hold and that do not: looking at the machine first takes longer than all of them."""
    names = ("holds", "fails", "raises", "hangs", "dies", "leaves", "goes_on")
    code, lines = outcome({name: 6.0 if name == "hangs" else 60.0 for name in names})
    assert code == 1
    assert list(lines) == ["machine", *names, "all"]
    return lines


def test_the_checks_that_do_not_hold_are_named_in_the_end(faults: Lines) -> None:
    assert faults["all"]["failed"] == ["fails", "raises", "hangs", "dies", "leaves"]
    assert faults["all"]["checks"] == 7


def test_a_check_that_fails_says_why_with_its_figures(faults: Lines) -> None:
    assert faults["holds"]["ok"]
    assert faults["holds"]["figures"] == {"found": 0.3333, "nothing": "inf"}
    assert faults["fails"]["figures"] == {"found": 3.0}
    assert faults["fails"]["why"] == (
        "three is more than two; part 0: KeyError: 0 (faulty.py:12); part 1: KeyError: 1 (faulty.py:12); "
        "part 2: KeyError: 2 (faulty.py:12); and 2 more"
    )
    assert faults["raises"]["why"] == "ValueError: no such thing (faulty.py:15)"


def test_a_check_that_hangs_is_ended_with_its_processes_and_the_next_one_runs(faults: Lines) -> None:
    assert faults["hangs"]["why"] == "was not done after 6 s and was ended"
    state = Path(f"/proc/{faults['hangs']['figures']['other']}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"
    assert faults["dies"]["figures"] == {"ran": 1.0}


def test_a_check_that_dies_is_told_and_the_next_one_runs(faults: Lines) -> None:
    assert faults["dies"]["why"] == "the process died of SIGSEGV"
    assert faults["leaves"]["why"] == "ended before its end"
    assert faults["goes_on"]["ok"]


def test_when_the_time_is_up_the_rest_is_told_as_not_run(outcome: Any) -> None:
    code, lines = outcome({"holds": 60.0}, deadline=5.0)
    assert code == 1
    assert lines["holds"]["why"] == "not run: no time was left for it"


# What it reads and compares.


def test_the_trace_of_two_steps_tells_waits_copies_and_how_long_the_device_was_busy(modules: Any) -> None:
    """Kernels at 0 to 4 and, on another stream, 2 to 6 ms; a copy at 10 to 12 ms: 8 ms of work in two steps."""
    events = [
        {"cat": "kernel", "name": "convolution", "ts": 0.0, "dur": 4000.0},
        {"cat": "kernel", "name": "addition", "ts": 2000.0, "dur": 4000.0},
        {"cat": "gpu_memcpy", "name": "Memcpy DtoH", "ts": 10_000.0, "dur": 2000.0},
        {"cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": 0.0, "dur": 5.0},
        {"cat": "cuda_runtime", "name": "cudaStreamSynchronize", "ts": 5.0, "dur": 9000.0},
        {"cat": "cuda_runtime", "name": "cudaDeviceSynchronize", "ts": 9.0, "dur": 9000.0},
        {"cat": "cpu_op", "name": "aten::add", "ts": 0.0, "dur": 9000.0},
        {"name": "process_name", "ph": "M"},
    ]
    work = modules["kernel_trace"].Work.of(events, 2)
    assert work == modules["kernel_trace"].Work(busy_ms=4.0, synchronisations=0.5, copies=0.5, kernels=1.0, calls=1.5)


def test_two_steps_are_as_far_apart_as_their_farthest_numbers(modules: Any) -> None:
    """Losses 1 and 1.01; gradients (3, 4) and (3, 4.1): 0.1 of 4, 0.1 of a norm of 5; one mask entry of four."""
    parity = modules["parity"]
    mask = torch.tensor([True, False, False, False])
    ours = parity.Step({"class": 1.0}, {"weight": torch.tensor([3.0, 4.0])}, {"splg 0": mask})
    theirs = parity.Step({"class": 1.01}, {"weight": torch.tensor([3.0, 4.1])}, {"splg 0": mask.roll(1)})
    assert parity._apart(ours, theirs) == pytest.approx((0.01, 0.025, 0.02, 0.5), rel=1e-4)
    broken = theirs._replace(gradients={"weight": torch.tensor([3.0, float("nan")])})
    assert parity._apart(ours, broken).gradient == float("inf")
    assert parity._apart(ours, ours._replace(masks={})).loss == float("inf")


def test_a_second_faster_rcnn_sees_what_the_first_one_sampled(modules: Any) -> None:
    from scenes import TINY, fresh, scene_batch  # noqa: PLC0415  (beside the script)

    batch, detector = scene_batch(2, 96, 96, classes=5), fresh(TINY["faster_rcnn"].plain, classes=5)

    def sampled(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(seed)
        outputs = detector(batch.images, batch.targets)
        return torch.cat(outputs.regions), detector.encode(batch.targets, outputs).anchors.background

    with modules["parity"].sampled_on_the_cpu() as replay:
        regions, anchors = sampled(seed=1)
        replay("cpu")
        again, anchors_again = sampled(seed=2)
    others, other_anchors = sampled(seed=2)
    assert torch.equal(regions, again)
    assert torch.equal(anchors, anchors_again)
    assert not torch.equal(regions, others)
    assert not torch.equal(anchors, other_anchors)
