"""The rules of supervision control: which actions a program can tell are not worth learning, and why.

Each is a pure function from a `Case` (a trajectory and its texts) to findings. The categories are the
paper's (Apollo, arXiv 2510.27630: sub-optimal actions are masked and stay as context); how each is told
is said in its docstring. `RULES` is their order of precedence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property, lru_cache
from typing import Any

from pydantic import Field

from apollo_tui.filter.effects import (
    LOOKING_TOOLS,
    LOOKING_WORDS,
    WAITING_TOOLS,
    Effect,
    begins_with_a_change,
    effect_of,
)
from apollo_tui.filter.verdicts import Finding, standing_mark
from apollo_tui.log.trajectory import Action, ActionKey, Step, Trajectory
from apollo_tui.log.types import TextRef, Value

OPTIONAL_RULES = ("abandoned", "length")


class RuleSettings(Value):
    """What rules do; kept with each stored filter run."""

    off: tuple[str, ...] = ()  # names of rules that are not asked
    on: tuple[str, ...] = ()  # names of optional rules that are
    repeated_within: int = Field(default=10, ge=1)  # steps
    long_job: float = Field(default=600.0, ge=0)  # seconds a job ran to count as long
    propagate: bool = False  # mask what follows a rejected action, unasked
    include_hinted: bool = False
    include_rewritten: bool = False


class Case:
    """What a rule looks at: one rollout's trajectory, its texts on demand, the settings."""

    def __init__(
        self,
        trajectory: Trajectory,
        read: Callable[[TextRef], str],
        settings: RuleSettings | None = None,
    ) -> None:
        self.trajectory = trajectory
        self.read = lru_cache(maxsize=64)(read)  # rules compare what is near
        self.comparable = lru_cache(maxsize=64)(self._comparable)
        self.status = lru_cache(maxsize=64)(self._status)
        self.settings = settings or RuleSettings()
        self._effects: dict[ActionKey, Effect] = {}

    @cached_property
    def steps(self) -> list[Step]:
        """All steps in the order of the log, superseded ones too."""
        return [step for segment in self.trajectory.segments for step in segment.steps]

    @cached_property
    def actions(self) -> list[Action]:
        return [action for step in self.steps for action in step.actions]

    @cached_property
    def _message_refs(self) -> dict[int, TextRef]:
        return {step.number: step.message_ref for step in self.steps}

    def arguments(self, action: Action) -> dict[str, Any]:
        """The whole arguments of an action, from its step's message; {} where they are no object."""
        arguments = self._call(action).get("arguments")
        return arguments if isinstance(arguments, dict) else {}

    def is_garbled(self, action: Action) -> bool:
        """Whether its arguments were no JSON object as the model said them."""
        return self._call(action).get("malformed") is not None

    def _call(self, action: Action) -> dict[str, Any]:
        """An action as its step's message holds it."""
        calls = json.loads(self.read(self._message_refs[action.step])).get("actions", ())
        call = calls[action.ordinal - 1] if 1 <= action.ordinal <= len(calls) else {}
        return call if isinstance(call, dict) else {}

    def observation(self, action: Action) -> str:
        return "" if action.observation_ref is None else self.read(action.observation_ref)

    def _comparable(self, ref: TextRef | None) -> str:
        return "" if ref is None else comparable(self.read(ref))

    def _status(self, ref: TextRef | None) -> str:
        """An observation without what moves on while nothing changes."""
        return standing_still(self.comparable(ref))

    def effect(self, action: Action) -> Effect:
        key = (action.step, action.ordinal)
        effect = self._effects.get(key)
        if effect is None:
            effect = _by_its_name(action.tool)
            if effect == "changes" and not _begins_with_a_change(action):
                effect = effect_of(action.tool, self.arguments(action))
            self._effects[key] = effect
        return effect

    @cached_property
    def _last_change(self) -> list[int]:
        """For each place in `actions` the last one before it that may change things for all that its
        first word tells; -1 where there is none. It takes no text to know these."""
        last, found = -1, []
        for place, action in enumerate(self.actions):
            found.append(last)
            if _begins_with_a_change(action):
                last = place
        return found

    def changed_between(self, first: int, last: int) -> bool:
        """Whether any action between these two (places in `actions`) may have changed something.
        Further runs of the last one's own call do not count."""
        if self._last_change[last] > first and not _begins_with_a_change(self.actions[last]):
            return True
        call = _call(self.actions[last])
        return any(
            self.effect(action) in ("changes", "kills")
            for action in self.actions[first + 1 : last]
            if _call(action) != call
        )


