"""Event: a union discriminated on `kind`, one class per fact.

An event says what happened, never what to do. Large texts are not in it: a field that ends in
`_ref` is the content address of a text stored beside it (see `texts.py`). Times are UTC
microseconds. `by` is the annotator who caused it, None when the program did; `command` is the
client-made id of the command it answers, which makes commands idempotent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from apollo_tui.log.types import (
    Disposition,
    MarkKind,
    RolloutSpec,
    State,
    Text,
    TextRef,
    Usage,
    Value,
)


class _Event(Value):
    rollout: str | None = None  # None: a fact about the core, not about one rollout
    at: int = 0  # UTC microseconds; 0: the store fills it in
    by: str | None = None
    command: str | None = None


class _RolloutEvent(_Event):
    rollout: str


class _StepEvent(_RolloutEvent):
    step: int


class _ActionEvent(_StepEvent):
    ordinal: int = 1  # counts from 1 within the step


# --- a rollout's life --------------------------------------------------------------------------


class RolloutCreated(_RolloutEvent):
    kind: Literal["rollout_created"] = "rollout_created"
    spec: RolloutSpec
    parent: str | None = None
    forked_at: int | None = None


class StateChanged(_RolloutEvent):
    kind: Literal["state_changed"] = "state_changed"
    state: State
    why: Text = ""


class SettingsChanged(_RolloutEvent):
    """`changes` maps names of RolloutSpec fields to their new values."""

    kind: Literal["settings_changed"] = "settings_changed"
    changes: dict[str, Any]


class RolloutRecovered(_RolloutEvent):
    """A new core took this rollout up; the time since the event before it is not working time."""

    kind: Literal["rollout_recovered"] = "rollout_recovered"


class RolloutReopened(_RolloutEvent):
    """A stopped rollout goes on."""

    kind: Literal["rollout_reopened"] = "rollout_reopened"


class RolloutEnded(_RolloutEvent):
    kind: Literal["rollout_ended"] = "rollout_ended"
    state: Literal["finished", "failed", "stopped"]
    reason: Text = ""
    score: float | None = None


class RolloutImported(_RolloutEvent):
    kind: Literal["rollout_imported"] = "rollout_imported"
    format: str
    source: str
    digest: str
    unmapped: int = 0
    raw_ref: TextRef | None = None


# --- sandboxes ---------------------------------------------------------------------------------


class SandboxReady(_RolloutEvent):
    kind: Literal["sandbox_ready"] = "sandbox_ready"
    sandbox: str  # docker, bubblewrap, plain
    isolated: bool
    identity: str = ""  # a container's id; empty where there is none
    host: str = "main"
    reattached: bool = False


class SandboxLost(_RolloutEvent):
    kind: Literal["sandbox_lost"] = "sandbox_lost"
    why: Text
    host: str = "main"


class SandboxRemoved(_RolloutEvent):
    kind: Literal["sandbox_removed"] = "sandbox_removed"
    identity: str = ""
    host: str = "main"


class JobStarted(_ActionEvent):
    """Something an action left running: a session's command, a background process."""

    kind: Literal["job_started"] = "job_started"
    job: str
    session: str | None = None
    command_line: Text = ""
    host: str = "main"


class JobEnded(_RolloutEvent):
    kind: Literal["job_ended"] = "job_ended"
    job: str
    exit_code: int | None = None
    why: Text = ""


class FilesChanged(_RolloutEvent):
    """Files of the workspace that were made, written, moved or deleted since the event before it."""

    kind: Literal["files_changed"] = "files_changed"
    step: int | None = None  # the last completed step
    count: int
    bytes: int = 0  # the size now of those that are still there
    paths: tuple[Text, ...] = ()  # the largest of them, relative to the workspace
    at_least: bool = False  # there were more than could be followed


class OperatorTouchedFiles(_RolloutEvent):
    kind: Literal["operator_touched_files"] = "operator_touched_files"
    paths: tuple[str, ...] = ()
    count: int = 0


class FilesRemoved(_RolloutEvent):
    """Files of an ended rollout are deleted to make room. Without its workspace it cannot go on."""

    kind: Literal["files_removed"] = "files_removed"
    parts: tuple[str, ...]  # the folders: workspace, spool, tmp ...
    bytes: int = 0
    why: Text = ""

    @property
    def workspace(self) -> bool:
        return "workspace" in self.parts


