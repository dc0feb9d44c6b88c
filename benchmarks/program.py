"""Calling the program as a person does: a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def apollo(home: Path, *arguments: str) -> str:
    """Run `apollo-tui` on a home; returns what it printed. Raises RuntimeError with its complaint."""
    done = subprocess.run(
        [sys.executable, "-m", "apollo_tui", "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"apollo-tui {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
