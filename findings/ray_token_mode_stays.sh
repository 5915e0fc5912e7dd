#!/usr/bin/env bash
# ray 2.60.0
#
# Behaviour: a process that once started Ray on its own machine asks for tokens ever after. ray.init() without an address
# sets RAY_AUTH_MODE=token in the process, and ray.shutdown() leaves it so. When the process then joins a cluster that
# was started with RAY_AUTH_MODE=disabled, ray.init(address=...) succeeds and tasks run, but every actor is reported dead
# before it ran: "all references to the actor were removed".
# Why one would guess otherwise: nobody asked for tokens; shutdown ends a session; and a driver whose mode does not fit the
# cluster's would be expected to be refused when it joins, or to fail with tasks too. The workers can talk to the driver
# for a task's result, while what they tell it of an actor is turned away for its missing token, and that reads
# as if the driver had let go of the actor. Nothing says a word of tokens but the driver's own log file.
#
# Output seen:
#   before: RAY_AUTH_MODE None; after init and shutdown: token
#   task: 2
#   actor: ActorDiedError, all references to the actor were removed
#   actor of a process that started nothing before: 1
set -euo pipefail
work=$(mktemp -d)
trap 'pkill -f "$work/ray" || true; rm -rf "$work"' EXIT
unset RAY_AUTH_MODE RAY_AUTH_TOKEN RAY_AUTH_TOKEN_PATH RAY_ADDRESS
export HOME="$work/home" RAY_USAGE_STATS_ENABLED=0
mkdir -p "$HOME"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet ray==2.60.0
cat > "$work/join.py" <<'PY'
import os
import sys

import ray

address, begin_alone = sys.argv[1], sys.argv[2] == "alone"
if begin_alone:
    before = os.environ.get("RAY_AUTH_MODE")
    ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR")
    ray.shutdown()
    print(f"before: RAY_AUTH_MODE {before}; after init and shutdown: {os.environ.get('RAY_AUTH_MODE')}", flush=True)
ray.init(address=address, logging_level="ERROR", log_to_driver=False)


@ray.remote
def task():
    return 2


@ray.remote
class Actor:
    def one(self):
        return 1


if begin_alone:
    print("task:", ray.get(task.remote(), timeout=120))
    try:
        print("actor:", ray.get(Actor.remote().one.remote(), timeout=120))
        sys.exit("the actor ran: this has changed")
    except ray.exceptions.ActorDiedError as error:
        assert "all references to the actor were removed" in str(error), error
        print("actor: ActorDiedError, all references to the actor were removed")
else:
    print("actor of a process that started nothing before:", ray.get(Actor.remote().one.remote(), timeout=120))
PY
RAY_AUTH_MODE=disabled "$work/venv/bin/ray" start --head --port 6423 --num-cpus 1 --include-dashboard=false \
  --temp-dir "$work/ray" > "$work/start.log" 2>&1
"$work/venv/bin/python" "$work/join.py" 127.0.0.1:6423 alone
"$work/venv/bin/python" "$work/join.py" 127.0.0.1:6423 at-once
