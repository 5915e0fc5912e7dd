"""How a check says that something does not hold."""

from __future__ import annotations


def require(holds: bool, sentence: str) -> None:  # noqa: FBT001  (it is the subject)
    """Go on if something holds.

    Args:
        holds: Whether it does.
        sentence: What is wrong and what relies on it, in one sentence.

    Raises:
        AssertionError: It does not hold; says the sentence.
    """
    if not holds:
        raise AssertionError(sentence)
