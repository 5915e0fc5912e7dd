"""A run computes as its experiment says, or is refused, and leaves its process as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from siod.data.source import PreparedData
from siod.detectors.detector import Detector
from siod.detectors.zoo import CENTERNET_R18, CENTERNET_TINY, FASTER_RCNN_TINY, FCOS_TINY, RETINANET_TINY, build
from siod.errors import RunError, UserError
from siod.json_file import read_json
from siod.methods.mean_teacher import MeanTeacher
from siod.methods.method import Moment, Views
from siod.methods.steps.mean_teacher import MeanTeacherMethod
from siod.methods.zoo import METHODS, add_method
from siod.training import loop
from siod.training.arithmetic import available, deterministic, matmul_precision
from siod.training.checkpoint import CheckpointFolder, load
from siod.training.context import InProcess
from siod.training.evaluate import DetectionArrays, detect
from siod.training.experiment import Experiment, Precision
from siod.training.precision import refuse_missing
from siod.types import Batch

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
WHOLE: frozenset[Precision] = frozenset({"fp32", "tf32", "bf16", "fp16"})


class Recorded(MeanTeacher):
    """A mean teacher whose views are kept."""

    kind: Literal["recorded"] = "recorded"  # type: ignore[assignment]


class RecordedMethod(MeanTeacherMethod):
    strong: tuple[torch.Tensor, ...] = ()
    precisions: tuple[torch.dtype, ...] = ()
    autocast: bool | None = None

    def views(self, batch: Batch, moment: Moment) -> Views:
        found = super().views(batch, moment)
        features = self.teacher.detector(batch.images).features
        RecordedMethod.strong += (found.views[1].images.clone(),)
        RecordedMethod.precisions += (features.dtype,)
        RecordedMethod.autocast = torch.is_autocast_enabled("cpu")
        return found


def kept(experiment: Experiment, data: PreparedData, folder: Path) -> type[RecordedMethod]:
    RecordedMethod.strong, RecordedMethod.precisions = (), ()
    loop.run(experiment, data, InProcess(folder, device=CPU))
    return RecordedMethod


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """A method that experiments know for the time being."""
    add_method(Recorded, RecordedMethod)
    yield Recorded(start_epoch=0)
    del METHODS["recorded"]


@pytest.fixture(scope="module")
def plain(small: Experiment) -> Experiment:
    return small.with_changes({"dminer": None, "recipe.epochs": 1})


def weights_of(run_dir: Path) -> dict[str, torch.Tensor]:
    latest = CheckpointFolder(run_dir / "checkpoints").latest()
    assert latest is not None
    weights: dict[str, torch.Tensor] = load(latest)["model"]
    return weights


def settings() -> tuple[Any, ...]:
    """What a run might leave behind in its process."""
    backends = torch.backends
    return (
        backends.cuda.matmul.fp32_precision,
        backends.cudnn.conv.fp32_precision,
        backends.cudnn.deterministic,
        backends.cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_autocast_enabled("cpu"),
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


@pytest.mark.parametrize(
    ("precision", "products", "half"),
    [("fp32", "ieee", None), ("tf32", "tf32", None), ("bf16", "ieee", torch.bfloat16), ("fp16", "ieee", torch.float16)],
)
def test_a_precision_is_set_for_networks_and_gpus_and_taken_back(
    precision: Precision, products: str, half: torch.dtype | None
) -> None:
    before, detector = settings(), build(CENTERNET_TINY, num_classes=2)
    with matmul_precision(detector, precision):
        assert set(settings()[:2]) == {products}
        assert detector.half_precision == half
        with matmul_precision(detector, "fp32"):
            assert set(settings()[:2]) == {"ieee"}
            assert detector.half_precision is None
        assert set(settings()[:2]) == {products}
    assert settings() == before
    with pytest.raises(KeyError), matmul_precision(detector, precision):
        raise KeyError
    assert settings() == before
    assert detector.half_precision is None


def test_strong_views_of_a_bf16_run_are_those_of_an_fp32_run_to_the_bit(
    plain: Experiment, recorded: Recorded, small_data: PreparedData, tmp_path: Path
) -> None:
    """Autocast is around the networks, the teacher's among them, and not around colours and blur."""
    taught = plain.with_changes({"method": recorded})
    whole = kept(taught, small_data, tmp_path / "fp32")
    expected, precisions = whole.strong, whole.precisions
    half = kept(taught.with_changes({"recipe.precision": "bf16"}), small_data, tmp_path / "bf16")
    assert len(expected) == len(half.strong) == 4
    assert all(torch.equal(one, other) for one, other in zip(expected, half.strong, strict=True))
    assert set(precisions) == {torch.float32}
    assert set(half.precisions) == {torch.bfloat16}
    assert half.autocast is False
    one, other = weights_of(tmp_path / "fp32"), weights_of(tmp_path / "bf16")
    assert any(not torch.equal(one[name], other[name]) for name in one)


def columns(found: DetectionArrays) -> list[bytes]:
    return [column.tobytes() for column in vars(found).values()]


@pytest.mark.parametrize(("precision", "judged_in"), [("fp32", "fp32"), ("as_trained", "bf16"), ("bf16", "bf16")])
def test_detections_are_made_in_the_precision_of_the_evaluation(
    plain: Experiment, small_data: PreparedData, tmp_path: Path, precision: str, judged_in: Precision
) -> None:
    experiment = plain.with_changes({"recipe.precision": "bf16", "evaluation.precision": precision})
    context = InProcess(tmp_path, device=CPU)
    found = loop.run(experiment, small_data, context).detections
    detector = build(experiment.detector, num_classes=5).to(memory_format=torch.channels_last)
    detector.load_state_dict(weights_of(tmp_path))
    again = {name: detect(detector, small_data, experiment.evaluation, context, precision=name) for name in WHOLE}
    assert columns(found) == columns(again[judged_in])
    assert columns(again["bf16"]) != columns(again["fp32"])
    assert detector.half_precision is None


