"""`atif`: one Agent Trajectory Interchange Format document (1.7) for each rollout.

The steps are the contexts that the model was sent, segment by segment. A rewrite of the context is a
system step with `context_management`, and what it carried over follows it as copied context. What the
filter decided stands in `extra` of each reply (`replies.py`); the format itself has no loss mask.

Source of the format: rfcs/0001-trajectory-format.md of Harbor, and the models of the `atif` package.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from apollo_tui import __version__
from apollo_tui.filter.export import Row
from apollo_tui.filter.export.chat_messages import called_with, chat_tools, thinking_text
from apollo_tui.filter.export.replies import (
    Facts,
    Replies,
    Said,
    Times,
    iso,
    known,
    read_said,
    read_times,
    spec_of,
)
from apollo_tui.filter.export.source import FilteredRollout, MaskedSample
from apollo_tui.log.trajectory import Step, StepUsage
from apollo_tui.log.types import AssistantMessage, TextRef, ToolMessage, UserMessage

NOTES = (
    "extra.trained of an agent step says whether any of it may train, extra.actions[].trained which "
    "tool calls, extra.prose_trained whether its message and reasoning do. Whoever trains on these "
    "steps must honour that: masked steps are not copied context, and look like any other step."
)


class Atif:
    name = "atif"

    def rows(self, rollout: FilteredRollout) -> Iterator[Row]:
        """One document, and `meta` beside its own fields. A rollout without a reply is left out."""
        said = read_said(rollout)
        if said.samples:
            yield _Document(rollout).of(said)

    def file_name(self, row: Row) -> str:
        """Readers of the format want a document to be a file."""
        return f"{row['meta']['rollout']}.json"


class _Document:
    def __init__(self, rollout: FilteredRollout) -> None:
        self.rollout = rollout
        self.replies = Replies(rollout)
        self.times: Times = read_times(rollout)
        self.steps: list[Row] = []
        self.sent: set[TextRef] = set()  # in the segments before
        self.calls: dict[str, Row] = {}  # by a call's id: the step that made it

    def of(self, said: Said) -> Row:
        rollout, spec, samples = self.rollout, spec_of(self.rollout), said.samples
        _, tools = rollout.prompt_head(samples[0].sample)
        for number, one in enumerate(samples):
            self._add_segment(one, first=number == 0)
        masks = [masked for one in samples for masked in one.masks]
        meta = rollout.meta(samples[0].sample.segment, masks)
        meta["segments"] = [one.sample.segment for one in samples]
        return {
            "meta": meta,
            "schema_version": "ATIF-v1.7",
            "session_id": rollout.rollout,
            "trajectory_id": f"{rollout.rollout}@{rollout.run.run}",
            "agent": known(
                {
                    "name": self.times.imported or "apollo-tui",
                    "version": "unknown",  # the log does not say which one ran
                    "model_name": spec.model,
                    "tool_definitions": chat_tools(tools),
                }
            ),
            "steps": self.steps,
            "notes": NOTES,
            "final_metrics": self._final_metrics(samples),
            "extra": known(
                {
                    "meta": meta,
                    "state": rollout.trajectory.state,
                    "score": rollout.trajectory.score,
                    "tags": list(spec.tags),
                    "steps_in_no_context": said.in_no_context,
                    "exported_by": f"apollo-tui {__version__}",
                }
            ),
        }

    def _add_segment(self, one: MaskedSample, *, first: bool) -> None:
        sample = one.sample
        if not first:
            self._add_rewrite(sample.segment)
        system, _ = self.rollout.prompt_head(sample)
        if system:
            copied = sample.system_ref in self.sent
            self._add({"source": "system", "message": system}, copied=copied)
        turns = {
            turn.position: (turn, masked)
            for turn, masked in zip(sample.turns, one.masks, strict=True)
        }
        messages = self.rollout.messages(sample.messages)
        for position, (ref, message) in enumerate(zip(sample.messages, messages, strict=True)):
            match message:
                case UserMessage():
                    self._add(self._user(message), copied=ref in self.sent)
                case AssistantMessage() if position in turns:
                    turn, masked = turns[position]
                    self._add_reply(message, turn.step, self.replies.said(turn, masked))
                case AssistantMessage():
                    carried = _agent_step(message) | {"extra": self.replies.carried_over(ref)}
                    self._add(carried, copied=True)
                case _:
                    self._observe(message, copied=ref in self.sent)
        self.sent.update(sample.messages)
        if sample.system_ref is not None:
            self.sent.add(sample.system_ref)

    def _add(self, step: Row, *, copied: bool = False) -> None:
        numbered = {"step_id": len(self.steps) + 1, **step}
        if copied:
            numbered["is_copied_context"] = True
        self.steps.append(numbered)
        for call in step.get("tool_calls", ()):
            self.calls[call["tool_call_id"]] = numbered

    def _add_rewrite(self, segment: int) -> None:
        why = self.times.rewritten.get(segment, "")
        kind = "compaction" if why == "summary" else why
        self._add(
            {
                "source": "system",
                "message": "The context was rewritten here; what follows replaced it.",
                "extra": {
                    "context_management": {"boundary": "replace", **known({"type": kind})},
                    "segment": segment,
                },
            }
        )

    def _add_reply(self, message: AssistantMessage, step: Step, extra: Facts) -> None:
        made = _agent_step(message)
        if (at := self.times.said.get(step.number)) is not None:
            made["timestamp"] = iso(at)
        made |= known({"model_name": step.model, "metrics": _metrics(step.usage)})
        self._add(made | {"extra": extra})

    def _user(self, message: UserMessage) -> Row:
        extra = {"kind": message.source, **self.replies.advice_in(message.text)}
        return {"source": "user", "message": message.text, "extra": extra}

    def _observe(self, message: ToolMessage, *, copied: bool) -> None:
        """Put an observation to the call it answers; one that answers none here gets a step."""
        result: Row = {"content": message.text}
        extra = {"tool": message.tool, **known({"error": message.error or None})}
        step = self.calls.get(message.call_id)
        if step is not None:
            result = {"source_call_id": message.call_id, **result, "extra": extra}
            step.setdefault("observation", {"results": []})["results"].append(result)
            return
        result["extra"] = {"tool_call_id": message.call_id, **extra}
        observation = {"results": [result]}
        self._add(
            {"source": "system", "message": "", "observation": observation},
            copied=copied,
        )

    def _final_metrics(self, samples: Sequence[MaskedSample]) -> Row:
        usages = [turn.step.usage for one in samples for turn in one.sample.turns]
        costs = [usage.cost_usd for usage in usages]
        return known(
            {
                "total_prompt_tokens": sum(usage.input for usage in usages) or None,
                "total_completion_tokens": sum(usage.output for usage in usages) or None,
                "total_cached_tokens": sum(usage.cached for usage in usages) or None,
                # A sum of the known part only would look like the whole.
                "total_cost_usd": None if None in costs else sum(cost or 0.0 for cost in costs),
                "total_steps": len(self.steps),
            }
        )


def _agent_step(message: AssistantMessage) -> Row:
    calls = [
        {
            "tool_call_id": call.id,
            "function_name": call.tool,
            "arguments": called_with(call),
        }
        for call in message.actions
    ]
    said = known({"reasoning_content": thinking_text(message), "tool_calls": calls})
    return {"source": "agent", "message": message.text, **said}


def _metrics(usage: StepUsage) -> Row | None:
    """None when nothing was counted: no prompt has no tokens."""
    if not usage.input and not usage.output:
        return None
    counted = {"prompt_tokens": usage.input, "completion_tokens": usage.output}
    return counted | known({"cached_tokens": usage.cached or None, "cost_usd": usage.cost_usd})
