"""``siod runs``, and a folder of runs that is moved or copied, as the shell gets to see them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from siod.json_file import write_json
from siod.tracking.mlflow import Store
from siod.tracking.records import ArmRecord, Gallery, GalleryImage, StudyHeader, TrueBox
from siod.training.checkpoint import save

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Siod

PIXEL = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde\x00\x00\x00\x0cIDAT"
    b"\x08\xd7c\xf8\xcf\xc0\x00\x00\x03\x01\x01\x00\x18\xdd\x8d\xb0\x00\x00\x00\x00IEND\xaeB`\x82"
)


@pytest.fixture
def runs(tmp_path: Path, new_store: Callable[[Path], str]) -> Path:
    """A folder of runs with one finished trial, a picture, and a trial that a dead process left running."""
    folder = tmp_path / "runs"
    store = Store(new_store(folder))
    arms = (ArmRecord("base", "Base"), ArmRecord("slow", "Slow"))
    study = store.start_study(StudyHeader(name="mine", question="Does it move?", arms=arms, baseline="base"))
    (tmp_path / "a.png").write_bytes(PIXEL)
    shown = Gallery(("cat",), (GalleryImage(7, "a.png", 1, 1, (TrueBox(0, 0, 1, 1, 0),)),))
    store.log_gallery(study, shown, tmp_path)
    base = store.start_trial(study, arm="base", seed=0, identity="a", settings={"seed": 0})
    base.log_epoch(1, {"ap_s": 0.2034})
    base.log_json("gallery.json", {"7": [[0, 0, 1, 1, 0.9, 0]]})
    base.finish("finished", metrics={f"ap_s{index}": 0.5 for index in (0, 3, 5, 7, 9)})
    store.start_trial(study, arm="slow", seed=0, identity="b", settings={"seed": 0})
    for name in ("a", "b"):
        save(folder / "trials" / name / "checkpoints" / "epoch_0001.pt", {"epoch": 1, "model": {}, "optimiser": {}})
        write_json(folder / "trials" / name / "experiment.json", {"identity": name, "experiment": {"compute": {}}})
    write_json(folder / "trials" / "a" / "result.json", {"ap_s": 0.2034})
    (folder / "studies" / "mine").mkdir(parents=True)
    (folder / "studies" / "mine" / ".lock").touch()
    return folder


@pytest.mark.parametrize("original", ["goes", "stays", "is spoilt"])
def test_a_folder_of_runs_works_wherever_it_is(siod: Siod, runs: Path, tmp_path: Path, original: str) -> None:
    before = siod("study", "status", "mine")
    there = tmp_path / "on another disk" / "runs"
    shutil.copytree(runs, there)
    if original == "goes":
        shutil.rmtree(runs)
    elif original == "is spoilt":
        for file in runs.glob("artifacts/**/*.json"):
            file.write_text("{")
    status = siod("study", "status", "mine", "--runs", there)
    assert (status.code, status.err) == (0, "")
    assert status.out == before.out.replace(str(runs), str(there))
    built = siod("report", "build", "mine", "--runs", there)
    assert built.code == 0, built.err
    page = (there / "reports" / "mine" / "index.html").read_text()
    assert "Does it move?" in page
    assert "data:image/png;base64," in page  # the picture of the gallery
    assert list(there.glob("artifacts/mine/*/artifacts/report/index.html"))
    assert not list(runs.glob("artifacts/mine/*/artifacts/report"))


def test_what_is_there_is_listed_with_states_and_sizes(siod: Siod, runs: Path) -> None:
    listed = siod("runs", "list")
    assert listed.code == 0
    lines = [line.split() for line in listed.out.splitlines()]
    assert ["mine", "1", "running,", "1", "finished"] in lines or ["mine", "1", "finished,", "1", "running"] in lines
    assert [line[:2] for line in lines if line[:1] in (["a"], ["b"])] == [["a", "finished"], ["b", "interrupted"]]
    assert "mine: base/0" in listed.out
    assert f"{runs}: " in listed.out.splitlines()[-1]
    assert "siod runs prune --dry-run" in listed.out


def test_an_empty_folder_is_listed_as_empty(siod: Siod, tmp_path: Path) -> None:
    listed = siod("runs", "list")
    assert listed.code == 0
    assert listed.out.splitlines() == [f"{tmp_path / 'runs'}: 0.0 MB; 'siod runs prune --dry-run' says what may go"]
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def large(runs: Path) -> Path:
    """A checkpoint of the finished trial that an optimiser makes a megabyte larger."""
    import torch  # noqa: PLC0415  (most of these tests do without)

    file = runs / "trials" / "a" / "checkpoints" / "epoch_0001.pt"
    save(file, {"epoch": 1, "model": {}, "optimiser": {"moments": torch.zeros(250_000)}})
    return file


def test_nothing_goes_before_it_was_said_and_agreed_to(siod: Siod, large: Path, runs: Path) -> None:
    size = large.stat().st_size
    shown = siod("runs", "prune", "--dry-run")
    assert shown.code == 0
    assert "1.0 MB  mine: base/0 in a: what epoch_0001.pt would go on with" in shown.out
    assert f"{runs}: 1.0 MB of" in shown.out
    refused = siod("runs", "prune")
    assert refused.refusal == "nobody is there to be asked; say --yes to delete this, or --dry-run to see it only"
    assert large.stat().st_size == size
    done = siod("runs", "prune", "--yes")
    assert (done.code, done.out.splitlines()[-1]) == (0, f"{runs}: 1.0 MB deleted")
    assert large.stat().st_size < 10_000
    assert siod("runs", "prune").out.startswith(f"{runs}: 0.0 MB of")


def test_small_copies_in_the_cache_go_when_they_are_asked_for(siod: Siod, runs: Path, tmp_path: Path) -> None:
    del runs
    copy = tmp_path / "cache" / "resized" / "0123456789abcdef"
    copy.mkdir(parents=True)
    (copy / "1.jpg").write_bytes(b"j" * 2_000_000)
    assert "resized" not in siod("runs", "prune", "--dry-run").out
    assert "2.0 MB" in siod("runs", "prune", "--dry-run", "--cached").out
    assert siod("runs", "prune", "--cached", "--yes").code == 0
    assert not copy.exists()


def test_a_repair_says_what_it_did_and_a_second_one_that_there_is_nothing(
    siod: Siod, runs: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    runs.rename(moved)
    repaired = siod("runs", "repair", "--runs", moved)
    assert repaired.code == 0
    assert repaired.out.splitlines() == [
        "tracking store: 3 runs now found where the artifacts are",
        "study mine: no process runs it; marked as interrupted: slow/0, mine",
    ]
    assert siod("runs", "repair", "--runs", moved).out == f"{moved}: nothing to repair\n"
    assert "interrupted" in siod("study", "status", "mine", "--runs", moved).out
