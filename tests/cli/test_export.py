from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from apollo_tui.paths import Home
from tests.cli.conftest import Program
from tests.filter.made import Made
from tests.filter.stored import RUN, write
from tests.running import bash, events, script, task_folder


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def ended(program: Program, home: Home, tmp_path: Path) -> str:
    """A finished rollout of a real core; returns its name."""
    model = script(tmp_path / "m.jsonl", [bash("echo hi > a"), bash("cat a"), bash("ls /nowhere")])
    task = task_folder(tmp_path / "counting")
    done = program("run", task, "--model", model, "--sandbox", "plain", "--unisolated")
    assert done.returncode == 0, done.stderr
    assert program("wait", "counting").returncode == 0
    return "counting"


def test_from_a_mark_to_an_export_and_back(
    program: Program, home: Home, tmp_path: Path, ended: str
) -> None:
    chat, later = tmp_path / "chat", tmp_path / "later"
    done = program("export", ended, "--format", "chat", "--out", str(chat), "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["rows"] == 1
    assert facts["unread"] == facts["kept"] > 0
    assert program("mark", ended, "2", "reject", "--reason", "idle").returncode == 0
    done = program("export", ended, "--format", "chat", "--out", str(later))
    assert done.returncode == 0, done.stderr
    assert "masked 1: human" in done.stdout
    assert "noted 0: samples that train replies whose thinking templates hide" in done.stdout
    (row,) = rows(later / "chat.jsonl")
    assert [2, 1] not in row["meta"]["trained"]
    noted = events(home, None, "exported")
    assert [one["path"] for one in noted] == [str(chat), str(later)]
    assert noted[1]["run"] == row["meta"]["filter_run"] != facts["filter_run"]

    why = json.loads(program("why", f"{later / 'chat.jsonl'}:1", "--json").stdout)
    second = why["actions"][1]
    assert (second["trained"], second["decided_by"], second["rule"]) == (False, "human", "idle")
    assert why["name"] == ended
    assert program(*why["open"].split()[1:]).returncode == 0
    told = program("why", f"{later / 'chat.jsonl'}:1").stdout
    assert "masked by a person (idle)" in told

    found = json.loads(program("export", "diff", str(chat), str(later), "--json").stdout)
    assert [(one["step"], one["ordinal"]) for one in found["only_old"]] == [(2, 1)]
    assert found["only_new"] == []
    shown = program("export", "diff", str(chat), str(later)).stdout
    assert f"{ended} 2.1  in the other: masked by a person (idle)" in shown


def test_the_configuration_of_the_newest_run_counts_until_another_is_given(
    program: Program, tmp_path: Path, ended: str
) -> None:
    assert program("filter", ended, "--rules-off", "repeated,polling").returncode == 0
    done = program("export", ended, "--format", "turns", "--out", str(tmp_path / "a"), "--json")
    assert json.loads(done.stdout)["configuration"]["rules"]["off"] == ["repeated", "polling"]
    assert "this takes about" in done.stderr
    done = program(
        *("export", ended, "--format", "turns", "--out", str(tmp_path / "b"), "--json"),
        *("--rules-off", "failed"),
    )
    assert json.loads(done.stdout)["configuration"]["rules"]["off"] == ["failed"]
    run = json.loads(done.stdout)["filter_run"]
    done = program(
        *("export", "--run", run, "--format", "chat", "--out", str(tmp_path / "c"), "--json")
    )
    assert json.loads(done.stdout)["filter_run"] == run


def test_wrong_use_is_said_in_one_line(program: Program, tmp_path: Path, ended: str) -> None:
    out = str(tmp_path / "out")
    for said, args in {
        "is not one of": (ended, "--format", "bundle", "--out", out),
        "name the rollouts": ("--format", "chat", "--out", out),
        "there is no rollout": ("nothing", "--format", "chat", "--out", out),
        "there is no filter run": (ended, "--run", "zz", "--format", "chat", "--out", out),
        "leave out --as-of": (
            ended,
            "--run",
            "a",
            "--as-of",
            "3",
            "--format",
            "chat",
            "--out",
            out,
        ),
        "add --tokenizer": (ended, "--format", "tokens", "--out", out),
        "is no export": (ended, "--format", "chat", "--out", str(tmp_path)),
        "Missing option": (ended,),
    }.items():
        done = program("export", *args)
        assert (done.returncode, done.stdout) == (2, ""), args
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
    refused = program("export", ended, "--format", "preferences", "--out", out)
    assert refused.returncode == 1
    assert "nothing to export as preferences" in refused.stderr
    assert not Path(out).exists()
    assert program("why", "nothing.jsonl:1").returncode == 2
    assert program("export", "diff", out, out).returncode == 1


@pytest.fixture
async def long_home(home: Home) -> Home:
    """A home whose rollout takes a while to export, with a stored filter run."""
    home.prepare()
    made = Made()
    for number in range(700):
        made.bash(f"make {number}", f"made {number} " + "x" * 400)
    await write(home.database, made)
    return home


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
async def test_a_stopped_export_leaves_nothing(
    long_home: Home, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "apollo_tui", "--home", str(long_home.path), "export"),
            *("--run", RUN, "--format", "turns", "--out", str(tmp_path / "out" / "turns")),
            "--progress-json",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "APOLLO_HOME": str(long_home.path)},
    )
    assert process.stdout is not None
    try:
        told = [json.loads(await asyncio.to_thread(process.stdout.readline)) for _ in range(2)]
        assert told[0]["bytes"] > 1_000_000
        assert told[1] == {"done": 0, "total": 700}
        assert list((tmp_path / "out").iterdir()) != []  # it is being written, under another name
        assert not (tmp_path / "out" / "turns").exists()
        process.send_signal(number)
        _, stderr = await asyncio.to_thread(process.communicate, timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code
    assert "stopped" in stderr
    assert list((tmp_path / "out").iterdir()) == []


async def test_progress_is_told_to_programs(
    program: Program, long_home: Home, tmp_path: Path
) -> None:
    done = await asyncio.to_thread(
        program,
        *("export", "made", "--run", RUN, "--format", "chat", "--out", str(tmp_path / "out")),
        "--progress-json",
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told[-2] == {"done": 700, "total": 700}
    assert told[-1]["export"]["rows"] == 1
