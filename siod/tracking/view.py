"""How MLflow's pages show a study: its trials grouped by arm, one column for each column of the table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

# MLflow's pages read a view from a tag of the experiment and name it in the address.
VIEW_TAG = "mlflow.sharedViewState.arms"
KIND_TAG = "mlflow.experimentKind"
# Where ``siod ui`` shows a store.
LOCAL = "http://127.0.0.1:5000"
# The runs of trials as they are declared now; an empty tag because MLflow cannot ask for an absent one.
TRIALS = "tags.role = 'trial' and tags.superseded = ''"


def view_tags(objective: str, columns: Sequence[str]) -> dict[str, str]:
    """Tags of an MLflow experiment that make its page compare the arms of a study.

    Args:
        objective: Metric to order the arms by, the greatest first.
        columns: Metrics to show beside it.

    Returns:
        Values by tag.
    """
    metrics = dict.fromkeys((objective, *columns))
    state = {
        "searchFilter": TRIALS,
        "orderByKey": f"metrics.`{objective}`",
        "orderByAsc": False,
        "selectedColumns": ["tags.`seed`", *(f"metrics.`{name}`" for name in metrics)],
        "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "arm"}]},
        "useGroupedValuesInCharts": True,
        "runsHiddenMode": "SHOW_ALL",
    }
    return {VIEW_TAG: json.dumps(state), KIND_TAG: "custom_model_development"}


def server_of(uri: str) -> str:
    """Root of the address under which a browser finds a store; that of ``siod ui`` for a store without a server.

    Args:
        uri: Of the store.

    Example:
        >>> server_of("http://me:secret@host:80/"), server_of("sqlite:////runs/mlflow.db")
        ('http://host:80', 'http://127.0.0.1:5000')
    """
    parts = urlsplit(uri)
    if parts.scheme not in {"http", "https"}:
        return LOCAL
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def page_of(experiment_id: str) -> str:
    """Address of that page on an MLflow server, from its root.

    Args:
        experiment_id: MLflow's own id of the study's experiment.

    Example:
        >>> page_of("3")
        '/#/experiments/3/runs?viewStateShareKey=arms'
    """
    return f"/#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW_TAG.rsplit('.', 1)[1]}"
