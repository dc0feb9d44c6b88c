"""Where one writes what to export, in the row above the footer."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input

from apollo_tui.errors import UsageError
from apollo_tui.screens.exporting import Wanted, read_wanted
from apollo_tui.screens.line import Span, fitted
from apollo_tui.screens.widgets.rows import Rows

ASKS = " export as FORM FOLDER: "


class Asks(Rows):
    ground = "select"

    def on_resize(self) -> None:
        self.show([fitted([Span(ASKS, "text bold")], self.size.width, "select")])


class ExportLine(Horizontal):
    class Sent(Message):
        def __init__(self, text: str, wanted: Wanted) -> None:
            super().__init__()
            self.text = text
            self.wanted = wanted

    class Closed(Message):
        pass

    def compose(self) -> ComposeResult:
        yield Asks(classes="asks")
        yield Input(select_on_focus=False)

    def begin(self, text: str) -> None:
        """Ask, with a proposal to change."""
        entered = self.query_one(Input)
        entered.value = text
        entered.cursor_blink = False
        entered.focus()
        entered.action_end()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        try:
            wanted = read_wanted(event.value)
        except UsageError as error:
            self.query_one(Asks).apollo.complain(error.line)
            return
        self.post_message(self.Sent(event.value, wanted))

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape":
            event.stop()
            event.prevent_default()
            self.post_message(self.Closed())
