"""Running the real thing in tests: a real core process, scripted rollouts, a wait for the log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from apollo_tui.client import Client, core_pid
from apollo_tui.log.read import History, RolloutRow
from apollo_tui.paths import Home

Reply = dict[str, Any]


def bash(command: str, *, thinking: str = "", seconds: float = 0.0, repeat: int = 1) -> Reply:
    """One reply of a scripted model that runs one command."""
    return {
        "thinking": thinking,
        "actions": [{"tool": "bash", "arguments": {"command": command}}],
        "seconds": seconds,
        "repeat": repeat,
    }


def script(path: Path, replies: Sequence[Reply]) -> str:
    """Write a scripted model's file; returns how to name that model."""
    path.write_text("".join(json.dumps(reply) + "\n" for reply in replies))
    return f"scripted:{path}"


def task_folder(path: Path, *, extra: str = "", evaluation: str | None = None) -> str:
    """A small task; `evaluation` is the source of its evaluate.py."""
    (path / "workspace").mkdir(parents=True)
    (path / "workspace" / "notes.txt").write_text("begin\n")
    (path / "description.md").write_text("Count to ten in count.txt.\n")
    text = f'name = "{path.name}"\ncategory = "test"\n{extra}\n'
    if evaluation is not None:
        (path / "evaluation").mkdir()
        (path / "evaluation" / "evaluate.py").write_text(evaluation)
        text += '[evaluation]\ncommand = "python3 evaluate.py"\ntimeout = 30\nsubmissions = 2\n'
    (path / "task.toml").write_text(text)
    return str(path)


async def until(
    home: Home, rollout: str, met: Callable[[RolloutRow], bool], *, seconds: float = 60.0
) -> RolloutRow:
    """Wait until the log says so of a rollout; fails with what it says instead."""
    history = History(home.database)
    try:
        row: RolloutRow | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    row = history.rollout(rollout)
                    if row is not None and met(row):
                        return row
                    await asyncio.sleep(0.02)
        raise AssertionError(f"waited {seconds:g} s, and still: {row}\n{_tail(home)}")
    finally:
        history.close()


async def ended(home: Home, rollout: str, *, seconds: float = 60.0) -> RolloutRow:
    return await until(
        home, rollout, lambda row: row.state in ("finished", "failed", "stopped"), seconds=seconds
    )


def events(home: Home, rollout: str | None, *kinds: str) -> list[dict[str, Any]]:
    """The events of a rollout as the log tells them, all or only some kinds."""
    history = History(home.database)
    try:
        found, after = [], 0
        while page := history.events(rollout, after=after):
            found += page
            after = page[-1]["seq"]
        return [event for event in found if not kinds or event["kind"] in kinds]
    finally:
        history.close()


@contextlib.asynccontextmanager
async def core(home: Home, annotator: str = "ana") -> AsyncIterator[Client]:
    """A connection to a core that is started for it, and ended with it."""
    client = await Client.connect(home, annotator=annotator)
    try:
        yield client
    finally:
        await client.close()
        await end_core(home)


async def end_core(home: Home, number: int = signal.SIGTERM) -> None:
    """Signal the core of a home and wait until it has let go of the lock."""
    pid = core_pid(home)
    if pid is None:
        return
    os.kill(pid, number)
    async with asyncio.timeout(20):
        while core_pid(home) is not None:
            await asyncio.sleep(0.02)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _tail(home: Home) -> str:
    with contextlib.suppress(OSError):
        return home.core_log.read_text(errors="replace")[-3000:]
    return ""
