"""How any front end talks to the core: commands and the live tail by socket.

History never comes this way: read it with `apollo_tui.log.read.History`. The socket speaks
JSON-RPC 2.0, one message a line. This module is on the console's way to its first paint, so it
imports nothing but the standard library.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import getpass
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from apollo_tui import __version__
from apollo_tui.errors import ApolloError, CommandRefused, CoreUnreachable, UnknownName, UsageError
from apollo_tui.paths import Home

PROTOCOL = 1
_LIMIT = 16 << 20


@dataclass(frozen=True)
class Appended:
    """The log holds everything up to `seq`; `rollouts` are those that changed."""

    seq: int
    rollouts: tuple[str, ...]


@dataclass(frozen=True)
class Streamed:
    """A piece of a reply that is not history yet."""

    rollout: str
    step: int
    kind: Literal["thinking", "text", "action"]
    text: str
    tool: str = ""


@dataclass(frozen=True)
class CoreGone:
    why: str


@dataclass(frozen=True)
class CoreBack:
    pass


Notification = Appended | Streamed | CoreGone | CoreBack


def who_am_i(home: Home, given: str | None = None) -> str:
    """The annotator's name: `--as`, else the configuration's, else the system user's."""
    if given:
        return given
    if home.config.exists():
        import tomllib

        with contextlib.suppress(OSError, tomllib.TOMLDecodeError), home.config.open("rb") as file:
            name = tomllib.load(file).get("annotator")
            if isinstance(name, str) and name:
                return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid{os.getuid()}"


class Client:
    """One connection to the core. `await Client.connect(home)`; `async with` closes it."""

    def __init__(self, home: Home, annotator: str) -> None:
        self.home = home
        self.annotator = annotator
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listener: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._notifications: asyncio.Queue[Notification] = asyncio.Queue()
        self._next_id = 0
        self._opening = asyncio.Lock()

    @classmethod
    async def connect(
        cls, home: Home, *, start: bool = True, annotator: str | None = None
    ) -> Client:
        """Raises CoreUnreachable when none runs and `start` is False, or when none can be started."""
        client = cls(home, who_am_i(home, annotator))
        await client.open(start=start)
        return client

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def connected(self) -> bool:
        return self._listener is not None and not self._listener.done()

    async def open(self, *, start: bool = True) -> None:
        async with self._opening:
            if self.connected:
                return
            try:
                await self._dial()
            except (OSError, CoreUnreachable) as error:
                if not start:
                    raise CoreUnreachable(
                        f"no core runs for {self.home.path}; start it with: apollo-tui core start"
                    ) from error
                await asyncio.to_thread(start_core, self.home)
                await self._dial()

    async def _dial(self) -> None:
        with short_path(self.home) as path:
            reader, writer = await asyncio.open_unix_connection(path, limit=_LIMIT)
        self._reader, self._writer = reader, writer
        self._listener = asyncio.create_task(self._listen(reader))
        await self._request("hello", {"protocol": PROTOCOL, "version": __version__})

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        why = "the core closed the connection"
        try:
            while line := await reader.readline():
                self._receive(json.loads(line))
        except (OSError, ValueError) as error:
            why = str(error)
        finally:
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(CoreUnreachable(f"{why}, before it answered"))
            self._answers.clear()
            self._notifications.put_nowait(CoreGone(why))
            if self._writer is not None:
                self._writer.close()

    def _receive(self, message: dict[str, Any]) -> None:
        if "id" in message:
            answer = self._answers.pop(message["id"], None)
            if answer is None or answer.done():
                return
            if "error" in message:
                answer.set_exception(_error(message["error"]))
            else:
                answer.set_result(message.get("result"))
            return
        params = message["params"]
        match message["method"]:
            case "appended":
                self._notifications.put_nowait(Appended(params["seq"], tuple(params["rollouts"])))
            case "delta":
                self._notifications.put_nowait(Streamed(**params))

    async def _request(self, method: str, params: dict[str, Any]) -> Any:
        writer = self._writer
        if writer is None or not self.connected:
            raise CoreUnreachable("the core is not connected")
        self._next_id += 1
        message = {"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": params}
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[self._next_id] = answer
        writer.write(json.dumps(message).encode() + b"\n")
        await writer.drain()
        return await answer

    async def command(self, method: str, *, command: str | None = None, **params: Any) -> Any:
        """Ask for a write; returns when it is durable. Repeating it with the same `command` id
        does nothing twice, so a lost connection is retried once."""
        params |= {"command": command or uuid.uuid4().hex, "by": self.annotator}
        await self.open()
        try:
            return await self._request(method, params)
        except CoreUnreachable:
            await self.open()
            return await self._request(method, params)

    async def run(self, **params: Any) -> list[dict[str, Any]]:
        """Start rollouts (fields of `commands.Run`); returns their ids and names."""
        return list((await self.command("run", **params))["rollouts"])

    async def pause(self, rollout: str, *, now: bool = False) -> None:
        await self.command("pause", rollout=rollout, now=now)

    async def resume(self, rollout: str) -> None:
        await self.command("resume", rollout=rollout)

    async def stop(
        self, rollout: str, *, jobs: Literal["kill", "leave"] = "kill", evaluate: bool = False
    ) -> None:
        await self.command("stop", rollout=rollout, jobs=jobs, evaluate=evaluate)

    async def advise(self, rollout: str, text: str, *, resume: bool = False) -> int:
        """Queue advice; returns its number within the rollout."""
        answer = await self.command("advise", rollout=rollout, text=text, resume=resume)
        return int(answer["advice"])

    async def unadvise(self, rollout: str, advice: int) -> None:
        await self.command("unadvise", rollout=rollout, advice=advice)

    async def mark(
        self,
        rollout: str,
        actions: Sequence[tuple[int, int]],
        mark: Literal["reject", "accept", "unsure", "reviewed"],
        *,
        code: str | None = None,
        note: str = "",
    ) -> None:
        """Mark actions, each as (step, ordinal)."""
        refs = [{"step": step, "ordinal": ordinal} for step, ordinal in actions]
        await self.command("mark", rollout=rollout, actions=refs, mark=mark, code=code, note=note)

    async def unmark(self, rollout: str, actions: Sequence[tuple[int, int]]) -> None:
        refs = [{"step": step, "ordinal": ordinal} for step, ordinal in actions]
        await self.command("unmark", rollout=rollout, actions=refs)

    async def remove_files(self, rollout: str) -> dict[str, Any]:
        """Delete the files of an ended rollout; returns rollout, name and the bytes that are free."""
        return dict(await self.command("remove_files", rollout=rollout))

    async def collect_garbage(self, *, dry_run: bool = False) -> dict[str, Any]:
        """Delete what is old or left over. Returns `removed` and `failed`, lists of what, rollout,
        name, state, bytes, why, unread (and error), and `notes` on what was not looked at."""
        return dict(await self.command("collect_garbage", dry_run=dry_run))

    async def filter(
        self,
        rollouts: Sequence[str],
        settings: dict[str, Any] | None = None,
        *,
        as_of: int | None = None,
        ask_judge: bool = True,
        judge_usd: float | None = None,
    ) -> str:
        """Begin a filter run over rollouts, by their ids; `settings` are fields of
        `filter.run.FilterSettings`. Returns the run's id; its end is told by the log."""
        answer = await self.command(
            "filter",
            rollouts=list(rollouts),
            settings=settings or {},
            as_of=as_of,
            ask_judge=ask_judge,
            judge_usd=judge_usd,
        )
        return str(answer["run"])

    async def cancel_filter(self, run: str) -> None:
        await self.command("cancel_filter", run=run)

    async def note_export(
        self, run: str, format: str, path: str, samples: int, digest: str = ""
    ) -> None:
        """Put on the log that something was written from a filter run."""
        await self.command(
            "note_export", run=run, format=format, path=path, samples=samples, digest=digest
        )

    async def import_marks(self, marks: Sequence[dict[str, Any]]) -> dict[str, int]:
        """Import marks (fields of `commands.MarkToImport`), all or none. Returns how many were
        `imported`, and how many not because they were `had` already, or `older` than the mark that
        stands."""
        return dict(await self.command("import_marks", marks=list(marks)))

    async def import_file(self, path: str, *, name: str | None = None) -> dict[str, Any]:
        """Import a file by its absolute path; returns rollout, name, format, source, steps, actions,
        unmapped, and whether it is new."""
        return dict(await self.command("import", path=path, name=name))

    async def status(self) -> dict[str, Any]:
        return dict(await self._request("status", {}))

    async def shutdown(self) -> None:
        await self._request("shutdown", {})

    async def follow(self) -> AsyncIterator[Notification]:
        """What happens from now on, beginning at once with an empty Appended. When the core goes, yields CoreGone and keeps trying to reach
        it (without starting one); yields CoreBack once it answers again. Ends never."""
        await self._request("follow", {"by": self.annotator})
        yield Appended(0, ())
        while True:
            notification = await self._notifications.get()
            yield notification
            if isinstance(notification, CoreGone):
                await self._reach_again()
                yield CoreBack()

    async def _reach_again(self) -> None:
        pause = 0.25
        while True:
            await asyncio.sleep(pause)
            with contextlib.suppress(CoreUnreachable, OSError):
                await self.open(start=False)
                await self._request("follow", {"by": self.annotator})
                return
            pause = min(pause * 1.5, 3.0)

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()


