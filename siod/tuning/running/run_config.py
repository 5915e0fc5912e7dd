"""How a study is run: the value that the command line fills and ``siod.tuning.running.runner.run_study`` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt

from siod.data.usable_files import Check
from siod.value import Value


class RunConfig(Value):
    """Where a study is run, which of its trials, and what happens when something fails.

    Args:
        runs_dir: Absolute folder of runs; on a cluster, on storage that all nodes share.
        cache_dir: Absolute folder of generated data and pretrained weights; likewise.
        store_uri: MLflow tracking URI.
        arms: Only these arms, by name; None runs all.
        seeds: Only these seeds; None runs all.
        fresh: Train finished trials again; a search continues all the same.
        check_images: What to do with images that do not decode, before anything is trained.
        address: ``host:port`` of a Ray cluster; None starts one on this machine.
        autoscale: Whether the cluster starts machines as trials ask for them: no trial is refused as too large.
        max_concurrent: At most so many trials at once, 1 or more; None runs as many as fit.
        max_failures: How often a trial whose process died continues from its last checkpoint, 0 or more.
        verbose: Whether Ray's own messages are shown.
        command: The command line, for the records.
        price: Of an hour of a GPU, or of a core where no GPU is reserved, at least 0; shown while the study runs.
    """

    runs_dir: Path
    cache_dir: Path
    store_uri: str
    arms: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    fresh: bool = False
    check_images: Check = "refuse"
    address: str | None = None
    autoscale: bool = False
    max_concurrent: PositiveInt | None = None
    max_failures: Annotated[int, Field(ge=0)] = 1
    verbose: bool = False
    command: str = ""
    price: Annotated[float, Field(ge=0)] | None = None
