"""Terminal sessions: shells that stay, with their folder and variables, whatever runs in them.

Each action asks its session under the action's own id, so running it again after a crash finds what
it did: no command runs twice, and nothing is typed twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from apollo_tui.core.tools import Situation, ToolResult
from apollo_tui.core.tools.session_arguments import (
    HOST,
    CreateSession,
    GetSessionOutput,
    GetSessionRecentOutput,
    InputInSession,
    KillSessionProcesses,
    OfHost,
    OfSession,
    RunCommand,
    WaitFor,
    as_typed,
)
from apollo_tui.core.tools.session_telling import (
    Said,
    code_of,
    command_told,
    in_a_word,
    in_full,
    killed_told,
    now,
    read_text,
)
from apollo_tui.core.tools.session_waiting import wait_for
from apollo_tui.sandbox.sessions import Refused, Session, State

QUICK = 0.3  # seconds: a command that ends so soon gives its exit code although nobody waits
LINE_OF_A_TERMINAL = 4095  # bytes


@dataclass(frozen=True)
class SessionTool:
    """A `SystemTool`. Asked again after a crash, it has no further effect."""

    name: str
    kind: str  # of its observations
    description: str
    arguments: type[BaseModel]
    line: Callable[[Any], str]
    do: Callable[[Any, Situation], Awaitable[Said]]
    repeatable: bool = True

    def summarise(self, arguments: Any) -> str:
        return self.line(arguments)

    async def run(self, arguments: Any, situation: Situation) -> ToolResult:
        try:
            if arguments.computer_ip != HOST:
                raise Refused(f"there is no host {arguments.computer_ip!r}; there is: {HOST}")
            said = await self.do(arguments, situation)
        except Refused as refused:
            said = Said(str(refused), disposition="failed", failed=True)
        return said.result(self.kind)


# --- which one --------------------------------------------------------------------------------------


async def _find(situation: Situation, name: str) -> Session:
    """The newest session of that name, a living one before one that has ended."""
    sessions = [session for session in await situation.sessions.all() if session.name == name]
    for session in reversed(sessions):
        if await session.outcome() is None:
            return session
    if sessions:
        return sessions[-1]
    names = ", ".join(session.name for session in await situation.sessions.living())
    there = f"there is: {names}" if names else "there is none; make one with create_session"
    raise Refused(f"there is no session {name!r}; {there}")


async def _state(session: Session) -> State | None:
    """Its state; None when it has ended."""
    try:
        return await session.look()
    except Refused:
        return None


# --- what they do -----------------------------------------------------------------------------------


async def _create(arguments: CreateSession, situation: Situation) -> Said:
    sessions, living = await situation.sessions.all(), await situation.sessions.living()
    made = [session for session in sessions if session.action == situation.action]
    names = {session.name for session in living}
    name = arguments.session_id
    if made:  # by this action, before a crash
        name = made[0].name
    elif not name:
        name = next(name for n in range(1, len(names) + 2) if (name := f"session_{n}") not in names)
    elif name in names:
        raise Refused(f"there is a session {name!r} already; use it, or close it first")
    session = await situation.sessions.create(name, situation.action)
    state = await session.look()
    return Said(f"session {name} is ready, in {state.cwd}", session_id=name)


async def _list(arguments: OfHost, situation: Situation) -> Said:
    living = await situation.sessions.living()
    states = await asyncio.gather(*(_state(session) for session in living))
    lines = [
        f"{HOST}:{session.name}: {in_a_word(state)}"
        for session, state in zip(living, states, strict=True)
        if state is not None
    ]
    count = f"{len(lines)} session{'' if len(lines) == 1 else 's'}"
    return Said(count if lines else "there is no session", text="\n".join(lines))


async def _run(arguments: RunCommand, situation: Situation) -> Said:
    begun = await situation.sessions.command(situation.action)
    if begun is not None:  # before a crash
        session, command = begun
    else:
        session = await _find(situation, arguments.session_id)
        command = await session.run(situation.action, arguments.command)
    if not command.is_over:
        seconds = arguments.timeout if arguments.wait_for_completion else QUICK
        left = situation.time_left()
        try:
            async with asyncio.timeout(seconds if left is None else min(seconds, max(0.0, left))):
                command = await session.ended(command.id)
        except TimeoutError:
            started = situation.left_running.started(session, command)
            return await command_told(session, command, started)
    return await command_told(session, command)


async def _input(arguments: InputInSession, situation: Situation) -> Said:
    session = await _find(situation, arguments.session_id)
    typed = as_typed(arguments.input_text)
    written, size = await session.type(situation.action, typed)
    message = f"typed {size:,} byte{'' if size == 1 else 's'}"
    if written < size:
        message = f"the command ended when {written:,} of {size:,} bytes were typed"
    elif any(len(line.encode()) > LINE_OF_A_TERMINAL for line in typed.split("\n")):
        message += f"; a terminal cuts lines of more than {LINE_OF_A_TERMINAL:,} bytes"
    return Said(message, session_id=session.name)


async def _output(arguments: GetSessionOutput, situation: Situation) -> Said:
    session = await _find(situation, arguments.session_id)
    if arguments.since_timestamp:
        begin = await session.since(int(arguments.since_timestamp * 1e6))
        return await _shown(session, begin, await session.size())
    begin, end = await session.lines(arguments.start_lines, arguments.end_lines)
    return await _shown(session, begin, end)


async def _recent(arguments: GetSessionRecentOutput, situation: Situation) -> Said:
    session = await _find(situation, arguments.session_id)
    begin = await session.since(now() - int(arguments.seconds * 1e6))
    return await _shown(session, begin, await session.size())


async def _shown(session: Session, begin: int, end: int) -> Said:
    text, _ = await read_text(session, begin, end)
    state = await _state(session)
    message = "the session has ended" if state is None else in_a_word(state)
    return Said(
        message if text else f"there is no such output; {message}",
        text=text,
        session_id=session.name,
        **_facts(state),
        bytes=f"{begin}-{end}",
    )


async def _status(arguments: OfSession, situation: Situation) -> Said:
    session = await _find(situation, arguments.session_id)
    state = await session.look()
    text = "\n".join(in_full(state))
    return Said(in_a_word(state), text=text, session_id=session.name, **_facts(state))


def _facts(state: State | None) -> dict[str, Any]:
    if state is None:
        return {"is_alive": "false"}
    return {
        "is_alive": "true",
        "is_idle": str(state.idle).lower(),
        "exit_code": code_of(state.running or state.last),
        "last_activity": f"{state.said_at / 1e6:.3f}",
    }


async def _clear(arguments: OfSession, situation: Situation) -> Said:
    session = await _find(situation, arguments.session_id)
    begin = await session.clear(situation.action)
    message = f"what was said before byte {begin:,} is no longer shown"
    return Said(message, session_id=session.name)


async def _close(arguments: OfSession, situation: Situation) -> Said:
    session = await _find(situation, arguments.session_id)
    ended = await session.outcome() is not None
    await session.close()
    await situation.left_running.settle()
    message = "had ended before" if ended else "is closed, and all that ran in it has ended"
    return Said(f"session {session.name} {message}", session_id=session.name)


async def _close_all(arguments: OfHost, situation: Situation) -> Said:
    living = await situation.sessions.living()
    await asyncio.gather(*(session.close() for session in living))
    await situation.left_running.settle()
    names = ", ".join(session.name for session in living)
    message = f"closed: {names}" if living else "there was no session"
    return Said(message, num_closed_sessions=len(living))


async def _kill(arguments: KillSessionProcesses, situation: Situation) -> Said:
    session = await _find(situation, arguments.session_id)
    killed = await session.kill_processes(situation.action, arguments.force)
    await situation.left_running.settle()
    return Said(
        killed_told(killed),
        text="\n".join(f"{process.pid} {process.command}" for process in killed.killed),
        session_id=session.name,
        signal_used="KILL" if arguments.force else "TERM",
    )


async def _wait_for(arguments: WaitFor, situation: Situation) -> Said:
    return await wait_for(arguments, situation, await _find(situation, arguments.session_id))


SESSION_TOOLS = (
    SessionTool(
        "create_session",
        "command_create_session",
        "Open a terminal session: a shell that keeps its folder and its variables from command to "
        "command. What runs in it goes on between your actions.",
        CreateSession,
        lambda a: a.session_id,
        _create,
    ),
    SessionTool(
        "list_sessions",
        "command_list_sessions",
        "List the open sessions, as host:session, and what each is doing.",
        OfHost,
        lambda a: "",
        _list,
    ),
    SessionTool(
        "run_command",
        "command_run",
        "Run a command in a session. One runs at a time in each session. Without "
        "wait_for_completion it goes on while you act (training, servers): look with "
        "get_session_output, check_session_idle, or wait_for. With it, a command that takes longer "
        "than the timeout goes on running as well.",
        RunCommand,
        lambda a: " ".join(a.command.split()),
        _run,
    ),
    SessionTool(
        "input_in_session",
        "command_input_in_session",
        "Type into the terminal of a session whose command waits for input, or press a key such as "
        "ctrl+c.",
        InputInSession,
        lambda a: f'"{" ".join(a.input_text.split())}" in {a.session_id}',
        _input,
    ),
    SessionTool(
        "get_session_output",
        "command_output_session",
        "Read what was said in a session: a window of lines counted from the end, or everything "
        "since a time.",
        GetSessionOutput,
        lambda a: a.session_id,
        _output,
    ),
    SessionTool(
        "get_session_recent_output",
        "command_output_session",
        "Read what was said in a session in the last seconds.",
        GetSessionRecentOutput,
        lambda a: f"{a.session_id} {a.seconds:g}",
        _recent,
    ),
    SessionTool(
        "get_session_status",
        "command_session_status",
        "Say whether a session is idle or busy, what runs in it and since when, and the last exit "
        "code.",
        OfSession,
        lambda a: a.session_id,
        _status,
    ),
    SessionTool(
        "check_session_idle",
        "command_session_status",
        "Check whether a session is idle: no command and no background process runs in it.",
        OfSession,
        lambda a: a.session_id,
        _status,
    ),
    SessionTool(
        "clear_session_buffer",
        "command_clear_session_buffer",
        "Begin the output of a session anew: lines before now are no longer shown.",
        OfSession,
        lambda a: a.session_id,
        _clear,
    ),
    SessionTool(
        "close_session",
        "command_close_session",
        "Close a session and end everything that runs in it.",
        OfSession,
        lambda a: a.session_id,
        _close,
    ),
    SessionTool(
        "close_all_sessions",
        "command_close_session",
        "Close all sessions and end everything that runs in them.",
        OfHost,
        lambda a: "",
        _close_all,
    ),
    SessionTool(
        "kill_session_processes",
        "command_kill_processes",
        "End the command of a session and its background processes; the session stays.",
        KillSessionProcesses,
        lambda a: f"{a.session_id}{' force=true' if a.force else ''}",
        _kill,
    ),
    SessionTool(
        "wait_for",
        "command_wait",
        "Wait until a session's command ends, its output matches, or it is idle. It costs nothing, "
        "and ends early when the operator sends advice or pauses you.",
        WaitFor,
        lambda a: (
            f"{a.session_id} {a.seconds:g}s until {f'/{a.pattern}/' if a.pattern else a.until}"
        ),
        _wait_for,
    ),
)