Rule = Callable[[Case], Iterator[Finding]]


def malformed(case: Case) -> Iterator[Finding]:
    """The call names no tool there is, or its arguments do not fit: it was never executed."""
    for action in case.actions:
        if action.disposition == "invalid":
            yield _mask(action, f"{action.tool} was called in a way that it cannot be")


def failed(case: Case) -> Iterator[Finding]:
    """The action itself could not be executed. A command that ends with an error was executed: a test
    that fails is a good action."""
    for action in case.actions:
        if action.disposition == "failed":
            yield _mask(action, f"{action.tool} could not do what it was asked")


def garbled(case: Case) -> Iterator[Finding]:
    """What the model said as arguments was no JSON. It was sent back in another form, so there is no
    text of it that could train, whatever anybody thinks of the action."""
    for action in case.actions:
        if action.disposition == "invalid" and case.is_garbled(action):
            yield _mask(action, f"the arguments of {action.tool} were no JSON")


def synthetic(case: Case) -> Iterator[Finding]:
    """Its observation was made up by the program (interrupted, lost, stopped), or there is none (yet):
    nobody knows what the action led to."""
    for action in case.actions:
        if action.synthetic:
            yield _mask(action, f"what {action.tool} gave back was made up: {action.disposition}")
        elif action.disposition is None:
            yield _mask(action, f"nothing is known of what {action.tool} gave back")


def repeated(case: Case) -> Iterator[Finding]:
    """The same action with the same observation, within `repeated_within` steps, and nothing between
    that may have changed anything. The first one is kept; after a change the count begins anew.
    Waiting as long as before is no repetition."""
    kept: dict[tuple[str, str], int] = {}
    for place, action in enumerate(case.actions):
        if action.observation_ref is None or action.tool in WAITING_TOOLS:
            continue
        before = kept.get(_call(action))
        if before is not None and _is_repeat(case, before, place):
            first = case.actions[before].step
            yield _mask(action, f"the same as step {first}, with the same observation")
        else:
            kept[_call(action)] = place


def _is_repeat(case: Case, before: int, place: int) -> bool:
    one, other = case.actions[before], case.actions[place]
    return (
        other.step - one.step <= case.settings.repeated_within
        and not case.changed_between(before, place)
        and case.effect(other) != "waits"
        and case.comparable(one.observation_ref) == case.comparable(other.observation_ref)
        and case.arguments(one) == case.arguments(other)  # a line may have been shortened
    )


def polling(case: Case) -> Iterator[Finding]:
    """A run of the same status check collapses to those that saw a change. Progress that moves on (bars,
    percentages, step numbers) and the time of day are no change, any other number is; waiting and other
    looks do not end a run."""
    kept: dict[tuple[str, str], int] = {}
    for place, action in enumerate(case.actions):
        if action.observation_ref is None or not _may_look(action):
            continue
        before = kept.get(_call(action))
        if before is not None and _sees_no_change(case, before, place):
            first = case.actions[before].step
            yield _mask(action, f"looks again as in step {first} and sees no change")
        else:
            kept[_call(action)] = place


def _sees_no_change(case: Case, before: int, place: int) -> bool:
    one, other = case.actions[before], case.actions[place]
    return (
        not case.changed_between(before, place)
        and case.effect(one) == case.effect(other) == "looks"
        and case.status(one.observation_ref) == case.status(other.observation_ref)
        and case.arguments(one) == case.arguments(other)  # a line may have been shortened
    )


