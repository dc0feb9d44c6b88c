"""The file tools, inside the sandbox and as the job's user.

    python3 files.py < {"tool": …, "arguments": {…}, "workspace": …}

Standard library only, Python >= 3.8. Prints one JSON object: success, text (what the agent reads),
summary, and for changes the lines added and removed. Which file is open, and where, is kept in a
small file in the job's temporary folder.
"""

# One name, one system call: what runs for every action should start fast.
# ruff: noqa: UP031, RUF005, PTH103, PTH101, PTH105, PTH108, PTH110, PTH111, PTH112, PTH116, PTH118, PTH119, PTH120, PTH123, PTH202, PTH208, PTH115

from __future__ import annotations

import ast
import difflib
import fnmatch
import json
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, Dict  # noqa: UP035

Said = Dict[str, Any]  # noqa: UP006 - a value at run time, and Python 3.8 has no dict[…]

WINDOW = 100  # lines that a scroll moves
LONGEST_LINE = 2000  # characters of one line that are shown
LARGEST = 20 << 20  # bytes of a file that is read whole
HITS = 200  # matches that a search shows


class Refused(Exception):
    """What the agent is told when a tool cannot do what it was asked."""


class Workspace:
    def __init__(self, root: str) -> None:
        self.root = root
        state = f"apollo-open-{os.getuid()}"
        self.state = os.path.join(os.environ.get("APOLLO_STATE") or tempfile.gettempdir(), state)

    def path(self, given: str) -> str:
        if given == "/workspace" or given.startswith("/workspace/"):
            given = os.path.join(self.root, given[len("/workspace/") :])
        return os.path.normpath(os.path.join(self.root, os.path.expanduser(given)))

    def shown(self, path: str) -> str:
        if path == self.root:
            return "."
        inside = path.startswith(self.root.rstrip("/") + "/")
        return os.path.relpath(path, self.root) if inside else path

    def remember(self, path: str, line: int) -> None:
        with open(self.state, "w") as file:
            json.dump({"path": path, "line": line}, file)

    def recall(self) -> tuple[str, int]:
        try:
            with open(self.state) as file:
                said = json.load(file)
            return said["path"], int(said["line"])
        except (OSError, ValueError, KeyError):
            raise Refused("No file is open. Open one with open_file.") from None


def read(workspace: Workspace, path: str) -> str:
    shown = workspace.shown(path)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise Refused(f"{shown} does not exist.{near(workspace, path)}") from None
    if stat.S_ISDIR(status.st_mode):
        raise Refused(f"{shown} is a folder. Use list_files.")
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{shown} is no regular file.")
    if status.st_size > LARGEST:
        raise Refused(
            "%s has %d bytes, too many to open. Use bash (head, sed -n, grep)."
            % (shown, status.st_size)
        )
    with open(path, "rb") as file:
        data = file.read()
    if b"\0" in data[:8192]:
        raise Refused("%s is a binary file of %d bytes." % (shown, len(data)))
    return data.decode("utf-8", "surrogateescape")


def near(workspace: Workspace, path: str) -> str:
    try:
        names = os.listdir(os.path.dirname(path))
    except OSError:
        return ""
    found = difflib.get_close_matches(os.path.basename(path), names, 3)
    return " Near it: {}.".format(", ".join(found)) if found else ""


