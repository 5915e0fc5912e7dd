"""Studies that are stopped, or whose driver, worker or Ray session is killed, end like one that was never disturbed.

Each case is disturbed at a random moment, another one in each of ``SIOD_CRASH_ROUNDS`` rounds (one if not set):
``SIOD_CRASH_ROUNDS=20 python -m pytest tests/tuning/test_crashes.py``.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import psutil
import pytest
from forked import siod
from ray.cluster_utils import Cluster
from ray_workers import worker_of

from siod.tracking.mlflow import Store
from siod.training.machine import this_machine
from siod.tuning.planning.jobs import prepare_jobs
from siod.tuning.planning.plan import place_trials, plan
from siod.tuning.running.lock import abandoned
from siod.tuning.running.run_config import RunConfig
from siod.tuning.running.runner import run_study
from siod.tuning.study import load_study
from siod.tuning.trials.execution import train_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from forked import Forked

    from siod.tuning.trials.trial import Job

    TrackingServer = Callable[[Path, int], AbstractContextManager[str]]

pytestmark = [pytest.mark.ray, pytest.mark.slow]

INTERRUPTED = 130
ROUNDS = int(os.environ.get("SIOD_CRASH_ROUNDS", "1"))
EPOCHS, TRIALS = 3, 3
MEASURED = ("train/images_per_second", "cost/epoch_seconds", "cost/peak_memory_mib")
DECLARED = """
from siod.data.digits import Digits
from siod.training.experiment import Scratch
from siod.training.presets import DIGITS_DMINER, digits_centernet
from siod.tuning.space import Float, Search
from siod.tuning.study import Arm, Study

TINY = {
    "data": Digits(train_images=16, val_images=6),
    "weights": Scratch(),
    "recipe.epochs": %d,
    "recipe.batch_size": 4,
}
STUDY = Study(
    name="tiny", question="Does it survive?", base=digits_centernet().with_changes(TINY), baseline="base",
    %s
)
"""
ARMS = """
    arms=(
        Arm(name="base"),
        Arm(name="dminer", changes={"dminer": DIGITS_DMINER}),
        Arm(name="slow", changes={"recipe.learning_rate": 1e-4}),
    ),
"""
SEARCH = """
    arms=(Arm(name="base"),),
    space={"recipe.learning_rate": Float(low=1e-4, high=1e-2, log=True)},
    search=Search(trials=5, pruner="median", grace_epochs=2),
"""


@dataclass(frozen=True)
class Place:
    """Where a study is declared, where it runs, and the data it shares with others."""

    declared: Path
    runs: Path
    cache: Path

    def start(self, *words: str) -> Forked:
        return siod("study", "run", str(self.declared), "--runs", str(self.runs), "--cache", str(self.cache), *words)

    def finish(self, *words: str) -> str:
        """Run the study to its end; returns what it said."""
        driver = self.start(*words)
        said = driver.rest()
        assert driver.returncode == 0, said
        return said

    def resume(self) -> None:
        """Run the study to its end in this process, whose session of Ray need not be started."""
        store = f"sqlite:///{self.runs / 'mlflow.db'}"
        config = RunConfig(runs_dir=self.runs, cache_dir=self.cache, store_uri=store)
        outcome = run_study(load_study(str(self.declared)), config, progress=False)
        assert (outcome.failed, outcome.unfinished) == ({}, [])

    def results(self) -> dict[str, dict[str, float]]:
        """Final metrics by the trial's folder, without how fast it was."""
        found = {path.parent.name: json.loads(path.read_text()) for path in self.runs.glob("trials/*/result.json")}
        return {name: {key: figures[key] for key in figures if key not in MEASURED} for name, figures in found.items()}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, ray_session: None, new_store: Callable[[Path], str]) -> Place:
    del ray_session
    folder = tmp_path_factory.mktemp("unbroken")
    (folder / "tiny.py").write_text(DECLARED % (EPOCHS, ARMS))
    place = Place(folder / "tiny.py", folder / "runs", folder / "cache")
    study, store = load_study(str(place.declared)), new_store(folder)
    outcome = run_study(study, RunConfig(runs_dir=place.runs, cache_dir=place.cache, store_uri=store), progress=False)
    assert len(outcome.finished) == len(place.results()) == TRIALS
    return place


@pytest.fixture
def place(unbroken: Place, tmp_path: Path, new_store: Callable[[Path], str]) -> Place:
    """Where the same study has not run yet."""
    place = Place(unbroken.declared, tmp_path / "runs", unbroken.cache)
    new_store(place.runs)
    return place


