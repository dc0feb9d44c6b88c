"""The file tools, inside the sandbox and as the job's user.

    python3 files.py < {"tool": …, "arguments": {…}, "workspace": …}

Standard library only, Python >= 3.8. Prints one JSON object: success, message or error_message, text
(what else the agent reads), summary (one line for lists), lines, and for changes the lines added
and removed. Which file is open, and where, is kept in a small file in the job's temporary folder
(or in $APOLLO_STATE). Lines end with "\\n" and nothing else, as for grep and sed.
"""

# One name, one system call: what runs for every action should start fast.
# ruff: noqa: PTH101, PTH103, PTH105, PTH108, PTH110, PTH111, PTH112, PTH113, PTH114, PTH115, PTH116, PTH118, PTH119, PTH120, PTH123, PTH208

from __future__ import annotations

import ast
import contextlib
import difflib
import fnmatch
import json
import os
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Dict  # noqa: UP035

Said = Dict[str, Any]  # noqa: UP006 - a value at run time, and Python 3.8 has no dict[…]

WINDOW = 100  # lines that a scroll moves
LONGEST_LINE = 2000  # characters of one line that are shown
LARGEST = 20 << 20  # bytes of a file that is read whole
HITS = 200  # matches that a search shows
HIT_WIDTH = 300  # characters of a matching line that are shown
ENTRIES = 1000  # of a folder that are listed
COMPARED = 4000  # lines that are compared; beyond that all count as changed
SKIPPED = (".git", "__pycache__", "node_modules")


class Refused(Exception):
    """What the agent is told when a tool cannot do what it was asked."""


class Workspace:
    """Paths as the agent writes and reads them, and which file is open."""

    def __init__(self, root: str) -> None:
        self.root = os.path.normpath(root)
        folder = os.environ.get("APOLLO_STATE") or tempfile.gettempdir()
        self.state = os.path.join(folder, f"apollo-open-{os.getuid()}")

    def path(self, given: str) -> str:
        if "\0" in given:
            raise Refused("a path cannot hold a NUL character")
        if given == "/workspace" or given.startswith("/workspace/"):
            given = os.path.join(self.root, given[len("/workspace/") :])
        return os.path.normpath(os.path.join(self.root, os.path.expanduser(given)))

    def shown(self, path: str) -> str:
        if path == self.root:
            return "."
        inside = path.startswith(self.root.rstrip("/") + "/")
        return os.path.relpath(path, self.root) if inside else path

    def remember(self, path: str, line: int) -> None:
        with contextlib.suppress(OSError):  # then scrolling will say that no file is open
            replace(self.state, json.dumps({"path": path, "line": line}).encode())

    def recall(self) -> tuple[str, int]:
        try:
            with open(self.state, encoding="utf-8") as file:
                said = json.load(file)
            return str(said["path"]), int(said["line"])
        except (OSError, ValueError, KeyError, TypeError):
            raise Refused("no file is open; open one with open_file") from None


# --- reading ----------------------------------------------------------------------------------------


def read(workspace: Workspace, path: str) -> str:
    """A text file's content; bytes that are not UTF-8 survive reading and writing."""
    shown = workspace.shown(path)
    status = look(workspace, path)
    if stat.S_ISDIR(status.st_mode):
        raise Refused(f"{shown} is a folder; use list_files")
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{shown} is no regular file")
    if status.st_size > LARGEST:
        raise Refused(
            f"{shown} has {status.st_size:,} bytes, too many to open; use bash (head, sed -n, grep)"
        )
    with open(path, "rb") as file:
        data = file.read()
    if is_binary(data):
        raise Refused(f"{shown} is a binary file of {len(data):,} bytes")
    return data.decode("utf-8", "surrogateescape")


