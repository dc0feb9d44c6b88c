"""What Review shows of a board: the queue, where the cursor is, the counts. Plain Python.

A mark is shown at once: only its action's verdict is decided anew, and what is counted changes by the
difference. Everything else waits for the next board.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from apollo_tui.screens.marks import Mark, Place
from apollo_tui.screens.review_tally import Facts, Pace, facts, mark_of

if TYPE_CHECKING:
    from apollo_tui.filter.mask import TurnMask
    from apollo_tui.filter.verdicts import Verdict
    from apollo_tui.log.trajectory import MarkMade
    from apollo_tui.screens.review_board import Board, Row, Words

Section = Literal["decided", "second", "recent", "unread"]
SECTIONS: tuple[Section, ...] = ("decided", "second", "recent", "unread")
SOUGHT: tuple[Section, ...] = ("second", "recent", "unread", "decided")
"""The order in which an action is sought: it can stand in several sections."""
RECENT = 3
"""Actions that stay in sight after they were decided."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where the cursor is: a section of the queue, and the place in it."""

    section: Section
    index: int


class TurnTokens(NamedTuple):
    """How many tokens one reply's thinking and text have, and each of its calls."""

    prose: int
    calls: tuple[int, ...]


class ReviewState:
    """One annotator's review of one rollout."""

    def __init__(self, board: Board, annotator: str, *, hide_judge: bool = True) -> None:
        self.annotator = annotator
        self.hide_judge = hide_judge
        self.order = "transcript"
        self.pace = Pace()
        self.recent: list[Place] = []  # just decided, the newest last
        self.range_from: tuple[Section, Place] | None = None
        self.spot = Spot("unread", 0)
        self._own: dict[Place, Mark] = {}  # marks that the board does not know yet
        self._tokens: dict[int, Sequence[TurnTokens]] = {}
        self._unread_at = 0  # the rank in the order of where the cursor last was among the unread
        self._set(board)
        self._rest()

    # --- what is known -------------------------------------------------------------------------

    def take(self, board: Board, settled: Iterable[tuple[Place, Mark]] = ()) -> None:
        """Go on with a newer board. `settled` are marks that were in the log when it was begun."""
        here, was = self.key, self.spot.section
        for place, mark in settled:
            if self._own.get(place) is mark:
                del self._own[place]
        self._set(board)
        if here is None or not self.go(here, was):
            self._rest()

    def _set(self, board: Board) -> None:
        self.board = board
        self._own = {place: mark for place, mark in self._own.items() if place in board.at}
        self.recent = [place for place in self.recent if place in board.at]
        self._verdicts: dict[Place, Verdict] = {}
        self._counts: dict[int, list[int]] = {}
        self._tokens = {
            segment: counted
            for segment, counted in self._tokens.items()
            if segment < len(board.samples) and len(counted) == len(board.samples[segment].turns)
        }
        self.tally = board.tally.copy()
        for place in self._own:
            row, made = self.row(place), board.marks.get(place, ())
            own, standing = mark_of(made, self.annotator), board.standing(made)
            known = facts(row, own, standing, board.verdicts.of(*place), self.annotator)
            self.tally.count(known, -1)
            self.tally.count(self.facts(row), 1)
        self._queue()
        if self.range_from is not None and self._find(*self.range_from) is None:
            self.range_from = None

    @property
    def own(self) -> list[tuple[Place, Mark]]:
        """The marks that the board does not know yet."""
        return list(self._own.items())

    def marks(self, place: Place) -> tuple[MarkMade, ...]:
        return self.board.marks_with(place, self.annotator, self._own.get(place))

    def standing(self, place: Place) -> MarkMade | None:
        return self.board.standing(self.marks(place))

    def verdict(self, place: Place) -> Verdict:
        if place not in self._own:
            return self.board.verdicts.of(*place)
        if place not in self._verdicts:
            self._verdicts[place] = self.board.verdict(place, self.marks(place))
        return self._verdicts[place]

    def shown(self, place: Place) -> Verdict:
        """The verdict as the annotator may see it: while others' words are hidden, without them."""
        if self.hides(place):
            return self.board.verdict(place, (), judge=False)
        return self.verdict(place)

    def words(self, place: Place) -> Words | None:
        return self.board.words.get(place)

    def hides(self, place: Place) -> bool:
        """Whether what others and the judge say of an action is still hidden from the annotator, who
        is to decide without them."""
        return self.hide_judge and not self.decided(place)

    def read(self, place: Place) -> bool:
        """Whether anybody looked at it."""
        return self.standing(place) is not None

    def mine(self, place: Place) -> MarkMade | None:
        return mark_of(self.marks(place), self.annotator)

    def decided(self, place: Place) -> bool:
        """Whether the annotator has marked it."""
        return self.mine(place) is not None

    def seen(self, place: Place) -> MarkMade | None:
        """The mark to show of an action: the annotator's own, else what may be seen of others'."""
        return self.mine(place) or (None if self.hides(place) else self.standing(place))

    def facts(self, row: Row) -> Facts:
        own, standing = self.mine(row.key), self.standing(row.key)
        return facts(row, own, standing, self.verdict(row.key), self.annotator)

    def differs(self, place: Place) -> str:
        """Who says otherwise than the annotator: another one, else the judge; "" nobody."""
        mark = self.mine(place)
        if mark is None or mark.mark not in ("accept", "reject"):
            return ""
        keep, said = mark.mark == "accept", self.words(place)
        against = "reject" if keep else "accept"
        if other := next((one.annotator for one in self.marks(place) if one.mark == against), ""):
            return other
        judge = said.judge if said is not None else None
        return "judge" if judge is not None and judge.keep != keep else ""

    # --- marking -------------------------------------------------------------------------------

    def show(self, place: Place, mark: Mark, at: int) -> None:
        """Show a mark (or that one was taken back) from now on; `at` is UTC µs."""
        if place not in self.board.at or self._own.get(place) is mark:
            return
        self._change(place, mark, at)

    def forget(self, place: Place, at: int) -> None:
        """The core refused a mark: show what the log says."""
        if place in self._own:
            self._change(place, None, at)

    def _change(self, place: Place, own: Mark | None, at: int) -> None:
        here, section = self.key, self.spot.section
        row = self.row(place)
        before, weighed = self.facts(row), self._weigh_row(row)
        if own is None:
            del self._own[place]
        else:
            self._own[place] = own
        self._verdicts.pop(place, None)
        after = self.facts(row)
        self.tally.count(before, -1)
        self.tally.count(after, 1)
        counts = self._counts.get(row.segment)
        if counts is not None:
            now = self._weigh_row(row)
            counts[0] += now[0] - weighed[0]
            counts[1] += now[1] - weighed[1]
        self._move(place, before, after, at)
        if here is not None and (found := self._find(section, here)) is not None:
            self.spot = found  # the cursor stays on its action while the queue moves around it

    def _move(self, place: Place, before: Facts, after: Facts, at: int) -> None:
        """Take the action to the section of the queue where it belongs now."""
        if after.decided:
            if not before.decided:
                self.pace.add(at, 1)
                self._leave_unread(place)
            if place in self.recent:
                self.recent.remove(place)
            self.recent.append(place)
            for gone in self.recent[:-RECENT]:
                if gone not in self._decided:
                    self._decided.insert(0, gone)
            self.recent = self.recent[-RECENT:]
        else:
            if place in self.recent:
                self.recent.remove(place)
            if before.decided:
                self._enter_unread(place)
            if place in self._decided:
                self._decided.remove(place)
        self._second_changed(place)

    # --- the queue -----------------------------------------------------------------------------

    def _queue(self) -> None:
        board = self.board
        if self.order not in board.orders:
            self.order = "transcript"
        order, self._rank = board.orders[self.order], board.ranks[self.order]
        marked = {
            at for place in (*board.marks, *self._own) if (at := board.at.get(place)) is not None
        }
        mine = {at: mark for at in marked if (mark := self.mine(board.rows[at].key)) is not None}
        self._unread = [at for at in order if at not in mine]
        self._second = sorted(at for at in mine if self._wants_second(board.rows[at].key))
        newest = sorted(mine, key=lambda at: mine[at].seq, reverse=True)
        self._decided = [
            board.rows[at].key for at in newest
        ]  # as of the log; then as `recent` ends

    def _wants_second(self, place: Place) -> bool:
        mark = self.mine(place)
        return mark is not None and (mark.mark == "unsure" or self.differs(place) != "")

    def _second_changed(self, place: Place) -> None:
        at = self.board.at[place]
        index = bisect_left(self._second, at)
        there = index < len(self._second) and self._second[index] == at
        if there and not self._wants_second(place):
            del self._second[index]
        elif not there and self._wants_second(place):
            self._second.insert(index, at)

    def _unread_index(self, place: Place) -> int:
        rank = self._rank[self.board.at[place]]
        return bisect_left(self._unread, rank, key=self._rank.__getitem__)

    def _leave_unread(self, place: Place) -> None:
        index = self._unread_index(place)
        if index < len(self._unread) and self._unread[index] == self.board.at[place]:
            del self._unread[index]

    def _enter_unread(self, place: Place) -> None:
        self._unread.insert(self._unread_index(place), self.board.at[place])

    def size(self, section: Section) -> int:
        match section:
            case "recent":
                return len(self.recent)
            case "second":
                return len(self._second)
            case "decided":
                return len(self._decided)
        return len(self._unread)

    def place(self, spot: Spot) -> Place | None:
        """The action at a spot of the queue."""
        if not 0 <= spot.index < self.size(spot.section):
            return None
        if spot.section in ("recent", "decided"):
            return (self.recent if spot.section == "recent" else self._decided)[spot.index]
        places = self._second if spot.section == "second" else self._unread
        return self.board.rows[places[spot.index]].key

    def row(self, place: Place) -> Row:
        return self.board.rows[self.board.at[place]]

    def reorder(self) -> str:
        """The next order of the unread; returns its name."""
        orders = list(self.board.orders)
        self.order = orders[(orders.index(self.order) + 1) % len(orders)]
        self.range_from = None
        self._queue()
        self.spot = Spot("unread", 0)
        self._rest()
        return self.order

    # --- the cursor ----------------------------------------------------------------------------

    @property
    def key(self) -> Place | None:
        """The action under the cursor."""
        return self.place(self.spot)

    def _rest(self) -> None:
        """Put the cursor where there is something: the unread, then what was just decided."""
        if self.key is None:
            sections: tuple[Section, ...] = ("unread", "recent", "second", "decided")
            for section in (self.spot.section, *sections):
                if size := self.size(section):
                    self.spot = Spot(section, min(self.spot.index, size - 1))
                    break
            else:
                self.spot = Spot("unread", 0)
        self._remember()

    def _remember(self) -> None:
        if self.spot.section == "unread" and (key := self.key) is not None:
            self._unread_at = self._rank[self.board.at[key]]

    def go(self, place: Place, section: Section | None = None) -> bool:
        """To an action, in this section if it is there; False when there is no such action."""
        sections = SOUGHT if section is None else (section, *SOUGHT)
        found = next((spot for one in sections if (spot := self._find(one, place))), None)
        if found is None:
            return False
        self.spot = found
        self._remember()
        return True

    def _find(self, section: Section, place: Place) -> Spot | None:
        at = self.board.at.get(place)
        if at is None:
            return None
        if section in ("recent", "decided"):
            listed = self.recent if section == "recent" else self._decided
            return Spot(section, listed.index(place)) if place in listed else None
        second = section == "second"
        places = self._second if second else self._unread
        index = bisect_left(places, at) if second else self._unread_index(place)
        there = index < len(places) and places[index] == at
        return Spot(section, index) if there else None

    def move(self, by: int) -> bool:
        """Along the queue, over the borders of its sections; False at its ends."""
        start = self._flat(self.spot)
        last = sum(self.size(section) for section in SECTIONS) - 1
        target = max(0, min(last, start + by))
        if last < 0 or target == start:
            return False
        self.spot = self._at_flat(target)
        self._remember()
        return True

    def _flat(self, spot: Spot) -> int:
        before = SECTIONS[: SECTIONS.index(spot.section)]
        return sum(self.size(section) for section in before) + spot.index

    def _at_flat(self, index: int) -> Spot:
        for section in SECTIONS[:-1]:
            if index < self.size(section):
                return Spot(section, index)
            index -= self.size(section)
        return Spot("unread", index)

    def landmark(self, by: Literal[1, -1]) -> bool:
        """To the next action that somebody or some rule says something of."""
        read = sum(self.size(one) for one in SECTIONS[:-1])  # all of them were marked
        index = self._flat(self.spot) + by
        if index >= read:
            ahead = range(index - read, len(self._unread) if by > 0 else -1, by)
            found = next((at for at in ahead if self._unread[at] in self.board.said), None)
            index = read - 1 if found is None and by < 0 else -1 if found is None else read + found
        if index < 0:
            return False
        self.spot = self._at_flat(index)
        self._remember()
        return True

    def advance(self, marked: Spot) -> None:
        """After a mark made at a spot: to the next that asks for one."""
        if marked.section == "second" and (size := self.size("second")):
            # What left the list made room for the next; what stayed is behind us.
            stayed = self.place(marked) in self.recent
            index = marked.index + stayed
            if index < size:
                self.spot = Spot("second", index)
                return
        if marked.section == "decided" and self.spot.section == "decided":
            self.move(1 if self.spot.index + 1 < self.size("decided") else 0)
            return
        if not self._unread:
            self.spot = Spot("recent", max(0, len(self.recent) - 1))
            self._rest()
            return
        index = bisect_left(self._unread, self._unread_at, key=self._rank.__getitem__)
        self.spot = Spot("unread", index if index < len(self._unread) else 0)
        self._remember()

    def begin_range(self) -> None:
        here = self.key
        self.range_from = None if here is None else (self.spot.section, here)

    def end_range(self) -> None:
        self.range_from = None

    @property
    def chosen_spots(self) -> tuple[Spot, Spot]:
        """First and last spot of the range; the cursor's twice when there is none."""
        other = self._find(*self.range_from) if self.range_from is not None else None
        first, last = sorted((self.spot, other or self.spot), key=self._flat)
        return first, last

    def chosen(self) -> list[Place]:
        """The actions of the range in the queue's order, or the one under the cursor."""
        first, last = (self._flat(spot) for spot in self.chosen_spots)
        found = (self.place(self._at_flat(index)) for index in range(first, last + 1))
        return list(dict.fromkeys(place for place in found if place is not None))

    # --- what of a segment trains --------------------------------------------------------------

    def mask(self, segment: int, turn: int, *, shown: bool = False) -> TurnMask:
        """What of a turn trains; `shown` as the annotator may see it."""
        step = self.board.samples[segment].turns[turn].step
        places = [(step.number, action.ordinal) for action in step.actions]
        of = self.shown if shown else self.verdict
        return self.board.mask(segment, turn, {place: of(place) for place in places})

    def turn_at(self, segment: int, position: int) -> int | None:
        """The turn whose reply is the message at a position; None when none is."""
        turns = self.board.samples[segment].turns
        index = bisect_left(turns, position, key=lambda turn: turn.position)
        there = index < len(turns) and turns[index].position == position
        return index if there else None

    def answered(self, segment: int, position: int, call: str) -> Place | None:
        """The action of the reply before a position whose call has this id: what the message there
        is the observation of."""
        turns = self.board.samples[segment].turns
        index = bisect_left(turns, position, key=lambda turn: turn.position) - 1
        actions = turns[index].step.actions if index >= 0 else ()
        found = (action for action in actions if action.call_id == call)
        return next(((action.step, action.ordinal) for action in found), None)

    def counted(self, segment: int, tokens: Sequence[TurnTokens]) -> None:
        """The tokens of a segment's turns are known."""
        if len(tokens) == len(self.board.samples[segment].turns):
            self._tokens[segment] = tokens
            self._counts.pop(segment, None)

    def has_tokens(self, segment: int) -> bool:
        return segment in self._tokens

    def segment_counts(self, segment: int) -> tuple[int, int]:
        """What of a segment trains and what is masked: in tokens where they were counted, else in
        actions."""
        counts = self._counts.get(segment)
        if counts is None:
            turns = range(len(self.board.samples[segment].turns))
            weighed = [self._weigh(segment, turn) for turn in turns]
            counts = [sum(one[0] for one in weighed), sum(one[1] for one in weighed)]
            self._counts[segment] = counts
        return counts[0], counts[1]

    def _weigh_row(self, row: Row) -> tuple[int, int]:
        if row.turn < 0 or row.segment not in self._counts:
            return 0, 0
        return self._weigh(row.segment, row.turn)

    def _weigh(self, segment: int, turn: int) -> tuple[int, int]:
        masked, tokens = self.mask(segment, turn), self._tokens.get(segment)
        if tokens is None:
            trains = sum(masked.actions)
            return trains, len(masked.actions) - trains
        prose, calls = tokens[turn]
        trains = prose * masked.prose
        trains += sum(many for many, kept in zip(calls, masked.actions, strict=True) if kept)
        return trains, prose + sum(calls) - trains
