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

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from apollo_tui.log.events import (
    ActionFinished,
    ActionStarted,
    AdviceDelivered,
    AdviceJudged,
    AdviceQueued,
    AdviceWithdrawn,
    EvaluationFinished,
    Event,
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
from apollo_tui.log.types import AdviceState, Disposition, MarkKind, RolloutSpec, TextRef, Usage

ActionKey = tuple[int, int]
"""A step and an ordinal."""


@dataclass(frozen=True)
class MarkMade:
    """An annotator's newest mark on an action."""

    annotator: str
    mark: MarkKind
    code: str | None
    note: str
    seq: int


@dataclass(frozen=True)
class Action:
    step: int
    ordinal: int
    tool: str
    call_id: str
    arguments: str  # one line; the whole of them is in the step's message
    started: bool = False
    disposition: Disposition | None = None
    observation_ref: TextRef | None = None
    output_ref: TextRef | None = None
    exit_code: int | None = None
    seconds: float = 0.0
    synthetic: bool = False
    error: bool = False


@dataclass(frozen=True)
class Step:
    """One model turn on the log. `advice` holds the numbers of what was delivered before it."""

    number: int
    seq: int
    message_ref: TextRef
    model: str
    usage: Usage
    actions: tuple[Action, ...]
    advice: tuple[int, ...] = ()
    by_person: bool = False
    superseded: bool = False


@dataclass(frozen=True)
class Segment:
    """Steps between two rewrites of the context, with how their prompts were made."""

    number: int
    system_ref: TextRef | None
    tools_ref: TextRef | None
    first_messages: tuple[TextRef, ...]  # what its first request carried
    steps: tuple[Step, ...]
    discarded: int = 0  # replies that were cut off


@dataclass(frozen=True)
class AdviceGiven:
    advice: int
    annotator: str | None
    text: str
    state: AdviceState
    delivered_step: int | None = None


@dataclass(frozen=True)
class Submission:
    submission: int
    step: int
    score: float | None
    error: str
    final: bool


@dataclass(frozen=True)
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
    marks: tuple[tuple[ActionKey, tuple[MarkMade, ...]], ...]  # newest mark last
    last_seq: int


@dataclass
class _Growing:
    number: int
    system_ref: TextRef | None = None
    tools_ref: TextRef | None = None
    first_messages: tuple[TextRef, ...] = ()
    steps: dict[int, Step] = field(default_factory=dict)
    discarded: int = 0

    def freeze(self, superseded: frozenset[int]) -> Segment:
        steps = tuple(
            replace(step, superseded=True) if step.number in superseded else step
            for step in self.steps.values()
        )
        return Segment(
            self.number,
            self.system_ref,
            self.tools_ref,
            self.first_messages,
            steps,
            self.discarded,
        )


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
        self._state = "pending"
        self._score: float | None = None
        self._segments: list[_Growing] = [_Growing(1)]
        self._advice: dict[int, AdviceGiven] = {}
        self._delivered: dict[int, list[int]] = {}
        self._submissions: list[Submission] = []
        self._marks: dict[ActionKey, dict[str, MarkMade]] = {}
        self._last_seq = 0

    def add(self, seq: int, event: Event) -> None:
        if event.rollout is None or (self.rollout and event.rollout != self.rollout):
            return
        self.rollout = event.rollout
        self._last_seq = seq
        match event:
            case RolloutCreated():
                self._spec, self._parent = event.spec, event.parent
            case StateChanged():
                self._state = event.state
            case RolloutEnded():
                self._state = event.state
                self._scored(event.score)
            case RequestSent(purpose="step", starts_segment=True):
                self._begin_segment(event)
            case StepCompleted():
                self._complete(seq, event)
            case StepDiscarded():
                self._segments[-1].discarded += 1
            case ActionStarted() | ActionFinished():
                self._act(event)
            case RolledBack():
                self._supersede_after(event.to)
            case StepRegenerated():
                self.superseded.add(event.replaces)
            case AdviceQueued() | AdviceWithdrawn() | AdviceDelivered() | AdviceJudged():
                self._advise(event)
            case Marked() | Unmarked():
                self._mark(seq, event)
            case EvaluationFinished():
                self._submissions.append(
                    Submission(event.submission, event.step, event.score, event.error, event.final)
                )
                self._scored(event.score)
            case _:
                pass

    def take_segments(self) -> list[Segment]:
        """The segments that are complete: all but the newest. Each is given once."""
        taken, self._segments = self._segments[:-1], self._segments[-1:]
        return [segment.freeze(frozenset(self.superseded)) for segment in taken]

    def finish(self) -> Trajectory:
        superseded = frozenset(self.superseded)
        return Trajectory(
            rollout=self.rollout,
            spec=self._spec,
            parent=self._parent,
            state=self._state,
            score=self._score,
            segments=tuple(segment.freeze(superseded) for segment in self._segments),
            advice=tuple(self._advice[number] for number in sorted(self._advice)),
            submissions=tuple(self._submissions),
            marks=tuple(
                (key, tuple(sorted(made.values(), key=lambda mark: mark.seq)))
                for key, made in sorted(self._marks.items())
                if made
            ),
            last_seq=self._last_seq,
        )

    # --- one kind of event each ----------------------------------------------------------------

    def _begin_segment(self, event: RequestSent) -> None:
        current = self._segments[-1]
        if current.steps or current.first_messages:
            current = _Growing(event.segment)
            self._segments.append(current)
        current.number = event.segment
        current.system_ref, current.tools_ref = event.system_ref, event.tools_ref
        current.first_messages = event.added

    def _complete(self, seq: int, event: StepCompleted) -> None:
        self._segments[-1].steps[event.step] = Step(
            number=event.step,
            seq=seq,
            message_ref=event.message_ref,
            model=event.model,
            usage=event.usage,
            actions=tuple(
                Action(event.step, ordinal, action.tool, action.call_id, action.arguments)
                for ordinal, action in enumerate(event.actions, 1)
            ),
            advice=tuple(self._delivered.pop(event.step, ())),
            by_person=event.by_person,
        )

    def _act(self, event: ActionStarted | ActionFinished) -> None:
        step = self._segments[-1].steps.get(event.step)
        if step is None or not 1 <= event.ordinal <= len(step.actions):
            return
        action = step.actions[event.ordinal - 1]
        if isinstance(event, ActionStarted):
            action = replace(action, started=True)
        else:
            action = replace(
                action,
                disposition=event.disposition,
                observation_ref=event.observation_ref,
                output_ref=event.output_ref,
                exit_code=event.exit_code,
                seconds=event.seconds,
                synthetic=event.synthetic,
                error=event.error,
            )
        actions = (
            *step.actions[: event.ordinal - 1],
            action,
            *step.actions[event.ordinal :],
        )
        self._segments[-1].steps[event.step] = replace(step, actions=actions)

    def _supersede_after(self, to: int) -> None:
        self.superseded.update(
            number for segment in self._segments for number in segment.steps if number > to
        )

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


def fold(events: Iterable[tuple[int, Event]]) -> Trajectory:
    """The trajectory of one rollout's events, each with its seq."""
    builder = TrajectoryBuilder()
    for seq, event in events:
        builder.add(seq, event)
    return builder.finish()
