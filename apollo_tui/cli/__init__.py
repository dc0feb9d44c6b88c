"""The command line. This module is on the way to the console's first paint: it imports little."""

from __future__ import annotations

import sys


def main() -> None:
    from apollo_tui.cli.program import run

    sys.exit(run())
