"""What of a rollout a judge may be asked about, in batches, with the lines that lead to each action."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from apollo_tui.log.trajectory import Action, ActionKey, Step, Trajectory
from apollo_tui.log.types import TextRef

BATCH = 8  # actions asked about at once
RECENT = 12  # lines of what came before
ADVICE_WITHIN = 30  # steps after an action in which advice may be about it
ADVICE_AFTER = 3  # pieces of such advice at most

_ADVICE, _LINE = 600, 160  # characters


@dataclass(frozen=True, slots=True)
class Judgeable:
    """One action as a judge may be asked about it: `place` is its line among all lines of what was
    done, `advice` the places among all advice of what was said soon after it."""

    action: Action
    message_ref: TextRef
    place: int
    advice: tuple[int, ...]

    @property
    def at(self) -> ActionKey:
        return (self.action.step, self.action.ordinal)


@dataclass(frozen=True, slots=True)
class Batch:
    """Actions of one rollout that are asked about at once. `before` and `advice` are lines."""

    rollout: str
    task: str
    before: tuple[str, ...]
    advice: tuple[str, ...]
    actions: tuple[tuple[Judgeable, str], ...]  # with their keys

    def refs(self) -> set[TextRef]:
        """The texts that its prompt is made of."""
        refs = {one.message_ref for one, _ in self.actions}
        return refs | {
            one.action.observation_ref for one, _ in self.actions if one.action.observation_ref
        }


def judgeable(trajectory: Trajectory) -> Iterator[Action]:
    """The actions that a judge is to see: those that were carried out on the active path. Of one
    whose observation was made up nobody knows what it led to, and one that was never
    executed is no question of quality: rules mask these, and no judge is to overrule that."""
    for step in _active(trajectory):
        yield from (action for action in step.actions if _is_judgeable(action))


class Docket:
    """What of one rollout a judge may be asked about, in order, and the lines that lead to it."""

    def __init__(self, trajectory: Trajectory) -> None:
        spec = trajectory.spec
        self.rollout = trajectory.rollout
        self.task = "" if spec is None else spec.task.description
        self.lines: list[str] = []
        self.advice: list[str] = []
        self.actions: list[Judgeable] = []
        said = {one.advice: one.text for one in trajectory.advice}
        steps = list(_active(trajectory))
        given = [(step.number, number) for step in steps for number in step.advice]
        self.advice = [
            f"before step {step}: {_one_line(said.get(number, ''), _ADVICE)}"
            for step, number in given
        ]
        upcoming = 0
        for step in steps:
            while upcoming < len(given) and given[upcoming][0] <= step.number:
                number = given[upcoming][1]
                self.lines.append(f"  the operator: {_one_line(said.get(number, ''), _LINE)}")
                upcoming += 1
            advice = tuple(
                place
                for place in range(upcoming, min(len(given), upcoming + ADVICE_AFTER))
                if given[place][0] - step.number <= ADVICE_WITHIN
            )
            for action in step.actions:
                if _is_judgeable(action):
                    place = len(self.lines)
                    self.actions.append(Judgeable(action, step.message_ref, place, advice))
                self.lines.append(_line(action))


def batches(
    docket: Docket, keys: Mapping[ActionKey, str], ask: Collection[ActionKey], size: int = BATCH
) -> Iterator[Batch]:
    """The actions in `ask`, `size` at a time; each batch shows what came before any of its actions."""
    asked = [one for one in docket.actions if one.at in ask]
    for start in range(0, len(asked), size):
        chosen = asked[start : start + size]
        yield Batch(
            rollout=docket.rollout,
            task=docket.task,
            before=tuple(_lines_before(docket.lines, chosen)),
            advice=tuple(
                docket.advice[place]
                for place in sorted({place for one in chosen for place in one.advice})
            ),
            actions=tuple((one, keys[one.at]) for one in chosen),
        )


def _active(trajectory: Trajectory) -> Iterator[Step]:
    for segment in trajectory.segments:
        yield from (step for step in segment.steps if not step.superseded)


def _is_judgeable(action: Action) -> bool:
    return action.disposition not in (None, "invalid") and not action.synthetic


def _lines_before(lines: list[str], chosen: list[Judgeable]) -> Iterator[str]:
    """The lines before each of the chosen, and those between them as far as they are before one."""
    shown_to = 0
    for one in chosen:
        first = max(shown_to, one.place - RECENT)
        if left_out := first - shown_to:
            yield f"  [… {left_out} earlier lines left out …]"
        yield from lines[first : one.place]
        shown_to = max(shown_to, one.place)


def _line(action: Action) -> str:
    call = _one_line(f"{action.tool} {action.arguments}", _LINE)
    return f"{action.step}.{action.ordinal} {call} -> {outcome(action)}"


def outcome(action: Action) -> str:
    """How an action ended, in a few words."""
    if action.disposition not in (None, "completed"):
        return f"{action.disposition}"
    if action.exit_code is not None:
        return f"exit code {action.exit_code}"
    return "error" if action.error else "done"


def _one_line(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