def impatient(case: Case) -> Iterator[Finding]:
    """It killed its own job that had run for `long_job` seconds or more, whose last output showed no
    error, while there was time left for as much again."""
    if not case.trajectory.jobs:
        return
    limit = _time_limit(case.trajectory)
    began = next((action.started_at for action in case.actions if action.started_at), None)
    last_look = ""
    for action in case.actions:
        if case.effect(action) == "kills":
            job = _running_job(case.trajectory, action)
            if job is not None and action.started_at is not None and began is not None:
                ran = (action.started_at - job) / 1e6
                used = (action.started_at - began) / 1e6
                left = limit is None or limit - used >= ran
                if ran >= case.settings.long_job and left and not _ERRORS.search(last_look):
                    yield _mask(action, f"killed its own job after {ran / 60:.0f} healthy minutes")
        elif action.observation_ref is not None:
            last_look = case.observation(action)


def overridden(case: Case) -> Iterator[Finding]:
    """The step was rewound or replaced: a person did not want it."""
    for step in case.steps:
        if step.superseded:
            for action in step.actions:
                yield _mask(action, "the step was rewound or replaced")


def off_policy(case: Case) -> Iterator[Finding]:
    """The step was regenerated with a hint that the exported prompt does not hold, or a person wrote
    it. `include_hinted` and `include_rewritten` let these train."""
    for step in case.steps:
        written = step.by_person or step.rewritten_from is not None
        if step.hint_ref is not None and not case.settings.include_hinted:
            why = "regenerated with a hint that its prompt does not hold"
        elif written and not case.settings.include_rewritten:
            why = "written by a person, not by the model"
        else:
            continue
        for action in step.actions:
            yield _mask(action, why)


def abandoned(case: Case) -> Iterator[Finding]:
    """Optional: work after the last submission that none followed, in a rollout that has ended. Of an
    imported one nobody knows whether its record ends where it did."""
    submissions, spec = case.trajectory.submissions, case.trajectory.spec
    if case.trajectory.state not in ("finished", "failed", "stopped") or not submissions:
        return
    if spec is None or spec.sandbox == "none":
        return
    last = max(submission.step for submission in submissions)
    for action in case.actions:
        if action.step > last and action.tool != "finish":
            yield _mask(action, f"work after the last submission, at step {last}, led to none")


def length(case: Case) -> Iterator[Finding]:
    """Optional: the reply was cut off at the model's output limit."""
    for step in case.steps:
        if step.finish in ("length", "max_tokens"):
            for action in step.actions:
                yield _mask(action, "the reply was cut off at the output limit")


def propagated(case: Case) -> Iterator[Finding]:
    """From a rejected action to the advice, or to the first accepted action, that ends the drift. A
    drift that nothing ended has no known end: nothing is said of what followed. A suggestion until a
    person confirms it, or `propagate` is set."""
    marks = {key: standing_mark(made) for key, made in case.trajectory.marks}
    drifting: ActionKey | None = None
    since: list[Action] = []
    for step in case.steps:
        if step.advice:
            yield from _drift(drifting, since)
            drifting, since = None, []
        for action in step.actions:
            mark = marks.get((action.step, action.ordinal))
            if mark is not None and mark.mark == "accept":
                yield from _drift(drifting, since)
                drifting, since = None, []
            elif mark is not None and mark.mark == "reject":
                drifting = drifting or (action.step, action.ordinal)
            elif drifting is not None and mark is None:
                since.append(action)


def _drift(begun: ActionKey | None, actions: list[Action]) -> Iterator[Finding]:
    for action in actions:
        assert begun is not None
        yield _mask(
            action, f"follows the rejected action of step {begun[0]}, before the drift ended"
        )


