from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

from siod.tuning.trials.epochs import follow_epochs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def test_epochs_written_elsewhere_are_heard_here_in_order(tmp_path: Path) -> None:
    heard: list[tuple[int, dict[str, float]]] = []

    def listen(epoch: int, metrics: Mapping[str, float]) -> None:
        heard.append((epoch, dict(metrics)))

    path = tmp_path / "run" / "epochs"
    with follow_epochs(path, listen, poll_seconds=0.01) as listener:
        elsewhere = pickle.loads(pickle.dumps(listener))  # noqa: S301  (as Ray sends it)
        for epoch in range(1, 4):
            elsewhere(epoch, {"ap_s": epoch / 10})
    assert heard == [(1, {"ap_s": 0.1}), (2, {"ap_s": 0.2}), (3, {"ap_s": 0.3})]
    assert not path.exists()


def test_a_line_that_is_still_being_written_waits_for_its_end(tmp_path: Path) -> None:
    heard: list[int] = []
    path = tmp_path / "epochs"
    with (
        follow_epochs(path, lambda epoch, metrics: heard.append(epoch + len(metrics)), poll_seconds=0.001),
        path.open("a") as lines,
    ):
        for character in '{"epoch": 1, "metrics": {}}\n{"epoch": 2, "metrics": {"ap_s": 0.5}}\n':
            lines.write(character)
            lines.flush()
    assert heard == [1, 3]
