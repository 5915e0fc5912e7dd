"""Detections in the images of an annotation file, by a detector that is trained or by those of folds."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from siod.completion.candidates import Detected
from siod.completion.folds import fold_files
from siod.data.image_list import find_images
from siod.errors import RunError, UserError, closest
from siod.training.predict import arrays_of, load_trained
from siod.tuning.cross_fitting import fold_study
from siod.tuning.planning.jobs import prepare_jobs
from siod.tuning.planning.plan import Trial, plan
from siod.tuning.running.runner import run_study
from siod.tuning.searching.best import best_of, tuned
from siod.value import digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from siod.data.category_states import Declared
    from siod.data.coco import CocoDataset, ImageRecord
    from siod.training.experiment import Compute, Experiment
    from siod.training.predict import Trained
    from siod.tuning.running.run_config import RunConfig
    from siod.tuning.study import Study

    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Progress = Callable[[int, int], None]
    Shown = Callable[[], AbstractContextManager[Progress | None]]


@dataclass(frozen=True)
class Images:
    """The images of an annotation file.

    Attributes:
        dataset: The file.
        folder: Absolute folder of its images.
        files: Of each image, in the order of the file.
    """

    dataset: CocoDataset
    folder: Path
    files: tuple[Path, ...]

    @classmethod
    def of(cls, dataset: CocoDataset, folder: Path) -> Images:
        """Find all images of an annotation file.

        Args:
            dataset: The file.
            folder: Absolute; the file's names are relative to it.

        Raises:
            UserError: The folder or an image is missing.
        """
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; name the one that file names in {dataset.path} are relative to")
        found = dict(find_images(dataset.images, dataset.path, [folder]))
        missing = [one.file_name for one in dataset.images if one not in found]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UserError(
                f"{folder / missing[0]}{more}: no such image; name the folder of the images of {dataset.path}"
            )
        return cls(dataset, folder, tuple(found[one] for one in dataset.images))


def trained_run(
    study: Study, arm: str, experiment: Experiment, *, source: str, runs_dir: Path, cache_dir: Path
) -> Path:
    """The folder of a trial of a study that is trained.

    Args:
        study: Of the trial.
        arm: Its name.
        experiment: Of :func:`chosen_experiment`.
        source: How the user names the study.
        runs_dir: Absolute folder of runs.
        cache_dir: Absolute folder of generated data.

    Raises:
        UserError: The trial is not trained.
    """
    seed = experiment.seed
    trials = [Trial(study.arm(arm), seed, experiment)]
    (job,) = prepare_jobs(trials, runs_dir=runs_dir, cache_dir=cache_dir, baseline=arm)
    if job.result() is None:
        raise UserError(
            f"study {study.name!r}: {arm}/{seed} is not trained in {runs_dir}; run 'siod study run {source} --arm "
            f"{arm} --seed {seed}' first, name another folder with --runs, or let --folds 2 train what is needed"
        )
    return job.run_dir


def chosen_experiment(study: Study, arm: str, seed: int, *, source: str, runs_dir: Path) -> Experiment:
    """The experiment of an arm, at the best settings of its search if there is one.

    Args:
        study: One with a search has been searched.
        arm: Its name.
        seed: Of the trial.
        source: How the user names the study.
        runs_dir: Absolute folder of runs.

    Raises:
        UserError: The study has no such arm, or was not searched.
    """
    study.arm(arm)
    if study.search is not None:
        found = best_of(study, runs_dir / "studies" / study.name)
        if arm not in found:
            raise UserError(f"study {study.name!r}: {arm} was not searched; run 'siod study run {source}' first")
        study = tuned(study, found)
    return study.experiment(study.arm(arm), seed)


def detect_with(trained: Trained, images: Images, *, shown: Shown = nullcontext) -> Detected:
    """Detections of one detector in all images.

    Args:
        trained: Of :func:`siod.training.predict.load_trained`.
        images: To look at.
        shown: Makes the context in which progress is shown; it gives what is called with the number of images done
            and of all, or None.

    Raises:
        UserError: The run does not know a category of the file, or an image cannot be read.
    """
    return _detected(trained, images, np.arange(len(images.files)), shown)


def detect_with_folds(
    experiment: Experiment,
    name: str,
    images: Images,
    config: RunConfig,
    *,
    fold: Ints,
    declared: Declared | None = None,
    compute: Compute,
    confirm: Callable[[str], bool] | None = None,
    shown: Shown = nullcontext,
) -> Detected:
    """Detections in each image by a detector that has not learnt from it; what is trained already is used again.

    Args:
        experiment: What each detector trains like.
        name: The study is called ``complete-NAME-`` and a hash of what it learns.
        images: To look at.
        config: How the study is run.
        fold: Of each image, as :func:`siod.completion.folds.fold_of_images` divides them.
        declared: What the user says of the annotations.
        compute: What the detectors may use of this machine, once trained.
        confirm: As for :func:`siod.tuning.running.runner.run_study`.
        shown: As for :func:`detect_with`, once for each fold.

    Raises:
        UserError: The run does not know a category of the file.
        RunError: A detector was not trained.
        KeyboardInterrupt: The user stopped the training; the same call goes on.
    """
    dataset = images.dataset
    files = fold_files(dataset, fold, config.cache_dir)
    key = digest({"files": [str(file) for file in files], "experiment": experiment.model_dump(mode="json")}, length=8)
    study = fold_study(
        f"complete-{name[:40]}-{key}",
        experiment,
        files,
        images.folder,
        declared=declared,
        cache_dir=config.cache_dir,
    )
    outcome = run_study(study, config, confirm=confirm)
    if outcome.failed or outcome.abort_reason:
        first = next(iter(outcome.failed.values()), outcome.abort_reason)
        raise RunError(f"not all detectors of the folds are trained ({first}); the same command goes on")
    if outcome.unfinished:
        raise KeyboardInterrupt
    jobs = prepare_jobs(
        plan(study), runs_dir=config.runs_dir, cache_dir=config.cache_dir, baseline=study.baseline, check_images="off"
    )
    parts = []
    for number, job in enumerate(jobs):
        trained = load_trained(job.run_dir, cache_dir=config.cache_dir, compute=compute)
        parts.append(_detected(trained, images, np.flatnonzero(fold == number), shown))
    columns = {column: np.concatenate([vars(part)[column] for part in parts]) for column in vars(parts[0])}
    return Detected(**columns)


def _detected(trained: Trained, images: Images, places: Ints, shown: Shown) -> Detected:
    """What a detector finds in the images at some places."""
    label_of = _labels(trained, images.dataset)
    records: list[ImageRecord] = [images.dataset.images[place] for place in places.tolist()]
    with shown() as progress:
        found = arrays_of(trained, [images.files[place] for place in places.tolist()], records, progress=progress)
    place_of = {record.id: place for record, place in zip(records, places.tolist(), strict=True)}
    known = np.isin(found.category_ids, list(label_of))
    return Detected(
        np.array([place_of[number] for number in found.image_ids[known].tolist()], dtype=np.int64),
        np.array([label_of[number] for number in found.category_ids[known].tolist()], dtype=np.int64),
        found.boxes_xyxy[known].astype(np.float64),
        found.scores[known].astype(np.float64),
    )


def _labels(trained: Trained, dataset: CocoDataset) -> dict[int, int]:
    """The place in the file of each category that the detector knows, by the id that it gives it."""
    names = dict(zip(trained.category_names, trained.category_ids, strict=True))
    unknown = [category.name for category in dataset.categories if category.name not in names]
    if unknown:
        raise UserError(
            f"{dataset.path}: the detector does not know its category {unknown[0]!r}{closest(unknown[0], names)}; name "
            "a run that was trained with the categories of this file"
        )
    return {names[category.name]: label for label, category in enumerate(dataset.categories)}
