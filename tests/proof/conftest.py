"""These tests run where the libraries are that read our exports: python3 scripts/proof.py"""

from __future__ import annotations

import importlib.util

import pytest

LIBRARIES = ("accelerate", "atif", "datasets", "inspect_ai", "torch", "transformers", "trl")
MISSING = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]

collect_ignore_glob = ["test_*.py"] if MISSING else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if MISSING:
        terminalreporter.write_line(
            f"tests/proof did not run: no {', '.join(MISSING)} here; python3 scripts/proof.py does"
        )
