"""The statistics of several files in the same tables, their categories joined by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.data.describing import statistics_tables as tables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from siod.data.describing.statistics import Statistics
    from siod.data.describing.statistics_tables import Rows

SET_COLUMNS = ["file", "images", *tables.SET_COLUMNS]


def labels(paths: Sequence[Path]) -> list[str]:
    """What each file is called: its name, or its path where two have one name.

    Args:
        paths: As they were given.

    Example:
        >>> from pathlib import Path
        >>> labels([Path("a/train.json"), Path("a/val.json")]), labels([Path("a/train.json"), Path("b/train.json")])
        (['train.json', 'val.json'], ['a/train.json', 'b/train.json'])
    """
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def set_rows(files: Mapping[str, Statistics]) -> Rows:
    """Table 8 for each file: a row for all instances, a row for those the policy keeps."""
    return [
        [label, str(statistics.sampled_images), *row]
        for label, statistics in files.items()
        for row in tables.set_rows(statistics)
    ]


def category_columns(files: Mapping[str, Statistics]) -> list[str]:
    """Of :func:`category_rows`: two for each file."""
    return ["category", *(column for label in files for column in (label, "keep ratio"))]


def category_rows(files: Mapping[str, Statistics]) -> Rows:
    """Table 9: for each category its instances in each file and the share kept; a dash where a file lacks it."""
    by_name = {
        label: {row[0]: [row[1], row[3]] for row in tables.category_rows(statistics)}
        for label, statistics in files.items()
    }
    names = dict.fromkeys(name for rows in by_name.values() for name in rows)
    return [[name, *(cell for rows in by_name.values() for cell in rows.get(name, ["-", "-"]))] for name in names]
