"""JSON of documents that are mostly slices of other files, undecoded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SLICES = 4096
"""So many of a list are put together at once: a piece that the processor's cache holds."""


def pieces_of(document: Mapping[str, Any]) -> Iterator[bytes]:
    """The JSON of a document, piece by piece: all of it may take as much memory as the file.

    Args:
        document: Plain data; lists of ``msgspec.Raw`` slices are copied as they are.

    Example:
        >>> b"".join(pieces_of({"info": {"year": 2026}, "images": [msgspec.Raw(b"1"), msgspec.Raw(b"2")]}))
        b'{"info":{"year":2026},"images":[1,2]}'
    """
    opening = b"{"
    for name, entry in document.items():
        yield opening + msgspec.json.encode(name) + b":"
        if isinstance(entry, list) and only_slices(entry):
            yield from _list_of(entry)
        else:
            yield msgspec.json.encode(entry)
        opening = b","
    yield b"}" if document else b"{}"


def _list_of(slices: Sequence[msgspec.Raw]) -> Iterator[bytes]:
    opening = b"["
    for start in range(0, len(slices), SLICES):
        yield opening + b",".join(slices[start : start + SLICES])
        opening = b","
    yield b"]" if slices else b"[]"


def only_slices(data: Sequence[Any]) -> bool:
    """Whether a list holds nothing but slices of other files."""
    return set(map(type, data)) <= {msgspec.Raw}


def first_nonfinite(data: object, where: str) -> str:
    """Path of the first NaN or infinite number inside plain data, or an empty string."""
    if isinstance(data, float):
        return "" if math.isfinite(data) else where
    if isinstance(data, dict):
        found = (first_nonfinite(item, f"{where}.{key}" if where else str(key)) for key, item in data.items())
    elif isinstance(data, list | tuple):
        if only_slices(data):  # they were JSON where they come from
            return ""
        found = (first_nonfinite(item, f"{where}[{place}]") for place, item in enumerate(data))
    else:
        return ""
    return next((path for path in found if path), "")
