"""History: reading the log from any process, with plain sqlite3 and no event classes.

The console pages through this on its own thread of control: a keyset page takes well under a
millisecond, so it is read where it is needed and no list of all steps is ever held.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

EntryKind = Literal["thinking", "action", "advice", "submission", "question", "notice"]


@dataclass(frozen=True, slots=True)
class RolloutRow:
    """One line of the `rollouts` projection. Times are UTC microseconds."""

    id: str
    name: str
    task: str
    model: str
    sandbox: str
    isolated: bool
    state: str
    why: str
    step: int
    actions: int
    marks: int
    errors: int
    score: float | None
    cost_usd: float | None  # None: no call had a known price
    cost_complete: bool  # False: some calls had no known price
    tokens_in: int
    tokens_cached: int
    tokens_out: int
    created_at: int
    started_at: int | None
    ended_at: int | None
    last_seq: int
    last_at: int
    entries: int  # transcript entries are numbered 1 … entries
    queued_advice: int
    submissions: int
    max_submissions: int | None
    time_limit: float | None  # seconds
    step_limit: int | None
    usd_limit: float | None
    worked: float  # seconds of working time up to `last_at`
    working: bool  # the clock runs: add now - last_at
    in_flight: str  # "", "model" or "action": what is going on besides the state
    group: str | None
    tags: tuple[str, ...]
    hands_off: bool
    parent: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a transcript: thinking (with text), an action with its observation and mark,
    advice, a submission, a question, or a notice (paused, failed, recovered …).

    Entry `n` counts from 1 in the order in which things happened; an entry is never moved.
    """

    n: int
    kind: EntryKind
    seq: int
    at: int
    step: int
    ordinal: int = 0
    by: str | None = None
    text: str = ""  # thinking, advice, question or notice; of a submission: its error
    head: str = ""  # advice: its number; submission: its number; notice: the event's kind
    tool: str = ""
    arguments: str = ""
    state: str = ""  # action: proposed, running, finished; advice: queued, delivered …
    disposition: str = ""
    exit_code: int | None = None
    seconds: float | None = None
    started_at: int | None = None
    summary: str = ""
    lines: int = 0
    added: int | None = None
    removed: int | None = None
    synthetic: bool = False
    error: bool = False
    score: float | None = None
    mark: str = ""  # the newest mark, whoever made it
    code: str | None = None
    note: str = ""
    mark_by: str | None = None
    mark_at: int | None = None


@dataclass(frozen=True, slots=True)
class ActionDetail:
    """Everything about one action, for the detail pane. Read on demand, never in lists."""

    entry: Entry
    thinking: str
    text: str
    arguments: str  # the JSON object, indented
    observation: str
    output: str | None  # what was kept, when it is more than the observation
    model: str
    tokens_in: int
    tokens_cached: int
    tokens_out: int
    cost_usd: float | None
    step_seconds: float


@dataclass(frozen=True, slots=True)
class AdviceRow:
    advice: int
    by: str | None
    text: str
    state: str
    queued_at: int
    delivered_step: int | None


# class History:
#     """A read-only connection. Cheap to open; use it from one thread."""
#     def __init__(self, database: Path) -> None            # LogTooNew, LogCorrupt; empty when the file is not there yet
#     def rollouts(self) -> list[RolloutRow]                 # oldest first
#     def rollout(self, id: str) -> RolloutRow | None
#     def find(self, given: str) -> RolloutRow               # id, name or unique prefix; UnknownName lists what is there
#     def entries(self, rollout: str, first: int, count: int) -> list[Entry]   # n from `first` on, at most count
#     def entry_of_step(self, rollout: str, step: int, ordinal: int = 0) -> int | None   # the n where it begins
#     def landmark(self, rollout: str, n: int, direction: Literal[1, -1]) -> int | None  # next mark, error, advice, submission
#     def landmark_map(self, rollout: str, buckets: int) -> list[str]   # per bucket: "attention" "mark" "submission" "error" "advice" "" in that precedence
#     def action(self, rollout: str, step: int, ordinal: int) -> ActionDetail | None
#     def advice(self, rollout: str) -> list[AdviceRow]
#     def events(self, rollout: str | None, after: int = 0, limit: int = 500) -> list[dict[str, Any]]  # seq, at, kind, rollout + own fields
#     def prompt(self, rollout: str, step: int) -> str       # the exact JSON of the Prompt that was sent at that step
#     def last_seq(self) -> int
#     def close(self) -> None
