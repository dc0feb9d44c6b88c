"""Log: the one writer. Appends events with their projections and texts, in grouped commits.

Writes run as one function per group on a thread of their own with the standard library's sqlite3:
an event has several effects, some of which read, and a hop between threads for each of them (which
is how aiosqlite works) would cost more than the writing. aiosqlite serves the concurrent reads.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import aiosqlite

from apollo_tui.errors import LogCorrupt, LogError
from apollo_tui.log import projections
from apollo_tui.log.events import Event, event_adapter
from apollo_tui.log.read import ROLLOUT_COLUMNS, RolloutRow, rollout_row
from apollo_tui.log.schema import migrate, what_is_wrong
from apollo_tui.log.states import FINAL_STATES
from apollo_tui.log.texts import compress, decompress, text_hash

Listener = Callable[[int, frozenset[str]], None]
_CHUNK = 500  # parameters of one query


@dataclass
class _Append:
    events: Sequence[Event]
    texts: Sequence[str]
    durable: bool
    done: asyncio.Future[int]


class Log:
    """The log of one home. Open it with `Log.open`; only the core does."""

    def __init__(
        self,
        path: Path,
        writer: sqlite3.Connection,
        thread: ThreadPoolExecutor,
        reader: aiosqlite.Connection,
    ) -> None:
        self.path = path
        self._writer = writer
        self._thread = thread
        self._reader = reader
        self._waiting: asyncio.Queue[_Append | None] = asyncio.Queue()
        self._listeners: list[Listener] = []
        self._full_sync: bool | None = None
        self._task = asyncio.create_task(self._write(), name="the log's writer")

    @classmethod
    async def open(cls, path: Path) -> Log:
        """Create the database (mode 0600) or bring it up to date.

        Raises LogTooNew, LogCorrupt or LogError, naming the file.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="log")
        loop = asyncio.get_running_loop()
        try:
            writer = await loop.run_in_executor(thread, _open, path)
        except BaseException:
            thread.shutdown()
            raise
        reader = await aiosqlite.connect(f"{path.as_uri()}?mode=ro", uri=True)
        await reader.execute("PRAGMA query_only = 1")
        return cls(path, writer, thread, reader)

    async def close(self) -> None:
        """Write what waits, then let go of the file."""
        self._waiting.put_nowait(None)
        await self._task
        await self._reader.close()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._writer.close)
        self._thread.shutdown()

    def on_append(self, listener: Listener) -> None:
        """Be told after each commit: the last seq, and the rollouts it concerns."""
        self._listeners.append(listener)

    # --- writing -------------------------------------------------------------------------------

    async def append(self, *events: Event, texts: Iterable[str] = (), durable: bool = False) -> int:
        """Append events and texts in one transaction; returns the last seq once committed.

        An event whose `at` is 0 gets the time of now. With `durable` the commit reaches the disk
        before this returns. Raises LogError when nothing of it was written.
        """
        if self._task.done():
            raise LogError(f"{self.path} is closed")
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait(_Append(events, tuple(texts), durable, done))
        return await done

    async def _write(self) -> None:
        closing = False
        while not closing:
            group = [await self._waiting.get()]
            while not self._waiting.empty():
                group.append(self._waiting.get_nowait())
            closing = None in group
            appends = [one for one in group if one is not None]
            if appends:
                await self._commit_group(appends)

    async def _commit_group(self, appends: list[_Append]) -> None:
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._thread, self._commit, appends)
        except BaseException as error:
            for append in appends:  # nobody may wait for a writer that is gone
                append.done.cancel(f"the log's writer ended: {error!r}")
            raise
        written = [seq for seq in results if isinstance(seq, int)]
        for append, result in zip(appends, results, strict=True):
            if append.done.done():
                continue
            if isinstance(result, int):
                append.done.set_result(result)
            else:
                append.done.set_exception(result)
        if written:
            touched = frozenset(
                event.rollout
                for append, result in zip(appends, results, strict=True)
                if isinstance(result, int)
                for event in append.events
                if event.rollout is not None
            )
            for listener in self._listeners:
                listener(max(written), touched)

    def _commit(self, appends: list[_Append]) -> list[int | LogError]:
        """One transaction for all; each append in a savepoint, so that one that fails is alone."""
        db = self._writer
        results: list[int | LogError] = []
        try:
            self._sync(any(append.durable for append in appends))
            db.execute("BEGIN IMMEDIATE")
            results.extend(self._append_one(db, append) for append in appends)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            wrong = what_is_wrong(error, self.path)
            return [wrong for _ in appends]
        return results

    def _sync(self, full: bool) -> None:
        if full != self._full_sync:
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
            self._full_sync = full

    def _append_one(self, db: sqlite3.Connection, append: _Append) -> int | LogError:
        db.execute("SAVEPOINT one")
        try:
            for text in append.texts:
                db.execute(
                    "INSERT OR IGNORE INTO texts VALUES (?,?,?)",
                    (text_hash(text), len(text.encode()), compress(text)),
                )
            seq = 0
            for event in append.events:
                stamped = event if event.at else event.model_copy(update={"at": now()})
                seq = insert(db, stamped)
                projections.apply(db, seq, stamped)
        except sqlite3.Error as error:
            if not db.in_transaction:  # SQLite itself gave the transaction up
                raise
            db.execute("ROLLBACK TO one")
            db.execute("RELEASE one")
            return what_is_wrong(error, self.path)
        except (OverflowError, ValueError) as error:  # a value that no column can hold
            db.execute("ROLLBACK TO one")
            db.execute("RELEASE one")
            return LogError(f"{self.path} cannot hold this: {error}")
        db.execute("RELEASE one")
        return seq

    # --- reading -------------------------------------------------------------------------------

    async def events(
        self, rollout: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[tuple[int, Event]]:
        """The next events after a seq, of one rollout or of all."""
        where = "id > ?" if rollout is None else "rollout = ? AND id > ?"
        values = (after, limit) if rollout is None else (rollout, after, limit)
        return await self._events(f"WHERE {where} ORDER BY id LIMIT ?", values)

    async def answered(self, command: str) -> list[tuple[int, Event]]:
        """What was recorded under a command's id; empty when it was never carried out."""
        return await self._events("WHERE command = ? ORDER BY id", (command,))

    async def _events(self, rest: str, values: tuple[object, ...]) -> list[tuple[int, Event]]:
        query = f"SELECT id, payload FROM events {rest}"
        async with self._reader.execute(query, values) as cursor:
            rows = await cursor.fetchall()
        return [(row[0], event_adapter.validate_json(row[1])) for row in rows]

    async def text(self, ref: str) -> str:
        return (await self.texts([ref]))[ref]

    async def texts(self, refs: Iterable[str]) -> dict[str, str]:
        """Texts by their hashes. Raises LogCorrupt when one is missing."""
        wanted = list(dict.fromkeys(refs))
        found: dict[str, str] = {}
        for start in range(0, len(wanted), _CHUNK):
            chunk = wanted[start : start + _CHUNK]
            marks = ",".join("?" * len(chunk))
            query = f"SELECT hash, data FROM texts WHERE hash IN ({marks})"
            async with self._reader.execute(query, chunk) as cursor:
                async for ref, data in cursor:
                    found[ref] = decompress(data)
        if missing := [ref for ref in wanted if ref not in found]:
            raise LogCorrupt(
                f"{self.path} lacks the text {missing[0]}; see what else with: apollo-tui verify"
            )
        return found

    async def rollouts(self) -> list[RolloutRow]:
        query = f"SELECT {ROLLOUT_COLUMNS} FROM rollouts ORDER BY created_at, id"
        async with self._reader.execute(query) as cursor:
            return [rollout_row(tuple(row)) for row in await cursor.fetchall()]

    async def open_rollouts(self) -> list[str]:
        """The rollouts that have not ended, oldest first."""
        return [row.id for row in await self.rollouts() if row.state not in FINAL_STATES]

    async def sandboxes_left(self) -> list[str]:
        """The ended rollouts whose sandbox was not noted as removed."""
        query = (
            "SELECT id FROM rollouts r WHERE state IN ('finished', 'failed', 'stopped') AND"
            " (SELECT kind FROM events e WHERE e.rollout = r.id AND kind IN"
            " ('sandbox_ready', 'sandbox_removed') ORDER BY id DESC LIMIT 1) = 'sandbox_ready'"
        )
        async with self._reader.execute(query) as cursor:
            return [row[0] for row in await cursor.fetchall()]

    async def missing_actions(
        self, rollout: str, actions: Iterable[tuple[int, int]]
    ) -> list[tuple[int, int]]:
        """Of these actions, each (step, ordinal), the ones that the log does not know."""
        missing = []
        for step, ordinal in actions:
            query = "SELECT 1 FROM actions WHERE rollout = ? AND step = ? AND ordinal = ?"
            async with self._reader.execute(query, (rollout, step, ordinal)) as cursor:
                if await cursor.fetchone() is None:
                    missing.append((step, ordinal))
        return missing


def now() -> int:
    """UTC microseconds."""
    return time.time_ns() // 1000


def insert(db: sqlite3.Connection, event: Event) -> int:
    """Write the event itself; returns its seq."""
    cursor = db.execute(
        "INSERT INTO events (rollout, at, kind, payload, command) VALUES (?,?,?,?,?)",
        (event.rollout, event.at, event.kind, event.model_dump_json(), event.command),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _open(path: Path) -> sqlite3.Connection:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    except (OSError, sqlite3.Error) as error:
        raise LogError(f"{path} cannot be opened: {error}; check its owner and mode") from error
    try:
        migrate_needs = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if migrate_needs != "wal":
            raise LogError(f"{path} cannot use a write-ahead log here; move the home with --home")
        db.execute("PRAGMA foreign_keys = ON")
        migrate(db, path)
    except sqlite3.Error as error:
        db.close()
        raise what_is_wrong(error, path) from error
    except BaseException:
        db.close()
        raise
    return db
