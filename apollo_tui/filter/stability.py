"""Stability: whether a reply's row shows it after exactly the prompt that it was sent.

A chat template may render the past differently once the conversation has gone on: GLM shows thinking
only after the last user message, so advice in mid-segment erases the thinking before it. A row trains
the model on its own rendering, so a reply may train only where that rendering, up to the reply, is
what the template rendered for the prompt when it was sent; and where it shows the reply as it was
said, not stripped of its thinking by what came later.

Nothing is taken on trust: every prompt is rendered, once, with its real contents. No row is rendered
to try whether it holds, because whether two replies can share one is told by their prompts alone. If
both prompts begin one rendering, the earlier one begins the later one; and if each prompt begins the
next, and the last one begins the row, then by transitivity all of them begin the row. So it is enough
to compare each prompt with the next, and the last one with the row.

That is one rendering a reply, and one or two a row. Each renders all messages before it, so a
segment's cost grows with the square of its replies: about 10 µs a message with the usual templates.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from apollo_tui.errors import ExportError
from apollo_tui.filter.export.chat_messages import ChatMessage

PROMPT_CHANGES = "the template renders the prompt differently once the reply follows it"

_EMPTY_THINKING = re.compile(r"\s*<think>\s*</think>\s*")

Tools = Sequence[dict[str, Any]]


class Template(Protocol):
    """A chat template."""

    def render(
        self, messages: Sequence[ChatMessage], tools: Tools, *, add_generation_prompt: bool
    ) -> str:
        """The text of a conversation; with `add_generation_prompt` also what a reply follows.
        Raises ExportError when the template refuses the conversation."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """One row: the chat messages [0:end), of whose replies only `turns` train. `turns` are indexes
    into the positions that were asked for: those of the sample's turns."""

    end: int
    turns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """Where a row's rendering shows a reply: [begin:end), its end of turn included, but not the white
    space after it."""

    turn: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class StableRow:
    """A piece, its rendering, and where that shows each of the piece's turns."""

    piece: Piece
    text: str
    shown: tuple[Shown, ...]


def stable_pieces(
    template: Template,
    messages: Sequence[ChatMessage],
    tools: Tools,
    positions: Sequence[int],
) -> tuple[list[Piece], Counter[str]]:
    """The rows that a sample becomes, and how many replies can't train in any row, by reason.

    `positions` are the indexes in `messages` (system message included) of the replies, ascending.
    Consecutive replies share a row as long as all of them hold in its rendering; where one no longer
    does, the next row begins: it holds the whole past as context and trains only later replies. Each
    reply trains in at most one piece. Raises ExportError when the template refuses the conversation.
    """
    refused: Counter[str] = Counter()
    rows = stable_rows(template, messages, tools, positions, refused)
    return [row.piece for row in rows], refused


def stable_rows(
    template: Template,
    messages: Sequence[ChatMessage],
    tools: Tools,
    positions: Sequence[int],
    refused: Counter[str],
) -> Iterator[StableRow]:
    """The same rows with their renderings, one at a time; counts in `refused`."""
    conversation = _Conversation(template, messages, tools)
    together: list[Shown] = []  # replies before `turn` that hold in every row that it is in
    following = conversation.prompt(positions[0]) if positions else ""
    for turn, position in enumerate(positions):
        prompt, is_last = following, turn + 1 == len(positions)
        following = "" if is_last else conversation.prompt(positions[turn + 1])
        end = None if is_last else conversation.shown_in(following, prompt, position)
        if end is not None:
            together.append(Shown(turn, len(prompt), end))
            continue
        together.append(Shown(turn, len(prompt), 0))
        yield from _row(conversation, positions, together, prompt, refused)
        together = []


def _row(
    conversation: _Conversation,
    positions: Sequence[int],
    together: list[Shown],
    prompt: str,
    refused: Counter[str],
) -> Iterator[StableRow]:
    """The row of these replies. It ends with the last one that its own rendering shows after its
    prompt; `prompt` is the last one's, and those of the others begin it."""
    while together:
        last = together.pop()
        position = positions[last.turn]
        text = conversation.rendering(position + 1)
        if text.startswith(prompt[: last.begin]):
            shown = (*together, Shown(last.turn, last.begin, len(text.rstrip())))
            yield StableRow(Piece(position + 1, tuple(one.turn for one in shown)), text, shown)
            return
        refused[PROMPT_CHANGES] += 1


def task_before(messages: Sequence[ChatMessage], position: int) -> Sequence[ChatMessage]:
    """The shortest conversation that a reply can answer: up to the first thing that was asked."""
    for place, message in enumerate(messages[:position]):
        if message["role"] == "user":
            return messages[: place + 1]
    return []


@dataclass(frozen=True, slots=True)
class _Conversation:
    template: Template
    messages: Sequence[ChatMessage]
    tools: Tools

    def prompt(self, position: int) -> str:
        """What the reply at `position` was sent."""
        before = self.messages[:position]
        return self.template.render(before, self.tools, add_generation_prompt=True)

    def rendering(self, end: int) -> str:
        until = self.messages[:end]
        return self.template.render(until, self.tools, add_generation_prompt=False)

    def shown_in(self, later: str, prompt: str, position: int) -> int | None:
        """Where the reply at `position` ends in the `later` prompt; None when that does not show it
        after its own prompt, or not as it was said."""
        if not later.startswith(prompt):
            return None
        for said in self._said(prompt, position):
            if later.startswith(said, len(prompt)):
                return len(prompt) + len(said)
            # Some templates (Qwen 3) show in the last message the thinking that it did not have.
            empty = _EMPTY_THINKING.match(said)
            if empty and later.startswith(said[empty.end() :], len(prompt)):
                return len(prompt) + len(said) - empty.end()
        return None

    def _said(self, prompt: str, position: int) -> Iterator[str]:
        """The reply as the template shows it when nothing follows: first as an answer to the task,
        which costs little and nearly always is the same, then where it stands."""
        reply, task = self.messages[position], task_before(self.messages, position)
        try:
            opening = self.template.render(task, self.tools, add_generation_prompt=True)
            answer = self.template.render([*task, reply], self.tools, add_generation_prompt=False)
        except ExportError:  # the template wants more of a conversation
            opening = answer = ""
        if opening and answer.startswith(opening):
            yield answer[len(opening) :].rstrip()
        alone = self.rendering(position + 1)
        if alone.startswith(prompt):
            yield alone[len(prompt) :].rstrip()
