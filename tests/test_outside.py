"""Files from outside the package: a study's neighbours are found, hide nothing, travel as text and are found again."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from siod.detectors.zoo import CENTERNET_TINY, FAMILIES
from siod.errors import UserError
from siod.json_file import write_json
from siod.methods.zoo import METHODS
from siod.outside import Loader, Sources, brought_by, load_recorded, load_study_file, sources_of
from siod.training.claim import warn_if_changed
from siod.training.experiment import Experiment
from siod.training.predict import load_trained
from siod.training.presets import digits_centernet
from siod.tuning.study import load_study

if TYPE_CHECKING:
    from siod.tuning.running.outcome import StudyOutcome

FAMILY = """
from typing import Literal

from siod.detectors.centernet import CenterNet, CenterNetDetector
from siod.detectors.zoo import add_family


class Peaks(CenterNet):
    family: Literal["peaks"] = "peaks"


add_family(Peaks, CenterNetDetector)
"""

STUDY = """
from typing import Literal

from peaks_family import Peaks
from siod.data.digits import Digits
from siod.detectors.zoo import CENTERNET_TINY
from siod.methods.method import Method, MethodSpec
from siod.methods.zoo import add_method
from siod.training.experiment import Compute, Scratch
from siod.training.presets import digits_centernet
from siod.tuning.study import Arm, Study


class Plain(MethodSpec):
    kind: Literal["plain"] = "plain"


class PlainMethod(Method):
    def __init__(self, spec, detector):
        super().__init__(detector)


add_method(Plain, PlainMethod)
ALONE = Compute(cpus_per_worker=1, gpus_per_worker=0, loader_workers=0)
STUDY = Study(
    name="outside",
    question="Do files of one's own work?",
    base=digits_centernet().with_changes(
        {
            "data": Digits(train_images=8, val_images=3),
            "weights": Scratch(),
            "detector": Peaks(**CENTERNET_TINY.model_dump(exclude={"family"})),
            "recipe.epochs": 1,
            "recipe.batch_size": 2,
            "compute": ALONE,
        }
    ),
    arms=(
        Arm(name="base"),
        Arm(
            name="together",
            changes={"method": Plain(), "compute": ALONE.with_changes({"workers": 2, "cpus_per_worker": 0.5})},
        ),
    ),
    baseline="base",
)
"""


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    forgotten()


def written(folder: Path, **files: str) -> Path:
    """Files by their stem; two underscores stand for a folder."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def names_in(sources: Sources) -> list[str]:
    return [source.name for source in sources.files]


def forgotten() -> None:
    """As a worker is at its start: nothing from outside is loaded or known."""
    for name in [name for name in sys.modules if sources_of(name) is not None]:
        del sys.modules[name]
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, Loader)]
    FAMILIES.pop("peaks", None)
    METHODS.pop("plain", None)


def test_neighbours_are_found_through_neighbours_functions_and_packages(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        cells="import first_of_cells\ndef late():\n    from parts_of_cells.more import size\n    return size",
        first_of_cells="import json, second_of_cells\nA = second_of_cells.B",
        second_of_cells="B = 2",
        nobody_imports="1 / 0",
    )
    written(tmp_path / "parts_of_cells", more="size = 3")
    (tmp_path / "parts_of_cells" / "__init__.py").touch()
    module = load_study_file(folder / "cells.py")
    sources = sources_of(module.__name__)
    assert sources is not None
    expected = ["first_of_cells", "parts_of_cells", "parts_of_cells.more", "second_of_cells", "siod_study_cells"]
    assert names_in(sources) == expected
    assert (module.first_of_cells.A, module.late(), module.__file__) == (2, 3, str(folder / "cells.py"))


def test_a_neighbour_does_not_hide_an_installed_module(tmp_path: Path) -> None:
    folder = written(tmp_path, cells="import statistics\nM = statistics.mean([1, 3])", statistics="1 / 0", optuna="")
    module = load_study_file(folder / "cells.py")
    assert module.M == 2
    assert names_in(sources_of(module.__name__) or Sources(folder, ())) == ["siod_study_cells"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "from statistics import ARMS",
            r"cells\.py: .*'ARMS'.*; .*/statistics\.py has the name of an installed",
        ),
        ("from arms_of_cells import NONE", r"cells\.py: cannot be loaded \(ImportError: cannot import name 'NONE'"),
    ],
)
def test_an_import_that_fails_names_a_neighbour_only_where_that_is_hidden(
    tmp_path: Path, text: str, sentence: str
) -> None:
    folder = written(tmp_path, cells=text, statistics="ARMS = ()", arms_of_cells="ARMS = ()")
    with pytest.raises(UserError, match=sentence):
        load_study(str(folder / "cells.py"))


