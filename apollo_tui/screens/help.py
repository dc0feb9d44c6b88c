"""Every key of the screen below, generated from its bindings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen

from apollo_tui.screens.format import fit
from apollo_tui.screens.line import Line, Span, fitted
from apollo_tui.screens.lines import rule
from apollo_tui.screens.widgets.rows import Rows


class HelpRows(Rows):
    ground = "panel"


class HelpScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark,escape,q,enter", "dismiss", "close"),
        Binding("j,down,pagedown", "scroll(1)", "down", show=False),
        Binding("k,up,pageup", "scroll(-1)", "up", show=False),
    ]

    def __init__(self, below: Screen[Any]) -> None:
        super().__init__()
        self._below = below
        self._top = 0

    def compose(self) -> ComposeResult:
        yield HelpRows()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def action_scroll(self, by: int) -> None:
        self._top = max(0, self._top + by * 4)
        self._draw()

    def _draw(self) -> None:
        rows = self.query_one(HelpRows)
        cells, height = rows.size.width, rows.size.height
        if not cells:
            return
        keys = bound_keys(self._below, self.app.get_key_display)
        lines = [fitted([], cells), *help_lines(keys, cells)]
        rows.styles.height = len(lines) + 2
        self._top = max(0, min(self._top, len(lines) - height + 1))
        app = rows.apollo
        title = rule([Span("keys", "text bold")], [Span("esc closes", "dim")], cells, app.glyphs)
        rows.show([title, *lines[self._top : self._top + height - 1]])


def bound_keys(screen: Screen[Any], display: Any) -> list[tuple[str, str]]:
    """What each action of the screen is bound to now: its keys, and what it does."""
    found: dict[str, tuple[list[str], str]] = {}
    for active in screen.active_bindings.values():
        binding = active.binding
        inherited = binding.id is None and not binding.key.isdigit()  # Textual's own
        if active.node is not screen or not binding.description or inherited:
            continue
        name = binding.action
        if binding.key.isdigit():
            what = binding.description.rstrip("0123456789") + "by number"
            found.setdefault("choose", (["1-9"], what))
            continue
        found.setdefault(name, ([], binding.description))[0].append(display(binding))
    return [(" ".join(keys), what) for keys, what in found.values()]


def help_lines(keys: Iterable[tuple[str, str]], cells: int) -> list[Line]:
    """Two columns where there is room."""
    pairs = [pair for pair in keys if pair[0]]
    many = 2 if cells >= 76 else 1
    each = cells // many
    down = -(-len(pairs) // many)
    lines: list[Line] = []
    for y in range(down):
        spans: list[Span] = []
        for x in range(many):
            index = x * down + y
            if index < len(pairs):
                key, what = pairs[index]
                spans += [
                    Span("  "),
                    Span(fit(key, 16), "text bold"),
                    Span(fit(f" {what}", each - 18), "dim"),
                ]
        lines.append(fitted(spans, cells))
    return lines
