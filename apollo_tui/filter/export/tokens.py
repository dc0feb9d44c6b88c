"""`tokens`: rows as a model reads them, `{"input_ids": […], "labels": […], "meta": {…}}`.

One row for each stable piece of a segment (see `stability.py`). A label is the token's id where it
trains and -100 everywhere else: what `transformers` and its kin leave out of the loss. Replies are
masked part by part (see `spans.py`), so a kept action trains beside a masked one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from apollo_tui.errors import ExportError
from apollo_tui.filter.export import Row
from apollo_tui.filter.export.source import Chat, FilteredRollout, MaskedSample
from apollo_tui.filter.mask import TurnMask
from apollo_tui.filter.spans import PARTS_UNKNOWN, Span, trained_spans
from apollo_tui.filter.stability import StableRow, Template, stable_rows
from apollo_tui.filter.tokenizer import Offsets, Tokenizer

IGNORED = -100


@dataclass(frozen=True, slots=True)
class _Draft:
    """A row before its text is tokens. `trained` has the spans that train, by the reply's position in
    the sample."""

    one: MaskedSample
    chat: Chat
    training: Sequence[TurnMask]
    stable: StableRow
    trained: Mapping[int, Sequence[Span]]


class Tokens:
    """Rows for one tokenizer and template. A row of more than `max_length` tokens is left out."""

    name = "tokens"

    def __init__(
        self, tokenizer: Tokenizer, template: Template, *, max_length: int | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._max_length = max_length

    def rows(self, rollout: FilteredRollout) -> Iterator[Row]:
        """A row is encoded on a thread, where the tokenizer runs freely, while the next is rendered."""
        with ThreadPoolExecutor(1, thread_name_prefix="tokens") as encoder:
            ahead: tuple[_Draft, Future[tuple[list[int], Offsets]]] | None = None
            for draft in self._drafts(rollout):
                before = ahead
                ahead = draft, encoder.submit(self._tokenizer.encode, draft.stable.text)
                if before is not None:
                    yield from self._row(rollout, before[0], *before[1].result())
            if ahead is not None:
                yield from self._row(rollout, ahead[0], *ahead[1].result())

    def _drafts(self, rollout: FilteredRollout) -> Iterator[_Draft]:
        for one in rollout.samples():
            if not one.trains:
                rollout.left_out("segments in which no reply trains")
                continue
            try:
                yield from self._drafts_of(rollout, one)
            except ExportError as error:
                where = f"{rollout.name}, segment {one.sample.segment}"
                raise ExportError(f"{where}: {error}") from error

    def _drafts_of(self, rollout: FilteredRollout, one: MaskedSample) -> Iterator[_Draft]:
        chat = rollout.chat(one.sample)
        training = [masked for masked in one.masks if masked.trains]
        positions = [masked.position + chat.offset for masked in training]
        refused: Counter[str] = Counter()
        for stable in stable_rows(self._template, chat.messages, chat.tools, positions, refused):
            yield self._draft(rollout, one, chat, training, stable)
        for reason, count in refused.items():
            rollout.left_out(f"replies: {reason}", count)

    def _draft(
        self,
        rollout: FilteredRollout,
        one: MaskedSample,
        chat: Chat,
        training: Sequence[TurnMask],
        stable: StableRow,
    ) -> _Draft:
        trained: dict[int, list[Span]] = {}
        for shown in stable.shown:
            masked, reply = training[shown.turn], Span(shown.begin, shown.end)
            position = masked.position + chat.offset
            spans = trained_spans(
                self._template, chat.messages, chat.tools, reply, stable.text, position, masked
            )
            if spans is None:
                rollout.left_out(f"replies: {PARTS_UNKNOWN}")
            else:
                trained[masked.position] = spans
        return _Draft(one, chat, training, stable, trained)

    def _row(
        self, rollout: FilteredRollout, draft: _Draft, ids: list[int], offsets: Offsets
    ) -> Iterator[Row]:
        """The row of a piece, unless nothing in it trains or it is too long."""
        one, stable, trained = draft.one, draft.stable, draft.trained
        if self._max_length is not None and len(ids) > self._max_length:
            rollout.left_out(f"rows of more than {self._max_length:,} tokens")
            return
        labels = _labels(ids, offsets, stable, trained, draft.training)
        if labels.count(IGNORED) == len(labels):
            rollout.left_out("rows in which no token trains")
            return
        masks = _masks(one.masks, trained, stable.piece.end - draft.chat.offset)
        yield {
            "input_ids": ids,
            "labels": labels,
            "meta": rollout.meta(one.sample.segment, masks),
        }


def _labels(
    ids: Sequence[int],
    offsets: Offsets,
    stable: StableRow,
    trained: Mapping[int, Sequence[Span]],
    training: Sequence[TurnMask],
) -> list[int]:
    """A token belongs to where its last character stands, but never to a reply that it begins before.

    White space after the end of a turn does not train, except where it is part of the token that ends
    the turn: some tokenizers let that token swallow what follows.
    """
    labels = [IGNORED] * len(ids)
    ends = [end for _, end in offsets]
    for shown in stable.shown:
        for span in trained.get(training[shown.turn].position, ()):
            first, after = bisect_right(ends, span.begin), bisect_right(ends, span.end)
            while first < after and offsets[first][0] < shown.begin:
                first += 1
            if (
                span.end == shown.end
                and after < len(ids)
                and shown.begin <= offsets[after][0] < span.end
                and stable.text[span.end : ends[after]].isspace()
            ):
                after += 1
            labels[first:after] = ids[first:after]
    return labels


def _masks(
    masks: Sequence[TurnMask], trained: Mapping[int, Sequence[Span]], end: int
) -> list[TurnMask]:
    """The masks of the replies before `end`, with only those training that do so in this row."""
    return [
        masked
        if trained.get(masked.position)
        else replace(masked, actions=(False,) * len(masked.actions), prose=False)
        for masked in masks
        if masked.position < end
    ]
