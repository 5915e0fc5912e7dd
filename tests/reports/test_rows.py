"""CSV and Parquet hold what the table shows, in full."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pyarrow as pa
import pytest
from pyarrow import parquet

from siod.reports.tables.rows import arm_rows, as_csv, as_parquet, trial_rows
from siod.tracking.records import StudyRecord


def test_arms_have_a_row_for_each_metric_of_the_table(study: StudyRecord) -> None:
    rows = arm_rows(study)
    assert len(rows) == 5 * 6
    values = [trial.metrics["ap_s"] for trial in study.trials_of("dminer")]
    (own,) = (row for row in rows if (row["arm"], row["metric"]) == ("dminer", "ap_s"))
    assert own["mean"] == pytest.approx(sum(values) / 3)
    assert (own["seeds"], own["p"], own["p_holm"]) == (3, 0.25, 1.0)
    assert {row["p"] for row in rows if row["metric"] != "ap_s"} == {None}


def test_arms_whose_difference_is_not_tested_have_no_p(study: StudyRecord) -> None:
    """Two comparisons: 0.25 times two; the one of two other arms is in no arm's row."""
    primary = (("dminer", "base"), ("splg", "pgcl"))
    rows = [row for row in arm_rows(replace(study, primary=primary)) if row["metric"] == "ap_s"]
    assert {row["arm"]: (row["p"], row["p_holm"]) for row in rows} == {
        "fsod": (None, None),
        "base": (None, None),
        "splg": (None, None),
        "pgcl": (None, None),
        "dminer": (0.25, 0.5),
    }


def test_trials_have_a_row_each_with_all_their_metrics(unfinished: StudyRecord) -> None:
    rows = trial_rows(unfinished)
    assert [(row["arm"], row["seed"], row["status"]) for row in rows][3:5] == [
        ("base", 0, "finished"),
        ("base", 1, "failed"),
    ]
    assert rows[4]["ap_s"] is None
    assert rows[4]["error"].startswith("RunError")
    assert rows[3]["git_commit"] == "0123456789abcdef"


def test_csv_and_parquet_come_back_as_they_were(unfinished: StudyRecord) -> None:
    label = 'a, "b"\nc'
    nasty = replace(unfinished, arms=tuple(replace(arm, label=label) for arm in unfinished.arms))
    for rows in (arm_rows(nasty), trial_rows(nasty)):
        assert parquet.read_table(pa.BufferReader(as_parquet(rows))).to_pylist() == rows
        told = list(csv.DictReader(io.StringIO(as_csv(rows), newline="")))
        assert [row["arm"] for row in told] == [row["arm"] for row in rows]
        numbers = [name for name, value in rows[0].items() if isinstance(value, float)]
        assert [float(row[name]) for row in told[:1] for name in numbers] == [rows[0][name] for name in numbers]
    assert {row["label"] for row in csv.DictReader(io.StringIO(as_csv(arm_rows(nasty)), newline=""))} == {label}
