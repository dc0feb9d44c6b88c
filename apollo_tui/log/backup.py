"""A copy of the log that is whole, made while the core goes on writing."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

from apollo_tui.errors import LogCorrupt, LogError, UsageError
from apollo_tui.log.schema import version_of, what_is_wrong


def backup(log: Path, target: Path) -> int:
    """Copy a log into a new file of mode 0600, checked, whole or not at all; returns its bytes.

    All pages are copied in one step: copying some at a time begins anew at each write in between.
    Raises UsageError when there is no log or the target exists, LogError or LogCorrupt otherwise.
    """
    if not log.exists():
        raise UsageError(f"there is no log at {log} to back up")
    _refuse_existing(target)
    with _beside(target) as copy:
        _copy(log, copy, target)
        _check(copy, log)
        _sync(copy)
        try:
            os.link(copy, target)  # unlike a rename, it never replaces what came meanwhile
            _sync(target.parent)
        except FileExistsError:
            _refuse_existing(target)
        except OSError as error:
            raise LogError(f"cannot write {target}: {error.strerror}") from error
    return target.stat().st_size


def _refuse_existing(target: Path) -> None:
    if target.is_symlink() or target.exists():
        raise UsageError(f"{target} exists already and is not overwritten; name another file")


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    copy = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}")
    try:
        os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise LogError(f"cannot write {target}: {error.strerror}") from error
    try:
        yield copy
    finally:
        for name in (copy, *(copy.with_name(f"{copy.name}-{end}") for end in ("wal", "shm"))):
            name.unlink(missing_ok=True)


def _copy(log: Path, copy: Path, target: Path) -> None:
    try:
        source = sqlite3.connect(f"{log.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as error:
        raise what_is_wrong(error, log) from error
    try:
        version_of(source, log)
        written = sqlite3.connect(copy, isolation_level=None)
        try:
            source.backup(written, pages=-1)
            written.execute(
                "PRAGMA journal_mode = DELETE"
            )  # one file, readable where none can write
        finally:
            written.close()
    except sqlite3.Error as error:
        raise what_is_wrong(error, target if "full" in str(error) else log) from error
    finally:
        source.close()


def _check(copy: Path, log: Path) -> None:
    db = sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro", uri=True)
    try:
        said = [row[0] for row in db.execute("PRAGMA integrity_check")]
    except sqlite3.Error as error:
        said = [str(error)]
    finally:
        db.close()
    if said != ["ok"]:
        raise LogCorrupt(
            f"the copy of {log} is damaged ({said[0]}), so nothing was written; "
            "see what is wrong with: apollo-tui verify"
        )


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
