"""Exporting from Review: where one writes what, above the footer; then how far it is."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input

from apollo_tui.errors import ApolloError, UsageError
from apollo_tui.screens.exporting import Exported, Exporting, Wanted, forms, proposed, read_wanted
from apollo_tui.screens.format import clean, count, cut_end, plural
from apollo_tui.screens.line import Span, fitted
from apollo_tui.screens.widgets.footer import error_line
from apollo_tui.screens.widgets.rows import Rows

ASKS = " export as FORM FOLDER: "


class Asks(Rows):
    ground = "select"

    def on_resize(self) -> None:
        self.show([fitted([Span(ASKS, "text bold")], self.size.width, "select")])


class Above(Rows):
    """What can be written; or, instead, why what was asked for cannot be."""

    ground = "surface"

    def __init__(self) -> None:
        super().__init__()
        self.complaint = ""

    def on_resize(self) -> None:
        self.draw()

    def draw(self) -> None:
        cells, glyphs = self.size.width, self.apollo.glyphs
        if not cells or not self.display:
            return
        if self.complaint:
            self.show([error_line(self.complaint, cells, glyphs)])
            return
        said = f"forms: {', '.join(forms())}; options of apollo-tui export may follow the folder"
        self.show([fitted([Span(f" {cut_end(said, cells - 2, glyphs.cut)}", "dim")], cells)])


class ExportLine(Vertical):
    """In sight while it asks, and until the command has begun to write what was asked for: what it
    refuses can then be put right. The export goes on behind."""

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
        self._asked = ""  # the text that the export which is running was begun with

    def compose(self) -> ComposeResult:
        yield Above()
        with Horizontal():
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

    def ask(self, name: str) -> None:
        """Ask what to export of the rollout of this name, with a proposal to change."""
        app = self.query_one(Above).apollo
        draft = app.drafts.get(("export", self._rollout))
        entered = self.query_one(Input)
        entered.value = draft or proposed(app.home, name)
        entered.cursor_blink = False
        self.display = True
        self._complain("")
        entered.focus()
        entered.action_end()
        self.post_message(self.Changed())

    def give_up(self) -> None:
        """Ask no more, and stop what was begun."""
        self.cancel()
        self.leave()

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
            self.give_up()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self.running:
            self._complain("an export is being written already; esc cancels it")
            return
        try:
            wanted = read_wanted(event.value)
        except UsageError as error:
            self._complain(error.line)
            return
        app = self.query_one(Above).apollo
        app.drafts["export", self._rollout] = self._asked = event.value
        self._complain("")
        self._begin(wanted)

    def _complain(self, complaint: str) -> None:
        above = self.query_one(Above)
        above.complaint = complaint
        self.call_after_refresh(above.draw)

    def _begin(self, wanted: Wanted) -> None:
        app = self.query_one(Above).apollo
        self._progress = None
        self._exporting = Exporting(app.home, app.annotator, self._rollout, wanted, self._tell)
        self.run_worker(self._export(self._exporting), name="export", exit_on_error=True)
        self.post_message(self.Changed())

    def _tell(self, done: int, of: int) -> None:
        self._progress = (done, of)
        self._accepted()
        self.post_message(self.Changed())

    def _accepted(self) -> None:
        """What was asked for is being written. Who writes on goes on writing: no key is lost to the
        screen behind."""
        if self.display and self.query_one(Input).value == self._asked:
            self.leave()

    async def _export(self, exporting: Exporting) -> None:
        said, complaint = "export cancelled, nothing was written", ""
        try:
            written = await exporting.run()
            if written is not None:
                said = _told(written)
                self.query_one(Above).apollo.drafts.pop(("export", self._rollout), None)
                self._accepted()
        except ApolloError as error:
            complaint = error.line
        except OSError as error:
            complaint = f"the export cannot be started: {error}"
        finally:
            self._exporting = None
        if complaint and self.display:
            self._complain(complaint)
            self.post_message(self.Changed())
        else:
            self.post_message(self.Ended(said, complaint))


def _told(written: Exported) -> str:
    counts = f"{plural(written.rows, 'row')}, {count(written.kept)} kept"
    if written.unread:
        counts += f", {count(written.unread)} of them nobody looked at"
    return f"exported {counts}, to {clean(str(written.folder))}"
