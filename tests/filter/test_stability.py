"""Rows that a template cuts a sample into: by example, and against trying every row there is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apollo_tui.errors import ExportError
from apollo_tui.filter.stability import PROMPT_CHANGES, Piece, Template, stable_pieces, stable_rows
from apollo_tui.filter.template import JinjaTemplate, load_template

MADE = Path(__file__).parent / "templates"
FAMILIES: dict[str, Template] = {
    family: load_template(MADE / f"{family}.jinja") for family in ("qwen", "glm", "plain")
}

_BODY = (
    "{% for m in messages %}<{{ m.role }}>{% if SHOWN %}[{{ m.reasoning_content }}]{% endif %}"
    "{{ CONTENT }}{{ m.tool_calls | default([]) | tojson }};{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def made(shown: str = "m.reasoning_content", content: str = "m.content", before: str = "") -> str:
    return before + _BODY.replace("SHOWN", shown).replace("CONTENT", content)


MISBEHAVING: dict[str, Template] = {
    name: JinjaTemplate(source, name, {})
    for name, source in {
        "well": made(),
        "never shows thinking": made("false"),
        "shows the last thinking": made("loop.last and m.reasoning_content"),
        "shows thinking of the last three": made("loop.revindex <= 3 and m.reasoning_content"),
        "counts the messages first": made(before="{{ messages | length }} messages;"),
        "says every third time that it is long": made(
            before="{% if messages | length % 3 == 0 %}long;{% endif %}"
        ),
        "shortens what is old": made(
            content="m.content if loop.revindex < 5 or m.role != 'tool' else m.content[:2]"
        ),
        "trims all but the last": made(content="m.content if loop.last else m.content | trim"),
        "splits thinking from the past": made(
            content="m.content if loop.last else m.content.split('</think>')[-1]"
        ),
        "newest first": "{% for m in messages[::-1] %}<{{ m.role }}>{{ m.content }};{% endfor %}",
        "opens the thinking itself": made() + "{% if add_generation_prompt %}[{% endif %}",
        "opens every other thinking": made()
        + "{% if add_generation_prompt and messages | length % 2 %}[{% endif %}",
        "tells where messages stand": made(content="loop.index ~ m.content"),
        "shows the empty thinking last": made(
            content="('<think>\n\n</think>\n\n' if loop.last and m.role == 'assistant' "
            "and not m.reasoning_content else '') ~ m.content"
        ),
    }.items()
}

contents = st.sampled_from(
    ["", "ok", " spaced ", "a</think>b", "x\n", "<think></think>", "🙂 more"]
)
calls = st.builds(
    lambda command: {"type": "function", "function": {"name": "bash", "arguments": {"c": command}}},
    contents,
)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[int]]:
    """Messages as samples have them, and which replies may train."""
    messages: list[dict[str, Any]] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(contents)})
    messages.append({"role": "user", "content": draw(contents)})
    positions = []
    for _ in range(draw(st.integers(0, 7))):
        if draw(st.integers(0, 4)) == 0:
            messages.append({"role": "user", "content": draw(contents)})
        if draw(st.integers(0, 3)):
            positions.append(len(messages))
        reply: dict[str, Any] = {"role": "assistant", "content": draw(contents)}
        if draw(st.booleans()):
            reply["reasoning_content"] = draw(contents.filter(bool))
        called = draw(st.lists(calls, max_size=2))
        if called:
            reply["tool_calls"] = called
        messages.append(reply)
        messages += [{"role": "tool", "content": draw(contents)} for _ in called]
    return messages, positions


class Tried:
    """The rule of training-data.md by force: every prompt, every row, every reply rendered in full."""

    def __init__(
        self, template: Template, messages: Sequence[Any], positions: Sequence[int]
    ) -> None:
        self.template, self.messages, self.positions = template, messages, positions

    def rendered(self, end: int, *, prompt: bool = False) -> str:
        return self.template.render(self.messages[:end], [], add_generation_prompt=prompt)

    def said(self, turn: int) -> set[str]:
        """What a reply may look like: as an answer to the task, or where it stands."""
        position = self.positions[turn]
        task = 1 + next(i for i, message in enumerate(self.messages) if message["role"] == "user")
        found = set()
        for before in (self.messages[:task], self.messages[:position]):
            prompt = self.template.render(before, [], add_generation_prompt=True)
            answer = [*before, self.messages[position]]
            text = self.template.render(answer, [], add_generation_prompt=False)
            if text.startswith(prompt):
                found.add(text.removeprefix(prompt).rstrip())
        found |= {re.sub(r"^\s*<think>\s*</think>\s*", "", said) for said in found}
        return found

    def holds(self, turn: int, last: int) -> bool:
        row = self.rendered(self.positions[last] + 1)
        prompt = self.rendered(self.positions[turn], prompt=True)
        if not row.startswith(prompt):
            return False
        return turn == last or row.removeprefix(prompt).startswith(tuple(self.said(turn)))

    def pieces(self) -> tuple[list[Piece], int]:
        pieces: list[Piece] = []
        refused = turn = 0
        while turn < len(self.positions):
            rows = (
                last
                for last in reversed(range(turn, len(self.positions)))
                if all(self.holds(one, last) for one in range(turn, last + 1))
            )
            last = next(rows, None)
            if last is None:
                refused += 1
                turn += 1
                continue
            pieces.append(Piece(self.positions[last] + 1, tuple(range(turn, last + 1))))
            turn = last + 1
        return pieces, refused


@pytest.mark.parametrize("name", [*FAMILIES, *MISBEHAVING])
@settings(max_examples=60, deadline=None)
@given(conversations())
def test_pieces_are_those_of_trying_every_row(
    name: str, made: tuple[list[dict[str, Any]], list[int]]
) -> None:
    messages, positions = made
    template = (FAMILIES | MISBEHAVING)[name]
    expected, refused = Tried(template, messages, positions).pieces()
    pieces, counted = stable_pieces(template, messages, [], positions)
    assert pieces == expected
    assert counted == Counter({PROMPT_CHANGES: refused} if refused else {})


@pytest.mark.parametrize("name", [*FAMILIES, *MISBEHAVING])
@settings(max_examples=40, deadline=None)
@given(conversations())
def test_every_row_begins_with_each_of_its_prompts(
    name: str, made: tuple[list[dict[str, Any]], list[int]]
) -> None:
    messages, positions = made
    template = (FAMILIES | MISBEHAVING)[name]
    refused: Counter[str] = Counter()
    trained = []
    for row in stable_rows(template, messages, [], positions, refused):
        until = messages[: row.piece.end]
        assert row.text == template.render(until, [], add_generation_prompt=False)
        assert row.piece.turns == tuple(shown.turn for shown in row.shown)
        for shown in row.shown:
            before = messages[: positions[shown.turn]]
            prompt = template.render(before, [], add_generation_prompt=True)
            assert row.text[: shown.begin] == prompt
            assert shown.begin <= shown.end <= len(row.text)
            trained.append(shown.turn)
    assert len(trained) == len(set(trained))
    assert len(trained) + refused.total() == len(positions)


# --- by example --------------------------------------------------------------------------------


def steps(count: int, *, advice: Sequence[int] = (), thinking: bool = True) -> Any:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Make it."}]
    positions = []
    for number in range(count):
        if number in advice:
            messages.append({"role": "user", "content": f"Advice {number}."})
        positions.append(len(messages))
        call = {"function": {"name": "bash", "arguments": {"command": f"ls {number}"}}}
        reply: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": [call]}
        if thinking:
            reply["reasoning_content"] = f"Thought {number}."
        messages += [reply, {"role": "tool", "content": f"seen {number}"}]
    return messages, positions


@pytest.mark.parametrize("family", ["qwen", "glm"])
def test_advice_that_erases_thinking_cuts_the_sample(family: str) -> None:
    messages, positions = steps(6, advice=[2, 5])
    pieces, refused = stable_pieces(FAMILIES[family], messages, [], positions)
    assert [piece.turns for piece in pieces] == [(0, 1), (2, 3, 4), (5,)]
    assert [piece.end for piece in pieces] == [positions[1] + 1, positions[4] + 1, positions[5] + 1]
    assert not refused


def test_a_reply_is_never_shown_without_the_thinking_that_it_had() -> None:
    """Its prompt alone would not tell: the advice erases the thinking of the reply, not what was before."""
    messages, positions = steps(2, advice=[1])
    pieces, _ = stable_pieces(FAMILIES["glm"], messages, [], positions)
    assert [piece.turns for piece in pieces] == [(0,), (1,)]


@pytest.mark.parametrize("family", ["qwen", "glm", "plain"])
def test_without_thinking_advice_changes_nothing(family: str) -> None:
    messages, positions = steps(6, advice=[2, 5], thinking=False)
    pieces, refused = stable_pieces(FAMILIES[family], messages, [], positions)
    assert [piece.turns for piece in pieces] == [tuple(range(6))]
    assert not refused


def test_a_stable_template_keeps_the_sample_whole() -> None:
    messages, positions = steps(6, advice=[2, 5])
    pieces, refused = stable_pieces(FAMILIES["plain"], messages, [], positions)
    assert pieces == [Piece(positions[-1] + 1, tuple(range(6)))]
    assert not refused


def test_a_prompt_that_no_reply_follows_is_refused_and_counted() -> None:
    messages, positions = steps(3)
    template = MISBEHAVING["counts the messages first"]
    pieces, refused = stable_pieces(template, messages, [], positions)
    assert pieces == []
    assert refused == {PROMPT_CHANGES: 3}


def test_no_reply_no_rows() -> None:
    assert stable_pieces(FAMILIES["glm"], [], [], []) == ([], Counter())


def test_what_the_template_refuses_is_an_error() -> None:
    picky = JinjaTemplate(
        "{% if messages | length > 3 %}{{ raise_exception('too long') }}{% endif %}", "picky", {}
    )
    messages, positions = steps(4)
    with pytest.raises(ExportError, match="too long"):
        stable_pieces(picky, messages, [], positions)


def test_a_template_that_wants_more_than_a_task_is_asked_where_the_reply_stands() -> None:
    wants_results = made(
        before="{% if messages | length == 2 and messages[0].content == 'Make it.' "
        "and messages[1].content == 'later' %}{{ raise_exception('no result') }}{% endif %}"
    )
    messages, positions = steps(3)
    messages[positions[1]]["content"] = "later"
    template = JinjaTemplate(wants_results, "wants results", {})
    pieces, refused = stable_pieces(template, messages, [], positions)
    assert [piece.turns for piece in pieces] == [(0, 1, 2)]
    assert not refused


class Counting:
    def __init__(self, template: Template) -> None:
        self.template, self.messages = template, 0

    def render(
        self, messages: Sequence[Any], tools: Sequence[Any], *, add_generation_prompt: bool
    ) -> str:
        self.messages += len(messages)
        return self.template.render(messages, tools, add_generation_prompt=add_generation_prompt)


@pytest.mark.parametrize("family", ["qwen", "glm", "plain"])
def test_each_prompt_is_rendered_once(family: str) -> None:
    messages, positions = steps(60)
    counting = Counting(FAMILIES[family])
    stable_pieces(counting, messages, [], positions)
    answers_to_the_task = 59 * (1 + 2)
    assert counting.messages == sum(positions) + positions[-1] + 1 + answers_to_the_task
