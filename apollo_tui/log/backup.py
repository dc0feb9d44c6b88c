"""A copy of the log that is whole, made while the core goes on writing."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from apollo_tui.errors import LogCorrupt, UsageError
from apollo_tui.log.schema import version_of, what_is_wrong
from apollo_tui.whole import whole


def backup(log: Path, target: Path) -> int:
    """Copy a log into a new file of mode 0600, checked, whole or not at all; returns its bytes.

    All pages are copied in one step: copying some at a time begins anew at each write in between.
    Raises UsageError when there is no log or the target exists, else LogError, LogCorrupt, or
    ApolloError for a place that cannot be written.
    """
    if not log.exists():
        raise UsageError(f"there is no log at {log} to back up")
    with whole(target) as copy:
        os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            _copy(log, copy, target)
            _check(copy, log)
        finally:
            for end in ("-wal", "-shm", "-journal"):
                copy.with_name(copy.name + end).unlink(missing_ok=True)
    return target.stat().st_size


def _copy(log: Path, copy: Path, target: Path) -> None:
    try:
        with (
            contextlib.closing(
                sqlite3.connect(f"{log.absolute().as_uri()}?mode=ro", uri=True)
            ) as source,
            contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as written,
        ):
            version_of(source, log)
            source.backup(written, pages=-1)
            # One file, that can be read where nobody can write.
            written.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise what_is_wrong(error, target if "full" in str(error) else log) from error


def _check(copy: Path, log: Path) -> None:
    try:
        with contextlib.closing(
            sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro", uri=True)
        ) as db:
            said = [row[0] for row in db.execute("PRAGMA integrity_check")]
    except sqlite3.Error as error:
        said = [str(error)]
    if said != ["ok"]:
        raise LogCorrupt(
            f"the copy of {log} is damaged ({said[0]}), so nothing was written; "
            "see what is wrong with: apollo-tui verify"
        )
