"""One rollout: its transcript at the left; the action, the budget or the advice at the right."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical

from apollo_tui.log.read import Entry, RolloutRow
from apollo_tui.screens.line import Span
from apollo_tui.screens.lines import actions_count, mark_sign
from apollo_tui.screens.marks import Mark, MarkKind, Place
from apollo_tui.screens.needs import needs
from apollo_tui.screens.supervising import SupervisingScreen
from apollo_tui.screens.widgets.detail import Detail
from apollo_tui.screens.widgets.footer import Footer, Hint, question_line
from apollo_tui.screens.widgets.header import Header, rollout_header
from apollo_tui.screens.widgets.rows import Rows
from apollo_tui.screens.widgets.text_box import TextBox
from apollo_tui.screens.widgets.transcript import Transcript


class Question(Rows):
    """The row above the footer, there only while something is asked."""

    ground = "select"


class RolloutScreen(SupervisingScreen):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "step(1)", "next step", id="next-step"),
        Binding("k,up", "step(-1)", "previous step", id="previous-step"),
        Binding("J", "landmark(1)", "next landmark", id="next-landmark"),
        Binding("K", "landmark(-1)", "previous landmark", id="previous-landmark"),
        Binding("g,home", "start", "start", id="start"),
        Binding("G,end", "live", "live end", id="live-end"),
        Binding("pagedown,space", "page(1)", "page down", id="page-down"),
        Binding("pageup", "page(-1)", "page up", id="page-up"),
        Binding("enter", "confirm", "open the thinking", id="confirm"),
        Binding("v", "range", "range", id="range"),
        Binding("tab", "tab(1)", "next tab", id="next-tab"),
        Binding("shift+tab", "tab(-1)", "previous tab", id="previous-tab"),
        Binding("ctrl+d", "detail(8)", "action text down", id="detail-down"),
        Binding("ctrl+u", "detail(-8)", "action text up", id="detail-up"),
        Binding("l,right", "rollout(1)", "next rollout", id="next-rollout"),
        Binding("h,left", "rollout(-1)", "previous rollout", id="previous-rollout"),
        Binding("q", "back", "back", id="back"),
        Binding("escape", "back", "back", show=False, id="back-too"),
        *(Binding(str(n), f"choose({n})", f"rollout {n}", show=False) for n in range(1, 10)),
    ]

    def __init__(self, rollout: str, at: Place | None = None) -> None:
        """`at` is the action that the cursor is on at first, else the live end."""
        super().__init__()
        self._shown = rollout
        self._at = at
        self._row: RolloutRow | None = None
        self._asked: Mark | None = None
        self._sheet = False
        self._ready = False  # the widgets are there

    def compose(self) -> ComposeResult:
        yield Header()
        with Horizontal(id="sides"):
            with Vertical(id="left"):
                yield Transcript(self._shown)
            yield Detail()
        yield Question()
        yield Footer()

    def on_mount(self) -> None:
        self._transcript = self.query_one(Transcript)
        self._detail = self.query_one(Detail)
        self._ready = True
        self._fold()
        self.apollo.read(None)
        if self._at is not None:
            self._transcript.show_action(*self._at)

    def on_resize(self) -> None:
        self._fold()
        self.call_after_refresh(self.apollo.read, None)

    def on_screen_resume(self) -> None:
        self.apollo.read(None)

    def _fold(self) -> None:
        """Side by side where there is room; else the right side is a sheet over the transcript."""
        wide = self.size.width
        right = 0 if wide < 110 else 46 if wide < 150 else 60 if wide < 200 else 80
        left = self.query_one("#left")
        self._detail.display = bool(right) or self._sheet
        left.display = bool(right) or not self._sheet
        self._detail.styles.width = right or "1fr"

    @property
    def _folded(self) -> bool:
        return self.size.width < 110

    # --- the rollout in focus ------------------------------------------------------------------

    @property
    def rollout(self) -> RolloutRow | None:
        return self._row

    def looked_at(self) -> list[Entry]:
        chosen = self._transcript.chosen()
        if self._transcript.state.range_from is None and chosen:
            # Between the glance and the key a notice may have come: the action above it is meant.
            above = self._transcript.action_above()
            if chosen[0].kind in ("notice", "advice", "submission") and above is not None:
                return [above]
        return chosen

    def read(self, rollouts: Collection[str] | None) -> None:
        if not self._ready or (rollouts is not None and self._shown not in rollouts):
            return
        row = self.apollo.history.rollout(self._shown)
        if row is None:
            return
        self._row = row
        self.apollo.streams.settle(row)
        self._transcript.read(row)
        self._draw_rest()

    def stream(self, rollouts: Collection[str]) -> None:
        if self._shown in rollouts and self._transcript.state.following:
            self._transcript.draw()

    def marks_changed(self) -> None:
        self._transcript.forget_drawn()
        self._look()

    def on_transcript_moved(self) -> None:
        self._look()
        self._ask()
        self.draw_footer()

    def _look(self) -> None:
        if self._row is not None:
            state = self._transcript.state
            self._detail.look_at(self._row, self._transcript.entry(state.cursor))

    # --- drawing -------------------------------------------------------------------------------

    def _draw_rest(self) -> None:
        app, row = self.apollo, self._row
        if row is None:
            return
        cells = self.size.width
        self.query_one(Header).show(
            [rollout_header(row, app.now(), cells, app.glyphs, core=app.core)]
        )
        self._look()
        self.draw_footer()

    def _ask(self) -> None:
        """The question of the moment: what to do with the range."""
        question = self.query_one(Question)
        asked = self._asked
        question.display = asked is not None
        if asked is None:
            return
        many = [entry for entry in self.looked_at() if entry.kind == "action"]
        if not many:
            self._asked = None
            question.display = False
            return
        first, last = many[0].step, many[-1].step
        place = f"{first}" if first == last else f"{first}{self.apollo.glyphs.to}{last}"
        sign = mark_sign(asked.kind, self.apollo.glyphs)
        words = {"reject": "reject", "accept": "accept", "unsure": "unsure about"}
        verb = words.get(asked.kind, asked.kind)
        ask = [
            Span(f"{sign.text} {verb} {place}?", f"{sign.style} bold"),
            Span(f"  {actions_count(len(many))}", "dim"),
        ]
        answers = [("enter", "mark"), ("a", "and advise"), ("esc", "cancel")]
        question.show([question_line(ask, answers, self.size.width)])

    def hints(self) -> tuple[list[Hint], list[Hint]]:
        if (box := self.box_hints()) is not None:
            return box, [("esc", "close, keeps the draft")]
        if self._transcript.state.range_from is not None:
            moving = [("j k", "extend"), ("J K", "to landmark"), ("x", "reject"), ("c", "accept")]
            return [*moving, ("-", "unsure")], [("?", "help"), ("esc", "cancel")]
        review = ("m", "review")
        return [
            ("j k", "step"),
            ("a", "advise"),
            self.pause_hint(),
            ("x", "reject"),
            ("c", "accept"),
            ("J K", "landmark"),
            ("G", "live"),
            ("v", "range"),
            ("r", "reason"),
            *([] if self._folded else [review]),
            ("tab", "sheet" if self._folded else "next tab"),
            ("-", "unsure"),
            (":", "commands"),
        ], [*([review] if self._folded else []), ("?", "help"), ("q", "back")]

    def place_box(self, box: TextBox) -> None:
        if self._folded and self._sheet:
            self._sheet = False
            self._fold()
        self.query_one("#left").mount(box)

    # --- keys ----------------------------------------------------------------------------------

    def action_step(self, by: int) -> None:
        self._transcript.step(by)

    def action_landmark(self, by: int) -> None:
        self._transcript.landmark(1 if by > 0 else -1)

    def action_start(self) -> None:
        self._transcript.to_start()

    def action_live(self) -> None:
        self._transcript.to_live()

    def action_page(self, by: int) -> None:
        self._transcript.page(by)

    def action_detail(self, by: int) -> None:
        self._detail.scroll_lines(by)

    def action_tab(self, by: int) -> None:
        if not self._folded:
            self._detail.turn(by)
            return
        from apollo_tui.screens.detail_lines import TABS

        order = ["", *TABS]
        now = self._detail.tab if self._sheet else ""
        target = order[(order.index(now) + by) % len(order)]
        self._sheet = bool(target)
        self._detail.tab = target or TABS[0]
        self._fold()
        self.call_after_refresh(self.apollo.read, None)

    def action_range(self) -> None:
        state = self._transcript.state
        if state.range_from is None:
            self._transcript.begin_range()
        else:
            self._end_range()

    def _end_range(self) -> None:
        self._asked = None
        self._transcript.end_range()

    def action_mark(self, kind: MarkKind) -> None:
        if self._transcript.state.range_from is None:
            super().action_mark(kind)
        elif self.apollo.can_command():
            self._asked = Mark(kind)
            self._ask()

    def action_confirm(self) -> None:
        if self._asked is not None:
            if self.mark(self._asked):
                self._end_range()
        else:
            self._transcript.open_thinking()

    def action_advise(self) -> None:
        row, asked = self._row, self._asked
        if asked is None or row is None:
            super().action_advise()
            return
        many = [entry for entry in self.looked_at() if entry.kind == "action"]
        if not many or not self.mark(asked):
            return
        self._end_range()
        first, last = many[0].step, many[-1].step
        about = f"step {first}" if first == last else f"steps {first} to {last}"
        if self._commandable() is not None:
            self.write_advice(row, f"About {about}: ")

    def action_back(self) -> None:
        if self._transcript.state.range_from is not None:
            self._end_range()
        elif self._folded and self._sheet:
            self._sheet = False
            self._fold()
            self.call_after_refresh(self.apollo.read, None)
        else:
            self.dismiss()

    def action_next_need(self) -> None:
        rows = self.apollo.history.rollouts()
        waiting = [need.rollout for need in needs(rows)]
        if not waiting:
            self.apollo.said = "nothing needs you"
            self.draw_footer()
            return
        at = waiting.index(self._shown) if self._shown in waiting else -1
        self._switch(waiting[(at + 1) % len(waiting)])

    def action_rollout(self, by: int) -> None:
        rollouts = [row.id for row in self.apollo.history.rollouts()]
        if self._shown in rollouts and len(rollouts) > 1:
            self._switch(rollouts[(rollouts.index(self._shown) + by) % len(rollouts)])

    def action_choose(self, number: int) -> None:
        rollouts = [row.id for row in self.apollo.history.rollouts()]
        if number <= len(rollouts):
            self._switch(rollouts[number - 1])

    def _switch(self, rollout: str) -> None:
        if rollout != self._shown:
            self.app.switch_screen(RolloutScreen(rollout))
