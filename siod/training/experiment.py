"""The one value that describes a run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from siod.data.annotation_sets import Full, Policy, WholeImages
from siod.data.digits import Digits
from siod.data.source import Source
from siod.data.transforms import Augmentation, ShortEdge
from siod.detectors.zoo import AnyDetector
from siod.dminer.dminer import DMiner
from siod.methods.zoo import AnyMethod
from siod.outside import Brought, brought_by, load_recorded
from siod.value import Value, digest

if TYPE_CHECKING:
    from collections.abc import Mapping


log = logging.getLogger("siod")

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
"""What products are computed in; ``siod.training.arithmetic`` has the table."""


class StepDecay(Value):
    """Multiply the learning rate by ``factor`` when the given epochs are done (the paper: 90 and 120 of 140)."""

    kind: Literal["step"] = "step"
    milestones: tuple[PositiveInt, ...] = (90, 120)
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1


class OneCycle(Value):
    """Rise to the learning rate over a share of the steps, then anneal to near zero."""

    kind: Literal["one_cycle"] = "one_cycle"
    rising: Annotated[float, Field(gt=0, lt=1)] = 0.3


class WarmupStep(Value):
    """Begin at a share of the learning rate, then decay as :class:`StepDecay`.

    The first ``steps`` optimiser steps are ``linear``, rising from ``share`` to the whole, or ``constant`` at it.
    """

    kind: Literal["warmup_step"] = "warmup_step"
    warmup: Literal["linear", "constant"] = "linear"
    steps: PositiveInt = 500
    share: Annotated[float, Field(gt=0, le=1)] = 0.001
    milestones: tuple[PositiveInt, ...] = (8, 11)
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1


Schedule = Annotated[StepDecay | OneCycle | WarmupStep, Field(discriminator="kind")]


class Adam(Value):
    """Adam with its usual moments."""

    kind: Literal["adam"] = "adam"


class AdamW(Value):
    """Adam whose decay does not pass through its moments; biases and factors of normalisation do not decay."""

    kind: Literal["adamw"] = "adamw"


class SGD(Value):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9


Optimiser = Annotated[Adam | AdamW | SGD, Field(discriminator="kind")]


class Recipe(Value):
    """How the weights are learnt: the optimiser and its schedule, the batch and the arithmetic.

    ``batch_size`` is global: the images of one optimiser step over all workers. ``clip_norm`` bounds the
    gradient's 2-norm; None leaves it alone. The backbone learns at ``backbone_factor`` times the learning rate. A
    ``precision`` the device does not have is refused, never replaced.
    """

    unsaid_by_default: ClassVar[frozenset[str]] = frozenset({"optimiser", "backbone_factor"})

    epochs: PositiveInt = 140
    batch_size: PositiveInt = 114
    optimiser: Optimiser = Adam()
    learning_rate: PositiveFloat = 5e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Schedule = StepDecay()
    precision: Precision = "fp32"
    clip_norm: PositiveFloat | None = None
    backbone_factor: PositiveFloat = 1.0


class ImageNet(Value):
    """Backbone weights learnt on ImageNet, from torchvision's weights API or a file in its format."""

    kind: Literal["imagenet"] = "imagenet"
    file: Path | None = None


class Packaged(Value):
    """Backbone weights learnt on ImageNet, from the installed package that ships those of the architecture.

    Each file is known by its SHA-256, so that equal experiments start from equal numbers.
    """

    kind: Literal["packaged"] = "packaged"


class DigitClassifier(Value):
    """Backbone weights learnt by classifying crops of the training digits; trained once, cached by identity.

    ``digits`` says whose digits where the data are files made of them; None takes those of the experiment's data.
    """

    unsaid_by_default: ClassVar[frozenset[str]] = frozenset({"digits"})

    kind: Literal["digits"] = "digits"
    crops: PositiveInt = 6000
    crop_size_px: Annotated[int, Field(ge=32)] = 48
    epochs: PositiveInt = 8
    batch_size: PositiveInt = 32
    learning_rate: PositiveFloat = 2e-3
    seed: int = 0
    digits: Digits | None = None


class FromCheckpoint(Value):
    """All weights of a detector of the same architecture, from one of siod's checkpoint files."""

    kind: Literal["checkpoint"] = "checkpoint"
    file: Path


class PublishedDetector(Value):
    """All weights of a published detector.

    FCOS and RetinaNet with ResNet-50 have torchvision's, learnt on COCO; the data set's category ids must be COCO's,
    and ``file`` is a downloaded copy. RT-DETR and D-FINE have what transformers saved: ``file`` is its folder, or
    ``model`` one of the hub; categories are found by their names, and those that are not known begin anew.
    """

    unsaid_by_default: ClassVar[frozenset[str]] = frozenset({"model"})

    kind: Literal["published"] = "published"
    file: Path | None = None
    model: str | None = None


