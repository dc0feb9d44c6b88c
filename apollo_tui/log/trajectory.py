"""Trajectory: what a rollout recorded, folded from its events.

The fold is a builder that takes events one by one and gives each segment away as soon as the next
one begins, so nothing ever holds a long rollout's events as objects. Texts stay references.

    builder = TrajectoryBuilder()
    for seq, event in events:
        builder.add(seq, event)
        for segment in builder.take_segments():
            ...                              # a finished, frozen segment
    trajectory = builder.finish()            # with the segments that were not taken

Steps that were rewound or replaced stay in their segment, superseded, beside the one active path.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from apollo_tui.log.events import (
    ActionFinished,
    ActionRewritten,
    ActionStarted,
    ActionSummary,
    AdviceDelivered,
    AdviceJudged,
    AdviceQueued,
    AdviceWithdrawn,
    EvaluationFinished,
    Event,
    JobEnded,
    JobStarted,
    JudgeAnswered,
    Marked,
    RequestSent,
    RolledBack,
    RolloutCreated,
    RolloutEnded,
    StateChanged,
    StepCompleted,
    StepDiscarded,
    StepRegenerated,
    Unmarked,
)
from apollo_tui.log.read import History
from apollo_tui.log.types import AdviceState, Disposition, MarkKind, RolloutSpec, TextRef

ActionKey = tuple[int, int]
"""A step and an ordinal."""


@dataclass(frozen=True, slots=True)
class MarkMade:
    """An annotator's newest mark on an action."""

    annotator: str
    mark: MarkKind
    code: str | None
    note: str
    seq: int


@dataclass(frozen=True, slots=True)
class Judged:
    """A judge's newest word on an action; `key` is the hash of what it was shown."""

    judge: str
    keep: bool
    why: str
    key: str


class Action(NamedTuple):
    """One tool call on the log. A tuple, as `Step` is: a long rollout has 100,000 of them."""

    step: int
    ordinal: int
    tool: str
    call_id: str
    arguments: str  # one line; the whole of them is in the step's message
    started_at: int | None = None
    finished_at: int | None = None
    disposition: Disposition | None = None
    observation_ref: TextRef | None = None
    output_ref: TextRef | None = None
    exit_code: int | None = None
    seconds: float | None = 0.0  # None: nobody knows
    added: int | None = None  # lines, for edits
    removed: int | None = None
    synthetic: bool = False
    error: bool = False


class StepUsage(NamedTuple):
    """Tokens of one reply; `input` counts every prompt token. `cost_usd` is None when not known."""

    input: int
    cached: int
    output: int
    cost_usd: float | None


class Step(NamedTuple):
    """One model turn on the log.

    Its prompt is what the steps before it in the segment sent, and `sent`. `advice` holds the numbers
    of what was delivered before it. `replaces` is the step it was regenerated for, `rewritten_from`
    the message an annotator changed into this one.
    """

    number: int
    seq: int
    message_ref: TextRef
    model: str
    finish: str
    usage: StepUsage
    actions: tuple[Action, ...]
    sent: tuple[TextRef, ...] = ()
    hint_ref: TextRef | None = None
    advice: tuple[int, ...] = ()
    replaces: int | None = None
    rewritten_from: TextRef | None = None
    by_person: bool = False
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """Steps between two rewrites of the context, with how their prompts were made.

    `unanswered` holds what was sent after the last step and got no reply.
    """

    number: int
    system_ref: TextRef | None
    tools_ref: TextRef | None
    steps: tuple[Step, ...]
    unanswered: tuple[TextRef, ...] = ()
    discarded: int = 0  # replies that were cut off


