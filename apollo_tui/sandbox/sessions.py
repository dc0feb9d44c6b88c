"""The host's half of terminal sessions: open one, run commands in it, read what it said.

A session is a job (`jobs.py`); what is asked of it and what it answers are files in the job's folder,
which `inside/session.py` lists. Each request has an id and is done once, however often it is made:
a core that has just started asks again for what the one that died had asked, and gets its answer.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import json
import os
import shutil
import struct
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

from pydantic import TypeAdapter

from apollo_tui.errors import SandboxError
from apollo_tui.sandbox import Job, Outcome, Sandbox
from apollo_tui.sandbox.hangup import Hangup
from apollo_tui.sandbox.jobs import Spool, open_regular, poke, read_text

PREFIX = "session-"  # of the ids of their jobs
OUTPUT_CAP = 2 << 30  # bytes kept of one session
BLOCK = 1 << 20
TIMES_APART = 50_000  # microseconds between two entries of the index, as `inside/session.py` has it
T = TypeVar("T")
_ENTRY = struct.Struct("<QQ")


@dataclass(frozen=True)
class Command:
    """A command of a session. Times are UTC microseconds, `start` and `end` byte offsets in the
    session's output. `ended`: shell_ended when the shell ended with it (exit, exec, set -e; a new
    one takes its place), killed by a request or with the session, lost when nobody can say."""

    id: str
    text: str = ""
    started_at: int = 0
    ended_at: int = 0
    start: int = 0
    end: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    ended: Literal["", "exited", "shell_ended", "killed", "lost"] = ""  # empty: not yet
    shell_ended: bool = False
    cwd: str = ""
    error: str = ""  # why it could not be run, when it could not

    @property
    def is_over(self) -> bool:
        return self.ended != ""


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    stopped: bool
    started_at: int  # UTC microseconds
    command: str


@dataclass(frozen=True)
class State:
    """A session at one moment. It is idle when no command runs in it and no process is left but
    its shell."""

    running: Command | None  # the command in the foreground
    last: Command | None  # the last that ended
    count: int  # processes beside the shell
    processes: tuple[Process, ...]  # the first of them
    shell: int | None  # its pid; None: a new one is started with the next command
    cwd: str
    total: int  # bytes said
    kept: int  # of those, bytes that can be read
    said_at: int  # when it last said something, UTC microseconds

    @property
    def idle(self) -> bool:
        return self.running is None and self.count == 0


@dataclass(frozen=True)
class KilledProcess:
    pid: int
    command: str


@dataclass(frozen=True)
class Killed:
    """What `kill_processes` ended: how many, the first of them, and whether the shell, too, had to
    be ended (a new one takes its place)."""

    count: int
    killed: tuple[KilledProcess, ...]
    shell_ended: bool


class Refused(Exception):
    """The session says no: the message says why, for the agent."""


_STATE = TypeAdapter(State)
_COMMAND = TypeAdapter(Command)
_KILLED = TypeAdapter(Killed)


class Sessions:
    """The sessions of one sandbox, as its files tell them."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.spool: Spool = sandbox.spool

    async def create(self, name: str, action: str, output_cap: int = OUTPUT_CAP) -> Session:
        """Start a session; harmless when the same action did. Raises Refused when no shell can be
        started, SandboxError when the sandbox does not run."""
        job = Job(id=f"{PREFIX}{action}", session=name, output_cap=output_cap)
        await self.sandbox.launch(job)
        session = Session(self.sandbox, job.id, name)
        try:
            await session.look()
        except Refused:
            outcome = await session.outcome()
            if outcome is not None and outcome.error:
                raise Refused(outcome.error) from None
            raise
        return session

    async def all(self) -> list[Session]:
        """Every session there ever was, in the order in which they were made."""
        return await asyncio.to_thread(self._all)

    async def living(self) -> list[Session]:
        sessions = await self.all()
        outcomes = await asyncio.gather(*(session.outcome() for session in sessions))
        return [session for session, over in zip(sessions, outcomes, strict=True) if over is None]

    async def command(self, request: str) -> tuple[Session, Command] | None:
        """A command by its id, whichever session it was given to."""
        for session in await self.all():
            command = await session.command(request)
            if command is not None:
                return session, command
        return None

    def _all(self) -> list[Session]:
        found = []
        with contextlib.suppress(FileNotFoundError):
            for folder in self.spool.folder.iterdir():
                spec = folder / "spec.json"
                if folder.name.startswith(PREFIX) and spec.exists():
                    name = _read_json(spec)["session"]
                    made = spec.stat().st_mtime_ns
                    found.append((made, folder.name, Session(self.sandbox, folder.name, name)))
        return [session for _, _, session in sorted(found, key=lambda one: one[:2])]


