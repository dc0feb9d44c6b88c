"""A transcript of any length: pages from the log, and only what is on the screen is laid out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from textual import events
from textual.message import Message

from apollo_tui.log.read import Entry, History, RolloutRow
from apollo_tui.screens.glyphs import Glyphs
from apollo_tui.screens.line import Line, Span, fitted, on
from apollo_tui.screens.lines import View, entry_lines, mark_sign, queued
from apollo_tui.screens.stream_lines import streaming_lines
from apollo_tui.screens.transcript_state import TranscriptState
from apollo_tui.screens.widgets.rows import Rows

PAGE = 128
PAGES = 32
STREAMED = 4
"""Lines of an arriving reply on the screen at most."""


class Pages:
    """Entries of one rollout by number, read a page at a time; the least used pages go."""

    def __init__(self, history: History, rollout: str) -> None:
        self._history = history
        self._rollout = rollout
        self._pages: OrderedDict[int, list[Entry]] = OrderedDict()

    def __call__(self, n: int) -> Entry | None:
        at = (n - 1) // PAGE
        page = self._pages.get(at)
        if page is None:
            page = self._history.entries(self._rollout, at * PAGE + 1, PAGE)
            self._pages[at] = page
            if len(self._pages) > PAGES:
                self._pages.popitem(last=False)
        else:
            self._pages.move_to_end(at)
        index = n - 1 - at * PAGE
        return page[index] if 0 <= index < len(page) else None

    def forget(self) -> None:
        """The log has changed: marks and results may have come to any entry."""
        self._pages.clear()


class Transcript(Rows):
    """The left side of the rollout screen. Its last column is scrollbar and map of landmarks."""

    class Moved(Message):
        """The cursor rests on another entry, or the entry has changed."""

    def __init__(self, rollout: str) -> None:
        super().__init__(id="transcript")
        self.rollout = rollout
        self._row: RolloutRow | None = None
        self._map: list[str] = []
        self._mapped: tuple[int, ...] = ()
        self._mapped_total = 0
        self._drawn: dict[int, list[Line]] = {}
        self._queued: list[Entry] = []

    def on_mount(self) -> None:
        self._pages = Pages(self.apollo.history, self.rollout)
        self.state = TranscriptState(self._stands_alone)

    # --- what there is -------------------------------------------------------------------------

    def read(self, row: RolloutRow) -> None:
        """Take in what the log says now."""
        self._row = row
        self._pages.forget()
        self._drawn.clear()
        advice = self.apollo.history.advice(row.id) if row.queued_advice else []
        self._queued = queued(advice, row.entries)
        self.state.grow(row.entries)
        self.draw()
        self.post_message(self.Moved())

    def entry(self, n: int) -> Entry | None:
        found = self._pages(n)
        return self.apollo.marks.seen(self.rollout, found) if found is not None else None

    def chosen(self) -> list[Entry]:
        """The entries of the range, or the cursor's; for a step without action: nothing."""
        first, last = self.state.chosen
        return [entry for n in range(first, last + 1) if (entry := self.entry(n)) is not None]

    def action_above(self) -> Entry | None:
        """The nearest action at the cursor or before it."""
        for n in range(self.state.cursor, 0, -1):
            if (entry := self.entry(n)) is not None and entry.kind == "action":
                return entry
        return None

    def _stands_alone(self, n: int) -> bool:
        entry = self._pages(n)
        if entry is None or entry.kind != "thinking":
            return entry is not None
        following = self._pages(n + 1)
        return following is not None and following.step != entry.step

    # --- moving --------------------------------------------------------------------------------

    def step(self, by: int) -> None:
        self.state.step(by)
        self._moved()

    def landmark(self, by: Literal[1, -1]) -> None:
        found = self.apollo.history.landmark(self.rollout, self.state.cursor, by)
        if found is not None:
            self.state.go(found)
        elif by > 0:
            self.state.to_live()
        self._moved()

    def to_start(self) -> None:
        self.state.to_start()
        self._moved()

    def to_live(self) -> None:
        self.state.to_live()
        self._moved()

    def page(self, by: int) -> None:
        self.state.page(self._lines_of, self._last, self.size.height, by)
        self._moved(reveal=False)

    def open_thinking(self) -> None:
        """Show the thinking of the cursor's step in full, or fold it again."""
        entry = self.entry(self.state.cursor)
        if entry is None:
            return
        first = self.apollo.history.entry_of_step(self.rollout, entry.step) or self.state.cursor
        for n in range(first, self.state.cursor + 1):
            found = self.entry(n)
            if found is not None and found.kind == "thinking":
                self.state.opened.symmetric_difference_update({n})
        self._drawn.clear()
        self._moved()

    def show_action(self, step: int, ordinal: int) -> None:
        n = self.apollo.history.entry_of_step(self.rollout, step, ordinal)
        if n is not None:
            self.state.go(n)
            self._moved()

    def begin_range(self) -> None:
        rows = self.state.window(self._lines_of, self._last, self.size.height)
        if self.state.following and rows:
            self.state.top = self._top_of(rows)
        self.state.begin_range()
        self._moved()

    def end_range(self) -> None:
        self.state.end_range()
        self._moved()

    def _moved(self, *, reveal: bool = True) -> None:
        if reveal:
            self.state.reveal(self._lines_of, self._last, self.size.height)
        self.draw()
        self.post_message(self.Moved())

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.state.scroll(self._lines_of, self._last, self.size.height, 3)
        self.draw()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.state.scroll(self._lines_of, self._last, self.size.height, -3)
        self.draw()

    def on_click(self, event: events.Click) -> None:
        rows = self.state.window(self._lines_of, self._last, self.size.height)
        if event.x >= self.size.width - 1 and self._row is not None:
            self.state.go(1 + event.y * self.state.total // max(1, self.size.height))
            self._moved()
        elif event.y < len(rows) and rows[event.y][0] <= self.state.total:
            self.state.top = self._top_of(rows)
            self.state.go(rows[event.y][0])
            self._moved()

    def _top_of(self, rows: list[tuple[int, Line]]) -> tuple[int, int]:
        first = rows[0][0]
        seen = sum(1 for n, _ in rows if n == first)
        return first, max(0, len(self._lines_of(first)) - seen)

    # --- drawing -------------------------------------------------------------------------------

    def draw(self) -> None:
        height, row = self.size.height, self._row
        if row is None or not height:
            return
        rows = self.state.window(self._lines_of, self._last, height)
        first, last = self.state.chosen
        opening = self._opening(first)
        glyphs = self.apollo.glyphs
        lines: list[Line] = []
        for n, line in rows:
            here = opening <= n <= last and n <= self.state.total and line.text.strip() != ""
            shown = on(line, "select", glyphs.cursor) if here else line
            lines.append(shown)
        if not rows:
            lines = [fitted([Span("  No steps yet.", "dim")], self._text_width)]
        divider = self._divider(rows, height)
        blank = fitted([], self._text_width)
        self.show(
            [self._beside(lines[y] if y < len(lines) else blank, divider[y]) for y in range(height)]
        )

    def _opening(self, n: int) -> int:
        """In a range the thinking before its first action belongs to it."""
        if self.state.range_from is None or n <= 1:
            return n
        before = self._pages(n - 1)
        return n - 1 if before is not None and before.kind == "thinking" else n

    def _beside(self, line: Line, divider: Span) -> Line:
        ground = line.ground
        spans = [Span(span.text, span.style, span.ground or ground) for span in line.spans]
        return fitted([Span(" "), *spans, Span(" "), divider], self.size.width)

    @property
    def _text_width(self) -> int:
        return max(1, self.size.width - 3)

    @property
    def _last(self) -> int:
        live = self.apollo.streams.of(self.rollout) is not None or bool(self._queued)
        return self.state.total + live

    def _lines_of(self, n: int) -> Sequence[Line]:
        if n > self.state.total:
            return self._live()
        lines = self._drawn.get(n)
        if lines is None:
            if len(self._drawn) > 2000:
                self._drawn.clear()
            entry = self.entry(n)
            before = self._pages(n - 1) if n > 1 else None
            view = replace(self._view(), opened=n in self.state.opened)
            lines = entry_lines(entry, view, before) if entry is not None else []
            self._drawn[n] = lines
        return lines

    def _live(self) -> list[Line]:
        """What is not in the transcript yet: the arriving reply, and advice still to go in."""
        view, blank = self._view(), fitted([], self._text_width)
        lines: list[Line] = []
        stream = self.apollo.streams.of(self.rollout)
        if stream is not None:
            lines = [blank] if self.state.total else []
            lines += streaming_lines(stream, view, STREAMED)
        for entry in self._queued:
            lines += [blank, *entry_lines(entry, view)]
        return lines

    def _view(self) -> View:
        app, row = self.apollo, self._row
        cells = self._text_width
        return View(
            width=cells,
            now=app.now(),
            annotator=app.annotator,
            glyphs=app.glyphs,
            tool=22 if cells >= 90 else 16 if cells >= 66 else 14,
            free_rows=self.size.height >= 18,
            submissions=row.max_submissions if row is not None else None,
        )

    def forget_drawn(self) -> None:
        """Marks or the theme have changed."""
        self._drawn.clear()
        self.draw()

    def on_resize(self) -> None:
        self._drawn.clear()
        if self._row is not None:
            self.state.reveal(self._lines_of, self._last, self.size.height)
            self.draw()

    # --- the divider ---------------------------------------------------------------------------

    def _divider(self, rows: list[tuple[int, Line]], height: int) -> list[Span]:
        """Where one is, and the landmarks where they lie. When the whole transcript is on the
        screen there is nothing to scroll, and each landmark stands beside its own row."""
        total, glyphs = self.state.total, self.apollo.glyphs
        whole = bool(rows) and rows[0][0] == 1 and len(rows) <= height and rows[-1][0] >= total
        whole = whole and self.state.top in ((1, 0), (0, 0))
        landmarks = self._landmarks(total if whole else height)
        if whole:
            beside: dict[int, int] = {}
            for y, (n, line) in enumerate(rows):
                if n <= total and line.text.strip():
                    beside.setdefault(n, y)
            kinds = [""] * height
            for n, y in beside.items():
                kinds[y] = landmarks[n - 1]
            return [landmark_span(kind, False, glyphs) for kind in kinds]
        begin = (rows[0][0] - 1) * height // max(1, total) if rows else 0
        end = (min(rows[-1][0], total) - 1) * height // max(1, total) if rows else -1
        return [
            landmark_span(landmarks[y], begin <= y <= max(begin, end), glyphs)
            for y in range(height)
        ]

    def _landmarks(self, buckets: int) -> list[str]:
        row = self._row
        assert row is not None
        state = (buckets, row.marks, row.errors, row.submissions, row.queued_advice)
        # What grows at the end moves a long map by less than a cell: it need not be read again.
        stale = self.state.total > self._mapped_total * 1.01
        if self._mapped != state or stale:
            found = self.apollo.history.landmark_map(self.rollout, buckets)
            self._map = found + [""] * (buckets - len(found))
            self._mapped, self._mapped_total = state, self.state.total
        return self._map


def landmark_span(kind: str, here: bool, glyphs: Glyphs) -> Span:
    match kind:
        case "attention":
            return Span(glyphs.needs, "attention bold")
        case "reject" | "accept" | "unsure":
            return mark_sign(kind, glyphs)
        case "submission":
            return Span(glyphs.submission, "accent")
        case "error":
            return Span(glyphs.error, "error")
        case "advice":
            return Span(glyphs.advice, "accent")
    return Span(glyphs.thumb, "dim") if here else Span(glyphs.divider, "line")
