"""What the model is told of sessions, their commands and their output."""

from __future__ import annotations

import time

from apollo_tui.core.tools import ToolResult
from apollo_tui.core.tools.observation import (
    READS_AT_MOST,
    count_lines,
    observation,
    storable,
    telling_line,
)
from apollo_tui.log.events import Event
from apollo_tui.log.types import Disposition
from apollo_tui.sandbox.sessions import Command, Killed, Session, State

READ_AT_MOST = 4 << 20  # bytes of output that are read into memory
TITLE = 200  # characters of a command in a line
HOW_TO_FOLLOW = "read it with get_session_output, wait for it with wait_for"


class Said:
    """What a tool found out: a message, facts for the header, and the text that was read."""

    def __init__(
        self,
        message: str,
        *,
        text: str = "",
        summary: str | None = None,
        code: int | None = None,
        disposition: Disposition = "completed",
        failed: bool = False,
        events: tuple[Event, ...] = (),
        **facts: object,
    ) -> None:
        self.message = storable(message)
        self.text = text
        self.summary = self.message if summary is None else summary
        self.code = code
        self.disposition = disposition
        self.failed = failed
        self.events = events
        self.facts = facts

    def result(self, kind: str) -> ToolResult:
        shown = observation(
            kind, now(), self.text, success=not self.failed, message=self.message, **self.facts
        )
        return ToolResult(
            shown,
            self.disposition,
            exit_code=self.code,
            summary=storable(self.summary)[:400],
            lines=count_lines(self.text),
            error=self.failed,
            events=self.events,
            full_output=self.text if len(self.text) > READS_AT_MOST else None,
        )


async def command_told(session: Session, command: Command, *events: Event) -> Said:
    """A command of `run_command`: its end and its output, or that it goes on (and the event of it)."""
    end = await session.size() if command.end is None else command.end
    text, left_out = await read_text(session, command.start, end)
    message = "; ".join(part for part in (_how_it_is(command, text), left_out) if part)
    failed = command.is_over and command.exit_code != 0
    dispositions: dict[str, Disposition] = {
        "": "background",
        "lost": "unknown",
        "killed": "killed",
    }
    return Said(
        message,
        text=text,
        summary=telling_line(text, failed=failed) or message,
        code=command.exit_code,
        disposition=dispositions.get(command.ended, "completed"),
        failed=failed,
        events=events,
        session_id=session.name,
        command_id=command.id,
        exit_code=code_of(command),
        seconds=f"{seconds(command):.1f}",
    )


def _how_it_is(command: Command, text: str) -> str:
    if not command.is_over:
        return f"it goes on running; {HOW_TO_FOLLOW}"
    return how_it_ended(command) or ("" if text.strip() else "it printed nothing")


def how_it_ended(command: Command) -> str:
    """What is to be said of an end; nothing of exit code 0."""
    if command.error:
        return f"could not be run: {command.error}"
    match command.ended:
        case "lost":
            return (
                "nobody can say how this ended, because its session was lost; it was not run again"
            )
        case "killed":
            return "it was killed"
        case "shell_ended":
            return (
                f"the session's shell ended with it (exit code {command.exit_code}); the next "
                f"command gets a new shell in {command.cwd}, without this one's variables"
            )
    return f"ended with exit code {command.exit_code}" if command.exit_code else ""


async def read_text(session: Session, begin: int, end: int) -> tuple[str, str]:
    """Output as text; of a very long one its beginning and its end. And what is to be said of it."""
    there = min(end, await session.size())
    lost = f"{end - max(begin, there):,} bytes more were said than are kept" if end > there else ""
    if there - begin <= READ_AT_MOST:
        return _decoded(await session.read(begin, there - begin)), lost
    half = READ_AT_MOST // 2
    head = await session.read(begin, half)
    tail = await session.read(there - half, half)
    left_out = f"\n… {there - begin - 2 * half:,} bytes left out …\n"
    return _decoded(head) + left_out + _decoded(tail), lost


def _decoded(output: bytes) -> str:
    return storable(output.decode("utf-8", "replace"))


def in_a_word(state: State) -> str:
    """Idle or busy, and with what."""
    if state.running is not None:
        return f"busy: {title(state.running)}, for {seconds(state.running):.0f} s"
    if state.count:
        first = state.processes[0].command if state.processes else "?"
        more = f" and {state.count - 1} more" if state.count > 1 else ""
        return f"busy: in the background {first[:TITLE]}{more}"
    if state.last is None:
        return "idle"
    how = how_it_ended(state.last) or "ended with exit code 0"
    return f"idle; last command: {title(state.last)}: {how}"


def in_full(state: State) -> list[str]:
    """Everything that runs, and since when; the folder."""
    lines = [f"folder: {state.cwd}"]
    for process in state.processes:
        age = (now() - process.started_at) / 1e6
        stopped = ", stopped" if process.stopped else ""
        lines.append(f"process {process.pid}, for {age:.0f} s{stopped}: {process.command}")
    if state.count > len(state.processes):
        lines.append(f"and {state.count - len(state.processes)} processes more")
    if state.total > state.kept:
        lines.append(
            f"its output is full: the last {state.total - state.kept:,} bytes were not kept; "
            "create another session"
        )
    return lines


def killed_told(killed: Killed) -> str:
    message = f"killed {killed.count} process{'' if killed.count == 1 else 'es'}"
    if killed.shell_ended:
        message += "; the shell had to be killed, too: the next command gets a new one"
    return message


def code_of(command: Command | None) -> object:
    """An exit code as it is told: a number, running, unknown, or nothing where there is no command."""
    if command is None:
        return None
    if not command.is_over:
        return "running"
    return "unknown" if command.exit_code is None else command.exit_code


def title(command: Command) -> str:
    line = " ".join(command.text.split())
    return line if len(line) <= TITLE else f"{line[: TITLE - 1]}…"


def seconds(command: Command) -> float:
    return ((command.ended_at or now()) - command.started_at) / 1e6


def now() -> int:
    """UTC microseconds."""
    return time.time_ns() // 1000
