"""`wait_for`: parking the agent until something happens in a session, at no cost."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import Any

import regex

from apollo_tui.core.tools import Situation
from apollo_tui.core.tools.session_arguments import WaitFor
from apollo_tui.core.tools.session_telling import Said, code_of, in_a_word
from apollo_tui.sandbox.sessions import Command, Refused, Session

PIECE = 1 << 20  # bytes of output that are looked at together
OVERLAP = 4096  # bytes of a piece that are looked at again with the next one
MATCH_SECONDS = 1.0  # for a pattern on one piece
LINE = 500  # characters of a line that matches
LOOK_AGAIN = 0.25  # seconds between looks at output that comes


async def wait_for(arguments: WaitFor, situation: Situation, session: Session) -> Said:
    """Wait for a session's command to end, for idleness or for words in its output. A command that
    ends and a session that ends always end the wait. Raises Refused when there is no such session
    any more, or the pattern takes too long."""
    state = await session.look()
    command = state.running or state.last
    scan = Scan(session, 0 if command is None else command.start, arguments.pattern)
    began = time.monotonic()
    early = await situation.until(
        _happens(arguments.until, session, state.running, scan), arguments.seconds
    )
    waited = time.monotonic() - began
    if command is not None:
        command = await session.command(command.id) or command
    over = await session.outcome() is not None
    if early:
        what = early
    elif scan.found is not None:
        what = f"the output matches: {scan.found}"
    elif over:
        what = "the session ended"
    elif arguments.until == "idle":
        what = "it is idle"
    elif state.running is None:
        what = "no command is running in it"
    else:
        what = "the command ended" + (", and nothing matched" if scan.pattern else "")
    return Said(
        f"after {waited:.0f} s: {what}",
        text="" if over else in_a_word(await session.look()),
        summary=what,
        code=None if command is None else command.exit_code,
        session_id=session.name,
        command_id=None if command is None else command.id,
        exit_code=code_of(command),
    )


async def _happens(until: str, session: Session, running: Command | None, scan: Scan) -> None:
    """Return when it happens, or never can any more."""
    events: list[Coroutine[Any, Any, object]] = [session.over()]
    if until == "idle":
        events.append(_or_over(session.until_idle()))
    elif running is not None:
        events.append(_or_over(session.ended(running.id)))
    elif until == "exit":
        events.append(asyncio.sleep(0))
    if until == "regex":
        events.append(scan.until_found())
    await first_of(*events)
    if until == "regex":
        await scan.look()  # at what was said last


async def _or_over(work: Coroutine[Any, Any, object]) -> None:
    with contextlib.suppress(Refused):
        await work


async def first_of(*works: Coroutine[Any, Any, object]) -> None:
    """Return when one of them is done, or raise what it raises; the others are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Scan:
    """Looks for a pattern in what a session says, from a byte offset on, each byte once."""

    def __init__(self, session: Session, at: int, pattern: str) -> None:
        self.session = session
        self.at = at
        self.pattern = pattern
        self.found: str | None = None  # the line

    async def until_found(self) -> None:
        while self.found is None:
            said = asyncio.ensure_future(self.session.until_said())
            try:
                await asyncio.sleep(0)  # it listens before the look
                await self.look()
                if self.found is None:
                    await said
            finally:
                said.cancel()
                await asyncio.gather(said, return_exceptions=True)
            await asyncio.sleep(LOOK_AGAIN)

    async def look(self) -> None:
        """Look at everything there is now. Raises Refused when the pattern takes too long."""
        while self.found is None and (end := await self.session.size()) > self.at:
            piece = await self.session.read(self.at, PIECE)
            text = piece.decode("utf-8", "replace")
            self.found = await asyncio.to_thread(_matching_line, self.pattern, text)
            whole = self.at + len(piece)
            # A line that is not finished is looked at again when it is.
            self.at = whole if whole < end else whole - min(OVERLAP, _unfinished(piece))
            if whole >= end:
                return


def _unfinished(piece: bytes) -> int:
    return len(piece) - piece.rfind(b"\n") - 1


def _matching_line(pattern: str, text: str) -> str | None:
    try:
        match = regex.search(
            pattern, text, flags=regex.MULTILINE, timeout=MATCH_SECONDS, concurrent=True
        )
    except TimeoutError:
        raise Refused(
            f"the pattern takes more than {MATCH_SECONDS:g} s on a piece of output; make it simpler"
        ) from None
    if match is None:
        return None
    begin = text.rfind("\n", 0, match.start()) + 1
    return text[begin:].split("\n", 1)[0][:LINE].strip()
