from __future__ import annotations

import io
import json
import os
import sqlite3
import stat
import sys
import tarfile
from pathlib import Path

import pexpect
import pytest
import zstandard

from apollo_tui.cli.housekeeping import size
from apollo_tui.log.texts import refs_in
from apollo_tui.log.verify import verify
from apollo_tui.paths import Home
from tests.cli.conftest import Program
from tests.running import bash, script, task_folder

FILL = (
    "mkdir -p out/deep && printf 0123456789 > out/deep/ten && ln -s /etc/passwd out/link && "
    "mkfifo out/pipe && cp out/deep/ten out/tool && chmod +x out/tool && "
    "truncate -s 100G out/sparse && head -c 3000000 /dev/urandom > big"
)


@pytest.fixture
def filled(program: Program, tmp_path: Path) -> str:
    """A rollout that has finished, and left files of all kinds."""
    model = script(tmp_path / "m.jsonl", [bash(FILL)])
    run(program, task_folder(tmp_path / "filled"), model)
    assert program("wait", "filled", "--timeout", "60").returncode == 0
    return "filled"


def run(program: Program, task: str, model: str, *more: str) -> None:
    done = program("run", task, "--model", model, "--sandbox", "plain", "--unisolated", *more)
    assert done.returncode == 0, done.stderr


def test_where_the_files_are(program: Program, home: Home, filled: str, tmp_path: Path) -> None:
    workspace = Path(program("path", filled).stdout.strip())
    assert workspace.parent.parent == home.rollouts
    assert (workspace / "out" / "deep" / "ten").read_text() == "0123456789"

    assert program("cp", f"{filled}:out/deep/ten", str(tmp_path)).returncode == 0
    assert (tmp_path / "ten").read_text() == "0123456789"
    assert stat.S_IMODE((tmp_path / "ten").stat().st_mode) == 0o600
    again = program("cp", f"{filled}:out/deep/ten", str(tmp_path))
    assert again.returncode == 2
    assert "exists already" in again.stderr

    copied = program("cp", f"{filled}:/workspace/out", str(tmp_path / "copy"), "--json")
    told = json.loads(copied.stdout)
    assert told["files"] == 3
    assert told["left_out"] == {"links": 1, "pipes, sockets and devices": 1}
    made = {str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*")}
    assert made == {"deep", "deep/ten", "tool", "sparse"}
    sparse = (tmp_path / "copy" / "sparse").stat()
    assert sparse.st_size == 100 << 30
    assert sparse.st_blocks * 512 < 1 << 20
    assert os.access(tmp_path / "copy" / "tool", os.X_OK)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("out/link", "symbolic link"),
        ("out/link/x", "symbolic link"),
        ("../spool", "leads out of its folder"),
        ("/etc/passwd", "absolute"),
        ("out/pipe", "no regular file"),
        ("nothing", "does not exist"),
    ],
)
def test_cp_stays_in_the_workspace(
    program: Program, filled: str, tmp_path: Path, path: str, says: str
) -> None:
    before = set(tmp_path.iterdir())
    refused = program("cp", f"{filled}:{path}", str(tmp_path / "copy"))
    assert refused.returncode == 1
    assert says in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert set(tmp_path.iterdir()) == before


def test_du_tells_what_takes_room(program: Program, home: Home, filled: str) -> None:
    told = json.loads(program("du", "--json").stdout)
    (row,) = told["rollouts"]
    assert 3_000_000 <= row["workspace"] < 4_000_000, "a sparse file takes what it holds"
    assert row["spool"] > 0
    assert row["log"] > 1000
    parts = ("workspace", "spool", "tmp", "snapshots", "evaluations", "other", "log")
    assert row["total"] == sum(row[part] for part in parts)
    assert told["total"] >= told["log"] + row["workspace"]
    assert told["disk"]["free"] > 0
    shown = program("du").stdout
    assert filled in shown
    assert "full" in shown


def test_the_shares_of_the_log_add_up(program: Program, home: Home, tmp_path: Path) -> None:
    model = script(tmp_path / "m.jsonl", [bash("echo the same")])
    run(program, task_folder(tmp_path / "twin"), model, "--count", "2")
    for name in ("twin", "twin-2"):
        assert program("wait", name, "--timeout", "60").returncode == 0
    assert program("core", "stop").returncode == 0
    one, two = (row["log"] for row in json.loads(program("du", "--json").stdout)["rollouts"])
    db = sqlite3.connect(home.database)
    events, texts, of_none = db.execute(
        "SELECT (SELECT sum(length(payload)) FROM events WHERE rollout IS NOT NULL),"
        " (SELECT sum(length(data)) FROM texts),"
        " (SELECT count(*) FROM events WHERE rollout IS NULL)"
    ).fetchone()
    db.close()
    assert of_none
    assert one + two == pytest.approx(events + texts, abs=2)
    assert one == pytest.approx(two, rel=0.05)