@dataclass(frozen=True, slots=True)
class Job:
    """Something an action left running. Times are UTC microseconds; None: it runs, or nobody knows."""

    job: str
    step: int
    ordinal: int
    started_at: int
    ended_at: int | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class AdviceGiven:
    advice: int
    annotator: str | None
    text: str
    state: AdviceState
    delivered_step: int | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    submission: int
    step: int
    score: float | None
    error: str
    final: bool


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One rollout. `segments` lacks those that were taken from the builder before."""

    rollout: str
    spec: RolloutSpec | None
    parent: str | None
    state: str
    score: float | None
    segments: tuple[Segment, ...]
    advice: tuple[AdviceGiven, ...]
    submissions: tuple[Submission, ...]
    jobs: tuple[Job, ...]
    marks: tuple[tuple[ActionKey, tuple[MarkMade, ...]], ...]  # newest mark last
    judged: tuple[tuple[ActionKey, tuple[Judged, ...]], ...]  # one word a judge
    last_seq: int
    forked_at: int | None = None  # the parent's step


@dataclass(slots=True)
class _GrowingStep:
    event: StepCompleted
    seq: int
    sent: tuple[TextRef, ...]
    hint_ref: TextRef | None
    advice: tuple[int, ...]
    rewritten: ActionRewritten | None = None
    started: dict[int, int] = field(default_factory=dict)
    finished: dict[int, ActionFinished] = field(default_factory=dict)

    def freeze(self) -> Step:
        event, rewritten, usage = self.event, self.rewritten, self.event.usage
        return Step(
            number=event.step,
            seq=self.seq,
            message_ref=rewritten.after_ref if rewritten else event.message_ref,
            model=event.model,
            finish=event.finish,
            usage=StepUsage(usage.input, usage.cached, usage.output, usage.cost_usd),
            actions=tuple(
                self._action(ordinal, summary) for ordinal, summary in enumerate(event.actions, 1)
            ),
            sent=self.sent,
            hint_ref=self.hint_ref,
            advice=self.advice,
            rewritten_from=rewritten.before_ref if rewritten else None,
            by_person=event.by_person,
        )

    def _action(self, ordinal: int, summary: ActionSummary) -> Action:
        proposed = (self.event.step, ordinal, summary.tool, summary.call_id, summary.arguments)
        started_at, finished = self.started.get(ordinal), self.finished.get(ordinal)
        if finished is None:
            return Action(*proposed, started_at)
        return Action(
            *proposed,
            started_at,
            finished.at,
            finished.disposition,
            finished.observation_ref,
            finished.output_ref,
            finished.exit_code,
            finished.seconds,
            finished.added,
            finished.removed,
            finished.synthetic,
            finished.error,
        )


@dataclass(slots=True)
class _GrowingSegment:
    number: int
    system_ref: TextRef | None = None
    tools_ref: TextRef | None = None
    steps: dict[int, _GrowingStep] = field(default_factory=dict)
    sent: list[TextRef] = field(default_factory=list)  # since the last step
    hint_ref: TextRef | None = None
    discarded: int = 0

    def complete(self, seq: int, event: StepCompleted, advice: tuple[int, ...]) -> None:
        self.steps[event.step] = _GrowingStep(event, seq, tuple(self.sent), self.hint_ref, advice)
        self.sent = []

    def freeze(self) -> Segment:
        return Segment(
            self.number,
            self.system_ref,
            self.tools_ref,
            tuple(step.freeze() for step in self.steps.values()),
            tuple(self.sent),
            self.discarded,
        )


FOLDED = (
    RolloutCreated,
    StateChanged,
    RolloutEnded,
    RequestSent,
    StepCompleted,
    StepDiscarded,
    StepRegenerated,
    ActionStarted,
    ActionFinished,
    ActionRewritten,
    RolledBack,
    JobStarted,
    JobEnded,
    AdviceQueued,
    AdviceWithdrawn,
    AdviceDelivered,
    AdviceJudged,
    Marked,
    Unmarked,
    JudgeAnswered,
    EvaluationFinished,
)
"""The events that say something about a trajectory; the fold passes over all others."""


class TrajectoryBuilder:
    """Folds the events of one rollout, in the order of the log. Events of others are passed over.

    A segment that was taken cannot be superseded any more: whoever streams reads `superseded` of
    the finished builder for steps that were rewound later.
    """

    def __init__(self) -> None:
        self.rollout = ""
        self.superseded: set[int] = set()
        self._spec: RolloutSpec | None = None
        self._parent: str | None = None
        self._forked_at: int | None = None
        self._state = "pending"
        self._score: float | None = None
        self._segments: list[Segment] = []  # complete, and not taken yet
        self._growing = _GrowingSegment(1)
        self._step = 0
        self._regenerated: dict[int, StepRegenerated] = {}
        self._advice: dict[int, AdviceGiven] = {}
        self._delivered: dict[int, list[int]] = {}
        self._submissions: list[Submission] = []
        self._jobs: dict[str, Job] = {}
        self._marks: dict[ActionKey, dict[str, MarkMade]] = {}
        self._judged: dict[ActionKey, dict[str, Judged]] = {}
        self._last_seq = 0

    def add(self, seq: int, event: Event) -> None:
        if event.rollout is None or (self.rollout and event.rollout != self.rollout):
            return
        self.rollout = event.rollout
        self._last_seq = seq
        match event:
            case ActionStarted() | ActionFinished() | ActionRewritten():
                self._act(event)
            case RequestSent():
                self._send(event)
            case StepCompleted():
                advice = tuple(self._delivered.pop(event.step, ()))
                self._step = max(self._step, event.step)
                self._growing.complete(seq, event, advice)
            case StepDiscarded():
                self._growing.discarded += 1
            case RolledBack():
                self.superseded.update(range(event.to + 1, self._step + 1))
            case StepRegenerated():
                self._regenerated[event.step] = event
                self.superseded.add(event.replaces)
            case JobStarted() | JobEnded():
                self._run_job(event)
            case AdviceQueued() | AdviceWithdrawn() | AdviceDelivered() | AdviceJudged():
                self._advise(event)
            case Marked() | Unmarked():
                self._mark(seq, event)
            case JudgeAnswered():
                for word in event.words:
                    said = Judged(event.judge, word.verdict == "keep", word.why, word.key)
                    key = (word.step, word.ordinal)
                    self._judged.setdefault(key, {})[event.judge] = said
            case EvaluationFinished():
                self._submissions.append(
                    Submission(event.submission, event.step, event.score, event.error, event.final)
                )
                self._scored(event.score)
            case RolloutCreated():
                self._spec, self._parent = event.spec, event.parent
                self._forked_at = event.forked_at
            case StateChanged():
                self._state = event.state
            case RolloutEnded():
                self._state = event.state
                self._scored(event.score)
            case _:
                pass

    def take_segments(self) -> list[Segment]:
        """The segments that are complete: all but the newest. Each is given once."""
        taken, self._segments = self._segments, []
        return [self._settled(segment) for segment in taken]

    def finish(self) -> Trajectory:
        return Trajectory(
            rollout=self.rollout,
            spec=self._spec,
            parent=self._parent,
            state=self._state,
            score=self._score,
            segments=tuple(
                self._settled(segment) for segment in (*self._segments, self._growing.freeze())
            ),
            advice=tuple(self._advice[number] for number in sorted(self._advice)),
            submissions=tuple(self._submissions),
            jobs=tuple(self._jobs.values()),
            marks=tuple(
                (key, tuple(sorted(made.values(), key=lambda mark: mark.seq)))
                for key, made in sorted(self._marks.items())
                if made
            ),
            judged=tuple((key, tuple(said.values())) for key, said in sorted(self._judged.items())),
            last_seq=self._last_seq,
            forked_at=self._forked_at,
        )

    def _settled(self, segment: Segment) -> Segment:
        """The segment with what is known by now of steps that were replaced."""
        if not any(
            step.number in self.superseded or step.number in self._regenerated
            for step in segment.steps
        ):
            return segment
        return replace(segment, steps=tuple(self._settled_step(step) for step in segment.steps))

    def _settled_step(self, step: Step) -> Step:
        regenerated = self._regenerated.get(step.number)
        return step._replace(
            superseded=step.number in self.superseded,
            replaces=regenerated.replaces if regenerated else None,
        )

    # --- one kind of event each ----------------------------------------------------------------

    def _send(self, event: RequestSent) -> None:
        if event.purpose != "step":
            return
        if event.starts_segment and (self._growing.steps or self._growing.sent):
            self._segments.append(self._growing.freeze())
            self._growing = _GrowingSegment(event.segment)
        segment = self._growing
        if event.starts_segment:
            segment.number = event.segment
            segment.system_ref, segment.tools_ref = event.system_ref, event.tools_ref
        segment.sent += event.added
        segment.hint_ref = event.hint_ref

    def _act(self, event: ActionStarted | ActionFinished | ActionRewritten) -> None:
        step = self._growing.steps.get(event.step)
        if step is None:
            return
        match event:
            case ActionStarted():
                step.started[event.ordinal] = event.at
            case ActionFinished():
                step.finished[event.ordinal] = event
            case ActionRewritten():
                step.rewritten = event
                for key in [key for key in self._marks if key[0] == event.step]:
                    del self._marks[key]  # they are marks on what stood there before

    def _run_job(self, event: JobStarted | JobEnded) -> None:
        if isinstance(event, JobStarted):
            self._jobs[event.job] = Job(event.job, event.step, event.ordinal, event.at)
        elif job := self._jobs.get(event.job):
            self._jobs[event.job] = replace(job, ended_at=event.at, exit_code=event.exit_code)

    def _advise(
        self, event: AdviceQueued | AdviceWithdrawn | AdviceDelivered | AdviceJudged
    ) -> None:
        if isinstance(event, AdviceQueued):
            self._advice.setdefault(
                event.advice, AdviceGiven(event.advice, event.by, event.text, "queued")
            )
            return
        given = self._advice.get(event.advice)
        if given is None:
            return
        match event:
            case AdviceWithdrawn():
                given = replace(given, state="withdrawn")
            case AdviceDelivered():
                given = replace(given, state="delivered", delivered_step=event.step)
                self._delivered.setdefault(event.step, []).append(event.advice)
            case AdviceJudged():
                given = replace(given, state=event.outcome)
        self._advice[event.advice] = given

    def _mark(self, seq: int, event: Marked | Unmarked) -> None:
        annotator = event.by or ""
        for ref in event.actions:
            made = self._marks.setdefault((ref.step, ref.ordinal), {})
            if isinstance(event, Marked):
                made[annotator] = MarkMade(annotator, event.mark, event.code, event.note, seq)
            else:
                made.pop(annotator, None)

    def _scored(self, score: float | None) -> None:
        if score is not None:
            self._score = score if self._score is None else max(score, self._score)


def read_trajectory(history: History, rollout: str, as_of: int | None = None) -> Trajectory:
    """A rollout's trajectory from its log; with `as_of` as it was when the log ended with that seq."""
    read = {event.model_fields["kind"].default: event.model_validate_json for event in FOLDED}
    builder = TrajectoryBuilder()
    with collector_paused():
        for seq, kind, payload in history.payloads(rollout, read, as_of):
            builder.add(seq, read[kind](payload))
        return builder.finish()


@contextmanager
def collector_paused() -> Iterator[None]:
    """Without the garbage collector: a fold makes millions of objects and no cycles, and it would go
    through all of them again and again."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def fold(events: Iterable[tuple[int, Event]]) -> Trajectory:
    """The trajectory of one rollout's events, each with its seq."""
    builder = TrajectoryBuilder()
    for seq, event in events:
        builder.add(seq, event)
    return builder.finish()
