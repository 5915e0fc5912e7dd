"""Plain data in JSON files: written whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from siod.errors import UserError
from siod.files import replacing

if TYPE_CHECKING:
    from pathlib import Path


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON; it stands there whole, also after a power cut, or not at all.

    Args:
        path: Where it shall stand.
        data: Anything JSON can hold.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(msgspec.json.encode(data))


def read_json(path: Path) -> Any:
    """Read plain data from a JSON file.

    Raises:
        UserError: It is damaged.
    """
    try:
        return msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is damaged ({error}); put a copy of it back, or delete it") from error
