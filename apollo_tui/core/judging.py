"""Asking a judge about the actions of one filter run: some batches at once, within a budget.

Whatever comes between (an API that is down, a reply that does not fit, a budget that is spent) leaves
actions without a word; it never fails the run, and is counted by its reason.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import aclosing
from time import monotonic
from typing import Protocol

from apollo_tui.core.backoff import backoff
from apollo_tui.errors import KeyMissing, ModelError, ModelUnavailable, ReplyBroken
from apollo_tui.filter.docket import Batch
from apollo_tui.filter.judge import prompt, read_reply
from apollo_tui.log.events import Event, JudgeAnswered, JudgeWord, RequestSent
from apollo_tui.log.prompts import segment_texts
from apollo_tui.log.store import Log
from apollo_tui.log.texts import text_hash
from apollo_tui.log.types import Prompt
from apollo_tui.models import Model, Reply, Request

AT_ONCE = 4  # batches; a model's `concurrency` may allow fewer
TRIES = 5  # calls of an API that is down, before the judge is given up
QUESTIONS = 2  # a reply that cannot be used is asked for once more


class Record(Protocol):
    """Writes facts about a rollout, whether it runs or not; returns the last seq."""

    def __call__(
        self, rollout: str, *events: Event, texts: Iterable[str] = (), durable: bool = False
    ) -> Awaitable[int]: ...


class Judging:
    """A judge's work for one run. `judged` counts the actions that it gave its word on, `missed` by
    reason those that it did not; `cost` is in dollars, None once a reply had no known cost."""

    def __init__(
        self,
        run: str,
        model: Model,
        log: Log,
        record: Record,
        replies: Counter[str],
        usd: float | None = None,
    ) -> None:
        """`replies` counts the replies of judges on the log, by rollout. `usd`: once so much is
        spent, no further call is made."""
        self.judged = 0
        self.missed: Counter[str] = Counter()
        self.cost: float | None = 0.0
        self._run, self._model, self._log, self._record = run, model, log, record
        self._replies, self._usd = replies, usd
        self._over = ""  # why nothing more is asked

    async def ask(self, batches: Iterable[Batch]) -> None:
        """Ask about every batch. Raises LogError in a group."""
        waiting = iter(batches)
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._work(waiting))

    async def _work(self, waiting: Iterator[Batch]) -> None:
        for batch in waiting:
            reason = self._why_not() or await self._judge(batch)
            if reason:
                self.missed[reason] += len(batch.actions)
            else:
                self.judged += len(batch.actions)

    def _why_not(self) -> str:
        """Why no further call is made; "" when one is."""
        if not self._over and self._usd is not None:
            if self.cost is None:
                self._over = "a reply's cost is not known, so the budget cannot hold"
            elif self.cost >= self._usd:
                self._over = f"the budget of ${self._usd:g} was spent"
        return self._over

    async def _judge(self, batch: Batch) -> str:
        """Ask about one batch until a reply can be used; returns why none could, "" when one was."""
        texts = await self._log.texts(batch.refs())
        fault = ""
        for attempt in range(1, QUESTIONS + 1):
            question = prompt(batch, texts.__getitem__, fault)
            began = monotonic()
            try:
                reply = await self._reply(batch, question, attempt)
            except ReplyBroken as error:
                fault = error.line
                continue
            except ModelError as error:
                if isinstance(error, KeyMissing | ModelUnavailable):
                    self._over = error.line
                return error.line
            fault = await self._take(batch, reply, monotonic() - began)
            if not fault:
                return ""
        return f"the judge's replies could not be used: {fault}"

    async def _reply(self, batch: Batch, question: Prompt, attempt: int) -> Reply:
        """Ask, and again after a while when the API is down. Raises the ModelError of the last try."""
        request = Request(question, "judge", position=self._replies[batch.rollout])
        self._replies[batch.rollout] += 1
        failures = 0
        while True:
            await self._note_request(batch, question, attempt + failures)
            try:
                return await self._whole_reply(request)
            except ModelUnavailable as error:
                failures += 1
                if failures == TRIES or self._over:
                    raise ModelUnavailable(
                        f"gave up after {failures} tries: {error.line}"
                    ) from error
                await asyncio.sleep(backoff(error, failures - 1))

    async def _note_request(self, batch: Batch, question: Prompt, attempt: int) -> None:
        """The exact prompt is on the log before it is sent."""
        messages = [message.model_dump_json() for message in question.messages]
        system, tools = segment_texts(question.system, question.tools)
        await self._record(
            batch.rollout,
            RequestSent(
                rollout=batch.rollout,
                step=batch.actions[0][0].action.step,
                attempt=attempt,
                purpose="judge",
                model=self._model.name,
                added=tuple(text_hash(text) for text in messages),
                starts_segment=True,
                system_ref=text_hash(system),
                tools_ref=text_hash(tools),
            ),
            texts=[*messages, system, tools],
        )

    async def _whole_reply(self, request: Request) -> Reply:
        async with aclosing(self._model.stream(request)) as parts:
            async for part in parts:
                if isinstance(part, Reply):
                    return part
        raise ReplyBroken("the judge's reply ended without a stop reason")

    async def _take(self, batch: Batch, reply: Reply, seconds: float) -> str:
        """Put a reply on the log, whatever it holds; returns why it cannot be used, "" when it can."""
        words: tuple[JudgeWord, ...] = ()
        fault = ""
        try:
            words = read_reply(batch, reply.message)
        except ReplyBroken as error:
            fault = error.line
        cost = reply.usage.cost_usd
        self.cost = None if self.cost is None or cost is None else self.cost + cost
        await self._record(
            batch.rollout,
            JudgeAnswered(
                rollout=batch.rollout,
                run=self._run,
                judge=self._model.name,
                words=words,
                fault=fault,
                usage=reply.usage,
                seconds=seconds,
            ),
        )
        return fault
