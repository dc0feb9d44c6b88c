"""apollo-tui import, through a real core."""

from __future__ import annotations

import json
from pathlib import Path

from apollo_tui.client import core_pid
from apollo_tui.paths import Home
from tests.cli.conftest import Program
from tests.importers.nodes import data, node
from tests.running import end_core


def test_import_and_what_may_be_done_after_it(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    path.write_bytes(data(node()))
    done = program("import", str(path), "--name", "mine")
    assert done.returncode == 0, done.stderr
    said = "4 steps  8 fields of the file found no place and are kept raw"
    assert done.stdout.startswith("mine  ") and done.stdout.strip().endswith(said)
    again = program("import", str(path), "--json")
    (fields,) = json.loads(again.stdout)
    assert (fields["name"], fields["steps"], fields["unmapped"]) == ("mine", 4, 8)
    assert fields["new"] is False

    (row,) = json.loads(program("ls", "--json").stdout)
    assert row["sandbox"] == "none" and row["started_at"] is row["ended_at"] is None
    assert "imported" in program("ls").stdout
    shown = json.loads(program("show", "mine", "--json").stdout)
    assert shown["workspace"] is None and shown["worked"] is None
    assert "not isolated" not in program("show", "mine").stdout
    for args in (["pause", "mine"], ["resume", "mine"], ["stop", "mine"], ["advise", "mine", "x"]):
        refused = program(*args)
        assert refused.returncode == 1
        said = "apollo-tui: mine was imported: it is read-only, and can only be read and marked\n"
        assert refused.stderr == said
    assert program("mark", "mine", "2", "reject", "--reason", "failed").returncode == 0
    (row,) = json.loads(program("ls", "--json").stdout)
    assert row["marks"] == 1
    assert program("verify").returncode == 0


def test_one_bad_file_does_not_keep_the_others_out(program: Program, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_bytes(data(node()))
    bad.write_text('{"node_type": "react",\n "messages": [}')
    done = program("import", str(bad), str(good))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "line 2" in done.stderr
    assert done.stdout.startswith("good  ")
    assert program("import", str(good), str(bad), "--name", "x").returncode == 2


async def test_a_new_core_leaves_it_alone(program: Program, home: Home, tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    path.write_bytes(data(node()))
    assert program("import", str(path)).returncode == 0
    before = program("log", "node").stdout
    await end_core(home)
    assert core_pid(home) is None
    assert program("core", "start").returncode == 0
    assert program("log", "node").stdout == before
