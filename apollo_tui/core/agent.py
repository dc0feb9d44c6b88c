"""propose -> act -> observe.

The loop has one path: it looks at `progress` (a fold of the log) and does the next thing that is
missing, so going on after a crash is the same as going on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from time import monotonic

from apollo_tui.client import Streamed
from apollo_tui.core import context
from apollo_tui.core.action import Actor
from apollo_tui.core.backoff import backoff
from apollo_tui.core.channel import Channel, Interrupted
from apollo_tui.core.recorder import Recorder, now
from apollo_tui.core.restore import restore_messages
from apollo_tui.core.tools.registry import allowed_tools, specs, summarise_call
from apollo_tui.errors import ModelError, ReplyBroken
from apollo_tui.log.events import (
    ActionSummary,
    AdviceDelivered,
    ModelChanged,
    ModelFailed,
    QuestionAsked,
    ReminderSent,
    RequestSent,
    StateChanged,
    StepCompleted,
    StepDiscarded,
)
from apollo_tui.log.prompts import segment_texts
from apollo_tui.log.texts import text_hash
from apollo_tui.log.types import AssistantMessage, Message, RolloutSpec, ToolSpec, Usage
from apollo_tui.models import Delta, Model, Reply, Request

PREVIEW = 400  # characters of thinking and text that lists show


class Agent:
    """One rollout's loop. `work` returns why it ended; it raises Interrupted when stopped."""

    def __init__(
        self,
        recorder: Recorder,
        channel: Channel,
        model: Model,
        actor: Actor,
        workspace: str,
        publish: Callable[[Streamed], None],
    ) -> None:
        self.recorder = recorder
        self.progress = recorder.progress
        self.rollout = recorder.rollout
        self.channel = channel
        self.model = model
        self.actor = actor
        self.workspace = workspace
        self.publish = publish
        self.messages: list[Message] = []
        self.system = ""
        self.tools: tuple[ToolSpec, ...] = ()
        self._partial: list[str] = []

    @property
    def spec(self) -> RolloutSpec:
        spec = self.progress.spec
        assert spec is not None
        return spec

    async def work(self) -> str:
        await self._remember()
        while not self.progress.finished:
            await self.channel.gate()
            if ordinal := self._next_action():
                await self._act(ordinal)
            elif reason := self._limit_reached():
                return reason
            elif self.progress.asked and not self.progress.queue:
                await self._wait_for_answer()
            else:
                await self._before_step()
                await self._propose()
        return self.progress.finished

    # --- before a step -------------------------------------------------------------------------

    async def _remember(self) -> None:
        """The context so far: what was sent, and what happened after it."""
        remembered = await restore_messages(self.recorder.log, self.progress)
        if remembered is not None:
            self.system, self.tools, self.messages = remembered
            return
        spec = self.spec
        self.system = context.system_prompt(spec, self.workspace)
        self.tools = specs(allowed_tools(spec))
        self.messages = [
            context.task_message(
                spec.task,
                spec.time_limit or spec.task.time_limit,
                spec.step_limit or spec.task.step_limit,
            )
        ]

    def _limit_reached(self) -> str:
        seconds, steps = self._left()
        if steps is not None and steps <= 0:
            return "the step limit was reached"
        if seconds is not None and seconds <= 0:
            return "the time limit was reached"
        limit = self.spec.usd_limit
        if limit is not None and self.progress.cost_usd >= limit:
            return f"the budget of ${limit:g} was spent"
        return ""

    def _left(self) -> tuple[float | None, int | None]:
        """Working seconds and steps that are left; None where nothing limits them."""
        step_limit = self.spec.step_limit or self.spec.task.step_limit
        steps = None if step_limit is None else step_limit - self.progress.step
        return self.progress.time_left(now()), steps

    async def _before_step(self) -> None:
        """Deliver the queued advice, in order, each noted before the model can see it."""
        for advice in sorted(self.progress.queue):
            queued = self.progress.queue.get(advice)
            if queued is None:  # withdrawn meanwhile
                continue
            await self.recorder.record(
                AdviceDelivered(rollout=self.rollout, step=self.progress.step + 1, advice=advice),
                durable=True,
            )
            self.messages.append(context.advice_message(queued.text))

    async def _wait_for_answer(self) -> None:
        await self._waits("asks you: advise it, or resume it to go on without an answer")
        while self.progress.asked and not self.progress.queue:
            await self.channel.sleep(3600)
        if self.progress.state == "waiting":
            await self.recorder.record(StateChanged(rollout=self.rollout, state="running"))

    async def _waits(self, why: str) -> None:
        if not self.progress.paused:
            await self.recorder.record(StateChanged(rollout=self.rollout, state="waiting", why=why))

    # --- propose -------------------------------------------------------------------------------

    async def _propose(self) -> None:
        step, attempt = self.progress.step + 1, self.progress.attempt + 1
        if not await self._record_request(step, attempt):
            return
        request = Request(
            context.prompt(self.system, self.messages, self.tools), position=self.progress.step
        )
        self._partial = []
        started = monotonic()
        try:
            reply = await self.channel.model_call(self._stream(request, step))
        except Interrupted as cut:
            await self._discard(step, attempt, monotonic() - started, cut)
        except ModelError as error:
            await self._ask_again_later(step, attempt, error)
        else:
            await self._complete(step, attempt, reply, monotonic() - started)

    async def _record_request(self, step: int, attempt: int) -> bool:
        """False, and nothing recorded, when a pause came first: then nothing is sent either."""
        sent = len(self.progress.sent)
        added = [message.model_dump_json() for message in self.messages[sent:]]
        starts = sent == 0
        texts = list(added)
        system_ref = tools_ref = None
        if starts:
            system_text, tools_text = segment_texts(self.system, self.tools)
            texts += [system_text, tools_text]
            system_ref, tools_ref = text_hash(system_text), text_hash(tools_text)
        sends = RequestSent(
            rollout=self.rollout,
            step=step,
            attempt=attempt,
            segment=self.progress.segment,
            model=self.model.name,
            added=tuple(text_hash(text) for text in added),
            starts_segment=starts,
            system_ref=system_ref,
            tools_ref=tools_ref,
        )
        seq = await self.recorder.decide(
            lambda progress: () if progress.paused else (sends,), texts=texts
        )
        return seq > 0

    async def _stream(self, request: Request, step: int) -> Reply:
        reply: Reply | None = None
        async with aclosing(self.model.stream(request)) as parts:
            async for part in parts:
                if self.progress.state == "waiting":
                    await self.recorder.record(StateChanged(rollout=self.rollout, state="running"))
                if isinstance(part, Delta):
                    self._partial.append(part.text)
                    self.publish(Streamed(self.rollout, step, part.kind, part.text, part.tool))
                else:
                    reply = part
        if reply is None:
            raise ReplyBroken("the model's reply ended without a stop reason")
        return reply

    async def _complete(self, step: int, attempt: int, reply: Reply, seconds: float) -> None:
        message = reply.message
        stored = message.model_dump_json()
        before, after = self.progress.served_model, reply.served_model
        if before and after and before != after:
            await self.recorder.record(
                ModelChanged(rollout=self.rollout, step=step, before=before, after=after)
            )
        await self.recorder.record(
            StepCompleted(
                rollout=self.rollout,
                step=step,
                attempt=attempt,
                segment=self.progress.segment,
                message_ref=text_hash(stored),
                thinking=_preview("".join(block.text for block in message.thinking)),
                text=_preview(message.text),
                actions=tuple(
                    ActionSummary(tool=call.tool, call_id=call.id, arguments=summarise_call(call))
                    for call in message.actions
                ),
                model=self.model.name,
                served_model=reply.served_model,
                finish=reply.finish,
                usage=reply.usage,
                seconds=seconds,
            ),
            texts=[stored],
        )
        self.messages.append(message)
        if not message.actions:
            await self._no_action(step, message)

    async def _no_action(self, step: int, message: AssistantMessage) -> None:
        """One reminder; then it counts as a question to the annotator."""
        if self.progress.reminded:
            await self.recorder.record(
                QuestionAsked(rollout=self.rollout, step=step, text=message.text)
            )
        else:
            await self.recorder.record(
                ReminderSent(rollout=self.rollout, step=step, text=context.REMINDER)
            )
            self.messages.append(context.reminder_message())

    async def _discard(self, step: int, attempt: int, seconds: float, cut: Interrupted) -> None:
        partial = "".join(self._partial)
        usage = Usage(output=len(partial) // 4, estimated=True)
        await self.recorder.record(
            StepDiscarded(
                rollout=self.rollout,
                step=step,
                attempt=attempt,
                segment=self.progress.segment,
                partial_ref=text_hash(partial) if partial else None,
                why="stopped by the operator" if cut.why == "stop" else "paused by the operator",
                usage=usage.model_copy(update={"cost_usd": self.model.cost(usage)}),
                seconds=seconds,
            ),
            texts=[partial] if partial else [],
        )
        if cut.why == "stop":
            raise cut

    async def _ask_again_later(self, step: int, attempt: int, error: ModelError) -> None:
        """An API that is down, busy or refuses costs time, never the rollout."""
        delay = backoff(error, self.progress.model_failures)
        partial = "".join(self._partial)
        await self.recorder.record(
            ModelFailed(
                rollout=self.rollout,
                step=step,
                attempt=attempt,
                error=type(error).__name__,
                why=error.line,
                retry_in=delay,
                partial_ref=text_hash(partial) if partial else None,
            ),
            texts=[partial] if partial else [],
        )
        await self._waits(error.line)
        await self.channel.sleep(delay)

    # --- act, observe --------------------------------------------------------------------------

    def _next_action(self) -> int:
        """The ordinal of the first action of the last reply that has no observation yet, or 0."""
        reply = self.progress.reply
        if reply is None:
            return 0
        for ordinal in range(1, len(reply.actions) + 1):
            if ordinal not in self.progress.observed:
                return ordinal
        return 0

    async def _act(self, ordinal: int) -> None:
        """Run one action."""
        reply = self.messages[-ordinal]
        assert isinstance(reply, AssistantMessage)
        is_last = ordinal == len(reply.actions)
        result, text = await self.actor.act(
            self.progress.step,
            ordinal,
            reply.actions[ordinal - 1],
            footer=self._remaining if is_last else (lambda: ""),
        )
        self.messages.append(context.observation_message(reply, ordinal, text, result.error))

    def _remaining(self) -> str:
        return context.remaining_line(*self._left())


def _preview(text: str) -> str:
    """The beginning of a text on one line, for lists."""
    return " ".join(text[: PREVIEW * 2].split())[:PREVIEW]
