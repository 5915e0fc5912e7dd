"""What a user names to find missing boxes with, found: a detector or several, the images, the annotations."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siod.completion.folds import fold_of_images, only_in_one
from siod.completion.results_file import is_annotation_file, is_results_file, read_results
from siod.data import coco
from siod.errors import UserError
from siod.training.predict import data_of, load_trained
from siod.tuning.running.finding import Images, chosen_experiment, detect_with, detect_with_folds, trained_run
from siod.tuning.study import load_study

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from siod.completion.candidates import Detected
    from siod.data.category_states import Declared
    from siod.data.source import PreparedData
    from siod.training.experiment import Compute, Experiment
    from siod.training.predict import Trained
    from siod.tuning.running.finding import Shown
    from siod.tuning.running.run_config import RunConfig
    from siod.tuning.study import Study


@dataclass(frozen=True)
class Asked:
    """What a command line names.

    Attributes:
        source: A study's name or file, a run's folder, a checkpoint, or a COCO results file.
        compute: What detectors may use of this machine.
        config: How the detectors of folds are trained.
        annotations: Absolute path of the file that lacks boxes; None takes what the run learnt from.
        images: Absolute folder of its images; None takes the run's.
        declared: What the user says of the annotations; None leaves it to the file and to the run's data source.
        arm: Of the study.
        seed: Of its trial; None takes its first.
        folds: Number of detectors, none of which sees the images it looks at; 0 takes one that is trained.
        group: Images that share a fold, as for :func:`siod.completion.folds.fold_of_images`.
        settings: Changes of the experiment that folds train, by dotted path.
        confirm: Asked before trials of COCO's size train on CPU cores.
        shown: As for :func:`siod.tuning.running.finding.detect_with`.
    """

    source: str
    compute: Compute
    config: RunConfig
    annotations: Path | None = None
    images: Path | None = None
    declared: Declared | None = None
    arm: str | None = None
    seed: int | None = None
    folds: int = 0
    group: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    confirm: Callable[[str], bool] | None = None
    shown: Shown = nullcontext


@dataclass(frozen=True)
class Found:
    """Detections in the images of an annotation file.

    Attributes:
        detected: All of them.
        images: The file and its images.
        declared: What is said of the annotations, if anything.
        detector: What found them, in words.
        errs_low: True when the detector has taught itself on these very images that what it finds there is true, so
            that too few of its false boxes are estimated.
        unlearnt: Categories that the detector of one fold has never seen, and does not find there.
    """

    detected: Detected
    images: Images
    declared: Declared | None
    detector: str
    errs_low: bool = False
    unlearnt: tuple[str, ...] = ()


def find(asked: Asked) -> Found:
    """Let what the user names look at the images.

    Raises:
        UserError: Something that is named does not exist or does not fit the rest.
        RunError: The detectors of the folds were not all trained.
        KeyboardInterrupt: The user stopped their training.
    """
    path = Path(asked.source).expanduser()
    _refuse_no_source(path, asked)
    if is_results_file(path):
        return _of_results(path.resolve(), asked)
    if asked.settings and not asked.folds:
        raise UserError("--set changes what --folds trains; name both, or a run that was trained so")
    if asked.folds == 1:
        raise UserError("--folds 1: leaves no image to learn from; name 2 or more, or 0 for a detector that is trained")
    trained: Trained | None
    if path.is_dir() or path.suffix == ".pt":
        _refuse_arm(asked)
        trained = load_trained(path.resolve(), cache_dir=asked.config.cache_dir, compute=asked.compute)
        experiment, name = trained.experiment.unplaced(), path.resolve().name
        words = f"run {path.resolve()}"
    else:
        study, arm, seed = _trial(asked)
        experiment, trained = _of_study(study, arm, seed, asked)
        name, words = f"{study.name}-{arm}", f"study {study.name}, {arm}/{seed}"
    experiment = experiment.with_changes(asked.settings)
    images, declared = _looked_at(experiment, asked)
    if trained is not None and not asked.folds:
        detected = detect_with(trained, images, shown=asked.shown)
        teaches_itself = experiment.dminer is not None or experiment.method is not None
        return Found(detected, images, declared, words, teaches_itself and asked.annotations is None)
    fold = fold_of_images(tuple(one.file_name for one in images.dataset.images), asked.folds, group=asked.group)
    detected = detect_with_folds(
        experiment,
        name,
        images,
        asked.config,
        fold=fold,
        declared=declared,
        compute=asked.compute,
        confirm=asked.confirm,
        shown=asked.shown,
    )
    unlearnt = only_in_one(images.dataset, fold)
    return Found(detected, images, declared, f"{asked.folds} detectors trained like {words}", unlearnt=unlearnt)


def _refuse_no_source(path: Path, asked: Asked) -> None:
    """Refuse what is no source at all, and --group where nothing is divided."""
    is_file_of_study = path.suffix == ".py"
    if not path.exists() and not is_file_of_study and (path.suffix or len(path.parts) > 1):
        raise UserError(f"{asked.source}: no such file or folder; name a run, a checkpoint, detections or a study")
    if is_annotation_file(path):
        raise UserError(
            f"{asked.source}: is an annotation file; name it with --annotations, and first what finds the boxes: a "
            "run, a checkpoint, detections or a study"
        )
    if asked.group is not None and not asked.folds:
        raise UserError("--group says which images share a fold; name --folds too, or leave it out")


def _of_results(path: Path, asked: Asked) -> Found:
    if asked.folds or asked.settings:
        raise UserError(f"{path}: detections are there already, so nothing is trained; leave out --folds and --set")
    _refuse_arm(asked)
    if asked.annotations is None or asked.images is None:
        raise UserError(
            f"{path}: name the annotation file that the detections belong to, with --annotations and --images"
        )
    images = Images.of(coco.read(asked.annotations), asked.images)
    return Found(read_results(path, images.dataset), images, asked.declared, f"detections {path}")


def _refuse_arm(asked: Asked) -> None:
    if asked.arm is not None or asked.seed is not None:
        raise UserError(f"{asked.source}: is no study; leave out --arm and --seed")


def _trial(asked: Asked) -> tuple[Study, str, int]:
    study = load_study(asked.source)
    names = [arm.name for arm in study.arms]
    if asked.arm is None and len(names) > 1:
        raise UserError(f"study {study.name!r}: has several arms; name one with --arm: {', '.join(names)}")
    arm = study.arm(asked.arm or names[0])
    return study, arm.name, study.seeds[0] if asked.seed is None else asked.seed


def _of_study(study: Study, arm: str, seed: int, asked: Asked) -> tuple[Experiment, Trained | None]:
    """An arm's experiment, and its trained detector unless folds are to be trained."""
    runs_dir, cache_dir = asked.config.runs_dir, asked.config.cache_dir
    experiment = chosen_experiment(study, arm, seed, source=asked.source, runs_dir=runs_dir)
    if asked.folds:
        return experiment, None
    run = trained_run(study, arm, experiment, source=asked.source, runs_dir=runs_dir, cache_dir=cache_dir)
    return experiment, load_trained(run, cache_dir=cache_dir, compute=asked.compute)


def _looked_at(experiment: Experiment, asked: Asked) -> tuple[Images, Declared | None]:
    """The images, and what is said of their annotations: by the user, or by the data source of a run that has them."""
    if asked.annotations is not None and asked.images is not None:
        images = Images.of(coco.read(asked.annotations), asked.images)
        return images, asked.declared or _said_by_source(experiment, images)
    data: PreparedData = data_of(experiment, cache_dir=asked.config.cache_dir)
    return Images.of(coco.read(data.train), data.train_images), asked.declared or data.declared


def _said_by_source(experiment: Experiment, images: Images) -> Declared | None:
    source = experiment.data
    if source.kind == "digits":
        return None
    own = source.root / "annotations" if source.kind == "coco_folder" else source.train_annotations
    own = own.expanduser().resolve()
    if images.dataset.path != own and own not in images.dataset.path.parents:
        return None
    return source.declared()
