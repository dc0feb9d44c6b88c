"""Review in the real console: a mark made there is in the log, and an export is written from there."""

from __future__ import annotations

from pathlib import Path

from apollo_tui.paths import Home
from tests.console.terminal import Terminal
from tests.running import core, events
from tests.screens.reviewable import home_with, limo


async def test_review_mark_export_leave(home: Home, tmp_path: Path) -> None:
    await home_with(home.path, limo())
    async with core(home):
        with Terminal(home, "--as", "ana", columns=160, lines=45) as terminal:
            terminal.wait("limo-filter")
            terminal.press("m")
            terminal.wait("verdict of 5")
            terminal.press("x")
            terminal.wait("verdict of 9")
            terminal.wait("8 of 18")
            terminal.press("r", *"drift", "enter")
            terminal.wait("last reason  drift")
            terminal.press("j", "j", "enter")
            terminal.wait("observation")
            terminal.press("q")
            terminal.wait("verdict of 11")
            terminal.press("E")
            terminal.wait("export as FORM FOLDER")
            terminal.press("\x15", *f"poems {tmp_path}/rows", "enter")
            terminal.wait("'poems' is not one of", 60)
            terminal.press("\x15", *f"chat {tmp_path}/rows", "enter")
            terminal.wait("exported 2 rows, 10 kept, 6 of them nobody looked at, to", 60)
            terminal.press("q", "q")
            assert terminal.ended() == 0
        assert (tmp_path / "rows" / "chat.jsonl").exists()
        marked = events(home, "made", "marked")[-1]
        assert (marked["mark"], marked["code"], marked["by"]) == ("reject", "drift", "ana")
