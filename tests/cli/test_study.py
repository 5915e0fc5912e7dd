from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from siod.data import coco
from siod.data.annotation_sets import Keep, annotate
from siod.data.digits import Digits, write_digits
from siod.tracking.mlflow import Store
from siod.tracking.records import ArmRecord, StudyHeader
from siod.training.experiment import Experiment
from siod.tuning.arms import confounded
from siod.tuning.planning.plan import plan
from siod.tuning.study import Study, load_study, study_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Siod

MINE = """
from siod.training.presets import digits_centernet
from siod.tuning.study import Arm, Study

STUDY = Study(
    name="mine", question="Is slower better?", base=digits_centernet(), baseline="base",
    arms=(Arm(name="base"), Arm(name="slow", label="Slow", changes={"recipe.learning_rate": 1e-4})),
)
"""


@dataclass(frozen=True)
class Recorded:
    """A study's file, and a store in which its first arm is finished and its second failed."""

    file: Path
    uri: str


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> Recorded:
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "mine.py").write_text(MINE)
    store = Store(new_store(folder))
    arms = (ArmRecord("base", "base"), ArmRecord("slow", "Slow"))
    run_id = store.start_study(StudyHeader(name="mine", question="Is slower better?", arms=arms, baseline="base"))
    base = store.start_trial(run_id, arm="base", seed=0, identity="a", settings={"seed": 0})
    base.log_epoch(1, {"ap_s": 0.1})
    base.log_epoch(2, {"ap_s": 0.2034})
    base.finish("finished", metrics={f"ap_s{index}": 0.5 for index in (0, 3, 5, 7, 9)})
    store.start_trial(run_id, arm="slow", seed=0, identity="b", settings={}).finish("failed", error="loss is NaN")
    return Recorded(folder / "mine.py", store.uri)


def test_every_study_is_listed_with_its_question(siod: Siod) -> None:
    done = siod("study", "list")
    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[::2]] == list(study_names())
    demo = list(study_names()).index("demo")
    assert lines[2 * demo].split()[1:] == ["3", "arms", "x", "1", "seed", "=", "3", "trials"]
    assert lines[2 * demo + 1].strip().endswith("?")


def test_status_shows_every_trial_as_it_was_declared_from_the_records(siod: Siod, recorded: Recorded) -> None:
    folder = Path.cwd() / "runs" / "trials" / "a"
    folder.mkdir(parents=True)
    done = siod("study", "status", recorded.file, "--tracking", recorded.uri)
    assert done.code == 0
    assert [line.split() for line in done.out.splitlines()] == [
        ["trial", "state", "epoch", "AP@S"],
        ["base/0", "finished", "2", "20.3", str(folder)],
        ["slow/0", "failed", "loss", "is", "NaN"],
        ["1", "of", "2", "finished,", "1", "failed"],
    ]


def test_a_study_that_was_never_run_is_named_with_the_command_that_runs_it(siod: Siod) -> None:
    sentence = siod("study", "status", "demo").refusal
    assert sentence.startswith("no study 'demo' in the tracking store sqlite:///")
    assert sentence.endswith("run it first with 'siod study run'")


def test_a_report_is_built_and_its_table_printed(siod: Siod, recorded: Recorded, tmp_path: Path) -> None:
    done = siod("report", "build", "mine", "--tracking", recorded.uri)
    assert done.code == 0
    assert "20.3" in done.out
    page = tmp_path / "runs" / "reports" / "mine" / "index.html"
    assert done.out.splitlines()[-1] == f"report: {page}"
    assert "Is slower better?" in page.read_text()
    assert {path.name for path in page.parent.iterdir()} >= {"table.md", "table.tex", "index.html"}


def test_a_report_is_written_again_but_not_over_other_files(siod: Siod, recorded: Recorded, tmp_path: Path) -> None:
    assert siod("report", "build", "mine", "--out", "mine", "--tracking", recorded.uri).code == 0
    assert siod("report", "build", recorded.file, "--out", "mine", "--tracking", recorded.uri).code == 0
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    sentence = siod("report", "build", "mine", "--out", "thesis", "--tracking", recorded.uri).refusal
    assert sentence == "thesis: the folder is not empty; name a new one or empty it"


