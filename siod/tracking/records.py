"""What is known of a study and its trials, as plain rows: all that a report needs.

Metrics are named as everywhere else (``ap_s``, ``train/loss``, ...), AP and AR are fractions, steps are
epochs counted from 1, times are milliseconds since 1970. Boxes here are ``x, y, width, height`` in pixels
of the image file, as in COCO files, because that is how galleries are stored.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping  # noqa: TC003  (msgspec resolves the annotations at run time)
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import msgspec

Status = Literal["running", "finished", "failed", "interrupted", "pruned"]
# The search of a study is recorded under its name with this behind.
SEARCH = ".search"
Points = tuple[tuple[int, float], ...]


class TrueBox(NamedTuple):
    """An annotated instance of a gallery image; the label counts from 0."""

    x: float
    y: float
    width: float
    height: float
    label: int


class FoundBox(NamedTuple):
    """A detection in a gallery image; the label counts from 0, the score is in [0, 1]."""

    x: float
    y: float
    width: float
    height: float
    score: float
    label: int


@dataclass(frozen=True)
class GalleryImage:
    """One image that every arm is shown on.

    Args:
        id: As in the annotation file.
        file: Path of the image file, relative to the folder it is read from.
        width: Of the image, in pixels.
        height: Of the image, in pixels.
        ground_truth: All annotated instances, hidden from training or not.
    """

    id: int
    file: str
    width: int
    height: int
    ground_truth: tuple[TrueBox, ...] = ()


@dataclass(frozen=True)
class Gallery:
    """The images on which a study's arms are compared; stored as ``gallery/gallery.json`` of its run.

    Args:
        categories: Names by label.
        images: In the order they are shown.
        score_threshold: Detections with a lower score are not drawn unless a reader asks for them.
        recorded_from: Lowest score of the detections that trials keep for it.
    """

    categories: tuple[str, ...]
    images: tuple[GalleryImage, ...]
    score_threshold: float = 0.3
    recorded_from: float = 0.3


# What a trial found, by image id; stored as ``gallery.json`` of its run: {"<image id>": [[x, y, w, h, score, label]]}.
Found = dict[int, tuple[FoundBox, ...]]


@dataclass(frozen=True)
class Diagnosis:
    """What lies behind a trial's AP; stored as ``diagnosis.json`` of its run.

    Args:
        right: Detections that found an instance at IoU 0.5, by score in equal bins of [0, 1].
        wrong: Detections that found none, likewise.
        scores: Sum of the scores of both, likewise.
        precision: By IoU threshold as text, the mean over categories at recalls 0.00, 0.01, ..., 1.00.
        categories: ``ap_s`` and ``ap_s0`` as fractions, by category name.
    """

    right: tuple[int, ...]
    wrong: tuple[int, ...]
    scores: tuple[float, ...]
    precision: Mapping[str, tuple[float, ...]]
    categories: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class BoxCounts:
    """Boxes of one category; crowds do not count.

    Args:
        kept: Of the training images, those a trial learnt from.
        hidden: Of the same images, those that are known but were withheld.
        judged: Of the validation images.
    """

    kept: int
    hidden: int
    judged: int


@dataclass(frozen=True)
class Annotations:
    """What a trial learnt from and was judged by; stored as ``annotations.json`` of its run.

    Args:
        categories: Boxes by category name, in the order of labels.
        train_set: The annotation set that the source of the training annotations says it is, such as ``keep-1``:
            it lacks boxes that nobody can count. Empty where it says nothing.
        val_set: Likewise of the validation annotations.
        federated: Whether these say of images which categories were looked for, and are judged by LVIS's rule.
    """

    categories: Mapping[str, BoxCounts]
    train_set: str = ""
    val_set: str = ""
    federated: bool = False


@dataclass(frozen=True)
class ArmRecord:
    """An arm as it was declared.

    Args:
        name: As on the command line.
        label: As in tables.
        note: What a reader should know about it.
        changes: Settings it changes in the base experiment, by dotted path.
        group: Heading of the table's rows it stands among; empty when the table has no groups.
        published: Figures that a paper reports for it, fractions by metric.
        traits: What tells it apart in words, by heading of the table's column.
        seeds: It is trained with so many of the study's seeds, the first ones; None stands for all.
        modules: Names of the parts it uses, which a table marks in columns of their own.
    """

    name: str
    label: str
    note: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""
    published: Mapping[str, float] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    traits: Mapping[str, str] = field(default_factory=dict)
    seeds: int | None = None

    @property
    def title(self) -> str:
        """Its label, with its group where there is one: unlike the label no two arms share it."""
        return f"{self.group}: {self.label}" if self.group else self.label


@dataclass(frozen=True, kw_only=True)
class StudyHeader:
    """A study as it was declared; stored as ``study.json`` of its run.

    Args:
        name: Of the study.
        question: What it decides.
        arms: In the order of the table's rows.
        baseline: Name of the arm that gains are counted from.
        columns: Metrics in the order of the table's columns.
        seeds: Every arm is trained once with each.
        objective: The metric that matters most.
        experiment: The base experiment as plain data.
        command: What was typed to run the study.
        baselines: By group of arms, the arm its gains are counted from; ``baseline`` for groups not named here.
        primary: Comparisons named beforehand, arm over arm, which alone are tested; empty tests every arm against its
            baseline.
        proposals: How the trials of each arm's search were proposed, in words; empty where that is unknown.
    """

    name: str
    question: str
    arms: tuple[ArmRecord, ...]
    baseline: str
    columns: tuple[str, ...] = ("ap_s", "ap_s0", "ap_s3", "ap_s5", "ap_s7", "ap_s9")
    seeds: tuple[int, ...] = (0,)
    objective: str = "ap_s"
    experiment: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    baselines: Mapping[str, str] = field(default_factory=dict)
    primary: tuple[tuple[str, str], ...] = ()
    proposals: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_search(self) -> bool:
        """Whether its trials differ in their settings, and their seeds are numbers of trials."""
        return self.name.endswith(SEARCH)

    def declared(self) -> tuple[tuple[str, int], ...]:
        """Arm and seed of every trial, all arms with the first seed, then all that have it with the next."""
        return tuple((arm.name, seed) for seed in self.seeds for arm in self.arms if seed in self.seeds[: arm.seeds])

    def baseline_of(self, group: str) -> str:
        """Name of the arm that the gains of a group are counted from."""
        return self.baselines.get(group, self.baseline)


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One arm with one seed, and what became of it.

    Args:
        run_id: In the tracking store.
        study: Name of its study.
        arm: Name of its arm.
        seed: Of its random numbers.
        identity: Equal for trials that learn the same from the same data.
        status: Where it stands; a process that was killed leaves ``running`` behind.
        error: One sentence when it failed.
        epoch: The last one recorded; 0 before the first.
        params: Settings by dotted path, as text.
        metrics: The latest values; the final ones once ``status`` is finished.
        history: Values by epoch, ascending, one per epoch.
        tags: Whatever else describes the run, such as ``git_commit`` and ``data_fingerprint``.
        started_ms: When it was first started.
        ended_ms: When it ended, if it did.
        artifact_uri: Where its files are.
        found: Detections in the gallery's images; read for the first finished seed of each arm only.
        diagnosis: What lies behind its AP, once it is finished.
        annotations: What it learnt from and was judged by, once it is finished.
    """

    run_id: str
    study: str
    arm: str
    seed: int
    identity: str
    status: Status
    error: str = ""
    epoch: int = 0
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    history: Mapping[str, Points] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    started_ms: int | None = None
    ended_ms: int | None = None
    artifact_uri: str = ""
    found: Found | None = None
    diagnosis: Diagnosis | None = None
    annotations: Annotations | None = None