class Scratch(Value):
    """Random weights."""

    kind: Literal["none"] = "none"


Weights = Annotated[
    ImageNet | Packaged | DigitClassifier | FromCheckpoint | PublishedDetector | Scratch, Field(discriminator="kind")
]


class Evaluation(Value):
    """How detections are made for the score-aware protocol.

    ``input_size`` None keeps each image's resolution, padded to a multiple of 32; a (height, width) pair
    resizes to it. ``short_edge`` resizes by its one length before padding instead. ``precision`` as_trained is
    that of the recipe. The last epoch is judged whatever ``every_epochs`` says.
    """

    unsaid_by_default: ClassVar[frozenset[str]] = frozenset({"short_edge", "precision"})

    batch_size: PositiveInt = 16
    input_size: tuple[PositiveInt, PositiveInt] | None = None
    short_edge: ShortEdge | None = None
    every_epochs: PositiveInt = 1
    precision: Precision | Literal["as_trained"] = "fp32"

    @model_validator(mode="after")
    def _one_way_to_resize(self) -> Self:
        if self.short_edge is None:
            return self
        if self.input_size is not None:
            message = "input_size has no effect with short_edge; set one of them to null"
            raise ValueError(message)
        if len(self.short_edge.lengths) > 1:
            message = f"short_edge must have one length in evaluation, not {self.short_edge.lengths}"
            raise ValueError(message)
        return self


class Compute(Value):
    """Where a run is carried out; no part of its identity.

    ``carrier`` auto takes Ray Train workers for two workers or more, the calling process otherwise. What is None is
    decided by the machines when the run starts (``siod.training.placement.place``): where there are GPUs a worker gets
    one, with its share of their machines' cores, of which one trains and the others load images; where there is none
    it gets one core.

    ``cpus_per_worker`` are all cores that are reserved for a worker, those of its ``loader_workers`` included.
    ``gpus_per_worker`` below one is a share of a GPU, for a small run in one process. A run goes on after
    ``max_failures`` deaths of its workers. ``deterministic`` lets a run on a GPU come out alike each time, where its
    operations can; on a CPU it does so anyway. Of the checkpoints of a finished run ``keep_checkpoints`` leaves the
    ``last`` epoch's, it and the ``best`` one's, or ``all``.
    """

    unsaid_by_default: ClassVar[frozenset[str]] = frozenset({"deterministic", "keep_checkpoints"})

    carrier: Literal["auto", "in_process", "ray_train"] = "auto"
    workers: PositiveInt = 1
    cpus_per_worker: PositiveFloat | None = None
    gpus_per_worker: Annotated[float, Field(ge=0)] | None = None
    loader_workers: Annotated[int, Field(ge=0)] | None = None
    max_failures: Annotated[int, Field(ge=0)] = 1
    deterministic: bool = False
    keep_checkpoints: Literal["last", "best", "all"] = "best"

    def in_process(self) -> bool:
        """Whether the run stays in the calling process."""
        return self.carrier == "in_process" or (self.carrier == "auto" and self.workers == 1)

    @model_validator(mode="after")
    def _one_process_is_one_worker(self) -> Self:
        if self.carrier == "in_process" and self.workers > 1:
            message = f"carrier in_process runs one worker, not {self.workers}; use carrier ray_train"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _gpus_are_whole_or_one_is_shared_by_one(self) -> Self:
        gpus = self.gpus_per_worker
        if gpus is None or gpus.is_integer():
            return self
        if gpus > 1:
            message = f"gpus_per_worker {gpus:g} is neither a share of one GPU nor whole GPUs; set it to 1 or less"
            raise ValueError(message)
        if self.workers > 1:
            message = (
                f"gpus_per_worker {gpus:g} with {self.workers} workers would put two of them on one GPU, which NCCL "
                "refuses; set gpus_per_worker to 1 or workers to 1"
            )
            raise ValueError(message)
        return self


