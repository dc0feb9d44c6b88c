"""The home screen's state: which panes there are, where, and which has the focus. Plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HomeLayout:
    """How panes are laid out. `plain` is the list of rollouts for terminals below 60 x 16."""

    columns: int
    rows: int
    attention: int  # lines of the needs-you section, its title included; 0: none
    gap: bool  # a free row between sections
    margin: int  # free cells at the left edge; at the right there is always one
    metrics: bool  # panes have their line of model, metrics and spend
    plain: bool = False

    @property
    def per_page(self) -> int:
        return self.columns * self.rows


def lay_out(width: int, height: int, rollouts: int) -> HomeLayout:
    """The layout for a terminal of this size; short ones lose free rows, then the metrics line."""
    if width < 60 or height < 16:
        return HomeLayout(1, 1, 0, False, 0, False, plain=True)
    columns = 1 if width < 110 else 2 if width < 240 else 3
    columns = max(1, min(columns, rollouts))
    attention = 4 if height >= 36 else 2
    needed = -(-max(1, rollouts) // columns)
    for gap, least in ((True, 9), (False, 5)):
        free = height - 2 - attention - (2 if gap else 0)
        rows = max(1, (free + gap) // (least + gap))
        if rows >= needed or not gap:
            rows = min(rows, needed)
            break
    each = (free - (rows - 1) * gap) // rows
    return HomeLayout(columns, rows, attention, gap, 1 if width > 80 else 0, each >= 8)


class HomeState:
    """The rollouts in order and the focus among them; the page follows the focus."""

    def __init__(self) -> None:
        self.rollouts: tuple[str, ...] = ()
        self.focus = 0

    @property
    def focused(self) -> str | None:
        return self.rollouts[self.focus] if self.focus < len(self.rollouts) else None

    def update(self, rollouts: Sequence[str]) -> bool:
        """Take over what there is now; the focus stays on its rollout. True if anything changed."""
        new = tuple(rollouts)
        if new == self.rollouts:
            return False
        was = self.focused
        self.rollouts = new
        self.focus = new.index(was) if was in new else min(self.focus, max(0, len(new) - 1))
        return True

    def page(self, per_page: int) -> tuple[str, ...]:
        """The rollouts on the page that the focus is on."""
        start = self.first(per_page)
        return self.rollouts[start : start + per_page]

    def first(self, per_page: int) -> int:
        return self.focus // max(1, per_page) * max(1, per_page)

    def pages(self, per_page: int) -> tuple[int, int]:
        """This page and how many there are, from 1."""
        per_page = max(1, per_page)
        total = max(1, -(-len(self.rollouts) // per_page))
        return self.focus // per_page + 1, total

    def move(self, by: int) -> None:
        """To the next or previous pane, around the ends."""
        if self.rollouts:
            self.focus = (self.focus + by) % len(self.rollouts)

    def choose(self, number: int) -> bool:
        """To pane `number`, from 1; False when there is none."""
        if not 1 <= number <= len(self.rollouts):
            return False
        self.focus = number - 1
        return True

    def show(self, rollout: str) -> None:
        if rollout in self.rollouts:
            self.focus = self.rollouts.index(rollout)
