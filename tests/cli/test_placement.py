"""The options that say where and in what arithmetic something is trained, and what is refused of them."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from siod.cli.options import command_of, consent, requested
from siod.tracking.mlflow import Store
from siod.training.experiment import Compute
from siod.tuning.study import load_study

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Siod

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="what is refused for want of a GPU")
STUDY = """
from siod.data.digits import Digits
from siod.training.experiment import Scratch
from siod.training.presets import digits_centernet
from siod.tuning.study import Arm, Study

STUDY = Study(
    name="small", question="Where does it run?", baseline="base",
    base=digits_centernet().with_changes(
        {"data": Digits(train_images=8, val_images=4), "weights": Scratch(), "recipe.batch_size": 2}
    ),
    arms=(Arm(name="base"), Arm(name="slow", changes={"recipe.learning_rate": 1e-4})),
)
"""


@pytest.fixture
def study(tmp_path: Path) -> str:
    (tmp_path / "small.py").write_text(STUDY)
    return "small.py"


def test_each_option_stands_for_a_setting() -> None:
    assert requested(
        ["recipe.epochs=3"], workers=2, gpus_per_worker=1.0, loader_workers=4, precision="bf16", device="cuda"
    ) == {
        "recipe.epochs": 3,
        "compute.workers": 2,
        "compute.gpus_per_worker": 1.0,
        "compute.loader_workers": 4,
        "recipe.precision": "bf16",
    }
    assert requested([]) == {}
    assert requested([], device="cpu") == {"compute.gpus_per_worker": 0.0}
    assert requested([], device="cuda") == {"compute.gpus_per_worker": 1.0}
    assert requested([], device="cuda", gpus_per_worker=0.25) == {"compute.gpus_per_worker": 0.25}


def test_the_command_that_is_recorded_says_the_same_again() -> None:
    settings = requested(["dminer=null", "recipe.epochs=3"], precision="bf16", device="cpu")
    command = command_of("siod study run demo", settings)
    assert command == (
        "siod study run demo --set dminer=null --set recipe.epochs=3 --set compute.gpus_per_worker=0.0 "
        "--set recipe.precision=bf16"
    )
    words = [word for word in command.split() if "=" in word]
    assert requested(words) == settings
    quoted = command_of("siod study run demo", {"data": {"kind": "digits"}})
    assert quoted == """siod study run demo --set 'data={"kind": "digits"}'"""


@pytest.mark.parametrize("command", [("train", "--study", "demo"), ("study", "run", "demo"), ("study", "plan", "demo")])
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--device", "cpu", "--gpus-per-worker", 1], "--device cpu and --gpus-per-worker 1 exclude each other"),
        (["--device", "cuda", "--gpus-per-worker", 0], "--device cuda and --gpus-per-worker 0 exclude each other"),
        (["--workers", 2, "--gpus-per-worker", 0.5], "gpus_per_worker 0.5 with 2 workers would put two of them on one"),
        (["--gpus-per-worker", 1.5], "gpus_per_worker 1.5 is neither a share of one GPU nor whole GPUs"),
        (["--precision", "fp8"], "recipe.precision"),
        (
            ["--set", "compute.workers=2", "--workers", 2],
            "compute.workers is given by --set and by an option of its own",
        ),
        (
            ["--set", "compute.gpu_per_worker=1"],
            "unknown setting 'compute.gpu_per_worker'; did you mean 'gpus_per_worker'?",
        ),
        (
            ["--set", 'compute={"workers": 2}', "--gpus-per-worker", 0],
            "'compute' is set as a whole, and 'compute.gpus_per_worker', a part of it, beside it; leave one out",
        ),
        (["--autoscale"], "--autoscale belongs to a cluster; name it with --address"),
    ],
)
def test_a_mistake_is_answered_before_anything_is_made(
    siod: Siod, tmp_path: Path, command: tuple[str, ...], words: list[object], sentence: str
) -> None:
    assert sentence in siod(*command, *words).refusal
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["run", "plan"])
def test_what_the_arms_of_a_study_are_about_cannot_be_set_for_all_of_them(siod: Siod, study: str, command: str) -> None:
    sentence = siod("study", command, study, "--set", "recipe.learning_rate=1e-3").refusal
    assert sentence == "'recipe.learning_rate' cannot be set for all arms: arm 'slow' sets 'recipe.learning_rate'"


@NO_GPU
@pytest.mark.parametrize("command", [("train", "--study", "small.py"), ("study", "run", "small.py")])
def test_a_gpu_that_is_insisted_on_and_not_there_is_refused(siod: Siod, study: str, command: tuple[str, ...]) -> None:
    del study
    sentence = siod(*command, "--device", "cuda", "--loader-workers", 0).refusal
    assert sentence.startswith("base/0 asks for a GPU, and there is none here (1 node: ")
    assert sentence.endswith("leave out --device cuda and --gpus-per-worker, or set compute.gpus_per_worker to 0")


@NO_GPU
def test_a_plan_says_what_each_kind_of_trial_gets_and_what_stays_idle(siod: Siod, study: str) -> None:
    one = siod(
        "study", "plan", study, "--max-concurrent", 1, "--loader-workers", 1, "--set", "compute.cpus_per_worker=1"
    )
    assert one.code == 0
    cores = int(one.out.partition("1 node: ")[2].split()[0])
    idle = f"idle: {cores - 1} CPU" if cores > 1 else "nothing idle"
    assert f"1 trial at once, each 1 CPU (1 loader process); {idle}" in one.out.splitlines()


@NO_GPU
def test_a_plan_takes_the_options_of_a_run(siod: Siod, study: str) -> None:
    words = ("--set", "recipe.epochs=9", "--set", "compute.cpus_per_worker=0.25", "--workers", 2, "--precision", "bf16")
    done = siod("study", "plan", study, *words, "--max-concurrent", 1, "--loader-workers", 0)
    assert [line.split()[2] for line in done.out.splitlines()[1:3]] == ["9", "9"]
    assert "1 trial at once, each 2 workers of 0.25 CPU; idle: " in done.out


@pytest.fixture
def large(siod: Siod) -> tuple[str, ...]:
    """What makes the demo a training of 1.7e10 pixels: 8 images, 500 epochs, 2048 x 2048 pixels."""
    assert siod("data", "digits", "digits", "--images", 8, "--val-images", 3).code == 0
    data = json.dumps({"kind": "coco_folder", "root": "digits"})
    sizes = ("augmentation.input_size=[2048, 2048]", "evaluation.input_size=[2048, 2048]")
    changes = (f"data={data}", 'weights={"kind": "none"}', *sizes, "recipe.epochs=500")
    return tuple(word for change in changes for word in ("--set", change))


@NO_GPU
@pytest.mark.parametrize("command", [("train", "--study", "small.py"), ("study", "run", "small.py")])
def test_a_training_of_coco_s_size_on_cpu_cores_is_asked_back_about(
    siod: Siod, study: str, large: tuple[str, ...], tmp_path: Path, command: tuple[str, ...]
) -> None:
    del study
    sentence = siod(*command, *large).refusal
    assert "of COCO's size (1.7e+10 pixels of input; digits have 1e8) would train on CPU cores" in sentence
    assert sentence.endswith("run it where a GPU is, or say yes to the CPU with --device cpu")
    assert not (tmp_path / "runs").exists()


@NO_GPU
def test_a_plan_warns_of_it_until_somebody_says_yes(siod: Siod, study: str, large: tuple[str, ...]) -> None:
    warned = siod("study", "plan", study, *large)
    assert warned.code == 0
    assert "on the CPU: 2 trials of COCO's size" in warned.out
    assert "on the CPU" not in siod("study", "plan", study, *large, "--device", "cpu").out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "answer"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_on_a_terminal_it_is_a_question(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
    answer: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    ask = consent("auto")
    assert ask is not None
    assert ask("1 trial would train on CPU cores") is answer
    assert "1 trial would train on CPU cores. Do that? [y/N]" in "".join(capsys.readouterr())


def test_elsewhere_nobody_is_asked_and_device_cpu_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert consent("auto") is None
    assert consent("cuda") is None
    yes = consent("cpu")
    assert yes is not None
    assert yes("whatever it is")


@NO_GPU
def test_a_training_says_where_it_runs_and_its_record_holds_it(siod: Siod, study: str, tmp_path: Path) -> None:
    words = ("--set", "recipe.epochs=1", "--loader-workers", 1, "--device", "cpu", "--out", "run")
    done = siod("train", "--study", study, *words)
    assert done.code == 0
    assert "train: 1 trial at once, each 2 CPU (1 loader process); " in done.err
    compute = json.loads((tmp_path / "run" / "experiment.json").read_text())["experiment"]["compute"]
    assert (compute["cpus_per_worker"], compute["gpus_per_worker"], compute["loader_workers"]) == (2.0, 0.0, 1)


@NO_GPU
def test_a_run_s_experiment_is_placed_anew_on_another_machine(siod: Siod, study: str, tmp_path: Path) -> None:
    there = Compute(cpus_per_worker=9, gpus_per_worker=1, loader_workers=8)
    asked = load_study(study).base.with_changes({"compute": there, "recipe.epochs": 1})
    left = {"identity": "0123456789abcdef", "experiment": asked.model_dump(mode="json")}
    (tmp_path / "left.json").write_text(json.dumps(left))
    done = siod("train", "left.json")
    assert done.code == 0
    assert "train: 1 trial at once, each 1 CPU; " in done.err
    # Without an identity it is no record but a wish, which cannot be had here.
    (tmp_path / "wish.json").write_text(json.dumps(left["experiment"]))
    assert "run/1 asks for a GPU, " in siod("train", "wish.json", "--seed", 1).refusal


@NO_GPU
def test_predictions_and_pictures_are_made_where_they_are_asked_for(siod: Siod, study: str, tmp_path: Path) -> None:
    assert siod("train", "--study", study, "--set", "recipe.epochs=1", "--out", "run").code == 0
    assert siod("data", "digits", "digits", "--images", 2, "--val-images", 2).code == 0
    for command in (("predict", "run", "digits/val"), ("visualize", "run", "digits/val")):
        refused = siod(*command, "--out", "cuda", "--device", "cuda")
        assert refused.code == 1
        assert "a GPU was asked for (compute.gpus_per_worker 1), but torch" in refused.err
        assert siod(*command, "--out", command[0], "--device", "cpu").code == 0
    assert (tmp_path / "predict" / "detections.json").exists()


@NO_GPU
@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_settings_of_a_study_s_run_are_learnt_by_all_its_trials_and_recorded(
    siod: Siod, study: str, tmp_path: Path, new_store: Callable[[Path], str]
) -> None:
    store = Store(new_store(tmp_path / "runs"))
    done = siod("study", "run", study, "--set", "recipe.epochs=1", "--precision", "bf16", "--loader-workers", 0)
    assert done.code == 0, done.err
    assert "each 1 CPU; " in done.err
    record = store.read_study("small")
    assert record.command == (
        "siod study run small.py --set recipe.epochs=1 --set compute.loader_workers=0 --set recipe.precision=bf16"
    )
    told = {(trial.params["recipe.epochs"], trial.params["recipe.precision"]) for trial in record.trials}
    assert told == {("1", "bf16")}
    assert {trial.params["compute.gpus_per_worker"] for trial in record.trials} == {"0.0"}
