"""A made-up study with believable figures: every report test and look at the page starts from it."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from siod.tracking.records import (
    ArmRecord,
    FoundBox,
    Gallery,
    GalleryImage,
    StudyRecord,
    TrialRecord,
    TrueBox,
)

ARMS = (
    ArmRecord("fsod", "FSOD", "all instances annotated: what the others try to reach", {"annotations.policy": "full"}),
    ArmRecord("base", "SIOD (base)"),
    ArmRecord("splg", "SIOD + SPLG", "", {"dminer.splg.min_similarity": 0.6}),
    ArmRecord("pgcl", "SIOD + PGCL", "", {"dminer.pgcl.top_m": 64}),
    ArmRecord("dminer", "SIOD (DMiner)", "", {"dminer.splg.min_similarity": 0.6, "dminer.pgcl.top_m": 64}),
)
# AP at score threshold 0 and how fast it falls with the threshold.
LEVELS = {
    "fsod": (0.52, 0.55),
    "base": (0.42, 1.30),
    "splg": (0.44, 1.00),
    "pgcl": (0.43, 0.90),
    "dminer": (0.45, 0.75),
}
EPOCHS = 6
IMAGES = 4
START_MS = 1_760_000_000_000


def thresholds(level: float, fall: float, rng: np.random.Generator) -> dict[str, float]:
    values = [max(0.0, level * (1 - fall * (step / 10) ** 1.5)) for step in range(10)]
    noisy = [float(np.clip(value + rng.normal(0, 0.006), 0, 1)) for value in values]
    falling = np.minimum.accumulate(noisy)
    return {"ap_s": float(falling.mean())} | {f"ap_s{step}": float(value) for step, value in enumerate(falling)}


def epoch_metrics(arm: str, epoch: int, rng: np.random.Generator) -> dict[str, float]:
    level, fall = LEVELS[arm]
    learnt = 1 - float(np.exp(-0.55 * epoch))
    metrics = thresholds(level * learnt, fall, rng)
    heatmap, size, offset = 2.4 / epoch + 0.6, 3.1 / epoch + 1.2, 0.25 + 0.05 / epoch
    metrics |= {"train/heatmap": heatmap, "train/size": size, "train/offset": offset, "train/lr": 2e-3 / epoch}
    metrics |= {"cost/epoch_seconds": 5.0 if arm == "dminer" else 4.0, "cost/peak_memory_mib": 500.0 + 20 * len(arm)}
    metrics["train/loss"] = heatmap + 0.1 * size + offset + float(rng.normal(0, 0.02))
    for miner in ("splg", "pgcl"):
        if arm in {miner, "dminer"}:
            metrics |= {
                f"mining/{miner}_per_image": 40.0 * learnt,
                f"mining/{miner}_precision": 0.35 + 0.4 * learnt + float(rng.normal(0, 0.01)),
                f"mining/{miner}_recall": 0.5 * learnt,
            }
    if arm in {"pgcl", "dminer"}:
        metrics["train/pgcl"] = 3.0 / epoch + 1.0
    return metrics


def gallery(rng: np.random.Generator) -> tuple[Gallery, dict[int, bytes]]:
    images, files = [], {}
    for number in range(IMAGES):
        canvas = Image.fromarray(rng.integers(60, 120, (12, 12, 3), dtype=np.uint8)).resize((96, 96))
        draw = ImageDraw.Draw(canvas)
        boxes = []
        for place in range(3):
            x, y, side = 6 + 30 * place, 8 + 24 * ((place + number) % 3), 18 + 4 * place
            draw.ellipse((x, y, x + side, y + side), outline=(255, 230, 120), width=3)
            boxes.append(TrueBox(x, y, side, side, place % 2))
        data = io.BytesIO()
        canvas.save(data, "PNG")
        files[number + 1] = data.getvalue()
        images.append(GalleryImage(number + 1, f"{number + 1}.png", 96, 96, tuple(boxes)))
    return Gallery(("zero", "one"), tuple(images), recorded_from=0.05), files


def found_in(shown: Gallery, arm: str, rng: np.random.Generator) -> dict[int, tuple[FoundBox, ...]]:
    kept = {"fsod": 3, "base": 1, "splg": 2, "pgcl": 2, "dminer": 3}[arm]
    found = {}
    for image in shown.images:
        boxes = [
            FoundBox(*(float(edge + rng.normal(0, 0.8)) for edge in box[:4]), float(rng.uniform(0.2, 0.95)), box.label)
            for box in image.ground_truth[:kept]
        ]
        found[image.id] = tuple(sorted(boxes, key=lambda box: -box.score))
    return found


def trial(arm: str, seed: int, shown: Gallery) -> TrialRecord:
    rng = np.random.default_rng([seed, *arm.encode()])
    told = [epoch_metrics(arm, epoch, rng) for epoch in range(1, EPOCHS + 1)]
    history = {name: tuple((epoch + 1, told[epoch][name]) for epoch in range(EPOCHS)) for name in told[0]}
    return TrialRecord(
        run_id=f"{arm}{seed}",
        study="made_up",
        arm=arm,
        seed=seed,
        identity=f"{arm}-{seed}",
        status="finished",
        epoch=EPOCHS,
        params={"recipe.epochs": str(EPOCHS), "seed": str(seed)},
        metrics=told[-1] | {"best_ap_s": max(epoch["ap_s"] for epoch in told)},
        history=history,
        tags={"git_commit": "0123456789abcdef", "data_fingerprint": "f00d" if arm == "fsod" else "beef"},
        started_ms=START_MS + 60_000 * seed,
        ended_ms=START_MS + 60_000 * seed + 195_000,
        artifact_uri=f"file:///runs/artifacts/{arm}{seed}",
        found=found_in(shown, arm, rng) if seed == 0 else None,
    )


def study(seeds: tuple[int, ...] = (0, 1, 2)) -> StudyRecord:
    """A finished study of five arms."""
    shown, files = gallery(np.random.default_rng(0))
    return StudyRecord(
        name="made_up",
        question="Which parts of DMiner help, and how much of the gap to full supervision do they close?",
        arms=ARMS,
        baseline="base",
        seeds=seeds,
        experiment={"recipe": {"epochs": EPOCHS, "batch_size": 8}, "data": {"kind": "digits"}, "dminer": None},
        command="siod study run made_up",
        run_id="study0",
        status="finished",
        trials=tuple(trial(arm.name, seed, shown) for arm in ARMS for seed in seeds),
        started_ms=START_MS,
        gallery=shown,
        gallery_files=files,
        environment={"python": "3.12.1", "platform": "Linux", "cpus": 2, "gpus": [], "packages": {"numpy": "2.1.0"}},
        address="http://127.0.0.1:5000/#/experiments/7",
    )


def changed(record: StudyRecord, arm: str, seed: int, **fields: object) -> StudyRecord:
    """The study with one trial changed."""
    trials = [
        replace(one, **fields) if (one.arm, one.seed) == (arm, seed) else one  # type: ignore[arg-type]
        for one in record.trials
    ]
    return replace(record, trials=tuple(trials))


def unfinished() -> StudyRecord:
    """A study in the middle: one trial failed, one runs, one was interrupted, one arm has not begun."""
    whole = study()
    begun = replace(whole, status="running", trials=tuple(one for one in whole.trials if one.arm != "dminer"))
    failed = changed(
        begun, "base", 1, status="failed", error="RunError: loss term heatmap is nan at step 812", metrics={}
    )
    running = changed(failed, "pgcl", 2, status="running", epoch=3, ended_ms=None)
    return changed(running, "splg", 2, status="interrupted", epoch=4)


@pytest.fixture(name="study", scope="session")
def finished_study() -> StudyRecord:
    return study()


@pytest.fixture(name="unfinished", scope="session")
def unfinished_study() -> StudyRecord:
    return unfinished()


@pytest.fixture(scope="session")
def change() -> Callable[..., StudyRecord]:
    return changed


@pytest.fixture
def pdflatex(tmp_path: Path) -> Callable[[str], str]:
    """Compiles the body of an article and says what pdflatex said."""
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex")

    def compile_(body: str) -> str:
        source = f"\\documentclass{{article}}\n\\usepackage{{booktabs}}\n\\begin{{document}}\n{body}\\end{{document}}\n"
        (tmp_path / "paper.tex").write_text(source, encoding="utf-8")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
        return done.stdout

    return compile_
