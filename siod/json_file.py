"""Plain data in JSON files: written whole or not at all."""

from __future__ import annotations

import gzip
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from siod.errors import UserError
from siod.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON; it stands there whole, also after a power cut, or not at all.

    Args:
        path: Where it shall stand.
        data: Anything JSON can hold.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(msgspec.json.encode(data))


def write_packed_json(path: Path, data: Any) -> None:
    """Write plain data as gzipped JSON: the same bytes for the same data, whole or not at all.

    Args:
        path: Where it shall stand; its name ends in ``.gz``.
        data: Anything JSON can hold.
    """
    with packed_into(path) as packed:
        packed.write(msgspec.json.encode(data))


@contextmanager
def packed_into(path: Path) -> Iterator[gzip.GzipFile]:
    """A file that gzips what is written to it: the same bytes for the same data, whole or not at all.

    Args:
        path: Where it shall stand.
    """
    with (
        replacing(path) as temporary,
        temporary.open("wb") as plain,
        # Neither its name, which is made up, nor the time shall stand in it.
        gzip.GzipFile(filename="", mode="wb", compresslevel=5, fileobj=plain, mtime=0) as packed,
    ):
        yield packed


def read_json(path: Path) -> Any:
    """Read plain data from a JSON file, gzipped if its name ends in ``.gz``.

    Raises:
        UserError: It is damaged.
    """
    try:
        content = path.read_bytes()
        return msgspec.json.decode(gzip.decompress(content) if path.suffix == ".gz" else content)
    except (msgspec.DecodeError, UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: is damaged ({error}); put a copy of it back, or delete it") from error
