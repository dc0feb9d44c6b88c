"""An export that Review started: the command runs as a process of its own and tells how far it is."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shlex
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apollo_tui.errors import ExportError, UsageError
from apollo_tui.paths import Home

LONGEST = 1 << 20
"""Bytes of one line that the command may say."""
PATIENCE = 15.0
"""Seconds that a cancelled export has to clear away what it wrote."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to export, as the annotator wrote it: a form, a folder, and options of the command."""

    format: str
    folder: Path
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written. `kept` actions are in the samples; nobody looked at `unread` of them."""

    folder: Path
    rows: int
    kept: int
    unread: int


def forms() -> list[str]:
    """The names of what can be written. It brings the filter with it."""
    from apollo_tui.filter.export.formats import FORMATS

    return list(FORMATS)


def proposed(home: Home, name: str) -> str:
    """What to export when nothing else is said: the first folder of this name that is not there."""
    folder = home.path / "exports" / name.replace("/", "-")
    tried = (folder.with_name(f"{folder.name}-{n}") for n in itertools.count(2))
    free = folder if not folder.exists() else next(one for one in tried if not one.exists())
    return f"chat {shlex.quote(str(free))}"


def read_wanted(text: str) -> Wanted:
    """FORMAT FOLDER [OPTION…], as in a shell. Raises UsageError."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{text.strip()!r} cannot be read: {error}") from error
    if len(words) < 2 or words[0].startswith("-") or words[1].startswith("-"):
        raise UsageError("write a form and a folder, such as: chat exports/limo")
    return Wanted(words[0], Path(words[1]).expanduser(), tuple(words[2:]))


class Exporting:
    """One run of the command. `told` is called with how many of how many are done."""

    def __init__(
        self,
        home: Home,
        annotator: str,
        rollout: str,
        wanted: Wanted,
        told: Callable[[int, int], None],
    ) -> None:
        self._command = [
            *(sys.executable, "-m", "apollo_tui", "--home", str(home.path), "--as", annotator),
            *("export", rollout, "--format", wanted.format, "--out", str(wanted.folder)),
            *("--progress-json", *wanted.options),
        ]
        self._folder = wanted.folder
        self._told = told
        self._process: asyncio.subprocess.Process | None = None
        self._cancelled = False

    @property
    def pid(self) -> int | None:
        """The command's process; None before it was started."""
        return None if self._process is None else self._process.pid

    async def run(self) -> Exported | None:
        """What was written; None when it was cancelled. Raises ExportError with the command's words."""
        if self._cancelled:
            return None
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LONGEST,
        )
        try:
            if self._cancelled:  # while it was being started there was nothing to signal
                self.cancel()
            exported, said = await self._listen(process)
            code = await process.wait()
        finally:
            await _end(process)
        if code == 0 and exported is not None:
            return exported
        if self._cancelled:
            return None
        raise ExportError(said or f"the export ended with code {code} and said nothing")

    def cancel(self) -> None:
        """Ask it to stop; it clears away what it has written."""
        self._cancelled = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)

    async def _listen(self, process: asyncio.subprocess.Process) -> tuple[Exported | None, str]:
        """What it says it wrote, and the last it said that is no progress."""
        assert process.stdout is not None
        exported, said = None, ""
        while line := await process.stdout.readline():
            text = line.decode(errors="replace").strip()
            match _fact(text):
                case {"export": {"rows": int(rows), "kept": int(kept), "unread": int(unread)}}:
                    exported = Exported(self._folder, rows, kept, unread)
                case {"done": int(done), "total": int(total)}:
                    self._told(done, total)
                case None if text:
                    said = text.removeprefix("apollo-tui: ")
        return exported, said


def _fact(line: str) -> dict[str, Any] | None:
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


async def _end(process: asyncio.subprocess.Process) -> None:
    """Leave no export behind, whatever happened here."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(PATIENCE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
