"""The real console in a pseudo-terminal, and what a person would see on it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

import pexpect
import pyte

from apollo_tui.paths import Home

KEYS = {
    "enter": "\r",
    "escape": "\x1b",
    "tab": "\t",
    "ctrl+s": "\x13",
    "ctrl+r": "\x12",
    "ctrl+p": "\x10",
    "ctrl+j": "\n",
    "down": "\x1b[B",
    "up": "\x1b[A",
}


class Terminal:
    """`apollo-tui ARGS` of a home, in a terminal of its own."""

    def __init__(self, home: Home, *args: str, columns: int = 120, lines: int = 40) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.Stream(self.screen)
        environment = os.environ | {
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "COLORTERM": "truecolor",
        }
        environment.pop("NO_COLOR", None)
        self.process = pexpect.spawn(
            sys.executable,
            ["-m", "apollo_tui", "--home", str(home.path), *args],
            dimensions=(lines, columns),
            encoding="utf-8",
            codec_errors="replace",
            env=environment,
            timeout=5,
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.close(force=True)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def look(self, seconds: float = 0.1) -> str:
        """Take in what the program wrote, for at most so long; returns the screen's text."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                self._stream.feed(self.process.read_nonblocking(65536, timeout=left))
            except pexpect.TIMEOUT:
                break
            except pexpect.EOF:
                break
        return self.text

    def wait(self, met: str | Callable[[str], bool], seconds: float = 30.0) -> str:
        """Look until a text is on the screen (or a condition holds of it); fails showing it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            text = self.look(0.1)
            if met in text if isinstance(met, str) else met(text):
                return text
        raise AssertionError(f"waited {seconds:g} s for {met!r}; the screen was:\n{self.text}")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.process.send(KEYS.get(key, key))
            self.look(0.15)

    def ended(self, seconds: float = 10.0) -> int:
        """Wait for the program to end; returns its exit status."""
        end = time.monotonic() + seconds
        while self.process.isalive() and time.monotonic() < end:
            self.look(0.1)
        assert not self.process.isalive(), f"it did not end; the screen was:\n{self.text}"
        return int(self.process.exitstatus or 0)

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.kill(number)
        self.process.wait()
