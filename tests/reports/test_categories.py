"""The answer by category: the table with its boxes, and the sentences where categories disagree."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace

import pytest

from siod.reports.analysis.annotations import about_files, policy_of
from siod.reports.analysis.categories import MOST_ROWS, category_tables
from siod.reports.page import render_page
from siod.reports.sentences.category_answer import disagreements
from siod.reports.sentences.caveats import caveats
from siod.reports.tables.latex import latex_categories
from siod.reports.tables.markdown import escape, markdown_categories
from siod.reports.tables.rows import as_csv, category_rows
from siod.reports.tables.table import tabulate
from siod.tracking.records import Annotations, BoxCounts, Diagnosis, StudyRecord

Change = Callable[..., StudyRecord]
DRAWINGS = ("thresholds", "search", "sweeps", "gallery", "errors", "training", "mining")
KEPT = Annotations({"WBC": BoxCounts(30, 1, 12), "RBC": BoxCounts(28, 3100, 950), "none": BoxCounts(4, 0, 0)})
ALL = Annotations({"WBC": BoxCounts(31, 0, 12), "RBC": BoxCounts(3128, 0, 950), "none": BoxCounts(4, 0, 0)})
# AP@S of WBC and RBC with seeds 0, 1, 2.
VALUES = {
    "fsod": ((0.80, 0.80, 0.80), (0.70, 0.72, 0.74)),
    "base": ((0.79, 0.80, 0.81), (0.30, 0.30, 0.36)),
    "dminer": ((0.78, 0.79, 0.80), (0.50, 0.52, 0.57)),
}


def diagnosis(figures: dict[str, float]) -> Diagnosis:
    empty = (0,) * 20
    told = {name: {"ap_s": value, "ap_s0": value} for name, value in figures.items()}
    return Diagnosis(empty, empty, (0.0,) * 20, {}, told)


def with_figures(study: StudyRecord, change: Change, values: dict[str, tuple[tuple[float, ...], ...]]) -> StudyRecord:
    for arm, (wbc, rbc) in values.items():
        for seed, pair in enumerate(zip(wbc, rbc, strict=True)):
            study = change(
                study,
                arm,
                seed,
                metrics={"ap_s": sum(pair) / 2, "ap_s0": 0.5},
                diagnosis=diagnosis(dict(zip(("WBC", "RBC"), pair, strict=True))),
                annotations=ALL if arm == "fsod" else KEPT,
            )
    return study


@pytest.fixture(scope="module")
def cells(study: StudyRecord, change: Change) -> StudyRecord:
    """Three arms of keep-1: one box is enough for WBC and not for RBC."""
    arms = tuple(arm for arm in study.arms if arm.name in VALUES)
    trials = tuple(replace(trial, history={}) for trial in study.trials if trial.arm in VALUES)
    few = replace(
        study, arms=arms, trials=trials, gallery=None, gallery_files={}, experiment={"annotations": {"policy": "keep"}}
    )
    return with_figures(few, change, VALUES)


def test_a_category_has_its_boxes_and_the_figures_of_every_arm(cells: StudyRecord) -> None:
    (table,) = category_tables(cells)
    # WBC of the base: 79, 80, 81. RBC: 30, 30, 36: mean 32, deviation 3.5 (3.46). DMiner: 53, 3.6; 21 more.
    assert table.rows == (
        ("category", "kept", "hidden", "judged", "FSOD", "SIOD (base)", "SIOD (DMiner)"),
        ("WBC", "30", "1", "12", "80.0 ± 0.0 (+0.0)", "80.0 ± 1.0", "79.0 ± 1.0 (\N{MINUS SIGN}1.0)"),
        ("RBC", "28", "3,100", "950", "72.0 ± 2.0 (+40.0)", "32.0 ± 3.5", "53.0 ± 3.6 (+21.0)"),
    )
    assert table.title == "By category"
    assert table.notes[-1] == "Without a validation box, and so without AP: none."


def test_categories_that_disagree_are_named_with_what_they_reach(cells: StudyRecord) -> None:
    # Of FSOD's 80 DMiner reaches 79, 98.75%; of 72 it reaches 53, 73.6%.
    enough, gains = disagreements(cells)
    assert enough == (
        "One box looks enough for WBC (99%), not for RBC (74%): shares of FSOD's AP@S that SIOD (DMiner) reaches, of "
        "which 95% count as enough (the same with all 3 seeds, which are too few to show it at 5%)."
    )
    assert gains == (
        "SIOD (DMiner) gains on SIOD (base) in RBC (+21.0) and loses in WBC (\N{MINUS SIGN}1.0), in points of AP@S "
        "(the same with all 3 seeds, which are too few to show it at 5%)."
    )


def test_one_seed_is_told_to_be_untested(cells: StudyRecord) -> None:
    enough, _ = disagreements(replace(cells, seeds=(0,)))
    assert enough.endswith("count as enough (one seed cannot be tested).")


def test_enough_seeds_make_it_certain(cells: StudyRecord) -> None:
    """Eight seeds: 2 of 2^8 sign patterns, p = 0.0078, for two categories 0.0156."""
    seeds = tuple(range(8))
    trials = tuple(replace(trial, seed=seed) for trial in cells.trials if trial.seed == 1 for seed in seeds)
    enough, gains = disagreements(replace(cells, seeds=seeds, trials=trials))
    belief = "(p below 5% for each after Holm's correction over the categories)."
    assert enough.startswith("One box is enough for WBC (99%), not for RBC (72%)")
    assert (enough.endswith(belief), gains.endswith(belief)) == (True, True)


def test_seeds_that_disagree_are_named_and_decide_nothing(cells: StudyRecord, change: Change) -> None:
    torn = change(cells, "dminer", 2, diagnosis=diagnosis({"WBC": 0.5, "RBC": 0.57}))
    assert not any(sentence.startswith("One box") for sentence in disagreements(torn))


def test_the_shares_that_differ_most_are_told_where_no_category_is_surely_enough(
    cells: StudyRecord, change: Change
) -> None:
    # Of FSOD's 240 DMiner reaches 230, 95.8%, but not 95% with each seed; of RBC's 216 it reaches 159, 73.6%.
    torn = change(cells, "dminer", 2, diagnosis=diagnosis({"WBC": 0.77, "RBC": 0.57}))
    torn = change(torn, "dminer", 1, diagnosis=diagnosis({"WBC": 0.75, "RBC": 0.52}))
    assert disagreements(torn)[0] == (
        "SIOD (DMiner) reaches 96% of FSOD's AP@S for WBC, but 74% for RBC (in this order with all 3 seeds)."
    )


def test_categories_that_agree_and_those_that_nobody_learns_say_nothing(cells: StudyRecord, change: Change) -> None:
    alike = {"fsod": ((0.5,) * 3,) * 2, "base": ((0.4,) * 3,) * 2, "dminer": ((0.45,) * 3,) * 2}
    assert disagreements(with_figures(cells, change, alike)) == ()
    nothing_learnt = {"fsod": ((0.8,) * 3, (0.001,) * 3), "base": ((0.8,) * 3, (0.0,) * 3), "dminer": ((0.8,) * 3,) * 2}
    assert not any("enough" in sentence for sentence in disagreements(with_figures(cells, change, nothing_learnt)))


def test_the_sentence_names_the_policy(cells: StudyRecord) -> None:
    three = replace(cells, experiment={"annotations": {"policy": "keep", "k": 3}})
    assert disagreements(three)[0].startswith("3 boxes look enough for WBC")
    sparse = replace(cells, experiment={"annotations": {"policy": "saod", "level": "hard"}})
    assert disagreements(sparse)[0].startswith("The saod set looks enough for WBC")


def test_trials_without_the_record_say_why_there_is_no_table(study: StudyRecord, cells: StudyRecord) -> None:
    (none,) = category_tables(study)
    assert none.rows == ()
    assert none.notes == (
        "No figures by category: these trials did not record them; siod study run made_up --fresh trains them again.",
    )
    assert markdown_categories((none,), ()) == f"\n## By category\n\n- {escape(none.notes[0])}\n"
    assert (latex_categories((none,)), category_rows(study)) == ("", [])
    half = replace(cells, trials=tuple(replace(trial, annotations=None) for trial in cells.trials))
    (bare,) = category_tables(half)
    assert bare.rows[0] == ("category", "FSOD", "SIOD (base)", "SIOD (DMiner)")
    why = "Boxes by category were not recorded by these trials; siod study run made_up --fresh trains them again."
    assert why in bare.notes
    assert category_tables(replace(cells, trials=())) == ()
    assert category_tables(replace(cells, name="cells.search")) == ()


def test_of_very_many_categories_those_with_the_most_validation_boxes_are_shown(cells: StudyRecord) -> None:
    names = [f"c{place}" for place in range(MOST_ROWS + 20)]
    counts = Annotations({name: BoxCounts(1, 1, place) for place, name in enumerate(names)})
    told = diagnosis(dict.fromkeys(names, 0.5))
    trials = tuple(replace(trial, diagnosis=told, annotations=counts) for trial in cells.trials)
    (table,) = category_tables(replace(cells, trials=trials))
    assert [row[0] for row in table.rows[1:]] == names[20:]
    assert "The 80 categories with the most validation boxes; 20 more are in categories.csv." in table.notes
    assert len(category_rows(replace(cells, trials=trials))) == 3 * len(names) * 2


def test_the_rows_are_in_full_with_each_arm_s_own_boxes(cells: StudyRecord) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(category_rows(cells)))))
    assert len(rows) == 3 * 2 * 2
    own = next(row for row in rows if (row["arm"], row["category"], row["metric"]) == ("dminer", "RBC", "ap_s"))
    assert (own["kept"], own["hidden"], own["judged"], own["seeds"]) == ("28", "3100", "950", "3")
    assert float(own["gain"]) == pytest.approx(0.21)
    full = next(row for row in rows if (row["arm"], row["category"]) == ("fsod", "RBC"))
    assert (full["kept"], full["hidden"]) == ("3128", "0")


def test_the_table_stands_in_markdown_and_on_the_page(cells: StudyRecord) -> None:
    tables, told = category_tables(cells), disagreements(cells)
    text = markdown_categories(tables, told)
    assert text.startswith("\n## By category\n\nOne box looks enough for WBC (99%)")
    assert "| RBC | 28 | 3,100 | 950 | 72.0 ± 2.0 (+40.0) | 32.0 ± 3.5 | 53.0 ± 3.6 (+21.0) |" in text
    page = render_page(cells, tabulate(cells), caveats(cells), dict.fromkeys(DRAWINGS, ()))
    assert "One box looks enough for WBC" in page[: page.index("<h2>Result")]
    assert '<td data-value="3100">3,100</td>' in page
    assert '<td data-value="53.0">53.0 ± 3.6 (+21.0)</td>' in page


def test_the_table_compiles_in_latex(cells: StudyRecord, pdflatex: Callable[[str], str]) -> None:
    pdflatex(latex_categories(category_tables(cells)))


def test_a_file_that_says_it_is_a_part_is_no_full_supervision(cells: StudyRecord) -> None:
    stated = replace(KEPT, train_set="keep-1", val_set="keep-1")
    trials = tuple(replace(trial, annotations=stated) for trial in cells.trials)
    told = replace(cells, trials=trials)
    sentences = (
        "FSOD learns from all boxes of a file that says it is keep-1: that is no full supervision.",
        "The validation file says it is keep-1: detections of the boxes it lacks count as false.",
    )
    assert tuple(about_files(told)) == sentences
    assert set(sentences) <= set(caveats(told))
    assert not any("enough" in sentence for sentence in disagreements(told))
    assert tuple(about_files(cells)) == ()
    federated = tuple(replace(trial, annotations=replace(stated, federated=True)) for trial in cells.trials)
    by_the_rule = (
        "The validation file says of its images which categories were looked for: detections of others count neither "
        "way, nor do unmatched ones where it says that boxes are missing (LVIS's rule)."
    )
    assert tuple(about_files(replace(cells, trials=federated))) == (sentences[0], by_the_rule)
    # Where the baseline itself learns from all of such a file, nobody knows what is hidden.
    whole = replace(told, experiment={"annotations": {"policy": "full"}})
    assert category_tables(whole)[0].rows[1][1:4] == ("30", "unknown", "12")


def test_a_whole_policy_replaces_that_of_the_base(cells: StudyRecord) -> None:
    keep = replace(cells, experiment={"annotations": {"policy": "keep", "k": 2, "seed": 1}})
    assert policy_of(keep, cells.arms[0]) == {"policy": "full"}
    changed = replace(cells.arms[0], changes={"annotations.k": 3})
    assert policy_of(keep, changed) == {"policy": "keep", "k": "3", "seed": "1"}
