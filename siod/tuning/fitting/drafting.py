"""From a folder of the user's data to a study that fits it: measure, choose, try out what will be written."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from siod.data import coco
from siod.data.describing.profile import profile
from siod.data.source import CocoFolder, locate
from siod.errors import UserError
from siod.training import weights
from siod.training.machine import this_machine
from siod.training.placement import inventory
from siod.tuning.fitting.budget import study_seconds, within
from siod.tuning.fitting.detector import fit_detector
from siod.tuning.fitting.pace import measure_pace
from siod.tuning.fitting.recipe import fit, refuse_several
from siod.tuning.fitting.study_file import Draft, render
from siod.tuning.planning.plan import Capacity, place_trials, plan
from siod.tuning.showing.board import duration
from siod.tuning.study import Study, load_study

if TYPE_CHECKING:
    from collections.abc import Callable

    from siod.data.describing.profile import Profile
    from siod.training.placement import Node
    from siod.tuning.fitting.budget import Pace
    from siod.tuning.fitting.recipe import Fit
    from siod.tuning.fitting.study_file import WeightsKind

    Progress = Callable[[int, int], None]


ALIKE = (
    "no training image has two boxes of one category, so FSOD learns from the same boxes as the base; if other objects "
    "were left without a box, say so with --only-one"
)


@dataclass(frozen=True)
class DraftRequest:
    """What the user asks for in a new study.

    Args:
        name: Of the study; an identifier.
        file: Where it will be written.
        data: Folder as ``siod data import`` writes it.
        command: What was typed.
        family: Of the detector, a key of ``siod.tuning.fitting.detector.STARTS``.
        backbone: Any that the family takes.
        weights: Of the backbone.
        only_one: Whether the training set has one box per image and category and others were never drawn.
        budget_seconds: What the study may take on this machine; None leaves that open.
    """

    name: str
    file: Path
    data: Path
    command: str
    family: str
    backbone: str
    weights: WeightsKind
    only_one: bool = False
    budget_seconds: float | None = None


def draft_study(request: DraftRequest, cache_dir: Path, *, progress: Progress | None = None) -> Draft:
    """Fit a study to some data and to this machine.

    Args:
        wish: What is asked for.
        cache_dir: Where pretrained weights are kept.
        progress: Called while steps are timed for a budget.

    Returns:
        What to write. Its text was loaded as a study, and its weights are there.

    Raises:
        UserError: The data, the detector or the weights cannot be used, or nothing fits into the budget.
    """
    measured = profile(*_splits(request.data, cache_dir))
    if request.only_one:
        refuse_several(measured)
    node = this_machine()
    wanted = fit(measured, gpu=node.gpus > 0)
    draft = _draft(request, measured, wanted)
    weights.ensure(_loaded(draft).base, cache_dir)
    if request.budget_seconds is None:
        return draft
    pace = _pace(draft, node, cache_dir, progress)
    chosen = within(wanted, measured, pace, request.budget_seconds, gpu=node.gpus > 0)
    if chosen.pixels != pace.pixels:
        pace = _pace(_draft(request, measured, chosen), node, cache_dir, progress)
        chosen = within(wanted, measured, pace, request.budget_seconds, gpu=node.gpus > 0)
    takes = duration(study_seconds(chosen, measured, pace))
    cost = f"about {takes} on {inventory((node,))}, from a few steps timed on {datetime.now(UTC):%Y-%m-%d}"
    draft = replace(_draft(request, measured, chosen), cost=cost)
    _loaded(draft)
    return draft


def remarks(draft: Draft, *, only_one: bool) -> tuple[str, ...]:
    """What the user should know of the choices, in sentences."""
    notes = draft.fit.remarks
    if draft.single and not only_one:
        notes = (*notes, "the training set says that it holds one box per image and category, so there is no FSOD arm")
    if not draft.single and draft.profile.crowded is None:
        notes = (*notes, ALIKE)
    return notes


def _splits(folder: Path, cache_dir: Path) -> tuple[coco.CocoDataset, coco.CocoDataset]:
    try:
        files = locate(CocoFolder(root=folder), cache_dir)
    except UserError as error:
        raise UserError(f"{error}; 'siod data import SOURCE --out FOLDER' makes such a folder") from error
    return coco.read(files.train_annotations), coco.read(files.val_annotations)


def _draft(request: DraftRequest, measured: Profile, settings: Fit) -> Draft:
    root, parent = request.data.expanduser().resolve(), request.file.resolve().parent
    return Draft(
        name=request.name,
        root=root,
        beside=root.relative_to(parent).as_posix() if root.is_relative_to(parent) else None,
        profile=measured,
        fit=settings,
        detector=fit_detector(
            request.family,
            request.backbone,
            measured.box_sizes_at(settings.input_size),
            pretrained=request.weights != "none",
        ),
        weights=request.weights,
        single=request.only_one or measured.declared_single,
        command=request.command,
        cost=f"siod study plan {request.name}.py --measure tells",
    )


def _loaded(draft: Draft) -> Study:
    """The study that the text declares, its data named by an absolute path."""
    with tempfile.TemporaryDirectory(prefix="siod-draft-") as folder:
        path = Path(folder) / f"{draft.name}.py"
        path.write_text(render(replace(draft, beside=None)), encoding="utf-8")
        return load_study(str(path))


def _pace(draft: Draft, node: Node, cache_dir: Path, progress: Progress | None) -> Pace:
    study = _loaded(draft)
    trials = place_trials(plan(study, seeds=study.seeds[:1]), (node,))
    slots = Capacity((node,)).slots(trials, len(trials) * len(study.seeds))
    arms = {trial.arm.name: trial.experiment for trial in trials}
    return measure_pace(arms, slots=slots, cache_dir=cache_dir, progress=progress)