class SnapshotTaken(_RolloutEvent):
    kind: Literal["snapshot_taken"] = "snapshot_taken"
    snapshot: str
    step: int
    log_position: int
    image: str | None = None
    bytes: int = 0
    remaining: float | None = None  # seconds of working time
    why: Text = ""


class SnapshotRestored(_RolloutEvent):
    kind: Literal["snapshot_restored"] = "snapshot_restored"
    snapshot: str
    lost: tuple[str, ...] = ()  # what could not come back


class SnapshotPruned(_RolloutEvent):
    kind: Literal["snapshot_pruned"] = "snapshot_pruned"
    snapshot: str
    why: Text = ""


class GpuLeased(_RolloutEvent):
    kind: Literal["gpu_leased"] = "gpu_leased"
    devices: tuple[str, ...]


class GpuReleased(_RolloutEvent):
    kind: Literal["gpu_released"] = "gpu_released"
    devices: tuple[str, ...]


# --- what the model was sent and said ----------------------------------------------------------


class RequestSent(_StepEvent):
    """One model call. The prompt is the previous request's of this segment plus `added`.

    `added` holds hashes of messages. A segment's first request carries all of them, and the
    hashes of the system prompt and the tools, which hold for the whole segment.
    """

    kind: Literal["request_sent"] = "request_sent"
    attempt: int = 1
    segment: int = 1
    purpose: Literal["step", "summary", "judge", "ask"] = "step"
    model: str
    added: tuple[TextRef, ...]
    starts_segment: bool = False
    system_ref: TextRef | None = None
    tools_ref: TextRef | None = None
    sampling: dict[str, Any] = Field(default_factory=dict)
    hint_ref: TextRef | None = None  # a retry's hint: in this request only


class ActionSummary(Value):
    """One proposed action as lists and panes show it; the whole of it is in the message."""

    tool: Text
    call_id: str
    arguments: Text  # one line


class StepCompleted(_StepEvent):
    kind: Literal["step_completed"] = "step_completed"
    attempt: int = 1
    segment: int = 1
    message_ref: TextRef  # the AssistantMessage, as JSON
    thinking: Text = ""  # the first 400 characters, on one line
    text: Text = ""  # the first 400 characters, on one line
    actions: tuple[ActionSummary, ...] = ()
    model: str
    served_model: str = ""
    finish: str = ""
    usage: Usage = Usage()
    seconds: float = 0.0
    by_person: bool = False  # written or rewritten by an annotator


class StepDiscarded(_StepEvent):
    """A model call that was cut off: its partial text is kept here and is never in the context."""

    kind: Literal["step_discarded"] = "step_discarded"
    attempt: int = 1
    segment: int = 1
    partial_ref: TextRef | None = None
    why: Text
    usage: Usage = Usage(estimated=True)
    seconds: float = 0.0


class ModelFailed(_StepEvent):
    """One call that did not work; the rollout asks again after `retry_in` seconds."""

    kind: Literal["model_failed"] = "model_failed"
    attempt: int = 1
    error: str  # the class in the tree of errors
    why: Text
    retry_in: float | None = None
    partial_ref: TextRef | None = None


class ModelChanged(_StepEvent):
    """The API serves a model of another name than before."""

    kind: Literal["model_changed"] = "model_changed"
    before: str
    after: str


class ReminderSent(_StepEvent):
    kind: Literal["reminder_sent"] = "reminder_sent"
    text: Text


class QuestionAsked(_StepEvent):
    """The agent replied without an action twice: it waits for a person."""

    kind: Literal["question_asked"] = "question_asked"
    text: Text


class SegmentStarted(_StepEvent):
    kind: Literal["segment_started"] = "segment_started"
    segment: int
    why: Literal["start", "summary", "dropped", "restored", "rewound"] = "start"


class SummaryStarted(_StepEvent):
    kind: Literal["summary_started"] = "summary_started"
    tokens: int = 0


class SummaryCompleted(_StepEvent):
    kind: Literal["summary_completed"] = "summary_completed"
    summary_ref: TextRef
    usage: Usage = Usage()
    replaced_steps: tuple[int, int] | None = None


class SummaryFailed(_StepEvent):
    kind: Literal["summary_failed"] = "summary_failed"
    why: Text
    dropped_observations: int = 0


# --- actions -----------------------------------------------------------------------------------


