"""Rewritten replies: their calls are those of the message that stands there now.

The log tells a step's actions when the model replied; a person may have changed how many there are
since. The prose of such a reply is stale and never trains, so forms that mask whole messages can't
train it at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from apollo_tui.filter.export.chat_messages import called_with
from apollo_tui.filter.mask import TurnMask
from apollo_tui.filter.verdicts import Verdict, Verdicts
from apollo_tui.log.trajectory import Action, ActionKey, Step, Trajectory
from apollo_tui.log.types import AssistantMessage, Message, TextRef

ONLY_TOKENS = "rewritten replies: only tokens trains them"


def with_rewritten_calls(
    trajectory: Trajectory,
    verdicts: Verdicts,
    read: Callable[[list[TextRef]], list[Message]],
) -> tuple[Trajectory, Verdicts]:
    """Both, with the actions of rewritten steps as their messages have them, by their ordinals. No rule
    has seen a call that was added: it is masked where any other of its reply is.

    `read` gives the messages of these references; what it raises passes through."""
    steps = [step for segment in trajectory.segments for step in segment.steps]
    refs = [step.message_ref for step in steps if step.rewritten_from is not None]
    if not refs:
        return trajectory, verdicts
    messages = dict(zip(refs, read(refs), strict=True))
    decided: dict[ActionKey, Verdict] = {}
    segments = []
    for segment in trajectory.segments:
        rewritten = tuple(_rewritten(step, messages) for step in segment.steps)
        for before, after in zip(segment.steps, rewritten, strict=True):
            decided |= _of_added(before, after, verdicts)
        segments.append(replace(segment, steps=rewritten))
    return (
        replace(trajectory, segments=tuple(segments)),
        replace(verdicts, decided={**verdicts.decided, **decided}),
    )


def _rewritten(step: Step, messages: Mapping[TextRef, Message]) -> Step:
    message = messages.get(step.message_ref)
    if step.rewritten_from is None or not isinstance(message, AssistantMessage):
        return step
    known = dict(enumerate(step.actions, 1))
    actions = tuple(
        known.get(ordinal, Action(step.number, ordinal, call.tool, call.id, ""))._replace(
            tool=call.tool,
            call_id=call.id,
            arguments=json.dumps(called_with(call), ensure_ascii=False),
        )
        for ordinal, call in enumerate(message.actions, 1)
    )
    return step._replace(actions=actions)


def _of_added(before: Step, after: Step, verdicts: Verdicts) -> dict[ActionKey, Verdict]:
    told = [verdicts.of(before.number, action.ordinal) for action in before.actions]
    masked = next((verdict for verdict in told if not verdict.keep), None)
    if masked is None:
        return {}
    added = after.actions[len(before.actions) :]
    return {(after.number, one.ordinal): replace(masked, ordinal=one.ordinal) for one in added}


def only_for_tokens(masks: Iterable[TurnMask]) -> int:
    """How many replies would train as a whole if their prose were not stale."""
    return sum(one.trains and all(one.actions) and not one.prose for one in masks)
