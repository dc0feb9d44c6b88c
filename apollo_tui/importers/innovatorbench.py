"""InnovatorBench: one node of a ResearchGym rollout (arXiv 2510.27598), a JSON object.

A node holds the context of one step (`messages`), the reply (`response`), its action and observation.
The context grew step by step since its last summary, so all steps since then can be read from it; of
the steps before only the summary is left. The format keeps the times, tokens and model of nothing but
the node's own reply, gives times without a zone, and lacks the tools' schemas, exit codes and the end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from apollo_tui.importers.recording import Given, Observed, Part, Recording, Said, Source
from apollo_tui.importers.researchgym import read_observation
from apollo_tui.log.types import AssistantMessage, Task, Thinking, ToolCall, Usage, UserMessage

NAME = "innovatorbench"
_SUMMARY = re.compile(r"After the last action, I have also made \d+ actions?\b")

MOST_MESSAGES = 100_000
"""No context holds as many: reading a file takes no more memory than these do."""

Count = Annotated[int, Field(ge=0, lt=1 << 53)]


class _Read(BaseModel):
    """A part of the file; fields it has besides are kept as `unmapped`."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Call(_Read):
    call_id: str
    name: str
    arguments: dict[str, Any] | str


class _Result(_Read):
    call_id: str
    name: str
    content: str


class _Message(_Read):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    reasoning: str | None = None
    tool_call: _Call | None = None
    tool_result: _Result | None = None


class _Usage(_Read):
    input_tokens: Count
    output_tokens: Count
    cache_creation_input_tokens: Count = 0
    cache_read_input_tokens: Count = 0


class _Response(_Read):
    role: Literal["assistant"] = "assistant"
    content: str | None = None
    reasoning: str | None = None
    usage: _Usage | None = None
    model: str | None = None
    finish_reason: str | None = None
    tool_calls: Annotated[list[_Call], Field(fail_fast=True)] | None = None


class _Action(_Read):
    call_id: str | None = None
    thought: str | None = None


class _Node(_Read):
    system_prompt: str | None = None
    messages: Annotated[list[_Message], Field(max_length=MOST_MESSAGES, fail_fast=True)]
    response: _Response | None = None
    action: _Action | None = None
    observation: dict[str, Any] | str | None = None


def recognises(source: Source) -> bool:
    value = source.json
    return isinstance(value, dict) and "node_type" in value and "messages" in value


def read(source: Source) -> Recording:
    """Raises ImportFailed with the JSON path of what is wrong."""
    try:
        node = _Node.model_validate(source.json)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise source.failed(f"{_path(first['loc'])}: {first['msg']}") from error
    return _Reader(source, node).recording()


