#!/usr/bin/env bash
# mlflow 3.17.2 with SQLAlchemy 2.1.9
#
# Behaviour: in `sqlite:////folder/mlflow.db` SQLAlchemy 2.1 decodes percent signs of the path, as in any URL, while MLflow
# takes the same text literally when it makes the database's folder. A folder whose name needs escaping is therefore made
# under its escaped name, the database is wanted in the other one, and opening the store fails. With the folder made
# beforehand the store opens, and an empty folder of the escaped name is left beside it.
# Why one would guess otherwise: MLflow makes missing folders of SQLite stores, and escaping `?` and `%` is what SQLAlchemy's
# own URL.create(...).render_as_string() does; up to SQLAlchemy 2.0 nothing was decoded, so both read the text alike.
#
# Output seen:
#   address: sqlite:///.../what%3F/mlflow.db, folder made by MLflow: what%3F
#   without the folder: unable to open database file
#   with it: opened, databases: what?/mlflow.db, folders: what%3F, what?
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet mlflow==3.17.2 sqlalchemy==2.1.9
mkdir "$work/stores"
cd "$work/stores"
GIT_PYTHON_REFRESH=quiet MLFLOW_DISABLE_TELEMETRY=true "$work/venv/bin/python" - <<'PY' 2> "$work/log" || { tail -5 "$work/log"; exit 1; }
import logging
from pathlib import Path

from mlflow import MlflowClient
from sqlalchemy.engine import URL

logging.disable(logging.CRITICAL)
here = Path.cwd()
address = URL.create("sqlite", database=str(here / "what?" / "mlflow.db")).render_as_string()
try:
    MlflowClient(tracking_uri=address).search_experiments()
    first = "opened"
except Exception as error:
    first = "unable to open database file" if "unable to open database file" in str(error) else str(error)
made = sorted(path.name for path in here.iterdir())
print(f"address: sqlite:///.../{address.rpartition('stores/')[2]}, folder made by MLflow: {', '.join(made)}")
print(f"without the folder: {first}")
(here / "what?").mkdir()
again = URL.create("sqlite", database=str(here / "what?" / "mlflow.db")).render_as_string() + "?timeout=20"
MlflowClient(tracking_uri=again).search_experiments()
databases = sorted(str(path.relative_to(here)) for path in here.rglob("*.db"))
folders = sorted(path.name for path in here.iterdir())
print(f"with it: opened, databases: {', '.join(databases)}, folders: {', '.join(folders)}")
assert (first, made) == ("unable to open database file", ["what%3F"])
assert (databases, folders) == (["what?/mlflow.db"], ["what%3F", "what?"])
PY
