"""Plain data in JSON files: written whole or not at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from pathlib import Path


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON to a temporary name and rename it.

    Args:
        path: Where it shall stand.
        data: Anything JSON can hold.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(msgspec.json.encode(data))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Read plain data from a JSON file."""
    return msgspec.json.decode(path.read_bytes())
