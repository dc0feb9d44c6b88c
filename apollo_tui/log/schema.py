"""The tables, as numbered migrations: plain functions in order, forward only.

`events` and `texts` are the truth. Everything else is a projection: written in the same transaction
as its event (`projections.py`), and rebuildable from the events (`verify.py`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from apollo_tui.errors import DiskFull, LogCorrupt, LogError, LogTooNew

SQLITE_VERSION = sqlite3.sqlite_version_info
NEEDS_SQLITE = (3, 35, 0)  # the first with RETURNING

PROJECTIONS = (
    "rollouts",
    "steps",
    "actions",
    "marks",
    "advice",
    "evaluations",
    "verdicts",
    "judgements",
    "filter_runs",
    "requests",
    "entries",
    "reads",
)


def _first(db: sqlite3.Connection) -> None:
    run_script(
        db,
        """
        CREATE TABLE events (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            rollout TEXT,
            at INTEGER NOT NULL,
            kind TEXT NOT NULL,
            payload TEXT NOT NULL,
            command TEXT
        );
        CREATE INDEX events_of_rollout ON events (rollout, id);
        CREATE UNIQUE INDEX events_of_command ON events (command) WHERE command IS NOT NULL;
        CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events
            BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
        CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events
            BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;

        CREATE TABLE texts (
            hash TEXT PRIMARY KEY,
            size INTEGER NOT NULL,
            data BLOB NOT NULL
        ) WITHOUT ROWID;
        """,
    )
    _first_projections(db)


def _second(db: sqlite3.Connection) -> None:
    """What judges said, and the runs of the filter. Nothing before it wrote any of their events."""
    run_script(
        db,
        """
        CREATE TABLE judgements (
            judge TEXT NOT NULL,
            key TEXT NOT NULL,
            rollout TEXT NOT NULL,
            step INTEGER NOT NULL,
            ordinal INTEGER NOT NULL,
            verdict TEXT NOT NULL,
            why TEXT NOT NULL,
            seq INTEGER NOT NULL,
            PRIMARY KEY (judge, key)
        ) WITHOUT ROWID;

        CREATE TABLE filter_runs (
            run TEXT PRIMARY KEY,
            seq INTEGER NOT NULL,
            at INTEGER NOT NULL,
            annotator TEXT,
            rollouts TEXT NOT NULL,
            configuration TEXT NOT NULL,
            as_of INTEGER NOT NULL,
            state TEXT NOT NULL DEFAULT 'running',
            why TEXT NOT NULL DEFAULT '',
            kept INTEGER,
            masked INTEGER,
            unread INTEGER,
            to_judge INTEGER,
            judged INTEGER,
            unjudged INTEGER,
            gated TEXT NOT NULL DEFAULT '{}',
            cost_usd REAL,
            counts TEXT NOT NULL DEFAULT '{}'
        ) WITHOUT ROWID;
        """,
    )


def run_script(db: sqlite3.Connection, script: str) -> None:
    """Run statements inside the open transaction (`executescript` would commit it first)."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            db.execute(statement)
            statement = ""


def create_projections(db: sqlite3.Connection) -> None:
    """The projections' tables, empty. `verify` makes them a second time, to compare."""
    _first_projections(db)
    _second(db)


