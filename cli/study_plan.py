"""``siod study plan``: what a study would train, where, and what it will cost; nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from siod.cli.options import (
    CACHE,
    RUNS,
    Address,
    Autoscale,
    Cache,
    Device,
    GpusPerWorker,
    LoaderWorkers,
    Precision,
    Price,
    Runs,
    Set,
    SkipBroken,
    Workers,
    absolute,
    consent,
    refuse_autoscale_alone,
    requested,
)
from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from siod.tuning.planning.estimate import Estimate, Measured
    from siod.tuning.planning.plan import Capacity, Trial
    from siod.tuning.study import Study
    from siod.tuning.trials.trial import Job

MIB_PER_GIB, BYTES_PER_MIB = 2**10, 2**20


def plan(
    study: Annotated[str, typer.Argument(help="Name of a study, or a Python or JSON file that declares one.")],
    *,
    measure: Annotated[
        bool, typer.Option("--measure", help="Train one epoch of each shape that was never measured, alone.")
    ] = False,
    max_concurrent: Annotated[
        int | None, typer.Option(min=1, help="At most so many trials at once; as many as fit when not given.")
    ] = None,
    set_: Set = None,
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = None,
    loader_workers: LoaderWorkers = None,
    precision: Precision = None,
    device: Device = "auto",
    skip_broken: SkipBroken = False,
    address: Address = None,
    autoscale: Autoscale = False,
    price: Price = None,
    runs: Runs = RUNS,
    cache: Cache = CACHE,
) -> None:
    """Say what a study would train, what is finished already, and what the rest will take."""
    from siod.tuning.study import load_study  # noqa: PLC0415  (keeps --help fast)

    refuse_autoscale_alone(autoscale, address)
    settings = requested(
        set_ or (),
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        loader_workers=loader_workers,
        precision=precision,
        device=device,
    )
    from siod.tuning.settings import with_settings  # noqa: PLC0415

    loaded = with_settings(load_study(study), settings)
    from siod.tuning.planning.estimate import measure_runs  # noqa: PLC0415
    from siod.tuning.planning.plan import Capacity, place_trials, refuse_hours_without_gpus  # noqa: PLC0415
    from siod.tuning.planning.plan import plan as plan_trials  # noqa: PLC0415
    from siod.tuning.running.cluster import machines  # noqa: PLC0415

    runs_dir, cache_dir = absolute(runs), absolute(cache)
    left: Mapping[str, int] = {}
    if loaded.search is not None:
        loaded, left = _searched(loaded, runs_dir / "studies" / loaded.name)
    with machines(address) as nodes:
        capacity = Capacity(nodes, max_concurrent, autoscale)
    trials = place_trials(plan_trials(loaded), nodes, autoscale=autoscale)
    refuse_hours_without_gpus(loaded, trials)
    capacity.slots(trials)  # refuses what can never fit before data is prepared for it
    jobs = _prepare(trials, runs_dir, cache_dir, baseline=loaded.baseline, skip_broken=skip_broken)
    if measure:
        _calibrate(jobs, runs_dir, cache_dir, address=address, confirm=consent(device))
    measured = measure_runs(runs_dir)
    lines = [
        *(
            _search_lines(loaded, left, jobs, measured, capacity=capacity, trials=trials, price=price)
            if loaded.search
            else ()
        ),
        *_trial_lines(loaded, jobs, measured, capacity=capacity, trials=trials, price=price),
        *_warnings(loaded, trials, cache_dir, asks=device != "cpu", here=address is None),
        *_too_few_seeds(loaded),
        *_about_files(jobs),
    ]
    typer.echo("\n".join(lines))


def _prepare(
    trials: Sequence[Trial], runs_dir: Path, cache_dir: Path, *, baseline: str, skip_broken: bool
) -> tuple[Job, ...]:
    from siod.cli.progress import progress_bar  # noqa: PLC0415
    from siod.tuning.planning.jobs import prepare_jobs  # noqa: PLC0415

    with progress_bar("preparing the data") as progress:
        return prepare_jobs(
            trials,
            runs_dir=runs_dir,
            cache_dir=cache_dir,
            baseline=baseline,
            check_images="skip" if skip_broken else "refuse",
            progress=progress,
        )


def _calibrate(
    jobs: Sequence[Job],
    runs_dir: Path,
    cache_dir: Path,
    *,
    address: str | None,
    confirm: Callable[[str], bool] | None,
) -> None:
    """Train one epoch for each shape that is unknown, or as few as its schedule allows.

    That is kept as a run of its own, and found again.

    It ends in an evaluation, as every run does: a shape that is evaluated every few epochs takes a little less.
    """
    from siod.training.fitness import fewest_epochs, training_images  # noqa: PLC0415
    from siod.tuning.planning.estimate import measure_runs, shape_of  # noqa: PLC0415
    from siod.tuning.running.single import train_one  # noqa: PLC0415

    measured = measure_runs(runs_dir)
    unknown = {shape_of(job.experiment): job for job in reversed(jobs) if job.result() is None}
    for shape, job in unknown.items():
        if shape not in measured:
            fewest = fewest_epochs(job.experiment, images=training_images(job.data))
            once = job.experiment.with_changes({"recipe.epochs": fewest})
            train_one(once, name=job.arm, runs_dir=runs_dir, cache_dir=cache_dir, address=address, confirm=confirm)


def _trial_lines(
    study: Study,
    jobs: Sequence[Job],
    measured: Mapping[str, Measured],
    *,
    capacity: Capacity,
    trials: Sequence[Trial],
    price: float | None,
) -> Iterator[str]:
    """The table of the arms, then what the trials that are left take."""
    from siod.tuning.planning.estimate import estimate  # noqa: PLC0415
    from siod.tuning.planning.jobs import teacher_stages  # noqa: PLC0415

    stages = teacher_stages([job for job in jobs if job.result() is None])
    teachers = [teacher for stage in stages for teacher in stage if teacher not in jobs]
    arms = [*(arm.name for arm in study.arms), *dict.fromkeys(teacher.arm for teacher in teachers)]
    yield from _table(arms, [*jobs, *teachers], measured)
    yield ""
    found = estimate([*teachers, *jobs], measured, slots=capacity.slots(trials))
    yield from _summary(found, capacity, trials, len(teachers) + len(jobs), price=price)


def _table(arms: Sequence[str], jobs: Sequence[Job], measured: Mapping[str, Measured]) -> Iterator[str]:
    """One line for each arm, and for each teacher still to train: what is done, what a trial takes, how it is known."""
    from siod.training.phases import total_epochs  # noqa: PLC0415
    from siod.tuning.planning.estimate import shape_of  # noqa: PLC0415
    from siod.tuning.showing.board import duration  # noqa: PLC0415

    width = max(map(len, arms))
    yield f"{'arm':<{width}}  {'done':>7}  {'epochs':>6}  {'a trial':>8}  {'memory':>8}  known from"
    for arm in arms:
        own = [job for job in jobs if job.arm == arm]
        cost = measured.get(shape_of(own[0].experiment))
        epochs = total_epochs(own[0].experiment)
        done = f"{sum(job.result() is not None for job in own)}/{len(own)}"
        time = "unknown" if cost is None else duration(cost.seconds(own[0].experiment))
        memory = "unknown" if cost is None else f"{cost.memory_mib / MIB_PER_GIB:.1f} GiB"
        source = "nothing yet" if cost is None else f"{cost.runs} run{'s' * (cost.runs != 1)} of its shape"
        yield f"{arm:<{width}}  {done:>7}  {epochs:>6}  {time:>8}  {memory:>8}  {source}"


def _summary(
    found: Estimate, capacity: Capacity, trials: Sequence[Trial], planned: int, *, price: float | None
) -> Iterator[str]:
    from siod.training.placement import inventory  # noqa: PLC0415
    from siod.tuning.showing.board import duration  # noqa: PLC0415

    yield f"{planned} trials, {planned - len(found.waiting)} finished, {len(found.waiting)} to train"
    yield inventory(capacity.nodes)
    yield from capacity.describe(trials, found.slots)
    if not found.waiting:
        return
    if len(found.unknown) < len(found.waiting):
        gib, mib = found.memory_mib / MIB_PER_GIB, found.disk_bytes / BYTES_PER_MIB
        yield (
            f"about {duration(found.wall_seconds)} of training, {found.cpu_hours:.2f} CPU-hours, "
            f"{found.gpu_hours:.2f} GPU-hours, {gib:.1f} GiB of memory at most, {mib:.0f} MiB of disk"
            f"{_priced(found, price)}"
        )
    if found.unknown:
        yield (
            f"not in these figures: {len(found.unknown)} trials of a shape that was never measured; "
            "--measure trains one epoch of each"
        )


def _priced(found: Estimate, price: float | None) -> str:
    from siod.price import priced  # noqa: PLC0415

    return "" if price is None else f", {priced(price, gpu_hours=found.gpu_hours, cpu_hours=found.cpu_hours)}"


def _searched(study: Study, folder: Path) -> tuple[Study, dict[str, int]]:
    """What the search has still to train by arm; once that is nothing, the study at what it found best."""
    from siod.tuning.searching.best import best_of, trials_left, tuned  # noqa: PLC0415  (loads Optuna)

    left = trials_left(study, folder)
    if any(left.values()):
        return study, left
    best = tuned(study, best_of(study, folder))
    return best.model_copy(update={"space": study.space, "search": study.search}), left


def _search_lines(
    study: Study,
    left: Mapping[str, int],
    jobs: Sequence[Job],
    measured: Mapping[str, Measured],
    *,
    capacity: Capacity,
    trials: Sequence[Trial],
    price: float | None,
) -> Iterator[str]:
    """What is searched before the trials below, which then train at each arm's best settings."""
    from siod.tuning.planning.estimate import estimate  # noqa: PLC0415
    from siod.tuning.searching.search import search_of  # noqa: PLC0415
    from siod.tuning.showing.board import duration  # noqa: PLC0415
    from siod.tuning.space import applicable  # noqa: PLC0415

    search = search_of(study)
    how = f"trials by {search.sampler}, pruner {search.pruner}"
    for name, count in left.items():
        paths = applicable(study.space, study.experiment(study.arm(name), study.seeds[0]))
        yield f"search of {name}: {search.trials} {how}, {count} left; {', '.join(paths)}"
    bases = {job.arm: job for job in reversed(jobs)}
    for name, count in left.items():
        teachers = len(bases[name].experiment.teachers()) if count else 0
        if teachers:
            which = "a teacher is" if teachers == 1 else f"{teachers} teachers, each the next one's, are"
            yield f"search of {name}: {which} trained first, with the seed of the search"
    # What they will be called is not known yet: no folder has their results.
    nowhere = jobs[0].run_dir.parent / "none"
    asked = [replace(bases[name], number=place, run_dir=nowhere) for name in left for place in range(left[name])]
    if not asked:
        yield "the search is done; these trials are at each arm's best settings:"
        return
    searched = [trial for trial in trials if trial.seed == study.seeds[0] and left.get(trial.arm.name)]
    slots = capacity.slots(searched, len(asked))
    yield from (f"search: {line}" for line in capacity.describe(searched, slots))
    found = estimate(asked, measured, slots=slots)
    if len(found.unknown) < len(asked):
        pruned = ", less what is pruned" if search.pruner != "none" else ""
        yield (
            f"the search takes about {duration(found.wall_seconds)}{pruned}, {found.gpu_hours:.2f} GPU-hours at most"
            f"{_priced(found, price)}"
        )
    if found.unknown:
        yield f"not in these figures: {len(found.unknown)} trials of the search, of a shape that was never measured"
    yield "then these at each arm's best settings, counted here at its own:"


