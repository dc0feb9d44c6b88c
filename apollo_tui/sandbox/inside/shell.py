"""An interactive shell on a terminal, driven beside the terminal.

The shell's terminal belongs to the commands: what they print is read from it and what is typed goes
into it, and nothing else does. The shell reads its own input from a pipe, and is told in one line to
read the command from an unnamed file: so a command may have any length, quotes and mistakes, and
cannot swallow what follows it. How it ended comes back through another pipe, which the shell writes
when it is ready for its next line: after a syntax error, after Ctrl-C out of a loop of builtins,
when a background job was started. A shell that ends instead says so by its wait status.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import tempfile
import termios
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from apollo_tui.sandbox.inside.runner import CannotRun, Runner, forget_signals, to_bytes
else:
    from runner import CannotRun, forget_signals, to_bytes

# Numbers that scripts do not choose for themselves; a plain sh can redirect to one digit only.
SCRIPT_FD = 242
REPORT_FD = {"bash": 241, "sh": 8}
ROWS, COLUMNS = 100, 300
ENVIRONMENT = {
    "PAGER": "cat",  # or `git log` waits for a key
    "HISTFILE": os.devnull,
    "VIRTUAL_ENV_DISABLE_PROMPT": "1",
    "PS1": "",
    "PS2": "",
}
READ_IT = f". /proc/self/fd/{SCRIPT_FD} </dev/tty"
REPORT = r'printf %s\\0 "$?" "${PWD-}" >&'
NOTHING = "{ :; } 2>/dev/null\n"
# bash reads the second line when it is done with the first, whatever became of it.
BASH_REPORTS = f"{{ builtin {REPORT}{REPORT_FD['bash']}; PS1= PS2=; }} 2>/dev/null\n"
# Any other sh may throw away what it has read ahead, but it always makes its prompt.
SH_PROMPT = f"$({REPORT}{REPORT_FD['sh']})"
SH_KEEPS_ITS_PROMPT = f"apollo=$?; PS1='{SH_PROMPT}'; (exit \"$apollo\")"


class Terminal:
    """A pseudo-terminal of the job's user. This side keeps both ends open, so that it outlives
    every shell on it. Output is not changed on its way: a newline stays one byte."""

    def __init__(self, runner: Runner) -> None:
        user = runner.config["uid"]
        if user is not None:  # so that the job may open its terminal by name
            os.seteuid(user)
        try:
            self.ours, self.theirs = os.openpty()
        except OSError as error:
            raise CannotRun(f"no terminal could be made: {error.strerror}") from error
        finally:
            if user is not None:
                os.seteuid(0)
        os.set_blocking(self.ours, False)
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.settings = termios.tcgetattr(self.theirs)
        self.settings[1] &= ~termios.OPOST
        self.reset()

    def reset(self) -> None:
        """As it was at first: a program that died may have left it without echo or signals. What
        was typed and never read is gone."""
        termios.tcsetattr(self.theirs, termios.TCSANOW, self.settings)
        termios.tcflush(self.theirs, termios.TCIFLUSH)

    def read(self, size: int) -> bytes:
        """What was printed; nothing when all of it was read."""
        try:
            return os.read(self.ours, size)
        except BlockingIOError:
            return b""

    def type(self, text: bytes) -> int:
        """How much of it went in: a terminal whose reader is busy is full at some time."""
        try:
            return os.write(self.ours, text)
        except BlockingIOError:
            return 0


class Shell:
    """One shell. Raises CannotRun when there is none, or none can be started."""

    def __init__(self, runner: Runner, terminal: Terminal, folder: str) -> None:
        environment = dict(runner._environment())
        environment.update((to_bytes(k), to_bytes(v)) for k, v in ENVIRONMENT.items())
        search = environment[b"PATH"].decode("utf-8", "surrogateescape")
        bash = shutil.which("bash", path=search)
        path = bash or shutil.which("sh", path=search)
        if path is None:
            raise CannotRun(f"there is no bash and no sh in the sandbox (PATH is {search})")
        self.is_bash = bash is not None
        command = [to_bytes(path), b"-i"]
        if self.is_bash:
            command[1:1] = [b"--norc", b"--noprofile", b"--noediting"]
        else:
            environment[b"PS1"] = SH_PROMPT.encode()
        self._awaited = 1  # reports
        self._heard = b""
        try:
            self._script = tempfile.TemporaryFile(dir=runner.config["tmp"])  # noqa: SIM115
            os.fchmod(self._script.fileno(), 0o644)
            theirs, self._lines = os.pipe()
            self.reports, report = os.pipe()
            said, say = os.pipe()
            self.pid = os.fork()
        except OSError as error:
            raise CannotRun(f"no shell could be started: {error.strerror}") from error
        if self.pid == 0:
            fds = {0: theirs, 1: terminal.theirs, 2: terminal.theirs}
            fds[REPORT_FD["bash" if self.is_bash else "sh"]] = report
            self._become(runner, command, environment, folder, fds, say)
        for fd in (theirs, report, say):
            os.close(fd)
        os.set_blocking(self.reports, False)
        with open(said, "rb") as channel:  # noqa: PTH123
            why = channel.read().decode("utf-8", "replace")
        if why:
            os.waitpid(self.pid, 0)
            self.close()
            raise CannotRun(why)
        if self.is_bash:
            self._tell(BASH_REPORTS)

    def _become(
        self,
        runner: Runner,
        command: list[bytes],
        environment: dict[bytes, bytes],
        folder: str,
        fds: dict[int, int],
        say: int,
    ) -> NoReturn:
        """In the forked child: take the terminal and the job's user, and become the shell."""
        try:
            forget_signals()
            os.setsid()
            fcntl.ioctl(fds[1], termios.TIOCSCTTY, 0)
            # First out of the way of the numbers they are to have.
            above = {at: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 250) for at, fd in fds.items()}
            script = os.open(f"/proc/self/fd/{self._script.fileno()}", os.O_RDONLY)
            say = fcntl.fcntl(say, fcntl.F_DUPFD_CLOEXEC, 250)
            os.dup2(script, SCRIPT_FD)
            for at, fd in above.items():
                os.dup2(fd, at)
            runner._become_the_user()
            os.makedirs(environment[b"HOME"], exist_ok=True)  # noqa: PTH103
            with contextlib.suppress(OSError):  # it may have been removed meanwhile
                os.chdir(runner.config["workspace"])
                os.chdir(folder)
            os.execve(command[0], command, environment)
        except OSError as error:
            os.write(say, f"could not be started: {error.strerror}".encode())
        except BaseException as error:
            os.write(say, f"could not be started: {type(error).__name__}: {error}".encode())
        os._exit(126)

    @property
    def is_ready(self) -> bool:
        """It waits for its next line."""
        return self._awaited == 0

    def settle(self) -> None:
        """Have it say now what has become of its background jobs, and not in the middle of what
        comes next. It is ready again when it is heard."""
        self._awaited += 1
        self._tell(NOTHING + (BASH_REPORTS if self.is_bash else ""))

    def feed(self, command: bytes) -> None:
        """Have it run a command. Only when it is ready. Raises OSError when that cannot be kept."""
        self._script.seek(0)
        self._script.truncate()
        self._script.write(command)
        self._script.flush()
        self._awaited += 1
        if self.is_bash:
            self._tell(f"{READ_IT}\n{BASH_REPORTS}")
        else:
            self._tell(f"{READ_IT}; {SH_KEEPS_ITS_PROMPT}\n")

    def hear(self) -> tuple[int | None, str] | None:
        """The exit code of what it was told last, and its folder; None while it is at it."""
        with contextlib.suppress(BlockingIOError):
            while more := os.read(self.reports, 65536):
                self._heard = (self._heard + more)[-65536:]
        words = self._heard.split(b"\0")
        reports = (len(words) - 1) // 2
        if self.is_ready:  # nothing was asked: a command has written there
            self._heard = b""
            return None
        if reports == 0:
            return None
        code, folder = words[2 * reports - 2 : 2 * reports]
        self._heard = b"\0".join(words[2 * reports :])
        self._awaited = max(0, self._awaited - reports)
        if not self.is_ready:
            return None
        return (int(code) if code.isdigit() else None), os.fsdecode(folder)

    def close(self) -> None:
        """Let go of it. Without its pipe it has nothing more to read, and ends."""
        os.close(self._lines)
        os.close(self.reports)
        self._script.close()

    def _tell(self, lines: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended, which its wait status says
            os.write(self._lines, lines.encode())
