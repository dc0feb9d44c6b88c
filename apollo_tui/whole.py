"""A new file or folder that is there whole, or not at all, and never in place of another."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from apollo_tui.errors import ApolloError, UsageError

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


@contextlib.contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A path beside `target` at which to make the file or folder; it gets its name when the block
    ends, and is deleted when the block raises.

    Raises UsageError when something stands at `target` already, and ApolloError when it cannot be
    written there, also for an OSError out of the block.
    """
    _refuse_existing(target)
    if not target.parent.is_dir():
        raise UsageError(f"cannot write {target}: there is no folder {target.parent}")
    made = target.with_name(f".{target.name[:200]}.{uuid.uuid4().hex[:12]}")
    try:
        yield made
        _sync(made)
        _name(made, target)
        _sync(target.parent)
    except OSError as error:
        raise ApolloError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        if made.is_dir():
            shutil.rmtree(made, ignore_errors=True)
        else:
            made.unlink(missing_ok=True)


def _refuse_existing(target: Path) -> None:
    if target.is_symlink() or target.exists():
        raise UsageError(f"{target} exists already and is not overwritten; choose another name")


def _name(made: Path, target: Path) -> None:
    """A link takes a name only when nothing has it; where there are none, a look must do."""
    if not made.is_dir():
        try:
            os.link(made, target)
            return
        except FileExistsError:
            _refuse_existing(target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
    _refuse_existing(target)
    made.rename(target)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
