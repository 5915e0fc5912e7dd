"""Write annotation files and images as ``CocoFolder`` reads them: the folder is there whole or not at all."""

from __future__ import annotations

import shutil
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from siod.data import coco
from siod.data.formats.layouts import SPLITS
from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from siod.data.formats.layouts import Split


@dataclass(frozen=True)
class FolderImage:
    """An image to write into the folder.

    Args:
        split: Where it goes.
        name: Of its file below the folder of that split.
        file: That is copied.
        record: In the annotation file.
    """

    split: Split
    name: str
    file: Path
    record: dict[str, Any]


def write_folder(
    out: Path,
    images: Sequence[FolderImage],
    sections: Mapping[str, Any],
    info: Mapping[str, Any],
    *,
    link: bool = False,
) -> None:
    """Write ``annotations/instances_SPLIT.json`` and the images below ``SPLIT`` for each split that has any.

    Args:
        out: Empty or absent.
        images: All of them.
        sections: Annotations, categories and whatever else the files share.
        info: Of the files.
        link: Place symbolic links instead of copies.

    Raises:
        UserError: A file cannot be written or read.
    """
    with atomic_folder(out) as folder:
        for split in SPLITS:
            placed = [image for image in images if image.split == split]
            if not placed:
                continue
            ids = {image.record["id"] for image in placed}
            annotations = [entry for entry in sections["annotations"] if entry["image_id"] in ids]
            records = {"images": [image.record for image in placed], "annotations": annotations}
            coco.write(folder / "annotations" / f"instances_{split}.json", {"info": info, **sections, **records})
            for image in placed:
                place(image.file, folder / split / image.name, link=link)


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """Fill a folder under another name that takes its place once it is whole.

    Args:
        out: Empty or absent.

    Yields:
        The folder to fill. If that fails it is deleted.

    Raises:
        UserError: The file system refuses.
    """
    unfinished = out.absolute().with_name(f".{out.absolute().name}.{uuid.uuid4().hex}.unfinished")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        unfinished.rename(out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error}); free space or name another folder") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def place(file: Path, target: Path, *, link: bool) -> None:
    """Put an image, or a symbolic link to it, under another name; two records may share one file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() or target.exists():
        return
    if link:
        target.symlink_to(file.resolve())
    else:
        shutil.copyfile(file, target)
