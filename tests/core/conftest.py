from __future__ import annotations

from pathlib import Path

import pytest

from apollo_tui.paths import Home
from apollo_tui.sandbox import Kind
from tests.sandboxes import require


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture(params=["docker", "bubblewrap"])
def isolated_kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of sandbox that isolates; skipped, or failed where it is required."""
    kind: Kind = request.param
    return require(kind)
