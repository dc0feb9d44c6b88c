"""Opening what an agent owns: nothing outside of one folder can be reached.

An agent can put a link, a pipe or a device where a file is expected, and can swap it for another
while somebody looks. So a path is resolved by the kernel in one go (openat2, which refuses links
and every way out), or, where there is no openat2, folder by folder from one open folder to the next.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path, PurePosixPath

from apollo_tui.errors import PathRefused

Folder = Path | int  # a host path that is trusted, or a folder that is open

_READ_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_READ_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OPENAT2 = 437  # the same number on every architecture
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08
_AGAIN = 100  # tries, while somebody renames folders under us
_WHY = {
    errno.ENOENT: "does not exist",
    errno.ENOTDIR: "does not exist: a part of it is no folder",
    errno.ELOOP: "is a symbolic link or leads through one, which is not followed",
    errno.EXDEV: "leads out of its folder",
    errno.EACCES: "may not be read",
    errno.EPERM: "may not be read",
    errno.ENXIO: "is no regular file",
    errno.EISDIR: "is a folder, no file",
    errno.ENAMETOOLONG: "has a name that is too long",
}


def open_beneath(folder: Folder, path: str, *, at_most: int | None = None) -> int:
    """Open a regular file for reading; returns its descriptor, which the caller closes. Blocks.

    `path` is relative to `folder`. Raises PathRefused for what does not exist or cannot be read, a
    link on the way, a way out, a folder, pipe, socket or device, a file that has a second name (it
    may stand outside), and one of more than `at_most` bytes.
    """
    fd = _open(folder, path, _READ_FILE)
    try:
        _require_plain_file(fd, path, at_most)
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_folder_beneath(folder: Folder, path: str) -> int:
    """Open a folder for listing, `.` for `folder` itself. Raises PathRefused as above. Blocks."""
    return _open(folder, path, _READ_FOLDER)


def write_beneath(folder: Folder, path: str, data: bytes) -> None:
    """Write a new file, whole or not at all, owned by the owner of `folder`. Blocks.

    Raises PathRefused when its folder is not there, or when something stands at `path` already,
    unless that is a file of exactly these bytes: writing twice is the same as once.
    """
    where, name = PurePosixPath(path).parent, PurePosixPath(path).name
    if not name or name == "..":
        raise PathRefused(f"{path or 'an empty path'} is no name of a file")
    with _opened(folder) as root:
        owner = os.fstat(root)
        parent = open_folder_beneath(root, str(where))
        try:
            _write_new(parent, name, data, owner)
        except FileExistsError:
            if not _says(parent, name, data):
                raise PathRefused(
                    f"{path} exists already and is not overwritten; name another file"
                ) from None
        except OSError as error:
            raise PathRefused(f"{path} cannot be written: {error.strerror}") from error
        finally:
            os.close(parent)


def _write_new(parent: int, name: str, data: bytes, owner: os.stat_result) -> None:
    """Under another name first; a link takes the real one only if nothing has it."""
    new = f".apollo-{uuid.uuid4().hex}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(new, flags, 0o600, dir_fd=parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(fd, 0o644)
            if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(fd, owner.st_uid, owner.st_gid)
            os.fsync(fd)
        os.link(new, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
    finally:
        with suppress(FileNotFoundError):  # the agent may have taken it away
            os.unlink(new, dir_fd=parent)


def _says(parent: int, name: str, data: bytes) -> bool:
    try:
        with os.fdopen(open_beneath(parent, name, at_most=len(data)), "rb") as file:
            return file.read(len(data) + 1) == data
    except PathRefused:
        return False


def _require_plain_file(fd: int, path: str, at_most: int | None) -> None:
    status = os.fstat(fd)
    if stat.S_ISDIR(status.st_mode):
        raise PathRefused(f"{path} is a folder, no file")
    if not stat.S_ISREG(status.st_mode):
        raise PathRefused(f"{path} is no regular file")
    if status.st_nlink > 1:
        raise PathRefused(f"{path} has a second name (a hard link); copy it first")
    if at_most is not None and status.st_size > at_most:
        raise PathRefused(f"{path} has {status.st_size:,} bytes; at most {at_most:,} are read")


# --- from the folder to what is opened -------------------------------------------------------------


def _open(folder: Folder, path: str, flags: int) -> int:
    parts = _parts(path)
    resolve = _by_kernel if _has_openat2() else _by_walking
    with _opened(folder) as root:
        return _resolved(resolve, root, parts, flags, path)


def _resolved(
    resolve: Callable[[int, list[str], int], int],
    root: int,
    parts: list[str],
    flags: int,
    path: str,
) -> int:
    try:
        return resolve(root, parts, flags)
    except OSError as error:
        why = _WHY.get(error.errno or 0) or f"cannot be opened: {error.strerror}"
        raise PathRefused(f"{path} {why}") from error


def _parts(path: str) -> list[str]:
    if "\0" in path:
        raise PathRefused("a path cannot hold a NUL character")
    if path.startswith("/"):
        raise PathRefused(f"{path} is absolute; it must be relative to its folder")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise PathRefused(f"{path} leads out of its folder or through its parent")
    return parts


@contextmanager
def _opened(folder: Folder) -> Iterator[int]:
    if isinstance(folder, int):
        yield folder
        return
    try:
        fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise PathRefused(f"the folder {folder} cannot be opened: {error.strerror}") from error
    try:
        yield fd
    finally:
        os.close(fd)


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def _by_kernel(root: int, parts: list[str], flags: int) -> int:
    path = os.fsencode("/".join(parts) or ".")
    how = _OpenHow(flags, 0, _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS)
    for _ in range(_AGAIN):
        fd = _openat2(root, path, how)
        if fd >= 0:
            return fd
        if ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
            break
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


def _by_walking(root: int, parts: list[str], flags: int) -> int:
    """Each folder is opened from the one before it, so none can be swapped for a link later."""
    if not parts:
        return os.open(".", flags | os.O_NOFOLLOW, dir_fd=root)
    held = root
    try:
        for part in parts[:-1]:
            below = _step(part, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, held)
            if held != root:
                os.close(held)
            held = below
        return _step(parts[-1], flags, held)
    finally:
        if held != root:
            os.close(held)


def _step(name: str, flags: int, held: int) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=held)
    except NotADirectoryError:  # also what a link is, when a folder is asked for
        status = os.stat(name, dir_fd=held, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
        raise


def _openat2(root: int, path: bytes, how: _OpenHow) -> int:
    """The descriptor; below 0 where it failed, and ctypes holds the errno."""
    size = ctypes.c_size_t(ctypes.sizeof(how))
    return int(
        _libc().syscall(ctypes.c_long(_OPENAT2), ctypes.c_int(root), path, ctypes.byref(how), size)
    )


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


@cache
def _has_openat2() -> bool:
    """It came with Linux 5.6, and a seccomp filter may refuse it as if it were forbidden."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(_by_kernel(root, [], _READ_FOLDER))
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM, errno.EACCES):
            return False
        raise
    finally:
        os.close(root)
    return True
