"""One COCO file divided into one for each split; entries stay as they are, byte for byte."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from siod.data import coco
from siod.data.formats.image_folder import atomic_folder
from siod.data.formats.layouts import SPLITS
from siod.data.formats.splitting import divide, group_keys
from siod.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from siod.data.formats.splitting import Division, Shares


@dataclass(frozen=True)
class SplitFiles:
    """What was written.

    Attributes:
        files: Images and annotations in each.
        remarks: Sentences about the division.
    """

    files: dict[Path, tuple[int, int]]
    remarks: tuple[str, ...]


def split_file(dataset: coco.CocoDataset, out: Path, shares: Shares) -> SplitFiles:
    """Write ``instances_train.json``, ``instances_val.json`` and, if it is wanted, ``instances_test.json``.

    The key of an image is its content where the file holds its hash, as ``siod data import`` writes it, else its name.

    Args:
        dataset: A COCO file.
        out: Folder to write; empty or absent.
        shares: How it is divided.

    Raises:
        UserError: A split would be empty, or the folder cannot be written.
    """
    division, by = _division(dataset, shares)
    records = dataset.image_records()
    info = {**dataset.info(), "split": {**asdict(shares), "seed": division.seed, "source_sha256": dataset.sha256}}
    splits = np.array(division.splits)
    annotations = dataset.annotation_records()
    files: dict[Path, tuple[int, int]] = {}
    with atomic_folder(out) as folder:
        for split in (split for split in SPLITS if split in shares.wanted()):
            chosen = splits == split
            if not chosen.any():
                raise UserError(f"{dataset.path}: {split} would have no images; try another --seed, --val or --test")
            name = f"instances_{split}.json"
            rows = np.flatnonzero(chosen[dataset.image_index]).tolist()
            document = {
                **dataset.sections,
                "info": info,
                "images": [records[place] for place in np.flatnonzero(chosen).tolist()],
                "annotations": [annotations[row] for row in rows],
            }
            coco.write(folder / name, document)
            files[out / name] = (int(chosen.sum()), len(rows))
    remarks = [f"divided by the hash of each image's {by}, seed {division.seed}"]
    remarks += [f"category {name!r} has no box in {split}" for name, split in division.missing]
    return SplitFiles(files, tuple(remarks))


def _division(dataset: coco.CocoDataset, shares: Shares) -> tuple[Division, str]:
    """Who goes where, and by what."""
    names = [image.file_name for image in dataset.images]
    keys, by = names, "file name"
    if shares.group is not None:
        keys, by = group_keys(names, shares.group), "group"
    elif len(hashes := _hashes(dataset)) == len(names):
        keys, by = hashes, "content"
    shown: list[set[str]] = [set() for _ in names]
    instances = ~dataset.iscrowd
    for place, label in zip(dataset.image_index[instances], dataset.labels[instances], strict=True):
        shown[place].add(dataset.categories[label].name)
    return divide(keys, [frozenset(one) for one in shown], shares), by


def _hashes(dataset: coco.CocoDataset) -> list[str]:
    """The content hashes that the file holds."""
    entries: list[Any] = [
        coco.decode_entry(record, dataset.path, f"images[{place}]")
        for place, record in enumerate(dataset.image_records())
    ]
    return [entry["sha256"] for entry in entries if isinstance(entry.get("sha256"), str)]
