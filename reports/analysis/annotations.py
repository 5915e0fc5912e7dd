"""Which boxes an arm learns from, and whether they are all that its images show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.tracking.records import flatten

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siod.tracking.records import Annotations, ArmRecord, StudyRecord

ANNOTATIONS, FULL = "annotations", "full"


def same_annotations(arm: ArmRecord, other: ArmRecord) -> bool:
    """Whether two arms learn from the same boxes, as they were declared."""
    return _own(arm) == _own(other)


def learns_from_all(study: StudyRecord, arm: ArmRecord) -> bool:
    """Whether an arm learns from every box of its training file."""
    return policy_of(study, arm).get("policy") == FULL


def fully_annotated(study: StudyRecord, arm: ArmRecord) -> bool:
    """Whether an arm learns from every box, and from more than the others, as far as its files say."""
    return flatten(arm.changes).get(f"{ANNOTATIONS}.policy") == FULL and not stated_set(study, arm)


def stated_set(study: StudyRecord, arm: ArmRecord) -> str:
    """The annotation set that the training file of an arm says it is; empty where it says nothing."""
    found = annotations_of(study, arm.name)
    return "" if found is None else found.train_set


def annotations_of(study: StudyRecord, arm: str) -> Annotations | None:
    """What the first finished trial of an arm learnt from; None where it is not recorded."""
    return next((trial.annotations for trial in study.trials_of(arm) if trial.annotations is not None), None)


def policy_of(study: StudyRecord, arm: ArmRecord) -> dict[str, str]:
    """The settings of an arm's annotation policy, as text."""
    own = _own(arm)
    if f"{ANNOTATIONS}.policy" not in own:  # only a whole policy replaces another one
        base = flatten(study.experiment)
        own = {path: value for path, value in base.items() if path.partition(".")[0] == ANNOTATIONS} | own
    return {path.removeprefix(f"{ANNOTATIONS}."): value for path, value in own.items()}


def about_files(study: StudyRecord) -> Iterator[str]:
    """Say of which arms the training or validation file says itself that it lacks boxes."""
    for arm in study.arms:
        name = stated_set(study, arm)
        if name and learns_from_all(study, arm):
            yield f"{arm.title} learns from all boxes of a file that says it is {name}: that is no full supervision."
    found = [known for arm in study.arms if (known := annotations_of(study, arm.name)) is not None]
    for name in dict.fromkeys(known.val_set for known in found if known.val_set and not known.federated):
        yield f"The validation file says it is {name}: detections of the boxes it lacks count as false."
    if any(known.federated for known in found):
        yield (
            "The validation file says of its images which categories were looked for: detections of others count "
            "neither way, nor do unmatched ones where it says that boxes are missing (LVIS's rule)."
        )


def _own(arm: ArmRecord) -> dict[str, str]:
    return {path: value for path, value in flatten(arm.changes).items() if path.partition(".")[0] == ANNOTATIONS}
