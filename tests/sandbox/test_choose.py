"""Which kind runs here: found out by trying, and refused in one line."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from apollo_tui.errors import SandboxUnavailable
from apollo_tui.sandbox import Kind
from apollo_tui.sandbox.choose import best_kind, probe
from apollo_tui.sandbox.jobs import INSIDE
from tests.sandboxes import KINDS, require

NOWHERE = "unix:///nowhere/docker.sock"


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_that_runs_here(kind: Kind) -> None:
    require(kind)
    assert probe(kind) is None


def test_bubblewrap_is_next_when_there_is_no_docker() -> None:
    require("bubblewrap")
    assert best_kind(NOWHERE) == "bubblewrap"


def test_bubblewrap_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    why = probe("bubblewrap")
    assert why is not None
    assert "apt-get install bubblewrap" in why


def test_bubblewrap_that_does_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"
    )
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert probe("bubblewrap") == (
        "bubblewrap does not work here (bwrap: No permissions to create new namespace); "
        "allow user namespaces, or use Docker"
    )


def test_plain_is_never_chosen_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        SandboxUnavailable, match=r"no sandbox: no Docker engine .*bubblewrap is not"
    ):
        best_kind(NOWHERE)


@pytest.mark.parametrize("program", sorted(INSIDE.glob("*.py")), ids=lambda path: path.name)
def test_what_runs_inside_needs_no_newer_python_than_3_8(program: Path) -> None:
    ast.parse(program.read_text(), feature_version=(3, 8))


def test_the_runner_says_how_it_is_called() -> None:
    called = subprocess.run(
        [sys.executable, INSIDE / "runner.py", "dance"], capture_output=True, text=True
    )
    assert called.returncode == 2
    assert called.stderr == "usage: runner.py serve SPOOL [--when-told]\n"
