"""Where a rollout stands: a fold of its events, the same while it runs and after a crash.

Everything the loop needs to go on is here, and nothing is here that the log does not say.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from apollo_tui.log.events import (
    ActionFinished,
    ActionStarted,
    AdviceDelivered,
    AdviceQueued,
    AdviceWithdrawn,
    EvaluationFinished,
    EvaluationStarted,
    Event,
    FilesRemoved,
    JobEnded,
    JobStarted,
    ModelFailed,
    PageViewed,
    Paused,
    QuestionAsked,
    ReminderSent,
    RequestSent,
    Resumed,
    RolloutCreated,
    RolloutEnded,
    RolloutRecovered,
    RolloutReopened,
    SandboxReady,
    SettingsChanged,
    StateChanged,
    StepCompleted,
    StepDiscarded,
    StopRequested,
)
from apollo_tui.log.states import WORKING_STATES
from apollo_tui.log.types import RolloutSpec, TextRef


@dataclass(frozen=True)
class SaidByUser:
    """A user message that follows what was sent last: delivered advice, or a reminder."""

    text: str
    source: str


@dataclass(frozen=True)
class Observed:
    """An action's observation, not yet part of a request."""

    ordinal: int
    observation_ref: TextRef
    error: bool


@dataclass
class Progress:
    """The fold. `apply` takes events in the order of the log."""

    spec: RolloutSpec | None = None
    state: str = "pending"
    paused: bool = False
    finished: str = ""  # why the agent's work is over; what remains is to score it and to say so
    stop_requested: StopRequested | None = None
    sandbox_was_ready: bool = False
    files_removed: FilesRemoved | None = None  # its workspace is gone

    step: int = 0  # the last completed step
    attempt: int = 0  # model calls made for the step after it
    segment: int = 1
    sent: list[TextRef] = field(default_factory=list)  # messages of the last request
    system_ref: TextRef = ""
    tools_ref: TextRef = ""
    reply: StepCompleted | None = None  # its reply, once there is one
    observed: dict[int, Observed] = field(default_factory=dict)  # by ordinal
    said: list[SaidByUser] = field(default_factory=list)  # after the observations
    running_action: ActionStarted | None = None
    jobs: dict[str, bool] = field(default_factory=dict)  # what actions left running: has it ended
    page: PageViewed | None = None  # the open web page
    reminded: bool = False
    asked: bool = False  # a question waits for a person
    served_model: str = ""

    advice_count: int = 0
    queue: dict[int, AdviceQueued] = field(default_factory=dict)

    submissions: int = 0
    evaluating: EvaluationStarted | None = None
    final_evaluation_done: bool = False
    best_score: float | None = None
    cost_usd: float = 0.0

    worked_us: int = 0
    last_at: int = 0
    model_failures: int = 0

    def worked(self, now: int) -> float:
        """Seconds of working time up to `now` (µs): paused and waiting time is free."""
        running = now - self.last_at if self.state in WORKING_STATES and self.last_at else 0
        return (self.worked_us + max(0, running)) / 1e6

    def time_left(self, now: int) -> float | None:
        """Seconds of working time that are left at `now` (µs); None when nothing limits them."""
        limit = None if self.spec is None else self.spec.time_limit or self.spec.task.time_limit
        return None if limit is None else limit - self.worked(now)

    def apply(self, event: Event) -> None:
        if self.state in WORKING_STATES and not isinstance(event, RolloutRecovered):
            self.worked_us += max(0, event.at - self.last_at)
        self.last_at = event.at
        match event:
            case RolloutCreated():
                self.spec = event.spec
            case SettingsChanged() if self.spec is not None:
                self.spec = self.spec.model_copy(update=event.changes)
            case SandboxReady():
                self.sandbox_was_ready = True
            case FilesRemoved() if event.workspace:
                self.files_removed = event
            case StateChanged():
                self.state = event.state
            case Paused():
                self.paused, self.state = True, "paused"
            case Resumed():
                self.paused, self.state, self.asked = False, "running", False
            case StopRequested():
                self.stop_requested = event
            case RolloutReopened():
                self.paused, self.state, self.stop_requested = False, "running", None
                self.final_evaluation_done, self.finished = False, ""
            case RolloutEnded():
                self.state = event.state
            case RequestSent(purpose="step"):
                self._sent(event)
            case StepCompleted():
                self._completed(event)
            case StepDiscarded():
                self.cost_usd += event.usage.cost_usd or 0.0
            case ModelFailed():
                self.model_failures += 1
            case ActionStarted():
                self.running_action = event
            case ActionFinished():
                self.running_action = None
                self.observed[event.ordinal] = Observed(
                    event.ordinal, event.observation_ref, event.error
                )
                if event.finishes:
                    self.finished = "the agent finished"
            case JobStarted():
                self.jobs.setdefault(event.job, False)
            case JobEnded():
                self.jobs[event.job] = True
            case PageViewed():
                self.page = event
            case ReminderSent():
                self.reminded = True
                self.said.append(SaidByUser(event.text, "reminder"))
            case QuestionAsked():
                self.asked = True
            case AdviceQueued():
                self.advice_count = max(self.advice_count, event.advice)
                self.queue[event.advice] = event
            case AdviceWithdrawn():
                self.queue.pop(event.advice, None)
            case AdviceDelivered():
                self._delivered(event)
            case EvaluationStarted():
                self.evaluating = event
                self.finished = self.finished or event.why
            case EvaluationFinished():
                self._evaluated(event)

    def _sent(self, event: RequestSent) -> None:
        if event.starts_segment:
            self.sent = []
            self.system_ref, self.tools_ref = event.system_ref or "", event.tools_ref or ""
        self.sent.extend(event.added)
        self.segment, self.attempt = event.segment, event.attempt
        self.reply, self.observed, self.said = None, {}, []

    def _completed(self, event: StepCompleted) -> None:
        self.step, self.attempt = event.step, 0
        self.reply = event
        self.model_failures = 0
        self.cost_usd += event.usage.cost_usd or 0.0
        if event.actions:
            self.reminded = False
        if event.served_model:
            self.served_model = event.served_model

    def _delivered(self, event: AdviceDelivered) -> None:
        queued = self.queue.pop(event.advice, None)
        if queued is not None:
            self.said.append(SaidByUser(queued.text, "advice"))
        self.asked = False

    def _evaluated(self, event: EvaluationFinished) -> None:
        self.evaluating = None
        if event.final:
            self.final_evaluation_done = True
        else:
            self.submissions += 1
        if event.score is not None:
            self.best_score = max(event.score, self.best_score or 0.0)
