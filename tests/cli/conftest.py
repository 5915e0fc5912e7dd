from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pytest

from siod.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Done:
    """What the shell gets to see."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one sentence a refused command prints last, without its prefix."""
        assert self.code == 2
        assert "Traceback" not in self.err
        (line,) = [line for line in self.err.splitlines() if line.startswith("siod: ")]
        assert line == self.err.splitlines()[-1]
        return line.removeprefix("siod: ")


class Siod(Protocol):
    """The command line in this process, which has torch loaded already."""

    def __call__(self, *arguments: object) -> Done: ...


@pytest.fixture
def siod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Siod:
    """Run a command in an empty folder, with runs and cache below it."""
    monkeypatch.setenv("SIOD_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("SIOD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SIOD_TRACKING", raising=False)
    monkeypatch.delenv("SIOD_PRICE", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["siod", *map(str, arguments)])
        code: object = 0
        capfd.readouterr()
        try:
            main()
        except SystemExit as left:
            code = left.code or 0
        streams = capfd.readouterr()
        assert isinstance(code, int)
        return Done(code, streams.out, streams.err)

    return run