def _first_projections(db: sqlite3.Connection) -> None:
    run_script(
        db,
        """
        CREATE TABLE rollouts (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            task TEXT NOT NULL,
            model TEXT NOT NULL,
            sandbox TEXT NOT NULL,
            isolated INTEGER NOT NULL,
            state TEXT NOT NULL DEFAULT 'pending',
            why TEXT NOT NULL DEFAULT '',
            step INTEGER NOT NULL DEFAULT 0,
            actions INTEGER NOT NULL DEFAULT 0,
            marks INTEGER NOT NULL DEFAULT 0,
            errors INTEGER NOT NULL DEFAULT 0,
            score REAL,
            cost_usd REAL,
            cost_complete INTEGER NOT NULL DEFAULT 1,
            tokens_in INTEGER NOT NULL DEFAULT 0,
            tokens_cached INTEGER NOT NULL DEFAULT 0,
            tokens_out INTEGER NOT NULL DEFAULT 0,
            created_at INTEGER NOT NULL,
            started_at INTEGER,
            ended_at INTEGER,
            last_seq INTEGER NOT NULL,
            last_at INTEGER NOT NULL,
            entries INTEGER NOT NULL DEFAULT 0,
            queued_advice INTEGER NOT NULL DEFAULT 0,
            submissions INTEGER NOT NULL DEFAULT 0,
            max_submissions INTEGER,
            time_limit REAL,
            step_limit INTEGER,
            usd_limit REAL,
            worked_us INTEGER NOT NULL DEFAULT 0,
            in_flight TEXT NOT NULL DEFAULT '',
            group_name TEXT,
            tags TEXT NOT NULL DEFAULT '[]',
            hands_off INTEGER NOT NULL DEFAULT 0,
            parent TEXT,
            forked_at INTEGER
        ) WITHOUT ROWID;

        CREATE TABLE steps (
            rollout TEXT NOT NULL,
            step INTEGER NOT NULL,
            seq INTEGER NOT NULL,
            segment INTEGER NOT NULL,
            message_ref TEXT NOT NULL,
            thinking TEXT NOT NULL,
            text TEXT NOT NULL,
            model TEXT NOT NULL,
            served_model TEXT NOT NULL,
            tokens_in INTEGER NOT NULL,
            tokens_cached INTEGER NOT NULL,
            tokens_out INTEGER NOT NULL,
            cost_usd REAL,
            seconds REAL NOT NULL,
            superseded INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (rollout, step)
        ) WITHOUT ROWID;

        CREATE TABLE actions (
            rollout TEXT NOT NULL,
            step INTEGER NOT NULL,
            ordinal INTEGER NOT NULL,
            tool TEXT NOT NULL,
            call_id TEXT NOT NULL,
            arguments TEXT NOT NULL,
            state TEXT NOT NULL DEFAULT 'proposed',
            job TEXT,
            disposition TEXT NOT NULL DEFAULT '',
            exit_code INTEGER,
            seconds REAL,
            started_at INTEGER,
            finished_at INTEGER,
            observation_ref TEXT,
            output_ref TEXT,
            summary TEXT NOT NULL DEFAULT '',
            lines INTEGER NOT NULL DEFAULT 0,
            added INTEGER,
            removed INTEGER,
            synthetic INTEGER NOT NULL DEFAULT 0,
            error INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (rollout, step, ordinal)
        ) WITHOUT ROWID;

        CREATE TABLE marks (
            rollout TEXT NOT NULL,
            step INTEGER NOT NULL,
            ordinal INTEGER NOT NULL,
            annotator TEXT NOT NULL,
            mark TEXT NOT NULL,
            code TEXT,
            note TEXT NOT NULL,
            at INTEGER NOT NULL,
            seq INTEGER NOT NULL,
            PRIMARY KEY (rollout, step, ordinal, annotator)
        ) WITHOUT ROWID;

        CREATE TABLE advice (
            rollout TEXT NOT NULL,
            advice INTEGER NOT NULL,
            annotator TEXT,
            text TEXT NOT NULL,
            state TEXT NOT NULL,
            queued_at INTEGER NOT NULL,
            delivered_step INTEGER,
            PRIMARY KEY (rollout, advice)
        ) WITHOUT ROWID;

        CREATE TABLE evaluations (
            rollout TEXT NOT NULL,
            seq INTEGER NOT NULL,
            submission INTEGER NOT NULL,
            step INTEGER NOT NULL,
            score REAL,
            error TEXT NOT NULL,
            final INTEGER NOT NULL,
            seconds REAL NOT NULL,
            PRIMARY KEY (rollout, seq)
        ) WITHOUT ROWID;

        CREATE TABLE verdicts (
            run TEXT NOT NULL,
            rollout TEXT NOT NULL,
            step INTEGER NOT NULL,
            ordinal INTEGER NOT NULL,
            verdict TEXT NOT NULL,
            decided_by TEXT NOT NULL,
            rule TEXT NOT NULL,
            why TEXT NOT NULL,
            seq INTEGER NOT NULL,
            PRIMARY KEY (run, rollout, step, ordinal)
        ) WITHOUT ROWID;

        CREATE TABLE requests (
            rollout TEXT NOT NULL,
            seq INTEGER NOT NULL,
            step INTEGER NOT NULL,
            attempt INTEGER NOT NULL,
            purpose TEXT NOT NULL,
            starts_segment INTEGER NOT NULL,
            added TEXT NOT NULL,
            system_ref TEXT,
            tools_ref TEXT,
            PRIMARY KEY (rollout, seq)
        ) WITHOUT ROWID;
        CREATE INDEX requests_of_step ON requests (rollout, step, purpose, seq);

        CREATE TABLE entries (
            rollout TEXT NOT NULL,
            n INTEGER NOT NULL,
            kind TEXT NOT NULL,
            seq INTEGER NOT NULL,
            at INTEGER NOT NULL,
            step INTEGER NOT NULL,
            ordinal INTEGER NOT NULL DEFAULT 0,
            annotator TEXT,
            head TEXT NOT NULL DEFAULT '',
            text TEXT NOT NULL DEFAULT '',
            score REAL,
            landmark TEXT NOT NULL DEFAULT '',
            PRIMARY KEY (rollout, n)
        ) WITHOUT ROWID;
        CREATE INDEX entries_of_step ON entries (rollout, step, ordinal, n);
        CREATE INDEX landmarks ON entries (rollout, n, landmark) WHERE landmark != '';

        CREATE TABLE reads (
            rollout TEXT NOT NULL,
            annotator TEXT NOT NULL,
            step INTEGER NOT NULL,
            at INTEGER NOT NULL,
            PRIMARY KEY (rollout, annotator)
        ) WITHOUT ROWID;
        """,
    )


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_first, _second)
VERSION = len(MIGRATIONS)


