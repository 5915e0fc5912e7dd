"""A study as rows for other programs: CSV and Parquet."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from siod.reports.analysis.aggregate import Spread, aggregate
from siod.reports.analysis.annotations import annotations_of
from siod.reports.analysis.categories import by_category, paired
from siod.reports.analysis.differences import to_baseline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from siod.tracking.records import StudyRecord

Row = dict[str, Any]


def arm_rows(study: StudyRecord) -> list[Row]:
    """The figures behind the table: one row for each arm and metric of the table.

    Args:
        study: Finished or not.

    Returns:
        Fractions; None where there is nothing to say. ``p`` and ``p_holm`` are of the difference to the baseline in the
        study's objective, where it is tested.
    """
    found = to_baseline(study)
    rows = []
    for row in aggregate(study):
        tested = found.get(row.arm.name)
        for metric in study.columns:
            spread, difference = row.cells[metric], tested if metric == study.objective else None
            rows.append(
                {
                    "study": study.name,
                    "group": row.arm.group,
                    "arm": row.arm.name,
                    "label": row.arm.label,
                    "metric": metric,
                    "mean": None if spread is None else spread.mean,
                    "std": None if spread is None else spread.std,
                    "seeds": 0 if spread is None else spread.n,
                    "gain": row.gains[metric],
                    "p": None if difference is None else difference.p,
                    "p_holm": None if difference is None else difference.p_holm,
                    "published": row.arm.published.get(metric),
                }
            )
    return rows


def category_rows(study: StudyRecord) -> list[Row]:
    """The figures by category: one row for each arm, category and metric.

    Args:
        study: Finished or not.

    Returns:
        Fractions; ``kept``, ``hidden`` and ``judged`` count the boxes of the arm's own annotations; ``gain`` is the
        mean of what each seed gained over the baseline. None where there is nothing to say.
    """
    return [
        {"study": study.name, "group": arm.group, "arm": arm.name, "label": arm.label, **row}
        for arm in study.arms
        for metric in ("ap_s", "ap_s0")
        for row in _of_categories(study, arm.name, study.baseline_of(arm.group), metric)
    ]


def _of_categories(study: StudyRecord, arm: str, baseline: str, metric: str) -> Iterator[Row]:
    counted, reference = annotations_of(study, arm), by_category(study, baseline, metric)
    for category, values in by_category(study, arm, metric).items():
        spread = Spread.of(values.values())
        boxes = None if counted is None else counted.categories.get(category)
        gain = None if arm == baseline else Spread.of(paired(values, reference.get(category, {})))
        yield {
            "category": category,
            "kept": None if boxes is None else boxes.kept,
            "hidden": None if boxes is None else boxes.hidden,
            "judged": None if boxes is None else boxes.judged,
            "metric": metric,
            "mean": None if spread is None else spread.mean,
            "std": None if spread is None else spread.std,
            "seeds": 0 if spread is None else spread.n,
            "gain": None if gain is None else gain.mean,
        }


def trial_rows(study: StudyRecord) -> list[Row]:
    """One row for each trial, with every metric it has and what it was trained from.

    Args:
        study: Finished or not.

    Returns:
        All rows have the same columns; None where a trial lacks a metric.
    """
    metrics = sorted({name for trial in study.trials for name in trial.metrics})
    return [
        {
            "study": study.name,
            "arm": trial.arm,
            "seed": trial.seed,
            "status": trial.status,
            "epoch": trial.epoch,
            "error": trial.error,
            "run_id": trial.run_id,
            "identity": trial.identity,
            "git_commit": trial.tags.get("git_commit"),
            "data_fingerprint": trial.tags.get("data_fingerprint"),
            "started_ms": trial.started_ms,
            "ended_ms": trial.ended_ms,
            **{name: trial.metrics.get(name) for name in metrics},
        }
        for trial in study.trials
    ]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows as CSV with a header line; numbers in full, nothing where a value is missing.

    Args:
        rows: All with the same columns.

    Example:
        >>> print(as_csv([{"arm": "base", "mean": 0.1, "std": None}]), end="")
        arm,mean,std
        base,0.1,
    """
    written = io.StringIO()
    writer = csv.DictWriter(written, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


def as_parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Write rows as a Parquet file.

    Args:
        rows: All with the same columns.
    """
    import pyarrow as pa  # noqa: PLC0415  (takes a while to load)
    from pyarrow import parquet  # noqa: PLC0415

    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist([dict(row) for row in rows]), sink)
    return bytes(sink.getvalue().to_pybytes())
