"""The images that an annotation file lists, found among the files and folders that the user names."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING

import msgspec

from siod.data.coco import ImageRecord, leaves_folder
from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class _Images(msgspec.Struct):
    """All that is read of a file; COCO's lists of test images have nothing else."""

    images: list[ImageRecord]


def listed_images(annotations: Path, paths: Sequence[Path]) -> tuple[tuple[ImageRecord, Path], ...]:
    """The images of an annotation file that lie in the named folders or are named themselves.

    Args:
        annotations: A COCO file, or one with ``images`` alone.
        paths: Folders that the file's names are relative to, and image files whose paths end in a name of the file.

    Returns:
        Records with their files, in the order of the annotation file; what is listed and not named is left out, and
        what is named and not listed.

    Raises:
        UserError: The annotation file cannot be read or repeats an id, a path does not exist, none of the images is
            found, or one is found twice.
    """
    return find_images(_read(annotations), annotations, paths)


def find_images(
    records: Sequence[ImageRecord], annotations: Path, paths: Sequence[Path]
) -> tuple[tuple[ImageRecord, Path], ...]:
    """As :func:`listed_images`, of an annotation file that is read already.

    Args:
        records: All its images.
        annotations: Names the file in messages.
        paths: As for :func:`listed_images`.

    Raises:
        UserError: A path does not exist, none of the images is found, or one is found twice.
    """
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: no such image; name an existing file or folder")
    found = []
    for record in records:
        places = _places_of(record, paths)
        if len(places) > 1:
            raise UserError(
                f"{annotations}: {record.file_name} may be {places[0]} or {places[1]}; name the folder that the file's "
                "names are relative to"
            )
        found += [(record, place) for place in places]
    if not found:
        raise UserError(
            f"{annotations}: none of its {len(records)} images is among those named; name the folder that its file "
            f"names are relative to ({records[0].file_name!r} is the first)"
        )
    taken = Counter(place for _, place in found)
    twice = next((place for place, count in taken.items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{annotations}: {twice} belongs to two of its images; give every image a file of its own")
    return tuple(found)


def _places_of(record: ImageRecord, paths: Sequence[Path]) -> list[Path]:
    name = PurePath(record.file_name).parts
    below = [path / record.file_name for path in paths if path.is_dir()]
    named = [path for path in paths if not path.is_dir() and path.parts[-len(name) :] == name]
    return list(dict.fromkeys([*(path for path in below if path.is_file()), *named]))


def _read(path: Path) -> list[ImageRecord]:
    try:
        records = msgspec.json.decode(path.read_bytes(), type=_Images).images
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a COCO file that lists images") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: is no list of images ({error}); siod data check says what is wrong with it"
        ) from error
    if not records:
        raise UserError(f"{path}: images is empty; name a file with images")
    repeated, count = Counter(record.id for record in records).most_common(1)[0]
    if count > 1:
        raise UserError(f"{path}: images: id {repeated} occurs more than once; give every image its own id")
    for record in records:
        if leaves_folder(record.file_name):
            raise UserError(f"{path}: file_name {record.file_name!r} leaves the image folder; use a relative path")
    return records
