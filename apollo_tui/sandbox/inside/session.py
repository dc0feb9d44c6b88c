"""A session: a job that is one terminal with a shell, and does what is asked of it until it ends.

Beside the files of every job (`runner.py`), it and the host (`sessions.py`) share:

    JOB/queue/ID                an empty file: this request waits
    JOB/asked/ID/request.json   {"ask": run | type | kill | clear | look | idle, …}
    JOB/asked/ID/alive          FIFO whose last writer is the session: hang-up means there is an
                                answer, or that there never will be one; a byte, that it begins
    JOB/asked/ID/begun.json     of a command: when it began, and where its output begins
    JOB/asked/ID/answer.json
    JOB/said                    FIFO that gets a byte when something was printed
    JOB/times                   (when, byte offset): 64 bits each, of what was printed
    JOB/view.json               where the agent's view of the output begins

Requests are done once each, by their ids; who takes a request's folder away takes it back. The output is what the terminal said, with a line
`$ command` before each command; offsets count all that was said, kept or not.
"""

# One name, one system call: paths as objects would only slow the start.
# ruff: noqa: PTH110, PTH118, PTH123, PTH208

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apollo_tui.sandbox.inside.runner import (
        CannotRun,
        Runner,
        children_of,
        descendants,
        empty,
        now,
        poke,
        read_json,
        reap,
        remove,
        send,
        to_bytes,
        write_json,
    )
    from apollo_tui.sandbox.inside.shell import Shell, Terminal
else:
    from runner import (
        CannotRun,
        Runner,
        children_of,
        descendants,
        empty,
        now,
        poke,
        read_json,
        reap,
        remove,
        send,
        to_bytes,
        write_json,
    )
    from shell import Shell, Terminal

READ_AT_ONCE = 1 << 16
DRAIN_AT_MOST = 1 << 20  # bytes; a terminal holds less than that, so all that was printed is in it
TIMES_APART = 50_000  # microseconds
TITLE = 200  # characters of a command's line in the output
READY_IN = 10.0  # seconds a shell has to come up
LOOK_AGAIN = 0.2  # seconds between looks at the processes while somebody waits for idleness
KILL_AGAIN = 0.05
ROUNDS = 3  # of KILL, after which what is still there is stopped first
KILL_GRACE = 2.0  # seconds between TERM and KILL when its processes are killed
SHELL_GRACE = 0.5  # more seconds until the shell itself is killed, which is replaced
PROCESSES_TOLD = 50


class Command:
    """The command in the foreground."""

    def __init__(self, request: str, text: str) -> None:
        self.request = request
        self.text = text
        self.started_at = 0
        self.start = 0
        self.fed = False


class Killing:
    """A request to end all processes but the shell, under way."""

    def __init__(self, request: str, grace: float) -> None:
        self.request = request
        self.kill_at = time.monotonic() + grace
        self.shell_at = self.kill_at + SHELL_GRACE
        self.seen: dict[int, str] = {}
        self.killed_shell = False
        self.rounds = 0  # of KILL


