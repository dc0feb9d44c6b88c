"""Is the log sound? Rebuild every projection from the events and compare; check every text."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import zstandard
from pydantic import ValidationError

from apollo_tui.log import projections
from apollo_tui.log.events import event_adapter
from apollo_tui.log.schema import PROJECTIONS, create_projections, version_of
from apollo_tui.log.texts import decompress, refs_in, text_hash


def verify(path: Path) -> list[str]:
    """The faults of a log, one sentence each; empty when all is well. Writes nothing."""
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    rebuilt = sqlite3.connect(":memory:", isolation_level=None)
    try:
        version_of(db, path)
        db.execute("BEGIN")  # one view of the log while the core goes on writing
        faults = list(_integrity(db))
        if not faults:
            faults += _replay(db, rebuilt)
            faults += _texts(db)
            for table in PROJECTIONS:
                faults += _compare(table, db, rebuilt)
        return faults
    finally:
        db.close()
        rebuilt.close()


def _integrity(db: sqlite3.Connection) -> Iterator[str]:
    for (said,) in db.execute("PRAGMA integrity_check"):
        if said != "ok":
            yield f"SQLite: {said}"


def _replay(db: sqlite3.Connection, rebuilt: sqlite3.Connection) -> Iterator[str]:
    create_projections(rebuilt)
    rebuilt.execute("BEGIN")
    for seq, payload in db.execute("SELECT id, payload FROM events ORDER BY id"):
        try:
            event = event_adapter.validate_json(payload)
        except ValidationError as error:
            yield f"event {seq} cannot be read: {error.errors()[0]['msg']}"
            continue
        projections.apply(rebuilt, seq, event)
    rebuilt.execute("COMMIT")


def _compare(table: str, db: sqlite3.Connection, rebuilt: sqlite3.Connection) -> Iterator[str]:
    query = f"SELECT * FROM {table} ORDER BY {_key(rebuilt, table)}"
    rows = zip_longest(db.execute(query), rebuilt.execute(query))
    different = sum(1 for stored, made in rows if stored != made)
    if different:
        yield f"{table}: {different} rows differ from what the events say"


def _key(db: sqlite3.Connection, table: str) -> str:
    columns = [row for row in db.execute(f"PRAGMA table_info({table})") if row[5]]
    return ", ".join(name for _, name, *_ in sorted(columns, key=lambda row: row[5]))


def _texts(db: sqlite3.Connection) -> Iterator[str]:
    known = set()
    for ref, size, data in db.execute("SELECT hash, size, data FROM texts"):
        known.add(ref)
        try:
            text = decompress(data)
        except (zstandard.ZstdError, UnicodeDecodeError) as error:
            yield f"text {ref} cannot be read: {error}"
            continue
        if text_hash(text) != ref or len(text.encode()) != size:
            yield f"text {ref} is not what its address says"
    for seq, payload in db.execute("SELECT id, payload FROM events ORDER BY id"):
        for ref in refs_in(payload):
            if ref not in known:
                yield f"event {seq} names the text {ref}, which is missing"
