"""What the log knows of a rollout beside its messages: when things were said, and for each reply who
decided on its actions, who marked them, and what they gave. For the forms that carry this along."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from apollo_tui.errors import ExportError
from apollo_tui.filter.export.source import FilteredRollout, MaskedSample
from apollo_tui.filter.mask import TurnMask
from apollo_tui.filter.samples import Turn
from apollo_tui.log.trajectory import Action, ActionKey, MarkMade, Step
from apollo_tui.log.types import RolloutSpec, TextRef

Facts = dict[str, Any]
"""Facts by name, ready for JSON. What is not known is not in it."""


@dataclass
class Times:
    """When a rollout's parts happened, in UTC microseconds, and why its context was rewritten.

    `imported` is the format of the file that the rollout was read from, None when it ran here.
    """

    created: int = 0
    ended: int | None = None
    said: dict[int, int] = field(default_factory=dict)  # by step
    rewritten: dict[int, str] = field(default_factory=dict)  # why, by segment
    imported: str | None = None


def read_times(rollout: FilteredRollout) -> Times:
    """Read them from the events up to the filter run's end."""
    kinds = (
        "rollout_created",
        "rollout_imported",
        "rollout_ended",
        "segment_started",
        "step_completed",
    )
    times = Times()
    for _, kind, payload in rollout.history.payloads(rollout.rollout, kinds, rollout.run.as_of):
        event = json.loads(payload)
        match kind:
            case "rollout_created":
                times.created = event["at"]
            case "rollout_imported":
                times.imported = event["format"]
            case "rollout_ended":
                times.ended = event["at"]
            case "segment_started":
                times.rewritten[event["segment"]] = event["why"]
            case _:
                times.said[event["step"]] = event["at"]
    return times


def iso(at: int) -> str:
    """UTC microseconds as ISO 8601."""
    return datetime.fromtimestamp(at / 1e6, UTC).isoformat(timespec="milliseconds")


def spec_of(rollout: FilteredRollout) -> RolloutSpec:
    """Raises ExportError when the log does not say what was run."""
    spec = rollout.trajectory.spec
    if spec is None:
        raise ExportError(
            f"the log does not say how rollout {rollout.name} began; see: apollo-tui verify"
        )
    return spec


@dataclass(frozen=True)
class Said:
    """The samples in which something is said, and the steps that are in none of them."""

    samples: list[MaskedSample]
    in_no_context: list[int]


def read_said(rollout: FilteredRollout) -> Said:
    """A rollout without a reply has no samples. What is in none of them is counted."""
    samples = [one for one in rollout.samples() if one.sample.turns]
    in_context = {turn.step.number for one in samples for turn in one.sample.turns}
    in_no_context = sorted(rollout.steps.keys() - in_context)
    if in_no_context:
        rollout.left_out("steps in no context: replaced or rewound", len(in_no_context))
    if not samples:
        rollout.left_out("rollouts without a reply")
    return Said(samples, in_no_context)


class Replies:
    """The replies of a rollout, and what is known of each."""

    def __init__(self, rollout: FilteredRollout) -> None:
        self._verdicts = rollout.verdicts
        self._marks: Mapping[ActionKey, tuple[MarkMade, ...]] = rollout.marks()
        self._rollout = rollout
        self._given = {one.advice: one for one in rollout.trajectory.advice}
        self._steps = {step.message_ref: step.number for step in rollout.steps.values()}

    def said(self, turn: Turn, masked: TurnMask) -> Facts:
        """A reply in the segment it was said in."""
        step = turn.step
        facts: Facts = {
            "step": step.number,
            "trained": masked.trains,
            "prose_trained": masked.prose,
            "actions": [
                self._action(action, trains)
                for action, trains in zip(step.actions, masked.actions, strict=True)
            ],
            "finish": step.finish,
            "advice": self._advice(step),
            "hint": self._rollout.text(step.hint_ref) if step.hint_ref else None,
            "replaces": step.replaces,
            "rewritten": step.rewritten_from is not None or None,
            "by_person": step.by_person or None,
            "superseded": step.superseded or None,
        }
        return known(facts)

    def carried_over(self, ref: TextRef) -> Facts:
        """A reply that is only context where it stands: it was said in a segment before."""
        return known({"step": self._steps.get(ref), "trained": False, "carried_over": True})

    def advice_in(self, text: str) -> Facts:
        """The advice that a message to the model delivered."""
        given = [
            known({"advice": one.advice, "by": one.annotator, "state": one.state})
            for one in self._rollout.trajectory.advice
            if one.delivered_step is not None
            and (text == one.text or text.endswith(f"\n\n{one.text}"))
        ]
        return {"advice": given} if given else {}

    def _action(self, action: Action, trains: bool) -> Facts:
        key = (action.step, action.ordinal)
        verdict = self._verdicts.of(*key)
        return known(
            {
                "ordinal": action.ordinal,
                "tool_call_id": action.call_id,
                "trained": trains,
                "verdict": "keep" if verdict.keep else "mask",
                "decided_by": verdict.by,
                "rule": verdict.rule,
                "why": verdict.why,
                "marks": [
                    known(
                        {
                            "annotator": made.annotator,
                            "mark": made.mark,
                            "code": made.code,
                            "note": made.note,
                        }
                    )
                    for made in self._marks.get(key, ())
                ],
                "disposition": action.disposition,
                "exit_code": action.exit_code,
                "seconds": action.seconds or None,
                "synthetic": action.synthetic or None,
            }
        )

    def _advice(self, step: Step) -> list[Facts]:
        return [
            known({"advice": one.advice, "by": one.annotator, "text": one.text})
            for number in step.advice
            if (one := self._given.get(number)) is not None
        ]


def known(facts: Facts) -> Facts:
    """Without what says nothing: None, an empty text, an empty list."""
    return {name: value for name, value in facts.items() if value not in (None, "", [])}
