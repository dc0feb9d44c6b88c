"""The folder of an export: filled beside its target, under its name only once it is whole.

    with new_folder(target, replace=False) as partial:
        ...                                   # write into `partial`

Leaving the block renames the folder; an exception of any kind removes it instead. What a killed export
left is removed by the next one to the same target: a folder in use is locked.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from apollo_tui.errors import ExportError, UsageError
from apollo_tui.filter.export.facts import FACTS_FILE, README_FILE, read_facts

NAMED = 5  # of what stands in the way
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextlib.contextmanager
def new_folder(target: Path, *, replace: bool) -> Iterator[Path]:
    """A folder to fill, which becomes `target` at the end. Raises UsageError when the target may not
    be written, ExportError when the disk or its rights do not allow it."""
    target = target.absolute()
    refuse_existing(target, replace=replace)
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    lock = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target)
        partial.mkdir()
        lock = _lock(partial)
        yield partial
        _sync_folder(partial)
        refuse_existing(target, replace=replace)  # someone may have put a file there meanwhile
        _put_in_place(partial, target, replace=replace)
        _sync_folder(target.parent)
    except OSError as error:
        raise ExportError(_what_is_wrong(error, target)) from error
    finally:
        if lock is not None:
            shutil.rmtree(partial, ignore_errors=True)  # after an exchange: what was replaced
            os.close(lock)


def refuse_existing(target: Path, *, replace: bool) -> None:
    """Raises UsageError when something is there that is not to be replaced: all but an earlier export
    that holds nothing else, because replacing removes what is there."""
    if not os.path.lexists(target):
        return
    if target.is_symlink():
        raise UsageError(f"{target} is a link; name the folder it leads to, or a new one")
    try:
        written = {FACTS_FILE, README_FILE, *read_facts(target).files}
    except ExportError as error:
        raise UsageError(
            f"{target} is there already and is no export; name a new folder"
        ) from error
    if not replace:
        raise UsageError(f"{target} is an earlier export; name a new folder, or write --replace")
    try:
        others = sorted(
            one.name
            for one in os.scandir(target)
            if one.name not in written or one.is_dir(follow_symlinks=False)
        )
    except OSError as error:
        raise UsageError(f"cannot read {target}: {error.strerror}; name a new folder") from error
    if others:
        raise UsageError(
            f"{target} holds what the export did not write: {_some(others)}; move it elsewhere, or "
            "name a new folder"
        )


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _remove_abandoned(target: Path) -> None:
    """Partial folders that nobody fills any more."""
    for left in target.parent.glob(f".{_literally(target.name)}.partial-*"):
        lock = _lock(left)
        if lock is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)


def _literally(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _lock(folder: Path) -> int | None:
    """A descriptor that locks a folder until it is closed; None when another holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _put_in_place(partial: Path, target: Path, *, replace: bool) -> None:
    if replace and os.path.lexists(target):
        _exchange(partial, target)
    else:
        partial.rename(target)


def _exchange(one: Path, other: Path) -> None:
    """Swap two folders in one step, so that there is a whole export under the name at any time."""
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    if libc.renameat2(*arguments) == 0:
        return
    code = ctypes.get_errno()
    if code not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(code, os.strerror(code), str(other))
    # This file system cannot swap: for a moment there is nothing under the name.
    aside = one.with_name(f"{one.name}.replaced")
    other.rename(aside)
    try:
        one.rename(other)
    except OSError:
        aside.rename(other)
        raise
    aside.rename(one)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _what_is_wrong(error: OSError, target: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"no room left to write {target} ({error.strerror}): free some space, or choose "
            "another place with --out; nothing was left there"
        )
    return f"{target} cannot be written: {error.strerror or error}; nothing was left there"
