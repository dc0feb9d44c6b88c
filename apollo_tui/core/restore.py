"""The context of a rollout that another core began: exactly the messages it had."""

from __future__ import annotations

from pydantic import TypeAdapter

from apollo_tui.core import context
from apollo_tui.core.progress import Progress
from apollo_tui.log.prompts import read_segment_texts
from apollo_tui.log.store import Log
from apollo_tui.log.types import AssistantMessage, Message, ToolSpec

_message: TypeAdapter[Message] = TypeAdapter(Message)


async def restore_progress(log: Log, rollout: str) -> Progress:
    """Fold every event of a rollout, page by page."""
    progress, after = Progress(), 0
    while page := await log.events(rollout, after=after, limit=1000):
        for after, event in page:  # noqa: B007
            progress.apply(event)
    return progress


async def restore_messages(
    log: Log, progress: Progress
) -> tuple[str, tuple[ToolSpec, ...], list[Message]] | None:
    """System prompt, tools and messages; None when nothing was ever sent."""
    if not progress.sent:
        return None
    observed = [progress.observed[ordinal] for ordinal in sorted(progress.observed)]
    refs = {*progress.sent, progress.system_ref, progress.tools_ref}
    refs |= {one.observation_ref for one in observed}
    if progress.reply is not None:
        refs.add(progress.reply.message_ref)
    texts = await log.texts(refs)
    system, tools = read_segment_texts(texts[progress.system_ref], texts[progress.tools_ref])
    messages = [_message.validate_json(texts[ref]) for ref in progress.sent]
    if progress.reply is not None:
        reply = AssistantMessage.model_validate_json(texts[progress.reply.message_ref])
        messages.append(reply)
        messages += [
            context.observation_message(reply, one.ordinal, texts[one.observation_ref], one.error)
            for one in observed
        ]
    messages += [
        context.advice_message(said.text) if said.source == "advice" else context.reminder_message()
        for said in progress.said
    ]
    return system, tools, messages
