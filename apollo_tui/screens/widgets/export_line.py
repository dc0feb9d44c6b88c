"""Exporting from Review: where one writes what, in the row above the footer; then how far it is."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input

from apollo_tui.errors import ApolloError, UsageError
from apollo_tui.screens.exporting import Exporting, Wanted, read_wanted
from apollo_tui.screens.format import clean, count, plural
from apollo_tui.screens.line import Span, fitted
from apollo_tui.screens.widgets.rows import Rows

ASKS = " export as FORM FOLDER: "


class Asks(Rows):
    ground = "select"

    def on_resize(self) -> None:
        self.show([fitted([Span(ASKS, "text bold")], self.size.width, "select")])


class ExportLine(Horizontal):
    """In sight while it asks; the export that it began goes on behind."""

    class Changed(Message):
        """It asks, no longer asks, or has come further."""

    class Ended(Message):
        """`complaint` is "" when all went well; else `said` is."""

        def __init__(self, said: str, complaint: str) -> None:
            super().__init__()
            self.said = said
            self.complaint = complaint

    def __init__(self, rollout: str) -> None:
        super().__init__()
        self._rollout = rollout
        self._exporting: Exporting | None = None
        self._progress: tuple[int, int] | None = None

    def compose(self) -> ComposeResult:
        yield Asks(classes="asks")
        yield Input(select_on_focus=False)

    @property
    def running(self) -> bool:
        return self._exporting is not None

    def going_on(self) -> list[Span]:
        """How far the export is, for the footer's right; nothing when there is none."""
        if self._exporting is None:
            return []
        spans = [Span("exporting", "text")]
        if self._progress is not None:
            done, of = self._progress
            spans = [Span(f"exporting {count(done)} of {count(of)}", "text")]
        return [*spans, Span("   esc", "text bold"), Span(" cancels", "dim")]

    def ask(self, proposal: str) -> None:
        """Ask what to export, with a proposal to change."""
        draft = self.query_one(Asks).apollo.drafts.get(("export", self._rollout))
        entered = self.query_one(Input)
        entered.value = draft or proposal
        entered.cursor_blink = False
        self.display = True
        entered.focus()
        entered.action_end()
        self.post_message(self.Changed())

    def leave(self) -> None:
        """Ask no more."""
        self.display = False
        self.screen.set_focus(None)
        self.post_message(self.Changed())

    def cancel(self) -> None:
        if self._exporting is not None:
            self._exporting.cancel()

    def on_unmount(self) -> None:
        self.cancel()

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape":
            event.stop()
            event.prevent_default()
            self.leave()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        app = self.query_one(Asks).apollo
        try:
            wanted = read_wanted(event.value)
        except UsageError as error:
            app.complain(error.line)
            return
        app.drafts["export", self._rollout] = event.value
        self.leave()
        self._begin(wanted)

    def _begin(self, wanted: Wanted) -> None:
        app = self.query_one(Asks).apollo
        self._progress = None
        self._exporting = Exporting(app.home, app.annotator, self._rollout, wanted, self._tell)
        self.run_worker(self._export(self._exporting), name="export", exit_on_error=True)
        self.post_message(self.Changed())

    def _tell(self, done: int, of: int) -> None:
        self._progress = (done, of)
        self.post_message(self.Changed())

    async def _export(self, exporting: Exporting) -> None:
        said, complaint = "export cancelled, nothing was written", ""
        try:
            written = await exporting.run()
            if written is not None:
                said = f"exported {plural(written.rows, 'row')} to {clean(str(written.folder))}"
        except ApolloError as error:
            complaint = error.line
        except OSError as error:
            complaint = f"the export cannot be started: {error}"
        finally:
            self._exporting = None
        self.post_message(self.Ended(said, complaint))