def read_until(driver: Forked, enough: Callable[[str], bool]) -> str:
    """What the driver says up to a line."""
    said = ""
    for line in driver.output:
        said += line
        if enough(line):
            return said
    raise AssertionError(f"the study ended before it could be disturbed:\n{said}")


def kill_driver(driver: Forked) -> None:
    driver.kill()


def kill_worker(driver: Forked) -> None:
    """Kill a process that trains."""
    for child in psutil.Process(driver.pid).children(recursive=True):
        worker = worker_of(child.pid)
        if worker is not None and "ImplicitFunc" in " ".join(psutil.Process(worker).cmdline()):
            psutil.Process(worker).kill()
            return
    raise AssertionError("no process trains")


def kill_ray(driver: Forked) -> None:
    """Kill everything that Ray started, at once."""
    for process in psutil.Process(driver.pid).children(recursive=True):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def press_ctrl_c(driver: Forked) -> None:
    driver.send_signal(signal.SIGINT)


def press_ctrl_c_twice(driver: Forked) -> None:
    driver.send_signal(signal.SIGINT)
    time.sleep(0.3)
    driver.send_signal(signal.SIGINT)


@pytest.mark.parametrize("round_", range(ROUNDS))
@pytest.mark.parametrize("kill", [kill_driver, kill_worker, kill_ray, press_ctrl_c, press_ctrl_c_twice])
def test_a_killed_study_ends_as_an_unbroken_one(
    unbroken: Place, place: Place, kill: Callable[[Forked], None], round_: int
) -> None:
    chance = random.Random(f"{kill.__name__} {round_}")  # noqa: S311  (moments, not secrets)
    epochs, pause = chance.randrange(TRIALS * EPOCHS - 1), chance.random()
    driver = place.start()
    lines = iter(range(epochs + 1))
    said = read_until(driver, lambda line: ("started" in line or "epoch" in line) and next(lines) == epochs)
    time.sleep(pause)
    kill(driver)
    said += driver.rest()
    if kill is kill_driver:
        assert driver.returncode == -signal.SIGKILL
        assert abandoned(place.runs / "studies" / "tiny")
    if kill in {press_ctrl_c, press_ctrl_c_twice} and len(place.results()) < TRIALS:
        assert driver.returncode == INTERRUPTED, said
    if kill is press_ctrl_c:
        assert "stopping after the running epochs" in said
        assert_no_epoch_was_lost(said)
    if driver.returncode != 0:
        place.resume()
    agree(place, unbroken, said)


def assert_no_epoch_was_lost(said: str) -> None:
    """What ran when it was stopped ended an epoch after that, unless it had just ended one."""
    before, _, after = said.partition("stopping after the running epochs")
    running = set(re.findall(r"(\w+/0): epoch", before)) - set(re.findall(r"(\w+/0): finished", before))
    just_ended = set(re.findall(r"(\w+/0): epoch .*\n.*\Z", before))
    for name in running - just_ended:
        assert re.search(rf"{name}: (epoch|finished)", after), said


def agree(place: Place, unbroken: Place, said: str, *, store: str = "") -> None:
    """The same trials with the same figures, each recorded once with each of its epochs."""
    assert place.results() == unbroken.results(), said
    record = Store(store or f"sqlite:///{place.runs / 'mlflow.db'}").read_study("tiny")
    assert [(trial.arm, trial.status) for trial in record.trials] == [
        (arm, "finished") for arm in ("base", "dminer", "slow")
    ], said
    for trial in record.trials:
        assert [step for step, _ in trial.history["ap_s"]] == list(range(1, EPOCHS + 1)), said
        assert trial.metrics["ap_s"] == place.results()[trial.identity]["ap_s"]


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_the_trials_of_a_lost_node_move_to_another(
    unbroken: Place, place: Place, monkeypatch: pytest.MonkeyPatch, round_: int
) -> None:
    chance = random.Random(f"node {round_}")  # noqa: S311  (moments, not secrets)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        driver = place.start("--address", cluster.address)
        said = read_until(driver, lambda line: "epoch" in line)
        time.sleep(chance.random())
        cluster.remove_node(chance.choice(nodes), allow_graceful=False)
        said += driver.rest()
        assert driver.returncode == 0, said
        agree(place, unbroken, said)
    finally:
        cluster.shutdown()


