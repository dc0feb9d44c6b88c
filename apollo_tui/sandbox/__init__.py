"""Where actions run: one protocol, three kinds (docker, bubblewrap, plain).

Every kind speaks the same job protocol (`jobs.py`): the host writes a spec into a spool folder, the
runner that lives inside the sandbox claims it, runs it, keeps its output, and writes the outcome.
Nothing depends on a client that stays alive: any later core reads the same files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from apollo_tui.log.types import Mount

if TYPE_CHECKING:
    from apollo_tui.sandbox.jobs import Spool

Kind = Literal["docker", "bubblewrap", "plain"]


@dataclass(frozen=True)
class SandboxSpec:
    """What a sandbox is made from. `name` is unique per home and names containers and labels;
    `folder` is the host folder that holds `workspace/`, `spool/` and `tmp/`."""

    name: str
    rollout: str
    folder: Path
    image: str | None = None
    network: bool = False
    mounts: tuple[Mount, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    memory: int = 4 << 30  # bytes
    processes: int = 512
    cpus: float | None = None

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"


@dataclass(frozen=True)
class Job:
    """One thing to run. `id` is unique in the spool for ever: a second launch of it is harmless.

    Exactly one of `script` (run by bash, else sh), `tool` (one of the file tools, with JSON
    `arguments`, run by `inside/files.py`) and `session` (the name of a terminal session, which
    lives until it is closed) is set.
    """

    id: str
    script: str | None = None
    tool: str | None = None
    session: str | None = None
    arguments: Mapping[str, object] = field(default_factory=dict)
    timeout: float | None = None  # seconds
    environment: Mapping[str, str] = field(default_factory=dict)
    output_cap: int = 64 << 20  # bytes kept; the rest is drained and counted


@dataclass(frozen=True)
class Outcome:
    """How a job ended. `exit_code` is None where `ended` is lost: nobody knows."""

    ended: Literal["exited", "timeout", "killed", "lost"]
    exit_code: int | None = None
    signal: int | None = None
    started_at: int = 0  # UTC microseconds
    ended_at: int = 0
    output_bytes: int = 0  # all that was written
    kept_bytes: int = 0  # of those, what is in the file
    error: str = ""  # why it could not be run, when it could not
    out_of_memory: bool = False


class Sandbox(Protocol):
    kind: Kind
    isolated: bool
    identity: str  # a container's id; empty where there is none
    workspace_path: str  # where the agent finds its workspace: /workspace, or a host path
    spec: SandboxSpec

    @property
    def spool(self) -> Spool:
        """The files through which it is spoken to."""
        ...

    async def start(self) -> bool:
        """Create it, or find it again; True when it was there already. Raises SandboxError."""
        ...

    async def launch(self, job: Job) -> None:
        """Hand a job over. Harmless when a job of that id was handed over before."""
        ...

    async def wait(self, job_id: str) -> Outcome:
        """The outcome, as soon as there is one. Cancelling only stops waiting."""
        ...

    async def outcome(self, job_id: str) -> Outcome | Literal["running", "unclaimed", "unknown"]:
        """What can be said now. `unknown`: no job of that id was ever handed over."""
        ...

    async def kill(self, job_id: str, grace: float = 2.0) -> None:
        """End a job and everything it started: TERM, then KILL after `grace` seconds."""
        ...

    async def output(self, job_id: str, start: int = 0, size: int = -1) -> bytes:
        """The kept output (stdout and stderr as they came), from a byte offset."""
        ...

    async def close(self, remove: bool = True) -> None:
        """Let go of it. With `remove`, end every process and delete it; the workspace stays."""
        ...
