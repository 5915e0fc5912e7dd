"""What a check is told and what it tells: its setting, figures, and what does not hold.

Everything told is in a file at once, so that a check that is stopped at its cap leaves what it had found.
"""

from __future__ import annotations

import json
import math
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
NAMED_PROBLEMS = 4
"""A line names so many; the rest is counted."""


@dataclass(frozen=True)
class Setting:
    """Where a check runs.

    Attributes:
        device: As torch names it.
        small: Tiny sizes, to run the check's own code.
        work: A folder that the checks of a run share; gone afterwards.
    """

    device: str
    small: bool
    work: Path

    @property
    def on_gpu(self) -> bool:
        """Whether speed is judged: on a CPU it says nothing about a GPU."""
        return self.device.startswith("cuda")

    def size(self, full: T, small: T) -> T:
        """The one of two values that fits."""
        return small if self.small else full


class Report:
    """Collects what a check finds.

    Args:
        path: One JSON object a line goes there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def figures(self, **figures: Any) -> None:
        """Tell measured numbers by name; floats are rounded to four digits."""
        self._write({"figures": _rounded(figures)})

    def require(self, holds: bool, sentence: str) -> None:  # noqa: FBT001  (it is the subject)
        """Tell a sentence that says what is wrong, if it is."""
        if not holds:
            self._write({"problem": sentence})

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Go on after an exception in one part of a check; the part's name and the exception are told."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  (whatever it was, the other parts are to run)
            traceback.print_exc()
            self._write({"problem": f"{name}: {described(error)}"})

    def done(self) -> None:
        """Tell that the check came to its end."""
        self._write({"done": True})

    def _write(self, entry: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def described(error: Exception) -> str:
    """An exception in one line, with the place it comes from."""
    first = (str(error).strip().splitlines() or ["no message"])[0]
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {first} ({Path(frame.filename).name}:{frame.lineno})"


def _rounded(value: Any) -> Any:
    """Floats with four digits, also inside dictionaries; JSON has no word for infinity."""
    if isinstance(value, dict):
        return {name: _rounded(entry) for name, entry in value.items()}
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else str(value)
    return value


@dataclass(frozen=True)
class Told:
    """What a report's file holds."""

    figures: dict[str, Any]
    problems: list[str]
    done: bool

    @classmethod
    def read(cls, path: Path) -> Told:
        """Read a report; a line cut off by the end of its writer is left out."""
        figures: dict[str, Any] = {}
        problems: list[str] = []
        done = False
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            figures |= entry.get("figures", {})
            problems += [entry["problem"]] if "problem" in entry else []
            done = done or entry.get("done", False)
        return cls(figures, problems, done)

    def why(self) -> str:
        """The first problems in one sentence."""
        more = len(self.problems) - NAMED_PROBLEMS
        return "; ".join(self.problems[:NAMED_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")
