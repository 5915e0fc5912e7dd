"""Write a study as a Python file that people read and change: its settings, and beside each where it comes from."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from siod.tuning.fitting.detector import top_m

if TYPE_CHECKING:
    from pathlib import Path

    from siod.data.describing.profile import Profile
    from siod.tuning.fitting.detector import FittedDetector
    from siod.tuning.fitting.recipe import Fit

WeightsKind = Literal["packaged", "imagenet", "none"]
WEIGHTS: dict[WeightsKind, tuple[str, str]] = {
    "packaged": ("Packaged", "learnt on ImageNet, from the installed package that ships them"),
    "imagenet": ("ImageNet", "learnt on ImageNet, from torchvision"),
    "none": ("Scratch", "random; learns far less than a pretrained backbone would"),
}
WIDTH = 120


@dataclass(frozen=True)
class Draft:
    """All that a study's file says.

    Args:
        name: Of the study.
        root: Folder of its data, absolute.
        beside: The data's path relative to the folder of the file; None where it lies elsewhere.
        profile: Measurements of the data.
        fit: Settings.
        detector: The detector.
        weights: Of its backbone.
        single: Whether the training set has one box per image and category and no others are known.
        command: What writes the file.
        cost: What the study takes, or how to find out.
    """

    name: str
    root: Path
    beside: str | None
    profile: Profile
    fit: Fit
    detector: FittedDetector
    weights: WeightsKind
    single: bool
    command: str
    cost: str

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, in the order of the table."""
        return ("base", "dminer") if self.single else ("fsod", "base", "dminer")


def render(draft: Draft) -> str:
    """The file's text; ``ruff format`` leaves it as it is.

    Args:
        draft: What it says.
    """
    parts = (_docstring(draft), _imports(draft), _settings(draft), _study(draft))
    return "\n".join(line for part in parts for line in part) + "\n"


def describe_data(draft: Draft) -> str:
    """The data in one sentence."""
    profile = draft.profile
    train, val = _counted(profile.train_images, "training image"), _counted(profile.val_images, "validation image")
    boxes = _counted(profile.train_boxes, "box", "boxes")
    categories = _counted(len(profile.categories), "category", "categories")
    data = f"{train} with {boxes} of {categories}, {val}"
    if draft.single:
        return f"{data}; one box per image and category, others are not known"
    share = profile.kept_boxes / profile.train_boxes
    return f"{data}; one box per image and category keeps {profile.kept_boxes:,} ({share:.0%})"


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def _question(draft: Draft) -> str:
    if draft.single:
        return f"Does DMiner make up for the boxes that {draft.name} lacks?"
    return f"Is one box per image and category enough on {draft.name}, and how much of the gap does DMiner close?"


def _docstring(draft: Draft) -> list[str]:
    lines = [
        f"Command: siod study run {draft.name}.py",
        f"Cost: {draft.cost}",
        f"Data: {describe_data(draft)}.",
        f"Written by: {draft.command}",
    ]
    wrapped = [part for line in lines for part in textwrap.wrap(line, WIDTH, break_long_words=False)]
    escaped = [line.replace("\\", "\\\\").replace('"', '\\"') for line in wrapped]
    return [f'"""{_question(draft)}', "", *escaped, '"""', ""]


def _imports(draft: Draft) -> list[str]:
    policies = "Keep" if draft.single else "Full, Keep"
    names = sorted(["Evaluation", "Experiment", "OneCycle", "Recipe", WEIGHTS[draft.weights][0]])
    zoo = sorted({draft.detector.name, draft.detector.mining_from} - {""})
    return [
        "from pathlib import Path",
        "",
        f"from siod.data.annotation_sets import {policies}",
        "from siod.data.source import CocoFolder",
        "from siod.data.transforms import Augmentation",
        f"from siod.detectors.zoo import {', '.join(zoo)}",
        "from siod.dminer.dminer import DMiner",
        "from siod.dminer.pgcl import PGCL",
        "from siod.dminer.splg import SPLG",
        f"from siod.training.experiment import {', '.join(names)}",
        "from siod.tuning.study import Arm, Study",
        "",
    ]