class Session(Runner):
    def __init__(self, folder: str, config: dict[str, Any], alive: int) -> None:
        super().__init__(folder, config, alive)
        self.times = os.open(os.path.join(folder, "times"), os.O_WRONLY | os.O_CREAT, 0o644)
        self.timed_at = 0
        self.said_at = now()
        self.ends_line = True
        self.cwd = str(config["workspace"])
        self.terminal: Terminal | None = None
        self.shell: Shell | None = None
        self.ready_until = 0.0
        self.foreground: Command | None = None
        self.last: dict[str, Any] | None = None
        self.typing: list[tuple[str, bytes, int]] = []  # request, text, how much of it went in
        self.killing: Killing | None = None
        self.waiting: list[str] = []  # requests for idleness
        self.open: dict[str, int] = {}  # the FIFOs of requests that have no answer yet

    # --- its life, as a job ---

    def _start(self) -> None:
        self.terminal = Terminal(self)
        self.pipe = self.terminal.ours
        self._start_shell()

    def _start_shell(self) -> None:
        assert self.terminal is not None
        self.shell = Shell(self, self.terminal, self.cwd)

    def _is_settled(self) -> bool:
        if self.kill_at is None:
            return False
        return self._gave_up() or not children_of(os.getpid())

    def _outcome(self) -> dict[str, Any]:
        return {
            "ended": self.ended,
            "exit_code": None,
            "signal": None,
            "started_at": self.started_at,
            "ended_at": now(),
            "output_bytes": self.total,
            "kept_bytes": self.kept,
            "error": "a process could not be ended" if self._gave_up() else self.trouble,
            "out_of_memory": False,
        }

    def _finish(self, outcome: dict[str, Any]) -> None:
        if self.foreground is not None:
            self._end_command(None, None, ended="killed")
        for request in list(self.open):
            self._answer(request, {"refused": "the session was closed"})
        super()._finish(outcome)

    def _listen(self) -> None:
        readers = [self.control, self.children.reader, self.pipe]
        if self.shell is not None:
            readers.append(self.shell.reports)
        types = self.typing and self.foreground is not None and self.foreground.fed
        writers = [self.pipe] if types else []
        ready, writable, _ = select.select(readers, writers, [], self._patience())
        if self.pipe in ready:
            self._read_terminal(DRAIN_AT_MOST)
        if writable:
            self._type()
        empty(self.children.reader)
        self._hear_shell()
        if self.control in ready:
            empty(self.control)
            grace = self._asked_to_end()
            if grace is not None:
                self._begin_ending("killed", grace)
                if self.shell is not None:  # an interactive shell takes no notice of TERM
                    send(signal.SIGHUP, [self.shell.pid])
        self._take_requests()

    def _patience(self) -> float | None:
        waits = [] if (base := super()._patience()) is None else [base]
        if self.killing is not None:
            waits.append(KILL_AGAIN)
        if self.waiting:
            waits.append(LOOK_AGAIN)
        if self.foreground is not None and not self.foreground.fed:
            waits.append(max(0.0, self.ready_until - time.monotonic()))
        return min(waits) if waits else None

    def _reap(self) -> None:
        for pid, status in reap():
            if self.shell is not None and pid == self.shell.pid:
                self._shell_ended(status)

    def _look_at_the_clock(self) -> None:
        super()._look_at_the_clock()
        command = self.foreground
        if command is not None and not command.fed and time.monotonic() >= self.ready_until:
            self._refuse_to_run("the shell does not come up")
        self._go_on_killing()
        if self.waiting and not self._is_busy():
            for request in self.waiting:
                self._answer(request, {"idle": True})
            self.waiting = []
        elif self.waiting:
            gone = [r for r in self.waiting if not os.path.exists(self._file(r, "request.json"))]
            for request in gone:
                self.waiting.remove(request)
                self._answer(request, {"idle": False})

    # --- what is said ---

    def _drain_what_is_there(self) -> None:
        if self.terminal is not None:
            self._read_terminal(DRAIN_AT_MOST)

    def _read_terminal(self, at_most: int) -> None:
        """Everything that was printed before this moment; not more than `at_most` bytes, because a
        background job may print for ever."""
        assert self.terminal is not None
        while at_most > 0:
            chunks: list[bytes] = []
            size = 0
            while size < READ_AT_ONCE and (chunk := self.terminal.read(READ_AT_ONCE)):
                chunks.append(chunk)
                size += len(chunk)
            if not chunks:
                return
            self._keep(b"".join(chunks))
            at_most -= size

    def _keep(self, chunk: bytes) -> None:
        self.said_at = now()
        if self.said_at - self.timed_at >= TIMES_APART:
            self.timed_at = self.said_at
            with contextlib.suppress(OSError):  # a full disk: what can be kept is kept
                os.write(self.times, struct.pack("<QQ", self.said_at, self.total))
        super()._keep(chunk)
        self.ends_line = chunk.endswith(b"\n")
        poke(os.path.join(self.folder, "said"))

    # --- commands ---

    def _run(self, request: str, asked: dict[str, Any]) -> None:
        text = str(asked["text"])
        if self.foreground is not None:
            running = " ".join(self.foreground.text.split())[:TITLE]
            self._answer(request, {"refused": f"a command is running in it: {running}"})
            return
        self.foreground = Command(request, text)
        nul = text.find("\0")
        if nul >= 0:
            self._refuse_to_run(
                f"the command has a NUL byte at character {nul}, which no shell can take; "
                "write it as an escape, as in printf '\\0'"
            )
            return
        try:
            if self.shell is None:
                self._start_shell()
        except CannotRun as error:
            self._refuse_to_run(str(error))
            return
        assert self.shell is not None
        self.shell.settle()
        self.ready_until = time.monotonic() + READY_IN

    def _feed(self) -> None:
        """Give the shell its command, if it waits for one."""
        command, shell, terminal = self.foreground, self.shell, self.terminal
        if command is None or command.fed or shell is None or not shell.is_ready:
            return
        assert terminal is not None
        self._read_terminal(DRAIN_AT_MOST)
        terminal.reset()
        line = " ".join(command.text.split())
        title = line if len(line) <= TITLE else line[: TITLE - 1] + "…"
        self._keep((b"" if self.ends_line else b"\n") + b"$ " + to_bytes(title) + b"\n")
        command.started_at, command.start, command.fed = now(), self.total, True
        begun = {"started_at": command.started_at, "start": command.start}
        write_json(self._file(command.request, "begun.json"), begun)
        os.write(self.open[command.request], b"1")
        try:
            shell.feed(to_bytes(command.text))
        except OSError as error:
            self._refuse_to_run(f"the command could not be written down: {error.strerror}")

    def _hear_shell(self) -> None:
        if self.shell is None:
            return
        said = self.shell.hear()
        if said is None:
            return
        code, folder = said
        self.cwd = folder or self.cwd
        if self.foreground is not None and self.foreground.fed:
            self._end_command(code, None)
        self._feed()

    def _shell_ended(self, status: int) -> None:
        self._hear_shell()
        assert self.shell is not None
        self.shell.close()
        self.shell = None
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        code = 128 + number if number else os.WEXITSTATUS(status)
        if self.foreground is None:
            return
        if self.foreground.fed:
            self._end_command(code, number, ended="shell_ended")
        else:
            self._refuse_to_run(f"the shell ended at its start, with exit code {code}")

    def _end_command(self, code: int | None, number: int | None, ended: str = "exited") -> None:
        command = self.foreground
        assert command is not None
        self._read_terminal(DRAIN_AT_MOST)
        if self.kept:
            os.fsync(self.output)
        if self.killing is not None or self.kill_at is not None:
            ended = "killed"
        self._tell_end(
            command,
            {
                "ended": ended,
                "exit_code": code,
                "signal": number,
                "started_at": command.started_at or now(),
                "ended_at": now(),
                "start": command.start if command.fed else self.total,
                "end": self.total,
                "shell_ended": self.shell is None,
                "cwd": self.cwd,
                "error": self.trouble,
            },
        )

    def _refuse_to_run(self, error: str) -> None:
        """End a command that no shell was given."""
        command = self.foreground
        assert command is not None
        at = now()
        self._tell_end(
            command,
            {
                "ended": "exited",
                "exit_code": 126,
                "signal": None,
                "started_at": at,
                "ended_at": at,
                "start": self.total,
                "end": self.total,
                "shell_ended": False,
                "cwd": self.cwd,
                "error": error,
            },
        )

    def _tell_end(self, command: Command, answer: dict[str, Any]) -> None:
        for request, text, written in self.typing:
            self._answer(request, {"written": written, "of": len(text)})
        self.typing = []
        self.foreground = None
        self.last = dict(answer, id=command.request, text=command.text[:1000])
        self._answer(command.request, answer)

    # --- what is asked ---

    def _take_requests(self) -> None:
        queue = os.path.join(self.folder, "queue")
        for request in sorted(os.listdir(queue)):
            remove(os.path.join(queue, request))
            if request in self.open or os.path.exists(self._file(request, "answer.json")):
                continue
            try:
                asked = read_json(self._file(request, "request.json"))
                self.open[request] = os.open(self._file(request, "alive"), os.O_RDWR)
            except FileNotFoundError:  # whoever asked took it back
                continue
            self._do(request, asked)

    def _do(self, request: str, asked: dict[str, Any]) -> None:
        kind = asked["ask"]
        if self.kill_at is not None:
            self._answer(request, {"refused": "the session is being closed"})
        elif kind == "run":
            self._run(request, asked)
        elif kind == "type":
            self._take_typing(request, to_bytes(asked["text"]))
        elif kind == "kill":
            self._kill(request, 0.0 if asked["force"] else KILL_GRACE)
        elif kind == "idle":
            self.waiting.append(request)
        elif kind == "clear":
            view = {"from": self.total}
            write_json(os.path.join(self.folder, "view.json"), view)
            self._answer(request, view)
        else:
            self._answer(request, self._look())

    def _answer(self, request: str, answer: dict[str, Any]) -> None:
        with contextlib.suppress(FileNotFoundError):  # whoever asked took it back
            write_json(self._file(request, "answer.json"), answer)
        os.close(self.open.pop(request))

    def _file(self, request: str, name: str) -> str:
        return os.path.join(self.folder, "asked", request, name)

    # --- typing ---

    def _take_typing(self, request: str, text: bytes) -> None:
        if self.foreground is None:
            self._answer(request, {"refused": "no command is running in it that could read"})
        else:
            self.typing.append((request, text, 0))

    def _type(self) -> None:
        assert self.terminal is not None
        request, text, written = self.typing.pop(0)
        written += self.terminal.type(text[written:])
        if written < len(text):
            self.typing.insert(0, (request, text, written))
        else:
            self._answer(request, {"written": written, "of": written})

    # --- its processes ---

    def _others(self) -> list[int]:
        """All processes of the session but its shell."""
        shell = -1 if self.shell is None else self.shell.pid
        return [pid for pid in descendants(os.getpid()) if pid != shell and is_alive(pid)]

    def _is_busy(self) -> bool:
        return self.foreground is not None or bool(self._others())

    def _look(self) -> dict[str, Any]:
        others = self._others()
        command = self.foreground
        running = None
        if command is not None:
            running = {
                "id": command.request,
                "text": command.text[:1000],
                "started_at": command.started_at or now(),
                "start": command.start if command.fed else self.total,
            }
        found = [about(pid) for pid in others[:PROCESSES_TOLD]]
        return {
            "running": running,
            "last": self.last,
            "count": len(others),
            "processes": [process for process in found if process is not None],
            "shell": None if self.shell is None else self.shell.pid,
            "cwd": self.cwd,
            "total": self.total,
            "kept": self.kept,
            "said_at": self.said_at,
        }

    def _kill(self, request: str, grace: float) -> None:
        if self.killing is not None:
            self._answer(request, {"refused": "its processes are being killed already"})
            return
        self.killing = Killing(request, grace)
        others = self._others()
        self._note(others)
        if self.shell is not None and self.foreground is not None:
            # It gives up the rest of a list of commands, and a loop of builtins.
            send(signal.SIGCONT, [self.shell.pid])
            send(signal.SIGINT, [self.shell.pid])
        if grace:
            send(signal.SIGTERM, others)
            send(signal.SIGCONT, others)
        self._go_on_killing()

    def _note(self, pids: list[int]) -> None:
        assert self.killing is not None
        for pid in pids:
            if pid not in self.killing.seen and (process := about(pid)) is not None:
                self.killing.seen[pid] = process["command"]

    def _go_on_killing(self) -> None:
        killing = self.killing
        if killing is None:
            return
        others = self._others()
        self._note(others)
        at = time.monotonic()
        if at >= killing.kill_at:
            # A fork bomb would outrun the killing. But a shell takes a stopped job for one that is
            # over, so nothing is stopped that can be killed at once.
            killing.rounds += 1
            if killing.rounds > ROUNDS:
                send(signal.SIGSTOP, others)
            send(signal.SIGKILL, others)
        if at >= killing.shell_at and self.foreground is not None and self.shell is not None:
            killing.killed_shell = True
            send(signal.SIGKILL, [self.shell.pid])
        if self.foreground is not None or others:
            return
        self.killing = None
        pids = sorted(killing.seen)[:PROCESSES_TOLD]
        self._answer(
            killing.request,
            {
                "count": len(killing.seen),
                "killed": [{"pid": pid, "command": killing.seen[pid]} for pid in pids],
                "shell_ended": killing.killed_shell,
            },
        )


# --- what the kernel says of a process ----------------------------------------------------------


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].decode().split()
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    return stat(pid)[:1] not in ([], ["Z"], ["X"])


def about(pid: int) -> dict[str, Any] | None:
    """What runs, in which state, and since when (UTC microseconds)."""
    fields = stat(pid)
    if not fields:
        return None
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(4096).split(b"\0")
        with open(f"/proc/{pid}/comm", "rb") as file:
            name = file.read().strip()
    except OSError:
        return None
    command = b" ".join(word for word in words if word) or b"[" + name + b"]"
    up = time.clock_gettime(time.CLOCK_BOOTTIME)
    age = up - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return {
        "pid": pid,
        "parent": int(fields[1]),
        "stopped": fields[0] in ("T", "t"),
        "started_at": now() - int(max(0.0, age) * 1e6),
        "command": command.decode("utf-8", "replace")[:300],
    }
