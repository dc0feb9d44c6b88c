"""The process that reads one document, and prints one JSON object.

    python -I -m apollo_tui.parsing KIND --folder FD --path PATH --parent PID [--user UID:GID]

FD is an open folder, PATH the document beneath it. It ends with its parent. Before it opens anything, it gives up what it
could do: memory, time, files to write, processes to start, and its user when it is root.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import encodings
import functools
import importlib
import json
import os
import pkgutil
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from apollo_tui.errors import PathRefused
from apollo_tui.parsing import (
    INSTALL,
    READ_AT_MOST,
    TEXT_AT_MOST,
    Parsed,
    Unreadable,
    counted,
)
from apollo_tui.sandbox.beneath import open_beneath

MEMORY = 1 << 30  # bytes of address space
CPU_SECONDS = 120
NOTES_AT_MOST = 10
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_PACKAGES = {"pdf": "pypdf", "docx": "docx", "pptx": "pptx", "latex": "pylatexenc"}
LINE_AT_MOST = 500  # characters of a note or an error


def main(words: Sequence[str]) -> dict[str, Any]:
    """What came of it: {"text", "size", "notes"}, or {"error"} in one line."""
    asked = _arguments(words)
    try:
        read = _reader(asked)
    except ImportError as error:
        return _failed(
            f"the Python package {error.name} is missing where apollo-tui runs, and only its "
            f"operator can install it: {INSTALL}"
        )
    if asked.user is not None:
        _load_what_may_be_needed(asked.kind)
    try:
        _give_up(asked.user)
        _end_with(asked.parent)
        return _limited(read(_beneath(asked.folder, asked.path)))
    except ImportError as error:
        return _failed(
            f"{error.name} cannot be loaded as the job's user; the operator can install apollo-tui "
            "where every user can read it"
        )
    except Unreadable as why:
        return _failed(str(why))
    except MemoryError:
        return _failed(f"it takes more than {MEMORY >> 20:,} MiB of memory to read")
    except RecursionError:
        return _failed("it is nested too deeply")
    except Exception as error:  # a library stumbled; the agent reads what over
        return _failed(f"it is broken in a way nobody foresaw: {type(error).__name__}: {error}")


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m apollo_tui.parsing")
    parser.add_argument("kind", choices=("pdf", "docx", "pptx", "latex"))
    parser.add_argument("--user", type=lambda text: tuple(int(part) for part in text.split(":")))
    parser.add_argument("--folder", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--parent", type=int, required=True)
    return parser.parse_args(words)


def _reader(asked: argparse.Namespace) -> Callable[[bytes], Parsed]:
    """The function for this kind; with it come the libraries, while they can still be loaded."""
    module = importlib.import_module(f"apollo_tui.parsing.{asked.kind}")
    if asked.kind != "latex":
        reader: Callable[[bytes], Parsed] = getattr(module, f"{asked.kind}_text")
        return reader
    include = functools.partial(_beneath, asked.folder)
    return functools.partial(module.latex_text, path=asked.path, include=include)


def _load_what_may_be_needed(kind: str) -> None:
    """What the libraries load only on the way, by when nothing of a Python below a folder of root's
    can be read any more."""
    for package in (importlib.import_module(_PACKAGES[kind]), encodings):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                with contextlib.suppress(ImportError):  # an optional one, or of another system
                    importlib.import_module(module.name)
    for name in ("subprocess", "unicodedata"):
        importlib.import_module(name)


def _beneath(folder: int, path: str) -> bytes:
    try:
        with os.fdopen(open_beneath(folder, path, at_most=READ_AT_MOST), "rb") as file:
            data = file.read(READ_AT_MOST)
    except PathRefused as refused:
        raise Unreadable(refused.line) from refused
    if not data:
        raise Unreadable("it is empty")
    return data


def _give_up(user: tuple[int, int] | None) -> None:
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    if user is not None:
        os.setgroups([])
        os.setresgid(user[1], user[1], user[1])
        os.setresuid(user[0], user[0], user[0])
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def _end_with(parent: int) -> None:
    """Ask to be killed when the parent dies; it may have died before. A change of the user would
    undo it, so it comes after."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _limited(parsed: Parsed) -> dict[str, Any]:
    text = _storable(parsed.text)
    notes = list(parsed.notes)
    if len(text) > TEXT_AT_MOST:
        notes.append(f"{counted(len(text) - TEXT_AT_MOST, 'character')} at its end left out")
        text = text[:TEXT_AT_MOST]
    shown = [_line(note) for note in notes[:NOTES_AT_MOST]]
    if len(notes) > NOTES_AT_MOST:
        shown.append(counted(len(notes) - NOTES_AT_MOST, "more note"))
    return {"text": text, "size": parsed.size, "notes": shown}


def _failed(why: str) -> dict[str, Any]:
    return {"error": _line(why)}


def _line(text: str) -> str:
    return _storable(" ".join(text.split())[:LINE_AT_MOST])


def _storable(text: str) -> str:
    """Without NUL and halves of surrogate pairs, which a broken document can hold."""
    return text.replace("\0", "�").encode("utf-8", "replace").decode("utf-8")


if __name__ == "__main__":
    json.dump(main(sys.argv[1:]), sys.stdout)
