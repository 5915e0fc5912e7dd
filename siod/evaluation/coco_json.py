"""COCO files into typed records: no dictionaries, no whole file in memory, errors that name the record."""

from __future__ import annotations

import gzip
import json
import math
import sys
import zlib
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar, cast

import msgspec
from msgspec import Meta, Struct

from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from io import RawIOBase

    from _typeshed import SupportsRead

# Small enough to stay in the processor's cache while it is parsed, large enough to forget the overhead.
BLOCK_BYTES = 1 << 18

# Beyond 2**53 a JSON number is no longer exact in every reader.
Identifier = Annotated[int, Meta(ge=-(2**53), le=2**53)]
BoxXYWH = tuple[float, float, float, float]


class ImageRecord(Struct, gc=False):
    """One image; the lists are LVIS's: categories that are surely absent, and those of which some have no box."""

    id: Identifier
    neg_category_ids: list[Identifier] | None = None
    not_exhaustive_category_ids: list[Identifier] | None = None


class CategoryRecord(Struct, gc=False):
    """One category."""

    id: Identifier
    name: str | None = None


class AnnotationRecord(Struct, gc=False):
    """One annotation; the box is x, y, width, height."""

    id: Identifier
    image_id: Identifier
    category_id: Identifier
    bbox: BoxXYWH
    area: float | None = None
    iscrowd: bool | int | None = None


class DocumentRecord(Struct):
    """An annotation file."""

    images: list[ImageRecord]
    annotations: list[AnnotationRecord]
    categories: list[CategoryRecord]


class DetectionRecord(Struct, gc=False):
    """One detection of a results file; the box is x, y, width, height."""

    image_id: Identifier
    category_id: Identifier
    bbox: BoxXYWH
    score: float


Record = TypeVar("Record")

_DOCUMENT = msgspec.json.Decoder(DocumentRecord)
_DETECTIONS = msgspec.json.Decoder(list[DetectionRecord])


def read_document(source: Path | str | Mapping[str, Any]) -> tuple[str, DocumentRecord]:
    """Read an annotation file, or take its content.

    Args:
        source: A path (gzipped or not) or a dictionary.

    Returns:
        The name to use in errors, and the records.

    Raises:
        UserError: It cannot be read or is no annotation file; the sentence names the entry.
    """
    if not isinstance(source, str | Path):
        return "ground truth", _convert(source, DocumentRecord, "ground truth")
    with _opened(source) as stream:
        content = _read(stream, source)
    try:
        return str(source), _DOCUMENT.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _complain(error, content, str(source), "", 0)


def read_detections(source: Path | str | list[Any]) -> Iterator[list[DetectionRecord]]:
    """Read a results file piece by piece, or take its content.

    Args:
        source: A path (gzipped or not), ``-`` for standard input, or a list of dictionaries.

    Yields:
        Some records at a time, in the order of the file.

    Raises:
        UserError: It cannot be read or is no results file; the sentence names the record.
    """
    if not isinstance(source, str | Path):
        yield _convert(source, list[DetectionRecord], "detections")
        return
    done, pending = 0, b""
    with _opened(source) as stream:
        while block := _read(stream, source, BLOCK_BYTES):
            pending += block
            end, begin = _last_boundary(pending)
            if not end:
                continue
            try:
                records = _DETECTIONS.decode(pending[:end] + b"]")
            except msgspec.ValidationError as error:
                _complain(error, pending, source_name(source), "detections", done)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                # Broken, or cut between nested objects, which leaves unbalanced brackets: decode the rest at once.
                pending += _read(stream, source)
                break
            yield records
            done += len(records)
            pending = b"[" + pending[begin:]
    try:
        yield _DETECTIONS.decode(pending)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _complain(error, pending, source_name(source), "detections", done)


def source_name(source: Path | str | list[Any] | Mapping[str, Any]) -> str:
    """Say in an error where data came from."""
    if not isinstance(source, str | Path):
        return "detections"
    return "standard input" if str(source) == "-" else str(source)


