from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from apollo_tui.paths import Home

Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def program(home: Home) -> Program:
    """The real program, as a process: `program("ls", "--json")`."""

    def run(
        *args: str, given: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "apollo_tui", *args],
            input=given or "",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "APOLLO_HOME": str(home.path), "NO_COLOR": "1", **environment},
        )

    return run