@dataclass
class ElsewhereTrained:
    """A trial that this process trains; it does not go past its first epoch before it is let."""

    job: Job
    go_on: threading.Event
    ended: threading.Thread

    @classmethod
    @contextmanager
    def begun(cls, place: Place) -> Iterator[ElsewhereTrained]:
        """Ended when this is left, whatever happened meanwhile."""
        study = load_study(str(place.declared))
        trials = place_trials(plan(study), [this_machine()])
        jobs = prepare_jobs(trials, runs_dir=place.runs, cache_dir=place.cache, baseline=study.baseline)
        begun, go_on = threading.Event(), threading.Event()

        def listen(epoch: int, metrics: object) -> None:
            del epoch, metrics
            begun.set()
            go_on.wait(timeout=300)

        thread = threading.Thread(target=train_job, args=(jobs[0], listen))
        thread.start()
        assert begun.wait(timeout=120)
        elsewhere = cls(jobs[0], go_on, thread)
        try:
            yield elsewhere
        finally:
            elsewhere.finish()

    def finish(self) -> None:
        self.go_on.set()
        self.ended.join(timeout=300)
        assert not self.ended.is_alive()


def test_a_trial_that_another_process_trains_is_waited_for_and_trained_once(unbroken: Place, place: Place) -> None:
    with ElsewhereTrained.begun(place) as shared:
        driver = place.start()
        said = read_until(driver, lambda line: f"{shared.job.name}: waits for another process" in line)
    said += driver.rest()
    assert driver.returncode == 0, said
    agree(place, unbroken, said)
    log = (shared.job.run_dir / "train.log").read_text()
    assert [log.count(f"epoch {epoch} of {EPOCHS}") for epoch in range(1, EPOCHS + 1)] == [1] * EPOCHS


def test_ctrl_c_ends_a_trial_that_waits_and_leaves_alone_who_it_waited_for(unbroken: Place, place: Place) -> None:
    with ElsewhereTrained.begun(place) as shared:
        driver = place.start("--arm", shared.job.arm)
        said = read_until(driver, lambda line: f"{shared.job.name}: waits for another process" in line)
        press_ctrl_c(driver)
        said += driver.rest()
        assert driver.returncode == INTERRUPTED, said
        assert shared.job.result() is None
    assert shared.job.result() is not None
    place.resume()
    agree(place, unbroken, said)


@pytest.fixture(scope="module")
def unbroken_search(tmp_path_factory: pytest.TempPathFactory, unbroken: Place) -> Place:
    folder = tmp_path_factory.mktemp("unbroken_search")
    (folder / "tiny.py").write_text(DECLARED % (2, SEARCH))
    place = Place(folder / "tiny.py", folder / "runs", unbroken.cache)
    place.finish("--max-concurrent", "1")
    return place


def asked(place: Place) -> list[tuple[str, dict[str, float], list[float] | None]]:
    """What the search proposed and what came of it, in its order."""
    storage = f"sqlite:///{place.runs / 'studies' / 'tiny' / 'optuna.db'}"
    trials = optuna.load_study(study_name="tiny/base", storage=storage).trials
    return [(trial.state.name, trial.params, trial.values) for trial in trials]


@pytest.mark.parametrize("round_", range(ROUNDS))
@pytest.mark.parametrize("kill", [kill_driver, press_ctrl_c])
def test_a_search_that_is_cut_off_proposes_and_finds_what_an_unbroken_one_does(
    unbroken_search: Place,
    tmp_path: Path,
    new_store: Callable[[Path], str],
    kill: Callable[[Forked], None],
    round_: int,
) -> None:
    chance = random.Random(f"search {kill.__name__} {round_}")  # noqa: S311  (moments, not secrets)
    events, pause = chance.randrange(10), chance.random()
    place = Place(unbroken_search.declared, tmp_path / "runs", unbroken_search.cache)
    new_store(place.runs)
    driver = place.start("--max-concurrent", "1")
    lines = iter(range(events + 1))
    said = read_until(driver, lambda line: ("started" in line or "epoch" in line) and next(lines) == events)
    time.sleep(pause)
    kill(driver)
    said += driver.rest()
    said += place.finish("--max-concurrent", "1")
    assert asked(place) == asked(unbroken_search), said
    assert place.results() == unbroken_search.results(), said


def test_what_a_lost_tracking_server_missed_is_recorded_by_the_next_call(
    unbroken: Place,
    place: Place,
    free_port: int,
    tracking_server: TrackingServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with tracking_server(place.runs / "server", free_port) as uri:
        driver = place.start("--tracking", uri)
        said = read_until(driver, lambda line: "epoch" in line)
    said += driver.rest()
    assert driver.returncode == 1, said
    assert place.results() == unbroken.results(), said
    assert re.search(r"not recorded: slow/0: .*; run the study again to record it", said)
    with tracking_server(place.runs / "server", free_port) as uri:
        said += place.finish("--tracking", uri)
        agree(place, unbroken, said, store=uri)
