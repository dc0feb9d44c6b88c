"""Where one looks in a transcript: the cursor, the entry at the top, the range, live or not.

Entries have different heights and there may be a million of them, so positions are (entry, line
within it) and only what is on the screen is ever laid out. Plain Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

L = TypeVar("L")
LinesOf = Callable[[int], Sequence[L]]
"""The lines of entry n; entry `last` may be the reply that is still arriving."""


class TranscriptState:
    """Entries count from 1 to `total`; `stands_alone(n)` says whether the cursor may rest on n."""

    def __init__(self, stands_alone: Callable[[int], bool], total: int = 0) -> None:
        self._stands_alone = stands_alone
        self.total = total
        self.following = True
        self.cursor = self._near(total, -1)
        self.top = (1, 0)
        self.range_from: int | None = None
        self.opened: set[int] = set()

    # --- what there is -------------------------------------------------------------------------

    def grow(self, total: int) -> None:
        """More entries at the end; the cursor goes along only when following live."""
        self.total = total
        if self.following and self.range_from is None:
            self.cursor = self._near(total, -1)
        elif self.cursor == 0:
            self.cursor = self._near(1, 1)

    # --- moving --------------------------------------------------------------------------------

    def step(self, by: int) -> bool:
        """To the next or previous entry one can rest on; False at the end."""
        target = self._near(self.cursor + by, by)
        if target == 0:
            if by > 0:
                self.following = self.range_from is None
            return False
        self.go(target)
        return True

    def go(self, n: int) -> None:
        """To entry n, or what stands for it (thinking belongs to the action after it)."""
        target = self._near(max(1, min(n, self.total)), 1) or self._near(self.total, -1)
        if target:
            self.cursor = target
            self.following = False

    def to_start(self) -> None:
        self.go(1)
        self.top = (1, 0)

    def to_live(self) -> None:
        self.cursor = self._near(self.total, -1)
        self.following = True

    def begin_range(self) -> None:
        self.range_from = self.cursor or None
        self.following = False

    def end_range(self) -> None:
        self.range_from = None

    @property
    def chosen(self) -> tuple[int, int]:
        """First and last entry of the range, or the cursor's entry twice."""
        other = self.cursor if self.range_from is None else self.range_from
        return min(other, self.cursor), max(other, self.cursor)

    def _near(self, n: int, direction: int) -> int:
        """The nearest entry from n on that the cursor may rest on; 0 if there is none."""
        while 1 <= n <= self.total:
            if self._stands_alone(n):
                return n
            n += direction
        return 0

    # --- what is seen --------------------------------------------------------------------------

    def window(self, lines_of: LinesOf[L], last: int, height: int) -> list[tuple[int, L]]:
        """The `height` lines on screen (fewer when there are fewer), each with its entry.

        `last` is the last entry that has lines. Leaves `top` where the window begins.
        """
        if height <= 0 or last < 1:
            return []
        if not self.following:
            rows = _forward(lines_of, self.top, last, height)
            if len(rows) == height:
                return rows
        rows, self.top = _backward(lines_of, last, height)
        return rows

    def reveal(self, lines_of: LinesOf[L], last: int, height: int) -> None:
        """Scroll as little as needed to have the cursor's entry on the screen."""
        if self.following or not self.cursor or height <= 0:
            return
        if (self.cursor, 0) < self.top:
            before = self.cursor - 1
            opening = before >= 1 and not self._stands_alone(before)
            self.top = (before if opening else self.cursor, 0)
            return
        rows = _forward(lines_of, self.top, last, height)
        seen = sum(1 for n, _ in rows if n == self.cursor)
        if seen < min(height, len(lines_of(self.cursor))):
            _, self.top = _backward(lines_of, self.cursor, height)

    def scroll(self, lines_of: LinesOf[L], last: int, height: int, by: int) -> None:
        """Move the window by lines; at the live end it follows again."""
        if by < 0:
            self.top = _up(lines_of, self.top, -by)
            self.following = False
        elif not self.following:
            rows = _forward(lines_of, self.top, last, height + by)
            if len(rows) < height + by:
                self.following = self.range_from is None
                _, self.top = _backward(lines_of, last, height)
            else:
                self.top = _down(lines_of, self.top, last, by)
        if self.following:
            self.cursor = self._near(self.total, -1)

    def page(self, lines_of: LinesOf[L], last: int, height: int, by: int) -> None:
        """A screenful up or down; the cursor goes along."""
        self.scroll(lines_of, last, height, by * max(1, height - 2))
        if self.following:
            return
        rows = _forward(lines_of, self.top, last, height)
        on_screen = [n for n, _ in rows if n <= self.total and self._stands_alone(n)]
        if on_screen and self.cursor not in on_screen:
            self.cursor = on_screen[0] if by > 0 else on_screen[-1]


def _forward(
    lines_of: LinesOf[L], top: tuple[int, int], last: int, height: int
) -> list[tuple[int, L]]:
    n, skip = top
    rows: list[tuple[int, L]] = []
    while n <= last and len(rows) < height:
        rows += [(n, line) for line in lines_of(n)[skip:]]
        n, skip = n + 1, 0
    return rows[:height]


def _backward(
    lines_of: LinesOf[L], last: int, height: int
) -> tuple[list[tuple[int, L]], tuple[int, int]]:
    """The `height` lines that end with entry `last`, and where they begin."""
    found: list[list[tuple[int, L]]] = []
    have, n = 0, last
    while n >= 1 and have < height:
        lines = [(n, line) for line in lines_of(n)]
        found.append(lines)
        have += len(lines)
        n -= 1
    rows = [row for lines in reversed(found) for row in lines]
    over = max(0, have - height)
    return rows[over:], (n + 1, over)


def _up(lines_of: LinesOf[L], top: tuple[int, int], by: int) -> tuple[int, int]:
    n, skip = top
    while by > skip and n > 1:
        by -= skip
        n -= 1
        skip = len(lines_of(n))
    return n, max(0, skip - by)


def _down(lines_of: LinesOf[L], top: tuple[int, int], last: int, by: int) -> tuple[int, int]:
    n, skip = top
    while n < last and by >= (left := len(lines_of(n)) - skip):
        by -= left
        n, skip = n + 1, 0
    return n, skip + by
