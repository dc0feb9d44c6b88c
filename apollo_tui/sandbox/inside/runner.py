"""The program inside every sandbox: takes jobs from the spool, runs them, keeps what they said.

    python3 runner.py serve SPOOL [--when-told]

Standard library only, and Python >= 3.8, because it runs on whatever Python the sandbox has. What
it and the host (`jobs.py`) say to each other are files; nobody has to stay alive for anybody:

    SPOOL/.serve/config.json    Config, written by the host before the start
    SPOOL/.serve/lock           locked (flock) while `serve` lives; holds its pid
    SPOOL/.serve/alive          FIFO whose last writer is `serve`: hang-up means it is gone
    SPOOL/.serve/ready          FIFO that gets one byte when `serve` takes jobs
    SPOOL/.serve/wake           FIFO the host pokes when there is something in the queue
    SPOOL/.serve/queue/JOB      an empty file: this job waits to be claimed
    SPOOL/JOB/spec.json         what to run, written by the host
    SPOOL/JOB/claim             made once and never again; locked while the job's runner lives
    SPOOL/JOB/alive             FIFO whose last writer is the runner: hang-up means there is an
                                outcome, or that there never will be one
    SPOOL/JOB/output            stdout and stderr as they came, up to the cap
    SPOOL/JOB/kill              {"grace": seconds}, written by the host, which then pokes
    SPOOL/JOB/control           this FIFO
    SPOOL/JOB/rc.json           the outcome

`serve` forks one runner per job. A runner is the subreaper of all that its job starts, so a daemon
that forks twice and leaves its session is still found and ended. It stays after the outcome for as
long as background processes of its job do.
"""

# One name, one system call: paths as objects would only slow the start.
# ruff: noqa: PTH100, PTH103, PTH104, PTH108, PTH110, PTH112, PTH118, PTH120, PTH123, PTH208

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import termios
import time
import traceback
from typing import Any, NoReturn

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PR_SET_CHILD_SUBREAPER = 36
SCRIPT_IN_ARGV = 100_000  # bytes; Linux refuses a single argument of 128 KiB
F_SETPIPE_SZ = 1031  # fcntl has no name for it before Python 3.10
PIPE_BYTES = 1 << 20
TIMEOUT_GRACE = 2.0  # seconds between TERM and KILL when the time is up
LINGER = 0.1  # seconds for what ends just after its job, as the tee in `job > >(tee log)` does
KILL_AGAIN = 0.02  # seconds between rounds of KILL
GIVE_UP = 10.0  # seconds of KILL after which a process is stuck in the kernel
RESCAN = 1.0  # seconds; a poke that was missed costs no more


class CannotRun(Exception):
    """The job could not be started: the message says why."""


# --- serve: claims jobs, forks a runner for each ---------------------------------------------------


