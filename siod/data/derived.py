"""The annotation files a run stands on, derived from the user's: broken images left out, boxes hidden by a policy."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siod.data import coco
from siod.data.annotation_sets import Full, Policy, annotate, without_images
from siod.data.cached import creation_lock
from siod.errors import UserError
from siod.value import digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from siod.data.known_files import KnownFiles

LAYOUT_VERSION = 2
"""Raised when the files of a derived set change their meaning."""

SIDE_BITS = 31
"""A side of an image is shorter than two to the power of this."""

SizeCounts = tuple[tuple[int, int, int], ...]
"""Width and height in pixels that images of a split have, and how many have them."""


@dataclass(frozen=True)
class SplitFile:
    """The annotation file of a split.

    Args:
        named: As the user named it; messages name it too.
        sound: The same file, or its repaired copy.
        broken: Ids of images that cannot be used.
    """

    named: Path
    sound: Path
    broken: tuple[int, ...]


class DerivedSets:
    """Finds or makes the derived annotation files of one source; its own files are read once, whatever is derived.

    Args:
        splits: ``train``, ``val`` and perhaps ``test``.
        known: Knows the hashes of the files.
        cache_dir: Folders are made below it.
    """

    def __init__(self, splits: Mapping[str, SplitFile], known: KnownFiles, cache_dir: Path) -> None:
        self._splits, self._known, self._cache_dir = splits, known, cache_dir

    def folder(self, policy: Policy) -> Path:
        """Find or make the folder of derived files with ``summary.json``; what needs no change is not copied.

        Args:
            policy: Which boxes of the training images may be learnt from.

        Returns:
            A folder with ``train.json`` unless the policy keeps everything, and ``train_full.json``, ``val.json``,
            ``test.json`` where images were left out.

        Raises:
            UserError: The files do not fit together, or there is nothing to learn from or to judge by.
        """
        key = digest(
            {
                "version": LAYOUT_VERSION,
                "sources": {split: self._known.sha256(file.sound) for split, file in self._splits.items()},
                "policy": policy.model_dump(mode="json"),
                "broken": {split: file.broken for split, file in self._splits.items()},
            }
        )
        folder = self._cache_dir / "sets" / key
        with creation_lock(folder) as missing:
            if missing:
                with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unfinished.") as unfinished:
                    whole = Path(unfinished) / "whole"
                    datasets = {split: self._usable(split, whole) for split in self._splits}
                    _derive(datasets, self._splits, policy, whole)
                    whole.rename(folder)
        return folder

    def _usable(self, split: str, folder: Path) -> coco.CocoDataset:
        """The data set of a split without its broken images, written to the folder where there are any."""
        file = self._splits[split]
        dataset = self._known.dataset(file.sound)
        if not file.broken:
            return dataset
        cleaned = folder / ("train_full.json" if split == "train" else f"{split}.json")
        coco.write(cleaned, without_images(dataset, list(file.broken)))
        return coco.read(cleaned)


def _derive(
    datasets: Mapping[str, coco.CocoDataset], splits: Mapping[str, SplitFile], policy: Policy, folder: Path
) -> None:
    train = datasets["train"]
    for split, dataset in datasets.items():
        _refuse_useless(dataset, splits[split].named, "to learn from" if split == "train" else "to judge by")
        if dataset.categories != train.categories:
            foreign, own = splits[split].named, splits["train"].named
            raise UserError(f"{foreign}: categories differ from those of {own}; give both files the same list")
    learnt = train.sha256
    if not isinstance(policy, Full):
        learnt = coco.write(folder / "train.json", annotate(train, policy))
    judged = {split: dataset.sha256 for split, dataset in datasets.items() if split != "train"}
    summary = {
        "fingerprint": digest({"train": learnt, "train_full": train.sha256, **judged}),
        "category_names": [category.name for category in train.categories],
        "category_ids": [category.id for category in train.categories],
        "image_sizes": {split: _sizes(dataset) for split, dataset in datasets.items()},
    }
    coco.write(folder / "summary.json", summary)


def _sizes(dataset: coco.CocoDataset) -> list[list[int]]:
    """Width, height and number of the images of each size."""
    width, height = coco.image_sizes(dataset.images).T
    sizes, counts = np.unique(width << SIDE_BITS | height, return_counts=True)
    sides = np.stack([sizes >> SIDE_BITS, sizes & (1 << SIDE_BITS) - 1, counts], axis=1)
    rows: list[list[int]] = sides.tolist()
    return rows


def _refuse_useless(dataset: coco.CocoDataset, named: Path, purpose: str) -> None:
    """Refuse sets that training or evaluation would get nothing from, without an error."""
    for section in ("images", "categories"):
        if not getattr(dataset, section):
            raise UserError(f"{named}: {section} is empty; name an annotation file with {section}")
    boxes = dataset.boxes_xyxy[~dataset.iscrowd]
    if not len(boxes):
        what = "only crowds" if len(dataset.iscrowd) else "no annotations"
        raise UserError(f"{named}: has {what}, so there is nothing {purpose}; name a file with boxes")
    if float(boxes.max()) <= 1:
        raise UserError(
            f"{named}: all boxes lie between 0 and 1, relative to their images; write them in pixels "
            "(siod data check tells more)"
        )
