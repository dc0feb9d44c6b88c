"""Bad input is one clear line and an exit code of 1 or 2, never a traceback."""

from __future__ import annotations

import asyncio
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from apollo_tui.errors import HomeError
from apollo_tui.log.store import Log
from apollo_tui.paths import Home, file_system_of, refuse_network_file_system
from tests.cli.conftest import Program
from tests.running import bash, script, task_folder


def one_line(said: str, *words: str) -> None:
    assert said.count("\n") == 1, said
    assert said.startswith("apollo-tui: "), said
    assert "Traceback" not in said
    for word in words:
        assert word in said, said


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["frobnicate"], 2, ["frobnicate"]),
        (["paus", "x"], 2, ["Did you mean pause?"]),
        (["show", "nobody"], 2, ["nobody"]),
        (["pause", "nobody"], 2, ["nobody"]),
        (["log"], 2, ["--all"]),
        (["ls", "--state", "runing"], 2, ["runing", "running"]),
        (["run", "noisy-filter", "--model", "x", "--attach"], 2, ["terminal", "--attach"]),
        (["run", "--model", "scripted:/none"], 2, ["--task"]),
        (["run", "nothing-like-it", "--model", "scripted:/none"], 2, ["nothing-like-it"]),
        (["run", "noisy-filter", "--model", "scripted:/none.jsonl"], 1, ["/none.jsonl"]),
        (["run", "noisy-filter", "--model", "gpt"], 2, ["no model", "gpt"]),
        (["run", "noisy-filter", "--model", "x", "--mount", "here"], 2, ["HOST:PATH:ro"]),
        (["mark", "nobody", "x", "reject"], 2, ["STEP-STEP"]),
        (["mark", "nobody", "9-3", "reject"], 2, ["9-3"]),
        (["mark"], 2, ["mark ROLLOUT"]),
        (["demo"], 2, ["--headless"]),
        ([], 2, ["terminal"]),
        (["auth", "set", "anthropic"], 2, ["key"]),
    ],
)
def test_wrong_use(program: Program, args: list[str], code: int, words: list[str]) -> None:
    done = program(*args)
    assert done.returncode == code, done
    one_line(done.stderr, *words)


def test_a_key_that_is_missing_and_an_api_nobody_answers(program: Program, tmp_path: Path) -> None:
    task = task_folder(tmp_path / "task")
    done = program("run", task, "--model", "anthropic:claude-x", ANTHROPIC_API_KEY="")
    assert done.returncode == 1
    one_line(done.stderr, "auth set")
    done = program("run", task, "--model", "openai:m@http://127.0.0.1:9/v1")
    assert done.returncode == 1
    one_line(done.stderr, "127.0.0.1:9")
    assert program("ls", "--json").stdout.strip() == "[]"


def test_no_docker_engine(program: Program, tmp_path: Path) -> None:
    model = script(tmp_path / "m.jsonl", [bash("true")])
    task = task_folder(tmp_path / "task")
    nowhere = f"unix://{tmp_path}/no.sock"
    done = program("run", task, "--model", model, "--sandbox", "docker", DOCKER_HOST=nowhere)
    assert done.returncode == 1
    one_line(done.stderr, "Docker")


@pytest.mark.parametrize("text", ["annotator = [", "annotator = 7", 'anotator = "x"', "\x00"])
def test_a_configuration_that_is_wrong(program: Program, home: Home, text: str) -> None:
    home.prepare()
    home.config.write_text(text)
    done = program("config", "check")
    assert done.returncode == 1
    one_line(done.stderr, "config.toml", "line 1")


def test_a_task_file_that_is_wrong(program: Program, tmp_path: Path) -> None:
    model = script(tmp_path / "m.jsonl", [bash("true")])
    for name, extra, words in (
        ("broken", "time_limit = ", ["task.toml", "line 3"]),
        ("unknown", "time_limt = 3", ["time_limt", "time_limit"]),
        ("wrong", 'step_limit = "many"', ["step_limit", "line 3"]),
    ):
        folder = task_folder(tmp_path / name, extra=extra)
        done = program("run", folder, "--model", model, "--sandbox", "plain", "--unisolated")
        assert done.returncode == 1
        one_line(done.stderr, *words)


def test_a_home_that_cannot_be_written(program: Program, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = program("--home", str(tmp_path / "file" / "home"), "core", "start")
    assert done.returncode == 1
    one_line(done.stderr, "--home")


def test_a_home_on_a_network_file_system_is_refused(tmp_path: Path) -> None:
    mounts = f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n"
    assert file_system_of(tmp_path / "home", mounts) == "nfs4"
    assert file_system_of(tmp_path.parent, mounts) == "ext4"
    with pytest.raises(HomeError, match="--home"):
        refuse_network_file_system(tmp_path / "home", mounts)


def test_a_log_of_a_newer_version(program: Program, home: Home) -> None:
    home.prepare()

    async def create() -> None:
        await (await Log.open(home.database)).close()

    asyncio.run(create())
    db = sqlite3.connect(home.database)
    db.execute("PRAGMA user_version = 99")
    db.close()
    before = home.database.read_bytes()
    for args in (["ls"], ["core", "start"], ["verify"]):
        done = program(*args)
        assert done.returncode == 1
        one_line(done.stderr, "newer", "upgrade")
    assert home.database.read_bytes() == before


def test_a_log_that_is_damaged(program: Program, home: Home) -> None:
    home.prepare()
    home.database.write_bytes(b"nonsense" * 1000)
    done = program("ls")
    assert done.returncode == 1
    one_line(done.stderr, str(home.database), "damaged")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("one 1 reject\none 2 maybe\n", ["line 2", "reject|accept"]),
        ("# a note\n\none 1..2 reject\n", ["line 3", "STEP-STEP"]),
        ('one 1 reject "open\n', ["line 1", "quotation"]),
        ("one 1 reject\n", ["one"]),
    ],
)
def test_a_file_of_marks_that_is_wrong(
    program: Program, tmp_path: Path, text: str, words: list[str]
) -> None:
    marks = tmp_path / "marks.txt"
    marks.write_text(text)
    done = program("mark", "--from", str(marks))
    assert done.returncode == 2
    one_line(done.stderr, *words)


def test_a_file_of_marks_that_is_no_text(program: Program, tmp_path: Path) -> None:
    marks = tmp_path / "marks.txt"
    marks.write_bytes(b"one 1 reject \xff\n")
    done = program("mark", "--from", str(marks))
    assert done.returncode == 2
    one_line(done.stderr, str(marks), "UTF-8")


def test_a_failure_of_the_program_is_one_line_and_a_traceback_when_asked(
    program: Program, home: Home
) -> None:
    home.path.mkdir()
    home.core_log.mkdir()  # nothing expects a folder there
    done = program("core", "log")
    assert done.returncode == 1
    one_line(done.stderr, "APOLLO_TRACEBACK", "core.log")
    assert "Traceback" in program("core", "log", APOLLO_TRACEBACK="1").stderr


def test_nobody_reads_what_is_printed() -> None:
    told = subprocess.run(
        f"{shlex.quote(sys.executable)} -m apollo_tui --help | true",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.stderr == ""


def test_a_home_that_is_a_file(program: Program, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    done = program("--home", str(tmp_path / "home"), "ls")
    assert done.returncode == 1
    one_line(done.stderr, "is no folder", "--home")


def test_the_doctor_sees_a_damaged_log(program: Program, home: Home) -> None:
    home.path.mkdir(parents=True, exist_ok=True)
    home.database.write_bytes(b"this is no database" * 1000)
    done = program("doctor")
    assert done.returncode == 1
    assert "damaged" in done.stdout
