"""The text of a segment with the loss mask drawn over it: messages are read as they come into sight."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from textual import events

from apollo_tui.errors import ApolloError
from apollo_tui.screens.format import clean, count, cut_middle, cut_tool, plural
from apollo_tui.screens.line import Line, Span, fitted, two_sided
from apollo_tui.screens.lines import View
from apollo_tui.screens.mask_lines import (
    ReplyMask,
    TextLine,
    Tint,
    cursor_on,
    damaged,
    message_lines,
)
from apollo_tui.screens.observed import Told
from apollo_tui.screens.review_state import ReviewState
from apollo_tui.screens.transcript_state import TranscriptState
from apollo_tui.screens.widgets.header import wide
from apollo_tui.screens.widgets.rows import Rows

if TYPE_CHECKING:
    from apollo_tui.filter.samples import Sample

KEPT = 400
"""Messages that are kept as they were read, and laid out."""
ABOVE = 3
"""A cursor's message begins at one part in so many of the height, with what led to it above."""


class MaskView(Rows):
    def __init__(self) -> None:
        super().__init__(id="mask")
        self._state: ReviewState | None = None
        self._at: tuple[int, int] | None = None  # the segment and the turn in sight
        self._messages = TranscriptState(lambda n: True)
        self._messages.following = False
        self._read: OrderedDict[str, Any] = OrderedDict()  # messages by their hashes
        self._drawn: dict[tuple[int, bool], list[TextLine]] = {}
        self.counting = ""  # what is said of tokens: "" when they are counted

    def draw(self, state: ReviewState | None) -> None:
        """Show the segment of the action under the cursor; it moves only when that needs it."""
        self._state = state
        if not self.size.width or not self.size.height or not self.display:
            return
        row = None if state is None or state.key is None else state.row(state.key)
        if state is None or row is None:
            self._at = None
            self.show([])
            return
        at = (row.segment, row.turn)
        moved = self._at is None or at != self._at
        if self._at is None or self._at[0] != row.segment:
            self._messages = TranscriptState(lambda n: True, self._last)
            self._messages.following = False
            self._drawn.clear()
        self._at = at
        if moved:
            self._reveal()
        self._show()

    def forget(self) -> None:
        """Marks, the board or the theme have changed: lines are laid out anew."""
        self._drawn.clear()

    def scroll_lines(self, by: int) -> None:
        if self._at is not None:
            self._messages.scroll(self._lines_of, self._last, self._height, by)
            self._messages.following = False
            self._show()

    # --- what there is -------------------------------------------------------------------------

    @property
    def _sample(self) -> Sample:
        assert self._state is not None
        key = self._state.key
        assert key is not None
        return self._state.board.samples[self._state.row(key).segment]

    @property
    def _opening(self) -> int:
        """Entries before the first message: the system prompt, where there is one."""
        return 0 if self._sample.system_ref is None else 1

    @property
    def _last(self) -> int:
        return len(self._sample.messages) + self._opening

    @property
    def _height(self) -> int:
        return max(1, self.size.height - 2)

    def _cursor_entry(self) -> int:
        """The message of the cursor's action; of one in no sample, the message before it."""
        state = self._state
        assert state is not None and state.key is not None
        row, sample = state.row(state.key), self._sample
        if row.turn >= 0:
            return sample.turns[row.turn].position + 1 + self._opening
        before = [turn.position for turn in sample.turns if turn.step.number < row.action.step]
        return (before[-1] if before else 0) + 1 + self._opening

    def _reveal(self) -> None:
        """Have the cursor's message in sight, and some of what led to it."""
        n, height = self._cursor_entry(), self._height
        self._messages.cursor = n
        window = self._messages.window(self._lines_of, self._last, height)
        self._messages.following = False
        rows = [y for y, (entry, _) in enumerate(window) if entry == n]
        whole = len(rows) == len(self._lines_of(n))
        if rows and whole and rows[-1] < height - 1 and rows[0] > 0:
            return
        self._messages.top = (n, 0)
        self._messages.scroll(self._lines_of, self._last, height, -max(1, height // ABOVE))
        self._messages.following = False

    def _lines_of(self, n: int) -> Sequence[Line]:
        state, view = self._state, self._view()
        assert state is not None and state.key is not None
        here = self._cursor_entry()
        in_sample = state.row(state.key).turn >= 0
        whole = in_sample and n == here + 1
        found = self._drawn.get((n, whole))
        if found is None:
            if len(self._drawn) > KEPT:
                self._drawn.clear()
            found = self._drawn[n, whole] = self._lay_out(n, view, whole=whole)
        if in_sample and n == here:
            return cursor_on(found, state.key[1], view)
        return [one.line for one in found]

    def _lay_out(self, n: int, view: View, *, whole: bool) -> list[TextLine]:
        position = n - 1 - self._opening
        sample = self._sample
        ref = sample.system_ref if position < 0 else sample.messages[position]
        assert ref is not None
        try:
            message = self._message(ref)
            if position < 0:
                message = {"role": "system", "text": message}
            told = None if whole else self._told(position, message)
            return message_lines(message, self._mask(position), view, whole=whole, told=told)
        except ApolloError as error:
            return damaged(error.line, view)
        except (ValueError, AttributeError, TypeError):
            return damaged(f"the text {ref} is no message; see: apollo-tui verify", view)

    def _message(self, ref: str) -> Any:
        """A text of the log as JSON. Raises LogCorrupt or ValueError."""
        if ref not in self._read:
            self._read[ref] = json.loads(self.apollo.history.text(ref))
            if len(self._read) > KEPT:
                self._read.popitem(last=False)
        return self._read[ref]

    def _told(self, position: int, message: dict[str, Any]) -> Told | None:
        """What the log says of the observation at a position; None of what was carried over."""
        state, history = self._state, self.apollo.history
        assert state is not None and state.key is not None
        if message.get("role") != "tool":
            return None
        rollout, segment = state.board.rollout, state.row(state.key).segment
        place = state.answered(segment, position, str(message.get("call_id", "")))
        n = None if place is None else history.entry_of_step(rollout, *place)
        entries = [] if n is None else history.entries(rollout, n, 1)
        return Told(entries[0].summary, entries[0].lines) if entries else None

    def _mask(self, position: int) -> ReplyMask:
        """How the reply at a position trains; what was carried over is context."""
        state = self._state
        assert state is not None and state.key is not None
        segment = state.row(state.key).segment
        turn = state.turn_at(segment, position)
        if turn is None:
            return ReplyMask()
        step = self._sample.turns[turn].step
        masked = state.mask(segment, turn, shown=True)
        places = [(step.number, action.ordinal) for action in step.actions]
        calls: list[Tint] = []
        for place, trains in zip(places, masked.actions, strict=True):
            read: Tint = "read" if state.read(place) else "unread"
            calls.append(read if trains else "masked")
        prose: Tint = "masked"
        if masked.prose:
            prose = "unread" if "unread" in calls else "read"
        elif not places:
            prose = "context"  # a reply without an action trains nothing
        return ReplyMask(step.number, prose, tuple(calls))

    # --- drawing -------------------------------------------------------------------------------

    def _view(self) -> View:
        app = self.apollo
        return View(
            max(24, self.size.width - 1),
            app.now(),
            app.annotator,
            app.glyphs,
            free_rows=self.size.height >= 18,
        )

    def _show(self) -> None:
        window = self._messages.window(self._lines_of, self._last, self._height)
        self._messages.following = False
        cells = self.size.width
        lines = [self._title(), fitted([], cells)]
        lines += [
            fitted([replace(span, ground=span.ground or line.ground) for span in line.spans], cells)
            for _, line in window
        ]
        self.show(lines)

    def _title(self) -> Line:
        state = self._state
        assert state is not None and state.key is not None
        app, cells = self.apollo, self.size.width
        row, ascii_only = state.row(state.key), self.apollo.glyphs.ascii
        action = row.action
        right = self._totals(row.segment)
        where = f"segment {row.segment + 1} of {len(state.board.samples)}"
        if wide(right) + len(where) + 28 <= cells:
            right = [Span(f"{where}   ", "dim"), *right]
        ordinal = f".{action.ordinal}" if action.ordinal > 1 else ""
        for_tool = max(4, min(24, cells - wide(right) - 12))
        tool = cut_tool(clean(action.tool, ascii_only=ascii_only), for_tool, app.glyphs.cut)
        left = [Span(f" {action.step}{ordinal}  ", "faint"), Span(tool, "text bold")]
        room = cells - wide(left) - wide(right) - 5
        said = clean(action.arguments, ascii_only=ascii_only)
        if room > 8:
            left.append(Span(f"  {cut_middle(said, room, app.glyphs.cut)}", "text"))
        return two_sided(left, [*right, Span(" ")], cells)

    def _totals(self, segment: int) -> list[Span]:
        """What of the segment trains: tokens where they are counted, else actions."""
        state, glyphs = self._state, self.apollo.glyphs
        assert state is not None
        trains, masked = state.segment_counts(segment)
        unit = "token" if state.has_tokens(segment) else "action"
        spans = [
            Span(f"{glyphs.trains_read} ", "running"),
            Span(f"trains {count(trains)}  ", "text"),
            Span(f"{glyphs.rejected} ", "masked"),
            Span(f"masked {plural(masked, unit)}", "text"),
        ]
        if unit == "action" and self.counting:
            spans.append(Span(f"  {self.counting}", "faint"))
        return spans

    def on_resize(self) -> None:
        self._drawn.clear()
        self._at = None
        self.draw(self._state)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_lines(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_lines(-3)
