"""Bubblewrap: one bwrap process tree per rollout, with its own view of files, processes, network.

When the core is root, the sandbox is a user namespace with two users: root (the runner, without
capabilities but SETUID, SETGID and KILL) and 1000 (the jobs). A job can then neither touch the
spool nor the runner. When the core is an ordinary user, there is only that one user inside: runner
and jobs share it, a job could write the spool of its own rollout, and nothing of anybody else's.

Memory is limited per process, not for all of them together; disk and CPU are not limited. With the
network on, it is the host's, 127.0.0.1 included.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from apollo_tui.errors import SandboxError
from apollo_tui.sandbox import Kind, SandboxSpec
from apollo_tui.sandbox.hangup import Hangup
from apollo_tui.sandbox.jobs import Config
from apollo_tui.sandbox.local import (
    PATH,
    PYTHON_OPTIONS,
    end_process,
    start_detached,
    start_time,
)
from apollo_tui.sandbox.spooled import JOB_USER, SpooledSandbox

SYSTEM_PYTHON = Path("/usr/bin/python3")
INSTALL = "install it (Debian: apt-get install bubblewrap)"
NAMESPACES = ("user", "pid", "ipc", "uts", "cgroup-try")
ETC = (
    "alternatives",
    "ld.so.cache",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
)


class BubblewrapSandbox(SpooledSandbox):
    kind: Kind = "bubblewrap"
    isolated = True

    def __init__(self, spec: SandboxSpec) -> None:
        super().__init__(spec)
        self._record = spec.folder / "bubblewrap.json"
        self._two_users = os.geteuid() == 0

    async def _start(self) -> bool:
        if await asyncio.to_thread(self.spool.serving):
            return True
        await self._end_what_was_started()
        self._require_mounts()
        python = await asyncio.to_thread(interpreter)
        user = JOB_USER if self._two_users else None
        config = Config(
            workspace=self.workspace_path,
            tmp="/tmp",
            uid=user,
            gid=user,
            environment=self.spec.environment,
            processes=self.spec.processes,
            memory=self.spec.memory,
        )
        await asyncio.to_thread(functools.partial(self._lay_out, config, tmp_mode=0o1777))
        await asyncio.to_thread(self._write_etc)
        log = self.spec.folder / "sandbox.log"
        with Hangup(self.spool.ready) as ready:
            await self._start_bwrap(python, log)
            await self._until_serving(ready.changed, log)
        return False

    async def _remove(self) -> None:
        await self._end_what_was_started()

    # --- starting ----------------------------------------------------------------------------------

    async def _start_bwrap(self, python: Path, log: Path) -> None:
        """Start it in three steps, so that it is never alive without being on record: it is made,
        it is noted (and given its users), it is told to go on."""
        told, tell = os.pipe()
        info, say_info = os.pipe()
        blocked, unblock = os.pipe()
        theirs, ours = (told, say_info, blocked), (tell, info, unblock)
        command = ["bwrap", *self._arguments(python), "--info-fd", str(say_info)]
        if self._two_users:
            command += ["--userns-block-fd", str(blocked)]
        runner = ("/opt/apollo/runner.py", "serve", "/spool", "--when-told")
        command += ["--", str(python), *PYTHON_OPTIONS, *runner]
        try:
            try:
                await start_detached(
                    command,
                    stdin=told,
                    stdout=self.spool.ready,
                    log=log,
                    environment={"PATH": os.environ.get("PATH", PATH)},
                    keep=(say_info, blocked),
                )
            finally:
                for fd in theirs:
                    os.close(fd)
            pid = await asyncio.to_thread(_child_pid, info)
            if pid is None:
                return  # what it said is in the log
            await asyncio.to_thread(self._note, pid)
            if self._two_users:
                _map_users(pid)
                os.write(unblock, b"1")
            os.write(tell, b"go\n")
        finally:
            for fd in ours:
                os.close(fd)

    def _note(self, pid: int) -> None:
        new = self._record.with_suffix(".new")
        with new.open("w") as file:
            json.dump({"pid": pid, "started": start_time(pid), "boot": boot_id()}, file)
            file.flush()
            os.fsync(file.fileno())
        new.rename(self._record)

    async def _end_what_was_started(self) -> None:
        try:
            record = json.loads(self._record.read_text())
        except FileNotFoundError:
            return
        except ValueError as error:
            raise SandboxError(f"{self._record} is damaged: {error}") from error
        if record["boot"] == boot_id():
            await end_process(record["pid"], record["started"])
        self._record.unlink(missing_ok=True)

    # --- what is seen inside -------------------------------------------------------------------------

    def _arguments(self, python: Path) -> list[str]:
        spec = self.spec
        arguments = [f"--unshare-{name}" for name in NAMESPACES]
        arguments += ["--as-pid-1", "--clearenv", "--setenv", "PATH", PATH]
        arguments += ["--hostname", "sandbox", "--cap-drop", "ALL"]
        if self._two_users:
            for capability in ("SETUID", "SETGID", "KILL"):
                arguments += ["--cap-add", f"CAP_{capability}"]
        if not spec.network:
            arguments.append("--unshare-net")
        arguments += [*system_folders(), "--proc", "/proc", "--dev", "/dev"]
        arguments += ["--dir", "/run", *folders_above("/var/tmp"), "--symlink", "/tmp", "/var/tmp"]
        arguments += self._etc(spec.network)
        if not python.is_relative_to("/usr"):
            home = str(Path(sys.base_prefix).resolve())
            arguments += [*folders_above(home), "--ro-bind", home, home]
            arguments += ["--setenv", "PATH", f"{PATH}:{python.parent}"]
        arguments += ["--bind", str(self.tmp), "/tmp"]
        arguments += ["--bind", str(spec.workspace), "/workspace"]
        arguments += ["--bind", str(spec.spool), "/spool"]
        arguments += [*folders_above("/opt/apollo"), "--ro-bind", str(self.inside), "/opt/apollo"]
        for mount in spec.mounts:
            bind = "--ro-bind" if mount.read_only else "--bind"
            arguments += [*folders_above(mount.inside), bind, mount.host, mount.inside]
        return [*arguments, "--chdir", "/"]

    def _etc(self, network: bool) -> list[str]:
        """The few files of /etc that programs need, and none that tells about the host's people."""
        names = [*ETC, "resolv.conf"] if network else ETC
        arguments = [*folders_above("/etc/ssl/certs")]
        for name in names:
            source = Path("/etc", name).resolve()
            arguments += ["--ro-bind-try", str(source), f"/etc/{name}"]
        for name in ("passwd", "group", "hosts"):
            arguments += ["--ro-bind", str(self.inside / f"etc-{name}"), f"/etc/{name}"]
        return arguments

    def _write_etc(self) -> None:
        user = JOB_USER if self._two_users else os.getuid()
        group = JOB_USER if self._two_users else os.getgid()
        files = {
            "passwd": "root:x:0:0:root:/root:/bin/sh\n"
            f"agent:x:{user}:{group}:agent:/tmp/home:/bin/bash\n",
            "group": f"root:x:0:\nagent:x:{group}:\n",
            "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
        }
        for name, text in files.items():
            path = self.inside / f"etc-{name}"
            path.write_text(text)
            path.chmod(0o644)