class Experiment(Value):
    """Everything that decides what a run learns, and where it is carried out."""

    unsaid_by_default: ClassVar[frozenset[str]] = frozenset({"method"})

    data: Source = Digits()
    annotations: Policy = Full()
    detector: AnyDetector
    weights: Weights = Scratch()
    dminer: DMiner | None = None
    method: AnyMethod = None
    augmentation: Augmentation
    recipe: Recipe
    evaluation: Evaluation = Evaluation()
    seed: Annotated[int, Field(ge=0)] = 0
    compute: Compute = Compute()

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if self.weights.kind == "digits" and (self.data.kind == "digits") == (self.weights.digits is not None):
            message = (
                "weights.digits has no effect where data.kind is digits; leave it out"
                if self.weights.digits is not None
                else "weights.kind digits needs data.kind digits or weights.digits; use imagenet, checkpoint or none"
            )
            raise ValueError(message)
        of_coco = self.weights.kind == "published" and not self.detector.published_by_name
        if of_coco and self.data.kind == "digits":
            message = "weights.kind published needs data with COCO's categories; use digits, checkpoint or none"
            raise ValueError(message)
        refusal = None if self.method is None else self.method.refusal(self.detector)
        if refusal is not None:
            raise ValueError(refusal)
        if self.recipe.batch_size < self.compute.workers:
            message = (
                f"recipe.batch_size {self.recipe.batch_size} is less than compute.workers {self.compute.workers}: "
                "each worker needs an image of a batch; set compute.workers lower"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _miners_have_levels_to_work_on(self) -> Self:
        if self.dminer is None:
            return self
        levels = self.detector.mined_levels()
        if levels == 0:
            message = "dminer needs detector.mining_branch; set it, or set dminer to null"
            raise ValueError(message)
        top_m = None if self.dminer.pgcl is None else self.dminer.pgcl.top_m
        if isinstance(top_m, tuple) and len(top_m) != levels:
            message = (
                f"dminer.pgcl.top_m must have one entry for each of the detector's {levels} mined levels, not {top_m}"
            )
            raise ValueError(message)
        return self

    def evaluated_in(self) -> Precision:
        """The precision detections are made in."""
        precision = self.evaluation.precision
        return self.recipe.precision if precision == "as_trained" else precision

    def unplaced(self) -> Self:
        """The same without the cores and devices that a machine gave it, which are no wish for another one."""
        given = ("cpus_per_worker", "gpus_per_worker", "loader_workers")
        return self.with_changes(dict.fromkeys(f"compute.{name}" for name in given))

    def identity(self, fingerprint: str) -> str:
        """Name what this run would learn: equal names mean equal runs.

        Args:
            fingerprint: Of the prepared data (``PreparedData.fingerprint``).

        Returns:
            16 hexadecimal digits. ``compute`` does not count.
        """
        canonical = self.model_dump(mode="json", exclude={"compute"})
        return digest({"experiment": canonical, "data": fingerprint})

    def teacher(self) -> Self | None:
        """The run whose last weights its method labels with; None without one.

        Raises:
            UserError: The method's changes name an unknown setting or a refused value.
        """
        if self.method is None or not self.method.needs_teacher():
            return None
        return self.with_changes(self.method.teacher_changes(bare_images=isinstance(self.annotations, WholeImages)))

    def teachers(self) -> tuple[Self, ...]:
        """All runs that have to be finished before this one, the last one first: its teacher, that one's, ...

        Raises:
            UserError: As :meth:`teacher`.
        """
        teacher = self.teacher()
        return () if teacher is None else (teacher, *teacher.teachers())

    def record(self) -> dict[str, Any]:
        """What a run writes down of it, as plain data: itself, and what brought its detector or method from outside."""
        plain = {"experiment": self.model_dump(mode="json")}
        brought = self._brought()
        return plain | {"outside": [each.record() for each in brought]} if brought else plain

    @classmethod
    def recorded(cls, record: Mapping[str, Any], *, source: str) -> Self:
        """Read what :meth:`record` made of an experiment; what brought its detector or method is loaded first.

        Args:
            record: From a run's folder or a checkpoint; other keys are passed over.
            source: Where it is from, for messages.

        Raises:
            UserError: It is refused, or a file that brought its detector or method is gone.
        """
        for file in load_recorded(record.get("outside", ()), source=source):
            log.warning("%s: %s, or what it imports, has changed since this run began", source, file)
        return cls.parse(record.get("experiment"), source=source)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as plain data: a worker first loads what brought its detector or method, which travels with it."""
        return _unpickled, (self._brought(), self.model_dump(mode="json"))

    def _brought(self) -> tuple[Brought, ...]:
        """The modules from outside that define its detector and its method, and the methods of its teachers."""
        return brought_by(self.detector, self.method, *(teacher.method for teacher in self.teachers()))


def _unpickled(brought: tuple[Brought, ...], plain: dict[str, Any]) -> Experiment:
    for each in brought:
        each.load()
    return Experiment.model_validate(plain)
