"""The decisions file that the review page saves: its layout, and how it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from siod.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1
Box = tuple[float, float, float, float]


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """About one proposal.

    Attributes:
        id: Of the proposal.
        decision: Whether it is a missing box.
        at: When, as an ISO time.
        category_id: In place of the proposed one, of an accepted box; None where that is right.
        bbox: x, y, width, height in pixels of the image file in place of the proposed ones, of an accepted box; None
            where these are right.
    """

    id: int
    decision: Literal["accept", "reject"]
    at: str = ""
    category_id: int | None = None
    bbox: Box | None = None


class AddedBox(msgspec.Struct, frozen=True):
    """A missing box that nobody proposed; its fields are as those of :class:`Decision`."""

    image_id: int
    category_id: int
    bbox: Box
    at: str = ""


class Decisions(msgspec.Struct, frozen=True):
    """What a reviewer decided.

    Attributes:
        version: Of this layout.
        proposals: Path of the proposals.
        proposals_sha256: Of their file.
        decisions: At most one for each proposal.
        added: Missing boxes that nobody proposed.
        complete: Ids of the images in which every object has its box once the decisions are applied.
        reviewer: Who decided.
        minutes: How long the reviewer was at work.
        saved: When, as an ISO time.
    """

    version: int
    proposals: str
    proposals_sha256: str
    decisions: tuple[Decision, ...]
    added: tuple[AddedBox, ...] = ()
    complete: tuple[int, ...] = ()
    reviewer: str = ""
    minutes: float = 0.0
    saved: str = ""


class _Layout(msgspec.Struct):
    version: int


def read_decisions(path: Path) -> Decisions:
    """Read what a reviewer decided.

    Args:
        path: The file that the review page saved.

    Raises:
        UserError: The file is missing, damaged or of another version.
    """
    again = "save the decisions again on the review page"
    try:
        content = path.read_bytes()
        version = msgspec.json.decode(content, type=_Layout).version
        if version != VERSION:
            raise UserError(f"{path}: version is {version}, this siod reads {VERSION}; use the siod that wrote it")
        return msgspec.json.decode(content, type=Decisions)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name the file that the review page saved") from error
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        field = place.rstrip("`").lstrip(".") or "the file"
        raise UserError(f"{path}: {field}: {reason[:1].lower()}{reason[1:]}; {again}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: is not JSON ({error}); {again}") from error
