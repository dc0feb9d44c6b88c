"""The values that events are made of: messages, prompts, usage, tasks, rollouts.

Everything here is frozen, and its JSON is stable: the log stores messages as the exact bytes
that `model_dump_json` gives, and a prompt is rebuilt from those bytes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _without_lone_surrogates(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text


Text = Annotated[str, AfterValidator(_without_lone_surrogates)]
"""Text that can be encoded as UTF-8: lone surrogates become "?"."""

TextRef = str
"""The content address of a stored text (see `texts.py`)."""

State = Literal[
    "pending",
    "running",
    "waiting",
    "paused",
    "frozen",
    "summarising",
    "evaluating",
    "finished",
    "failed",
    "stopped",
]

Disposition = Literal[
    "completed",  # it ran to its end, whatever its exit code
    "failed",  # it could not do what was asked (an action that refuses, a missing file)
    "invalid",  # unknown tool, or arguments that do not fit; never executed
    "timeout",  # killed at its time limit
    "interrupted",  # an operator asked it to end
    "killed",  # ended by force
    "background",  # left running, the agent goes on
    "unknown",  # started, and nobody can say how it ended
]
MarkKind = Literal["reject", "accept", "unsure", "reviewed"]
AdviceState = Literal["queued", "delivered", "withdrawn", "followed", "ignored"]


class Value(BaseModel):
    """A frozen value that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- what a model is sent, and what it replies -------------------------------------------------


class Thinking(Value):
    """One block of reasoning, replayed unchanged where its API wants it back."""

    text: Text = ""
    signature: str | None = None
    redacted: str | None = None
    field: str | None = None  # the name it came under: reasoning_content, reasoning


class ToolCall(Value):
    """One action the model proposes. `malformed` holds the raw text when it was no JSON object."""

    id: str
    tool: Text
    arguments: dict[str, Any] = Field(default_factory=dict)
    malformed: Text | None = None


class UserMessage(Value):
    role: Literal["user"] = "user"
    text: Text
    source: Literal["task", "advice", "reminder", "summary", "notice"] = "task"


class AssistantMessage(Value):
    role: Literal["assistant"] = "assistant"
    text: Text = ""
    thinking: tuple[Thinking, ...] = ()
    actions: tuple[ToolCall, ...] = ()


class ToolMessage(Value):
    """An observation as the model reads it."""

    role: Literal["tool"] = "tool"
    call_id: str
    tool: Text
    text: Text
    error: bool = False


Message = Annotated[UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class ToolSpec(Value):
    """A tool as the model sees it: its name, what it does, the JSON schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any]


class Prompt(Value):
    """Exactly what a model is sent: the same prompt always has the same `model_dump_json`."""

    system: Text = ""
    messages: tuple[Message, ...] = ()
    tools: tuple[ToolSpec, ...] = ()


class Usage(Value):
    """Tokens of one model call. `input` counts every prompt token, cached ones included.

    `cost_usd` is None when the model's price is not known: unknown is never 0.
    """

    input: int = 0
    cached: int = 0
    cache_written: int = 0
    output: int = 0
    cost_usd: float | None = None
    estimated: bool = False


# --- tasks and rollouts ------------------------------------------------------------------------


class Evaluation(Value):
    """How a task is scored: a command that runs where the agent cannot see it."""

    folder: str
    command: str
    timeout: float = 300.0  # seconds
    submissions: int = 3


class Mount(Value):
    host: str
    inside: str
    read_only: bool = True


class Task(Value):
    """One task, whatever format it was read from."""

    name: str
    category: str = ""
    title: str = ""
    description: Text
    source: str = ""  # the folder or file it was read from
    workspace: str | None = None  # a folder copied into the rollout's workspace
    hint: str | None = None
    time_limit: float | None = None  # seconds of working time
    step_limit: int | None = None
    tools: tuple[str, ...] | None = None  # None: all
    actions_per_step: int = 1
    image: str | None = None
    network: bool = False
    web_hosts: tuple[str, ...] = ()  # the only ones the web tools read; none and a network: all
    mounts: tuple[Mount, ...] = ()
    gpus: int = 0
    evaluation: Evaluation | None = None


class RolloutSpec(Value):
    """Everything that decides how a rollout runs; changed only by events."""

    task: Task
    model: (
        str  # as the person wrote it: a configured name, or api:NAME[@BASE_URL], or scripted:FILE
    )
    sandbox: Literal["docker", "bubblewrap", "plain", "none"]  # none: imported, it never runs
    isolated: bool
    name: str
    group: str | None = None
    tags: tuple[str, ...] = ()
    hands_off: bool = False
    time_limit: float | None = None
    step_limit: int | None = None
    usd_limit: float | None = None
    image: str | None = None
    network: bool = False
    mounts: tuple[Mount, ...] = ()
    gpus: int = 0