class Session:
    """One session. What is asked of one that has ended raises Refused."""

    def __init__(self, sandbox: Sandbox, job: str, name: str) -> None:
        self.sandbox = sandbox
        self.spool: Spool = sandbox.spool
        self.job = job
        self.name = name
        self.action = job.removeprefix(PREFIX)  # that made it
        self.folder = self.spool.job(job)

    async def over(self) -> Outcome:
        """Return when it has ended. Cancelling only stops waiting."""
        return await self.sandbox.wait(self.job)

    async def outcome(self) -> Outcome | None:
        """How it ended; None while it lives."""
        outcome = await self.sandbox.outcome(self.job)
        return outcome if isinstance(outcome, Outcome) else None

    # --- commands ---

    async def run(self, request: str, text: str) -> Command:
        """Start a command; returns when it has begun. Raises Refused while another one runs."""
        await asyncio.to_thread(self._hand_over, request, {"ask": "run", "text": text})
        return await self._until(request, lambda: self._command(request))

    async def ended(self, request: str) -> Command:
        """A command that was begun, as soon as it has ended. Cancelling only stops waiting."""

        def over() -> Command | None:
            command = self._command(request)
            return command if command is not None and command.is_over else None

        return await self._until(request, over)

    async def command(self, request: str) -> Command | None:
        """What can be said of a command now; None when it was never given to this session."""
        return await asyncio.to_thread(self._command, request)

    async def type(self, request: str, text: str) -> tuple[int, int]:
        """Type into the terminal. Returns how many bytes went in, of how many, when all did or the
        command ended before."""
        answer = await self._ask(request, {"ask": "type", "text": text})
        return int(answer["written"]), int(answer["of"])

    async def kill_processes(self, request: str, force: bool) -> Killed:
        """End the foreground command's processes and those in the background; the shell stays."""
        answer = await self._ask(request, {"ask": "kill", "force": force})
        return _KILLED.validate_python(answer)

    async def clear(self, request: str) -> int:
        """Move the view to the end of the output; returns where it begins now."""
        answer = await self._ask(request, {"ask": "clear"})
        return int(answer["from"])

    async def close(self, grace: float = 2.0) -> Outcome:
        """End everything of it, and return when nothing is left."""
        await self.sandbox.kill(self.job, grace)
        return await self.sandbox.wait(self.job)

    # --- its state ---

    async def look(self) -> State:
        return _STATE.validate_python(await self._ask_in_passing({"ask": "look"}))

    async def until_idle(self) -> None:
        """Return when it is idle. Cancelling only stops waiting."""
        await self._ask_in_passing({"ask": "idle"})

    async def until_said(self) -> None:
        """Return when it says something from now on. Cancelling only stops waiting."""
        with Hangup(self.folder / "said") as said:
            await said.changed.wait()

    # --- its output ---

    async def size(self) -> int:
        """Bytes of output that can be read."""
        return await asyncio.to_thread(self._size)

    async def read(self, start: int, size: int) -> bytes:
        """The output, from a byte offset."""
        return await asyncio.to_thread(self._read, start, size)

    async def lines(self, first: int, last: int) -> tuple[int, int]:
        """Byte offsets of a window of lines counted from the end: from the `first` last line up to,
        and without, the `last` last one (0: to the end). Nothing before the view counts."""
        return await asyncio.to_thread(self._lines, first, last)

    async def since(self, at: int) -> int:
        """The byte offset from which on everything said since then (UTC microseconds) follows, at
        most 50 ms more. Nothing before the view counts."""
        return await asyncio.to_thread(self._since, at)

    async def view(self) -> int:
        """The byte offset where the view begins."""
        return await asyncio.to_thread(self._view)

    # --- asking ---

    async def _ask(self, request: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Ask, once for each id, and return the answer. Raises Refused."""
        await asyncio.to_thread(self._hand_over, request, asked)
        return await self._until(request, lambda: self._answer(request))

    async def _ask_in_passing(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Ask what nobody need ever know again."""
        request = f"passing-{uuid.uuid4().hex}"
        try:
            return await self._ask(request, asked)
        finally:
            folder = self._asked(request)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _until(self, request: str, look: Callable[[], T | None]) -> T:
        over = asyncio.ensure_future(self.sandbox.wait(self.job))
        try:
            while True:
                changed = asyncio.Event()
                with Hangup(self._asked(request) / "alive", changed):
                    is_over = over.done()  # before the look: what was written last is seen
                    found = await asyncio.to_thread(look)
                    if found is not None:
                        return found
                    if is_over:
                        raise Refused(f"session {self.name} has ended; make another one")
                    heard = asyncio.ensure_future(changed.wait())
                    try:
                        await asyncio.wait({over, heard}, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        heard.cancel()
        finally:
            over.cancel()
            await asyncio.gather(over, return_exceptions=True)

    # --- what the files say (blocking) -----------------------------------------------------------

    def _asked(self, request: str) -> Path:
        return self.folder / "asked" / self.spool.job(request).name

    def _hand_over(self, request: str, asked: Mapping[str, Any]) -> None:
        folder = self._asked(request)
        if not (folder / "request.json").exists():
            self.spool.make_folder(folder)
            self.spool.make_fifo(folder / "alive")
            self.spool.write(folder / "request.json", asked)
        if not (folder / "answer.json").exists():
            (self.folder / "queue" / request).touch()
            poke(self.folder / "control")

    def _answer(self, request: str) -> dict[str, Any] | None:
        """The answer to a request. Raises Refused when it says no."""
        try:
            answer = _read_json(self._asked(request) / "answer.json")
        except FileNotFoundError:
            return None
        if "refused" in answer:
            raise Refused(answer["refused"])
        return answer

    def _command(self, request: str) -> Command | None:
        folder = self._asked(request)
        try:
            text = _read_json(folder / "request.json")["text"]
        except (FileNotFoundError, KeyError):
            return None
        facts = self._answer(request)
        if facts is None:
            try:
                facts = _read_json(folder / "begun.json")
            except FileNotFoundError:
                return None
            outcome = self.spool.look(self.job)
            if isinstance(outcome, Outcome):
                # The session may have answered and gone between the two looks.
                lost = facts | {"ended": "lost", "end": outcome.kept_bytes}
                facts = self._answer(request) or lost
        return _COMMAND.validate_python({"id": request, "text": text, **facts})

    def _size(self) -> int:
        try:
            return (self.folder / "output").stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            return 0

    def _read(self, start: int, size: int) -> bytes:
        with _open(self.folder / "output") as file:
            file.seek(start)
            return file.read(max(0, size))

    def _view(self) -> int:
        try:
            return int(_read_json(self.folder / "view.json")["from"])
        except FileNotFoundError:
            return 0

    def _lines(self, first: int, last: int) -> tuple[int, int]:
        view = self._view()
        with _open(self.folder / "output") as file:
            size = os.fstat(file.fileno()).st_size
            view = min(view, size)
            wanted = sorted({first, last} - {0})
            found = line_starts(file, view, size, wanted)
        found[0] = size
        return found[first], max(found[first], found[last])

    def _since(self, at: int) -> int:
        view = self._view()
        with _open(self.folder / "times") as file:
            count = os.fstat(file.fileno()).st_size // _ENTRY.size

            def entry(place: int) -> tuple[int, int]:
                file.seek(place * _ENTRY.size)
                when, offset = _ENTRY.unpack(file.read(_ENTRY.size))
                return int(when), int(offset)

            # An entry covers what was said in the TIMES_APART after it.
            first = bisect.bisect_left(range(count), at, key=lambda n: entry(n)[0] + TIMES_APART)
            offset = entry(first)[1] if first < count else self._size()
        return min(max(view, offset), max(view, self._size()))


def line_starts(file: BinaryIO, view: int, size: int, wanted: list[int]) -> dict[int, int]:
    """Where the nth lines from the end begin, for some n in rising order; with fewer lines than
    that, where the view begins. Reads backwards, block by block."""
    found: dict[int, int] = {}
    left = list(wanted)
    seen, at = 0, size
    if size > view:
        file.seek(size - 1)
        seen = -1 if file.read(1) == b"\n" else 0  # the newline at the very end ends no other line
    while left and at > view:
        begin = max(view, at - BLOCK)
        file.seek(begin)
        block = file.read(at - begin)
        newlines = block.count(b"\n")
        while left and seen + newlines >= left[0]:
            place = len(block)
            for _ in range(left[0] - seen):
                place = block.rindex(b"\n", 0, place)
            found[left.pop(0)] = begin + place + 1
        seen, at = seen + newlines, begin
    return found | dict.fromkeys(left, view)


def _open(path: Path) -> BinaryIO:
    return os.fdopen(open_regular(path), "rb")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(read_text(path))
    except ValueError as error:
        raise SandboxError(f"{path} is damaged: {error}; somebody changed the spool") from error
    if not isinstance(value, dict):
        raise SandboxError(f"{path} is no JSON object; somebody changed the spool")
    return value
