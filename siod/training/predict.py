"""Detections of a trained checkpoint in any images."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from siod.data.images import BrokenImageError
from siod.data.source import prepare
from siod.detectors.zoo import build
from siod.errors import UserError
from siod.json_file import write_json
from siod.training import checkpoint
from siod.training.context import InProcess
from siod.training.devices import CPU, reserved_device, this_machine
from siod.training.evaluate import detect
from siod.training.experiment import Compute, Experiment
from siod.training.placement import Placement, place

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from siod.data.source import PreparedData
    from siod.detectors.detector import Detector

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
ROOT = Path("/")
AUTOMATIC = Compute()


@dataclass(frozen=True)
class Predictions:
    """What a checkpoint finds.

    Args:
        files: The images; the id of one is its place, from 1.
        document: A COCO document of images and categories, without annotations.
        detections: A COCO results list, boxes x, y, width, height in pixels of the image files.
    """

    files: tuple[Path, ...]
    document: dict[str, Any]
    detections: list[dict[str, Any]]

    def in_image(self, number: int) -> list[tuple[tuple[float, float, float, float], str, float]]:
        """Box (x, y, width, height), category name and score of each detection in one image."""
        names = {category["id"]: category["name"] for category in self.document["categories"]}
        mine = [one for one in self.detections if one["image_id"] == number]
        return [(tuple(one["bbox"]), names[one["category_id"]], one["score"]) for one in mine]


@dataclass(frozen=True)
class Trained:
    """A checkpoint's detector, what it was trained by, and on what.

    Args:
        detector: In evaluation mode, on its device.
        experiment: Of the run.
        data: Of the run.
        device: Where it is.
        loader_workers: Processes that decode images for it.
    """

    detector: Detector
    experiment: Experiment
    data: PreparedData
    device: torch.device = CPU
    loader_workers: int = 0


def load_trained(checkpoint_file: Path, *, cache_dir: Path, compute: Compute = AUTOMATIC) -> Trained:
    """Build the detector of a checkpoint: the trained one, or the teacher of a method that is judged by its teacher.

    Args:
        checkpoint_file: Of a run's ``checkpoints``, or the run's folder for its best one.
        cache_dir: Where the run's data set is.
        compute: What it may use of this machine; where the run was trained does not matter.

    Raises:
        UserError: It is no checkpoint, or the data set is not there.
        RunError: A GPU is asked for that is not there.
    """
    placement = Placement.of(place(compute, [this_machine()]))
    device = reserved_device(placement)
    file = best_of(checkpoint_file)
    state = checkpoint.load(file)
    experiment = Experiment.recorded(state, source=str(file))
    data = prepare(experiment.data, experiment.annotations, cache_dir, check_images="off")
    detector = _detector(state, experiment, data).to(device)
    return Trained(detector, experiment, data, device, placement.loader_workers)


def best_of(path: Path) -> Path:
    """The checkpoint that is meant: a file as it is, for a run's folder the best one.

    Raises:
        UserError: The folder holds none.
    """
    if not path.is_dir():
        return path
    for best in (path / "checkpoints" / "best.pt", path / "best.pt"):
        if best.is_file():
            return best
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
    checkpoint_file: Path, files: Sequence[Path], *, cache_dir: Path, compute: Compute = AUTOMATIC
) -> Predictions:
    """Run a checkpoint on images, in the way its validation images were looked at.

    Args:
        checkpoint_file: Of a run's ``checkpoints``, or the run's folder for its best one.
        files: Of :func:`image_files`.
        cache_dir: Where the data set is that names the categories.
        compute: What it may use of this machine.

    Returns:
        All detections, down to the lowest score the detector gives.

    Raises:
        UserError: The checkpoint or an image cannot be read.
    """
    return detections_of(load_trained(checkpoint_file, cache_dir=cache_dir, compute=compute), files)


def detections_of(trained: Trained, files: Sequence[Path]) -> Predictions:
    """Run a trained detector on images.

    Args:
        trained: Of :func:`load_trained`.
        files: Absolute paths.

    Raises:
        UserError: An image cannot be read.
    """
    data = trained.data
    categories = [
        {"id": number, "name": name} for number, name in zip(data.category_ids, data.category_names, strict=True)
    ]
    images = [_record(place, file) for place, file in enumerate(files, start=1)]
    document = {"images": images, "annotations": [], "categories": categories}
    with tempfile.TemporaryDirectory() as folder:
        annotations = Path(folder) / "images.json"
        write_json(annotations, document)
        # The name of the folder stands for its content: what is remembered of other images must not be used.
        shown = replace(data, val=annotations, val_images=ROOT, fingerprint=folder)
        context = InProcess(Path(folder), device=trained.device)
        evaluation, precision = trained.experiment.evaluation, trained.experiment.evaluated_in()
        # Processes are worth their start where there are batches to hand out.
        loaders = min(trained.loader_workers, len(files) // evaluation.batch_size)
        found = detect(trained.detector, shown, evaluation, context, precision=precision, loader_workers=loaders)
    return Predictions(tuple(files), document, found.coco_results())


def _record(number: int, file: Path) -> dict[str, Any]:
    try:
        with Image.open(file) as image:
            width, height = image.size
    except (OSError, Image.DecompressionBombError) as error:
        raise BrokenImageError(f"{file}: does not decode as an image; name another") from error
    return {"id": number, "file_name": file.relative_to(ROOT).as_posix(), "width": width, "height": height}


def _detector(state: dict[str, Any], experiment: Experiment, data: PreparedData) -> Detector:
    """The detector that was judged: the trained one, or the teacher of a method that keeps one."""
    detector = build(experiment.detector, num_classes=len(data.category_names))
    judged = getattr(experiment.method, "judged", "")
    detector.load_state_dict(state["method"]["teacher"] if judged == "teacher" else state["model"])
    return detector.eval()
