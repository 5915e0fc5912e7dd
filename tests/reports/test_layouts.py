"""The layouts of the paper's tables: check marks for modules, a setting's values across, stars, distance to a paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import matplotlib as mpl
import pytest

from siod.reports.analysis.aggregate import leading
from siod.reports.figures.drawing import STYLE
from siod.reports.figures.points import draw_sweeps
from siod.reports.figures.study import draw_study
from siod.reports.index import render_index
from siod.reports.sentences.caveats import caveats
from siod.reports.tables.latex import latex_sweeps, latex_table
from siod.reports.tables.markdown import markdown_report, markdown_table
from siod.reports.tables.sweeps import sweeps
from siod.reports.tables.table import APART, Cell, tabulate
from siod.tracking.records import ArmRecord, StudyRecord

Change = Callable[..., StudyRecord]
PATH = "dminer.splg.min_similarity"


@pytest.fixture(scope="module")
def modules(study: StudyRecord) -> StudyRecord:
    """Table 3: which modules an arm uses."""
    uses = {"splg": ("SPLG",), "pgcl": ("PGCL",), "dminer": ("SPLG", "PGCL")}
    arms = tuple(replace(arm, modules=uses.get(arm.name, ())) for arm in study.arms if arm.name != "fsod")
    return replace(study, arms=arms, columns=("ap_s", "ap_s0"))


@pytest.fixture(scope="module")
def swept(study: StudyRecord, change: Change) -> StudyRecord:
    """Table 4: the base experiment has the value 0.6, two arms have others, one changes something else."""
    arms = (
        ArmRecord("base", "0.6", published={"ap_s": 0.158}),
        ArmRecord("splg", "0.7", changes={PATH: 0.7}, published={"ap_s": 0.154}),
        ArmRecord("pgcl", "0.5", changes={PATH: 0.5}, published={"ap_s": 0.162}),
        ArmRecord("dminer", "longer", changes={"recipe.epochs": 9, PATH: 0.9}),
    )
    for arm, value in {"base": 0.2, "splg": 0.1, "pgcl": 0.3, "dminer": 0.4}.items():
        for seed in study.seeds:
            study = change(study, arm, seed, metrics={"ap_s": value + seed / 100})
    experiment = {"dminer": {"splg": {"min_similarity": 0.6}}}
    return replace(study, arms=arms, columns=("ap_s",), experiment=experiment)


def test_modules_are_check_marks(modules: StudyRecord) -> None:
    table = tabulate(modules)
    assert table.properties == ("SPLG", "PGCL")
    assert [table.properties_of(line) for line in table.lines] == [("", ""), ("✓", ""), ("", "✓"), ("✓", "✓")]
    shown = markdown_table(table).splitlines()
    assert shown[0] == "|  | SPLG | PGCL | seeds | AP@S | @S0 |"
    assert shown[3].startswith("| SIOD + SPLG | ✓ |  | 3 |")
    assert r"SIOD (DMiner) & $\surd$ & $\surd$ & 3 &" in latex_table(table, ())


def test_a_study_without_modules_has_no_column_for_them(study: StudyRecord) -> None:
    assert tabulate(study).properties == ()


def test_a_sweep_has_its_values_across_in_order(swept: StudyRecord) -> None:
    (sweep,) = sweeps(swept)
    # Seeds 0, 1, 2 add 0, 1, 2 points: mean + 1, deviation 1.
    assert sweep.rows() == (
        ("min_similarity", "0.5", "0.6", "0.7"),
        ("AP@S", "31.0 ± 1.0", "21.0 ± 1.0", "11.0 ± 1.0"),
        ("AP@S published", "16.2", "15.8", "15.4"),
        (f"AP@S {APART}", "+14.8", "+5.2", "\N{MINUS SIGN}4.4"),
    )
    assert sweep.arms == ("pgcl", "base", "splg")


def test_a_sweep_stands_in_every_text_format(swept: StudyRecord) -> None:
    report = markdown_report(tabulate(swept), caveats(swept), swept=sweeps(swept))
    assert "## min\\_similarity\n\n| min\\_similarity | 0.5 | 0.6 | 0.7 |\n| :-- | --: | --: | --: |\n" in report
    assert r"AP@S published & 16.2 & 15.8 & 15.4 \\" in latex_sweeps(sweeps(swept))


def test_one_changed_value_is_no_sweep(study: StudyRecord) -> None:
    assert sweeps(study) == ()


def test_a_sweep_of_numbers_is_drawn_with_the_papers_curve(swept: StudyRecord) -> None:
    with mpl.rc_context(STYLE):
        (drawing,) = draw_sweeps(swept)
    assert drawing.name == "sweep_dminer-splg-min-similarity"
    assert ">published<" in drawing.svg
    assert [one.name for one in draw_study(swept)["sweeps"]] == [drawing.name]


def test_words_are_swept_but_not_drawn(swept: StudyRecord) -> None:
    arms = tuple(
        replace(arm, changes={"init": word}) for arm, word in zip(swept.arms, ("a", "b", "c", "d"), strict=True)
    )
    words = replace(swept, arms=arms)
    assert [sweep.values for sweep in sweeps(words)] == [("a", "b", "c", "d")]
    assert draw_study(words)["sweeps"] == ()


def test_figures_are_printed_as_pdf_and_png(swept: StudyRecord) -> None:
    (drawing,) = draw_study(swept)["sweeps"]
    assert drawing.printed("pdf").startswith(b"%PDF-")
    assert drawing.printed("png").startswith(b"\x89PNG")


def test_a_star_marks_what_is_significant_after_the_correction(study: StudyRecord) -> None:
    # Eight seeds and one comparison: p = 2 / 2^8.
    first = {trial.arm: trial for trial in study.trials}
    seeds = tuple(range(8))
    trials = tuple(
        replace(first[arm], seed=seed, metrics={"ap_s": level + seed / 1000, "ap_s0": level})
        for arm, level in (("base", 0.1), ("dminer", 0.2))
        for seed in seeds
    )
    arms = tuple(arm for arm in study.arms if arm.name in {"base", "dminer"})
    sure = replace(study, arms=arms, seeds=seeds, trials=trials, columns=("ap_s", "ap_s0"))
    table = tabulate(sure)
    assert table.lines[1].cells[0] == Cell("20.4", "0.2", "+10.0", best=True, mark="*")
    assert [cell.mark for line in table.lines for cell in line.cells] == ["", "", "*", ""]
    assert "(+10.0)\\*" in markdown_table(table)
    assert "(+10.0)$^*$" in latex_table(table, ())
    assert any("* AP@S differs at 5% after Holm's correction" in note for note in caveats(sure))


def test_ours_stand_beside_the_papers_with_the_distance(swept: StudyRecord) -> None:
    lines = [(line.label, line.cells[0].mean) for line in tabulate(swept).lines[:3]]
    assert lines == [("0.6", "21.0"), ("published", "15.8"), ("ours \N{MINUS SIGN} published", "+5.2")]


def test_modules_and_sweeps_compile_untouched(
    modules: StudyRecord, swept: StudyRecord, pdflatex: Callable[[str], str]
) -> None:
    body = latex_table(tabulate(modules), caveats(modules)) + latex_sweeps(sweeps(swept))
    assert "Overfull" not in pdflatex(body)


def test_an_index_lists_studies_with_their_answers_and_reports(study: StudyRecord, unfinished: StudyRecord) -> None:
    nasty = replace(unfinished, name="other", question="<script>x</script>")
    page = render_index([study, nasty], {"made_up": "made_up/index.html"})
    assert '<a href="made_up/index.html">made_up</a>' in page
    assert "SIOD (DMiner) is ahead of SIOD (base) by 9.3" in page
    assert "3 not started" in page
    assert "siod report build other" in page
    assert "<script" not in page


def test_figures_of_many_arms_show_the_baseline_and_the_best(study: StudyRecord) -> None:
    # Base has the lowest mean and stays; of the others FSOD and DMiner lead.
    fewer = leading(study, 3)
    assert [arm.name for arm in fewer.arms] == ["fsod", "base", "dminer"]
    assert leading(study, 5) is study
