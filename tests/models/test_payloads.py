"""Prompts as the two APIs take them. Pure."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st

from apollo_tui.config import ModelSettings
from apollo_tui.log.types import (
    AssistantMessage,
    Message,
    Prompt,
    Thinking,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from apollo_tui.models import anthropic, openai
from tests.models.asking import BASH

CACHE = {"cache_control": {"type": "ephemeral"}}


def settings(api: Literal["openai", "anthropic"], **more: Any) -> ModelSettings:
    return ModelSettings(api=api, model="m", **more)


def call(number: int, **fields: Any) -> ToolCall:
    return ToolCall(id=f"c{number}", tool="bash", **({"arguments": {"n": number}} | fields))


def observation(number: int, **fields: Any) -> ToolMessage:
    return ToolMessage(call_id=f"c{number}", tool="bash", text=f"out {number}", **fields)


HISTORY: tuple[Message, ...] = (
    UserMessage(text="The task."),
    AssistantMessage(
        thinking=(Thinking(text="hm", signature="s"), Thinking(redacted="r")),
        text="Two.",
        actions=(call(1), call(2)),
    ),
    observation(1),
    observation(2, error=True),
    UserMessage(text="Advice.", source="advice"),
)


def test_anthropic() -> None:
    prompt = Prompt(system="Be good.", messages=HISTORY, tools=(BASH, BASH))
    body = anthropic.payload(prompt, settings("anthropic"))
    tool = {"name": "bash", "description": BASH.description, "input_schema": BASH.parameters}
    assert body == {
        "model": "m",
        "max_tokens": 16_000,
        "system": [{"type": "text", "text": "Be good.", **CACHE}],
        "tools": [tool, tool | CACHE],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "The task."}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "redacted_thinking", "data": "r"},
                    {"type": "text", "text": "Two."},
                    {"type": "tool_use", "id": "c1", "name": "bash", "input": {"n": 1}},
                    {"type": "tool_use", "id": "c2", "name": "bash", "input": {"n": 2}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "out 1"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "c2",
                        "content": "out 2",
                        "is_error": True,
                    },
                    {"type": "text", "text": "Advice.", **CACHE},
                ],
            },
        ],
    }


def test_anthropic_refuses_blank_texts_foreign_thinking_and_odd_names() -> None:
    messages: tuple[Message, ...] = (
        UserMessage(text="Task."),
        AssistantMessage(thinking=(Thinking(text="only thought", signature="s"),)),
        UserMessage(text=" \n"),
        UserMessage(text="Go on."),
        AssistantMessage(
            text="\n",
            thinking=(Thinking(text="by another API", field="reasoning"),),
            actions=(ToolCall(id="functions.bash:0", tool="no such tool!", malformed='{"a'),),
        ),
        ToolMessage(call_id="functions.bash:0", tool="x", text=""),
    )
    sent = anthropic.payload(Prompt(messages=messages), settings("anthropic"))["messages"]
    assert sent == [
        {
            "role": "user",
            "content": [{"type": "text", "text": "Task."}, {"type": "text", "text": "Go on."}],
        },
        {
            "role": "assistant",
            "content": [
                {
                    "type": "tool_use",
                    "id": "functions_bash_0",
                    "name": "no_such_tool_",
                    "input": {"malformed": '{"a'},
                }
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "functions_bash_0", "content": "", **CACHE}
            ],
        },
    ]


def test_openai() -> None:
    thinking = (
        Thinking(text="one ", field="reasoning_content"),
        Thinking(text="two", field="reasoning_content"),
        Thinking(text="signed elsewhere", signature="s"),
    )
    messages = (
        UserMessage(text="Task."),
        AssistantMessage(thinking=thinking, actions=(call(1), call(2, malformed='{"é'))),
        observation(1),
        observation(2),
        AssistantMessage(text="Done."),
    )
    prompt = Prompt(system="Be good.", messages=messages, tools=(BASH,))
    body = openai.payload(prompt, settings("openai", max_tokens=9), {"seed": 1})
    assert body == {
        "model": "m",
        "stream_options": {"include_usage": True},
        "max_tokens": 9,
        "seed": 1,
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "bash",
                    "description": BASH.description,
                    "parameters": BASH.parameters,
                },
            }
        ],
        "messages": [
            {"role": "system", "content": "Be good."},
            {"role": "user", "content": "Task."},
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "one two",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "bash", "arguments": '{"n": 1}'},
                    },
                    {
                        "id": "c2",
                        "type": "function",
                        "function": {"name": "bash", "arguments": '{"malformed": "{\\"é"}'},
                    },
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "out 1"},
            {"role": "tool", "tool_call_id": "c2", "content": "out 2"},
            {"role": "assistant", "content": "Done."},
        ],
    }


def test_openai_itself_knows_the_token_limit_by_another_name() -> None:
    body = openai.payload(Prompt(), settings("openai", max_tokens=9), official=True)
    assert body["max_completion_tokens"] == 9
    assert "max_tokens" not in body


def test_settings_are_below_the_request_and_extra_fields_above_both() -> None:
    chosen = settings(
        "anthropic", sampling={"temperature": 1.0, "top_k": 5}, extra_body={"top_k": 6}
    )
    body = anthropic.payload(Prompt(), chosen, {"temperature": 0.2, "top_k": 7})
    assert (body["temperature"], body["top_k"]) == (0.2, 6)


texts = st.text(max_size=12)
thoughts = st.one_of(
    st.builds(Thinking, text=texts, signature=texts),
    st.builds(Thinking, redacted=texts),
    st.builds(Thinking, text=texts, field=st.just("reasoning")),
)


@st.composite
def steps(draw: st.DrawFn) -> list[list[Message]]:
    """Histories as the agent makes them: a reply, its observations, perhaps words of a person."""
    made: list[list[Message]] = [[UserMessage(text="Task.")]]
    for number in range(draw(st.integers(0, 6))):
        calls = tuple(
            ToolCall(
                id=f"c{number}.{ordinal}",
                tool=draw(st.sampled_from(["bash", "think", "?"])),
                malformed=draw(st.one_of(st.none(), texts)),
            )
            for ordinal in range(draw(st.integers(0, 3)))
        )
        reply = AssistantMessage(
            text=draw(texts), thinking=tuple(draw(st.lists(thoughts, max_size=2))), actions=calls
        )
        results = [ToolMessage(call_id=c.id, tool=c.tool, text=draw(texts)) for c in calls]
        words = [UserMessage(text=text) for text in draw(st.lists(texts, max_size=2))]
        made.append([reply, *results, *words])
    return made


def plain(body: dict[str, Any]) -> list[tuple[str, str]]:
    """Role and JSON of every block, without the cache's mark, which no cache key contains."""
    return [
        (turn["role"], json.dumps({k: v for k, v in block.items() if k != "cache_control"}))
        for turn in body["messages"]
        for block in turn["content"]
    ]


