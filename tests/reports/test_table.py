"""The table in every format; the golden files are written anew with ``SIOD_UPDATE_GOLDEN=1``."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from siod.reports.analysis.differences import differences, reading
from siod.reports.analysis.numbers import heading, percent, signed_percent
from siod.reports.sentences.caveats import caveats
from siod.reports.tables.latex import escape as latex_escape
from siod.reports.tables.latex import latex_table
from siod.reports.tables.markdown import markdown_report, markdown_table
from siod.reports.tables.table import Cell, tabulate
from siod.reports.terminal import print_study
from siod.tracking.records import ArmRecord, StudyRecord

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "report"
NASTY = r"<script>alert(1)</script> a|b *c* _d_ `e` $x^2$ 50% #1 {f} ~ \input{g} & ≥ é 模"
Change = Callable[..., StudyRecord]


def labelled(study: StudyRecord, label: str) -> StudyRecord:
    return replace(study, arms=tuple(replace(arm, label=label) for arm in study.arms), question=label)


def printed(study: StudyRecord, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    print_study(study, console)
    return re.sub(r" +$", "", console.file.getvalue(), flags=re.MULTILINE)  # type: ignore[attr-defined]


def golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("SIOD_UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


def test_cells_show_percent_with_one_decimal(change: Change, study: StudyRecord) -> None:
    # Base 10.0, 11.0, 12.0: mean 11.0, deviation 1.0. DMiner 14.0, 14.0, 14.3: 14.1, 0.2 (0.173), gain 3.1.
    for seed, base, dminer in ((0, 0.10, 0.140), (1, 0.11, 0.140), (2, 0.12, 0.143)):
        study = change(study, "base", seed, metrics={"ap_s": base})
        study = change(study, "dminer", seed, metrics={"ap_s": dminer})
    lines = {line.label: line for line in tabulate(replace(study, columns=("ap_s",))).lines}
    assert lines["SIOD (base)"].cells == (Cell("11.0", "1.0", ""),)
    assert lines["SIOD (DMiner)"].cells == (Cell("14.1", "0.2", "+3.1"),)


def test_the_highest_mean_of_a_column_is_best_and_equals_share_it(change: Change, study: StudyRecord) -> None:
    values = {"fsod": 0.2001, "base": 0.1, "splg": 0.19, "pgcl": 0.2004, "dminer": 0.15}
    for arm, value in values.items():
        for seed in study.seeds:
            study = change(study, arm, seed, metrics={"ap_s": value})
    table = tabulate(replace(study, columns=("ap_s",)))
    assert [line.cells[0].best for line in table.lines] == [True, False, False, True, False]


def test_one_seed_shows_no_spread(study: StudyRecord) -> None:
    table = tabulate(replace(study, seeds=(0,)))
    assert {cell.std for line in table.lines for cell in line.cells} == {""}
    assert "±" not in markdown_table(table)


def test_an_arm_without_a_finished_trial_says_so(unfinished: StudyRecord) -> None:
    table = tabulate(unfinished)
    assert "| SIOD (DMiner) | 0/3 | no finished trial yet |  |  |  |  |  |" in markdown_table(table)
    assert r"SIOD (DMiner) & 0/3 & \multicolumn{6}{l}{no finished trial yet} \\" in latex_table(table, ())


@pytest.mark.parametrize(
    ("metric", "written"),
    [
        ("ap_s", "AP@S"),
        ("ap_s0", "@S0"),
        ("ap_s9", "@S9"),
        ("ap50_s0", "AP50@S0"),
        ("ap_small_s", "AP small@S"),
        ("ar100_s3", "AR100@S3"),
    ],
)
def test_metrics_are_headed_as_the_paper_does(metric: str, written: str) -> None:
    assert heading(metric) == written


def test_differences_carry_their_sign() -> None:
    assert signed_percent(0.0312) == "+3.1"
    assert signed_percent(-0.0312) == "\N{MINUS SIGN}3.1"
    assert signed_percent(-0.0001) == "+0.0"
    assert percent(-0.0001) == "0.0"


def test_caveats_name_what_failed_what_is_missing_and_what_differs(unfinished: StudyRecord, change: Change) -> None:
    mixed = change(unfinished, "fsod", 2, tags={"git_commit": "fedcba-dirty", "data_fingerprint": "0dd"})
    told = caveats(mixed)
    assert told[0] == "SIOD (DMiner): no finished trial yet."
    assert "base/1 failed and is left out, not counted as zero: RunError: loss term heatmap is nan at step 812." in told
    assert "Left out because still running: pgcl/2 (epoch 3)." in told
    assert "Left out because interrupted: splg/2 (epoch 4)." in told
    assert "3 of 15 trials have not started." in told
    assert "The trials were trained at 2 commits: 0123456789abcdef, fedcba-dirty." in told
    assert "Some trials were trained with local changes that no commit holds." in told
    assert "FSOD: its trials saw different data (f00d, 0dd)." in told
    bare = replace(unfinished, trials=unfinished.trials_of("base"))
    assert caveats(bare)[0] == "FSOD, SIOD + SPLG, SIOD + PGCL, SIOD (DMiner): no finished trial yet."


def test_a_search_tells_how_its_trials_were_proposed_once_for_arms_that_are_alike(study: StudyRecord) -> None:
    alike = "by Optuna 5.0.0, sampler random, pruner none"
    told = caveats(replace(study, proposals={"base": alike, "splg": alike, "pgcl": f"from trial 3 on {alike}"}))
    assert f"SIOD (base), SIOD + SPLG: trials proposed {alike}." in told
    assert f"SIOD + PGCL: trials proposed from trial 3 on {alike}." in told


def test_a_finished_study_tells_what_its_arms_share_and_what_the_figures_are(study: StudyRecord) -> None:
    shared, data, note, legend = caveats(study)
    assert shared == (
        "The same for all: data.kind digits; recipe.epochs 6; recipe.batch_size 8; seeds 0, 1, 2; "
        "commit 0123456789abcdef."
    )
    assert data == "Data: f00d for FSOD; beef for SIOD (base), SIOD + SPLG, SIOD + PGCL, SIOD (DMiner)."
    assert note == "FSOD: all instances annotated: what the others try to reach."
    assert "difference of the means to SIOD (base)" in legend


def test_what_an_arm_changes_or_a_search_tunes_is_not_shared(study: StudyRecord) -> None:
    changed = replace(study, arms=(replace(study.arms[0], changes={"recipe": {}}), *study.arms[1:]))
    assert "recipe" not in caveats(changed)[0]
    tuned = replace(study, trials=tuple(replace(t, params={"recipe.epochs": str(t.seed)}) for t in study.trials))
    assert "recipe.epochs" not in caveats(tuned)[0]
    assert "recipe.batch_size 8" in caveats(tuned)[0]


def test_teachers_are_no_arms_that_were_dropped(study: StudyRecord) -> None:
    teacher = replace(study.trials[0], arm="teacher:base", run_id="t")
    told = caveats(replace(study, trials=(*study.trials, teacher)))
    assert told[0] == "Trained to teach some of the arms: teacher:base/0."
    assert not any("no longer declares" in note for note in told)


def test_trials_of_removed_arms_are_named(study: StudyRecord) -> None:
    fewer = replace(study, arms=study.arms[:2], seeds=(0, 1, 2))
    assert any("no longer declares them: splg/0, splg/1" in note for note in caveats(fewer))


@pytest.mark.parametrize("kind", ["study", "unfinished"])
def test_tables_look_as_they_did(kind: str, request: pytest.FixtureRequest) -> None:
    study: StudyRecord = request.getfixturevalue(kind)
    table, notes = tabulate(study), caveats(study)
    found = differences(study)
    golden(f"{kind}.md", markdown_report(table, notes, found, reading(study, found)))
    golden(f"{kind}.tex", latex_table(table, notes))
    golden(f"{kind}.txt", printed(study, 80))


def test_text_is_text_in_markdown(study: StudyRecord) -> None:
    lines = markdown_table(tabulate(labelled(study, NASTY))).splitlines()
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {9}
    assert re.search(r"(?<!\\)[<>*_`#]", lines[3].split(" | ")[0].removeprefix("| ")) is None


def test_text_is_text_on_the_terminal(study: StudyRecord) -> None:
    assert "[bold red]x[/]" in printed(labelled(study, "[bold red]x[/]"), 200)


@pytest.mark.parametrize(("width", "typed"), [(80, False), (80, True), (40, True)])
def test_a_narrow_terminal_loses_nothing(width: int, typed: object, study: StudyRecord) -> None:
    arms = tuple(replace(arm, traits={"Type": "SAOD hard"} if typed else {}) for arm in study.arms)
    study = replace(study, arms=arms)
    narrow = printed(study, width)
    assert "…" not in narrow
    assert width < 80 or all(len(line) <= width for line in narrow.splitlines())
    for line in tabulate(study).lines:
        assert set(line.label.split()) <= set(narrow.split())
        for cell in line.cells:
            assert cell.mean in narrow
            assert cell.std in narrow
            assert cell.gain in narrow


def test_latex_has_no_character_that_commands(study: StudyRecord) -> None:
    escaped = latex_escape(NASTY)
    commands = re.sub(r"\\(textbackslash|textless|textgreater|textbar|textasciicircum|textasciitilde)\{\}", "", escaped)
    commands = re.sub(r"\\[&%$#_{}]|\$\\geq\$", "", commands)
    assert re.search(r"[\\&%$#_{}~^]", commands) is None
    assert "\n" not in latex_escape("a\n\\b")
    assert study.name == "made_up"
    assert r"\label{tab:made-up}" in latex_table(tabulate(study), ())


@pytest.mark.parametrize("case", ["study", "unfinished", "one seed", "nasty"])
def test_the_latex_compiles_untouched_and_fits_the_page(
    case: str, study: StudyRecord, unfinished: StudyRecord, pdflatex: Callable[[str], str]
) -> None:
    records = {
        "study": study,
        "unfinished": unfinished,
        "one seed": replace(study, seeds=(0,)),
        "nasty": replace(study, arms=(*study.arms, ArmRecord("x", NASTY)), question=NASTY),
    }
    said = pdflatex(latex_table(tabulate(records[case]), caveats(records[case])))
    assert "Output written on paper.pdf" in said
    if case in {"study", "unfinished"}:
        assert "Overfull" not in said


def test_only_a_primary_difference_to_the_baseline_has_a_star(study: StudyRecord, change: Change) -> None:
    """Seven seeds, all of which gain; the star stands beside the difference to the baseline, so it is of that alone."""
    trials = (replace(one, seed=seed) for one in study.trials if one.seed == 0 for seed in range(7))
    seven = replace(study, seeds=tuple(range(7)), trials=tuple(trials), columns=("ap_s",))
    for arm, value in {"base": 0.1, "splg": 0.2, "pgcl": 0.3, "dminer": 0.4, "fsod": 0.5}.items():
        for seed in range(7):
            seven = change(seven, arm, seed, metrics={"ap_s": value + seed / 1000})

    def starred(primary: tuple[tuple[str, str], ...]) -> list[str]:
        lines = tabulate(replace(seven, primary=primary)).lines
        return [line.label for line in lines if line.cells[0].mark]

    assert starred(()) == []  # 4 * 2 / 2^7 is 0.0625
    assert starred((("dminer", "base"), ("splg", "base"))) == ["SIOD + SPLG", "SIOD (DMiner)"]
    assert starred((("dminer", "pgcl"), ("splg", "base"))) == ["SIOD + SPLG"]
    legend = caveats(replace(seven, primary=(("splg", "base"),)))[-1]
    assert "* AP@S differs at 5% after Holm's correction over the primary comparisons" in legend
    assert "differs at 5%" not in caveats(replace(seven, primary=(("dminer", "pgcl"),)))[-1]


def test_a_table_of_differences_names_both_arms_of_primary_comparisons(study: StudyRecord) -> None:
    declared = replace(study, primary=(("dminer", "splg"),))
    found = differences(declared)
    told = markdown_report(tabulate(declared), caveats(declared), found, reading(declared, found))
    rows = [line for line in told.splitlines() if " over SIOD" in line and line.startswith("|")]
    assert rows[0].startswith("| SIOD (DMiner) over SIOD + SPLG | ")
    assert [row.split(" | ")[3:6] for row in rows] == [["0.25"] * 3, *[[""] * 3] * 4]
    assert "- Differences in AP@S, paired by seed; only the comparison named beforehand" in told
    assert "the other 4 are described and not tested, without p or stars" in printed(declared, 300)