def _error(error: dict[str, Any]) -> ApolloError:
    kinds: dict[str, type[ApolloError]] = {"UsageError": UsageError, "UnknownName": UnknownName}
    data = error.get("data") or {}
    kind = kinds.get(data.get("type", ""), CommandRefused)
    return kind(error.get("message", "the core refused without a reason"))


@contextlib.contextmanager
def short_path(home: Home) -> Any:
    """The socket's path, short enough for the kernel's 108 bytes however deep the home is."""
    folder = os.open(home.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{home.socket.name}"
    finally:
        os.close(folder)


def start_core(home: Home) -> None:
    """Start the core of this home in a session of its own and wait until it listens.

    It says on a pipe that it is ready, or in one line why it is not (raised as CoreUnreachable).
    Harmless when another process starts one at the same time: the lock decides.
    """
    home.prepare()
    ready, tell = os.pipe()
    with home.core_log.open("ab") as log, os.fdopen(ready, "rb") as answer:
        home.core_log.chmod(0o600)
        starter = subprocess.Popen(
            [
                *(sys.executable, "-m", "apollo_tui", "--home", str(home.path)),
                *("core", "serve", "--ready-fd", str(tell)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[tell],
            start_new_session=True,
            cwd="/",
        )
        os.close(tell)
        said = answer.read().decode(errors="replace").strip()
        starter.wait()  # it left the core behind, as nobody's child
    if said and said != "ready" and not said.startswith("running"):
        raise CoreUnreachable(said)
    if not said:
        raise CoreUnreachable(f"the core ended while starting; see {home.core_log}")


def core_pid(home: Home) -> int | None:
    """The pid of the core that runs for a home, None when none does."""
    try:
        lock = os.open(home.lock, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.pread(lock, 32, 0).decode(errors="replace").strip()
        return int(said) if said.isdigit() else None
    else:
        return None
    finally:
        os.close(lock)
