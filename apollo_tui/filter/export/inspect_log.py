"""`inspect`: one Inspect EvalLog for each rollout, with a sample for each context the model was sent.

What the filter decided stands in the metadata of each assistant message (`replies.py`). The JSON follows
the models of inspect_ai (log version 2), which reads it; writing it needs no inspect_ai.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from apollo_tui import __version__
from apollo_tui.filter.export import Row
from apollo_tui.filter.export.chat_messages import called_with
from apollo_tui.filter.export.replies import (
    Facts,
    Replies,
    Said,
    iso,
    known,
    read_said,
    read_times,
    spec_of,
)
from apollo_tui.filter.export.source import FilteredRollout, MaskedSample
from apollo_tui.log.trajectory import Action
from apollo_tui.log.types import AssistantMessage, ToolMessage, UserMessage

LOG_VERSION = 2

_STATUS = {"finished": "success", "failed": "error", "stopped": "cancelled"}
_SOURCE: dict[str, Literal["input", "operator"]] = {"task": "input", "advice": "operator"}
_ERROR = {"timeout": "timeout", "invalid": "parsing", "interrupted": "cancelled"} | {
    "killed": "cancelled"
}


class Inspect:
    name = "inspect"

    def rows(self, rollout: FilteredRollout) -> Iterator[Row]:
        """One log, and `meta` beside its own fields. A rollout without a reply is left out."""
        said = read_said(rollout)
        if said.samples:
            yield _Log(rollout).of(said)

    def file_name(self, row: Row) -> str:
        """Inspect reads no file of several logs."""
        return f"{row['meta']['rollout']}.json"


class _Log:
    def __init__(self, rollout: FilteredRollout) -> None:
        self.rollout = rollout
        self.replies = Replies(rollout)
        self.times = read_times(rollout)
        self.spec = spec_of(rollout)

    def of(self, said: Said) -> Row:
        rollout, samples = self.rollout, said.samples
        masks = [masked for one in samples for masked in one.masks]
        meta = rollout.meta(samples[0].sample.segment, masks)
        ids = meta["segments"] = [one.sample.segment for one in samples]
        metadata = {
            "meta": meta,
            "name": rollout.name,
            "state": rollout.trajectory.state,
            "sandbox": self.spec.sandbox,
            "imported": self.times.imported,
            "steps_in_no_context": said.in_no_context,
            "exported_by": f"apollo-tui {__version__}",
        }
        return {
            "meta": meta,
            "version": LOG_VERSION,
            "status": _STATUS.get(rollout.trajectory.state, "started"),
            "eval": {
                "eval_id": rollout.rollout,
                "created": iso(self.times.created),
                "task": self.spec.task.name,
                "dataset": {"samples": len(samples), "sample_ids": ids},
                "model": self.spec.model,
                "config": {},
                "metadata": known(metadata),
                **known({"tags": list(self.spec.tags)}),
            },
            "plan": {},  # not known; but Inspect lists no log without one
            **known({"results": self._results(len(samples))}),
            "stats": {
                "started_at": iso(self.times.created),
                **({} if self.times.ended is None else {"completed_at": iso(self.times.ended)}),
                "model_usage": _usage(samples),
            },
            "samples": [self._sample(one, last=one is samples[-1]) for one in samples],
        }

    def _results(self, samples: int) -> Row | None:
        """The rollout's score; None when it has none."""
        score = self.rollout.trajectory.score
        if score is None:
            return None
        metric = {"name": "score", "value": score}
        return {
            "total_samples": samples,
            "completed_samples": samples,
            "scores": [{"name": "score", "scorer": "score", "metrics": {"score": metric}}],
        }

    def _sample(self, one: MaskedSample, *, last: bool) -> Row:
        """One context. The score is the rollout's, so only its last sample has it."""
        score = self.rollout.trajectory.score if last else None
        said = [self.times.said[turn.step.number] for turn in one.sample.turns]
        return {
            "id": one.sample.segment,
            "epoch": 1,
            "input": self.spec.task.description,
            "target": "",
            "messages": list(self._messages(one)),
            "metadata": known(
                {
                    "segment": one.sample.segment,
                    "rewritten": self.times.rewritten.get(one.sample.segment),
                    "tools": self._tools(one),
                }
            ),
            **known({"scores": None if score is None else {"score": {"value": score}}}),
            "model_usage": _usage([one]),
            "completed_at": iso(max(said)),
            "turn_count": len(one.sample.turns),
        }

    def _tools(self, one: MaskedSample) -> list[Row]:
        _, tools = self.rollout.prompt_head(one.sample)
        return [tool.model_dump() for tool in tools]

    def _messages(self, one: MaskedSample) -> Iterator[Row]:
        sample = one.sample
        system, _ = self.rollout.prompt_head(sample)
        if system:
            yield {"role": "system", "content": system}
        turns = {
            turn.position: (turn, masked)
            for turn, masked in zip(sample.turns, one.masks, strict=True)
        }
        answered: dict[str, Action] = {}  # by its call's id, which a later step may use again
        messages = self.rollout.messages(sample.messages)
        for position, (ref, message) in enumerate(zip(sample.messages, messages, strict=True)):
            match message:
                case UserMessage():
                    yield self._user(message)
                case AssistantMessage() if position in turns:
                    turn, masked = turns[position]
                    answered |= {action.call_id: action for action in turn.step.actions}
                    facts = self.replies.said(turn, masked)
                    if (at := self.times.said.get(turn.step.number)) is not None:
                        facts["at"] = iso(at)
                    own = {"source": "generate", "model": turn.step.model}
                    yield _assistant(message, facts) | own
                case AssistantMessage():
                    yield _assistant(message, self.replies.carried_over(ref))
                case _:
                    yield _tool(message, answered.get(message.call_id))

    def _user(self, message: UserMessage) -> Row:
        metadata = {"kind": message.source, **self.replies.advice_in(message.text)}
        source = known({"source": _SOURCE.get(message.source)})
        return {"role": "user", "content": message.text, **source, "metadata": metadata}


