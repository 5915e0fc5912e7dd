"""Folds: every image gets proposals from a detector that has not learnt from it.

A detector that was trained on an image whose objects lack boxes has been taught that nothing is there.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siod.data import coco
from siod.data.annotation_sets import of_images
from siod.data.cached import creation_lock
from siod.data.formats.splitting import group_keys
from siod.errors import UserError
from siod.value import digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siod.data.coco import CocoDataset

LAYOUT_VERSION = 1
"""Raised when the files of folds change their meaning."""


def fold_of_images(names: tuple[str, ...], folds: int, *, group: str | None = None, seed: int = 0) -> NDArray[np.int64]:
    """Divide images into folds of equal size, by the hashes of their names.

    Args:
        names: File names with folders.
        folds: At least 2.
        group: A regular expression; images in whose names its first group finds the same stay in one fold, such as the
            frames of a video. None divides image by image.
        seed: Decides the division.

    Returns:
        The fold of each image, from 0. Folds differ by one image (by one group) at most.

    Raises:
        UserError: There are fewer images or groups than folds, or the expression finds nothing in a name.

    Example:
        >>> fold_of_images(("a.png", "b.png", "c.png", "d.png"), 2).tolist()
        [1, 1, 0, 0]
    """
    keys = list(names) if group is None else group_keys(names, group)
    ranked = sorted(set(keys), key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())
    if len(ranked) < folds:
        what = "images" if group is None else "groups of images"
        raise UserError(f"--folds {folds}: there are {len(ranked)} {what}; name fewer folds")
    places = {key: rank % folds for rank, key in enumerate(ranked)}
    return np.array([places[key] for key in keys], dtype=np.int64)


def fold_files(dataset: CocoDataset, fold: NDArray[np.int64], cache_dir: Path) -> tuple[Path, ...]:
    """Write for each fold the annotation file without its images; entries stay as they are, byte for byte.

    Args:
        dataset: The whole file.
        fold: Of each image, from 0.
        cache_dir: The files are kept below it, by content.

    Returns:
        What the detector of each fold learns from.
    """
    key = digest({"version": LAYOUT_VERSION, "source": dataset.sha256, "fold": fold.tolist()})
    folder = cache_dir / "folds" / key
    files = tuple(folder / f"without_{number}.json" for number in range(1, int(fold.max()) + 2))
    with creation_lock(folder) as missing:
        if missing:
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unfinished.") as unfinished:
                whole = Path(unfinished) / "whole"
                for number, file in enumerate(files):
                    note = {"number": number + 1, "source_sha256": dataset.sha256}
                    info = {**dataset.info(), "without_fold": note}
                    coco.write(whole / file.name, of_images(dataset, fold != number, info))
                whole.rename(folder)
    return files


def only_in_one(dataset: CocoDataset, fold: NDArray[np.int64]) -> tuple[str, ...]:
    """Categories whose boxes are all in images of one fold, so that its detector cannot learn them.

    Args:
        dataset: The whole file.
        fold: Of each image, from 0.

    Returns:
        Their names in the order of ids.
    """
    boxed = np.zeros((len(dataset.categories), int(fold.max()) + 1), dtype=bool)
    boxed[dataset.labels[~dataset.iscrowd], fold[dataset.image_index[~dataset.iscrowd]]] = True
    return tuple(dataset.categories[label].name for label in np.flatnonzero(boxed.sum(axis=1) == 1).tolist())
