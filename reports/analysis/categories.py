"""AP@S by category and arm, with the boxes that were kept and hidden: the table and what a reader must know of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from siod.reports.analysis.aggregate import Spread, by_group, leading, of_status
from siod.reports.analysis.annotations import annotations_of, learns_from_all, stated_set
from siod.reports.analysis.numbers import heading, percent, signed_percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from siod.tracking.records import Annotations, ArmRecord, StudyRecord

METRIC = "ap_s"
# As many columns as a page has room for, and as many rows as COCO has categories.
MOST_ARMS, MOST_ROWS = 6, 80
COUNTS = ("kept", "hidden", "judged")
UNKNOWN = "unknown"

# Values of one figure by seed.
BySeed = dict[int, float]


@dataclass(frozen=True)
class CategoryTable:
    """AP@S by category for one group of arms.

    Args:
        group: Heading of the arms; empty when the study has no groups.
        rows: As text: the header, then a line for each category with its boxes and the arms' figures.
        notes: What a reader must know, in sentences.
    """

    group: str
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """Heading of the table."""
        return f"{self.group}: by category" if self.group else "By category"


def category_tables(study: StudyRecord) -> tuple[CategoryTable, ...]:
    """Tabulate AP@S by category, one table for each group of arms.

    Args:
        study: Finished or not; a trial counts once it is finished.

    Returns:
        Nothing for a search, whose trials differ in their settings, and for groups without a finished trial; a table
        without rows says why it has none.
    """
    if study.is_search:
        return ()
    tables = (_table(name, group) for name, group in by_group(study).items())
    return tuple(table for table in tables if table is not None)


def by_category(study: StudyRecord, arm: str, metric: str = METRIC) -> dict[str, BySeed]:
    """One figure of an arm's finished trials, by category and seed.

    Args:
        study: Finished or not.
        arm: Name of the arm.
        metric: ``ap_s`` or ``ap_s0``.

    Returns:
        Categories in the order of labels; none of a trial that did not record them.
    """
    found: dict[str, BySeed] = {}
    for trial in of_status(study.trials_of(arm), "finished"):
        for name, figures in ({} if trial.diagnosis is None else trial.diagnosis.categories).items():
            found.setdefault(name, {})[trial.seed] = figures[metric]
    return found


def paired(own: BySeed, other: BySeed, share: float = 1.0) -> tuple[float, ...]:
    """What each seed that both have gained over a share of the other."""
    return tuple(own[seed] - share * other[seed] for seed in sorted(own.keys() & other.keys()))


def _table(name: str, group: StudyRecord) -> CategoryTable | None:
    if not any(of_status(group.trials_of(arm.name), "finished") for arm in group.arms):
        return None
    shown = leading(group, MOST_ARMS)
    figures = {arm.name: by_category(shown, arm.name) for arm in shown.arms}
    categories = tuple(dict.fromkeys(category for by_name in figures.values() for category in by_name))
    if not categories:
        why = f"No figures by category: these trials did not record them; {_again(group)}"
        return CategoryTable(name, (), (why,))
    reference, counts = _reference(shown)
    kept = _most_judged(categories, counts)
    header = ("category", *([] if counts is None else COUNTS), *(arm.label for arm in shown.arms))
    rows = [
        (category, *_boxes(category, counts, reference, shown), *_cells(category, figures, shown)) for category in kept
    ]
    left_out = (len(categories) - len(kept), len(group.arms) - len(shown.arms))
    return CategoryTable(name, (header, *rows), tuple(_notes(shown, reference, counts, left_out)))


def _reference(study: StudyRecord) -> tuple[ArmRecord, Annotations | None]:
    """The arm whose boxes are counted: the baseline, or the first that recorded them."""
    arms = sorted(study.arms, key=lambda arm: arm.name != study.baseline)
    for arm in arms:
        if (found := annotations_of(study, arm.name)) is not None:
            return arm, found
    return arms[0], None


def _most_judged(categories: Sequence[str], counts: Annotations | None) -> tuple[str, ...]:
    """All categories, or those with the most validation boxes, in the order of labels."""
    if len(categories) <= MOST_ROWS:
        return tuple(categories)
    known = {} if counts is None else counts.categories
    ranked = sorted(categories, key=lambda name: -known[name].judged if name in known else 0)
    kept = set(ranked[:MOST_ROWS])
    return tuple(name for name in categories if name in kept)


def _boxes(category: str, counts: Annotations | None, arm: ArmRecord, study: StudyRecord) -> tuple[str, ...]:
    if counts is None:
        return ()
    found = counts.categories.get(category)
    if found is None:
        return ("",) * len(COUNTS)
    hidden = UNKNOWN if learns_from_all(study, arm) and stated_set(study, arm) else f"{found.hidden:,}"
    return f"{found.kept:,}", hidden, f"{found.judged:,}"


def _cells(category: str, figures: Mapping[str, Mapping[str, BySeed]], study: StudyRecord) -> Iterator[str]:
    reference = Spread.of(figures[study.baseline].get(category, {}).values())
    for arm in study.arms:
        own = Spread.of(figures[arm.name].get(category, {}).values())
        gain = None if own is None or reference is None or arm.name == study.baseline else own.mean - reference.mean
        yield "" if own is None else _text(own, gain)


def _text(spread: Spread, gain: float | None) -> str:
    deviation = "" if spread.std is None else f" ± {percent(spread.std)}"
    return f"{percent(spread.mean)}{deviation}" + ("" if gain is None else f" ({signed_percent(gain)})")


def _notes(
    study: StudyRecord, reference: ArmRecord, counts: Annotations | None, left_out: tuple[int, int]
) -> Iterator[str]:
    labels = {arm.name: arm.label for arm in study.arms}
    yield (
        f"{heading(METRIC)} in percent on the validation images, after the last epoch; mean ± sample standard "
        f"deviation over seeds; in parentheses the difference of the means to {labels[study.baseline]}."
    )
    if counts is None:
        yield f"Boxes by category were not recorded by these trials; {_again(study)}"
    else:
        yield (
            f"Boxes that {reference.label} learns from (kept), that its training images show beside them (hidden), and "
            "of the validation images (judged); crowds do not count."
        )
        bare = [name for name, boxes in counts.categories.items() if not boxes.judged]
        if bare:
            yield f"Without a validation box, and so without AP: {listed(bare)}."
    if left_out[0]:
        yield f"The {MOST_ROWS} categories with the most validation boxes; {left_out[0]:,} more are in categories.csv."
    if left_out[1]:
        yield f"The baseline and the best arms; {left_out[1]} more are in categories.csv."


def _again(study: StudyRecord) -> str:
    return f"siod study run {study.name} --fresh trains them again."


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names in a sentence, the first few of many.

    Example:
        >>> listed(["a", "b", "c"]), listed(["a", "b", "c", "d"], most=2), listed(["a"])
        ('a, b and c', 'a, b and 2 more', 'a')
    """
    if len(names) == 1:
        return names[0]
    if len(names) <= most:
        return f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{', '.join(names[:most])} and {len(names) - most:,} more"