def test_equal_names_in_two_folders_are_two_modules(tmp_path: Path) -> None:
    for number in (1, 2):
        written(tmp_path / str(number), cells="from arms_of_cells import N", arms_of_cells=f"N = {number}")
    assert [load_study_file(tmp_path / name / "cells.py").N for name in ("1", "2", "1")] == [1, 2, 1]


def test_a_file_that_was_mended_is_loaded_anew_and_its_family_takes_the_place_of_the_former(tmp_path: Path) -> None:
    folder = written(tmp_path, cells="from peaks_family import Peaks", peaks_family=FAMILY)
    first = load_study_file(folder / "cells.py").Peaks
    written(tmp_path, peaks_family=FAMILY + "MENDED = True\n")
    second = load_study_file(folder / "cells.py").Peaks
    assert first is not second
    assert FAMILIES["peaks"].spec is second


def peaks_experiment(folder: Path) -> Experiment:
    written(folder, cells="from peaks_family import Peaks", peaks_family=FAMILY)
    spec = load_study_file(folder / "cells.py").Peaks
    detector = spec.model_validate(CENTERNET_TINY.model_dump(exclude={"family"}))
    return digits_centernet().with_changes({"detector": detector})


def test_an_experiment_takes_along_what_brought_its_detector(tmp_path: Path) -> None:
    experiment = peaks_experiment(tmp_path)
    sent = pickle.dumps(experiment)
    for path in tmp_path.glob("*.py"):
        path.unlink()
    forgotten()
    arrived = pickle.loads(sent)  # noqa: S301  (written a line above)
    assert type(arrived.detector).__name__ == "Peaks"
    assert arrived.model_dump() == experiment.model_dump()
    assert "siod_study_cells" not in sys.modules
    assert "peaks" in FAMILIES


PLAIN = {"method": {"kind": "plain"}}


@pytest.mark.parametrize(
    "teacher",
    [
        PLAIN,
        {"method": {"kind": "teacher_student", "teacher": PLAIN}},
        {"method": {"kind": "teacher_student", "teacher": None}, "method.teacher": PLAIN},
    ],
)
def test_an_experiment_takes_along_the_method_of_its_teacher(tmp_path: Path, teacher: dict[str, Any]) -> None:
    written(tmp_path, cells=STUDY, peaks_family=FAMILY)
    load_study_file(tmp_path / "cells.py")
    experiment = digits_centernet().with_changes({"method": {"kind": "teacher_student", "teacher": teacher}})
    assert [entry["module"] for entry in experiment.record()["outside"]] == ["siod_study_cells"]
    sent = pickle.dumps(experiment)
    forgotten()
    arrived = pickle.loads(sent)  # noqa: S301  (written a line above)
    kinds = [each.method.kind for each in arrived.teachers() if each.method is not None]
    assert kinds[-1] == "plain"
    assert arrived.model_dump() == experiment.model_dump()


def test_an_experiment_of_the_package_takes_nothing_along() -> None:
    experiment = digits_centernet()
    assert brought_by(experiment.detector, experiment.method) == ()
    assert "outside" not in experiment.record()
    assert pickle.loads(pickle.dumps(experiment)) == experiment  # noqa: S301