RULES: Mapping[str, Rule] = {
    "off-policy": off_policy,
    "garbled": garbled,
    "overridden": overridden,
    "malformed": malformed,
    "failed": failed,
    "synthetic": synthetic,
    "impatient": impatient,
    "repeated": repeated,
    "polling": polling,
    "propagated": propagated,
    "abandoned": abandoned,
    "length": length,
}
"""Every rule by name; the first that finds an action gives its verdict's reason."""


def ask_rules(case: Case) -> tuple[dict[str, list[Finding]], list[Finding]]:
    """What the rules that are on find, by name in their order; and what they only suggest."""
    settings = case.settings
    found = {
        name: list(rule(case))
        for name, rule in RULES.items()
        if name not in settings.off and (name not in OPTIONAL_RULES or name in settings.on)
    }
    suggested = [] if settings.propagate else found.pop("propagated", [])
    return found, suggested


# --- what rules compare ------------------------------------------------------------------------

_PASSING = re.compile(
    r"""
    "?\b(?:timestamp|last_activity|seconds|execution_time)"?\s*[:=]\s*"?[\d\-T:.Z+]+"?
    | \b\d+(?:\.\d+)?\ seconds\b(?!=)
    | \s*\[left:[^\]\n]*\]\s*\Z
    """,
    re.VERBOSE,
)
_LINE_ENDS = re.compile(r"[\r\n]+")
_PROGRESS = re.compile(
    r"\d%|\d/\d|\bit/s\b|\bs/it\b|\bETA\b|[█▏▎▍▌▋▊▉]|\b(?:step|epoch|iter|iteration)\b\D{0,3}\d",
    re.I,
)
_NUMBERS = re.compile(r"[\d.,:%]+")
_BARS = re.compile(r"[█▏▎▍▌▋▊▉#=\->\s]+")
_TIME_OF_DAY = re.compile(r"\b\d\d:\d\d(?::\d\d)?(?:\.\d+)?\b")
_ERRORS = re.compile(
    r"Traceback|\bError\b|\berror:|\bException\b|\bnan\b|\bNaN\b|out of memory|\bOOM\b|Killed|\bFATAL\b"
)


def comparable(observation: str) -> str:
    """An observation without what differs each time: timestamps, durations, the remaining time."""
    return _PASSING.sub("", observation)


def standing_still(text: str) -> str:
    """A text without the numbers and bars of its lines of progress, and without times of day."""
    return "\n".join(
        _BARS.sub(" ", _NUMBERS.sub("0", line)) if _PROGRESS.search(line) else line
        for line in _LINE_ENDS.split(_TIME_OF_DAY.sub("0", text))
    )


def _call(action: Action) -> tuple[str, str]:
    return (action.tool, action.arguments)


def _begins_with_a_change(action: Action) -> bool:
    """True when the tool's name says nothing, and the first word of its line that it may change things."""
    return _by_its_name(action.tool) == "changes" and begins_with_a_change(action.arguments)


@cache
def _by_its_name(tool: str) -> Effect:
    """A tool's effect for all that its name tells."""
    return effect_of(tool, {})


def _may_look(action: Action) -> bool:
    """False when the tool and the first word of its line already tell that it does not only look."""
    if action.tool in LOOKING_TOOLS:
        return True
    word = action.arguments.split(maxsplit=1)[:1]
    return bool(word) and (word[0] in LOOKING_WORDS or "=" in word[0] or "/" in word[0])


def _running_job(trajectory: Trajectory, action: Action) -> int | None:
    """When the newest job began that still ran as the action started."""
    at = action.started_at
    if at is None:
        return None
    running = [
        job.started_at
        for job in trajectory.jobs
        if job.started_at < at and (job.ended_at is None or job.ended_at >= at)
    ]
    return max(running, default=None)


def _time_limit(trajectory: Trajectory) -> float | None:
    spec = trajectory.spec
    return None if spec is None else spec.time_limit or spec.task.time_limit


def _mask(action: Action, why: str) -> Finding:
    return Finding(action.step, action.ordinal, why)