def system_folders() -> list[str]:
    """bwrap arguments that show /usr and what of / belongs to it, as links where they are links."""
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), str(path)]
    return arguments


def folders_above(path: str) -> list[str]:
    """bwrap arguments that make the folders above a path, which it would close to the job."""
    above = [str(folder) for folder in reversed(Path(path).parents)][1:]
    return [word for folder in above for word in ("--dir", folder)]


@functools.cache
def interpreter() -> Path:
    """A Python for the runner: the system's if it is good enough, else the one that runs this."""
    needs = "import sys, ctypes, fcntl, json, tempfile; sys.exit(sys.version_info < (3, 8))"
    if SYSTEM_PYTHON.exists():
        tried = subprocess.run([SYSTEM_PYTHON, *PYTHON_OPTIONS, "-c", needs], capture_output=True)
        if tried.returncode == 0:
            return SYSTEM_PYTHON.resolve()
    return Path(sys.executable).resolve()


@functools.cache
def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def why_not() -> str | None:
    """Why bubblewrap cannot run here, in one line; None when it can. It is tried, not guessed."""
    if shutil.which("bwrap") is None:
        return f"bubblewrap is not installed; {INSTALL}"
    if shutil.which("setsid") is None:
        return "the program setsid is missing; install util-linux"
    arguments = [
        *(f"--unshare-{name}" for name in NAMESPACES),
        "--unshare-net",
        "--cap-drop",
        "ALL",
    ]
    arguments += [*system_folders(), "--proc", "/proc", "--dev", "/dev"]
    tried = subprocess.run(
        ["bwrap", *arguments, "--", "/bin/sh", "-c", "exit 7"],
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
    )
    if tried.returncode == 7:
        return None
    said = " ".join(tried.stderr.split()) or f"exit code {tried.returncode}"
    return f"bubblewrap does not work here ({said}); allow user namespaces, or use Docker"


def _child_pid(info: int) -> int | None:
    """The pid of the process that becomes pid 1 inside, which bwrap tells; None when it failed."""
    text = b""
    while b"}" not in text and (more := os.read(info, 4096)):
        text += more
    try:
        return int(json.loads(text)["child-pid"])
    except (ValueError, KeyError):
        return None


def _map_users(pid: int) -> None:
    """Root stays root, in this namespace only; 1000 stays 1000; there is nobody else."""
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{pid}/{name}").write_text(f"0 0 1\n{JOB_USER} {JOB_USER} 1\n")
