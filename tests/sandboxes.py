"""Real sandboxes for tests: which kinds run here, and looking for what they leave behind.

A test that needs a kind is skipped where it cannot run, and fails there instead when
APOLLO_REQUIRE_SANDBOXES is 1 (all kinds must run) or names this kind.
"""

from __future__ import annotations

import asyncio
import functools
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from apollo_tui.sandbox import Job, Kind, Outcome, Sandbox
from apollo_tui.sandbox.choose import probe

KINDS: tuple[Kind, ...] = ("plain", "bubblewrap", "docker")
HOME_LABEL = "apollo-tests"


@functools.cache
def _why_not(kind: Kind) -> str | None:
    return probe(kind)


def require(kind: Kind) -> Kind:
    """Skip the test, or fail it, when this kind does not run here."""
    if why := _why_not(kind):
        if os.environ.get("APOLLO_REQUIRE_SANDBOXES", "") in ("1", kind):
            pytest.fail(why)
        pytest.skip(why)
    return kind


async def run(
    sandbox: Sandbox, script: str, *, timeout: float | None = None
) -> tuple[Outcome, str]:
    """Run a script to its end: its outcome, and its output as text."""
    job = Job(id=f"run-{uuid.uuid4().hex[:12]}", script=script, timeout=timeout)
    await sandbox.launch(job)
    async with asyncio.timeout(60):
        outcome = await sandbox.wait(job.id)
    return outcome, (await sandbox.output(job.id)).decode(errors="replace")


def processes(marker: str) -> list[int]:
    """The processes of this machine, inside sandboxes too, whose command line contains a text."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if marker.encode() in command:
                found.append(int(folder.name))
    return found


def runner_of(pid: int) -> int:
    """The job's runner, among the ancestors of one of its processes."""
    while b"runner.py" not in Path(f"/proc/{pid}/cmdline").read_bytes():
        pid = parent(pid)
    return pid


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def signal_process(pid: int, number: int) -> None:
    """Signal a process of a sandbox; skip the test where only root may."""
    try:
        os.kill(pid, number)
    except PermissionError:
        pytest.skip("an ordinary user cannot signal a container's root")


async def until(met: Callable[[], bool], *, seconds: float = 10.0) -> None:
    """Wait for something that happens outside of our reach; fails when it does not."""
    async with asyncio.timeout(seconds):
        while not met():
            await asyncio.sleep(0.01)
