"""COCO files: read and check, keep every byte that is not ours, write atomically.

Reading makes numpy columns of what detection needs. The records themselves stay undecoded slices of the
file, so segmentations and unknown fields pass through a derived file untouched and cost no memory.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import math
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import msgspec
import numpy as np
from msgspec import Meta

from siod.data.json_text import first_nonfinite, pieces_of
from siod.errors import UserError
from siod.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

EDGE_TOLERANCE_PX = 1.0
"""How far a box may reach past its image: annotation tools round, and COCO2017 itself does."""

LARGEST_ID = 2**53
"""Beyond, a JSON number is no longer exact in every reader."""

LARGEST_LENGTH = 2**31 - 1

Identifier = Annotated[int, Meta(ge=-LARGEST_ID, le=LARGEST_ID)]
Length = Annotated[int, Meta(gt=0, le=LARGEST_LENGTH)]


class ImageRecord(msgspec.Struct, frozen=True, gc=False):
    """One image of the file; width and height in pixels."""

    id: Identifier
    file_name: Annotated[str, Meta(min_length=1)]
    width: Length
    height: Length


class Category(msgspec.Struct, frozen=True, gc=False):
    """One category; its label is its place in the order of ids."""

    id: Identifier
    name: Annotated[str, Meta(min_length=1)]


class AnnotationRecord(msgspec.Struct, frozen=True, gc=False):
    """One annotation; the box is x, y, width, height in pixels. A missing ``area`` is that of the box."""

    id: Identifier
    image_id: Identifier
    category_id: Identifier
    bbox: tuple[float, float, float, float]
    area: float | None = None
    iscrowd: bool | int | None = 0


@dataclass(frozen=True, eq=False)
class CocoDataset:
    """A COCO file as columns, one entry per annotation in the order of the file.

    Attributes:
        path: The file.
        sha256: Of its bytes.
        sections: The undecoded top-level entries.
        images: In the order of the file.
        categories: Sorted by id; the place is the contiguous label.
        annotation_ids: int64.
        image_index: Place of the annotation's image in ``images``, int64.
        labels: Place of its category in ``categories``, int64.
        boxes_xywh: ``[N, 4]`` float64, pixels of the image file.
        area: float64, as stated in the file.
        iscrowd: bool.
    """

    path: Path
    sha256: str
    sections: dict[str, msgspec.Raw]
    images: tuple[ImageRecord, ...]
    categories: tuple[Category, ...]
    annotation_ids: NDArray[np.int64]
    image_index: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes_xywh: NDArray[np.float64]
    area: NDArray[np.float64]
    iscrowd: NDArray[np.bool_]

    @property
    def raw(self) -> dict[str, Any]:
        """The whole file as plain Python data, unknown fields included; decoded at each call."""
        return {name: msgspec.json.decode(section) for name, section in self.sections.items()}

    @cached_property
    def boxes_xyxy(self) -> NDArray[np.float64]:
        """Corners of the boxes, ``[N, 4]``."""
        return np.concatenate([self.boxes_xywh[:, :2], self.boxes_xywh[:, :2] + self.boxes_xywh[:, 2:]], axis=1)

    @cached_property
    def place_of_image(self) -> dict[int, int]:
        """Place in ``images`` of each id."""
        return {image.id: place for place, image in enumerate(self.images)}

    @cached_property
    def label_of_category(self) -> dict[int, int]:
        """Label of each category's id."""
        return {category.id: label for label, category in enumerate(self.categories)}

    @cached_property
    def _by_image(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        order = np.argsort(self.image_index, kind="stable")
        counts = np.bincount(self.image_index, minlength=len(self.images))
        return order, np.concatenate([[0], np.cumsum(counts)])

    def rows_of_image(self, index: int) -> NDArray[np.int64]:
        """Rows of the annotations of ``images[index]``, in the order of the file."""
        order, starts = self._by_image
        return order[starts[index] : starts[index + 1]]

    def image_records(self) -> list[msgspec.Raw]:
        """The undecoded image entries."""
        return msgspec.json.decode(self.sections["images"], type=list[msgspec.Raw])

    def annotation_records(self) -> list[msgspec.Raw]:
        """The undecoded annotation entries; not to be changed."""
        return self._annotation_records

    @cached_property
    def _annotation_records(self) -> list[msgspec.Raw]:
        return msgspec.json.decode(self.sections["annotations"], type=list[msgspec.Raw])

    def info(self) -> dict[str, Any]:
        """The file's ``info`` entry; empty where it has none."""
        found = decode_entry(self.sections["info"], self.path, "info") if "info" in self.sections else {}
        return found if isinstance(found, dict) else {"source_info": found}


def decode_entry(raw: msgspec.Raw, path: Path, where: str) -> Any:
    """Decode a slice that reading the file left alone.

    Raises:
        UserError: It has a number beyond what JSON readers can hold.
    """
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UserError(
            f"{path}: {where} cannot be read ({error}); mend the file with siod data check --fix"
        ) from error


def read(path: Path) -> CocoDataset:
    """Read an annotation file and refuse what would go wrong later.

    Args:
        path: A COCO file with ``images``, ``annotations`` and ``categories``.

    Returns:
        The data set. Boxes have a positive size and lie inside their images, to ``EDGE_TOLERANCE_PX``.

    Raises:
        UserError: The file is missing, is no JSON, lacks a key, names an image or category it does not
            list, repeats an id, or has a box without area or outside its image.
    """
    content = _bytes_of(path)
    sections = _sections(content, path)
    images = tuple(_records(sections, "images", ImageRecord, path))
    categories = tuple(sorted(_records(sections, "categories", Category, path), key=lambda category: category.id))
    annotations = _records(sections, "annotations", AnnotationRecord, path)
    columns = _Columns(annotations)
    _check_images(images, path)
    _check_unique([category.id for category in categories], "categories", path)
    _check_unique(columns.ids, "annotations", path)
    dataset = CocoDataset(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        sections=sections,
        images=images,
        categories=categories,
        annotation_ids=columns.ids,
        image_index=_places([image.id for image in images], columns.image_ids, "image", annotations, path),
        labels=_places([category.id for category in categories], columns.category_ids, "category", annotations, path),
        boxes_xywh=columns.boxes,
        area=np.where(np.isnan(columns.areas), columns.boxes[:, 2] * columns.boxes[:, 3], columns.areas),
        iscrowd=columns.crowds,
    )
    _check_boxes(dataset)
    return dataset


def write(path: Path, document: Mapping[str, Any]) -> str:
    """Write a COCO document so that the file is whole or not there at all.

    Args:
        path: Replaced when it exists; its folder is made when missing.
        document: Plain data; entries may be ``msgspec.Raw`` slices of another file.

    Returns:
        The SHA-256 of what was written, in hexadecimal.

    Raises:
        UserError: A number is NaN or infinite, or the file cannot be written.
    """
    where = first_nonfinite(document, "")
    if where:
        raise UserError(f"{path}: {where} is not a finite number; JSON cannot hold it, correct it before writing")
    sha256 = hashlib.sha256()
    with _as_user_error(path), replacing(path) as temporary, temporary.open("wb") as file:
        for piece in pieces_of(document):
            sha256.update(piece)
            file.write(piece)
    return sha256.hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file; it stands there whole, also after a power cut, or not at all.

    Raises:
        UserError: The folder or the file cannot be written (no space, no permission).
    """
    with _as_user_error(path), replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def _as_user_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{path}: cannot be written ({reason}); free space or name another folder") from error


class _Columns:
    """The annotation records as arrays; a missing area is NaN."""

    def __init__(self, annotations: list[AnnotationRecord]) -> None:
        count = len(annotations)
        self.ids = np.fromiter((record.id for record in annotations), np.int64, count)
        self.image_ids = np.fromiter((record.image_id for record in annotations), np.int64, count)
        self.category_ids = np.fromiter((record.category_id for record in annotations), np.int64, count)
        self.crowds = np.fromiter((bool(record.iscrowd) for record in annotations), np.bool_, count)
        areas = (math.nan if record.area is None else record.area for record in annotations)
        self.areas = np.fromiter(areas, np.float64, count)
        flat = (number for record in annotations for number in record.bbox)
        self.boxes = np.fromiter(flat, np.float64, 4 * count).reshape(count, 4)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; name a COCO annotation file") from error


def _sections(content: bytes, path: Path) -> dict[str, msgspec.Raw]:
    _check_utf8(content, path)
    try:
        sections = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError as error:
        message = f"{path}: is not a COCO file (one JSON object with images, annotations, categories)"
        raise UserError(f"{message}; name an annotation file, not a list of detections") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _explain_malformed(content, path, str(error))
    for name in ("images", "annotations", "categories"):
        if name not in sections:
            raise UserError(f"{path}: lacks the key {name!r}; a COCO file has images, annotations and categories")
    return sections


def _check_utf8(content: bytes, path: Path) -> None:
    """Refuse bytes that are no UTF-8: slices that are not decoded would carry them into derived files."""
    if content.isascii():
        return
    decoder, step = codecs.getincrementaldecoder("utf-8")(), 2**20
    try:
        for start in range(0, len(content), step):
            decoder.decode(content[start : start + step], final=start + step >= len(content))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not JSON (not in UTF-8); mend it with siod data check --fix") from error


def _explain_malformed(content: bytes, path: Path, reason: str) -> NoReturn:
    """Python's own reader lets NaN and Infinity pass: use it to tell them from a damaged file."""
    try:
        where = first_nonfinite(json.loads(content), "")
    except (ValueError, RecursionError):
        where = ""
    if where:
        raise UserError(f"{path}: {where} is not a finite number; correct or remove it")
    raise UserError(f"{path}: is not JSON ({reason}); write or download the file again")


Record = TypeVar("Record", ImageRecord, Category, AnnotationRecord)


def _records(sections: dict[str, msgspec.Raw], section: str, record_type: type[Record], path: Path) -> list[Record]:
    try:
        return msgspec.json.decode(sections[section], type=list[record_type])  # type: ignore[valid-type]
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        field = f"{section}{place.rstrip('`')}"
        remedy = "correct this entry, or mend the file with siod data check --fix"
        raise UserError(f"{path}: {field}: {reason[:1].lower()}{reason[1:]}; {remedy}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: {section}: is not JSON ({error}); write or download the file again") from error


def _check_images(images: tuple[ImageRecord, ...], path: Path) -> None:
    _check_unique([image.id for image in images], "images", path)
    for place, image in enumerate(images):
        if leaves_folder(image.file_name):
            field = f"images[{place}].file_name {image.file_name!r}"
            raise UserError(f"{path}: {field} leaves the image folder; use a path relative to it")


def leaves_folder(file_name: str) -> bool:
    """Whether a relative path points out of the folder it is relative to."""
    return file_name.startswith("/") or (".." in file_name and ".." in Path(file_name).parts)


def _check_unique(ids: list[int] | NDArray[np.int64], section: str, path: Path) -> None:
    values, counts = np.unique(np.asarray(ids, dtype=np.int64), return_counts=True)
    repeated = values[counts > 1]
    if len(repeated):
        more = f" and {len(repeated) - 1} more" if len(repeated) > 1 else ""
        raise UserError(f"{path}: {section}: id {repeated[0]}{more} occurs more than once; give every entry its own id")


def _places(
    known: list[int], wanted: NDArray[np.int64], what: str, annotations: list[AnnotationRecord], path: Path
) -> NDArray[np.int64]:
    """Place of each wanted id among the known ones."""
    ids = np.asarray(known, dtype=np.int64)
    order = np.argsort(ids, kind="stable")
    slots = np.searchsorted(ids, wanted, sorter=order)
    found = np.zeros(len(wanted), dtype=bool)
    inside = slots < len(ids)
    found[inside] = ids[order[slots[inside]]] == wanted[inside]
    if not found.all():
        row = int(np.argmin(found))
        entry = f"annotations[{row}] (id {annotations[row].id}): {what}_id {wanted[row]}"
        listed = "images" if what == "image" else "categories"
        raise UserError(f"{path}: {entry} is not in {listed}; add the {what} or remove the annotation")
    return order[slots].astype(np.int64, copy=False)


def image_sizes(images: Sequence[ImageRecord]) -> NDArray[np.int64]:
    """Width and height of every image in pixels, ``[number of images, 2]``."""
    flat = (side for image in images for side in (image.width, image.height))
    return np.fromiter(flat, np.int64, 2 * len(images)).reshape(-1, 2)


def _check_boxes(dataset: CocoDataset) -> None:
    corners = dataset.boxes_xyxy
    limits = image_sizes(dataset.images)[dataset.image_index] + EDGE_TOLERANCE_PX
    outside = np.any((corners[:, :2] < -EDGE_TOLERANCE_PX) | (corners[:, 2:] > limits), axis=1)
    _refuse_rows(dataset, np.any(dataset.boxes_xywh[:, 2:] <= 0, axis=1), "has no area")
    _refuse_rows(dataset, outside, "reaches outside its image")
    _refuse_rows(dataset, dataset.area < 0, "has a negative area field")


def _refuse_rows(dataset: CocoDataset, broken: NDArray[np.bool_], complaint: str) -> None:
    rows = np.flatnonzero(broken)
    if not len(rows):
        return
    row, image = int(rows[0]), dataset.images[dataset.image_index[rows[0]]]
    entry = f"annotations[{row}] (id {dataset.annotation_ids[row]}): bbox {dataset.boxes_xywh[row].tolist()}"
    more = f", like {len(rows) - 1} more" if len(rows) > 1 else ""
    size = f"image {image.id}, {image.width} x {image.height} px"
    raise UserError(f"{dataset.path}: {entry} {complaint} ({size}){more}; correct or remove it")
