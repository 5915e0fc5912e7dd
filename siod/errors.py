"""What a user can mend: one sentence that names the file, the field and the remedy."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class UserError(Exception):
    """A mistake in the input; the command line prints its one sentence and exits with code 2."""


class RunError(Exception):
    """A run that could not go on (NaN loss, lost worker); the command line exits with code 1."""


def closest(name: str, known: Iterable[str]) -> str:
    """Say which known name is nearest to a wrong one.

    Args:
        name: What was typed.
        known: The names that would have been right.

    Returns:
        ``"; did you mean 'X'?"``, or the list of known names where none is near.

    Example:
        >>> closest("min_simlarity", ["min_similarity", "scale"])
        "; did you mean 'min_similarity'?"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known are {', '.join(names)}" if names else ""
