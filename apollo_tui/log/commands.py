"""Command: what a front end may ask of the core. Every write is one of these.

`command` is the client-made id that makes a repeat harmless; `by` is the annotator's name. A command
is answered only after the event it causes is durable.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from apollo_tui.log.events import ActionRef
from apollo_tui.log.types import MarkKind, Mount, Text, Value

PROTOCOL = 1
MAX_LINE = 16 << 20  # bytes of one message


class _Command(Value):
    command: str = Field(min_length=8, max_length=64)
    by: str = Field(min_length=1, max_length=64)


class RolloutCommand(_Command):
    """A command to one rollout, named by its id."""

    rollout: str


class Run(_Command):
    """Start rollouts: `count` of each task, named after `name` or the task. All start, or none."""

    method: Literal["run"] = "run"
    task: str | tuple[str, ...]  # bundled names, folders, or files; "" with `prompt`
    prompt: Text = ""
    workspace: str | None = None
    model: str
    sandbox: Literal["docker", "bubblewrap", "plain"] | None = None  # None: the best there is
    unisolated: bool = False
    count: int = Field(default=1, ge=1, le=256)
    name: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    hands_off: bool = False
    hours: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, gt=0)
    usd: float | None = Field(default=None, gt=0)
    image: str | None = None
    network: bool = False
    mounts: tuple[Mount, ...] = ()
    gpus: int = Field(default=0, ge=0)
    demo: bool = False  # a bundled scripted demonstration: the one case for plain processes

    @property
    def tasks(self) -> tuple[str, ...]:
        return (self.task,) if isinstance(self.task, str) else self.task


class Pause(RolloutCommand):
    method: Literal["pause"] = "pause"
    now: bool = False


class Resume(RolloutCommand):
    method: Literal["resume"] = "resume"


class Stop(RolloutCommand):
    method: Literal["stop"] = "stop"
    jobs: Literal["kill", "leave"] = "kill"
    evaluate: bool = False


class Advise(RolloutCommand):
    method: Literal["advise"] = "advise"
    text: Text = Field(min_length=1, max_length=100_000)
    resume: bool = False


class Unadvise(RolloutCommand):
    method: Literal["unadvise"] = "unadvise"
    advice: int


class Mark(RolloutCommand):
    method: Literal["mark"] = "mark"
    actions: tuple[ActionRef, ...] = Field(min_length=1)
    mark: MarkKind
    code: str | None = None
    note: Text = ""


class Unmark(RolloutCommand):
    method: Literal["unmark"] = "unmark"
    actions: tuple[ActionRef, ...] = Field(min_length=1)


class RemoveFiles(RolloutCommand):
    """Delete the files of an ended rollout. The log and its marks stay."""

    method: Literal["remove_files"] = "remove_files"


class CollectGarbage(_Command):
    """Delete what `retention` says is old, and what nothing needs; with `dry_run` only tell of it."""

    method: Literal["collect_garbage"] = "collect_garbage"
    dry_run: bool = False


class Filter(_Command):
    """Decide which actions of these rollouts train, and store the run. Answered once the run is on
    the log; its end is a `filter_run_finished` or a `filter_run_ended`."""

    method: Literal["filter"] = "filter"
    rollouts: tuple[str, ...] = Field(min_length=1)
    settings: dict[str, Any] = Field(default_factory=dict)  # fields of `filter.run.FilterSettings`
    as_of: int | None = Field(default=None, gt=0)  # marks and events up to this seq; None: all
    ask_judge: bool = True  # False: count on what the judge has answered before
    judge_usd: float | None = Field(default=None, gt=0)  # what the judge may spend in this run


class CancelFilter(_Command):
    method: Literal["cancel_filter"] = "cancel_filter"
    run: str


class NoteExport(_Command):
    """Something was written from a filter run."""

    method: Literal["note_export"] = "note_export"
    run: str
    format: str
    path: str
    samples: int = Field(ge=0)
    digest: str = ""


class Import(_Command):
    """Read a file that another program wrote, as a rollout that is read-only from then on."""

    method: Literal["import"] = "import"
    path: str
    name: str | None = None


class MarkToImport(Value):
    rollout: str
    action: ActionRef
    mark: MarkKind
    code: str | None = None
    note: Text = ""
    annotator: str = Field(min_length=1, max_length=64)
    at: int | None = Field(default=None, ge=0, lt=1 << 62)  # when it was made; None: not known
    line: int | None = None  # of the file it was read from, for messages


class ImportMarks(_Command):
    """Marks that were exported from a log, in the names of those who made them. All or none.

    One that its annotator has already, or has changed since, is left out and counted.
    """

    method: Literal["import_marks"] = "import_marks"
    marks: tuple[MarkToImport, ...] = Field(min_length=1)


class Status(Value):
    """What the core is and runs; writes nothing."""

    method: Literal["status"] = "status"


class Shutdown(Value):
    """End the core; rollouts go on when it is started again."""

    method: Literal["shutdown"] = "shutdown"


class Follow(Value):
    """From now on, notify this connection: `appended` and `delta`."""

    method: Literal["follow"] = "follow"
    by: str = Field(min_length=1, max_length=64)


Command = Annotated[
    Run
    | Pause
    | Resume
    | Stop
    | Advise
    | Unadvise
    | Mark
    | Unmark
    | RemoveFiles
    | CollectGarbage
    | Filter
    | CancelFilter
    | NoteExport
    | Import
    | ImportMarks
    | Status
    | Shutdown
    | Follow,
    Field(discriminator="method"),
]

command_adapter: TypeAdapter[Command] = TypeAdapter(Command)