def _about_files(jobs: Sequence[Job]) -> Iterator[str]:
    """Which arms learn from all boxes of a file that says itself that it lacks some."""
    from siod.data.known_files import KnownFiles  # noqa: PLC0415

    for arm, job in {job.arm: job for job in reversed(jobs)}.items():
        if job.experiment.annotations.policy != "full":
            continue
        if name := KnownFiles(job.cache_dir).content(job.data.train_full).stated:
            yield f"arm {arm!r} learns from all boxes of a file that says it is {name}: that is no full supervision"


def _warnings(study: Study, trials: Sequence[Trial], cache_dir: Path, *, asks: bool, here: bool) -> Iterator[str]:
    from siod.training.placement import DEVICE_REMEDY  # noqa: PLC0415
    from siod.tuning.arms import confounded  # noqa: PLC0415
    from siod.tuning.planning.plan import long_trials_on_cpu, refuse_uncomputable  # noqa: PLC0415

    long = long_trials_on_cpu(trials, cache_dir) if asks else None
    if long is not None:
        yield f"on the CPU: {long}; {DEVICE_REMEDY}"
    try:
        refuse_uncomputable(trials, here=here)
    except UserError as error:
        yield f"refused here: {error}"
    for arm, paths in confounded(study).items():
        yield f"confounded: arm {arm!r} also changes {', '.join(paths)}, which is none of the study's factors"


def _too_few_seeds(study: Study) -> Iterator[str]:
    """Say how many seeds the primary comparisons need, if the study has fewer."""
    count = len(study.primary)
    if not count:
        return
    from siod.comparison import fewest_pairs  # noqa: PLC0415  (loads scipy)

    seeds = min(len(study.seeds_of(study.arm(name))) for pair in study.primary for name in pair)
    needed = fewest_pairs(count)
    if seeds < needed:
        yield (
            f"primary: {seeds} seed{'s' * (seeds != 1)} cannot show a difference at 5% in {count} "
            f"comparison{'s' * (count != 1)} corrected after Holm, whatever they find; {needed} seeds can"
        )
