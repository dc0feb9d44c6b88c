"""`chat`: one row for each segment, `{"tools": […], "messages": […], "meta": {…}}`.

Each reply carries four flags that say the same, each read by some trainer: `train` (Axolotl), `loss`
(ms-swift), `weight` (OpenAI), `step_loss_mask` (slime). They mask whole messages, so a reply trains only
when all of its actions are kept.

With a template a segment is cut where the template would render its past differently from what was sent
(see `stability.py`): then a segment may be several rows, and each reply trains in at most one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from apollo_tui.errors import ExportError
from apollo_tui.filter.export import Row
from apollo_tui.filter.export.rewritten import ONLY_TOKENS, only_for_tokens
from apollo_tui.filter.export.source import Chat as ChatSample
from apollo_tui.filter.export.source import FilteredRollout, MaskedSample
from apollo_tui.filter.export.unchecked import UNCHECKED, hides_thinking
from apollo_tui.filter.mask import TurnMask
from apollo_tui.filter.stability import Piece, Template, stable_pieces

FLAGS: dict[bool, Row] = {
    trains: {
        "train": trains,
        "loss": trains,
        "weight": int(trains),
        "step_loss_mask": int(trains),
    }
    for trains in (True, False)
}


class Chat:
    """Rows as they were sent; with `template` only what it renders as it was sent."""

    name = "chat"

    def __init__(self, template: Template | None = None) -> None:
        self._template = template

    def rows(self, rollout: FilteredRollout) -> Iterator[Row]:
        for one in rollout.samples():
            rollout.left_out(ONLY_TOKENS, only_for_tokens(one.masks))
            if not any(masked.whole for masked in one.masks):
                rollout.left_out("segments in which no reply trains")
                continue
            chat = rollout.chat(one.sample)
            if self._template is None:
                training = {m.position + chat.offset for m in one.masks if m.whole}
                rollout.noted(UNCHECKED, hides_thinking(chat.messages, training))
            for piece in self._pieces(rollout, one, chat):
                yield _row(rollout, one, chat, piece)

    def _pieces(
        self, rollout: FilteredRollout, one: MaskedSample, chat: ChatSample
    ) -> Sequence[Piece]:
        training = tuple(number for number, masked in enumerate(one.masks) if masked.whole)
        if self._template is None:
            return [Piece(len(chat.messages), training)]
        positions = [one.masks[number].position + chat.offset for number in training]
        try:
            pieces, refused = stable_pieces(self._template, chat.messages, chat.tools, positions)
        except ExportError as error:
            where = f"{rollout.name}, segment {one.sample.segment}"
            raise ExportError(f"{where}: {error}") from error
        for reason, count in refused.items():
            rollout.left_out(f"replies: {reason}", count)
        return [Piece(piece.end, tuple(training[turn] for turn in piece.turns)) for piece in pieces]


def _row(rollout: FilteredRollout, one: MaskedSample, chat: ChatSample, piece: Piece) -> Row:
    """The messages before `piece.end`; of the replies only those of the piece train."""
    training = {one.masks[turn].position + chat.offset for turn in piece.turns}
    masks = [
        masked if turn in piece.turns else _masked(masked)
        for turn, masked in enumerate(one.masks)
        if masked.position + chat.offset < piece.end
    ]
    return {
        "tools": chat.tools,
        "messages": [
            message | FLAGS[place in training] if message["role"] == "assistant" else message
            for place, message in enumerate(chat.messages[: piece.end])
        ],
        "meta": rollout.meta(one.sample.segment, masks, whole=True),
    }


def _masked(masked: TurnMask) -> TurnMask:
    return replace(masked, actions=(False,) * len(masked.actions), prose=False)
