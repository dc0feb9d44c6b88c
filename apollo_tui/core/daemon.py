"""The core process: lock, socket, signals, lifetime. startup -> main loop -> shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import logging.handlers
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator

from apollo_tui import __version__
from apollo_tui.client import Streamed, short_path
from apollo_tui.core.connection import Connection
from apollo_tui.core.recorder import now
from apollo_tui.core.supervisor import Supervisor
from apollo_tui.errors import ApolloError, CoreRunning
from apollo_tui.log.events import CoreStarted, CoreStopped
from apollo_tui.log.store import Log
from apollo_tui.paths import Home

logger = logging.getLogger(__name__)


def serve(home: Home, ready_fd: int | None = None) -> int:
    """Run the core of a home until it is told to end; returns the exit code.

    On `ready_fd` it writes "ready" when it listens, "running" when another core already does, or
    the one line that says why it cannot start.
    """
    if ready_fd is not None and os.fork():
        os._exit(0)  # whoever starts a core is not its parent: it outlives them
    with _tell(ready_fd) as tell:
        try:
            home.prepare()
            lock = _take_lock(home)
        except CoreRunning as error:
            tell(f"running: {error.line}")
            if ready_fd is None:
                raise
            return 0
        except ApolloError as error:
            tell(error.line)
            raise
        _log_to(home)
        try:
            with asyncio.Runner() as runner:
                runner.run(_Core(home).live(lambda: tell("ready")))
        except ApolloError as error:
            logger.error("the core cannot go on: %s", error.line)
            tell(error.line)
            raise
        finally:
            home.socket.unlink(missing_ok=True)
            os.close(lock)
    return 0


class _Core:
    def __init__(self, home: Home) -> None:
        self.home = home
        self._connections: set[Connection] = set()
        self._ending = asyncio.Event()

    async def live(self, listening: Callable[[], None]) -> None:
        self._catch_signals()
        async with self._log() as log:
            supervisor = Supervisor(self.home, log, self._publish)
            log.on_append(self._appended)
            await log.append(CoreStarted(version=__version__, pid=os.getpid(), at=now()))
            await supervisor.recover()
            async with await self._listen(supervisor):
                logger.info(
                    "core %s of %s listens (pid %d)", __version__, self.home.path, os.getpid()
                )
                listening()
                await self._ending.wait()
            logger.info("core ends; %d rollouts wait for the next one", supervisor.running)
            await supervisor.stop()
            for connection in list(self._connections):
                connection.close()
            await log.append(CoreStopped(at=now()), durable=True)

    @contextlib.asynccontextmanager
    async def _log(self) -> AsyncIterator[Log]:
        log = await Log.open(self.home.database)
        try:
            yield log
        finally:
            await log.close()

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _signalled(self, number: int) -> None:
        if self._ending.is_set():
            logger.warning("a second signal %d: ending at once", number)
            os._exit(1)
        self._ending.set()

    async def _listen(self, supervisor: Supervisor) -> asyncio.Server:
        self.home.socket.unlink(missing_ok=True)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = Connection(reader, writer, supervisor, self.home, self._ending.set)
            self._connections.add(connection)
            try:
                await connection.serve()
            finally:
                self._connections.discard(connection)

        before = os.umask(0o177)
        try:
            with short_path(self.home) as path:
                return await asyncio.start_unix_server(accept, path, limit=Connection.LIMIT)
        finally:
            os.umask(before)

    def _appended(self, seq: int, rollouts: frozenset[str]) -> None:
        for connection in self._connections:
            connection.tell_appended(seq, rollouts)

    def _publish(self, streamed: Streamed) -> None:
        for connection in self._connections:
            connection.tell_streamed(streamed)


def _take_lock(home: Home) -> int:
    """One core a home. The kernel gives the lock back however the process ends."""
    lock = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(lock, 32, 0).decode(errors="replace").strip() or "?"
        os.close(lock)
        raise CoreRunning(
            f"a core already runs for {home.path} (pid {pid}); "
            "use it, or end it with: apollo-tui core stop"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _log_to(home: Home) -> None:
    handler = logging.handlers.RotatingFileHandler(
        home.core_log, maxBytes=4 << 20, backupCount=3, encoding="utf-8"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for chatty in ("httpx", "httpx2", "httpcore", "httpcore2", "docker", "urllib3", "watchfiles"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    home.core_log.chmod(0o600)


@contextlib.contextmanager
def _tell(ready_fd: int | None) -> Iterator[Callable[[str], None]]:
    """A function that says one line to whoever started the core, and then lets go of the pipe."""
    pipe = [] if ready_fd is None else [os.fdopen(ready_fd, "w")]

    def tell(line: str) -> None:
        while pipe:
            with pipe.pop() as waiting:
                waiting.write(f"{line}\n")

    try:
        yield tell
    finally:
        tell("")
