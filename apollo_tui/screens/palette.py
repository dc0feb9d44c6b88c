"""From the names of styles and grounds to what a terminal is sent."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.theme import Theme

from apollo_tui.screens.line import Line

_ATTRIBUTES = frozenset({"bold", "italic", "reverse"})
_QUIET = frozenset({"dim", "faint", "line"})


class Palette:
    """The styles of one theme. Without colour, quiet is dim and a selected row is reversed."""

    def __init__(self, theme: Theme, *, colour: bool = True) -> None:
        self._colour = colour
        self._colours = {
            "accent": theme.accent or "",
            "error": theme.error or "",
            "background": theme.background or "",
            "surface": theme.surface or "",
            "panel": theme.panel or "",
        } | theme.variables
        self._styles: dict[tuple[str, str], Style] = {}

    def style(self, name: str, ground: str = "") -> Style:
        found = self._styles.get((name, ground))
        if found is None:
            found = self._styles[name, ground] = self._make(name, ground)
        return found

    def _make(self, name: str, ground: str) -> Style:
        colour, *attributes = name.split()
        wanted = _ATTRIBUTES.intersection(attributes)
        bold, italic, reverse = ("bold" in wanted, "italic" in wanted, "reverse" in wanted)
        if not self._colour:
            selected = ground == "select"
            quiet = colour in _QUIET and not selected
            return Style(
                bold=bold, italic=italic, reverse=reverse or selected, dim=True if quiet else None
            )
        return Style(
            color=self._colours[colour],
            bgcolor=self._colours[ground or "background"],
            bold=bold,
            italic=italic,
            reverse=reverse,
        )

    def strip(self, line: Line, ground: str = "") -> Strip:
        """`ground` is the widget's own, under lines and spans that name none."""
        under = line.ground or ground
        return Strip(
            [
                Segment(span.text, self.style(span.style, span.ground or under))
                for span in line.spans
            ]
        )