def look(workspace: Workspace, path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        shown = workspace.shown(path)
        if os.path.islink(path):
            raise Refused(
                f"{shown} is a link to {os.readlink(path)}, which does not exist"
            ) from None
        raise Refused(f"{shown} does not exist{near(path)}") from None


def near(path: str) -> str:
    try:
        names = os.listdir(os.path.dirname(path))
    except OSError:
        return ""
    found = difflib.get_close_matches(os.path.basename(path), names, 3)
    return f"; near it: {', '.join(found)}" if found else ""


def is_binary(data: bytes) -> bool:
    return b"\0" in data[:8192]


def lines_of(text: str) -> list[str]:
    """The lines without their ends. "a\\n" and "a" have one line, "" has none."""
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def window(workspace: Workspace, path: str, line: int, count: int) -> Said:
    """`count` lines with their numbers, `line` in their middle. This becomes the open file."""
    lines = lines_of(read(workspace, path))
    line = max(1, min(line, len(lines)))
    first = max(1, min(line - count // 2, len(lines) - count + 1)) if line > 1 else 1
    return view(workspace, path, lines, first, count)


def view(workspace: Workspace, path: str, lines: list[str], first: int, count: int) -> Said:
    last = min(len(lines), first + count - 1)
    workspace.remember(path, first)
    where = f"{first}-{last}" if lines else "none"
    width = len(str(last))
    body = [
        f"{number:{width}}| {fitted(lines[number - 1], LONGEST_LINE)}"
        for number in range(first, last + 1)
    ]
    count_all = plural(len(lines), "line")
    return {
        "message": f"{workspace.shown(path)}, {count_all}, showing {where}",
        "text": "\n".join(body),
        "summary": f"lines {where} of {len(lines)}",
        "lines": len(body),
    }


def fitted(line: str, limit: int) -> str:
    line = line[:-1] if line.endswith("\r") else line
    if len(line) <= limit:
        return line
    return f"{line[:limit]}… {len(line) - limit:,} characters more"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def open_file(workspace: Workspace, path: str, line_number: int, context_lines: int) -> Said:
    return window(workspace, workspace.path(path), line_number, context_lines)


def file_goto_line(workspace: Workspace, line_number: int) -> Said:
    path, _ = workspace.recall()
    return window(workspace, path, line_number, WINDOW)


def file_scroll_down(workspace: Workspace) -> Said:
    return scroll(workspace, WINDOW)


def file_scroll_up(workspace: Workspace) -> Said:
    return scroll(workspace, -WINDOW)


def scroll(workspace: Workspace, by: int) -> Said:
    path, first = workspace.recall()
    lines = lines_of(read(workspace, path))
    first = max(1, min(first + by, len(lines) - WINDOW + 1))
    return view(workspace, path, lines, first, WINDOW)


# --- changing ---------------------------------------------------------------------------------------


def create_file(workspace: Workspace, filename: str, content: str) -> Said:
    path = workspace.path(filename)
    there = os.path.exists(path)
    if there and not os.path.isfile(path):
        kind = "a folder" if os.path.isdir(path) else "no regular file"
        raise Refused(f"{workspace.shown(path)} is {kind} and cannot be written")
    before = lines_before(workspace, path) if there else []
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write(path, content)
    after = lines_of(content)
    workspace.remember(path, 1)
    added, removed = changed(before, after)
    verb, size = "rewrote" if there else "created", plural(len(after), "line")
    message = f"{verb} {workspace.shown(path)} ({size}){syntax(path, content)}"
    return {"message": message, "added": added, "removed": removed, "lines": 1}


def lines_before(workspace: Workspace, path: str) -> list[str]:
    """What is overwritten may be anything; only of a text can lines be counted."""
    try:
        return lines_of(read(workspace, path))
    except Refused:
        return []


def edit_file(workspace: Workspace, path: str, start: int, end: int, content: str) -> Said:
    path = workspace.path(path)
    text = read(workspace, path)
    lines = lines_of(text)
    start, end = replaced(workspace.shown(path), len(lines), start, end)
    before = lines[start - 1 : end]
    after = lines_of(content)
    if lines and all(line.endswith("\r") for line in lines):
        after = [line if line.endswith("\r") else line + "\r" for line in after]
    now = lines[: start - 1] + after + lines[end:]
    unended = bool(lines) and not text.endswith("\n") and end < len(lines)
    result = "\n".join(now) + ("\n" if now and not unended else "")
    write(path, result)
    added, removed = changed(before, after)
    counts = f"{plural(added, 'line')} added, {plural(removed, 'line')} removed"
    message = f"edited {workspace.shown(path)}: {counts}{syntax(path, result)}"
    first = max(1, start - 5)
    shown = view(workspace, path, now, first, min(WINDOW, start - first + len(after) + 5))
    return {
        "message": message,
        "text": shown["text"],
        "lines": 1 + shown["lines"],
        "added": added,
        "removed": removed,
    }


def replaced(shown: str, count: int, start: int, end: int) -> tuple[int, int]:
    """The lines to replace: start -1 is behind the last line, end -1 is the last line."""
    if start == -1:
        return count + 1, count
    if end == -1:
        end = count
    if start < 1 or start > count + 1 or end > count or end < start - 1:
        raise Refused(
            f"{shown} has {plural(count, 'line')}, so lines {start} to {end} cannot be replaced"
        )
    return start, end


def write(path: str, text: str) -> None:
    replace(os.path.realpath(path), text.encode("utf-8", "surrogateescape"))


def replace(path: str, data: bytes) -> None:
    """Write beside it and rename: a reader sees the old file or the new one. Its mode is kept."""
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".apollo-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, mode_of(path))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def mode_of(path: str) -> int:
    """A file's permissions; of a new one what the umask leaves."""
    with contextlib.suppress(FileNotFoundError):
        return stat.S_IMODE(os.stat(path).st_mode)
    mask = os.umask(0o022)
    os.umask(mask)
    return 0o666 & ~mask


def changed(before: list[str], after: list[str]) -> tuple[int, int]:
    """How many lines were added and removed."""
    if len(before) + len(after) > COMPARED:
        return len(after), len(before)
    same = difflib.SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    kept = sum(block.size for block in same)
    return len(after) - kept, len(before) - kept


def syntax(path: str, text: str) -> str:
    """A warning when a Python file cannot be one; the file is written all the same."""
    if not path.endswith(".py"):
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except SyntaxError as error:
        return f"; warning: not valid Python, {error.msg} in line {error.lineno}"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"; warning: not valid Python, {error}"
    return ""


# --- searching --------------------------------------------------------------------------------------


def search_dir(workspace: Workspace, search_term: str, dir_path: str) -> Said:
    root = folder(workspace, dir_path)
    found: list[str] = []
    total = files = large = 0
    for path in walk(root):
        here = matches(path, search_term)
        if here is None:
            large += 1
            continue
        files += bool(here)
        total += len(here)
        for number, line in here[: HITS - len(found)]:
            found.append(f"{workspace.shown(path)}:{number}: {line}")
    where = f"in {plural(files, 'file')} of {workspace.shown(root)}"
    more = f"; {plural(large, 'file')} too large to search" if large else ""
    return hits(found, total, where if total else "in " + workspace.shown(root), more)


def search_file(workspace: Workspace, search_term: str, file_path: str) -> Said:
    path = workspace.path(file_path) if file_path else workspace.recall()[0]
    read(workspace, path)  # for what it refuses
    here = matches(path, search_term) or []
    found = [f"{number}: {line}" for number, line in here[:HITS]]
    return hits(found, len(here), "in " + workspace.shown(path))


def find_file(workspace: Workspace, file_name: str, dir_path: str) -> Said:
    root = folder(workspace, dir_path)
    found = [
        workspace.shown(path)
        for path in walk(root)
        if fnmatch.fnmatch(os.path.basename(path), file_name)
    ]
    return hits(found[:HITS], len(found), "in " + workspace.shown(root))


def walk(root: str) -> Iterator[str]:
    for where, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        for name in sorted(files):
            yield os.path.join(where, name)


def matches(path: str, term: str) -> list[tuple[int, str]] | None:
    """Line numbers and lines; None for a file that is too large to search."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return []
        if status.st_size > LARGEST:
            return None
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return []
    if is_binary(data):
        return []
    lines = enumerate(lines_of(data.decode("utf-8", "surrogateescape")), 1)
    return [(number, fitted(line.strip(), HIT_WIDTH)) for number, line in lines if term in line]


def hits(found: list[str], total: int, where: str, more: str = "") -> Said:
    if not total:
        return {"message": f"no match {where}{more}", "summary": "no match", "lines": 0}
    count = f"{total:,} {'match' if total == 1 else 'matches'}"
    if total > len(found):
        more += f"; only the first {len(found)} are shown, search for something rarer"
    return {
        "message": f"{count} {where}{more}",
        "text": "\n".join(found),
        "summary": f"{count} {where}",
        "lines": len(found),
    }


def folder(workspace: Workspace, given: str) -> str:
    path = workspace.path(given)
    if not stat.S_ISDIR(look(workspace, path).st_mode):
        raise Refused(f"{workspace.shown(path)} is a file, no folder")
    return path


# --- looking around ---------------------------------------------------------------------------------


def list_files(workspace: Workspace, path: str, show_hidden: bool) -> Said:
    root = folder(workspace, path)
    names = sorted(name for name in os.listdir(root) if show_hidden or not name.startswith("."))
    entries = [entry(root, name) for name in names[:ENTRIES]]
    count = "1 entry" if len(names) == 1 else f"{len(names):,} entries"
    message = f"{workspace.shown(root)}: {count}"
    if len(names) > ENTRIES:
        message += f"; only the first {ENTRIES} are shown"
    return {
        "message": message,
        "text": "\n".join(f"{size:>12}  {shown}" for size, shown in entries),
        "summary": "  ".join(shown for _, shown in entries[:12]) or "empty",
        "lines": len(entries),
    }


def entry(root: str, name: str) -> tuple[str, str]:
    """A name's size, and the name as it is listed."""
    path = os.path.join(root, name)
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            return "link", f"{name} -> {os.readlink(path)}"
    except OSError:  # removed while we looked
        return "gone", name
    if stat.S_ISDIR(status.st_mode):
        return "folder", name + "/"
    return (format(status.st_size, ",") if stat.S_ISREG(status.st_mode) else "special"), name


def get_file_info(workspace: Workspace, path: str) -> Said:
    path = workspace.path(path) if path else workspace.recall()[0]
    status = os.lstat(path) if os.path.islink(path) else look(workspace, path)
    kinds = ((stat.S_ISDIR, "folder"), (stat.S_ISLNK, "link"), (stat.S_ISREG, "file"))
    kind = next((name for test, name in kinds if test(status.st_mode)), "special file")
    modified = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(status.st_mtime))
    facts = [
        f"size: {status.st_size:,} bytes",
        f"permissions: {stat.filemode(status.st_mode)}",
        f"modified: {modified}",
    ]
    if kind == "link":
        facts.append(f"target: {os.readlink(path)}")
    if kind == "file" and status.st_size <= LARGEST:
        with open(path, "rb") as file:
            data = file.read()
        counted = len(lines_of(data.decode("utf-8", "surrogateescape")))
        facts.append("content: binary" if is_binary(data) else f"lines: {counted:,}")
    return {
        "message": f"{workspace.shown(path)} is a {kind}",
        "text": "\n".join(facts),
        "summary": f"{kind}, {status.st_size:,} bytes",
        "lines": len(facts),
    }


TOOLS: dict[str, Callable[..., Said]] = {
    tool.__name__: tool
    for tool in (
        open_file,
        file_goto_line,
        file_scroll_down,
        file_scroll_up,
        create_file,
        edit_file,
        search_dir,
        search_file,
        find_file,
        list_files,
        get_file_info,
    )
}


def run(request: Said) -> Said:
    workspace = Workspace(request["workspace"])
    try:
        return dict(TOOLS[request["tool"]](workspace, **request["arguments"]), success=True)
    except Refused as refused:
        why = str(refused)
    except OSError as error:
        about = workspace.shown(os.fsdecode(error.filename)) if error.filename else request["tool"]
        why = f"{about}: {error.strerror}"
    return {"success": False, "error_message": why, "lines": 1}


if __name__ == "__main__":
    json.dump(run(json.load(sys.stdin)), sys.stdout)