@given(steps())
@tried(deadline=None)
def test_anthropic_prompts_only_grow_and_keep_its_rules(history: list[list[Message]]) -> None:
    before: list[tuple[str, str]] = []
    messages: list[Message] = []
    for step in history:
        messages += step
        prompt = Prompt(system="s", messages=tuple(messages), tools=(BASH,))
        body = anthropic.payload(prompt, settings("anthropic"))
        assert plain(body)[: len(before)] == before, "what was cached must not change"
        before = plain(body)
        turns = body["messages"]
        assert [turn["role"] for turn in turns] == ["user", "assistant"] * (len(turns) // 2) + [
            "user"
        ] * (len(turns) % 2)
        assert json.dumps(body).count("cache_control") <= 4
        for asked, answered in pairwise(turns):
            uses = [b["id"] for b in asked["content"] if b["type"] == "tool_use"]
            results = answered["content"][: len(uses)]
            assert [block.get("tool_use_id") for block in results] == uses


@given(steps())
@tried(deadline=None)
def test_openai_prompts_only_grow_and_answer_every_call(history: list[list[Message]]) -> None:
    messages = [message for step in history for message in step]
    whole = openai.payload(Prompt(messages=tuple(messages)), settings("openai"))["messages"]
    part = openai.payload(Prompt(messages=tuple(messages[:-1])), settings("openai"))["messages"]
    assert whole[:-1] == part
    for position, message in enumerate(whole):
        calls = message.get("tool_calls", [])
        answers = whole[position + 1 : position + 1 + len(calls)]
        assert [answer["tool_call_id"] for answer in answers] == [c["id"] for c in calls]
        for sent in calls:
            assert isinstance(json.loads(sent["function"]["arguments"]), dict)


@pytest.mark.parametrize("api", [anthropic, openai])
def test_a_payload_never_shares_state_with_the_settings(api: Any) -> None:
    chosen = settings("openai", extra_body={"thinking": {"type": "enabled"}})
    prompt = Prompt(messages=HISTORY, tools=(BASH,))
    assert api.payload(prompt, chosen) == api.payload(prompt, chosen)
    assert prompt == Prompt(messages=HISTORY, tools=(BASH,))