class ActionStarted(_ActionEvent):
    """Durable before the sandbox is touched."""

    kind: Literal["action_started"] = "action_started"
    tool: Text
    job: str | None = None  # the id the sandbox runs it under


class ActionFinished(_ActionEvent):
    kind: Literal["action_finished"] = "action_finished"
    disposition: Disposition
    observation_ref: TextRef  # what the model reads
    output_ref: TextRef | None = None  # what was kept, when that is more
    summary: Text = ""  # the last telling line
    lines: int = 0
    exit_code: int | None = None
    seconds: float | None = 0.0  # None: nobody knows
    added: int | None = None  # lines, for edits
    removed: int | None = None
    synthetic: bool = False  # the observation was made up by the program
    error: bool = False
    finishes: bool = False  # the agent is done: nothing is asked of it again


class ActionBackgrounded(_ActionEvent):
    kind: Literal["action_backgrounded"] = "action_backgrounded"
    job: str


class ActionRewritten(_ActionEvent):
    kind: Literal["action_rewritten"] = "action_rewritten"
    before_ref: TextRef
    after_ref: TextRef


class StepRegenerated(_StepEvent):
    kind: Literal["step_regenerated"] = "step_regenerated"
    replaces: int
    hint: Text = ""


class RolledBack(_RolloutEvent):
    """Steps after `to` leave the active path; they stay in the log."""

    kind: Literal["rolled_back"] = "rolled_back"
    to: int
    snapshot: str | None = None


# --- what a person said ------------------------------------------------------------------------


class Paused(_RolloutEvent):
    kind: Literal["paused"] = "paused"
    now: bool = False
    why: Text = ""


class Resumed(_RolloutEvent):
    kind: Literal["resumed"] = "resumed"


class Frozen(_RolloutEvent):
    kind: Literal["frozen"] = "frozen"


class Thawed(_RolloutEvent):
    kind: Literal["thawed"] = "thawed"


class StopRequested(_RolloutEvent):
    kind: Literal["stop_requested"] = "stop_requested"
    jobs: Literal["kill", "leave"] = "kill"
    evaluate: bool = False


class InterruptRequested(_RolloutEvent):
    kind: Literal["interrupt_requested"] = "interrupt_requested"
    action: Literal["finish", "sigint", "kill", "background"] = "finish"


class AdviceQueued(_RolloutEvent):
    kind: Literal["advice_queued"] = "advice_queued"
    advice: int  # counts from 1 within the rollout
    text: Text
    about: tuple[int, int] | None = None  # a range of steps


class AdviceWithdrawn(_RolloutEvent):
    kind: Literal["advice_withdrawn"] = "advice_withdrawn"
    advice: int


class AdviceDelivered(_StepEvent):
    kind: Literal["advice_delivered"] = "advice_delivered"
    advice: int


class AdviceReflected(_StepEvent):
    kind: Literal["advice_reflected"] = "advice_reflected"
    advice: int
    text: Text


class AdviceJudged(_RolloutEvent):
    kind: Literal["advice_judged"] = "advice_judged"
    advice: int
    outcome: Literal["followed", "ignored"]
    at_steps: tuple[int, ...] = ()
    why: Text = ""


class ActionRef(Value):
    step: int = Field(ge=1, lt=1 << 53)
    ordinal: int = Field(default=1, ge=1, lt=1 << 53)


class Marked(_RolloutEvent):
    """A mark on one or many actions. It supersedes the same person's mark on each of them.

    One that was made in another log, and imported, says when it was made and who imported it.
    """

    kind: Literal["marked"] = "marked"
    actions: tuple[ActionRef, ...]
    mark: MarkKind
    code: str | None = None
    note: Text = ""
    made_at: int | None = None
    imported_by: str | None = None


class Unmarked(_RolloutEvent):
    kind: Literal["unmarked"] = "unmarked"
    actions: tuple[ActionRef, ...]


class ReadTo(_RolloutEvent):
    """How far an annotator has read."""

    kind: Literal["read_to"] = "read_to"
    step: int


class AttentionDeferred(_RolloutEvent):
    kind: Literal["attention_deferred"] = "attention_deferred"
    signal: str
    until_step: int | None = None
    until: int | None = None


class AttentionRaised(_RolloutEvent):
    kind: Literal["attention_raised"] = "attention_raised"
    signal: str
    reason: Text
    step: int | None = None


