"""The right side of the rollout screen: tabs as words over a scrolling list of lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from textual import events

from apollo_tui.log.read import Entry, RolloutRow
from apollo_tui.screens.action_lines import action_lines
from apollo_tui.screens.detail_lines import (
    TABS,
    advice_lines,
    budget_lines,
    entry_detail,
    tab_lines,
)
from apollo_tui.screens.line import Line, Span, fitted
from apollo_tui.screens.lines import View
from apollo_tui.screens.widgets.rows import Rows


class Detail(Rows):
    """Shows the cursor's entry; reads an action's texts only when it has become another."""

    def __init__(self) -> None:
        super().__init__(id="detail")
        self.tab = TABS[0]
        self._row: RolloutRow | None = None
        self._entry: Entry | None = None
        self._top = 0
        self._content: list[Line] = []

    def look_at(self, row: RolloutRow, entry: Entry | None) -> None:
        """The rollout and the entry to show; nothing happens when both are as before."""
        if entry == self._entry and row == self._row:
            return
        same = self._entry is not None and entry is not None and entry.n == self._entry.n
        self._row, self._entry = row, entry
        if self.tab == "action" and not same:
            self._top = 0
        self.draw()

    def turn(self, by: int) -> None:
        self.tab = TABS[(TABS.index(self.tab) + by) % len(TABS)]
        self._top = 0
        self.draw()

    def scroll_lines(self, by: int) -> None:
        room = max(0, len(self._content) - (self.size.height - 4))
        self._top = max(0, min(room, self._top + by))
        self._show()

    def draw(self) -> None:
        if self._row is None or not self.size.width or not self.display:
            return
        builders: dict[str, Callable[[], list[Line]]] = {
            "action": self._action,
            "budget": lambda: budget_lines(self._shown_row, self._view()),
            "advice": lambda: advice_lines(
                self.apollo.history.advice(self._shown_row.id), self._view()
            ),
        }
        self._content = builders[self.tab]()
        room = max(0, len(self._content) - (self.size.height - 4))
        self._top = min(self._top, room)
        self._show()

    @property
    def _shown_row(self) -> RolloutRow:
        assert self._row is not None
        return self._row

    def _action(self) -> list[Line]:
        entry, view = self._entry, self._view()
        if entry is None:
            return [fitted([Span("No steps yet.", "dim")], view.width)]
        if entry.kind != "action":
            return entry_detail(entry, view)
        detail = self.apollo.history.action(self._shown_row.id, entry.step, entry.ordinal)
        if detail is None:
            return entry_detail(entry, view)
        return action_lines(detail, entry, view)

    def _show(self) -> None:
        wide, view = self.size.width, self._view()
        row = self._shown_row
        tabs = [(name, 0) for name in TABS[:-1]]
        tabs.append(("advice", row.queued_advice))
        head = tab_lines(tabs, self.tab, wide, view)
        spare = fitted([], wide)
        body = self._content[self._top : self._top + max(0, self.size.height - 4)]
        below = len(self._content) - self._top - len(body)
        lines = [*head, spare, *[_inset(line, wide) for line in body]]
        if below > 0:
            said = f"{below} more below   ctrl+d"
            lines.append(fitted([Span(" "), Span(said, "faint")], wide))
        self.show(lines)

    def _view(self) -> View:
        app = self.apollo
        return View(
            width=max(8, self.size.width - 2),
            now=app.now(),
            annotator=app.annotator,
            glyphs=app.glyphs,
        )

    def on_resize(self) -> None:
        self.draw()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_lines(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_lines(-3)

    def on_click(self, event: events.Click) -> None:
        if event.y > 0:
            return
        at = 0
        for name in TABS:
            at += len(name) + 2
            if event.x < at:
                self.tab, self._top = name, 0
                self.draw()
                return


def _inset(line: Line, cells: int) -> Line:
    spans = [replace(span, ground=span.ground or line.ground) for span in line.spans]
    return fitted([Span(" "), *spans], cells)
