"""Divide images into training, validation and test images, so that the division stays when images are added.

Where an image goes depends on nothing but the hash of a seed and of the image's own key (its content, its name, or the
group it belongs to). Each category is therefore shared out in the wanted proportions on average, not exactly: exact
shares would have to move images whenever others arrive. What can be chosen is the seed. Without one, the first is taken
that puts every category into every split and comes near the wanted sizes. For all but small sets that is 0, and it
remains so when images of known categories are added, because a category that is in a split stays there.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from siod.data.formats.layouts import Split

SEEDS = 200
"""Seeds that are tried."""
NEAR = 2.0
"""A split is near its wanted size from half of it to twice."""


@dataclass(frozen=True)
class Shares:
    """How images are divided.

    Args:
        val: Share of validation images, above 0.
        test: Share of test images; the rest is for training.
        group: A regular expression; images in whose names its first group finds the same stay together.
        seed: Decides the division; None chooses one.
    """

    val: float = 0.2
    test: float = 0.0
    group: str | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            UserError: A share or the expression.
        """
        if not 0 < self.val < 1 or not 0 <= self.test < 1 or self.val + self.test >= 1:
            raise UserError(f"--val {self.val:g} and --test {self.test:g}: must leave a share above 0 for each")
        if self.group is not None:
            try:
                groups = re.compile(self.group).groups
            except re.error as error:
                raise UserError(f"--group {self.group!r}: is no regular expression ({error}); correct it") from error
            if groups < 1:
                raise UserError(f"--group {self.group!r}: has no group; put what names a video in parentheses")

    def wanted(self) -> dict[Split, float]:
        """The share of each split that is to have any."""
        shares: dict[Split, float] = {"train": 1 - self.val - self.test, "val": self.val, "test": self.test}
        return {split: share for split, share in shares.items() if share > 0}


@dataclass(frozen=True)
class Division:
    """Where images go.

    Attributes:
        splits: Of each image.
        shares: That were wanted.
        seed: That decided it.
        missing: Categories with images enough for all splits that a split lacks, with that split.
    """

    splits: tuple[Split, ...]
    shares: Shares
    seed: int
    missing: tuple[tuple[str, Split], ...]


def group_keys(names: Iterable[str], pattern: str) -> list[str]:
    """The group each image belongs to.

    Args:
        names: File names with folders.
        pattern: With a group.

    Raises:
        UserError: A name has none.

    Example:
        >>> group_keys(["a_0001.jpg", "a_0002.jpg", "b_0001.jpg"], "(.*)_")
        ['a', 'a', 'b']
    """
    keys = []
    for name in names:
        match = re.search(pattern, name)
        if match is None or match.group(1) is None:
            raise UserError(f"--group {pattern!r}: finds no group in {name!r}; correct the expression")
        keys.append(match.group(1))
    return keys


def divide(keys: Sequence[str], categories: Sequence[frozenset[str]], shares: Shares) -> Division:
    """Divide images by the hash of their keys.

    Args:
        keys: Of each image; equal keys go together.
        categories: Names of the categories each image shows.
        shares: What is wanted.

    Returns:
        The division by ``shares.seed``, or by the first good seed; by that of the fewest faults where none is good.
    """
    _, division = min(_divisions(keys, categories, shares), key=lambda candidate: candidate[0])
    return division


def _divisions(
    keys: Sequence[str], categories: Sequence[frozenset[str]], shares: Shares
) -> Iterator[tuple[int, Division]]:
    """Number of faults and division for each seed, up to the first seed without a fault."""
    for seed in range(SEEDS) if shares.seed is None else [shares.seed]:
        splits = tuple(split_of(key, seed, shares) for key in keys)
        missing = _missing(keys, categories, splits, shares)
        faults = len(missing) + _far_from_wanted(splits, shares)
        yield faults, Division(splits, shares, seed, missing)
        if not faults:
            return


def split_of(key: str, seed: int, shares: Shares) -> Split:
    """Where an image goes; a larger validation share takes images from training alone.

    Example:
        >>> [split_of(str(key), 0, Shares(val=0.5)) for key in range(4)]
        ['train', 'train', 'train', 'val']
    """
    place = int.from_bytes(hashlib.sha256(f"{seed}:{key}".encode()).digest()[:8], "big") / 2**64
    if place < shares.test:
        return "test"
    return "val" if place < shares.test + shares.val else "train"


def _missing(
    keys: Sequence[str], categories: Sequence[frozenset[str]], splits: Sequence[Split], shares: Shares
) -> tuple[tuple[str, Split], ...]:
    groups: dict[str, set[str]] = {}
    present: dict[str, set[Split]] = {}
    for key, names, split in zip(keys, categories, splits, strict=True):
        for name in names:
            groups.setdefault(name, set()).add(key)
            present.setdefault(name, set()).add(split)
    wanted = shares.wanted()
    return tuple(
        (name, split)
        for name in sorted(groups)
        if len(groups[name]) >= len(wanted)
        for split in wanted
        if split not in present[name]
    )


def _far_from_wanted(splits: Sequence[Split], shares: Shares) -> int:
    """How many splits are less than half or more than twice as large as wanted."""
    counts = Counter(splits)
    total = len(splits)
    return sum(
        not share / NEAR * total <= counts[split] <= max(share * NEAR * total, 1)
        for split, share in shares.wanted().items()
    )