class AttentionCleared(_RolloutEvent):
    kind: Literal["attention_cleared"] = "attention_cleared"
    signal: str


class Asked(_RolloutEvent):
    kind: Literal["asked"] = "asked"
    question: Text


class Answered(_RolloutEvent):
    kind: Literal["answered"] = "answered"
    asked: int  # seq of the question
    answer: Text
    steps: tuple[int, ...] = ()
    model: str = ""
    usage: Usage = Usage()


class AnnotatorAttached(_Event):
    kind: Literal["annotator_attached"] = "annotator_attached"


class AnnotatorDetached(_Event):
    kind: Literal["annotator_detached"] = "annotator_detached"


# --- evaluation, progress ----------------------------------------------------------------------


class EvaluationStarted(_RolloutEvent):
    kind: Literal["evaluation_started"] = "evaluation_started"
    submission: int
    step: int
    final: bool = False
    why: Text = ""  # of a final one: why the agent's work is over


class EvaluationFinished(_RolloutEvent):
    """`score` is None when the evaluation itself failed; `error` then says how."""

    kind: Literal["evaluation_finished"] = "evaluation_finished"
    submission: int
    step: int
    score: float | None = None
    results: dict[str, Any] = Field(default_factory=dict)
    error: Text = ""
    output_ref: TextRef | None = None
    seconds: float = 0.0
    final: bool = False


class PageViewed(_ActionEvent):
    """What of the web is open in front of the agent, since an action that went through."""

    kind: Literal["page_viewed"] = "page_viewed"
    url: Text
    page_ref: TextRef  # its lines and links, as `web/page.py` writes them
    first: int = 1  # the lines last shown
    last: int = 1
    keyword: Text = ""  # last searched for
    match: int = 0  # which of the lines with it was shown last, from 1; 0: none


class HintViewed(_StepEvent):
    kind: Literal["hint_viewed"] = "hint_viewed"


class MetricRecorded(_RolloutEvent):
    kind: Literal["metric_recorded"] = "metric_recorded"
    step: int
    name: str
    value: float


class PlanChanged(_StepEvent):
    kind: Literal["plan_changed"] = "plan_changed"
    text: Text
    source: str = "think"


class BudgetWarned(_RolloutEvent):
    kind: Literal["budget_warned"] = "budget_warned"
    budget: str
    used: float
    limit: float


class GuardFired(_RolloutEvent):
    kind: Literal["guard_fired"] = "guard_fired"
    guard: str
    why: Text


# --- the filter --------------------------------------------------------------------------------


class FilterRunStarted(_Event):
    kind: Literal["filter_run_started"] = "filter_run_started"
    run: str
    rollouts: tuple[str, ...]
    configuration: dict[str, Any] = Field(default_factory=dict)
    as_of: int = 0


class JudgeBegan(_Event):
    """A filter run asks its judge about so many actions."""

    kind: Literal["judge_began"] = "judge_began"
    run: str
    actions: int


class JudgeWord(Value):
    """A judge's word on one action. `key` is the hash of all that the judge was shown of it: what
    was answered under a key is never asked again."""

    step: int = Field(ge=1, lt=1 << 53)
    ordinal: int = Field(ge=1, lt=1 << 53)
    key: str
    verdict: Literal["keep", "mask"]
    why: Text = ""


class JudgeAnswered(_RolloutEvent):
    """One reply of a judge, about a batch of actions; its request is a `request_sent` before it.

    A reply that could not be used has no words, and its `fault`. `copied` words were said of the
    very same content in another rollout: nobody was asked.
    """

    kind: Literal["judge_answered"] = "judge_answered"
    run: str
    judge: str  # the model as the person named it
    words: tuple[JudgeWord, ...]
    fault: Text = ""
    copied: bool = False
    usage: Usage = Usage()
    seconds: float = 0.0


class VerdictGiven(_ActionEvent):
    """A filter run's verdict. Actions without one are kept by default: nobody said anything."""

    kind: Literal["verdict_given"] = "verdict_given"
    run: str
    verdict: Literal["keep", "mask"]
    decided_by: Literal["human", "judge", "rule", "default"]
    rule: str = ""
    why: Text = ""


class JudgeAndPeople(Value):
    """How many actions the judge would keep or mask, by what people marked them."""

    keep_accept: int = 0
    keep_reject: int = 0
    mask_accept: int = 0
    mask_reject: int = 0


