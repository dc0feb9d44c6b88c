"""How much of the log each rollout takes: its events, and its part of the texts."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from pathlib import Path

from apollo_tui.log.schema import version_of, what_is_wrong
from apollo_tui.log.texts import refs_in


def log_shares(path: Path) -> dict[str | None, float]:
    """Bytes of events and of compressed texts by rollout; None stands for what belongs to none.

    A text is stored once, however many rollouts name it: each of them has an equal part of it, so
    that the shares add up. Raises LogError or LogCorrupt.
    """
    if not path.exists():
        return {}
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            version_of(db, path)
            db.execute("BEGIN")  # one view of the log while the core goes on writing
            return _shares(db)
        finally:
            db.close()
    except sqlite3.Error as error:
        raise what_is_wrong(error, path) from error


def _shares(db: sqlite3.Connection) -> dict[str | None, float]:
    shares: defaultdict[str | None, float] = defaultdict(float)
    named_by: dict[bytes, tuple[str | None, ...]] = {}
    alone: dict[str | None, tuple[str | None, ...]] = {}
    for rollout, payload in db.execute("SELECT rollout, payload FROM events"):
        shares[rollout] += len(payload)
        mine = alone.setdefault(rollout, (rollout,))
        for ref in refs_in(payload):
            key = bytes.fromhex(ref)
            by = named_by.setdefault(key, mine)
            if rollout not in by:
                named_by[key] = (*by, rollout)
    for ref, size in db.execute("SELECT hash, length(data) FROM texts"):
        by = named_by.get(bytes.fromhex(ref), (None,))
        for rollout in by:
            shares[rollout] += size / len(by)
    return dict(shares)
