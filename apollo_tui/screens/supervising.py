"""What both screens share: acting on the rollout and the actions one looks at."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from typing import TYPE_CHECKING, ClassVar, cast

from textual.binding import Binding, BindingType
from textual.screen import Screen

from apollo_tui.log.read import Entry, RolloutRow
from apollo_tui.screens.format import clean, cut_end, width
from apollo_tui.screens.line import Line, Span
from apollo_tui.screens.marks import Act, Mark, MarkKind, Place, Request
from apollo_tui.screens.status import FINAL, asks
from apollo_tui.screens.widgets.footer import (
    Footer,
    Hint,
    error_line,
    footer_line,
    last_act,
)

if TYPE_CHECKING:
    from apollo_tui.screens.app import ApolloApp
    from apollo_tui.screens.widgets.text_box import TextBox, Writing

COMMANDING = frozenset({"p", "P", "a", "x", "c", "-", "r", ".", "u", "ctrl+r", "space"})
"""Keys that need the core."""


class SupervisingScreen(Screen[None]):
    """A screen with a rollout in focus. Subclasses say which, and what one looks at in it."""

    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "advise", "advise", id="advise"),
        Binding("p", "pause", "pause", id="pause"),
        Binding("x", "mark('reject')", "reject", id="reject"),
        Binding("c", "mark('accept')", "accept", id="accept"),
        Binding("-", "mark('unsure')", "unsure", id="unsure"),
        Binding("r", "reason", "reason", id="reason"),
        Binding(".", "repeat", "repeat mark", id="repeat"),
        Binding("u", "undo", "undo", id="undo"),
        Binding("ctrl+r", "redo", "redo", id="redo"),
        Binding("P", "pause_now", "pause now", id="pause-now"),
        Binding("m", "review", "review", id="review"),
        Binding("!", "next_need", "needs you", id="next-need"),
        Binding(":", "app.command_palette", "commands", id="commands"),
        Binding("?", "app.help", "help", id="help"),
    ]

    @property
    def apollo(self) -> ApolloApp:
        return cast("ApolloApp", self.app)

    @property
    @abstractmethod
    def rollout(self) -> RolloutRow | None:
        """The rollout that the keys act on."""

    @abstractmethod
    def looked_at(self) -> list[Entry]:
        """The entries that a mark goes to: those that were visible at the keypress."""

    @abstractmethod
    def read(self, rollouts: Collection[str] | None) -> None:
        """The log has grown: these rollouts (None: any) may have changed."""

    @abstractmethod
    def stream(self, rollouts: Collection[str]) -> None:
        """Pieces of these rollouts' replies have arrived."""

    @abstractmethod
    def marks_changed(self) -> None:
        """Marks are shown otherwise than before."""

    @abstractmethod
    def hints(self) -> tuple[list[Hint], list[Hint]]:
        """The footer's keys by likelihood, and those that never drop."""

    def on_screen_suspend(self) -> None:
        """What was done on this screen is no news on another."""
        self.apollo.forget_act()

    # --- the footer ----------------------------------------------------------------------------

    def draw_footer(self) -> None:
        footer = self.query_one(Footer)
        cells = footer.size.width
        if cells:
            footer.show([self.footer_line(cells)])

    def footer_line(self, cells: int) -> Line:
        app = self.apollo
        if app.error:
            return error_line(app.error, cells, app.glyphs)
        hints, kept = self.hints()
        row = self.rollout
        if row is not None and row.state in FINAL and self.box_hints() is None:
            hints = [hint for hint in hints if hint[0] not in ("a", "p")]
        act = app.marks.last
        right: list[Span] = []
        if not app.act_is_old:
            on_its_way, elsewhere = bool(app.marks.pending), self._elsewhere(act)
            right = last_act(act, on_its_way, app.glyphs, elsewhere, short=cells < 100)
        if app.said:
            room = cells - sum(width(key) + width(label) + 4 for key, label in kept) - 2
            right = [Span(cut_end(app.said, max(8, room), app.glyphs.cut), "dim")]
        right = self.going_on() or right
        off = COMMANDING if app.core_gone else frozenset()
        return footer_line(hints, kept, right, cells, off=off)

    def _elsewhere(self, act: Act | None) -> str:
        """The name of the rollout that an act was on, when it is not the one in focus."""
        row = self.rollout
        if act is None or (row is not None and row.id == act.rollout):
            return ""
        other = self.apollo.history.rollout(act.rollout)
        return "" if other is None else clean(other.name, ascii_only=self.apollo.glyphs.ascii)

    def going_on(self) -> list[Span]:
        """What the footer's right says of long work, while there is some."""
        return []

    def pause_hint(self) -> Hint:
        row = self.rollout
        stands = row is not None and (row.state == "paused" or asks(row))
        return ("p", "resume" if stands else "pause")

    # --- pausing -------------------------------------------------------------------------------

    def action_pause(self) -> None:
        row = self._commandable()
        if row is None:
            return
        if row.state == "paused" or asks(row):
            self.apollo.command(lambda client: client.resume(row.id))
        else:
            self.apollo.command(lambda client: client.pause(row.id))

    def action_pause_now(self) -> None:
        row = self._commandable()
        if row is not None:
            self.apollo.command(lambda client: client.pause(row.id, now=True))

    def _commandable(self) -> RolloutRow | None:
        """The rollout in focus if it can be commanded; else says why not."""
        row = self.rollout
        if row is None:
            self.apollo.complain("no rollout is selected")
        elif self.apollo.can_command():
            if row.state not in FINAL:
                return row
            self.apollo.complain(
                f"{row.name} has {'failed' if row.state == 'failed' else 'ended'}; its actions can still be marked"
            )
        return None

    # --- marking -------------------------------------------------------------------------------

    def action_mark(self, kind: MarkKind) -> None:
        self.mark(Mark(kind))

    def mark(self, mark: Mark) -> bool:
        """Mark what one looks at; False when there is nothing to mark, or no core to tell."""
        row = self.rollout
        if row is None or not self.apollo.can_command():
            return False
        entries = [entry for entry in self.looked_at() if entry.kind == "action"]
        if not entries:
            self.apollo.complain("there is no action here to mark")
            return False
        app = self.apollo
        requests = app.marks.mark(row.id, entries, mark, app.glyphs.to)
        if requests:
            app.send_marks(requests)
        else:
            app.said = "it is marked so already"
            self.draw_footer()
        return True

    def action_undo(self) -> None:
        if self.apollo.can_command():
            self._again(self.apollo.marks.undo(), "undone: ", "nothing to undo")

    def action_redo(self) -> None:
        if self.apollo.can_command():
            self._again(self.apollo.marks.redo(), "", "nothing to redo")

    def _again(self, outcome: tuple[Act, list[Request]] | None, prefix: str, nothing: str) -> None:
        if outcome is None:
            self.apollo.complain(nothing)
            return
        act, requests = outcome
        self.apollo.said = f"{prefix}{act.words}   ctrl+r redo" if prefix else ""
        self.apollo.send_marks(requests)

    def action_repeat(self) -> None:
        last = self.apollo.marks.last
        if last is None:
            self.apollo.complain("there is no mark to repeat yet")
        else:
            self.mark(last.now)

    def action_review(self) -> None:
        """The rollout in focus in Review, at the action one looks at."""
        seen = [entry for entry in self.looked_at() if entry.kind == "action"]
        self.review((seen[0].step, seen[0].ordinal) if seen else None)

    def review(self, at: Place | None) -> None:
        from apollo_tui.screens.review import ReviewScreen

        row = self.rollout
        if row is None:
            self.apollo.complain("no rollout is selected")
            return
        below = self.app.screen_stack[-2]
        if isinstance(below, ReviewScreen) and below.reviewed == row.id:
            below.look_at(at)
            self.dismiss()
        else:
            self.app.push_screen(ReviewScreen(row.id, at))

    # --- writing -------------------------------------------------------------------------------

    def action_advise(self) -> None:
        row = self._commandable()
        if row is None:
            return
        self.write_advice(row)

    def write_advice(self, row: RolloutRow, begin: str = "") -> None:
        from apollo_tui.screens.widgets.text_box import Writing

        number = len(self.apollo.history.advice(row.id)) + 1
        when = f"goes in before step {row.step + 1}"
        if row.state == "paused":
            when += ", after the resume"
        elif row.in_flight == "model":
            when = f"goes in before step {row.step + 2}; the model is being asked now"
        self.open_box(
            Writing("advice", row.id, True, f"advice {number} to {row.name}", when), begin
        )

    def action_reason(self) -> None:
        from apollo_tui.screens.widgets.text_box import Writing

        act = self.apollo.marks.last
        if act is None:
            self.apollo.complain("there is no mark yet to give a reason for; x rejects")
        elif self.apollo.can_command():
            self.open_box(
                Writing(
                    "reason",
                    act.rollout,
                    False,
                    f"reason: {act.words}",
                    self.reason_foot(),
                )
            )

    def reason_codes(self) -> tuple[str, ...]:
        """The annotator's own codes, where they are known."""
        return ()

    def reason_foot(self) -> str:
        codes = ", ".join(self.reason_codes())
        return f"a code, or a code and a note: {codes or 'reward-hack pays for the tag'}"

    def open_box(self, writing: Writing, begin: str = "") -> None:
        from apollo_tui.screens.widgets.text_box import TextBox

        if self.query(TextBox):
            return
        draft = self.apollo.drafts.get(writing.draft, "")
        box = TextBox(writing, draft or begin)
        self.place_box(box)
        self.call_after_refresh(self.draw_footer)

    @abstractmethod
    def place_box(self, box: TextBox) -> None:
        """Mount the text box where the evidence stays in sight."""

    def on_text_box_closed(self, event: TextBox.Closed) -> None:
        if event.text.strip():
            self.apollo.drafts[event.writing.draft] = event.text
        else:
            self.apollo.drafts.pop(event.writing.draft, None)
        self._close_box()

    def on_text_box_sent(self, event: TextBox.Sent) -> None:
        writing, text = event.writing, event.text
        self.apollo.drafts[writing.draft] = text
        if not self.apollo.can_command():
            self._close_box()
            return
        if writing.purpose == "reason":
            code, note = code_and_note(text, self.reason_codes())
            self.apollo.send_marks(self.apollo.marks.reason(code, note))
            self.apollo.drafts.pop(writing.draft, None)
        else:
            self._send_advice(writing, text, resume=event.resume)
        self._close_box()

    def _send_advice(self, writing: Writing, text: str, *, resume: bool) -> None:
        app = self.apollo

        def sent(_: object) -> None:
            if app.drafts.get(writing.draft) == text:
                del app.drafts[writing.draft]

        app.command(lambda client: client.advise(writing.rollout, text, resume=resume), done=sent)

    def _close_box(self) -> None:
        from apollo_tui.screens.widgets.text_box import TextBox

        for box in self.query(TextBox):
            box.remove()
        self.set_focus(None)
        self.call_after_refresh(self.draw_footer)

    def box_hints(self) -> list[Hint] | None:
        """The keys of the open text box, if there is one."""
        from apollo_tui.screens.widgets.text_box import TextBox

        boxes = list(self.query(TextBox))
        return boxes[0].hints if boxes else None


def code_and_note(text: str, codes: Collection[str] = ()) -> tuple[str | None, str]:
    """A reason as one writes it: one word is a code, and so is a first word with a hyphen or
    before a colon, or one of the annotator's own `codes`; the rest is the note."""
    text = text.strip()
    first, _, rest = text.partition(" ")
    if not rest:
        return (first.rstrip(":") or None), ""
    if first.endswith(":"):
        return first[:-1], rest.strip()
    if "-" in first or first in codes:
        return first, rest.strip()
    return None, text