@dataclass(frozen=True, kw_only=True)
class StudyRecord(StudyHeader):
    """A study and what became of its trials.

    Args:
        run_id: Of the study's own run.
        status: Of the last call that ran it.
        trials: In the order of the declared arms, then by seed; what is no longer declared comes last.
        started_ms: When it was first started.
        gallery: The images its arms are compared on, if it has any.
        gallery_files: Contents of the gallery's image files by image id.
        environment: Where its first finished trial ran: ``python``, ``platform``, ``packages`` and more.
        address: Of its experiment on a tracking server, which need not run; empty when unknown.
    """

    run_id: str
    status: Status
    trials: tuple[TrialRecord, ...] = ()
    started_ms: int | None = None
    gallery: Gallery | None = None
    gallery_files: Mapping[int, bytes] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    address: str = ""

    def trials_of(self, arm: str) -> tuple[TrialRecord, ...]:
        """The trials of one arm with the seeds the study declares."""
        return self._by_arm.get(arm, ())

    @cached_property
    def _by_arm(self) -> dict[str, tuple[TrialRecord, ...]]:
        found: dict[str, list[TrialRecord]] = {}
        declared = set(self.declared())
        for trial in self.trials:
            if (trial.arm, trial.seed) in declared:
                found.setdefault(trial.arm, []).append(trial)
        return {arm: tuple(trials) for arm, trials in found.items()}


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the garbage collector while millions of records are read: it would find nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Name nested settings by their dotted paths, with their values as text.

    Args:
        settings: Plain data, such as an experiment's.
        prefix: Put before every path.

    Returns:
        Text as it is, everything else as JSON; lists and empty records are values, not levels.

    Example:
        >>> flatten({"recipe": {"epochs": 6, "milestones": [90, 120]}, "dminer": None, "kind": "digits"})
        {'recipe.epochs': '6', 'recipe.milestones': '[90, 120]', 'dminer': 'null', 'kind': 'digits'}
    """
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


def decode_found(data: bytes) -> Found:
    """Read what a trial found in the gallery's images.

    Args:
        data: JSON as described at :data:`Found`.

    Returns:
        Boxes by image id, in the order they were written.
    """
    return msgspec.json.decode(data, type=Found)