def test_the_evaluation_s_precision_is_a_setting_that_changes_no_older_identity(small: Experiment) -> None:
    assert small.evaluated_in() == "fp32"
    assert "precision" not in small.model_dump(mode="json")["evaluation"]
    half = small.with_changes({"recipe.precision": "bf16"})
    assert half.evaluated_in() == "fp32"
    followed = half.with_changes({"evaluation.precision": "as_trained"})
    assert followed.evaluated_in() == "bf16"
    assert followed.identity("data") != half.identity("data")


def test_a_precision_that_the_device_lacks_is_refused_before_anything_is_trained(
    small: Experiment, small_data: PreparedData, tmp_path: Path
) -> None:
    sentence = "recipe.precision is tf32, which cpu does not compute in; set it to fp32"
    with pytest.raises(UserError, match=sentence):
        loop.run(small.with_changes({"recipe.precision": "tf32"}), small_data, InProcess(tmp_path, device=CPU))
    assert not any(tmp_path.iterdir())
    older: frozenset[Precision] = frozenset({"fp32", "fp16"})
    with pytest.raises(UserError, match=r"recipe\.precision is bf16, .* set it to fp16 or fp32"):
        refuse_missing(small.with_changes({"recipe.precision": "bf16"}), "cpu", "cpu", older)
    with pytest.raises(UserError, match=r"evaluation\.precision is bf16"):
        refuse_missing(small.with_changes({"evaluation.precision": "bf16"}), "cpu", "cpu", older)
    assert available(CPU) == WHOLE - {"tf32"}


def test_what_cannot_come_out_alike_on_a_gpu_is_refused_there_and_nowhere_else(small: Experiment) -> None:
    alike = small.with_changes({"compute.deterministic": True, "dminer": None})
    refused = {
        "centernet: the deformable convolution": alike.with_changes({"detector": CENTERNET_R18}),
        "faster_rcnn_c4: roi_align": alike.with_changes({"detector": FASTER_RCNN_TINY}),
    }
    for words, experiment in refused.items():
        with pytest.raises(UserError, match=rf"compute\.deterministic cannot hold on a GPU for {words}"):
            refuse_missing(experiment, "cuda", "a GPU", WHOLE)
        refuse_missing(experiment, "cpu", "cpu", WHOLE)
        refuse_missing(experiment.with_changes({"compute.deterministic": False}), "cuda", "a GPU", WHOLE)
    for spec in (CENTERNET_R18.with_changes({"upsampling": "plain"}), FCOS_TINY, RETINANET_TINY):
        refuse_missing(alike.with_changes({"detector": spec}), "cuda", "a GPU", WHOLE)


def test_deterministic_algorithms_are_asked_for_and_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for own in (None, ":0:0", ":16:8"):
        if own is not None:
            monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", own)
        before = settings()
        with deterministic(wanted=True):
            assert settings()[2:5] == (True, False, True)
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == (":16:8" if own == ":16:8" else ":4096:8")
        assert settings() == before
        with pytest.raises(KeyError), deterministic(wanted=True):
            raise KeyError
        assert settings() == before
        with deterministic(wanted=False):
            assert settings() == before


def test_an_operation_without_a_fixed_order_ends_the_run_in_one_sentence() -> None:
    before = settings()
    sentence = r"^put_ adds up in no fixed order; set compute\.deterministic to false$"
    with pytest.raises(RunError, match=sentence), deterministic(wanted=True):
        torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))
    assert settings() == before
    with pytest.raises(RuntimeError, match="another"), deterministic(wanted=True):
        raise RuntimeError("another")


def test_on_a_cpu_a_run_is_the_same_with_deterministic_algorithms_to_the_bit(
    small: Experiment, small_data: PreparedData, tmp_path: Path
) -> None:
    once = small.with_changes({"recipe.epochs": 1})
    alike = once.with_changes({"compute.deterministic": True})
    assert alike.identity("data") == once.identity("data")
    before = settings()
    for name, experiment in {"free": once, "alike": alike}.items():
        loop.run(experiment, small_data, InProcess(tmp_path / name, device=CPU))
        assert settings() == before
    free, fixed = weights_of(tmp_path / "free"), weights_of(tmp_path / "alike")
    assert all(torch.equal(free[name], fixed[name]) for name in free)


def test_a_run_writes_down_how_it_computes_and_where_it_went_on(
    plain: Experiment, small_data: PreparedData, tmp_path: Path
) -> None:
    for changes in ({}, {}, {"compute.deterministic": True}):
        loop.run(plain.with_changes(changes), small_data, InProcess(tmp_path, device=CPU))
    first = {
        "device": "cpu",
        "workers": 1,
        "precision": "fp32",
        "evaluation_precision": "fp32",
        "deterministic": False,
        "torch": torch.__version__,
    }
    assert read_json(tmp_path / "arithmetic.json") == [first, first | {"deterministic": True}]


def test_a_copy_made_as_a_teacher_computes_as_the_student(small: Experiment) -> None:
    student: Detector = build(small.detector, num_classes=2)
    with matmul_precision(student, "fp16"):
        method = MeanTeacherMethod(MeanTeacher(), student)
    assert method.teacher.detector.half_precision == torch.float16
