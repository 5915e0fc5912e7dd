"""``siod evaluate`` prints the table, writes fractions, and refuses broken files in one sentence."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from siod.cli.main import app
from siod.errors import UserError

if TYPE_CHECKING:
    from tests.cli.conftest import Siod

TRUTH = {
    "images": [{"id": 1, "width": 20, "height": 20, "file_name": "a.png"}],
    "categories": [{"id": 7, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [0, 0, 10, 10], "area": 100, "iscrowd": 0}],
}
FOUND = [{"image_id": 1, "category_id": 7, "bbox": [0, 0, 10, 10], "score": 0.55}]


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(TRUTH))
    return path


@pytest.fixture
def found(tmp_path: Path) -> Path:
    path = tmp_path / "found.json"
    path.write_text(json.dumps(FOUND))
    return path


def invoke(*words: object, text: str | None = None) -> str:
    done = CliRunner().invoke(app, ["evaluate", *map(str, words)], input=text, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_perfect_box_scored_055_counts_at_six_of_ten_thresholds(truth: Path, found: Path, tmp_path: Path) -> None:
    out = tmp_path / "metrics.json"
    shown = invoke(truth, found, "--json", out)
    assert shown.splitlines()[2].split()[:2] == ["@S", "60.0"]
    metrics = json.loads(out.read_text())
    assert metrics["ap_s"] == pytest.approx(0.6)
    assert metrics["ap_s0"] == pytest.approx(1.0)
    assert metrics["ap_s5"] == pytest.approx(1.0)
    assert metrics["ap_s6"] == 0.0
    assert metrics["ap_large_s0"] == -1.0


def test_gzipped_files_and_standard_input_are_read(truth: Path, tmp_path: Path) -> None:
    packed = tmp_path / "found.json.gz"
    packed.write_bytes(gzip.compress(json.dumps(FOUND).encode()))
    from_file = invoke(truth, packed).splitlines()[1:]
    done = subprocess.run(
        [sys.executable, "-c", "from siod.cli.main import main; main()", "evaluate", str(truth), "-"],
        input=json.dumps(FOUND),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[1:] == from_file


def test_several_files_stand_side_by_side(truth: Path, found: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps([{**FOUND[0], "score": 0.25}]))
    rows = [line.split() for line in invoke(truth, found, other, "--per-category").splitlines()]
    assert ["AP@S", "60.0", "30.0"] in rows
    assert ["AP@S3", "100.0", "0.0"] in rows
    assert ["cat", "60.0", "30.0"] in rows


def test_markdown_and_latex_are_printed_on_request(truth: Path, found: Path) -> None:
    assert "| @S | 60.0 |" in invoke(truth, found, "--markdown")
    assert "\\toprule" in invoke(truth, found, "--latex")


def test_the_authors_mode_forgives_the_threshold_itself(truth: Path, tmp_path: Path) -> None:
    at_half = tmp_path / "half.json"
    at_half.write_text(json.dumps([{**FOUND[0], "score": 0.5}]))
    assert invoke(truth, at_half).splitlines()[2].split()[1] == "50.0"
    assert invoke(truth, at_half, "--mode", "authors").splitlines()[2].split()[1] == "60.0"


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"score": float("nan")}, "found.json.*score"),
        ({"image_id": 99}, "found.json.*image_id 99"),
        ({"category_id": 3}, "found.json.*category_id 3"),
        ({"bbox": [0, 0, -1, 5]}, "found.json.*bbox"),
    ],
)
def test_a_wrong_record_is_named_in_one_sentence(
    truth: Path, found: Path, record: dict[str, object], words: str
) -> None:
    found.write_text(json.dumps([{**FOUND[0], **record}]))
    with pytest.raises(UserError, match=words) as refused:
        invoke(truth, found)
    assert "\n" not in str(refused.value)


def test_nothing_is_written_when_the_input_is_refused(truth: Path, tmp_path: Path) -> None:
    out = tmp_path / "metrics.json"
    with pytest.raises(UserError, match=r"none\.json: No such file"):
        invoke(truth, tmp_path / "none.json", "--json", out)
    assert not out.exists()


def test_one_file_given_twice_and_two_styles_are_refused(truth: Path, found: Path) -> None:
    with pytest.raises(UserError, match="twice"):
        invoke(truth, found, found)
    with pytest.raises(UserError, match="--markdown and --latex"):
        invoke(truth, found, "--markdown", "--latex")


def test_a_truncated_file_ends_the_command_with_one_sentence_and_code_two(
    siod: Siod, truth: Path, found: Path, tmp_path: Path
) -> None:
    found.write_text(found.read_text()[:-5])
    done = siod("evaluate", truth, found, "--json", tmp_path / "out.json")
    assert done.refusal.startswith(f"{found}: ")
    assert done.out == ""
    assert not (tmp_path / "out.json").exists()


def test_annotation_0_is_found_and_pointed_out(truth: Path, found: Path, siod: Siod) -> None:
    truth.write_text(json.dumps(TRUTH | {"annotations": [TRUTH["annotations"][0] | {"id": 0}]}))
    done = siod("evaluate", truth, found)
    assert done.out.splitlines()[2].split()[:2] == ["@S", "60.0"]
    assert done.err == f"{truth}: an annotation has id 0: found here; pycocotools never finds it\n"
    done = siod("evaluate", truth, found, "--mode", "authors")
    assert done.out.splitlines()[2].split()[:2] == ["@S", "0.0"]
    assert "not found in this mode, as in the published code" in done.err


@pytest.mark.parametrize("score", [55.0, -2.0])
def test_scores_that_are_no_fractions_are_pointed_out(truth: Path, found: Path, siod: Siod, score: float) -> None:
    found.write_text(json.dumps([{**FOUND[0], "score": score}]))
    done = siod("evaluate", truth, found)
    assert done.code == 0
    expected = f"scores from {score:g} to {score:g}; the thresholds 0.0 to 0.9 expect 0 to 1"
    assert done.err == f"{found}: {expected}; write fractions, not percent or logits\n"
