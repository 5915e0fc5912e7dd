"""Where each trial of a running study stands, and how long the rest will take. Pure: nothing is drawn here."""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from siod.price import priced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

State = Literal["waiting", "running", "finished", "reused", "failed", "interrupted", "pruned"]
SECONDS_PER_HOUR = 3600.0
DONE: frozenset[State] = frozenset({"finished", "reused", "failed", "pruned"})


@dataclass
class Row:
    """One trial as progress shows it; metrics are fractions, times are seconds of the board's clock."""

    name: str
    total_epochs: int
    state: State = "waiting"
    epoch: int = 0
    current: float | None = None
    best: float | None = None
    error: str = ""
    began_at: float | None = None
    ended_at: float | None = None
    _counted_from: tuple[int, float] | None = None
    _last_epoch_at: float = 0.0

    def begin(self, now: float) -> None:
        """The trial runs."""
        self.state, self.began_at, self._counted_from = "running", now, None

    def advance(self, epoch: int, metric: float | None, now: float) -> None:
        """An epoch is done; a resumed trial reports its last finished epoch first."""
        if self._counted_from is None:
            fresh = epoch == 1 and self.began_at is not None
            self._counted_from = (0, self.began_at) if fresh and self.began_at is not None else (epoch, now)
        self.epoch, self._last_epoch_at = epoch, now
        if metric is not None:
            self.current = metric
            self.best = metric if self.best is None else max(self.best, metric)

    def seconds_per_epoch(self) -> float | None:
        """Measured over the epochs of this run of the trial, or None before the first."""
        if self._counted_from is None or self.epoch == self._counted_from[0]:
            return None
        first, since = self._counted_from
        return (self._last_epoch_at - since) / (self.epoch - first)

    def seconds_left(self, per_epoch: float, now: float) -> float:
        """Expected time to the trial's end, at a pace."""
        in_this_epoch = now - self._last_epoch_at if self.epoch else now - (self.began_at or now)
        running = self.state == "running"
        return max(0.0, (self.total_epochs - self.epoch) * per_epoch - (in_this_epoch if running else 0.0))