class Server:
    def __init__(self, spool: str) -> None:
        self.spool = spool
        self.own = os.path.join(spool, ".serve")
        self.queue = os.path.join(self.own, "queue")
        self.runners: dict[int, str] = {}
        self.kept_open: list[int] = []

    def run(self) -> None:
        if not self._lock():
            return
        require_children_files()
        become_subreaper()
        self.config = read_json(os.path.join(self.own, "config.json"))
        wake = self._hold(os.open(os.path.join(self.own, "wake"), os.O_RDWR | os.O_NONBLOCK))
        self._hold(os.open(os.path.join(self.own, "alive"), os.O_RDWR))
        children = Children()
        self.kept_open += [children.reader, children.writer]
        poke(os.path.join(self.own, "ready"))
        while os.path.isdir(self.queue):
            self._claim_new()
            self._reap()
            select.select([wake, children.reader], [], [], RESCAN)
            empty(wake)
            empty(children.reader)

    def _hold(self, fd: int) -> int:
        self.kept_open.append(fd)
        return fd

    def _lock(self) -> bool:
        """Only one serves a spool. The host tests the lock by taking it for an instant, so one
        refusal says nothing."""
        path = os.path.join(self.own, "lock")
        lock = self._hold(os.open(path, os.O_CREAT | os.O_RDWR, 0o644))
        for _ in range(100):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.01)
                continue
            os.ftruncate(lock, 0)
            os.write(lock, str(os.getpid()).encode())
            return True
        return False

    def _claim_new(self) -> None:
        for job in sorted(os.listdir(self.queue)):
            try:
                self._claim(job)
            except FileNotFoundError as error:  # the host took the job's folder away
                complain(f"job {job}: {error}")
            except OSError as error:  # a full disk may have room at the next look
                complain(f"job {job}: {error}")
                continue
            remove(os.path.join(self.queue, job))

    def _claim(self, job: str) -> None:
        """Claim and lock in one step: the file appears already locked, or was there before."""
        folder = os.path.join(self.spool, job)
        claim, mine = os.path.join(folder, "claim"), os.path.join(folder, "claim.new")
        if os.path.exists(claim):
            return
        alive = os.open(os.path.join(folder, "alive"), os.O_RDWR)
        lock = os.open(mine, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(lock, json.dumps({"at": now()}).encode())
            os.link(mine, claim)
            sync_folder(folder)
            self._fork(job, folder, alive)
        finally:
            remove(mine)
            os.close(lock)
            os.close(alive)

    def _fork(self, job: str, folder: str, alive: int) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            outcome = nothing_ran(f"no process could be started: {error.strerror}")
            write_json(os.path.join(folder, "rc.json"), outcome)
            return
        if pid:
            self.runners[pid] = job
            return
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for fd in self.kept_open:
                os.close(fd)
            os.setsid()
            become_subreaper()
            runner_of(folder)(folder, self.config, alive).run()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        reaped = reap()
        for pid, _ in reaped:
            self.runners.pop(pid, None)
        if reaped:
            self._end_orphans()

    def _end_orphans(self) -> None:
        """What a runner leaves behind when it is killed: nobody could ever end it again."""
        for child in children_of(os.getpid()):
            if child not in self.runners:
                send(signal.SIGKILL, [child, *descendants(child)])


# --- one job --------------------------------------------------------------------------------------


def runner_of(folder: str) -> type[Runner]:
    """The class that runs this job: a session is a program of its own, read only when it is one."""
    if read_json(os.path.join(folder, "spec.json")).get("session") is None:
        return Runner
    sys.modules["runner"] = sys.modules[__name__]
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from session import Session  # type: ignore[import-not-found]

    return Session  # type: ignore[no-any-return]


class Runner:
    """Runs one job: its process, its output, its time limit, its end."""

    def __init__(self, folder: str, config: dict[str, Any], alive: int) -> None:
        self.folder = folder
        self.config = config
        self.alive = alive
        self.spec = read_json(os.path.join(folder, "spec.json"))
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        self.output = os.open(os.path.join(folder, "output"), flags, 0o644)
        control = os.path.join(folder, "control")
        self.control = os.open(control, os.O_RDWR | os.O_NONBLOCK)
        self.children = Children()
        self.pipe = -1
        self.main = -1
        self.status: int | None = None
        self.ended = "exited"
        self.total = self.kept = 0
        self.started_at = now()
        self.out_of_memory = oom_kills()
        self.deadline: float | None = None
        self.linger_until: float | None = None
        self.kill_at: float | None = None
        self.give_up_at: float | None = None
        self.finished = False
        self.trouble = ""

    def run(self) -> None:
        if self._asked_to_end() is not None:
            self._finish(dict(nothing_ran("ended before it began"), ended="killed"))
            return
        try:
            self._start()
        except CannotRun as error:
            self._finish(nothing_ran(str(error)))
            return
        while not self._is_over():
            self._listen()
            self._reap()
            self._look_at_the_clock()
            if not self.finished and self._is_settled():
                self._drain_what_is_there()
                self._finish(self._outcome())
        self._drain_what_is_there()

    # --- its life ---

    def _is_over(self) -> bool:
        if not self.finished:
            return False
        return self._gave_up() or not children_of(os.getpid())

    def _is_settled(self) -> bool:
        """Whether there is an outcome: the main process is gone, and who has to be gone with it."""
        if self.linger_until is None:
            return False
        if self._gave_up() or not children_of(os.getpid()):
            return True
        if self.kill_at is not None:
            return False
        return self.pipe < 0 or time.monotonic() >= self.linger_until

    def _gave_up(self) -> bool:
        return self.give_up_at is not None and time.monotonic() > self.give_up_at

    def _listen(self) -> None:
        watched = [self.control, self.children.reader]
        if self.pipe >= 0:
            watched.append(self.pipe)
        ready = select.select(watched, [], [], self._patience())[0]
        if self.pipe in ready:
            self._drain(PIPE_BYTES)
        empty(self.children.reader)
        if self.control in ready:
            empty(self.control)
            grace = self._asked_to_end()
            if grace is not None:
                self._begin_ending("killed", grace)

    def _patience(self) -> float | None:
        linger_until = None if self.finished else self.linger_until
        moments = [at for at in (self.deadline, self.kill_at, linger_until) if at is not None]
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _look_at_the_clock(self) -> None:
        at = time.monotonic()
        if self.deadline is not None and at >= self.deadline and self.status is None:
            self._begin_ending("timeout", TIMEOUT_GRACE)
        if self.kill_at is not None and at >= self.kill_at:
            if self.give_up_at is None:
                self.give_up_at = at + GIVE_UP
            kill_tree(os.getpid())
            self.kill_at = at + KILL_AGAIN

    def _begin_ending(self, ended: str, grace: float) -> None:
        if self.kill_at is None:
            if not self.finished and self.status is None:
                self.ended = ended
            send(signal.SIGTERM, descendants(os.getpid()))
            send(signal.SIGCONT, descendants(os.getpid()))
        kill_at = time.monotonic() + grace
        self.kill_at = kill_at if self.kill_at is None else min(self.kill_at, kill_at)
        self.deadline = None

    def _asked_to_end(self) -> float | None:
        """The grace in seconds of the host's request to end this job, if there is one."""
        try:
            return float(read_json(os.path.join(self.folder, "kill"))["grace"])
        except FileNotFoundError:
            return None

    def _reap(self) -> None:
        for pid, status in reap():
            if pid == self.main:
                self.status = status
                self.deadline = None
                self.linger_until = time.monotonic() + LINGER

    # --- its output ---

    def _drain(self, size: int) -> None:
        chunk = os.read(self.pipe, size)
        if not chunk:
            os.close(self.pipe)
            self.pipe = -1
            return
        self._keep(chunk)

    def _keep(self, chunk: bytes) -> None:
        self.total += len(chunk)
        view = memoryview(chunk)[: max(0, int(self.spec["output_cap"]) - self.kept)]
        while view and not self.trouble:
            try:
                written = os.write(self.output, view)
            except OSError as error:  # the job goes on; what it says is no longer kept
                self.trouble = f"the output could not be kept: {error.strerror}"
                return
            self.kept += written
            view = view[written:]

    def _drain_what_is_there(self) -> None:
        """All that was written until now. A background child may write for ever, so no more."""
        if self.pipe < 0:
            return
        waiting = array.array("i", [0])
        fcntl.ioctl(self.pipe, termios.FIONREAD, waiting)
        left = waiting[0]
        while left > 0 and self.pipe >= 0:
            before = self.total
            self._drain(min(left, PIPE_BYTES))
            left -= self.total - before

    # --- its outcome ---

    def _outcome(self) -> dict[str, Any]:
        assert self.status is not None
        number = os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else None
        return {
            "ended": self.ended,
            "exit_code": 128 + number if number else os.WEXITSTATUS(self.status),
            "signal": number,
            "started_at": self.started_at,
            "ended_at": now(),
            "output_bytes": self.total,
            "kept_bytes": self.kept,
            "error": "a process could not be ended" if self._gave_up() else self.trouble,
            "out_of_memory": oom_kills() > self.out_of_memory,
        }

    def _finish(self, outcome: dict[str, Any]) -> None:
        if self.kept:
            os.fsync(self.output)
        write_json(os.path.join(self.folder, "rc.json"), outcome)
        os.close(self.alive)
        self.finished = True

    # --- its process ---

    def _start(self) -> None:
        environment = self._environment()
        command, stdin = self._command(environment)
        try:
            self.pipe, write_end = os.pipe()
            with contextlib.suppress(PermissionError):  # beyond the user's share: a smaller one
                fcntl.fcntl(self.pipe, F_SETPIPE_SZ, PIPE_BYTES)
            said, say = os.pipe()
            self.main = os.fork()
        except OSError as error:
            raise CannotRun(f"no process could be started: {error.strerror}") from error
        if self.main == 0:
            self._become(command, environment, stdin, write_end, say)
        os.close(write_end)
        os.close(say)
        with open(said, "rb") as channel:
            why = channel.read().decode("utf-8", "replace")
        if why:
            os.waitpid(self.main, 0)
            raise CannotRun(why)
        if self.spec["timeout"] is not None:
            self.deadline = time.monotonic() + float(self.spec["timeout"])

    def _environment(self) -> dict[bytes, bytes]:
        """What the sandbox has, and what was asked for; never what the host has."""
        tmp = self.config["tmp"]
        given: dict[str, str] = {"PATH": PATH, "LANG": "C.UTF-8"}
        given.update(os.environ)
        given.update(TERM="dumb", HOME=os.path.join(tmp, "home"), TMPDIR=tmp)
        given.update(self.config["environment"])
        given.update(self.spec["environment"])
        environment = {to_bytes(name): to_bytes(value) for name, value in given.items()}
        for name, value in environment.items():
            if not name or b"\0" in name + value or b"=" in name:
                raise CannotRun(f"the environment variable {name!r} cannot be passed on")
        return environment

    def _command(self, environment: dict[bytes, bytes]) -> tuple[list[bytes], bytes | None]:
        """The arguments to execute, and what goes to its stdin (nothing for a script)."""
        if self.spec["tool"] is not None:
            asked = {
                "tool": self.spec["tool"],
                "arguments": self.spec["arguments"],
                "workspace": self.config["workspace"],
            }
            files = os.path.join(os.path.dirname(os.path.abspath(__file__)), "files.py")
            argv = [sys.executable, "-I", "-S", "-B", files]
            return [to_bytes(word) for word in argv], json.dumps(asked).encode()
        script = to_bytes(self.spec["script"])
        if b"\0" in script:
            raise CannotRun(
                f"the command has a NUL byte at byte {script.index(0)}, which no shell can take; "
                "write it as an escape, as in printf '\\0'"
            )
        search = environment[b"PATH"].decode("utf-8", "surrogateescape")
        shell = shutil.which("bash", path=search) or shutil.which("sh", path=search)
        if shell is None:
            raise CannotRun(f"there is no bash and no sh in the sandbox (PATH is {search})")
        return [to_bytes(shell), b"-c", script], None

    def _become(
        self,
        command: list[bytes],
        environment: dict[bytes, bytes],
        stdin: bytes | None,
        output: int,
        say: int,
    ) -> NoReturn:
        """In the forked child: take on the job's user and limits, and become its command."""
        try:
            forget_signals()
            os.setsid()
            self._become_the_user()
            os.makedirs(environment[b"HOME"], exist_ok=True)
            os.chdir(self.config["workspace"])
            if len(command[-1]) > SCRIPT_IN_ARGV:
                script = self._unnamed_file(command[-1])
                os.set_inheritable(script, True)
                command = [command[0], b"/proc/self/fd/%d" % script]
            source = os.open(os.devnull, os.O_RDONLY)
            if stdin is not None:
                source = self._unnamed_file(stdin)
            os.dup2(source, 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.execve(command[0], command, environment)
        except OSError as error:
            where = f" ({os.fsdecode(error.filename)})" if error.filename else ""
            os.write(say, f"could not be started: {error.strerror}{where}".encode())
        except BaseException as error:
            os.write(say, f"could not be started: {type(error).__name__}: {error}".encode())
        os._exit(126)

    def _become_the_user(self) -> None:
        # When memory runs out, the job goes and not the one that reports it.
        with contextlib.suppress(PermissionError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
        if self.config["uid"] is not None:
            os.setgroups([])
            os.setgid(self.config["gid"])
            os.setuid(self.config["uid"])
        os.umask(0o022)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for name, limit in (
            (resource.RLIMIT_NPROC, self.config["processes"]),
            (resource.RLIMIT_DATA, self.config["memory"]),
        ):
            if limit is not None:
                resource.setrlimit(name, (limit, limit))

    def _unnamed_file(self, content: bytes) -> int:
        """A file of the job's own user, so that it may open it again through /proc/self/fd."""
        with tempfile.TemporaryFile(dir=self.config["tmp"]) as file:
            file.write(content)
            file.flush()
            fd = os.dup(file.fileno())
        os.lseek(fd, 0, os.SEEK_SET)
        return fd


# --- processes ------------------------------------------------------------------------------------


class Children:
    """A pipe that becomes readable when a child ends."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self.writer, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self.writer, warn_on_full_buffer=False)


def require_children_files() -> None:
    """Without these files no descendant is found, and nothing would ever be ended."""
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        raise OSError("this kernel has no /proc/PID/task/TID/children (CONFIG_PROC_CHILDREN)")


def become_subreaper() -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this kernel has no subreapers")


def reap() -> list[tuple[int, int]]:
    """All children that have ended: (pid, wait status)."""
    found: list[tuple[int, int]] = []
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            found.append((pid, status))
    return found


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as children:
                found += [int(child) for child in children.read().split()]
    return found


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    ahead = children_of(pid)
    while ahead:
        child = ahead.pop()
        found.append(child)
        ahead += children_of(child)
    return found


def kill_tree(pid: int) -> None:
    """KILL all descendants. They are stopped first, or a fork bomb would outrun the killing."""
    seen: list[int] = []
    for _ in range(50):
        new = [child for child in descendants(pid) if child not in seen]
        if not new:
            break
        send(signal.SIGSTOP, new)
        seen += new
    send(signal.SIGKILL, seen)


def send(number: int, pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):  # gone; or setuid to someone else
            continue


def forget_signals() -> None:
    """What the core or Python ignores, the job must not inherit as ignored."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def oom_kills() -> int:
    """How many processes of this container the kernel killed for want of memory (0 elsewhere)."""
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        try:
            with open(path) as counters:
                for line in counters:
                    name, _, value = line.partition(" ")
                    if name == "oom_kill":
                        return int(value)
        except OSError:
            continue
    return 0


# --- files ----------------------------------------------------------------------------------------


def now() -> int:
    return time.time_ns() // 1000


def nothing_ran(error: str) -> dict[str, Any]:
    at = now()
    return {
        "ended": "exited",
        "exit_code": 126,
        "signal": None,
        "started_at": at,
        "ended_at": at,
        "output_bytes": 0,
        "kept_bytes": 0,
        "error": error,
        "out_of_memory": False,
    }


def to_bytes(text: str) -> bytes:
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:  # half a surrogate pair, as a model may write in JSON
        return text.encode("utf-8", "surrogatepass")


def read_json(path: str) -> Any:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def write_json(path: str, value: dict[str, Any]) -> None:
    """All of it or nothing, and on the disk before this returns."""
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".new", path)
    sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def empty(fd: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(fd, 4096):
            pass


def complain(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  (its log, outside of any terminal)


def poke(path: str) -> None:
    """Write one byte to a FIFO, if somebody listens."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return
    with contextlib.suppress(BlockingIOError):
        os.write(fd, b"1")
    os.close(fd)


def main(arguments: list[str]) -> int:
    if len(arguments) not in (2, 3) or arguments[0] != "serve":
        complain("usage: runner.py serve SPOOL [--when-told]")
        return 2
    if arguments[2:] == ["--when-told"] and not sys.stdin.readline():
        # Whoever started this died before it had noted where to find it again.
        return 1
    Server(arguments[1]).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