def _assistant(message: AssistantMessage, metadata: Facts) -> Row:
    thinking = [
        {
            "type": "reasoning",
            "reasoning": block.text if block.redacted is None else block.redacted,
            **known({"signature": block.signature}),
            "redacted": block.redacted is not None,
        }
        for block in message.thinking
    ]
    text = [{"type": "text", "text": message.text}]
    calls = [
        {
            "id": call.id,
            "function": call.tool,
            "arguments": called_with(call),
            "type": "function",
            **({} if call.malformed is None else {"parse_error": "not a JSON object"}),
        }
        for call in message.actions
    ]
    content = [*thinking, *text] if thinking else message.text
    return {
        "role": "assistant",
        "content": content,
        **known({"tool_calls": calls}),
        "metadata": metadata,
    }


def _tool(message: ToolMessage, action: Action | None) -> Row:
    made: Row = {
        "role": "tool",
        "content": message.text,
        "tool_call_id": message.call_id,
        "function": message.tool,
    }
    if message.error:
        disposition = None if action is None else action.disposition
        kind = _ERROR.get(disposition or "", "unknown")
        made["error"] = {"type": kind, "message": message.text}
    return made


def _usage(samples: Sequence[MaskedSample]) -> dict[str, Row]:
    """Tokens by model, as Inspect counts them: input without what came from the cache."""
    steps = [turn.step for one in samples for turn in one.sample.turns]
    used: dict[str, Row] = {}
    for model in dict.fromkeys(step.model for step in steps):
        usages = [step.usage for step in steps if step.model == model]
        read = sum(usage.input for usage in usages)
        cached = sum(usage.cached for usage in usages)
        written = sum(usage.output for usage in usages)
        if not read and not written:
            continue  # nothing was counted: no prompt has no tokens
        costs = [usage.cost_usd for usage in usages]
        used[model] = {
            "input_tokens": read - cached,
            "output_tokens": written,
            "total_tokens": read + written,
            **known(
                {
                    "input_tokens_cache_read": cached or None,
                    "total_cost": None if None in costs else sum(cost or 0.0 for cost in costs),
                }
            ),
        }
    return used
