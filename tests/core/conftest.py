from __future__ import annotations

import pytest

from apollo_tui.sandbox import Kind
from tests.sandboxes import require


@pytest.fixture(params=["docker", "bubblewrap"])
def isolated_kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of sandbox that isolates; skipped, or failed where it is required."""
    kind: Kind = request.param
    return require(kind)