def version_of(db: sqlite3.Connection, path: Path) -> int:
    """The schema's number. Raises LogTooNew or LogCorrupt, naming the file and the way out."""
    try:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version:
            db.execute("SELECT id FROM events LIMIT 1").fetchone()
        else:
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        raise what_is_wrong(error, path) from error
    if version > VERSION:
        raise LogTooNew(
            f"{path} was written by a newer apollo-tui (schema {version}, this program knows "
            f"{VERSION}); upgrade apollo-tui, or choose another home with --home"
        )
    return version


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring a database to the newest schema, one migration a transaction."""
    for number in range(version_of(db, path), VERSION):
        db.execute("BEGIN IMMEDIATE")
        MIGRATIONS[number](db)
        db.execute(f"PRAGMA user_version = {number + 1}")
        db.execute("COMMIT")


def what_is_wrong(error: sqlite3.Error, path: Path) -> LogError:
    """SQLite's error as one line with the file and what to do."""
    said = str(error)
    if "full" in said:
        return DiskFull(f"no room left to write {path}: free some space; nothing was lost")
    if "locked" in said or "busy" in said:
        return LogError(f"{path} is locked by another program: {said}")
    if "readonly" in said or "unable to open" in said:
        return LogError(f"{path} cannot be opened for writing: {said}; check its owner and mode")
    if "malformed" in said or "not a database" in said or "no such table" in said:
        return LogCorrupt(
            f"{path} is damaged ({said}); move it away together with its -wal and -shm files, and put a "
            "backup in its place"
        )
    return LogError(f"{path}: {said}")
