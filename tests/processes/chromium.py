"""A headless Chromium: what a page becomes, or one that is driven key by key and asked what it shows."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--headless", "--no-sandbox", "--disable-gpu"]
SECONDS = 60.0

# What the keyboard calls keys that are no letters.
CODES = {
    "Enter": 13,
    "Escape": 27,
    "PageUp": 33,
    "PageDown": 34,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Delete": 46,
}
MODIFIERS = {"Alt": 1, "Control": 2, "Shift": 8}


def browse(text: str, folder: Path, *, width: int = 1200) -> tuple[str, str]:
    """The page's elements after its scripts ran, and what Chromium said on its console."""
    (folder / "page.html").write_text(text, encoding="utf-8")
    assert CHROMIUM is not None
    command = [CHROMIUM, *QUIET, "--enable-logging=stderr", "--log-level=0"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900", "--virtual-time-budget=2000"]
    command += ["--dump-dom", (folder / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


class Browser:
    """One Chromium with one tab; commands of the DevTools protocol go through pipes.

    Attributes:
        console: What pages said on their consoles since :meth:`open`, errors and refusals of policies among it.
        dialogs: Kinds of the dialogs that pages opened, such as ``beforeunload``; each was told to go on.
    """

    def __init__(self, folder: Path, *, width: int = 1400, height: int = 900) -> None:
        assert CHROMIUM is not None
        self.console: list[str] = []
        self.dialogs: list[str] = []
        self._downloads = folder / "downloads"
        to_child, self._commands = os.pipe()
        self._answers, from_child = os.pipe()
        arguments = [*QUIET, "--no-first-run", f"--user-data-dir={folder / 'profile'}"]
        arguments += [f"--window-size={width},{height}", "--remote-debugging-pipe", "about:blank"]
        # Chromium reads commands from file 3 and answers on file 4.
        inner = f'exec 3<&{to_child} 4>&{from_child}; exec "$0" "$@"'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", inner, CHROMIUM, *arguments],
            pass_fds=(to_child, from_child),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_child)
        os.close(from_child)
        self._numbers = itertools.count(1)
        self._unread = b""
        self._session = ""
        targets = self.send("Target.getTargets")["targetInfos"]
        target = next(one["targetId"] for one in targets if one["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self._downloads))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End Chromium as its window's cross does, so that it stores what pages keep."""
        with suppress(OSError):
            self.send("Browser.close")
        try:
            self._process.wait(SECONDS)
        finally:
            self._process.kill()
            os.close(self._commands)
            os.close(self._answers)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give one command and wait for its answer."""
        number = self._write(method, parameters)
        while True:
            answer = self._read()
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                found: dict[str, Any] = answer["result"]
                return found

    def _write(self, method: str, parameters: dict[str, Any]) -> int:
        message: dict[str, Any] = {"id": next(self._numbers), "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        number: int = message["id"]
        return number

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            more = os.read(self._answers, 2**16)
            if not more:
                raise BrokenPipeError
            self._unread += more
        one, _, self._unread = self._unread.partition(b"\0")
        message: dict[str, Any] = json.loads(one)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method: str | None, said: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.console.append(str(said["exceptionDetails"].get("exception", {}).get("description", said)))
        elif method == "Runtime.consoleAPICalled":
            self.console.append(str([one.get("value") for one in said["args"]]))
        elif method == "Log.entryAdded":
            self.console.append(said["entry"]["text"])
        elif method == "Page.javascriptDialogOpening":
            self.dialogs.append(said["type"])
            self._write("Page.handleJavaScriptDialog", {"accept": True})

    def open(self, page: Path) -> None:
        """Load a page and wait until it has loaded."""
        self.console.clear()
        self.send("Page.navigate", url=page.as_uri())
        self.wait(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(page.as_uri())})")

    def ask(self, expression: str) -> Any:
        """What an expression is on the page, as plain data; a promise is waited for."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true on the page."""
        until = time.monotonic() + SECONDS
        while not self.ask(condition):
            assert time.monotonic() < until, condition
            time.sleep(0.02)

    def press(self, *keys: str) -> None:
        """Press keys one after the other, such as ``a``, ``Shift+a`` or ``Control+Shift+ArrowLeft``."""
        for one in keys:
            *held, key = one.split("+") if one != "+" else ["+"]
            modifiers = sum(MODIFIERS[name] for name in held)
            text = "\r" if key == "Enter" else key if len(key) == 1 and not modifiers & 3 else ""
            code = {"windowsVirtualKeyCode": CODES.get(key, ord(key[0].upper()))}
            named = key.upper() if "Shift" in held and len(key) == 1 else key
            kind = "keyDown" if text else "rawKeyDown"
            self.send("Input.dispatchKeyEvent", type=kind, key=named, text=text, modifiers=modifiers, **code)
            self.send("Input.dispatchKeyEvent", type="keyUp", key=named, modifiers=modifiers, **code)

    def mouse(self, kind: str, x: float, y: float, button: str = "left") -> None:
        """One event of the mouse: ``mousePressed``, ``mouseMoved`` or ``mouseReleased``, in pixels of the window."""
        held = {"button": button, "clickCount": 1} if kind != "mouseMoved" else {"button": button, "buttons": 1}
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **held)

    def click(self, x: float, y: float, button: str = "left") -> None:
        """Press and release."""
        self.mouse("mousePressed", x, y, button)
        self.mouse("mouseReleased", x, y, button)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press, move and release."""
        self.mouse("mousePressed", *start)
        self.mouse("mouseMoved", (start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        self.mouse("mouseMoved", *end)
        self.mouse("mouseReleased", *end)

    def download(self, name: str) -> Path:
        """A file that a page saved, once it is there."""
        until = time.monotonic() + SECONDS
        while not (self._downloads / name).exists():
            assert time.monotonic() < until, name
            time.sleep(0.02)
        return self._downloads / name

    def give(self, selector: str, file: Path) -> None:
        """Choose a file in a file input."""
        self.send("DOM.enable")
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(file)])
