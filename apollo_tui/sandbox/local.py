"""Plain processes: the job protocol without any isolation, and how processes are detached."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from apollo_tui.errors import SandboxError
from apollo_tui.sandbox import Kind, SandboxSpec
from apollo_tui.sandbox.hangup import Hangup
from apollo_tui.sandbox.jobs import Config
from apollo_tui.sandbox.spooled import SpooledSandbox

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PYTHON_OPTIONS = ("-I", "-S", "-B")  # nothing but the standard library, and it leaves no files


class PlainSandbox(SpooledSandbox):
    """Processes of the core's own user, in the rollout's folder. They can read and write what that
    user can: mounts, the image, the network setting and the limits of the spec mean nothing here.
    """

    kind: Kind = "plain"
    isolated = False

    def __init__(self, spec: SandboxSpec) -> None:
        super().__init__(spec)
        self.workspace_path = str(spec.workspace)

    async def _start(self) -> bool:
        if await asyncio.to_thread(self.spool.serving):
            return True
        config = Config(
            workspace=self.workspace_path,
            tmp=str(self.tmp),
            environment=self.spec.environment,
        )
        await asyncio.to_thread(self._lay_out, config)
        log = self.spec.folder / "sandbox.log"
        runner = str(self.inside / "runner.py")
        command = (sys.executable, *PYTHON_OPTIONS, runner, "serve", str(self.spool.folder))
        with Hangup(self.spool.ready) as ready:
            await start_detached(
                command, stdin=None, stdout=self.spool.ready, log=log, environment={"PATH": path()}
            )
            await self._until_serving(ready.changed, log)
        return False

    async def _remove(self) -> None:
        pid = await asyncio.to_thread(self.spool.server)
        if pid is not None:
            await end_process(pid, start_time(pid))
        await self.spool.kill_all()


def path() -> str:
    """Where programs are found: the system's folders, and at last the Python that runs this."""
    return f"{PATH}:{Path(os.path.realpath(sys.executable)).parent}"


def why_not() -> str | None:
    """Why not even plain processes can run here, in one line; None when they can."""
    if shutil.which("setsid") is None:
        return "the program setsid is missing; install util-linux"
    return None


async def start_detached(
    command: Sequence[str],
    *,
    stdin: int | None,
    stdout: Path,
    log: Path,
    environment: Mapping[str, str],
    keep: Sequence[int] = (),
) -> None:
    """Start a process that belongs to nobody: its own session, no terminal, no parent to wait for
    it. It holds the FIFO `stdout` open, so that its reader hears when it ends."""
    written = os.open(stdout, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        process = await asyncio.create_subprocess_exec(
            "setsid",
            "--fork",
            *command,
            stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
            stdout=written,
            stderr=errors,
            env=dict(environment),
            cwd="/",
            pass_fds=tuple(keep),
        )
        await process.wait()
    except FileNotFoundError as error:
        raise SandboxError(
            "the program setsid is missing, with which sandboxes are started; install util-linux"
        ) from error
    finally:
        os.close(written)
        os.close(errors)


def start_time(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot: with the pid, who it is."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(stat.rpartition(b")")[2].split()[19])


async def end_process(pid: int, started: int | None) -> None:
    """KILL a process if it is still the one that was started then, and return when it is gone."""
    if started is None:
        return
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    try:
        if start_time(pid) != started:
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        loop.add_reader(handle, gone.set)
        await gone.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)