def test_a_report_is_kept_among_the_artifacts_of_its_study(siod: Siod, recorded: Recorded) -> None:
    artifacts = Path(recorded.uri.removeprefix("sqlite:///")).parent / "artifacts"
    assert siod("report", "build", "mine", "--out", "kept", "--tracking", recorded.uri).code == 0
    kept = list(artifacts.rglob("report/*"))
    tables = {f"{name}.{kind}" for name in ("table", "trials") for kind in ("csv", "parquet")}
    assert {path.name for path in kept} == {"index.html", "table.md", "table.tex"} | tables
    for path in kept:
        path.unlink()
    assert siod("report", "build", "mine", "--out", "bare", "--no-log", "--tracking", recorded.uri).code == 0
    assert list(artifacts.rglob("report/*")) == []


def test_several_studies_share_a_folder_and_an_index_lists_them_all(
    siod: Siod, recorded: Recorded, tmp_path: Path
) -> None:
    before = siod("report", "index", "--tracking", recorded.uri)
    assert before.out == f"1 study, 0 with a report: {tmp_path / 'runs' / 'reports' / 'index.html'}\n"
    assert siod("report", "build", "mine", "--tracking", recorded.uri).code == 0
    assert "1 with a report" in siod("report", "index", "--tracking", recorded.uri).out
    page = (tmp_path / "runs" / "reports" / "index.html").read_text()
    assert '<a href="mine/index.html">mine</a>' in page
    assert "Is slower better?" in page
    twice = siod("report", "build", "mine", recorded.file, "--tracking", recorded.uri)
    assert twice.refusal == "study 'mine' is named twice; name each study once"


def test_a_report_of_an_unknown_study_is_answered_with_the_closest(siod: Siod, recorded: Recorded) -> None:
    assert siod("report", "build", "mne", "--tracking", recorded.uri).refusal.endswith("did you mean 'mine'?")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["demos"], "unknown study 'demos' (a file's name ends in .py or .json); did you mean 'demo'?"),
        (["nowhere.py"], "nowhere.py: no such file; name a Python file that defines STUDY"),
        (["demo", "--arm", "bse"], "study 'demo' has no arm 'bse'; did you mean 'base'?"),
        (["demo", "--seed", "7"], "study 'demo' has no seed 7; its seeds are 0"),
        (["demo", "--address", "nowhere"], "Ray address 'nowhere': expected host:port, for example 10.0.0.1:6379"),
    ],
)
def test_a_mistake_is_answered_before_anything_is_made(
    siod: Siod, tmp_path: Path, words: list[str], sentence: str
) -> None:
    assert siod("study", "run", *words).refusal == sentence
    assert list(tmp_path.iterdir()) == []


def test_a_tracking_server_that_does_not_answer_is_named(siod: Siod, free_port: int) -> None:
    uri = f"http://127.0.0.1:{free_port}"
    for words in (["study", "status", "demo"], ["report", "build", "demo"]):
        assert siod(*words, "--tracking", uri).refusal.startswith(f"tracking server {uri}: does not answer")


