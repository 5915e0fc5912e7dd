"""Fit a study into the time there is, by what a few steps took on this machine. Pure: nothing is measured here."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from siod.errors import UserError
from siod.tuning.fitting.recipe import sized, sizes
from siod.tuning.showing.board import duration, makespan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from siod.data.describing.profile import Profile
    from siod.tuning.fitting.recipe import Fit

SPARE = 0.15
"""Share of the budget that is kept back: later steps are slower than the few that were measured."""

STUDY_SECONDS, TRIAL_SECONDS = 30.0, 5.0
"""To start a study, Ray included, and to begin and end a trial."""

HALF, QUARTER = 0.5, 0.25
"""Of the epochs that were wanted."""


@dataclass(frozen=True)
class Pace:
    """Measured time of training and evaluation on this machine, with as many processes at once as a study has.

    Args:
        pixels: Of the input it was measured at.
        train_seconds: For an image, by arm.
        judge_seconds: For an image.
        prepare_seconds: To check and shrink an image, once for all trials.
        slots: Trials that run at once.
    """

    pixels: int
    train_seconds: Mapping[str, float]
    judge_seconds: float
    prepare_seconds: float
    slots: int

    def epoch_seconds(self, arm: str, settings: Fit, profile: Profile) -> tuple[float, float]:
        """Seconds of an epoch's training, and of one evaluation; both grow with the pixels of the input."""
        larger = settings.pixels / self.pixels
        return (
            self.train_seconds[arm] * profile.train_images * larger,
            self.judge_seconds * profile.val_images * larger,
        )


def study_seconds(settings: Fit, profile: Profile, pace: Pace) -> float:
    """What a study will take from its start to its end.

    Args:
        settings: Of the study.
        profile: Of its data.
        pace: Of this machine, for each arm.
    """
    judged = math.ceil(settings.epochs / settings.every_epochs)
    trials = []
    for _ in range(settings.seeds):
        for arm in pace.train_seconds:
            training, judging = pace.epoch_seconds(arm, settings, profile)
            trials.append(TRIAL_SECONDS + settings.epochs * training + judged * judging)
    images = profile.train_images + profile.val_images
    return STUDY_SECONDS + images * pace.prepare_seconds + makespan((), trials, slots=pace.slots)


def within(settings: Fit, profile: Profile, pace: Pace, seconds: float, *, gpu: bool) -> Fit:
    """Reduce settings until the study fits into a budget, in order of least harm.

    Epochs go down to half of what was wanted, then seeds are left out, then epochs go down to a quarter. The input is
    the smallest at which objects can be told, so it becomes smaller only then.

    Args:
        settings: What is wanted.
        profile: Of the data.
        pace: Of this machine.
        seconds: The budget.
        gpu: Whether the sizes of a GPU are tried.

    Returns:
        Settings that fit, with remarks on what they lack.

    Raises:
        UserError: Not even one epoch at the smallest input with one seed fits.
    """
    usable = seconds * (1 - SPARE)
    if study_seconds(settings, profile, pace) <= usable:
        return settings
    for asked, share in _reductions(settings, profile, gpu=gpu):
        epochs = _affordable(asked, profile, pace, usable)
        if epochs >= max(1, share * settings.epochs):
            return _with_remark(settings, _with_epochs(asked, profile, epochs), seconds)
    least = study_seconds(_with_epochs(asked, profile, 1), profile, pace) / (1 - SPARE)
    raise UserError(
        f"--budget {duration(seconds)}: one epoch of each arm at {max(asked.input_size)} px takes about "
        f"{duration(least)} on this machine; give it more time, or fewer images"
    )


def _reductions(settings: Fit, profile: Profile, *, gpu: bool) -> Iterator[tuple[Fit, float]]:
    """Settings to try, each with the share of the wanted epochs that it must leave."""
    for seeds in range(settings.seeds, 0, -1):
        yield replace(settings, seeds=seeds), HALF
    smaller = _smaller(replace(settings, seeds=1), profile, gpu=gpu)
    yield from ((one, QUARTER) for one in smaller)
    yield smaller[-1], 0.0


def _smaller(settings: Fit, profile: Profile, *, gpu: bool) -> list[Fit]:
    """The same at each size from the one that is wanted down to the smallest."""
    others = [sized(settings, profile, size) for size in reversed(sizes(profile, gpu=gpu))]
    return [settings, *(other for other in others if other.pixels < settings.pixels)]


def _affordable(settings: Fit, profile: Profile, pace: Pace, seconds: float) -> int:
    """The most epochs that fit, at most those of the settings; 0 when not even one does."""
    counts = range(settings.epochs, 0, -1)
    fitting = (n for n in counts if study_seconds(_with_epochs(settings, profile, n), profile, pace) <= seconds)
    return next(fitting, 0)


def _with_epochs(settings: Fit, profile: Profile, epochs: int) -> Fit:
    """The same with fewer epochs, and as many evaluations as before."""
    judged = math.ceil(settings.epochs / settings.every_epochs)
    seen = profile.train_images * epochs
    reason = (
        f"{seen:,} images seen in {seen // settings.batch_size:,} steps; what the budget leaves of {settings.epochs}"
    )
    return replace(
        settings,
        epochs=epochs,
        every_epochs=math.ceil(epochs / judged),
        why={**settings.why, "epochs": reason} if epochs < settings.epochs else settings.why,
    )


def _with_remark(wanted: Fit, chosen: Fit, seconds: float) -> Fit:
    """The chosen settings with a remark on what was given up."""
    lost = {
        f"{chosen.epochs} epochs instead of {wanted.epochs}": chosen.epochs < wanted.epochs,
        f"inputs of {max(chosen.input_size)} px instead of {max(wanted.input_size)}": chosen.pixels < wanted.pixels,
        f"{chosen.seeds} seed{'s' * (chosen.seeds != 1)} instead of {wanted.seeds}": chosen.seeds < wanted.seeds,
    }
    what = ", ".join(words for words, is_lost in lost.items() if is_lost)
    remarks = [*chosen.remarks, f"{duration(seconds)} is not enough for all: {what}"]
    if chosen.pixels < wanted.pixels:
        remarks.append(f"of inputs of {max(chosen.input_size)} px {chosen.why['input_size']}")
    why = dict(chosen.why)
    if chosen.seeds < wanted.seeds:
        why["seeds"] = f"what the budget leaves of {wanted.seeds}"
    return replace(chosen, why=why, remarks=tuple(remarks))
