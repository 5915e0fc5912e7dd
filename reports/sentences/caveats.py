"""What a reader must know before believing a table: missing trials, few seeds, mixed versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.reports.analysis.aggregate import baseline_label, by_group, of_status
from siod.reports.analysis.annotations import about_files
from siod.reports.analysis.differences import to_baseline
from siod.reports.analysis.numbers import heading
from siod.reports.sentences.answer import nothing_learnt
from siod.reports.tables.table import MISSING
from siod.tracking.records import flatten

# What a reader asks for first; the page lists every setting.
TOLD = (
    "data.kind",
    "annotations.policy",
    "annotations.k",
    "annotations.seed",
    "detector.family",
    "detector.backbone",
    "weights.kind",
    "recipe.epochs",
    "recipe.batch_size",
    "recipe.learning_rate",
)
TEACHER = "teacher:"

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from siod.tracking.records import StudyRecord, TrialRecord


def caveats(study: StudyRecord) -> tuple[str, ...]:
    """List, in whole sentences, what limits the study's figures.

    Args:
        study: Finished or not.

    Returns:
        Sentences, the gravest first; the last says what the figures are.
    """
    parts = (
        _unlearnt(study),
        _missing(study),
        _unfinished(study),
        _seeds(study),
        _versions(study),
        about_files(study),
        _undeclared(study),
        _fixed(study),
        _proposed(study),
        _noted(study),
    )
    return (*(sentence for part in parts for sentence in part), _legend(study))


def _unlearnt(study: StudyRecord) -> Iterator[str]:
    if not study.is_search:
        for name, group in by_group(study).items():
            yield from nothing_learnt(group, name)


def _missing(study: StudyRecord) -> Iterator[str]:
    missing = [arm.title for arm in study.arms if not of_status(study.trials_of(arm.name), "finished")]
    if missing:
        yield f"{', '.join(missing)}: {MISSING}."


def _unfinished(study: StudyRecord) -> Iterator[str]:
    declared = [trial for arm in study.arms for trial in study.trials_of(arm.name)]
    for trial in of_status(declared, "failed"):
        reason = trial.error.rstrip(".") or "no reason given"
        yield f"{_name(trial)} failed and is left out, not counted as zero: {reason}."
    for status, verb in (("running", "still running"), ("interrupted", "interrupted"), ("pruned", "pruned")):
        names = [f"{_name(trial)} (epoch {trial.epoch})" for trial in declared if trial.status == status]
        if names:
            yield f"Left out because {verb}: {', '.join(names)}."
    waiting = len(study.declared()) - len(declared)
    if waiting:
        yield f"{waiting} of {len(study.declared())} trials have not started."


def _seeds(study: StudyRecord) -> Iterator[str]:
    if study.is_search:
        yield (
            "The trials of a search differ in their settings and their seeds are their numbers: mean and deviation are "
            "over settings, and nothing is tested."
        )
        return
    finished = {arm.name: of_status(study.trials_of(arm.name), "finished") for arm in study.arms}
    counts = [len(trials) for trials in finished.values() if trials]
    if counts and min(counts) == 1:
        yield "An arm with one seed has no spread: its difference to another arm may be chance."
    seeds = {name: frozenset(trial.seed for trial in trials) for name, trials in finished.items() if trials}
    if len(set(seeds.values())) > 1:
        yield "The arms stand on different seeds, so gains compare different draws."


def _versions(study: StudyRecord) -> Iterator[str]:
    trials = [trial for arm in study.arms for trial in of_status(study.trials_of(arm.name), "finished")]
    commits = tagged(trials, "git_commit")
    if len(commits) > 1:
        yield f"The trials were trained at {len(commits)} commits: {', '.join(commits)}."
    if any(commit.endswith("-dirty") for commit in commits):
        yield "Some trials were trained with local changes that no commit holds."
    for arm in study.arms:
        prints = tagged((trial for trial in trials if trial.arm == arm.name), "data_fingerprint")
        if len(prints) > 1:
            yield f"{arm.title}: its trials saw different data ({', '.join(prints)})."


def _undeclared(study: StudyRecord) -> Iterator[str]:
    declared = set(study.declared())
    others = [trial for trial in study.trials if (trial.arm, trial.seed) not in declared]
    teachers = [_name(trial) for trial in others if trial.arm.startswith(TEACHER)]
    if teachers:
        yield f"Trained to teach some of the arms: {', '.join(teachers)}."
    names = [_name(trial) for trial in others if not trial.arm.startswith(TEACHER)]
    if names:
        yield f"Left out because the study no longer declares them: {', '.join(names)}."


def _fixed(study: StudyRecord) -> Iterator[str]:
    """What all arms share: the settings a reader asks for first, seeds, data and commit."""
    settings = flatten(study.experiment)
    changed = {path for arm in study.arms for path in arm.changes}
    shared = [
        f"{path} {settings[path]}"
        for path in TOLD
        if path in settings
        and not any(path == other or path.startswith(f"{other}.") for other in changed)
        and len({trial.params[path] for trial in study.trials if path in trial.params}) <= 1
    ]
    finished = [trial for arm in study.arms for trial in of_status(study.trials_of(arm.name), "finished")]
    commits, prints = tagged(finished, "git_commit"), tagged(finished, "data_fingerprint")
    parts = [
        *shared,
        *([] if study.is_search else [f"seeds {', '.join(map(str, study.seeds))}"]),
        *([f"data {prints[0]}"] if len(prints) == 1 else []),
        *([f"commit {commits[0]}"] if len(commits) == 1 else []),
    ]
    if shared or prints or commits:
        yield f"The same for all: {'; '.join(parts)}."
    if len(prints) > 1:
        parts = []
        for data in prints:
            titles = [arm.title for arm in study.arms if _trained_on(data, arm.name, finished)]
            parts.append(f"{data} for {', '.join(titles)}")
        yield f"Data: {'; '.join(parts)}."


def _trained_on(data: str, arm: str, trials: Iterable[TrialRecord]) -> bool:
    return any(trial.arm == arm and trial.tags.get("data_fingerprint") == data for trial in trials)


def _proposed(study: StudyRecord) -> Iterator[str]:
    """How the trials of a search were proposed, once for arms that are alike in that."""
    for words in dict.fromkeys(study.proposals.values()):
        titles = [arm.title for arm in study.arms if study.proposals.get(arm.name) == words]
        yield f"{', '.join(titles)}: trials proposed {words}."


def _noted(study: StudyRecord) -> Iterator[str]:
    """What is to be said of single arms, such as what their searches found."""
    for arm in study.arms:
        if arm.note:
            yield f"{arm.title}: {arm.note}."


def _legend(study: StudyRecord) -> str:
    columns = ", ".join(heading(name) for name in study.columns)
    grouped = any(arm.group for arm in study.arms)
    best = "the highest mean of a column within a group" if grouped else "the highest mean of a column"
    published = "; published figures as printed" if any(arm.published for arm in study.arms) else ""
    starred = any(one.significant() for one in to_baseline(study).values())
    over = " over the primary comparisons" if study.primary else ""
    star = f"; * {heading(study.objective)} differs at 5% after Holm's correction{over}" if starred else ""
    return (
        f"{columns} in percent on the validation images, after the last epoch; mean ± sample standard deviation over "
        f"seeds; in parentheses the difference of the means to {baseline_label(study)}; {best} is "
        f"bold{star}{published}."
    )


def tagged(trials: Iterable[TrialRecord], tag: str) -> tuple[str, ...]:
    """The distinct values of a tag, in the order they occur; trials without it are passed over."""
    return tuple(dict.fromkeys(trial.tags[tag] for trial in trials if trial.tags.get(tag)))


def _name(trial: TrialRecord) -> str:
    return f"{trial.arm}/{trial.seed}"