def _settings(draft: Draft) -> list[str]:
    fit, constructor = draft.fit, WEIGHTS[draft.weights]
    longest = "" if fit.longest_px is None else f", longest_px={fit.longest_px}"
    copies = "small copies are made once" if longest else ""
    kept = "no other boxes are known" if draft.single else "one box per image and category, drawn at random"
    spec_m = top_m(draft.detector.spec(), fit.input_size)
    return [
        *_data(draft),
        *_with_reason(0, f"INPUT = {fit.input_size}", f"height and width in px; {fit.why['input_size']}"),
        *_detector(draft),
        *_with_reason(
            0, f"DMINER = DMiner(splg=SPLG(), pgcl=PGCL(top_m={spec_m}))", "of the paper's 128 on 128 x 128 positions"
        ),
        "",
        "BASE = Experiment(",
        *_with_reason(4, f"data=CocoFolder(root=DATA{longest}),", copies),
        *_with_reason(4, "annotations=Keep(k=1),", kept),
        "    detector=DETECTOR,",
        *_with_reason(4, f"weights={constructor[0]}(),", constructor[1]),
        *_with_reason(
            4, "", "Images are zoomed, shifted and mirrored; set flip to 0 where a mirror image means something else."
        ),
        "    augmentation=Augmentation(",
        "        input_size=INPUT,",
        "        scale=(0.7, 1.3),",
        f"        shift_border_px={max(fit.input_size) // 4},",
        "        flip=0.5,",
        "        brightness=0.2,",
        "        contrast=0.2,",
        "        saturation=0.2,",
        "    ),",
        "    recipe=Recipe(",
        *_with_reason(8, f"epochs={fit.epochs},", fit.why["epochs"]),
        *_with_reason(8, f"batch_size={fit.batch_size},", fit.why["batch_size"]),
        *_with_reason(8, f"learning_rate={fit.learning_rate:g},", fit.why["learning_rate"]),
        "        schedule=OneCycle(),",
        "    ),",
        *_with_reason(4, "", f"Judged at the scale of training. Not after every epoch: {fit.why['every_epochs']}."),
        f"    evaluation=Evaluation(input_size=INPUT, every_epochs={fit.every_epochs}),",
        ")",
        "",
    ]


def _data(draft: Draft) -> list[str]:
    if draft.beside is None:
        return [f"DATA = Path({_quoted(str(draft.root))})"]
    return _with_reason(
        0, f"DATA = Path(__file__).resolve().parent / {_quoted(draft.beside)}", "move this file and the folder together"
    )


def _detector(draft: Draft) -> list[str]:
    detector = draft.detector
    if not detector.changes:
        return [f"DETECTOR = {detector.name}"]
    lines = [f"DETECTOR = {detector.name}.with_changes(", "    {"]
    for path, setting in detector.changes.items():
        written = _quoted(setting) if isinstance(setting, str) else str(setting)
        lines += _with_reason(8, f"{_quoted(path)}: {written},", detector.why.get(path, ""))
    return [*lines, "    }", ")"]


def _study(draft: Draft) -> list[str]:
    branch = draft.detector.mining_from
    factors = [*([] if draft.single else ["annotations"]), "dminer", *(["detector.mining_branch"] if branch else [])]
    fsod = [] if draft.single else ['        Arm(name="fsod", label="FSOD", changes={"annotations": Full()}),']
    listed = ", ".join(map(_quoted, factors)) + ("," if len(factors) == 1 else "")
    seeds = ", ".join(map(str, range(draft.fit.seeds))) + ("," if draft.fit.seeds == 1 else "")
    return [
        "STUDY = Study(",
        f"    name={_quoted(draft.name)},",
        f"    question={_quoted(_question(draft))},",
        "    base=BASE,",
        "    arms=(",
        *fsod,
        '        Arm(name="base", label="SIOD (base)"),',
        *_mining_arm(branch),
        "    ),",
        '    baseline="base",  # gains are counted from it',
        f"    factors=({listed}),",
        *_with_reason(4, f"seeds=({seeds}),", draft.fit.why["seeds"]),
        ")",
    ]


def _mining_arm(branch: str) -> list[str]:
    """DMiner's; a detector without dense scores gets the branch that it works on."""
    if not branch:
        return ['        Arm(name="dminer", label="SIOD (DMiner)", changes={"dminer": DMINER}),']
    return [
        "        Arm(",
        '            name="dminer",',
        '            label="SIOD (DMiner)",',
        f'            changes={{"detector.mining_branch": {branch}.mining_branch, "dminer": DMINER}},',
        "        ),",
    ]


def _with_reason(indent: int, code: str, why: str) -> list[str]:
    """A line of code with its reason: behind it where there is room, above it otherwise."""
    start = " " * indent
    if not why:
        return [start + code]
    line = f"{start}{code}  # {why}"
    if code and len(line) <= WIDTH:
        return [line]
    above = [f"{start}# {part}" for part in textwrap.wrap(why, WIDTH - indent - 2)]
    return above + ([start + code] if code else [])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