def window(workspace: Workspace, path: str, line: int, count: int) -> Said:
    lines = read(workspace, path).splitlines()
    line = max(1, min(line, len(lines) or 1))
    first = max(1, min(line - count // 2, len(lines) - count + 1)) if line > 1 else 1
    last = min(len(lines), first + count - 1)
    workspace.remember(path, first)
    head = "[%s, %d lines, showing %d-%d]" % (
        workspace.shown(path),
        len(lines),
        first if lines else 0,
        last,
    )
    width = len(str(last))
    body = [
        "%*d| %s" % (width, number, lines[number - 1][:LONGEST_LINE])
        for number in range(first, last + 1)
    ]
    return {
        "text": "\n".join([head] + body),
        "summary": "lines %d-%d of %d" % (first if lines else 0, last, len(lines)),
    }


def open_file(workspace: Workspace, path: str, line_number: int, context_lines: int) -> Said:
    return window(workspace, workspace.path(path), line_number, context_lines)


def file_goto_line(workspace: Workspace, line_number: int) -> Said:
    path, _ = workspace.recall()
    return window(workspace, path, line_number, WINDOW)


def file_scroll_down(workspace: Workspace) -> Said:
    path, first = workspace.recall()
    return scroll(workspace, path, first + WINDOW)


def file_scroll_up(workspace: Workspace) -> Said:
    path, first = workspace.recall()
    return scroll(workspace, path, first - WINDOW)


def scroll(workspace: Workspace, path: str, first: int) -> Said:
    return window(workspace, path, max(1, first) + (WINDOW // 2 if first > 1 else 0), WINDOW)


def write(path: str, text: str) -> None:
    """Beside it and renamed: a reader never sees half a file. A link's target is written."""
    path = os.path.realpath(path)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".apollo-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
        mode = stat.S_IMODE(os.stat(path).st_mode) if os.path.exists(path) else 0o666 & ~mask()
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def mask() -> int:
    now = os.umask(0o022)
    os.umask(now)
    return now


def changed(before: list[str], after: list[str]) -> tuple[int, int]:
    added = removed = 0
    for line in difflib.ndiff(before, after) if len(before) + len(after) < 4000 else ():
        added += line.startswith("+ ")
        removed += line.startswith("- ")
    if len(before) + len(after) >= 4000:
        added, removed = len(after), len(before)
    return added, removed


def syntax(path: str, text: str) -> str:
    if not path.endswith(".py"):
        return ""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError) as error:
        return f" Warning: it is not valid Python: {error}."
    return " Syntax check passed."


def create_file(workspace: Workspace, filename: str, content: str) -> Said:
    path = workspace.path(filename)
    if os.path.isdir(path):
        raise Refused(f"{workspace.shown(path)} is a folder.")
    before = read(workspace, path).splitlines() if os.path.exists(path) else []
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write(path, content)
    after = content.splitlines()
    added, removed = changed(before, after)
    workspace.remember(path, 1)
    verb = "rewritten" if before else "created"
    text = "File %s: %s (%d lines).%s" % (
        verb,
        workspace.shown(path),
        len(after),
        syntax(path, content),
    )
    return {"text": text, "summary": text, "added": added, "removed": removed}


def edit_file(workspace: Workspace, path: str, start: int, end: int, content: str) -> Said:
    path = workspace.path(path)
    lines = read(workspace, path).splitlines(True)
    if start > len(lines) + 1 or end > len(lines) or end < start - 1:
        raise Refused(
            "%s has %d lines; lines %d to %d cannot be replaced."
            % (workspace.shown(path), len(lines), start, end)
        )
    before = lines[start - 1 : end]
    after = content.splitlines(True)
    if after and not after[-1].endswith("\n"):
        after[-1] += "\n"
    if start > 1 and not lines[start - 2].endswith("\n"):
        lines[start - 2] += "\n"
    text = "".join(lines[: start - 1] + after + lines[end:])
    write(path, text)
    added, removed = changed(before, after)
    said = "File updated: %s (%d insertions, %d deletions).%s" % (
        workspace.shown(path),
        added,
        removed,
        syntax(path, text),
    )
    shown = window(workspace, path, start + len(after) // 2, len(after) + 10)["text"]
    return {"text": f"{said}\n{shown}", "summary": said, "added": added, "removed": removed}


def walk(root: str) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(
            name for name in folders if name not in (".git", "__pycache__", "node_modules")
        )
        for name in sorted(files):
            yield os.path.join(folder, name)


def matches(path: str, term: str) -> list[tuple[int, str]]:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode) or os.path.getsize(path) > LARGEST:
            return []
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return []
    if b"\0" in data[:8192]:
        return []
    lines = data.decode("utf-8", "replace").splitlines()
    return [(number, line) for number, line in enumerate(lines, 1) if term in line]


def hits(found: list[str], total: int, where: str) -> Said:
    if not total:
        return {"text": f"No match in {where}.", "summary": "no match"}
    text = "%d matches in %s:\n%s" % (total, where, "\n".join(found))
    if total > len(found):
        text += "\n… %d more; search for something rarer." % (total - len(found))
    return {"text": text, "summary": "%d matches" % total}


def search_dir(workspace: Workspace, search_term: str, dir_path: str) -> Said:
    root = folder(workspace, dir_path)
    found: list[str] = []
    total = files = 0
    for path in walk(root):
        here = matches(path, search_term)
        files += bool(here)
        for number, line in here:
            total += 1
            if len(found) < HITS:
                found.append("%s:%d: %s" % (workspace.shown(path), number, line.strip()[:300]))
    result = hits(found, total, workspace.shown(root))
    if total:
        result["summary"] = "%d matches in %d files" % (total, files)
    return result


def search_file(workspace: Workspace, search_term: str, file_path: str | None) -> Said:
    path = workspace.path(file_path) if file_path else workspace.recall()[0]
    read(workspace, path)
    here = matches(path, search_term)
    found = ["%d: %s" % (number, line.strip()[:300]) for number, line in here[:HITS]]
    return hits(found, len(here), workspace.shown(path))


def find_file(workspace: Workspace, file_name: str, dir_path: str) -> Said:
    root = folder(workspace, dir_path)
    found = [
        workspace.shown(p) for p in walk(root) if fnmatch.fnmatch(os.path.basename(p), file_name)
    ]
    return hits(found[:HITS], len(found), workspace.shown(root))


def folder(workspace: Workspace, given: str) -> str:
    path = workspace.path(given)
    if not os.path.isdir(path):
        raise Refused(f"{workspace.shown(path)} is no folder.{near(workspace, path)}")
    return path


def list_files(workspace: Workspace, path: str, show_hidden: bool) -> Said:
    root = folder(workspace, path)
    rows = []
    for name in sorted(os.listdir(root)):
        if name.startswith(".") and not show_hidden:
            continue
        status = os.lstat(os.path.join(root, name))
        if stat.S_ISDIR(status.st_mode):
            rows.append("%12s  %s/" % ("", name))
        elif stat.S_ISLNK(status.st_mode):
            rows.append("%12s  %s -> %s" % ("", name, os.readlink(os.path.join(root, name))))
        else:
            rows.append("%12d  %s" % (status.st_size, name))
    shown = rows[:1000]
    text = "%s, %d entries:\n%s" % (workspace.shown(root), len(rows), "\n".join(shown))
    if len(rows) > len(shown):
        text += "\n… %d more" % (len(rows) - len(shown))
    names = "  ".join(row[14:] for row in rows[:6])
    return {"text": text, "summary": names or "empty"}


def get_file_info(workspace: Workspace, path: str) -> Said:
    path = workspace.path(path)
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        raise Refused(f"{workspace.shown(path)} does not exist.{near(workspace, path)}") from None
    kinds = ((stat.S_ISDIR, "folder"), (stat.S_ISLNK, "link"), (stat.S_ISREG, "file"))
    kind = next((name for test, name in kinds if test(status.st_mode)), "special file")
    facts = [
        f"path: {workspace.shown(path)}",
        f"kind: {kind}",
        "size: %d bytes" % status.st_size,
        f"permissions: {stat.filemode(status.st_mode)}",
        "modified: {}".format(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(status.st_mtime))),
    ]
    if kind == "file" and status.st_size <= LARGEST:
        with open(path, "rb") as file:
            facts.append("lines: %d" % len(file.read().splitlines()))
    return {"text": "\n".join(facts), "summary": "%s, %d bytes" % (kind, status.st_size)}


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


def main() -> None:
    request = json.load(sys.stdin)
    workspace = Workspace(request["workspace"])
    try:
        result = dict(TOOLS[request["tool"]](workspace, **request["arguments"]), success=True)
    except Refused as refused:
        result = {"success": False, "text": str(refused), "summary": str(refused)}
    except OSError as error:
        why = "{}: {}".format(error.filename or request["tool"], error.strerror)
        result = {"success": False, "text": why, "summary": why}
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