class _Reader:
    """Reads one node. `unmapped` grows while it does."""

    def __init__(self, source: Source, node: _Node) -> None:
        self.source = source
        self.node = node
        self.unmapped = dict(_extras(node, ""))
        self.unanswered: dict[str, str] = {}  # call ids, and the tool of each

    def recording(self) -> Recording:
        parts = [*self._context(), *self._own_step()]
        if not any(isinstance(part, Said) for part in parts):
            raise self.source.failed("it holds no step: no reply, and none among messages")
        own = self.node.response
        return Recording(
            task=Task(name="", description=self._task(parts)),
            model=(own and own.model) or "",
            system=self._system(),
            parts=tuple(parts),
            how_it_ended="the file does not tell how it ended",
            unmapped=self.unmapped,
        )

    def _task(self, parts: list[Part]) -> str:
        given = (part.message for part in parts if isinstance(part, Given))
        return next((message.text for message in given if isinstance(message, UserMessage)), "")

    def _system(self) -> str:
        first = self.node.messages[:1]
        of_messages = (first[0].content or "") if first and first[0].role == "system" else ""
        of_node = self.node.system_prompt or ""
        if of_messages and of_node and of_node != of_messages:
            self.unmapped["system_prompt"] = of_node  # messages hold what was sent
        return of_messages or of_node

    # --- the context ---------------------------------------------------------------------------

    def _context(self) -> Iterator[Part]:
        tasks = 0
        for number, message in enumerate(self.node.messages):
            where = f"messages[{number}]"
            self._refuse_what_does_not_belong(message, where)
            match message.role:
                case "system":
                    if number:
                        raise self.source.failed(f"{where}: a system message after the first")
                case "user":
                    tasks += 1
                    yield Given(
                        UserMessage(
                            text=message.content or "", source="task" if tasks == 1 else "notice"
                        )
                    )
                case "assistant":
                    call = message.tool_call
                    reply = self._reply(message, {f"{where}.tool_call": call} if call else {})
                    if call is None and _SUMMARY.match(reply.text):
                        yield Given(reply, summary=True)
                    else:
                        yield Said(reply)
                case "tool":
                    yield self._answer(message, where)

    def _refuse_what_does_not_belong(self, message: _Message, where: str) -> None:
        if message.tool_call is not None and message.role != "assistant":
            raise self.source.failed(f"{where}.tool_call: a {message.role} message calls no tool")
        if message.tool_result is not None and message.role != "tool":
            raise self.source.failed(f"{where}.tool_result: a {message.role} message has none")
        if message.reasoning and message.role != "assistant":
            self.unmapped[f"{where}.reasoning"] = message.reasoning

    def _reply(self, said: _Message | _Response, calls: Mapping[str, _Call]) -> AssistantMessage:
        """What was said, with its calls by their places in the file."""
        return AssistantMessage(
            text=said.content or "",
            thinking=(Thinking(text=said.reasoning),) if said.reasoning else (),
            actions=tuple(self._call(call, where) for where, call in calls.items()),
        )

    def _call(self, call: _Call, where: str) -> ToolCall:
        if call.call_id in self.unanswered:
            raise self.source.failed(f"{where}.call_id: two open calls are named {call.call_id!r}")
        self.unanswered[call.call_id] = call.name
        if isinstance(call.arguments, str):
            return ToolCall(id=call.call_id, tool=call.name, malformed=call.arguments)
        try:
            json.dumps(call.arguments, allow_nan=False)
        except ValueError as error:
            raise self.source.failed(f"{where}.arguments: {error}") from error
        return ToolCall(id=call.call_id, tool=call.name, arguments=call.arguments)

    def _answer(self, message: _Message, where: str) -> Observed:
        result = message.tool_result
        if result is None:
            raise self.source.failed(f"{where}.tool_result: a tool message without one")
        if message.content:
            self.unmapped[f"{where}.content"] = message.content
        called = self.unanswered.get(result.call_id)
        if called not in (None, result.name):
            self.unmapped[f"{where}.tool_result.name"] = result.name
        return self._observed(result.call_id, result.content, f"{where}.tool_result")

    # --- the node's own step -------------------------------------------------------------------

    def _own_step(self) -> Iterator[Part]:
        response, action = self.node.response, self.node.action
        if response is None:
            self._keep_action(action, None)
            if self.node.observation is not None:
                self.unmapped["observation"] = self.node.observation
            return
        calls = response.tool_calls or []
        placed = {f"response.tool_calls[{number}]": call for number, call in enumerate(calls)}
        reply = self._with_thought(self._reply(response, placed), action)
        yield Said(reply, response.model or "", response.finish_reason or "", _usage(response))
        own = _acted(calls, action)
        self._keep_action(action, own)
        if self.node.observation is None:
            return
        if own is None:
            self.unmapped["observation"] = self.node.observation
            return
        seen = self.node.observation
        yield self._observed(
            own.call_id, seen if isinstance(seen, str) else json.dumps(seen), "observation"
        )

    def _with_thought(self, reply: AssistantMessage, action: _Action | None) -> AssistantMessage:
        """The action repeats what was said as its thought; where the reply has none, it is kept there."""
        thought = (action and action.thought) or ""
        said = [reply.text, *(block.text for block in reply.thinking)]
        if not thought or thought in said:
            return reply
        if reply.thinking:
            self.unmapped["action.thought"] = thought
            return reply
        return reply.model_copy(update={"thinking": (Thinking(text=thought),)})

    def _keep_action(self, action: _Action | None, own: _Call | None) -> None:
        """Keep what the action says beyond its call: ResearchGym adds descriptions and defaults."""
        if action is None:
            return
        if own is None:
            self.unmapped["action"] = action.model_dump()
            return
        repeated = {"action_type": own.name}
        if isinstance(own.arguments, dict):
            repeated |= own.arguments
        for name, value in (action.model_extra or {}).items():
            if value is None or repeated.get(name) == value:
                self.unmapped.pop(f"action.{name}", None)

    def _observed(self, call_id: str, text: str, where: str) -> Observed:
        """Raises ImportFailed when nothing waits for this answer."""
        tool = self.unanswered.pop(call_id, None)
        if tool is None:
            raise self.source.failed(f"{where}.call_id: no call before it waits for {call_id!r}")
        return read_observation(call_id, tool, text)


def _usage(response: _Response) -> Usage | None:
    usage = response.usage
    if usage is None:
        return None
    return Usage(
        input=usage.input_tokens,
        cached=usage.cache_read_input_tokens,
        cache_written=usage.cache_creation_input_tokens,
        output=usage.output_tokens,
    )


def _acted(calls: list[_Call], action: _Action | None) -> _Call | None:
    """The call that the node's action and observation belong to."""
    named = [call for call in calls if action is not None and call.call_id == action.call_id]
    return next(iter(named or (calls if len(calls) == 1 else [])), None)


def _extras(model: BaseModel, path: str) -> Iterator[tuple[str, Any]]:
    """Every field that the file has and the models do not know, by its JSON path."""
    for name, value in (model.model_extra or {}).items():
        yield f"{path}{name}", value
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _extras(value, f"{path}{name}.")
        elif isinstance(value, list):
            for number, one in enumerate(value):
                if isinstance(one, BaseModel):
                    yield from _extras(one, f"{path}{name}[{number}].")


def _path(loc: tuple[int | str, ...]) -> str:
    """messages[4].tool_call.name"""
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.lstrip(".") or "the file"
