from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from apollo_tui.paths import Home
from tests.running import end_core


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    """A home of its own. What runs in it ends with the test: its core, and then the sandboxes that a
    core leaves to the next one (they end when their folder goes)."""
    home = Home(tmp_path / "home")
    yield home
    await end_core(home)
    for rollout in home.path.glob("rollouts/*"):
        shutil.rmtree(rollout, ignore_errors=True)
