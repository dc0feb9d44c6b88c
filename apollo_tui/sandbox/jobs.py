"""The host's half of the job protocol: hand a job over, wait for its outcome, read its output.

The other half is `inside/runner.py`, whose docstring lists the files they meet in. Everything here
is read from those files, so a core that has just started knows as much as the one that died.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import re
import stat
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from apollo_tui.errors import SandboxError
from apollo_tui.sandbox import Job, Outcome
from apollo_tui.sandbox.hangup import Hangup

INSIDE = Path(__file__).parent / "inside"
_OUTCOME = TypeAdapter(Outcome)
_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# A process that dies lets go of its locks an instant after its FIFOs: look a few times more.
SETTLING_STEP = 0.005  # seconds
SETTLING_LOOKS = 200

State = Literal["running", "unclaimed", "unknown"]


@dataclass(frozen=True)
class Config:
    """What `serve` is told once, at its start. Paths are as the sandbox sees them."""

    workspace: str
    tmp: str
    uid: int | None = None  # None: the job runs as the runner's own user
    gid: int | None = None
    environment: Mapping[str, str] | None = None
    processes: int | None = None  # a limit per user, where no cgroup limits them
    memory: int | None = None  # bytes a single process may allocate, where no cgroup limits them


class Spool:
    """One spool folder, seen from the host.

    `shared` opens its files to a runner that is another user; the folder above it must then keep
    everybody else out.
    """

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        self.folder = folder
        self.own = folder / ".serve"
        self._folder_mode = 0o777 if shared else 0o700
        self._file_mode = 0o666 if shared else 0o600

    # --- serve -----------------------------------------------------------------------------------

    def prepare(self, config: Config) -> None:
        """Make the spool ready for a `serve`. Blocks."""
        for folder in (self.folder, self.own, self.own / "queue"):
            self.make_folder(folder)
        for fifo in ("alive", "ready", "wake"):
            self.make_fifo(self.own / fifo)
        settings = asdict(config) | {"environment": dict(config.environment or {})}
        self.write(self.own / "config.json", settings)

    def serving(self) -> bool:
        """Whether a `serve` lives on this spool. Blocks for an instant."""
        return is_locked(self.own / "lock")

    def server(self) -> int | None:
        """The pid of the `serve` that lives on this spool, as it sees itself. Blocks."""
        if not self.serving():
            return None
        try:
            return int(read_text(self.own / "lock"))
        except (FileNotFoundError, ValueError):
            return None

    @property
    def ready(self) -> Path:
        """The FIFO that gets a byte when a `serve` that was started takes jobs."""
        return self.own / "ready"

    def wake(self) -> None:
        poke(self.own / "wake")

    # --- one job ---------------------------------------------------------------------------------

    async def launch(self, job: Job) -> None:
        await asyncio.to_thread(self._hand_over, job)

    async def wait(self, job_id: str) -> Outcome:
        """The outcome, as soon as there is one.

        A job that was not begun when the sandbox ended is withdrawn: it is lost, its error says
        that nothing was run, and nothing ever will be. Raises SandboxError when no job of this id
        was handed over.
        """
        folder = self.job(job_id)
        looks = 0
        while True:
            changed = asyncio.Event()
            try:
                with Hangup(folder / "alive", changed), Hangup(self.own / "alive", changed):
                    state = await self.outcome(job_id)
                    if isinstance(state, Outcome):
                        return state
                    if state == "unknown":
                        raise FileNotFoundError
                    if state == "unclaimed" and not await asyncio.to_thread(self.serving):
                        await asyncio.to_thread(self._withdraw, job_id)
                        continue
                    async with asyncio.timeout(SETTLING_STEP if looks else None):
                        await changed.wait()
                    looks = SETTLING_LOOKS
            except TimeoutError:
                looks -= 1
            except FileNotFoundError as error:
                raise SandboxError(f"no job {job_id} was handed over in {self.folder}") from error

    async def outcome(self, job_id: str) -> Outcome | State:
        return await asyncio.to_thread(self.look, job_id)

    async def kill(self, job_id: str, grace: float) -> None:
        await asyncio.to_thread(self._kill, job_id, grace)

    async def kill_all(self) -> None:
        """End the processes of every job, and return when none is left."""
        await asyncio.to_thread(self._kill_all)

    async def output(self, job_id: str, start: int, size: int) -> bytes:
        return await asyncio.to_thread(self._output, job_id, start, size)

    # --- what the files say (blocking) -------------------------------------------------------------

    def _hand_over(self, job: Job) -> None:
        folder = self.job(job.id)
        if (folder / "claim").exists():
            return
        if not self.serving():
            raise SandboxError(
                f"the sandbox of {self.folder.parent} does not run; job {job.id} waits"
            )
        if not (folder / "spec.json").exists():
            self.make_folder(folder)
            self.make_fifo(folder / "alive")
            self.make_fifo(folder / "control")
            if job.session is not None:
                self.make_folder(folder / "asked")
                self.make_folder(folder / "queue")
                self.make_fifo(folder / "said")
            spec = asdict(job) | {
                "arguments": dict(job.arguments),
                "environment": dict(job.environment),
            }
            self.write(folder / "spec.json", spec)
            _sync_folder(self.folder)
        queued = self.own / "queue" / job.id
        queued.touch()
        self.wake()

    def look(self, job_id: str) -> Outcome | State:
        folder = self.job(job_id)
        if not (folder / "spec.json").exists():
            return "unknown"
        if (outcome := self._recorded(folder)) is not None:
            return outcome
        if not (folder / "claim").exists():
            return "unclaimed"
        if is_locked(folder / "claim"):
            return "running"
        # The runner may have written its outcome and gone between the two looks.
        return self._recorded(folder) or self._lost(folder)

    def _recorded(self, folder: Path) -> Outcome | None:
        try:
            text = read_text(folder / "rc.json")
        except FileNotFoundError:
            return None
        try:
            return _OUTCOME.validate_json(text)
        except ValidationError as error:
            raise SandboxError(f"{folder / 'rc.json'} is not an outcome: {error}") from error

    def _lost(self, folder: Path) -> Outcome:
        claim: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            claim = json.loads(read_text(folder / "claim"))
        if claim.get("withdrawn"):
            return Outcome("lost", error="the sandbox ended before this began; nothing was run")
        size = 0
        with contextlib.suppress(OSError):
            size = (folder / "output").stat().st_size
        at = int(claim.get("at", 0))
        return Outcome("lost", started_at=at, output_bytes=size, kept_bytes=size)

    def _withdraw(self, job_id: str) -> None:
        """Claim a job that no `serve` is there to claim, so that none ever will."""
        folder = self.job(job_id)
        mine = folder / f"withdrawn.{uuid.uuid4().hex}"
        self.write(mine, {"withdrawn": True})
        with contextlib.suppress(FileExistsError):
            os.link(mine, folder / "claim")
        mine.unlink()

    def _kill(self, job_id: str, grace: float) -> None:
        folder = self.job(job_id)
        if not (folder / "spec.json").exists():
            return
        self.write(folder / "kill", {"grace": grace})
        poke(folder / "control")
        if not (folder / "claim").exists() and not self.serving():
            self._withdraw(job_id)

    def _kill_all(self) -> None:
        if not self.folder.exists():
            return
        living = [
            folder
            for folder in self.folder.iterdir()
            if _JOB_ID.fullmatch(folder.name) and is_locked(folder / "claim")
        ]
        for folder in living:
            self._kill(folder.name, 0)
        for folder in living:
            _wait_until_unlocked(folder / "claim")

    def _output(self, job_id: str, start: int, size: int) -> bytes:
        folder = self.job(job_id)
        recorded = self._recorded(folder)
        try:
            with os.fdopen(open_regular(folder / "output"), "rb") as file:
                end = recorded.kept_bytes if recorded else os.fstat(file.fileno()).st_size
                file.seek(start)
                left = max(0, end - start)
                return file.read(left if size < 0 else min(size, left))
        except FileNotFoundError:
            return b""

    # --- making files ------------------------------------------------------------------------------

    def job(self, job_id: str) -> Path:
        if not _JOB_ID.fullmatch(job_id):
            raise SandboxError(f"{job_id!r} cannot be a job's id: it would not be a safe file name")
        return self.folder / job_id

    def make_folder(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(self._folder_mode)

    def make_fifo(self, path: Path) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path)
        path.chmod(self._file_mode)

    def write(self, path: Path, value: Mapping[str, Any]) -> None:
        """All of it or nothing, and on the disk before this returns."""
        new = path.with_name(f"{path.name}.{uuid.uuid4().hex}.new")
        with new.open("w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), self._file_mode)
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
        _sync_folder(path.parent)


def open_regular(path: Path) -> int:
    """Open a regular file and nothing else: where the job shares the runner's user it could have
    put a link or a pipe there."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise SandboxError(f"{path} is no regular file; somebody changed the spool")


def read_text(path: Path) -> str:
    with os.fdopen(open_regular(path), "rb") as file:
        return file.read().decode("utf-8", "replace")


def is_locked(path: Path) -> bool:
    try:
        fd = open_regular(path)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _wait_until_unlocked(path: Path) -> None:
    fd = open_regular(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def poke(path: Path) -> None:
    """Write a byte to a FIFO if somebody listens; who does not will look by himself."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return
        raise
    try:
        with contextlib.suppress(BlockingIOError):
            os.write(fd, b"1")
    finally:
        os.close(fd)


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