class RolloutFiltered(Value):
    """What a filter run left of one rollout, counted in the actions of its samples.

    `masked` counts by who decided: "human", "judge", or a rule's name. `unread` are the kept actions
    that no person looked at, `outside` those of replies that no sample holds (they were replaced),
    `suggested` what would be masked if a person confirmed it.
    """

    kept: int
    unread: int
    masked: dict[str, int]
    outside: int = 0
    suggested: int = 0
    unjudged: int = 0
    judge_and_people: JudgeAndPeople = JudgeAndPeople()


class FilterRunFinished(_Event):
    """`kept`, `masked` and `unread` are sums over the rollouts that the gate let through: `gated` ones
    do not train at all. `unjudged` counts the actions that a judge was to see and did not; `why` says
    what came between. `as_of` is the log's last seq that counted: the judge's words are before it."""

    kind: Literal["filter_run_finished"] = "filter_run_finished"
    run: str
    as_of: int
    kept: int
    masked: int
    unread: int = 0
    judged: int = 0  # by the judge in this run; answers of earlier runs are not counted
    unjudged: int = 0
    why: Text = ""
    gated: dict[str, str] = Field(default_factory=dict)  # rollout: reason
    rollouts: dict[str, RolloutFiltered] = Field(default_factory=dict)
    cost_usd: float | None = None  # of the judge; None: its price is not known


class FilterRunEnded(_Event):
    """A filter run that did not finish: cancelled, or failed. It has no verdicts."""

    kind: Literal["filter_run_ended"] = "filter_run_ended"
    run: str
    why: Text


class Exported(_Event):
    kind: Literal["exported"] = "exported"
    run: str | None = None
    format: str
    path: str
    samples: int
    digest: str = ""


# --- the core ----------------------------------------------------------------------------------


class CoreStarted(_Event):
    kind: Literal["core_started"] = "core_started"
    version: str
    pid: int


class CoreStopped(_Event):
    kind: Literal["core_stopped"] = "core_stopped"
    why: Text = ""


class DiskLow(_Event):
    """The home's file system is as full as `retention.disk_warn` or `disk_pause` says."""

    kind: Literal["disk_low"] = "disk_low"
    used: float  # of 1
    pauses: bool = False  # rollouts are paused because of it


class Notified(_Event):
    kind: Literal["notified"] = "notified"
    reason: Text
    exit_code: int | None = None


Event = Annotated[
    RolloutCreated
    | StateChanged
    | SettingsChanged
    | RolloutRecovered
    | RolloutReopened
    | RolloutEnded
    | RolloutImported
    | SandboxReady
    | SandboxLost
    | SandboxRemoved
    | JobStarted
    | JobEnded
    | FilesChanged
    | OperatorTouchedFiles
    | FilesRemoved
    | SnapshotTaken
    | SnapshotRestored
    | SnapshotPruned
    | GpuLeased
    | GpuReleased
    | RequestSent
    | StepCompleted
    | StepDiscarded
    | ModelFailed
    | ModelChanged
    | ReminderSent
    | QuestionAsked
    | SegmentStarted
    | SummaryStarted
    | SummaryCompleted
    | SummaryFailed
    | ActionStarted
    | ActionFinished
    | ActionBackgrounded
    | ActionRewritten
    | StepRegenerated
    | RolledBack
    | Paused
    | Resumed
    | Frozen
    | Thawed
    | StopRequested
    | InterruptRequested
    | AdviceQueued
    | AdviceWithdrawn
    | AdviceDelivered
    | AdviceReflected
    | AdviceJudged
    | Marked
    | Unmarked
    | ReadTo
    | AttentionDeferred
    | AttentionRaised
    | AttentionCleared
    | Asked
    | Answered
    | AnnotatorAttached
    | AnnotatorDetached
    | EvaluationStarted
    | EvaluationFinished
    | PageViewed
    | HintViewed
    | MetricRecorded
    | PlanChanged
    | BudgetWarned
    | GuardFired
    | FilterRunStarted
    | JudgeBegan
    | JudgeAnswered
    | VerdictGiven
    | FilterRunFinished
    | FilterRunEnded
    | Exported
    | CoreStarted
    | CoreStopped
    | DiskLow
    | Notified,
    Field(discriminator="kind"),
]

event_adapter: TypeAdapter[Event] = TypeAdapter(Event)
