"""Review: the queue of actions to mark, and the text of their segment with the loss mask over it."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical

from apollo_tui.errors import ApolloError
from apollo_tui.log.read import Entry, RolloutRow
from apollo_tui.screens.line import Span
from apollo_tui.screens.lines import View, actions_count, mark_sign
from apollo_tui.screens.marks import Mark, MarkKind, Place
from apollo_tui.screens.needs import needs
from apollo_tui.screens.review_lines import ORDER_NAMES, Heading, counts_lines, review_header
from apollo_tui.screens.review_reading import Reading
from apollo_tui.screens.review_state import ReviewState
from apollo_tui.screens.rollout import Question, RolloutScreen
from apollo_tui.screens.supervising import SupervisingScreen
from apollo_tui.screens.verdict_lines import ROWS, verdict_lines
from apollo_tui.screens.widgets.export_line import ExportLine
from apollo_tui.screens.widgets.footer import Footer, Hint, question_line
from apollo_tui.screens.widgets.header import Header
from apollo_tui.screens.widgets.mask_view import MaskView
from apollo_tui.screens.widgets.queue import Queue
from apollo_tui.screens.widgets.rows import Rows
from apollo_tui.screens.widgets.text_box import TextBox

if TYPE_CHECKING:
    from apollo_tui.screens.review_board import Board

SOON = 0.2
"""Seconds until it is said that a rollout is being read."""
SETTLE = 1.0
"""Seconds at least between a change of the log and the next board: marks come in bursts."""


class ReviewScreen(SupervisingScreen):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "step(1)", "next action", id="next-step"),
        Binding("k,up", "step(-1)", "previous action", id="previous-step"),
        Binding("J", "landmark(1)", "next landmark", id="next-landmark"),
        Binding("K", "landmark(-1)", "previous landmark", id="previous-landmark"),
        Binding("space,R", "mark('reviewed')", "read, nothing to say", id="reviewed"),
        Binding("v", "range", "range", id="range"),
        Binding("enter", "confirm", "open at this step", id="confirm"),
        Binding("o", "order", "order of the unread", id="order"),
        Binding("E", "export", "export", id="export"),
        Binding("tab", "turn", "queue or text", id="turn"),
        Binding("g,home", "edge(-1)", "first action", id="first-action"),
        Binding("G,end", "edge(1)", "last action", id="last-action"),
        Binding("pagedown", "page(1)", "page down", id="page-down"),
        Binding("pageup", "page(-1)", "page up", id="page-up"),
        Binding("ctrl+d", "text(8)", "text down", id="text-down"),
        Binding("ctrl+u", "text(-8)", "text up", id="text-up"),
        Binding("q", "back", "back", id="back"),
        Binding("escape", "cancel", "cancel, back", show=False, id="cancel"),
    ]

    def __init__(self, rollout: str, at: Place | None = None) -> None:
        """`at` is the action that the cursor is on at first, else the first unread one."""
        super().__init__()
        self.reviewed = rollout
        self._at = at
        self._row: RolloutRow | None = None
        self.state: ReviewState | None = None
        self._asked: Mark | None = None
        self._reading_text = False  # where there is room for one: the text, not the queue
        self._said = ""
        self._ready = False  # the widgets are there
        self._making = False
        self._folded_seq = -1  # the log's last seq of the rollout when a board was begun
        self._waiting = False
        self._holds = False  # what has changed is not drawn yet
        self._on_their_way: set[Place] = set()
        self._counting: int | None = None

    @cached_property
    def _reading(self) -> Reading:
        return Reading(self.apollo.home, self.reviewed, self.apollo.annotator)

    def compose(self) -> ComposeResult:
        yield Header()
        yield Rows(id="counts")
        with Horizontal(id="halves"):
            yield Queue()
            with Vertical(id="text"):
                yield MaskView()
                yield Rows(id="verdict")
        yield ExportLine(self.reviewed)
        yield Question()
        yield Footer()

    def on_mount(self) -> None:
        self._ready = True
        self._queue = self.query_one(Queue)
        self._text = self.query_one(MaskView)
        self._fold()
        self.set_timer(SOON, self._say_reading)
        self.apollo.read(None)

    def on_resize(self) -> None:
        if self._ready:
            self._fold()
            self.call_after_refresh(self._draw)

    def on_screen_resume(self) -> None:
        self.apollo.read(None)

    def on_unmount(self) -> None:
        self._reading.close()

    @property
    def _export_line(self) -> ExportLine:
        return self.query_one(ExportLine)

    @property
    def _narrow(self) -> bool:
        return self.size.width < 110

    def _fold(self) -> None:
        """Side by side where there is room; else one of them, with the verdict below it."""
        narrow, wide = self._narrow, self.size.width
        roomy = self.size.height >= 30
        halves, text = self.query_one("#halves"), self.query_one("#text")
        counts = self.query_one("#counts")
        halves.styles.layout = "vertical" if narrow else "horizontal"
        halves.styles.margin = (1 if roomy else 0, 0, 0, 0)
        counts.styles.margin = (1 if roomy else 0, 0, 0, 0)
        self._queue.display = not narrow or not self._reading_text
        self._text.display = not narrow or self._reading_text
        self._queue.styles.width = "1fr" if narrow else 45 if wide < 150 else 61
        text.styles.height = "auto" if narrow and not self._reading_text else "1fr"
        verdict = self.query_one("#verdict")
        verdict.display = self.size.height >= 16
        verdict.styles.height = ROWS + (self.size.height >= 40)
        text.styles.margin = (0, 0, 0, 0 if narrow else 1)

    # --- the rollout in focus ------------------------------------------------------------------

    @property
    def rollout(self) -> RolloutRow | None:
        return self._row

    def looked_at(self) -> list[Entry]:
        """The chosen actions, each with the annotator's own mark: that is what undo restores."""
        state = self.state
        return [] if state is None else [self._entry(state, place) for place in state.chosen()]

    def _entry(self, state: ReviewState, place: Place) -> Entry:
        action = state.row(place).action
        own = next(
            (mark for mark in state.marks(place) if mark.annotator == self.apollo.annotator), None
        )
        return Entry(
            n=0,
            kind="action",
            seq=0,
            at=action.started_at or 0,
            step=place[0],
            ordinal=place[1],
            tool=action.tool,
            arguments=action.arguments,
            mark=own.mark if own is not None else "",
            code=own.code if own is not None else None,
            note=own.note if own is not None else "",
            mark_by=own.annotator if own is not None else None,
        )

    def look_at(self, place: Place | None) -> None:
        """Put the cursor on an action, now or when there is a board."""
        self._at = place
        if self.state is not None and place is not None:
            self.state.go(place)

    def read(self, rollouts: Collection[str] | None) -> None:
        if not self._ready or (rollouts is not None and self.reviewed not in rollouts):
            return
        row = self.apollo.history.rollout(self.reviewed)
        if row is None:
            return
        self._row = row
        self._on_their_way &= self._pending()
        if row.last_seq > self._folded_seq:
            self._fold_later()
        self._draw_rest()

    def _pending(self) -> set[Place]:
        return {
            (step, ordinal)
            for rollout, step, ordinal in self.apollo.marks.pending
            if rollout == self.reviewed
        }

    def stream(self, rollouts: Collection[str]) -> None:
        """A reply that is still arriving has nothing to review yet."""

    # --- the board -----------------------------------------------------------------------------

    def _fold_later(self) -> None:
        """Make a board soon; of a long rollout less often."""
        if self._folded_seq < 0:
            self._begin_board()
        elif not self._waiting:
            self._waiting = True
            took = self.state.board.seconds if self.state is not None else SETTLE
            self.set_timer(max(SETTLE, 4 * took), self._begin_board)

    def _begin_board(self) -> None:
        self._waiting = False
        if self._making or self._row is None:
            return
        self._making, self._folded_seq = True, self._row.last_seq
        pending = self._pending()
        own = self.state.own if self.state is not None else []
        settled = [(place, mark) for place, mark in own if place not in pending]
        self.run_worker(self._make_board(settled), name="board", exit_on_error=True)

    async def _make_board(self, settled: list[tuple[Place, Mark]]) -> None:
        try:
            board = await self._reading.board()
        except ApolloError as error:
            if self._said != error.line:  # said once, however often the log grows
                self._said = error.line
                self.apollo.complain(error.line)
                self._draw()
            return
        finally:
            self._making = False
        if board is not None and self.is_attached:
            self._take(board, settled)

    def _take(self, board: Board, settled: list[tuple[Place, Mark]]) -> None:
        app, chosen = self.apollo, self._reading.chosen
        assert chosen is not None
        if self.state is None:
            hide = chosen.settings.hide_judge
            self.state = state = ReviewState(board, app.annotator, hide_judge=hide)
            self._overlay(state)
            if self._at is not None:
                state.go(self._at)
            if chosen.complaint:
                app.complain(chosen.complaint)
        else:
            self.state.take(board, settled)
        self._text.forget()
        self._draw()
        if self._row is not None and self._row.last_seq > self._folded_seq:
            self._fold_later()

    def _say_reading(self) -> None:
        if self.state is None and self._row is not None and not self._said:
            self._said = f"reading {actions_count(self._row.actions)}"
            self._draw()

    # --- marks ---------------------------------------------------------------------------------

    def marks_changed(self) -> None:
        if self.state is not None:
            self._overlay(self.state)
            self._text.forget()
            self._draw()

    def _overlay(self, state: ReviewState) -> None:
        """Show what is on its way to the core, and no longer what it refused."""
        now, pending = self.apollo.now(), self._pending()
        for place in self._on_their_way - pending:
            state.forget(place, now)
        for place in sorted(pending):
            state.show(place, self.apollo.marks.pending[self.reviewed, *place][-1], now)
        self._on_their_way = pending

    def action_mark(self, kind: MarkKind) -> None:
        if self.state is None or self.state.range_from is None:
            self.mark(Mark(kind))
        elif self.apollo.can_command():
            self._asked = Mark(kind)
            self._ask()

    def mark(self, mark: Mark) -> bool:
        """Mark, and go on to the next that is unread."""
        state = self.state
        if state is None:
            self.apollo.complain("the rollout is still being read; nothing can be marked yet")
            return False
        spot = state.spot
        self._holds = True  # drawn once, with the cursor on the next
        try:
            if not super().mark(mark):
                return False
        finally:
            self._holds = False
        state.end_range()
        self._asked = None
        state.advance(spot)
        self._moved()
        return True

    def action_undo(self) -> None:
        super().action_undo()
        undone = self.apollo.marks.undone
        if self.state is not None and undone and not self.apollo.error:
            self.state.go(undone[-1].places[0])
            self._moved()

    def action_redo(self) -> None:
        super().action_redo()
        last = self.apollo.marks.last
        if self.state is not None and last is not None and not self.apollo.error:
            self.state.go(last.places[-1])
            self._moved()

    def reason_codes(self) -> tuple[str, ...]:
        return () if self._reading.chosen is None else self._reading.chosen.settings.codes

    # --- drawing -------------------------------------------------------------------------------

    def _moved(self) -> None:
        self._ask()
        self._draw()

    def _draw(self) -> None:
        if self._holds or not self.is_attached:
            return
        state, app = self.state, self.apollo
        self._queue.draw(state, self._said, divided=not self._narrow)
        self._text.counting = self._reading.what_is_counted
        self._text.draw(state)
        verdict = self.query_one("#verdict", Rows)
        if state is not None and verdict.size.width:
            roomy = verdict.size.height > ROWS
            wide = verdict.size.width
            view = View(wide, app.now(), app.annotator, app.glyphs, free_rows=roomy)
            verdict.show(verdict_lines(state, app.marks.last, view))
        self._count_tokens()
        self._draw_rest()

    def _draw_rest(self) -> None:
        app, row, state = self.apollo, self._row, self.state
        cells = self.size.width
        if row is None or not cells or not self.is_attached:
            return
        line = review_header(row, state, self._heading(), cells, app.glyphs, core=app.core)
        self.query_one(Header).show([line])
        if state is not None:
            gate = state.board.gate
            self.query_one("#counts", Rows).show(counts_lines(state.tally, gate, cells, app.glyphs))
        self.draw_footer()

    def _heading(self) -> Heading:
        if self.state is None:
            return Heading()
        board = self.state.board
        table = board.agreement
        return Heading(
            rules=board.rules,
            judge=board.judge,
            kappa=table.kappa if table is not None else None,
            compared=table.compared if table is not None else 0,
        )

    def _ask(self) -> None:
        """The question of the moment: what to do with the range."""
        question, state = self.query_one(Question), self.state
        asked = self._asked if state is not None and state.range_from is not None else None
        question.display = asked is not None
        if asked is None or state is None:
            self._asked = None
            return
        chosen = state.chosen()
        glyphs = self.apollo.glyphs
        sign = mark_sign(asked.kind, glyphs)
        words = {"reject": "reject", "accept": "accept", "unsure": "put aside"}
        verb = words.get(asked.kind, "read, nothing to say of")
        span = f"{chosen[0][0]}{glyphs.to}{chosen[-1][0]}" if len(chosen) > 1 else f"{chosen[0][0]}"
        ask = [Span(f"{sign.text} {verb} {span}?", f"{sign.style} bold")]
        said = actions_count(len(chosen))
        if decided := sum(map(state.decided, chosen)):
            said += f", {decided} already decided"
        ask.append(Span(f"  {said}", "dim"))
        question.show([question_line(ask, [("enter", "mark"), ("esc", "cancel")], self.size.width)])

    def hints(self) -> tuple[list[Hint], list[Hint]]:
        if (box := self.box_hints()) is not None:
            return box, [("esc", "close, keeps the draft")]
        if self._export_line.display:
            return [("enter", "export")], [("esc", "cancel")]
        marking = [("c", "accept"), ("x", "reject"), ("-", "unsure"), ("space", "read")]
        if self.state is not None and self.state.range_from is not None:
            moving = [("j k", "extend"), ("J K", "to landmark")]
            return [*moving, *marking], [("?", "help"), ("esc", "cancel")]
        turn = [("tab", "queue" if self._reading_text else "text")] if self._narrow else []
        return [
            *marking,
            ("r", "reason"),
            (".", "repeat"),
            ("u", "undo"),
            ("v", "range"),
            ("enter", "open at step"),
            ("o", "order"),
            ("J K", "landmark"),
            ("E", "export"),
            (":", "commands"),
        ], [*turn, ("?", "help"), ("q", "back")]

    def going_on(self) -> list[Span]:
        return self._export_line.going_on()

    def place_box(self, box: TextBox) -> None:
        if self._narrow:
            self.mount(box, before=self._export_line)
        else:
            self.query_one("#text").mount(box)

    # --- tokens --------------------------------------------------------------------------------

    def _count_tokens(self) -> None:
        """Count the tokens of the segment in sight, once."""
        state, chosen = self.state, self._reading.chosen
        if state is None or chosen is None or chosen.tokenizer is None or state.key is None:
            return
        segment = state.row(state.key).segment
        if state.has_tokens(segment) or self._counting is not None:
            return
        self._counting = segment
        self.run_worker(self._counted(state.board, segment), name="tokens", exit_on_error=True)

    async def _counted(self, board: Board, segment: int) -> None:
        try:
            found = await self._reading.tokens(board, segment)
        except ApolloError as error:
            self.apollo.complain(error.line)
            return  # `_counting` stays: what is damaged is not read again and again
        self._counting = None
        if found is not None and self.state is not None and self.is_attached:
            self.state.counted(segment, found)
            self._draw()

    # --- keys ----------------------------------------------------------------------------------

    def action_step(self, by: int) -> None:
        if self.state is not None and self.state.move(by):
            self._moved()

    def action_landmark(self, by: int) -> None:
        if self.state is not None and self.state.landmark(1 if by > 0 else -1):
            self._moved()

    def action_page(self, by: int) -> None:
        if self._reading_text and self._narrow:
            self._text.scroll_lines(by * max(1, self._text.size.height - 4))
        else:
            self.action_step(by * self._queue.page)

    def action_edge(self, to: int) -> None:
        if self.state is not None:
            self.action_step(to * max(1, self.state.tally.total * 3))

    def action_text(self, by: int) -> None:
        self._text.scroll_lines(by)

    def action_order(self) -> None:
        state = self.state
        if state is None:
            return
        self.apollo.said = f"unread {ORDER_NAMES[state.reorder()]}"
        self._moved()

    def action_turn(self) -> None:
        if self._narrow:
            self._reading_text = not self._reading_text
            self._fold()
            self.call_after_refresh(self._draw)

    def action_range(self) -> None:
        if self.state is None:
            return
        if self.state.range_from is None:
            self.state.begin_range()
        else:
            self.state.end_range()
        self._moved()

    def action_confirm(self) -> None:
        state = self.state
        if self._asked is not None:
            self.mark(self._asked)
        elif state is not None and (key := state.key) is not None:
            self.app.push_screen(RolloutScreen(self.reviewed, key))

    def action_cancel(self) -> None:
        if self._export_line.display:
            self._export_line.give_up()
        elif self.state is not None and self.state.range_from is not None:
            self.state.end_range()
            self._moved()
        elif self._export_line.running:
            self._export_line.cancel()
        else:
            self.action_back()

    def action_back(self) -> None:
        if self._export_line.running:
            self.apollo.complain("an export is being written; esc cancels it, then q goes back")
        elif self.state is not None and self.state.range_from is not None:
            self.action_cancel()
        else:
            self.dismiss()

    def action_next_need(self) -> None:
        waiting = [need.rollout for need in needs(self.apollo.history.rollouts())]
        if waiting:
            self.app.push_screen(RolloutScreen(waiting[0]))
        else:
            self.apollo.said = "nothing needs you"
            self.draw_footer()

    def on_queue_chosen(self, event: Queue.Chosen) -> None:
        if self.state is not None and (place := self.state.place(event.spot)) is not None:
            self.state.go(place, event.spot.section)
            self._moved()

    def on_queue_scrolled(self, event: Queue.Scrolled) -> None:
        self.action_step(event.by)

    # --- exporting -----------------------------------------------------------------------------

    def action_export(self) -> None:
        if self._export_line.running:
            self.apollo.complain("an export is being written already; esc cancels it")
        elif self.state is None:
            self.apollo.complain("the rollout is still being read; nothing can be exported yet")
        elif self._row is not None and self.apollo.can_command():
            self._export_line.ask(self._row.name)

    def on_export_line_changed(self) -> None:
        self.call_after_refresh(self.draw_footer)

    def on_export_line_ended(self, event: ExportLine.Ended) -> None:
        self.apollo.said = event.said
        self.apollo.complain(event.complaint)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While one writes what to export, no key does anything to the queue."""
        if self._ready and self._export_line.display and hasattr(self, f"action_{action}"):
            return action == "cancel"
        return super().check_action(action, parameters)
