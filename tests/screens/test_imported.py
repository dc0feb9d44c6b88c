"""What the console says of a rollout that another program recorded: nothing that nobody knows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from apollo_tui.core.importing import Importing
from apollo_tui.log import commands
from apollo_tui.log.read import History
from apollo_tui.log.store import Log
from apollo_tui.screens.action_lines import action_lines
from apollo_tui.screens.lines import View, result_of
from apollo_tui.screens.pane_lines import pane_numbers, pane_title
from apollo_tui.screens.widgets.header import rollout_header
from tests.importers.nodes import data, node

DAY = 86_400_000_000


@pytest.fixture
async def rollout(tmp_path: Path) -> AsyncIterator[tuple[History, str]]:
    (tmp_path / "node.json").write_bytes(data(node()))
    log = await Log.open(tmp_path / "apollo.db")
    command = commands.Import(command="x" * 8, by="ana", path=str(tmp_path / "node.json"))
    done = await Importing(log).obey(command)
    yield History(log.path), done["rollout"]
    await log.close()


async def test_titles_say_imported_and_neither_a_sandbox_nor_an_age(
    rollout: tuple[History, str],
) -> None:
    history, name = rollout
    row = history.rollout(name)
    assert row is not None
    view = View(100, row.last_at + DAY)
    for line in (
        pane_title(row, 1, view, focused=True),
        pane_numbers(row, view),
        rollout_header(row, view.now, 140, view.glyphs, core=""),
    ):
        assert "none" not in line.text and "isolated" not in line.text
        assert "24h" not in line.text and "1d" not in line.text
    assert "imported  step 4" in pane_title(row, 1, view, focused=True).text


async def test_an_action_has_no_time_and_no_tokens_that_the_file_lacks(
    rollout: tuple[History, str],
) -> None:
    history, name = rollout
    shown = {}
    for step in (1, 3, 4):
        detail = history.action(name, step, 1)
        assert detail is not None
        view = View(60, detail.entry.at + DAY)
        shown[step] = "\n".join(line.text for line in action_lines(detail, detail.entry, view))
        if step == 3:
            assert result_of(detail.entry, view).text == "done"
    assert "ran       0.2s" in shown[1] or "ran       0.3s" in shown[1]
    assert "for an unknown time" in shown[3]
    assert not any(" ago" in text for text in shown.values())
    assert "tokens" not in shown[1] and "model" not in shown[1]
    assert "tokens    900 in  8 out" in shown[4] and "glm" in shown[4]
