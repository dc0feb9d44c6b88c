"""A live pane: the end of one rollout's transcript, and what is arriving now."""

from __future__ import annotations

from textual import events
from textual.message import Message

from apollo_tui.log.read import Entry, RolloutRow
from apollo_tui.screens.format import cut_end
from apollo_tui.screens.line import Line, Span, two_sided
from apollo_tui.screens.lines import View, queued
from apollo_tui.screens.pane_lines import pane_body, pane_numbers, pane_title
from apollo_tui.screens.status import state_span
from apollo_tui.screens.widgets.rows import Rows


class Pane(Rows):
    """Reads the entries it can show, no more; a streamed piece costs only the rows it changes."""

    class Chosen(Message):
        """The pane was clicked."""

        def __init__(self, rollout: str, *, open: bool) -> None:
            super().__init__()
            self.rollout = rollout
            self.open = open

    def __init__(self) -> None:
        super().__init__()
        self.rollout: str | None = None
        self.number = 0
        self.focused = False
        self.metrics = True
        self._row: RolloutRow | None = None
        self._entries: list[Entry] = []
        self._queued: list[Entry] = []

    def assign(self, rollout: str, number: int, *, focused: bool, metrics: bool) -> None:
        """Which rollout to show, as which number of the screen."""
        changed = rollout != self.rollout
        self.rollout, self.number = rollout, number
        self.focused, self.metrics = focused, metrics
        if changed:
            self._row, self._entries = None, []

    def read(self, row: RolloutRow) -> None:
        """Take in what the log says now."""
        self._row = row
        many = max(1, self._body_height)
        self._entries = self.apollo.history.entries(row.id, max(1, row.entries - many + 1), many)
        advice = self.apollo.history.advice(row.id) if row.queued_advice else []
        self._queued = queued(advice, row.entries)
        self.draw()

    def draw(self) -> None:
        """Show what was read, with what is on its way; reads nothing."""
        row = self._row
        if row is None or not self.size.width:
            return
        view = self._view()
        top = [pane_title(row, self.number, view, focused=self.focused)]
        if self.metrics:
            top.append(pane_numbers(row, view))
        marks = self.apollo.marks
        entries = [marks.seen(row.id, entry) for entry in self._entries]
        stream = self.apollo.streams.of(row.id)
        body = pane_body(row, entries, self._queued, stream, view, self._body_height)
        self.show([*top, *body])

    def newest_action(self) -> Entry | None:
        """The newest action that is on the screen."""
        return next((e for e in reversed(self._entries) if e.kind == "action"), None)

    @property
    def _body_height(self) -> int:
        return self.size.height - 1 - self.metrics

    def _view(self) -> View:
        app = self.apollo
        return View(
            width=self.size.width,
            now=app.now(),
            annotator=app.annotator,
            glyphs=app.glyphs,
            tool=16 if self.size.width >= 70 and app.size.width >= 100 else 14,
            pane=True,
            brief=app.size.width < 100,
        )

    def on_resize(self) -> None:
        if self._row is not None:
            self.read(self._row)

    def on_click(self, event: events.Click) -> None:
        if self.rollout is not None:
            self.post_message(self.Chosen(self.rollout, open=event.chain > 1))


class PlainList(Rows):
    """The rollouts, one line each, where there is no room for panes."""


def plain_line(row: RolloutRow, number: int, view: View, *, focused: bool) -> Line:
    sign = view.glyphs.cursor if focused else " "
    state = state_span(row, view.glyphs)
    words = "  not isolated" if view.width >= 40 else " not iso."
    unsafe = "" if row.isolated else words
    right = f"{row.step} " if view.width >= 30 else ""
    room = max(2, view.width - 6 - len(unsafe) - len(right))
    return two_sided(
        [
            Span(sign, "accent"),
            Span(f"{number} ", "faint"),
            Span(state.text[:1], state.style),
            Span(f" {cut_end(view.clean(row.name), room, view.glyphs.cut)}", "text bold"),
            Span(unsafe, "attention"),
        ],
        [Span(right, "dim")],
        view.width,
    )
