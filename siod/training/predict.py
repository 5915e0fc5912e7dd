"""Detections of a trained checkpoint in any images."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs, to_builtins
from PIL import Image

from siod.data.coco import ImageRecord
from siod.data.images import BrokenImageError
from siod.data.resized import shrink_images
from siod.data.source import PreparedData, SmallCopies, prepare
from siod.detectors.zoo import build
from siod.errors import UserError
from siod.json_file import write_json
from siod.training import checkpoint
from siod.training.checkpoint_files import CHECKPOINTS, CheckpointFiles
from siod.training.context import InProcess
from siod.training.devices import CPU, reserved_device
from siod.training.evaluate import detect
from siod.training.experiment import Compute, Experiment
from siod.training.machine import this_machine
from siod.training.placement import Placement, place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from siod.data.usable_files import Check
    from siod.detectors.detector import Detector
    from siod.training.evaluate import DetectionArrays

    Progress = Callable[[int, int], None]

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
ROOT = Path("/")
AUTOMATIC = Compute()


@dataclass(frozen=True)
class Predictions:
    """What a checkpoint finds.

    Args:
        files: The images, in the order of the document's.
        document: A COCO document of images and categories, without annotations.
        detections: A COCO results list, boxes x, y, width, height in pixels of the image files.
    """

    files: tuple[Path, ...]
    document: dict[str, Any]
    detections: list[dict[str, Any]]

    def in_image(self, place: int) -> list[tuple[tuple[float, float, float, float], str, float]]:
        """Box (x, y, width, height), category name and score of each detection in the file at a place, from 0."""
        names = {category["id"]: category["name"] for category in self.document["categories"]}
        image_id = self.document["images"][place]["id"]
        mine = [one for one in self.detections if one["image_id"] == image_id]
        return [(tuple(one["bbox"]), names[one["category_id"]], one["score"]) for one in mine]


@dataclass(frozen=True)
class Trained:
    """A checkpoint's detector, what it was trained by, and what it tells apart.

    Args:
        detector: In evaluation mode, on its device.
        experiment: Of the run.
        category_ids: The data set's id of each label, ascending.
        category_names: By label.
        device: Where it is.
        loader_workers: Processes that decode images for it.
    """

    detector: Detector
    experiment: Experiment
    category_ids: tuple[int, ...]
    category_names: tuple[str, ...]
    device: torch.device = CPU
    loader_workers: int = 0


def load_trained(checkpoint_file: Path, *, cache_dir: Path, compute: Compute = AUTOMATIC) -> Trained:
    """Build the detector of a checkpoint: the trained one, or the teacher of a method that is judged by its teacher.

    Args:
        checkpoint_file: Of a run's ``checkpoints``, or the run's folder for its best one.
        cache_dir: Where the run's data set is; asked for its categories where a checkpoint of an earlier version does
            not name them.
        compute: What it may use of this machine; where the run was trained does not matter.

    Raises:
        UserError: It is no checkpoint.
        RunError: A GPU is asked for that is not there.
    """
    placement = Placement.of(place(compute, [this_machine()]))
    device = reserved_device(placement)
    file = best_of(checkpoint_file)
    state = checkpoint.load(file)
    experiment = Experiment.recorded(state, source=str(file))
    categories = state if "category_names" in state else vars(data_of(experiment, cache_dir=cache_dir))
    ids, names = tuple(categories["category_ids"]), tuple(categories["category_names"])
    detector = _detector(state, experiment, num_classes=len(names)).to(device)
    return Trained(detector, experiment, ids, names, device, placement.loader_workers)


def data_of(experiment: Experiment, *, cache_dir: Path) -> PreparedData:
    """The files of a run that was trained.

    Args:
        experiment: Of the run.
        cache_dir: Where its data set is.

    Raises:
        UserError: The data set is not there.
    """
    # Small copies cannot be made of broken images, which the run may have left out.
    check: Check = "off" if _longest_px(experiment) is None else "skip"
    return prepare(experiment.data, experiment.annotations, cache_dir, check_images=check)


def _longest_px(experiment: Experiment) -> int | None:
    """Longest side of the small copies that a run looked at, if it did."""
    longest: int | None = getattr(experiment.data, "longest_px", None)
    return longest


def best_of(path: Path) -> Path:
    """The checkpoint that is meant: a file as it is, for a run's folder the best one, or the last if no other is kept.

    Raises:
        UserError: The folder holds none.
    """
    if not path.is_dir():
        return path
    for best in (path / "checkpoints" / "best.pt", path / "best.pt"):
        if best.is_file():
            return best
    last = CheckpointFiles(path / CHECKPOINTS).latest()
    if last is not None:  # of a run that keeps no other
        return last
    raise UserError(f"{path}: no checkpoints/best.pt in this folder; name a run's folder or a checkpoint file")


def image_files(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The images that are named, and those of the folders that are.

    Args:
        paths: Files, and folders whose images are taken in the order of their names.

    Raises:
        UserError: A path does not exist, or a folder holds no image.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES)
            if not inside:
                raise UserError(f"{path}: no image in this folder; name one that holds some, or image files")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"{path}: no such image; name an existing file or folder")
    return tuple(dict.fromkeys(file.resolve() for file in files))


def predict(
    checkpoint_file: Path,
    files: Sequence[Path],
    *,
    cache_dir: Path,
    compute: Compute = AUTOMATIC,
    records: Sequence[ImageRecord] | None = None,
    progress: Progress | None = None,
) -> Predictions:
    """Run a checkpoint on images, in the way its validation images were looked at.

    Args:
        checkpoint_file: Of a run's ``checkpoints``, or the run's folder for its best one.
        files: Of :func:`image_files`.
        cache_dir: As for :func:`load_trained`.
        compute: What it may use of this machine.
        records: As for :func:`detections_of`.
        progress: Likewise.

    Returns:
        All detections, down to the lowest score the detector gives.

    Raises:
        UserError: The checkpoint or an image cannot be read.
    """
    trained = load_trained(checkpoint_file, cache_dir=cache_dir, compute=compute)
    return detections_of(trained, files, records=records, progress=progress)


def detections_of(
    trained: Trained,
    files: Sequence[Path],
    *,
    records: Sequence[ImageRecord] | None = None,
    progress: Progress | None = None,
) -> Predictions:
    """Run a trained detector on images.

    Args:
        trained: Of :func:`load_trained`.
        files: Absolute paths.
        records: Id, name and size of each, from an annotation file (``siod.data.image_list``); None numbers the images
            by their places from 1.
        progress: Called with the number of images done and of all, for shrinking them and for looking at them.

    Raises:
        UserError: An image cannot be read, or is not of the size that its record states.
    """
    if records is None:
        records = [_record(place, file) for place, file in enumerate(files, start=1)]
    found = arrays_of(trained, files, records, progress=progress)
    images = [to_builtins(record) for record in records]
    document = {"images": images, "annotations": [], "categories": _categories(trained)}
    return Predictions(tuple(files), document, found.coco_results())


def arrays_of(
    trained: Trained, files: Sequence[Path], records: Sequence[ImageRecord], *, progress: Progress | None = None
) -> DetectionArrays:
    """Run a trained detector on images, for columns instead of records: 100 detections an image are many.

    Args:
        trained: Of :func:`load_trained`.
        files: Absolute paths.
        records: As for :func:`detections_of`.
        progress: Likewise.

    Raises:
        UserError: An image cannot be read, or is not of the size that its record states.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _found(trained, _placed(records, files), _categories(trained), Path(folder), progress)


