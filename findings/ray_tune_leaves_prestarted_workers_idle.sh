#!/usr/bin/env bash
# ray 2.60.0
#
# Behaviour: ray.init() starts one worker process a core beforehand, so that the first work finds Python and Ray loaded.
# Ray Tune never uses one: it gives every trial a runtime environment of its own (a few variables, even when nobody asked
# for any), and a worker serves only the environment it was started for. Each trial therefore waits for a new process,
# while as many idle ones as the machine has cores are started, kept for a while and ended.
# Why one would guess otherwise: a task or an actor without settings runs in one of the prestarted processes, and nothing
# in Tune's documentation says that its trials have an environment. RAY_prestart_worker_first_driver=0 leaves them out:
# on two busy cores ray.init() then took 8 s for 12 s.
#
# Output seen:
#   a task: in a prestarted process True
#   an actor: in a prestarted process True
#   a trial of Tune: in a prestarted process False
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "ray[tune]==2.60.0" psutil==7.2.2
cd "$work"
cat > trial.py <<'PY'
import logging
import os
import time

import psutil
import ray
from ray import tune

ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def idle():
    found = psutil.Process().children(recursive=True)
    return {process.pid for process in found if "ray::IDLE" in " ".join(process.cmdline())}


until = time.monotonic() + 60
while len(idle()) < 4 and time.monotonic() < until:
    time.sleep(0.1)
prestarted = idle()


@ray.remote(num_cpus=1)
def task():
    return os.getpid()


@ray.remote(num_cpus=1)
class Actor:
    def where(self):
        return os.getpid()


def trial(config):
    tune.report({"pid": os.getpid()})


actor = Actor.remote()
where = {"a task": ray.get(task.remote()), "an actor": ray.get(actor.where.remote())}
run_config = tune.RunConfig(verbose=0, storage_path=os.path.join(os.getcwd(), "tune"))
result = tune.Tuner(trial, run_config=run_config).fit()[0]
where["a trial of Tune"] = result.metrics["pid"]
for what, pid in where.items():
    print(f"{what}: in a prestarted process {pid in prestarted}")
assert where["a task"] in prestarted and where["an actor"] in prestarted
assert where["a trial of Tune"] not in prestarted, "Tune uses prestarted processes now"
PY
RAY_AIR_NEW_OUTPUT=0 "$work/venv/bin/python" trial.py
