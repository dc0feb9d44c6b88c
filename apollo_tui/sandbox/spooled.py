"""What the three kinds of sandbox share: a folder laid out for them, and jobs through its spool."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

from apollo_tui.errors import SandboxError
from apollo_tui.sandbox import Job, Kind, Outcome, SandboxSpec
from apollo_tui.sandbox.jobs import INSIDE, Config, Spool

START_TIMEOUT = 30.0  # seconds until a sandbox that was started must take jobs
JOB_USER = 1000  # who runs the jobs when the core is root


class SpooledSandbox(ABC):
    kind: Kind
    isolated: bool
    identity: str = ""
    workspace_path: str = "/workspace"

    def __init__(self, spec: SandboxSpec, *, shared_spool: bool = False) -> None:
        self.spec = spec
        self.spool = Spool(spec.spool, shared=shared_spool)

    async def start(self) -> bool:
        """Create it, or find it again; True when it was there already. Raises SandboxError."""
        async with self._alone():
            return await self._start()

    async def close(self, remove: bool = True) -> None:
        """Let go of it. With `remove`, end every process and delete it; the workspace stays."""
        if not remove:
            return
        async with self._alone():
            await self._remove()
            await asyncio.to_thread(self._clear_away)

    @abstractmethod
    async def _start(self) -> bool: ...

    @abstractmethod
    async def _remove(self) -> None: ...

    async def launch(self, job: Job) -> None:
        await self.spool.launch(job)

    async def wait(self, job_id: str) -> Outcome:
        return await self.spool.wait(job_id)

    async def outcome(self, job_id: str) -> Outcome | Literal["running", "unclaimed", "unknown"]:
        return await self.spool.outcome(job_id)

    async def kill(self, job_id: str, grace: float = 2.0) -> None:
        await self.spool.kill(job_id, grace)

    async def output(self, job_id: str, start: int = 0, size: int = -1) -> bytes:
        return await self.spool.output(job_id, start, size)

    # --- for the kinds -------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Nobody else starts or removes the sandbox of this folder meanwhile."""
        lock = await asyncio.to_thread(self._open_lock)
        try:
            # In a thread that may have to wait: whoever holds it gives up at START_TIMEOUT.
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _open_lock(self) -> int:
        folder = self.spec.folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(folder / "sandbox.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    async def _until_serving(self, changed: asyncio.Event, log: Path) -> None:
        """After the start: until jobs are taken. `changed` is set by the spool's `ready` FIFO."""
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await changed.wait()
        except TimeoutError:
            pass
        if not await asyncio.to_thread(self.spool.serving):
            said = await asyncio.to_thread(last_line, log)
            raise SandboxError(f"the {self.kind} sandbox {self.spec.name} did not start: {said}")

    def _lay_out(self, config: Config, *, tmp_mode: int = 0o700) -> None:
        """Make the folder ready. The programs that run inside are copied, so that they stay as
        they are for the sandbox's life and can be read by whoever runs them."""
        self.spec.workspace.mkdir(mode=0o755, exist_ok=True)
        self.tmp.mkdir(exist_ok=True)
        self.tmp.chmod(tmp_mode)
        self.inside.mkdir(exist_ok=True)
        self.inside.chmod(0o755)
        for program in INSIDE.glob("*.py"):
            copy = self.inside / program.name
            shutil.copyfile(program, copy)
            copy.chmod(0o644)
        if config.uid is not None:
            give_away(self.spec.workspace, config.uid)
        self.spool.prepare(config)

    def _require_mounts(self) -> None:
        for mount in self.spec.mounts:
            if not Path(mount.host).exists():
                raise SandboxError(
                    f"cannot mount {mount.host} at {mount.inside}: there is no such file or folder"
                )

    def _clear_away(self) -> None:
        for folder in (self.tmp, self.inside):
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def tmp(self) -> Path:
        return self.spec.folder / "tmp"

    @property
    def inside(self) -> Path:
        return self.spec.folder / "inside"


def give_away(folder: Path, user: int) -> None:
    """Make `user` the owner of a folder and all in it. Links are given away, never followed."""
    for _, folders, files, fd in os.fwalk(folder, follow_symlinks=False):
        for name in (*folders, *files):
            if os.stat(name, dir_fd=fd, follow_symlinks=False).st_uid != user:
                os.chown(name, user, user, dir_fd=fd, follow_symlinks=False)
    os.chown(folder, user, user, follow_symlinks=False)


def last_line(log: Path) -> str:
    """The last thing a program said before it failed."""
    try:
        lines = log.read_text(errors="replace").split("\n")
    except OSError:
        lines = []
    told = [line.strip() for line in lines if line.strip()]
    return told[-1] if told else "it said nothing"