def test_rm_and_what_is_refused_after(
    program: Program, home: Home, tmp_path: Path, filled: str
) -> None:
    assert program("rm", filled).returncode == 2, "nothing asks where there is no terminal"
    told = json.loads(program("rm", filled, "--yes", "--json").stdout)
    assert told["bytes"] >= 3_000_000
    assert list(home.rollouts.iterdir()) == []
    removed = [json.loads(line) for line in program("log", filled).stdout.splitlines()][-1]
    assert removed["kind"] == "files_removed"
    assert "workspace" in removed["parts"]
    assert (removed["bytes"], bool(removed["by"])) == (told["bytes"], True)
    for command in (("rm", filled, "--yes"), ("path", filled), ("cp", f"{filled}:x", "y")):
        refused = program(*command)
        assert refused.returncode == 1, command
        assert len(refused.stderr.splitlines()) == 1
    assert program("verify").returncode == 0


def test_rm_asks_at_a_terminal(home: Home, filled: str) -> None:
    def asked(answer: str) -> int | None:
        rm = ["-m", "apollo_tui", "--home", str(home.path), "rm", filled]
        child = pexpect.spawn(sys.executable, rm, timeout=20, encoding="utf-8")
        child.expect("Delete all files of filled")
        child.sendline(answer)
        child.expect(pexpect.EOF)
        child.close()
        return child.exitstatus

    assert asked("n") == 130
    assert len(list(home.rollouts.iterdir())) == 1
    assert asked("y") == 0
    assert list(home.rollouts.iterdir()) == []


def test_rm_refuses_a_running_rollout_and_a_stopped_one_cannot_go_on_after_it(
    program: Program, home: Home, tmp_path: Path
) -> None:
    run(program, task_folder(tmp_path / "long"), script(tmp_path / "m.jsonl", [bash("sleep 600")]))
    for command in (("rm", "long", "--yes"), ("archive", "long", str(tmp_path / "a"))):
        refused = program(*command)
        assert refused.returncode == 1
        assert "stop it first" in refused.stderr
    assert program("stop", "long").returncode == 0
    assert program("wait", "long", "--timeout", "60").returncode == 1, "it did not finish"
    assert program("rm", "long", "--yes").returncode == 0
    refused = program("resume", "long")
    assert refused.returncode == 1
    assert "its files were removed" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_an_archive_holds_the_workspace_and_the_log(
    program: Program, filled: str, tmp_path: Path
) -> None:
    target = tmp_path / "a.tar.zst"
    # A file of 100 GB of nothing is read as such: it is taken away to keep the test short.
    (Path(program("path", filled).stdout.strip()) / "out" / "sparse").unlink()
    done = program("archive", filled, str(target), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["left_out"] == {"pipes, sockets and devices": 1}
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with zstandard.open(target, "rb") as file:
        unpacked = io.BytesIO(file.read())
    tar = tarfile.open(fileobj=unpacked)  # noqa: SIM115
    names = {info.name: info for info in tar}
    assert names[f"{filled}/workspace/out/link"].issym()
    assert names[f"{filled}/workspace/out/link"].linkname == "/etc/passwd"
    assert names[f"{filled}/workspace/out/tool"].mode & 0o100
    assert (
        sum(info.isreg() and "/workspace/" in name for name, info in names.items()) == told["files"]
    )

    def lines(name: str) -> list[str]:
        file = tar.extractfile(f"{filled}/{name}")
        assert file is not None
        return file.read().decode().splitlines()

    events = lines("events.jsonl")
    printed = [json.loads(line) for line in program("log", filled).stdout.splitlines()]
    assert [json.loads(line)["seq"] for line in events] == [one["seq"] for one in printed]
    texts = {json.loads(line)["ref"] for line in lines("texts.jsonl")}
    assert texts == {ref for line in events for ref in refs_in(line)} != set()
    before = target.read_bytes()
    again = program("archive", filled, str(target))
    assert again.returncode == 2
    assert target.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} >= {"a.tar.zst"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".a.tar")]


def test_a_backup_is_a_log(program: Program, home: Home, filled: str, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    assert program("backup", str(target)).returncode == 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert verify(target) == []
    other = tmp_path / "other"
    other.mkdir()
    (other / "apollo.db").write_bytes(target.read_bytes())
    there = program("--home", str(other), "log", filled).stdout
    assert there == program("log", filled).stdout
    assert program("backup", str(target)).returncode == 2
    nowhere = program("backup", str(tmp_path / "no" / "copy.db"))
    assert (nowhere.returncode, len(nowhere.stderr.splitlines())) == (2, 1)
    empty = program("--home", str(tmp_path / "none"), "backup", str(tmp_path / "b.db"))
    assert (empty.returncode, "no log" in empty.stderr) == (2, True)


def test_gc_says_first_and_removes_then(
    program: Program, home: Home, filled: str, tmp_path: Path
) -> None:
    (folder,) = home.rollouts.iterdir()
    dry = json.loads(program("gc", "--dry-run", "--json").stdout)
    assert [one["what"] for one in dry["removed"]] == ["spool"]
    assert (folder / "spool").exists()
    assert "would be removed" in program("gc", "--dry-run").stdout
    assert json.loads(program("gc", "--json").stdout) == dry
    assert not (folder / "spool").exists()
    assert (folder / "workspace" / "big").exists()
    assert "nothing to remove" in program("gc").stdout


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9960, "10 kB"), (1_234_567, "1.2 MB")],
)
def test_sizes_are_told_shortly(count: int, said: str) -> None:
    assert size(count) == said