def test_a_run_finds_again_what_brought_its_detector(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    experiment = peaks_experiment(tmp_path)
    record = experiment.record()
    (entry,) = record["outside"]
    assert (entry["module"], entry["file"]) == ("peaks_family", str(tmp_path / "peaks_family.py"))
    forgotten()
    again = Experiment.recorded(record, source="run")
    assert again.model_dump() == experiment.model_dump()
    assert caplog.messages == []
    written(tmp_path, peaks_family=FAMILY + "MENDED = True\n")
    Experiment.recorded(record, source="run")
    assert caplog.messages == [f"run: {entry['file']}, or what it imports, has changed since this run began"]


def test_a_result_of_other_code_is_told_when_it_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    experiment = peaks_experiment(tmp_path / "study")
    run_dir = tmp_path / "run"
    write_json(run_dir / "experiment.json", experiment.record())
    warn_if_changed(run_dir, experiment)
    assert caplog.messages == []
    write_json(run_dir / "experiment.json", experiment.record() | {"outside": []})
    warn_if_changed(run_dir, experiment)
    file = tmp_path / "study" / "peaks_family.py"
    assert caplog.messages == [
        f"{run_dir}: {file} has changed since this run began; train it anew if that matters (--fresh, or another --out)"
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, r"run: its detector or method comes from .*peaks_family\.py, which is not there; put the file back"),
        ("def broken(:", r"run: .*peaks_family\.py, which brought its detector or method, cannot be read \("),
        ("1 / 0", r"run: its detector or method comes from .*peaks_family\.py, which cannot be loaded \(ZeroDivision"),
    ],
)
def test_what_cannot_be_found_again_is_named(tmp_path: Path, text: str | None, sentence: str) -> None:
    record = peaks_experiment(tmp_path).record()
    file = tmp_path / "peaks_family.py"
    file.unlink()
    if text is not None:
        file.write_text(text)
    forgotten()
    with pytest.raises(UserError, match=sentence):
        Experiment.recorded(record, source="run")


def test_an_installed_module_is_recorded_by_name() -> None:
    class Elsewhere:
        """Its module is this one, which pytest loaded."""

    (brought,) = brought_by(Elsewhere(), None)
    assert brought.record() == {"module": __name__}
    assert load_recorded([{"module": "json"}], source="run") == []
    with pytest.raises(UserError, match=r"run: its detector or method comes from nowhere_at_all, which cannot be load"):
        load_recorded([{"module": "nowhere_at_all"}], source="run")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("outside"), mine=STUDY, peaks_family=FAMILY)


@pytest.fixture(scope="module")
def outcome(folder: Path, ray_session: None, new_store: Callable[[Path], str]) -> StudyOutcome:
    """The files are gone when the workers start, as they are on other nodes."""
    del ray_session
    study = load_study(str(folder / "mine.py"))
    for path in folder.glob("*.py"):
        path.unlink()
    from siod.tuning.running.run_config import RunConfig  # noqa: PLC0415
    from siod.tuning.running.runner import run_study  # noqa: PLC0415  (most tests here do without Ray)

    made = run_study(
        study,
        RunConfig(runs_dir=folder / "runs", cache_dir=folder / "cache", store_uri=new_store(folder)),
        progress=False,
    )
    written(folder, mine=STUDY, peaks_family=FAMILY)
    return made


@pytest.mark.ray
@pytest.mark.slow
def test_every_carrier_trains_it_although_the_files_are_gone(outcome: StudyOutcome) -> None:
    assert (outcome.finished, outcome.failed) == (["base/0", "together/0"], {})


@pytest.fixture
def run_dirs(folder: Path, outcome: StudyOutcome) -> dict[str, Path]:
    """The runs by the kind of their method; "" without one."""
    assert outcome.failed == {}
    documents = {path.parent: json.loads(path.read_text()) for path in folder.glob("runs/trials/*/experiment.json")}
    return {
        (document["experiment"].get("method") or {}).get("kind", ""): run_dir for run_dir, document in documents.items()
    }


@pytest.mark.ray
@pytest.mark.slow
def test_a_checkpoint_finds_them_again(folder: Path, run_dirs: dict[str, Path]) -> None:
    trained = load_trained(run_dirs["plain"], cache_dir=folder / "cache")
    assert trained.experiment.detector.family == "peaks"
    assert {"peaks"} <= FAMILIES.keys()
    assert {"plain"} <= METHODS.keys()


@pytest.mark.ray
@pytest.mark.slow
def test_a_checkpoint_names_the_file_that_is_gone(folder: Path, run_dirs: dict[str, Path]) -> None:
    (folder / "peaks_family.py").rename(folder / "away.py")
    with pytest.raises(UserError, match=r"best\.pt: its detector or method comes from .*peaks_family\.py, which is"):
        load_trained(run_dirs[""], cache_dir=folder / "cache")
    (folder / "away.py").rename(folder / "peaks_family.py")
