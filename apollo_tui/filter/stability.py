"""Stability: whether a reply's row shows it after exactly the prompt that it was sent.

A chat template may render the past differently once the conversation has gone on: GLM shows thinking
only after the last user message, so advice in mid-segment erases the thinking before it. A row trains
the model on its own rendering, so a reply may train only where that rendering, up to the reply, is
what the template rendered for the prompt when it was sent.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from apollo_tui.filter.export.chat_messages import ChatMessage

PROMPT_CHANGES = "the template renders the prompt differently once the reply follows it"

_EMPTY_THINKING = re.compile(r"\s*<think>\s*</think>\s*")


class Template(Protocol):
    """A chat template."""

    def render(
        self,
        messages: Sequence[ChatMessage],
        tools: Sequence[dict[str, Any]],
        *,
        add_generation_prompt: bool,
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
class _Reply:
    """A reply, by its index, as its own prompt and it render when nothing follows."""

    turn: int
    prompt: str
    alone: str
    thinks: bool

    def holds_in(self, row: str) -> bool:
        """Whether a row's rendering shows it after its prompt, and as it shows it alone.

        A reply that later messages strip of its thinking is not what the model said. A reply that had
        no thinking may lose the empty one that some templates (Qwen3) show in the last message only.
        """
        if not row.startswith(self.prompt):
            return False
        said = self.alone[len(self.prompt) :].rstrip()
        if row.startswith(said, len(self.prompt)):
            return True
        empty = None if self.thinks else _EMPTY_THINKING.match(said)
        return empty is not None and row.startswith(said[empty.end() :], len(self.prompt))


def stable_pieces(
    template: Template,
    messages: Sequence[ChatMessage],
    tools: Sequence[dict[str, Any]],
    positions: Sequence[int],
) -> tuple[list[Piece], Counter[str]]:
    """The rows that a sample becomes, and how many replies can't train in any row, by reason.

    `positions` are the indexes in `messages` (system message included) of the replies, ascending.
    Consecutive replies share a row as long as all of them hold in its rendering; where one no longer
    does, the next row begins: it holds the whole past as context and trains only later replies. Each
    reply trains in at most one piece. Raises ExportError when the template refuses the conversation.
    """
    pieces: list[Piece] = []
    refused: Counter[str] = Counter()
    together: list[_Reply] = []
    for turn, position in enumerate(positions):
        reply = _reply(template, messages, tools, turn, position)
        if not reply.holds_in(reply.alone):
            refused[PROMPT_CHANGES] += 1
            continue
        if together and all(earlier.holds_in(reply.alone) for earlier in together):
            together.append(reply)
            pieces[-1] = Piece(position + 1, tuple(one.turn for one in together))
        else:
            together = [reply]
            pieces.append(Piece(position + 1, (turn,)))
    return pieces, refused


def _reply(
    template: Template,
    messages: Sequence[ChatMessage],
    tools: Sequence[dict[str, Any]],
    turn: int,
    position: int,
) -> _Reply:
    return _Reply(
        turn,
        template.render(messages[:position], tools, add_generation_prompt=True),
        template.render(messages[: position + 1], tools, add_generation_prompt=False),
        bool(messages[position].get("reasoning_content")),
    )