def _last_boundary(text: bytes) -> tuple[int, int]:
    """Find the last place where one object ends and the next one begins, ``}`` and ``{`` around a comma.

    Returns:
        End of the one, beginning of the next; zeros when there is none.

    Example:
        >>> _last_boundary(b'[{"a": 1}, {"a": {')
        (9, 11)
    """
    begin = text.rfind(b"{")
    while begin > 0:
        before = text[max(0, begin - 64) : begin].rstrip()
        ended = before[:-1].rstrip() if before.endswith(b",") else b""
        if ended.endswith(b"}"):
            return text.rindex(b"}", 0, begin) + 1, begin
        begin = text.rfind(b"{", 0, begin)
    return 0, 0


@contextmanager
def _opened(source: Path | str) -> Iterator[SupportsRead[bytes]]:
    """Open a file or standard input, unpacking what gzip has packed."""
    with ExitStack() as stack:
        try:
            raw = sys.stdin.buffer if str(source) == "-" else stack.enter_context(Path(source).open("rb", buffering=0))
            # A reader of our own can look ahead at any of them, and detached leaves standard input open.
            plain = BufferedReader(cast("RawIOBase", raw))
            stack.callback(plain.detach)
            packed = plain.peek(2)[:2] == b"\x1f\x8b"
        except OSError as error:
            raise UserError(f"{source_name(source)}: {error.strerror or error}; name a COCO file") from error
        yield gzip.GzipFile(fileobj=plain) if packed else plain


def _read(stream: SupportsRead[bytes], source: Path | str, size: int = -1) -> bytes:
    try:
        return stream.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{source_name(source)}: cannot be read ({error}); write or download it again") from error


def _convert(content: Any, record_type: type[Record], name: str) -> Record:
    """Check plain data; numbers and arrays of numpy are taken as the Python ones."""
    try:
        plain = msgspec.to_builtins(content, enc_hook=lambda value: value.tolist())
        return msgspec.convert(plain, record_type)
    except msgspec.ValidationError as error:
        section = "" if record_type is DocumentRecord else "detections"
        raise UserError(f"{name}: {_sentence(error, section, 0)}; correct this entry") from error
    except (AttributeError, TypeError) as error:
        raise UserError(f"{name}: holds something JSON cannot hold ({error}); give plain data") from error


def _complain(error: Exception, content: bytes, name: str, section: str, done: int) -> NoReturn:
    if isinstance(error, msgspec.ValidationError):
        remedy = "" if section else ", or mend the file with siod data check --fix"
        raise UserError(f"{name}: {_sentence(error, section, done)}; correct this entry{remedy}") from error
    where = _first_nonfinite(content, section, done)
    if where:
        raise UserError(f"{name}: {where} is not finite; correct or remove it") from error
    raise UserError(f"{name}: is not JSON ({error}); write or download it again") from error


def _sentence(error: msgspec.ValidationError, section: str, done: int) -> str:
    """Reword ``Expected `float`, got `str` - at `$[3].score``` with the place counted from the file's start."""
    reason, _, path = str(error).partition(" - at `$")
    path = path.rstrip("`").removeprefix(".")
    if section and path.startswith("["):
        place, _, field = path[1:].partition("]")
        path = f"{section}[{done + int(place)}]{field}"
    expected = "a results file is a list of objects" if section else "an annotation file is one object"
    return f"{path}: {reason[:1].lower()}{reason[1:]}" if path else f"{reason[:1].lower()}{reason[1:]} ({expected})"


def _first_nonfinite(content: bytes, section: str, done: int) -> str:
    """Path of the first NaN or infinity: Python's reader lets them pass where the typed one stops."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    if isinstance(document, list):
        return next(
            (path for place, item in enumerate(document) if (path := _search(item, f"{section}[{done + place}]"))), ""
        )
    return _search(document, "")


def _search(data: object, where: str) -> str:
    if isinstance(data, float):
        return "" if math.isfinite(data) else where
    if isinstance(data, dict):
        found = (_search(item, f"{where}.{key}" if where else str(key)) for key, item in data.items())
    elif isinstance(data, list):
        found = (_search(item, f"{where}[{place}]") for place, item in enumerate(data))
    else:
        return ""
    return next((path for path in found if path), "")
