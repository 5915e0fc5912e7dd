#!/usr/bin/env bash
# torch 2.14.1
#
# Behaviour: the worker processes of a DataLoader with a forkserver context stay for ever, with their memory, when the
# process they work for is killed. Each asks every few seconds whether its parent still has the number it had. Its parent
# is the fork server, and that waits until every process that holds one end of a pipe is gone: the workers hold it, too.
# Why one would guess otherwise: a worker watches its parent so that it ends when the training was killed, and with fork
# and spawn it does, within seconds. Python's own multiprocessing.parent_process().join() tells the truth here.
#
# Output seen:
#   fork: 0 of 2 workers alive a minute after the kill
#   spawn: 0 of 2 workers alive a minute after the kill
#   forkserver: 2 of 2 workers alive a minute after the kill
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6 psutil==7.2.2
cd "$work"
cat > train.py <<'PY'
import os
import signal
import sys

from torch.utils.data import DataLoader

if __name__ == "__main__":
    loader = DataLoader(
        range(1000), num_workers=2, persistent_workers=True, multiprocessing_context=sys.argv[1]
    )
    batches = iter(loader)
    next(batches)
    print(*(worker.pid for worker in batches._workers), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
PY
cat > watch.py <<'PY'
import subprocess
import sys

import psutil

left = {}
for context in ("fork", "spawn", "forkserver"):
    with open("said", "w") as said:
        subprocess.run([sys.executable, "train.py", context], stdout=said)
    with open("said") as said:
        workers = [psutil.Process(int(pid)) for pid in said.read().split() if psutil.pid_exists(int(pid))]
    _, alive = psutil.wait_procs(workers, timeout=60)
    left[context] = len(alive)
    print(f"{context}: {len(alive)} of 2 workers alive a minute after the kill", flush=True)
    for worker in alive:
        worker.kill()
assert left["forkserver"] == 2, "workers of a fork server end now"
PY
"$work/venv/bin/python" watch.py
