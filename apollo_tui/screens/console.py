"""Home: live panes of all rollouts, and below them what needs a person."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container

from apollo_tui.log.read import Entry, RolloutRow
from apollo_tui.screens.home_state import HomeLayout, HomeState, lay_out
from apollo_tui.screens.line import Span, fitted
from apollo_tui.screens.lines import View
from apollo_tui.screens.needs import Need, needs
from apollo_tui.screens.supervising import SupervisingScreen
from apollo_tui.screens.widgets.attention import Attention, attention_lines
from apollo_tui.screens.widgets.footer import Footer, Hint
from apollo_tui.screens.widgets.header import Header, home_header, plain_header
from apollo_tui.screens.widgets.pane import Pane, PlainList, plain_line
from apollo_tui.screens.widgets.text_box import TextBox


class ConsoleScreen(SupervisingScreen):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "open", id="open"),
        Binding("q", "app.detach", "detach", id="home-detach"),
        Binding("escape", "app.detach", "detach", show=False, id="home-detach-too"),
        Binding("l,tab,right", "move(1)", "next pane", id="next-pane"),
        Binding("h,shift+tab,left", "move(-1)", "previous pane", id="previous-pane"),
        Binding("j,down", "move_row(1)", "pane below", id="pane-below"),
        Binding("k,up", "move_row(-1)", "pane above", id="pane-above"),
        Binding("g,home", "choose(1)", "first pane", id="first-pane"),
        Binding("G,end", "choose(0)", "last pane", id="last-pane"),
        Binding("pagedown", "page(1)", "next page", id="next-page"),
        Binding("pageup", "page(-1)", "previous page", id="previous-page"),
        *(Binding(str(n), f"choose({n})", f"pane {n}", show=False) for n in range(1, 10)),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.state = HomeState()
        self._rows: dict[str, RolloutRow] = {}
        self._needs: list[Need] = []
        self._plan: HomeLayout | None = None
        self._shown_need = -1

    def compose(self) -> ComposeResult:
        yield Header()
        yield Container(id="panes")
        yield PlainList(id="plain")
        yield Attention()
        yield Footer()

    def on_mount(self) -> None:
        self.apollo.read(None)

    def on_screen_resume(self) -> None:
        self.apollo.read(None)

    def on_resize(self) -> None:
        self._plan = None
        self.call_after_refresh(self.apollo.read, None)

    # --- the rollout in focus ------------------------------------------------------------------

    @property
    def rollout(self) -> RolloutRow | None:
        focused = self.state.focused
        return self._rows.get(focused) if focused else None

    def looked_at(self) -> list[Entry]:
        for pane in self.query(Pane):
            if pane.display and pane.rollout == self.state.focused:
                newest = pane.newest_action()
                return [newest] if newest is not None else []
        return []

    # --- reading -------------------------------------------------------------------------------

    def read(self, rollouts: Collection[str] | None) -> None:
        rows = self.apollo.history.rollouts()
        self._rows = {row.id: row for row in rows}
        for row in rows:
            self.apollo.streams.settle(row)
        self._needs = needs(rows)
        changed = self.state.update([row.id for row in rows])
        if changed or self._plan is None:
            self._arrange()
            rollouts = None
        for pane in self.query(Pane):
            known = self._rows.get(pane.rollout or "")
            if known is not None and pane.display and (rollouts is None or known.id in rollouts):
                pane.read(known)
        self._draw_rest()

    def stream(self, rollouts: Collection[str]) -> None:
        for pane in self.query(Pane):
            if pane.display and pane.rollout in rollouts:
                pane.draw()

    def marks_changed(self) -> None:
        for pane in self.query(Pane):
            if pane.display:
                pane.draw()

    # --- drawing -------------------------------------------------------------------------------

    def _arrange(self) -> None:
        """Lay the panes out for this terminal and this number of rollouts."""
        layout = lay_out(self.size.width, self.size.height, len(self.state.rollouts))
        self._plan = layout
        box = self.query_one("#panes", Container)
        plain = layout.plain or not self.state.rollouts
        box.display = not plain
        self.query_one(PlainList).display = plain
        attention = self.query_one(Attention)
        attention.display = layout.attention > 0
        attention.styles.height = layout.attention
        attention.styles.margin = (1 if layout.gap else 0, 1, 0, layout.margin)
        box.styles.margin = (1 if layout.gap else 0, 1, 0, layout.margin)
        box.styles.grid_size_columns = layout.columns
        box.styles.grid_size_rows = layout.rows
        box.styles.grid_gutter_vertical = 2
        box.styles.grid_gutter_horizontal = 1 if layout.gap else 0
        panes = list(self.query(Pane))
        if len(panes) < layout.per_page:
            box.mount_all([Pane() for _ in range(layout.per_page - len(panes))])
        self._assign()

    def _assign(self) -> None:
        layout = self._plan
        if layout is None:
            return
        page = self.state.page(layout.per_page)
        first = self.state.first(layout.per_page)
        for index, pane in enumerate(self.query(Pane)):
            pane.display = index < len(page)
            if pane.display:
                rollout = page[index]
                pane.assign(
                    rollout,
                    first + index + 1,
                    focused=rollout == self.state.focused,
                    metrics=layout.metrics,
                )

    def _draw_rest(self) -> None:
        app, layout = self.apollo, self._plan
        if layout is None:
            return
        rows = list(self._rows.values())
        cells, now = self.size.width, app.now()
        header = self.query_one(Header)
        if layout.plain:
            header.show([plain_header(cells)])
        else:
            pages = self.state.pages(layout.per_page)
            line = home_header(
                rows,
                self._needs,
                cells,
                app.glyphs,
                core=app.core,
                disk=app.free_bytes(),
                page=pages,
            )
            header.show([line])
        fine = len(rows) - len({need.rollout for need in self._needs})
        wide = cells - 1 - layout.margin
        self.query_one(Attention).show(
            attention_lines(self._needs, fine, now, wide, app.glyphs, layout.attention)
        )
        self._draw_plain(rows)
        self.draw_footer()

    def _draw_plain(self, rows: list[RolloutRow]) -> None:
        plain = self.query_one(PlainList)
        if not plain.display:
            return
        cells = self.size.width
        if not rows:
            keys = [
                Span(" No rollouts yet. ", "dim"),
                Span("apollo-tui demo", "text bold"),
                Span(" starts three; ", "dim"),
                Span("apollo-tui run TASK", "text bold"),
                Span(" starts one.", "dim"),
            ]
            plain.show([fitted([], cells), fitted(keys, cells)])
            return
        view = View(cells, self.apollo.now(), self.apollo.annotator, self.apollo.glyphs)
        height = max(1, self.size.height - 2)
        start = max(0, min(self.state.focus - height // 2, len(rows) - height))
        plain.show(
            [
                plain_line(row, start + index + 1, view, focused=row.id == self.state.focused)
                for index, row in enumerate(rows[start : start + height])
            ]
        )

    def hints(self) -> tuple[list[Hint], list[Hint]]:
        kept = [("?", "help"), ("q", "detach")]
        if (box := self.box_hints()) is not None:
            return box, [("esc", "close, keeps the draft")]
        if not self.state.rollouts:
            return [(":", "commands")], kept
        return [
            ("enter", "open"),
            ("a", "advise"),
            self.pause_hint(),
            ("x", "reject"),
            ("!", "needs you"),
            ("c", "accept"),
            ("-", "unsure"),
            ("r", "reason"),
            ("m", "review"),
            ("1-9 h l", "pane"),
            (":", "commands"),
        ], kept

    def place_box(self, box: TextBox) -> None:
        self.mount(box, before=self.query_one(Footer))

    # --- keys ----------------------------------------------------------------------------------

    def _focus_moved(self) -> None:
        self._assign()
        for pane in self.query(Pane):
            known = self._rows.get(pane.rollout or "")
            if known is not None and pane.display:
                pane.read(known)
        self._draw_rest()

    def action_move(self, by: int) -> None:
        self.state.move(by)
        self._focus_moved()

    def action_move_row(self, by: int) -> None:
        columns = self._plan.columns if self._plan else 1
        target = self.state.focus + by * columns
        if 0 <= target < len(self.state.rollouts):
            self.state.focus = target
            self._focus_moved()

    def action_choose(self, number: int) -> None:
        if self.state.choose(number or len(self.state.rollouts)):
            self._focus_moved()

    def action_page(self, by: int) -> None:
        per_page = self._plan.per_page if self._plan else 1
        target = self.state.focus + by * per_page
        self.state.focus = max(0, min(len(self.state.rollouts) - 1, target))
        self._focus_moved()

    def action_next_need(self) -> None:
        if not self._needs:
            self.apollo.said = "nothing needs you"
            self.draw_footer()
            return
        self._shown_need = (self._shown_need + 1) % len(self._needs)
        self.state.show(self._needs[self._shown_need].rollout)
        self._focus_moved()

    def action_open(self) -> None:
        from apollo_tui.screens.rollout import RolloutScreen

        if self.state.focused is not None:
            self.app.push_screen(RolloutScreen(self.state.focused))

    def action_review(self) -> None:
        """Review begins with what is unread; a pane shows only the newest action."""
        self.review(None)

    def on_pane_chosen(self, event: Pane.Chosen) -> None:
        self.state.show(event.rollout)
        self._focus_moved()
        if event.open:
            self.action_open()