def test_runs_cannot_lie_below_a_file(siod: Siod, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(Path("file")) in siod("study", "run", "demo", "--runs", "file/runs").refusal


SMALL = """
from siod.data.digits import Digits
from siod.training.experiment import Scratch
from siod.training.presets import digits_centernet
from siod.tuning.study import Arm, Study

STUDY = Study(
    name="small", question="What does it cost?", baseline="base", seeds=(0, 1), factors=("recipe.learning_rate",),
    base=digits_centernet().with_changes(
        {"data": Digits(train_images=8, val_images=4), "weights": Scratch(), "recipe.batch_size": 4}
    ),
    arms=(Arm(name="base"), Arm(name="slow", changes={"recipe.learning_rate": 1e-4, "recipe.epochs": 3})),
)
"""


def test_a_plan_says_what_is_to_train_and_what_is_confounded(siod: Siod, tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(SMALL)
    done = siod("study", "plan", "small.py", "--max-concurrent", 1)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[1].split() == ["base", "0/2", "6", "unknown", "unknown", "nothing", "yet"]
    assert "4 trials, 0 finished, 4 to train" in lines
    assert lines[-1] == "confounded: arm 'slow' also changes recipe.epochs, which is none of the study's factors"
    assert not (tmp_path / "runs").exists()


def test_a_plan_points_out_full_supervision_by_a_file_that_is_a_part(siod: Siod, tmp_path: Path) -> None:
    write_digits(Digits(train_images=8, val_images=4), tmp_path / "digits")
    whole = tmp_path / "digits" / "annotations" / "instances_train.json"
    kept = annotate(coco.read(whole), Keep())
    whole.unlink()
    coco.write(whole, kept)
    full = SMALL.replace("Digits(train_images=8, val_images=4)", f"CocoFolder(root={str(tmp_path / 'digits')!r})")
    full = full.replace('Arm(name="slow"', 'Arm(name="all", changes={"annotations": Full()}), Arm(name="slow"')
    imports = "from siod.data.annotation_sets import Full\nfrom siod.data.source import CocoFolder\n"
    (tmp_path / "small.py").write_text(imports + full)
    told = siod("study", "plan", "small.py").out.splitlines()[-1]
    assert told == "arm 'all' learns from all boxes of a file that says it is keep-1: that is no full supervision"


def test_a_study_in_json_is_the_one_in_python(siod: Siod, tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(SMALL)
    study = load_study(str(tmp_path / "small.py"))
    (tmp_path / "small.json").write_text(study.model_dump_json())
    assert load_study(str(tmp_path / "small.json")) == study
    assert siod("study", "plan", "small.json").out == siod("study", "plan", "small.py").out


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        (None, "mine.json: No such file or directory; name a study's JSON file"),
        ("{", "mine.json: not JSON (line 1"),
        ('{"name": "mine", "quesion": "?"}', "mine.json: unknown setting 'quesion' in Study; did you mean 'question'?"),
    ],
)
def test_a_json_study_that_is_refused_names_the_file(
    siod: Siod, tmp_path: Path, written: str | None, sentence: str
) -> None:
    if written is not None:
        (tmp_path / "mine.json").write_text(written)
    assert sentence in siod("study", "plan", "mine.json").refusal


def test_the_schema_of_a_study_holds_what_a_study_has(siod: Siod) -> None:
    schema = json.loads(siod("study", "schema").out)
    assert set(schema["properties"]) == set(Study.model_fields)
    assert schema["properties"]["question"]["type"] == "string"
    experiment = json.loads(siod("study", "schema", "experiment").out)
    assert set(experiment["properties"]) == set(Experiment.model_fields)


def test_a_plan_says_how_many_seeds_primary_comparisons_need(siod: Siod, tmp_path: Path) -> None:
    """One comparison reaches 2 / 2^6 = 0.031 with six seeds, and 2 / 2^5 = 0.0625 with five."""
    declared = MINE.replace('baseline="base",', 'baseline="base", primary=(("slow", "base"),), seeds=range(%d),')
    told = {}
    for seeds in (5, 6):
        (tmp_path / f"with_{seeds}.py").write_text(declared % seeds)
        done = siod("study", "plan", f"with_{seeds}.py", "--set", "data.train_images=16", "--set", "data.val_images=2")
        assert done.code == 0, done.err
        told[seeds] = [line for line in done.out.splitlines() if line.startswith("primary")]
    assert told[6] == []
    (line,) = told[5]
    assert line.startswith("primary: 5 seeds cannot show a difference at 5% in 1 comparison corrected after Holm")
    assert line.endswith("; 6 seeds can")


def test_a_plan_measures_each_shape_once_and_knows_it_from_then_on(siod: Siod, tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(SMALL)
    measured = siod("study", "plan", "small.py", "--measure")
    assert measured.code == 0
    again = siod("study", "plan", "small.py", "--price", "2.5")
    rows = [line.split() for line in again.out.splitlines()[1:3]]
    assert [row[1] for row in rows] == ["0/2", "0/2"]  # one epoch is no result of the study
    assert [row[6:] for row in rows] == [["1", "run", "of", "its", "shape"]] * 2
    assert len(list((tmp_path / "runs" / "trials").iterdir())) == 1
    (figures,) = [line for line in again.out.splitlines() if "GPU-hours" in line]
    assert re.search(r"MiB of disk, price \d+\.\d\d at 2\.50 per CPU-core-hour$", figures)
    assert "never measured" not in again.out


def test_a_new_study_plans_as_it_is(siod: Siod, tmp_path: Path) -> None:
    done = siod("study", "new", "mine")
    assert (done.code, done.out) == (
        0,
        "mine.py: edit it, then 'siod study plan mine.py' and 'siod study run mine.py'\n",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]
    study = load_study(str(tmp_path / "mine.py"))
    assert (study.name, len(plan(study)), confounded(study)) == ("mine", 9, {})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("my-study",), "use letters, digits and underscores"),
        (("class",), "use letters, digits and underscores"),
        (("mine", "--out", "mine.txt"), "ends in .py"),
        (("there",), "exists already"),
    ],
)
def test_a_new_study_is_refused_where_it_cannot_be(
    siod: Siod, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "there.py").write_text("mine")
    assert sentence in siod("study", "new", *arguments).refusal
    assert (tmp_path / "there.py").read_text() == "mine"