def _categories(trained: Trained) -> list[dict[str, Any]]:
    return [
        {"id": number, "name": name} for number, name in zip(trained.category_ids, trained.category_names, strict=True)
    ]


def _found(
    trained: Trained,
    records: Sequence[ImageRecord],
    categories: list[dict[str, Any]],
    folder: Path,
    progress: Progress | None,
) -> DetectionArrays:
    """Let the detector look at images as if they were its validation set, whose files are kept in ``folder``."""
    annotations = folder / "images.json"
    write_json(annotations, {"images": to_builtins(records), "annotations": [], "categories": categories})
    longest_px, copies = _longest_px(trained.experiment), None
    if longest_px is not None:
        copies = SmallCopies(longest_px, train=folder / "copies", val=folder / "copies")
        shrink_images(records, ROOT, copies.val, longest_px, progress=progress)
    data = PreparedData(
        train=annotations,
        train_full=annotations,
        train_images=ROOT,
        val=annotations,
        val_images=ROOT,
        fingerprint=str(folder),  # stands for its content: what is remembered of other images must not be used
        category_names=trained.category_names,
        category_ids=trained.category_ids,
        copies=copies,
    )
    evaluation, precision = trained.experiment.evaluation, trained.experiment.evaluated_in()
    # Processes are worth their start where there are batches to hand out.
    loaders = min(trained.loader_workers, len(records) // evaluation.batch_size)
    context = InProcess(folder, device=trained.device)
    return detect(
        trained.detector,
        data,
        evaluation,
        context,
        precision=precision,
        loader_workers=loaders,
        progress=None if progress is None else lambda done: progress(done, len(records)),
    )


def _placed(records: Sequence[ImageRecord], files: Sequence[Path]) -> list[ImageRecord]:
    """The records with names relative to the root of the file system, so that any files make one set."""
    names = (file.relative_to(ROOT).as_posix() for file in files)
    return [structs.replace(record, file_name=name) for record, name in zip(records, names, strict=True)]


def _record(number: int, file: Path) -> ImageRecord:
    try:
        with Image.open(file) as image:
            width, height = image.size
    except (OSError, Image.DecompressionBombError) as error:
        raise BrokenImageError(f"{file}: does not decode as an image; name another") from error
    return ImageRecord(number, file.relative_to(ROOT).as_posix(), width, height)


def _detector(state: dict[str, Any], experiment: Experiment, *, num_classes: int) -> Detector:
    """The detector that was judged: the trained one, or the teacher of a method that keeps one."""
    detector = build(experiment.detector, num_classes=num_classes)
    detector.load_state_dict(checkpoint.judged_weights(state))
    return detector.eval()
