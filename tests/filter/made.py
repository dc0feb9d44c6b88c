"""Trajectories made by hand from events, for tests of the filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apollo_tui.core.tools.registry import summarise_call
from apollo_tui.filter.rules import Case, RuleSettings
from apollo_tui.log.events import (
    ActionFinished,
    ActionRef,
    ActionStarted,
    ActionSummary,
    AdviceDelivered,
    AdviceQueued,
    Event,
    Marked,
    RequestSent,
    RolloutCreated,
    StepCompleted,
)
from apollo_tui.log.texts import text_hash
from apollo_tui.log.trajectory import Trajectory, fold
from apollo_tui.log.types import (
    AssistantMessage,
    MarkKind,
    RolloutSpec,
    Task,
    Thinking,
    ToolCall,
    ToolMessage,
    UserMessage,
)

R = "made"
SECOND = 1_000_000


class Made:
    """A rollout told step by step; `trajectory` folds what was told so far."""

    def __init__(self, time_limit: float | None = None) -> None:
        task = Task(name="made", description="Make it.", time_limit=time_limit)
        self.texts: dict[str, str] = {}
        self.events: list[Event] = []
        self.at = 0
        self.step_number = 0
        self.segment = 0
        self.sent: list[str] = []
        self.tell(
            RolloutCreated(
                rollout=R,
                spec=RolloutSpec(
                    task=task, model="glm", sandbox="plain", isolated=False, name="made"
                ),
            )
        )
        self.begin_segment([UserMessage(text="Make it.").model_dump_json()])

    def keep(self, text: str) -> str:
        ref = text_hash(text)
        self.texts[ref] = text
        return ref

    def tell(self, event: Event) -> None:
        self.at += SECOND
        self.events.append(event.model_copy(update={"at": self.at}))

    def begin_segment(self, messages: Sequence[str]) -> None:
        self.segment += 1
        self.sent = list(messages)
        self._starts = True

    def advise(self, text: str) -> None:
        number = 1 + sum(isinstance(event, AdviceQueued) for event in self.events)
        self.tell(AdviceQueued(rollout=R, advice=number, text=text, by="ana"))
        self.tell(AdviceDelivered(rollout=R, step=self.step_number + 1, advice=number))
        self.sent.append(UserMessage(text=text, source="advice").model_dump_json())

    def step(
        self,
        *calls: tuple[str, dict[str, Any]],
        observations: Sequence[str] = (),
        thinking: str = "",
        text: str = "",
        hint: str | None = None,
        malformed: str | None = None,
        seconds: float = 0.0,
        result: dict[str, Any] | None = None,
        **completed: Any,
    ) -> int:
        """One step with its actions and what they gave back; returns its number."""
        self.step_number += 1
        number = self.step_number
        message = AssistantMessage(
            text=text,
            thinking=(Thinking(text=thinking),) if thinking else (),
            actions=tuple(
                ToolCall(
                    id=f"c{number}-{ordinal}", tool=tool, arguments=arguments, malformed=malformed
                )
                for ordinal, (tool, arguments) in enumerate(calls, 1)
            ),
        )
        self.tell(
            RequestSent(
                rollout=R,
                step=number,
                segment=self.segment,
                model="glm",
                added=tuple(self.keep(text) for text in self.sent),
                starts_segment=self._starts,
                system_ref=self.keep('"Be careful."') if self._starts else None,
                tools_ref=self.keep("[]") if self._starts else None,
                hint_ref=None if hint is None else self.keep(hint),
            )
        )
        self._starts = False
        self.tell(
            StepCompleted(
                rollout=R,
                step=number,
                segment=self.segment,
                message_ref=self.keep(message.model_dump_json()),
                actions=tuple(
                    ActionSummary(
                        tool=call.tool, call_id=call.id, arguments=summarise_call(call)[:200]
                    )
                    for call in message.actions
                ),
                model="glm",
                **completed,
            )
        )
        self.sent = [message.model_dump_json()]
        for ordinal, call in enumerate(message.actions, 1):
            seen = observations[ordinal - 1] if ordinal <= len(observations) else "done"
            self.tell(ActionStarted(rollout=R, step=number, ordinal=ordinal, tool=call.tool))
            self.at += int(seconds * SECOND)
            self.tell(
                ActionFinished(
                    rollout=R,
                    step=number,
                    ordinal=ordinal,
                    observation_ref=self.keep(seen),
                    seconds=seconds,
                    **{"disposition": "completed", **(result or {})},
                )
            )
            answer = ToolMessage(call_id=call.id, tool=call.tool, text=seen)
            self.sent.append(answer.model_dump_json())
        return number

    def bash(self, command: str, observation: str = "done", **more: Any) -> int:
        return self.step(("bash", {"command": command}), observations=[observation], **more)

    def mark(self, step: int, mark: MarkKind, *, ordinal: int = 1, by: str = "ana") -> None:
        actions = (ActionRef(step=step, ordinal=ordinal),)
        self.tell(Marked(rollout=R, by=by, actions=actions, mark=mark))

    @property
    def trajectory(self) -> Trajectory:
        return fold(enumerate(self.events, 1))

    def case(self, **settings: Any) -> Case:
        return Case(self.trajectory, self.texts.__getitem__, RuleSettings(**settings))
