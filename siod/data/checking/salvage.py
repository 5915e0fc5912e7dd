"""Plain data out of text that strict JSON readers refuse: what they would refuse is replaced and reported.

For ``siod.data.checking.check``. NaN, infinite and overflowing numbers become null, halves of surrogate pairs and bytes
that are no UTF-8 become U+FFFD; other encodings and byte order marks are understood.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Report = Callable[[str, str], None]
    """Told the kind of a defect and its place."""

MOST_LEVELS = 100
"""Deeper data is not repaired; no annotation tool writes it."""


class UnreadableError(ValueError):
    """Text that is no JSON to any reader, or nested too deeply."""


def as_utf8(content: bytes) -> tuple[bytes, str]:
    r"""The text in UTF-8, and what was wrong with it; an empty string when nothing was.

    Example:
        >>> as_utf8(b'"a"'), as_utf8(b'"\xff"')
        ((b'"a"', ''), (b'"\xef\xbf\xbd"', 'byte 1 is no UTF-8'))
    """
    encoding = json.detect_encoding(content)
    if encoding != "utf-8":
        return content.decode(encoding, "replace").encode(), f"encoded as {encoding}"
    if content.isascii():
        return content, ""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return content.decode("utf-8", "replace").encode(), f"byte {error.start} is no UTF-8"
    return content, ""


def loads(text: bytes, where: str, report: Report) -> Any:
    """Read JSON as Python's own reader does, and replace what strict ones refuse.

    Args:
        text: In UTF-8.
        where: Path of the data in its file; empty for the whole file.
        report: Told of each replacement.

    Raises:
        UnreadableError: Even Python's reader refuses it.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(str(error)) from error
    return _clean(data, where, report, MOST_LEVELS)


def top_level(path: Path) -> dict[str, Any]:
    """The sections of a JSON file, undecoded where a strict reader accepts it; empty if it is no object.

    Raises:
        OSError: The file cannot be opened.
        UnreadableError: It is no JSON.
    """
    text, _ = as_utf8(path.read_bytes())
    try:
        return dict(msgspec.json.decode(text, type=dict[str, msgspec.Raw]))
    except (msgspec.MsgspecError, RecursionError):
        found = loads(text, "", ignore_report)
    return found if isinstance(found, dict) else {}


def ignore_report(_kind: str, _where: str) -> None:
    """A report that does nothing, for a first look at a file that is checked later."""


def decoded(raw: object, where: str, report: Report) -> tuple[Any, bool]:
    """Decode an undecoded slice of a file; plain data is returned as it is.

    Returns:
        The data, and whether the slice holds it as it stands.

    Raises:
        UnreadableError: As ``loads``.
    """
    if not isinstance(raw, msgspec.Raw):
        return raw, False
    try:
        return msgspec.json.decode(raw), True
    except (msgspec.MsgspecError, RecursionError):
        return loads(bytes(raw), where, report), False


def _clean(data: Any, where: str, report: Report, levels: int) -> Any:
    if levels == 0:
        raise UnreadableError(f"nested more than {MOST_LEVELS} deep")
    if isinstance(data, float) and not math.isfinite(data):
        report("not-finite", where)
        return None
    if isinstance(data, str):
        return _clean_text(data, where, report)
    if isinstance(data, dict):
        return {
            _clean_text(key, where, report): _clean(item, f"{where}.{key}" if where else str(key), report, levels - 1)
            for key, item in data.items()
        }
    if isinstance(data, list):
        return [_clean(item, f"{where}[{place}]", report, levels - 1) for place, item in enumerate(data)]
    return data


def _clean_text(text: str, where: str, report: Report) -> str:
    if text.isascii():
        return text
    clean = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if clean != text:
        report("not-unicode", where)
    return clean
