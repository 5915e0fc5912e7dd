"""Cross-fitting as a study: one experiment for each fold, which learns from the images of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siod.data.annotation_sets import Full
from siod.data.source import locate
from siod.tuning.study import Arm, Study

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from siod.data.category_states import Declared
    from siod.training.experiment import Experiment


def fold_study(
    name: str,
    experiment: Experiment,
    files: Sequence[Path],
    images: Path,
    *,
    declared: Declared | None,
    cache_dir: Path,
) -> Study:
    """Declare the study whose trials are the detectors of the folds.

    Args:
        name: Of the study.
        experiment: What each of them trains like; it is judged by the same validation images.
        files: Of :func:`siod.completion.folds.fold_files`.
        images: Absolute folder of their images.
        declared: What the user says of their annotations.
        cache_dir: Where generated data is kept.

    Returns:
        A study with an arm for each fold, ``fold-1`` and so on, and the experiment's seed.

    Raises:
        UserError: The data source of the experiment is not there.
    """
    own = locate(experiment.data, cache_dir)
    said = {} if declared is None else {"complete": declared.complete, "others": declared.others}
    sources = [
        own.with_changes(
            {
                "train_annotations": file,
                "train_images": images,
                "test_annotations": None,
                "test_images": None,
                "complete": None,
                "others": "unlabelled",
                **said,
            }
        )
        for file in files
    ]
    return Study(
        name=name,
        question="Which boxes are missing in images that a detector has not learnt from?",
        base=experiment.with_changes({"data": sources[0], "annotations": Full(), **_weights_of_digits(experiment)}),
        arms=tuple(
            Arm(name=f"fold-{number}", label=f"without fold {number}", changes={"data": source})
            for number, source in enumerate(sources, start=1)
        ),
        baseline="fold-1",
        seeds=(experiment.seed,),
    )


def _weights_of_digits(experiment: Experiment) -> dict[str, Any]:
    """What a classifier of digit crops has to be told where the data are files made of digits."""
    if experiment.weights.kind != "digits" or experiment.data.kind != "digits":
        return {}
    return {"weights.digits": experiment.data}
