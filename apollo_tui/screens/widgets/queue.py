"""The queue of actions to review: only the rows on the screen are laid out."""

from __future__ import annotations

from textual import events
from textual.message import Message

from apollo_tui.screens.line import Line, Span, fitted
from apollo_tui.screens.lines import View
from apollo_tui.screens.review_lines import Shown, queue_lines
from apollo_tui.screens.review_state import ReviewState, Section, Spot
from apollo_tui.screens.widgets.rows import Rows


class Queue(Rows):
    class Chosen(Message):
        """A row was clicked."""

        def __init__(self, spot: Spot) -> None:
            super().__init__()
            self.spot = spot

    class Scrolled(Message):
        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    def __init__(self) -> None:
        super().__init__(id="queue")
        self._top: dict[Section, int] = {}
        self._shown: list[Shown] = []

    def draw(self, state: ReviewState | None, said: str, *, divided: bool) -> None:
        """`said` stands there while there is no state; `divided` draws the line to the text."""
        cells, height = self.size.width, self.size.height
        if not cells or not height:
            return
        app = self.apollo
        left = 1 if cells != 80 else 0
        wide = cells - left - 2 if divided else cells - left
        view = View(wide, app.now(), app.annotator, app.glyphs)
        if state is None:
            self._shown = [Shown(fitted([Span(" "), Span(said, "dim")], wide))]
        else:
            self._shown = queue_lines(state, view, height, self._top)
        lines = [_inset(one.line, left, cells - divided) for one in self._shown]
        lines += [fitted([], cells - divided)] * (height - len(lines))
        if divided:
            divider = Span(app.glyphs.divider, "line")
            lines = [fitted([*line.spans, divider], cells) for line in lines]
        self.show(lines)

    @property
    def page(self) -> int:
        return max(1, self.size.height - 4)

    def on_click(self, event: events.Click) -> None:
        if event.y < len(self._shown) and (spot := self._shown[event.y].spot) is not None:
            self.post_message(self.Chosen(spot))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.post_message(self.Scrolled(3))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.post_message(self.Scrolled(-3))


def _inset(line: Line, left: int, cells: int) -> Line:
    """The line with free cells at its edges; its ground stays its own."""
    spans = [Span(span.text, span.style, span.ground or line.ground) for span in line.spans]
    return fitted([Span(" " * left), *spans], cells)
