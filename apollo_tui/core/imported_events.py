"""A recording as events and texts of the log. Pure: the same recording gives the same events.

The events carry no time (`at` is 0): the log notes when they were imported, and a rollout without a
sandbox counts no time. Actions have no `action_started`: nobody knows when they did.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from pydantic_core import to_json

from apollo_tui.core.tools.observation import SUMMARY_AT_MOST, count_lines, telling_line
from apollo_tui.core.tools.registry import one_line, summarise_call
from apollo_tui.importers.recording import Given, Observed, Recording, Said, Submitted
from apollo_tui.log.events import (
    ActionFinished,
    ActionSummary,
    EvaluationFinished,
    Event,
    HintViewed,
    RequestSent,
    RolloutEnded,
    SegmentStarted,
    StepCompleted,
    SummaryCompleted,
)
from apollo_tui.log.prompts import segment_texts
from apollo_tui.log.texts import text_hash
from apollo_tui.log.types import TextRef, ToolCall, ToolMessage, Usage


def events_of(recording: Recording, rollout: str) -> tuple[list[Event], list[str]]:
    """The events after a rollout's creation, to its end, and the texts that they name."""
    telling = _Telling(recording, rollout)
    for part in recording.parts:
        match part:
            case Given():
                telling.give(part)
            case Said():
                telling.say(part)
            case Observed():
                telling.observe(part)
    return telling.end(), list(telling.texts.values())


def raw_text(recording: Recording) -> str:
    """What found no place in the events, as a JSON object by the paths in the file."""
    return json.dumps(dict(recording.unmapped))


class _Telling:
    def __init__(self, recording: Recording, rollout: str) -> None:
        self.rollout = rollout
        self.recording = recording
        self.texts: dict[TextRef, str] = {}
        self._events: list[Event] = []
        self._step = 0
        self._sent: list[TextRef] = []  # messages since the last request
        self._given = False  # one of them is neither a reply nor what came of it
        self._open: dict[str, tuple[int, int, ToolCall]] = {}  # calls that nothing answered yet

    def give(self, part: Given) -> None:
        if part.summary:
            summary = self._keep(part.message.text)
            self._tell(
                SummaryCompleted(rollout=self.rollout, step=self._step + 1, summary_ref=summary)
            )
        self._sent.append(self._keep(part.message.model_dump_json()))
        self._given = True

    def say(self, part: Said) -> None:
        self._request(part.model)
        self._step += 1
        message = part.message
        for ordinal, call in enumerate(message.actions, 1):
            self._open[call.id] = (self._step, ordinal, call)
        ref = self._keep(message.model_dump_json())
        self._tell(
            StepCompleted(
                rollout=self.rollout,
                step=self._step,
                message_ref=ref,
                thinking=_one_line(block.text for block in message.thinking),
                text=_one_line([message.text]),
                actions=tuple(
                    ActionSummary(tool=call.tool, call_id=call.id, arguments=_arguments(call))
                    for call in message.actions
                ),
                model=part.model,
                served_model=part.model,
                finish=part.finish,
                usage=part.usage or Usage(),
            )
        )
        self._sent.append(ref)

    def observe(self, part: Observed) -> None:
        step, ordinal, call = self._open.pop(part.call_id)
        answer = ToolMessage(call_id=call.id, tool=call.tool, text=part.text)
        if part.submitted is not None:
            self._tell(self._evaluation(step, part.submitted))
        if part.viewed_hint:
            self._tell(HintViewed(rollout=self.rollout, step=step))
        self._tell(
            ActionFinished(
                rollout=self.rollout,
                step=step,
                ordinal=ordinal,
                disposition=part.disposition if call.malformed is None else "invalid",
                observation_ref=self._keep(answer.text),
                summary=telling_line(part.shown, failed=part.error),
                lines=count_lines(part.shown),
                exit_code=part.exit_code,
                seconds=part.seconds,
                error=part.error,
            )
        )
        self._sent.append(self._keep(answer.model_dump_json()))

    def end(self) -> list[Event]:
        if self._given:
            self._request("")  # it was in a context that no reply is known to
        return [
            *self._events,
            RolloutEnded(
                rollout=self.rollout,
                state="stopped",
                reason=f"imported, read-only; {self.recording.how_it_ended}",
            ),
        ]

    def _request(self, model: str) -> None:
        first = self._step == 0
        system = tools = None
        if first:
            summarised = any(isinstance(event, SummaryCompleted) for event in self._events)
            why = "summary" if summarised else "start"
            self._tell(SegmentStarted(rollout=self.rollout, step=1, segment=1, why=why))
            system, tools = map(self._keep, segment_texts(self.recording.system, ()))
        self._tell(
            RequestSent(
                rollout=self.rollout,
                step=self._step + 1,
                model=model,
                added=tuple(self._sent),
                starts_segment=first,
                system_ref=system,
                tools_ref=tools,
            )
        )
        self._sent, self._given = [], False

    def _evaluation(self, step: int, submitted: Submitted) -> EvaluationFinished:
        results = json.loads(to_json(dict(submitted.results)))
        return EvaluationFinished(
            rollout=self.rollout,
            submission=submitted.submission,
            step=step,
            score=submitted.score,
            results=results,
            error=submitted.error,
            seconds=submitted.seconds,
        )

    def _tell(self, event: Event) -> None:
        self._events.append(event)

    def _keep(self, text: str) -> TextRef:
        ref = text_hash(text)
        self.texts[ref] = text
        return ref


def _one_line(texts: Iterable[str]) -> str:
    return " ".join("".join(texts).split())[:SUMMARY_AT_MOST]


def _arguments(call: ToolCall) -> str:
    """A call in one line; of a tool that is not ours, too, the command line says most."""
    command = call.arguments.get("command")
    if isinstance(command, str) and command.strip():
        return one_line(command)
    return summarise_call(call)
