"""What the README says can be typed, can be typed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from siod.cli.main import app
from siod.tuning.study import load_study, study_names

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def commands(text: str) -> list[list[str]]:
    console = "\n".join(re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL))
    return [line.removeprefix("$ ").split("#")[0].split() for line in console.splitlines() if line.startswith("$ ")]


COMMANDS = commands(README)
SIOD = [words[1:] for words in COMMANDS if words[0] == "siod"]
DATA = [words[1:] for words in commands((ROOT / "docs" / "data.md").read_text()) if words[0] == "siod"]
GPUS = [words[1:] for words in commands((ROOT / "docs" / "gpus.md").read_text()) if words[0] == "siod"]
STUDIES = [words[1:] for words in commands((ROOT / "docs" / "studies.md").read_text()) if words[0] == "siod"]
COMPLETE = [words[1:] for words in commands((ROOT / "docs" / "complete.md").read_text()) if words[0] == "siod"]
MAKE = [words[1] for words in COMMANDS if words[0] == "make"]


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_the_readme_shows_the_commands_it_is_about() -> None:
    assert MAKE == ["demo", "test"]
    assert len(SIOD) >= 10


@pytest.mark.parametrize("words", SIOD + DATA + GPUS + STUDIES + COMPLETE, ids=" ".join)
def test_a_command_of_the_readme_or_of_a_page_exists_with_its_options(words: list[str]) -> None:
    names = [word for word in words[:2] if re.fullmatch(r"[a-z]+", word)]
    shown = CliRunner(env={"TERMINAL_WIDTH": "200", "COLUMNS": "200"}).invoke(app, [*names, "--help"])
    if shown.exit_code != 0:
        names = names[:1]
        shown = CliRunner(env={"TERMINAL_WIDTH": "200", "COLUMNS": "200"}).invoke(app, [*names, "--help"])
    assert shown.exit_code == 0
    for option in (word for word in words if word.startswith("--")):
        assert option in shown.output


@pytest.mark.parametrize("target", MAKE)
def test_a_make_target_of_the_readme_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def test_studies_named_in_the_readme_exist() -> None:
    named = {words[words.index("--study") + 1] for words in SIOD if "--study" in words}
    named |= {words[2] for words in SIOD if words[:2] in (["study", "run"], ["study", "status"], ["report", "build"])}
    named = {name for name in named if not name.endswith(".py")}
    assert named
    assert named <= set(study_names())


def test_the_study_of_the_readme_loads(tmp_path: Path) -> None:
    (block,) = (block for block in python_blocks(README) if "STUDY = " in block)
    (tmp_path / "mine.py").write_text(block)
    assert load_study(str(tmp_path / "mine.py")).name == "my_coco"


def test_the_evaluator_of_the_readme_runs() -> None:
    (block,) = (block for block in python_blocks(README) if "ScoreAwareEvaluator" in block)
    names: dict[str, Any] = {}
    exec(block, names)  # noqa: S102  (the code the README shows)
    # A perfect box scored 0.55 is above six of the ten thresholds.
    assert names["metrics"]["ap_s"] == pytest.approx(0.6)


def test_the_code_of_the_evaluation_page_runs() -> None:
    blocks = python_blocks((ROOT / "docs" / "evaluation.md").read_text())
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)  # noqa: S102  (the code the page shows, with its asserts)
    assert len(blocks) == 5


def test_the_code_of_the_page_on_missing_boxes_runs() -> None:
    (block,) = python_blocks((ROOT / "docs" / "complete.md").read_text())
    names: dict[str, Any] = {}
    exec(block, names)  # noqa: S102  (the code the page shows)
    assert names["candidates"].scores.tolist() == [0.9, 0.6]
    assert names["rates"].reasons == ("only 1 image surely lacks it, 20 are needed",)


def test_files_named_in_readme_and_contributing_exist() -> None:
    text = README + (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`((?:siod|studies|cli|reports|tests|docs)/[\w/]+\.(?:py|md))`", text))
    assert len(named) >= 8
    assert {name for name in named if not (ROOT / name).exists()} == set()
