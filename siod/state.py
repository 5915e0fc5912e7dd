"""What the annotations of an image say of a category."""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """What the annotations say of a category in an image.

    ABSENT: there is none. COMPLETE: each instance has its box. SOME: some have, others may lack it (single-instance
    annotation). UNKNOWN: boxes may be missing whether there are any or not. UNLABELLED: nobody looked for the category,
    so that the lack of a box says nothing.
    """

    ABSENT = 0
    COMPLETE = 1
    SOME = 2
    UNKNOWN = 3
    UNLABELLED = 4
