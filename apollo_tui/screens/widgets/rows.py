"""Rows: the one way this console draws. Lines in; only those that changed are painted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from apollo_tui.screens.line import BLANK, Line, unchanged

if TYPE_CHECKING:
    from apollo_tui.screens.app import ApolloApp


class Rows(Widget):
    """A plain widget over a list of lines (line API), blank below them."""

    ALLOW_SELECT = False
    ground = ""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._lines: list[Line] = []

    @property
    def apollo(self) -> ApolloApp:
        return cast("ApolloApp", self.app)

    @property
    def lines(self) -> Sequence[Line]:
        return self._lines

    def show(self, lines: Sequence[Line]) -> None:
        """Show these lines; rows that stay as they are cost nothing."""
        old, self._lines = self._lines, list(lines)
        wide = self.size.width
        if not wide:
            return
        changed = []
        for y in range(max(len(old), len(self._lines))):
            before = old[y] if y < len(old) else BLANK
            after = self._lines[y] if y < len(self._lines) else BLANK
            if before != after:
                start = unchanged(before, after)
                changed.append(Region(start, y, max(1, wide - start), 1))
        if changed:
            self.refresh(*changed)

    def render_line(self, y: int) -> Strip:
        palette = self.apollo.palette
        if y < len(self._lines):
            return palette.strip(self._lines[y], self.ground)
        return Strip.blank(self.size.width, palette.style("text", self.ground))