@dataclass
class Board:
    """All trials of a study and where each stands; each event is also passed on as a line of text.

    Args:
        study: Name of the study.
        rows: The trials in the order they start.
        objective: Name of the metric that is shown.
        print_line: Receives one line of plain text for every event.
        clock: Seconds that never run backwards.
        abort_reason: Why the study was aborted; empty if it was not.
        gpus: How many each trial holds while it runs, by its name.
        cpus: How many cores, likewise.
        price: Of an hour of a GPU, or of a core where no trial holds a GPU; None where money is not shown.
        placements: What each kind of trial is given, and what stays idle; a line each.
    """

    study: str
    rows: dict[str, Row]
    objective: str = "ap_s"
    print_line: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    slots: int = 1
    activity: str = ""
    abort_reason: str = ""
    gpus: Mapping[str, float] = field(default_factory=dict)
    cpus: Mapping[str, float] = field(default_factory=dict)
    price: float | None = None
    placements: tuple[str, ...] = ()
    began_at: float = field(init=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self.began_at = self.clock()

    @classmethod
    def of(cls, study: str, epochs: Mapping[str, int], *, objective: str = "ap_s") -> Board:
        """A board on which everything waits.

        Args:
            study: Name of the study.
            epochs: How many epochs each trial has, by its name.
            objective: Name of the metric that is shown.
        """
        return cls(study, {name: Row(name, total) for name, total in epochs.items()}, objective)

    def add(self, name: str, epochs: int) -> None:
        """Add a trial unless it is on the board already."""
        self.rows.setdefault(name, Row(name, epochs))

    def drop(self, names: Iterable[str]) -> None:
        """Remove trials from the board."""
        for name in names:
            del self.rows[name]

    def set_activity(self, activity: str) -> None:
        """Set what the study does besides its trials; empty when nothing."""
        self.activity = activity
        if activity:
            self.print_line(f"{self.study}: {activity}")

    def set_placements(self, placements: tuple[str, ...]) -> None:
        """Set what each kind of trial is given, and what stays idle."""
        self.placements = placements
        for line in placements:
            self.print_line(f"{self.study}: {line}")

    def set_progress(self, activity: str, done: int, of: int) -> None:
        """Set how far the present activity is; no line is printed, as it changes often."""
        self.activity = f"{activity} ({done}/{of})"

    def begin(self, name: str) -> None:
        """A trial started or continues."""
        self.activity = ""
        self.rows[name].begin(self.clock())
        self.print_line(f"{name}: started")

    def wait(self, name: str) -> None:
        """A trial waits for the lock of its folder, which another process holds or held until it died."""
        self.print_line(f"{name}: waits for another process that holds its folder")

    def epoch(self, name: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """A trial finished an epoch."""
        row = self.rows[name]
        row.advance(epoch, metrics.get(self.objective), self.clock())
        shown = [f"epoch {epoch}/{row.total_epochs}", _scored(self.objective, row.current)]
        left = self.seconds_left()
        shown += ["" if left is None else f"{duration(left)} left", self.priced_so_far()]
        self.print_line(f"{name}: " + ", ".join(part for part in shown if part))

    def finish(self, name: str, metrics: Mapping[str, float], *, state: State = "finished") -> None:
        """A trial has its final metrics, trained now (finished) or earlier (reused)."""
        row = self.rows[name]
        row.state, row.epoch, row.ended_at = state, row.total_epochs, self.clock()
        row.current = metrics.get(self.objective)
        row.best = metrics.get(f"best_{self.objective}", row.best if row.best is not None else row.current)
        took = "" if row.began_at is None else f" in {duration(row.ended_at - row.began_at)}"
        self.print_line(f"{name}: {state}{took}, {_scored(self.objective, row.current)}")

    def fail(self, name: str, error: str) -> None:
        """A trial ended with an error."""
        row = self.rows[name]
        row.state, row.error, row.ended_at = "failed", error, self.clock()
        self.print_line(f"{name}: failed: {error}")

    def prune(self, name: str) -> None:
        """A trial was ended early, now or in an earlier call: its settings are not worth the rest of its epochs."""
        row = self.rows[name]
        row.state, row.ended_at = "pruned", self.clock()
        here = f"after epoch {row.epoch}/{row.total_epochs}, {_scored(self.objective, row.current)}"
        self.print_line(f"{name}: pruned {here if row.epoch else 'in an earlier call'}")

    def interrupt(self) -> None:
        """The study was stopped: whatever ran will continue next time."""
        for row in self.rows.values():
            if row.state == "running":
                row.state = "interrupted"
                self.print_line(f"{row.name}: interrupted after epoch {row.epoch}/{row.total_epochs}")

    def count(self, *states: State) -> int:
        """How many trials are in one of these states."""
        return sum(row.state in states for row in self.rows.values())

    def gpu_hours(self) -> float:
        """GPU-hours that the trials of this run of the study have reserved so far."""
        return self._hours(self.gpus)

    def priced_so_far(self) -> str:
        """What the trials of this run cost so far, in words; empty without a price and before a GPU is used."""
        gpu_hours = self.gpu_hours()
        if self.price is None or (any(self.gpus.values()) and not gpu_hours):
            return ""
        return priced(self.price, gpu_hours=gpu_hours, cpu_hours=self._hours(self.cpus))

    def _hours(self, held: Mapping[str, float]) -> float:
        now = self.clock()
        spent = 0.0
        for name, amount in held.items():
            row = self.rows.get(name)
            if row is not None and row.began_at is not None:
                spent += amount * ((row.ended_at or now) - row.began_at) / SECONDS_PER_HOUR
        return spent

    def seconds_left(self) -> float | None:
        """Expected seconds until the last trial ends, from measured epochs and slots; None before the first epoch."""
        now = self.clock()
        paces = {row.name: row.seconds_per_epoch() for row in self.rows.values()}
        measured = [pace for pace in paces.values() if pace is not None]
        if not measured:
            return None
        mean = sum(measured) / len(measured)

        def left(state: State) -> list[float]:
            rows = [row for row in self.rows.values() if row.state == state]
            return [row.seconds_left(paces[row.name] or mean, now) for row in rows]

        return makespan(left("running"), left("waiting"), self.slots)


def makespan(running: Iterable[float], waiting: Iterable[float], slots: int) -> float:
    """Time until the last job ends when each waiting job takes the slot that frees first.

    Args:
        running: Seconds that the running jobs still need.
        waiting: Seconds that each waiting job needs, in the order they start.
        slots: How many run at once, 1 or more.

    Returns:
        Seconds; 0 when there is nothing to do.

    Example:
        >>> makespan([10.0, 30.0], [25.0, 5.0], slots=2)
        35.0
    """
    busy = sorted(running)
    free_at = busy + [0.0] * (slots - len(busy))
    heapq.heapify(free_at)
    ends = list(busy)
    for seconds in waiting:
        end = heapq.heappop(free_at) + seconds
        ends.append(end)
        heapq.heappush(free_at, end)
    return max(ends, default=0.0)


def duration(seconds: float) -> str:
    """Write a duration as ``m:ss`` or ``h:mm:ss``.

    Example:
        >>> duration(3725), duration(59.6)
        ('1:02:05', '1:00')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def metric_label(metric: str) -> str:
    """Write a metric's name as the paper does.

    Example:
        >>> metric_label("ap_s"), metric_label("ap50_s0")
        ('AP@S', 'AP50@S0')
    """
    kind, _, threshold = metric.rpartition("_")
    return f"{kind.upper()}@{threshold.upper()}"


def percent(fraction: float | None) -> str:
    """Write a fraction in percent with one decimal; nothing when there is none."""
    return "" if fraction is None else f"{100 * fraction:.1f}"


def _scored(metric: str, fraction: float | None) -> str:
    return "" if fraction is None else f"{metric_label(metric)} {percent(fraction)}"
