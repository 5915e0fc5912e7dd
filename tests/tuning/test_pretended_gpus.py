"""A machine that pretends to have four GPUs: what is planned there is what Ray Tune reserves and what a trial sees.

Ray hands out as many GPUs as it is told there are; torch sees none, so that nothing trains.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from forked import Forked
from ray.cluster_utils import Cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STUDY = """
from siod.data.digits import Digits
from siod.training.experiment import Scratch
from siod.training.presets import digits_centernet
from siod.tuning.study import Arm, Study

STUDY = Study(
    name="four", question="Where does it run?", baseline="base", seeds=(0, 1),
    base=digits_centernet().with_changes(
        {"data": Digits(train_images=8, val_images=3), "weights": Scratch(), "recipe.batch_size": 4}
    ),
    arms=(Arm(name="base"), Arm(name="slow", changes={"recipe.learning_rate": 1e-4})),
)
"""

# Reserves for the trials of a study as the driver does, and reports what a trial is given instead of training it.
ASK = """
import json, os, sys, time
from pathlib import Path

from ray import tune

from siod.tuning.running.cluster import session
from siod.tuning.running.driver import _resources
from siod.tuning.planning.jobs import prepare_jobs
from siod.tuning.planning.plan import place_trials, plan
from siod.tuning.settings import with_settings
from siod.tuning.study import load_study

address, folder, settings, at_once = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4])


def ask(config):
    import ray

    # None goes on before as many as should run at once are here.
    (folder / f"here.{config['index']}").touch()
    until = time.monotonic() + 60
    while len(list(folder.glob("here.*"))) < at_once and time.monotonic() < until:
        time.sleep(0.1)
    tune.report({
        "reserved": ray.get_runtime_context().get_assigned_resources(),
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "nicer": os.getpriority(os.PRIO_PROCESS, 0) - os.getpriority(os.PRIO_PROCESS, os.getppid()),
        "polls": os.environ.get("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"),
        "together": len(list(folder.glob("here.*"))),
    })


with session(address) as nodes:
    study = with_settings(load_study(str(folder / "four.py")), settings)
    trials = place_trials(plan(study), nodes)
    jobs = prepare_jobs(trials, runs_dir=folder / "runs", cache_dir=folder / "cache", baseline="base")
    trainable = tune.with_resources(ask, lambda config: _resources(jobs[config["index"]]))
    space = {"index": tune.grid_search(list(range(len(jobs))))}
    run_config = tune.RunConfig(storage_path=str(folder / "tune"), verbose=0)
    told = tune.Tuner(trainable, param_space=space, run_config=run_config).fit()
    keys = ("reserved", "visible", "nicer", "polls", "together")
    print(json.dumps([{key: result.metrics[key] for key in keys} for result in told]))
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster as ``ray start --head`` makes one, on a machine of 36 cores and four GPUs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        # As a user's shell has it: what siod needs must reach the trials all the same.
        for name in ("RAY_worker_niceness", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"):
            patch.delenv(name, raising=False)
        head = {"num_cpus": 36, "num_gpus": 4, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            yield cluster.address
        finally:
            cluster.shutdown()


@pytest.fixture
def ask(address: str, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    (tmp_path / "four.py").write_text(STUDY)

    def run(settings: dict[str, Any], *, at_once: int) -> list[dict[str, Any]]:
        asking = Forked(ASK, address, str(tmp_path), json.dumps(settings), str(at_once))
        said = asking.rest()
        assert asking.returncode == 0, said
        (line,) = [line for line in said.splitlines() if line.startswith("[{")]
        told: list[dict[str, Any]] = json.loads(line)
        return told

    return run


def test_four_trials_have_a_gpu_and_nine_cores_each_at_the_same_time(ask: Callable[..., list[dict[str, Any]]]) -> None:
    told = ask({}, at_once=4)
    assert [trial["reserved"] for trial in told] == [{"CPU": 9.0, "GPU": 1.0}] * 4
    assert sorted(trial["visible"] for trial in told) == ["0", "1", "2", "3"]
    assert [trial["together"] for trial in told] == [4] * 4


def test_trials_on_cpu_cores_see_no_gpu_and_are_as_urgent_as_what_started_them(
    ask: Callable[..., list[dict[str, Any]]],
) -> None:
    told = ask({"compute.gpus_per_worker": 0}, at_once=4)
    assert [trial["reserved"] for trial in told] == [{"CPU": 1.0}] * 4
    assert {trial["visible"] for trial in told} == {""}
    assert {trial["nicer"] for trial in told} == {0}
    assert {trial["polls"] for trial in told} == {"0.2"}


def test_small_trials_share_a_gpu(ask: Callable[..., list[dict[str, Any]]]) -> None:
    told = ask({"compute.gpus_per_worker": 0.5}, at_once=4)
    # Half of nine cores: one trains, three load.
    assert [trial["reserved"] for trial in told] == [{"CPU": 4.0, "GPU": 0.5}] * 4
    assert all(len(trial["visible"].split(",")) == 1 for trial in told)


def siod(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from siod.cli.main import main; main()", *words]
    command += ["--runs", str(folder / "runs"), "--cache", str(folder / "cache")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=240)


def test_a_plan_says_what_a_run_then_does(address: str, tmp_path: Path) -> None:
    (tmp_path / "four.py").write_text(STUDY)
    line = "4 trials at once, each 1 GPU, 9 CPU (8 loader processes); nothing idle"
    planned = siod(tmp_path, "study", "plan", "four.py", "--address", address)
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.splitlines()[-2:] == ["1 node: 36 CPU, 4 GPU", line] or line in planned.stdout
    run = siod(tmp_path, "study", "run", "four.py", "--address", address)
    assert run.returncode == 1, run.stderr
    assert f"four: {line}" in run.stderr
    # torch has no such GPU: the trial says so instead of training on a core.
    assert "0 trained, 0 reused, 4 failed" in run.stdout
    assert run.stderr.count("failed: base/0: a GPU was asked for (compute.gpus_per_worker 1), but torch") == 1
    recorded = json.loads(next((tmp_path / "runs" / "trials").glob("*/experiment.json")).read_text())
    compute = recorded["experiment"]["compute"]
    assert (compute["cpus_per_worker"], compute["gpus_per_worker"], compute["loader_workers"]) == (9.0, 1.0, 8)


OWN = """
import os, ray
from siod.tuning.running.cluster import machines, session
with machines() as planned, session() as nodes:
    assert nodes == planned, (nodes, planned)
    print(ray.get(ray.remote(
        lambda: os.getpriority(os.PRIO_PROCESS, 0) - os.getpriority(os.PRIO_PROCESS, os.getppid())
    ).remote()))
"""


def test_a_session_of_our_own_has_what_was_planned_with_and_does_not_starve_its_trials() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_worker_niceness"}
    own = Forked(OWN, environment=environment)
    said = own.rest()
    assert own.returncode == 0, said
    assert said.splitlines()[-1] == "0"
