"""Reading for Review on threads: boards and tokens, each over a connection of its own.

The filter is imported there too, so that no key waits for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from apollo_tui.paths import Home

if TYPE_CHECKING:
    from apollo_tui.screens.review_board import Board, Chosen
    from apollo_tui.screens.review_state import TurnTokens


class Reading:
    """One rollout's. `chosen` is what the configuration says of Review, once a board was read."""

    def __init__(self, home: Home, rollout: str, annotator: str) -> None:
        self._home = home
        self._rollout = rollout
        self._annotator = annotator
        self._wanted = True
        self.chosen: Chosen | None = None

    def close(self) -> None:
        """Nobody waits any more: what is being read ends soon, with None."""
        self._wanted = False

    async def board(self) -> Board | None:
        """The rollout as the log has it now. Raises LogError."""
        return await asyncio.to_thread(self._read_board)

    def _read_board(self) -> Board | None:
        from apollo_tui.screens.review_board import (
            Abandoned,
            WatchedHistory,
            read_board,
            read_settings,
        )

        if self.chosen is None:
            self.chosen = read_settings(self._home)
        history = WatchedHistory(self._home.database, lambda: self._wanted)
        try:
            return read_board(history, self._rollout, self._annotator)
        except Abandoned:
            return None
        finally:
            history.close()

    async def tokens(self, board: Board, segment: int) -> list[TurnTokens] | None:
        """The tokens of a segment's replies; None without a tokenizer. Raises LogCorrupt."""
        return await asyncio.to_thread(self._count_tokens, board, segment)

    def _count_tokens(self, board: Board, segment: int) -> list[TurnTokens] | None:
        from apollo_tui.screens.review_board import Abandoned, WatchedHistory, count_tokens

        if self.chosen is None or self.chosen.tokenizer is None:
            return None
        history = WatchedHistory(self._home.database, lambda: self._wanted)
        try:
            return count_tokens(history, board.samples[segment], self.chosen.tokenizer)
        except Abandoned:
            return None
        finally:
            history.close()

    @property
    def what_is_counted(self) -> str:
        """What there is to say while no tokens are counted."""
        if self.chosen is None:
            return ""
        if self.chosen.settings.tokenizer is None:
            return "no tokenizer chosen"
        return "no tokenizer" if self.chosen.tokenizer is None else "counting tokens"
