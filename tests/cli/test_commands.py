from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import click
import pytest

from apollo_tui.cli.mark import Place, read_place
from apollo_tui.cli.program import COMMANDS
from apollo_tui.cli.run import absolute_model, absolute_task, read_mount
from apollo_tui.log.states import STATES
from apollo_tui.log.types import State
from apollo_tui.paths import Home
from tests.cli.conftest import Program
from tests.running import bash, script, task_folder

LS_FIELDS = [
    "rollout",
    "name",
    "task",
    "model",
    "sandbox",
    "isolated",
    "state",
    "why",
    "step",
    "actions",
    "marks",
    "score",
    "cost_usd",
    "started_at",
    "ended_at",
    "attention",
]


def leaves() -> list[tuple[str, click.Command]]:
    """Every command there is, groups opened."""
    found = []
    for name, module in COMMANDS.items():
        command = getattr(importlib.import_module(f"apollo_tui.cli.{module}"), f"{name}_command")
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(f"{name} {sub}", one) for sub, one in command.commands.items()]
    return found


@pytest.mark.parametrize(("name", "command"), leaves(), ids=[name for name, _ in leaves()])
def test_every_command_has_help_with_an_example(name: str, command: click.Command) -> None:
    assert command.help
    assert "Example:" in command.help
    assert f"apollo-tui {name.split()[0]}" in command.help


def test_a_rollout_from_the_command_line(program: Program, home: Home, tmp_path: Path) -> None:
    model = script(tmp_path / "m.jsonl", [bash("echo hi", repeat=3), bash("sleep 0.1", repeat=5)])
    task = task_folder(tmp_path / "counting")
    done = program(
        *("run", task, "--model", model, "--sandbox", "plain", "--unisolated", "--json"),
        *("--tag", "night"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["name"] == "counting"
    waited = program("wait", "counting", "--json")
    assert (waited.returncode, json.loads(waited.stdout)["state"]) == (0, "finished")
    (row,) = json.loads(program("ls", "--json", "--tag", "night").stdout)
    assert list(row) == LS_FIELDS
    assert (row["state"], row["isolated"], row["step"]) == ("finished", False, 9)
    assert json.loads(program("ls", "--json", "--state", "running").stdout) == []
    assert "not isolated" in program("ls").stdout
    lines = [json.loads(line) for line in program("log", "counting").stdout.splitlines()]
    assert all({"seq", "at", "kind", "rollout"} <= set(line) for line in lines)
    assert lines[0]["kind"] == "rollout_created"
    prompt = json.loads(program("log", "counting", "--prompt", "2").stdout)
    assert [message["role"] for message in prompt["messages"]] == ["user", "assistant", "tool"]
    marks = tmp_path / "marks.txt"
    marks.write_text('counting 1-2 reject impatient "a note"\n# nothing\ncounting 3.1 accept\n')
    assert program("--as", "ana", "mark", "--from", str(marks)).stdout.splitlines() == [
        "counting: 2 actions of steps 1-2 rejected (as ana)",
        "counting: 3 bash accepted (as ana)",
    ]
    marked_by_ben = program("--as", "ben", "mark", "counting", "4", "unsure", "--json")
    assert [one["step"] for one in json.loads(marked_by_ben.stdout)] == [4]
    assert program("--as", "ana", "unmark", "counting", "1").stdout == "counting: 1 bash unmarked\n"
    marked = [json.loads(line) for line in program("log", "counting").stdout.splitlines()]
    assert [line["by"] for line in marked if line["kind"] == "marked"][-1] == "ben"
    shown = json.loads(program("show", "counting", "--json").stdout)
    assert shown["marks"] == 3
    assert program("ls").stderr == ""
    refused = program("pause", "counting")
    assert refused.returncode == 1
    assert "finished" in refused.stderr
    status = json.loads(program("core", "status", "--json").stdout)
    assert set(status) == {"pid", "socket", "version", "rollouts"}
    assert program("verify").returncode == 0
    assert program("core", "stop").returncode == 0
    assert json.loads(program("core", "status", "--json").stdout)["pid"] is None
    assert program("ls").stderr == "", "what has ended needs no core"


def test_steering_from_the_command_line(program: Program, tmp_path: Path) -> None:
    model = script(tmp_path / "m.jsonl", [bash("true", seconds=0.3, repeat=200)])
    plain = ("--model", model, "--sandbox", "plain", "--unisolated")
    assert program("run", task_folder(tmp_path / "long"), *plain).returncode == 0
    assert (
        program("run", "--task", "Do it.", *plain, "--name", "control", "--hands-off").returncode
        == 0
    )
    assert program("pause", "long", "--now").returncode == 0
    assert program("wait", "long", "--until", "paused", "--timeout", "20").returncode == 0
    assert (
        json.loads(program("advise", "long", "-", "--json", given="Slower.\n").stdout)["advice"]
        == 1
    )
    assert program("unadvise", "long", "1").returncode == 0
    again = program("unadvise", "long", "1")
    assert (again.returncode, "not in the queue" in again.stderr) == (1, True)
    refused = program("advise", "control", "No.")
    assert (refused.returncode, "hands-off" in refused.stderr) == (1, True)
    assert program("resume", "long").returncode == 0
    late = program("wait", "long", "--timeout", "0.5")
    assert (late.returncode, "within" in late.stderr) == (1, True)
    assert program("stop", "--all").stdout.count("stops") == 2
    assert program("wait", "long").returncode == 1
    assert program("core", "restart").returncode == 0


def test_settings_and_keys(program: Program, home: Home) -> None:
    assert program("config", "init").returncode == 0
    assert "already" in program("config", "init").stderr
    assert program("config", "check").returncode == 0
    assert json.loads(program("config", "show", "--json").stdout)["retention"]["disk_warn"] == 0.85
    secret = "sk-canary-0123456789"
    assert program("auth", "set", "anthropic", given=secret + "\n").returncode == 0
    assert json.loads(program("auth", "list", "--json").stdout) == ["anthropic"]
    assert home.keys.stat().st_mode & 0o777 == 0o600
    assert secret not in program("auth", "list").stdout


def test_tasks_doctor_and_completion(program: Program) -> None:
    tasks = json.loads(program("tasks", "--json").stdout)
    assert {"noisy-filter", "imbalanced-loss", "retrieval-scaffold"} <= {t["name"] for t in tasks}
    assert set(tasks[0]) == {"name", "category", "path", "time_limit"}
    checked = {fact["what"]: fact for fact in json.loads(program("doctor", "--json").stdout)}
    assert {"Python", "home", "docker", "bubblewrap"} <= set(checked)
    assert "_APOLLO_TUI_COMPLETE" in program("completion", "bash").stdout


def test_the_log_is_followed_from_before_the_first_core(
    program: Program, home: Home, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "apollo_tui", "log", "--all", "--follow"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "APOLLO_HOME": str(home.path)},
    ) as follower:
        assert follower.stdout is not None
        model = script(tmp_path / "m.jsonl", [bash("true")])
        plain = ("--model", model, "--sandbox", "plain", "--unisolated")
        assert program("run", task_folder(tmp_path / "short"), *plain).returncode == 0
        kinds = []
        while "rollout_ended" not in kinds:
            kinds.append(json.loads(follower.stdout.readline())["kind"])
        follower.terminate()
    assert kinds[0] == "core_started"
    assert "action_finished" in kinds


def test_the_shell_completes_commands_and_rollouts(program: Program, tmp_path: Path) -> None:
    model = script(tmp_path / "m.jsonl", [bash("true")])
    plain = ("--model", model, "--sandbox", "plain", "--unisolated")
    assert program("run", task_folder(tmp_path / "counting"), *plain).returncode == 0

    def complete(words: str) -> list[str]:
        done = program(COMP_WORDS=words, COMP_CWORD="2", _APOLLO_TUI_COMPLETE="bash_complete")
        return [line.partition(",")[2] for line in done.stdout.splitlines() if line]

    assert complete("apollo-tui core st") == ["start", "status", "stop"]
    assert complete("apollo-tui show co") == ["counting"]
    assert complete("apollo-tui show x") == []


def test_what_is_on_the_way_to_the_console_is_light() -> None:
    code = (
        "import sys; import apollo_tui.cli.program, apollo_tui.client, apollo_tui.log.read; "
        "print(*{'pydantic', 'anthropic', 'openai', 'docker', 'aiosqlite'} & set(sys.modules))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert said.split() == []


def test_every_state_can_be_listed() -> None:
    assert get_args(State) == STATES


def test_places() -> None:
    assert read_place("7") == Place(7, None, 7)
    assert read_place("7.2") == Place(7, 2, 7)
    assert read_place("7-9") == Place(7, None, 9)


def test_paths_are_made_absolute_for_the_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    task_folder(tmp_path / "mine")
    (tmp_path / "noisy-filter").mkdir()
    assert absolute_task("mine") == str(tmp_path / "mine")
    assert absolute_task("noisy-filter") == "noisy-filter"
    assert absolute_task("./noisy-filter") == str(tmp_path / "noisy-filter")
    assert absolute_model("scripted:m.jsonl") == f"scripted:{tmp_path}/m.jsonl"
    assert absolute_model("openai:m@http://x/v1") == "openai:m@http://x/v1"
    assert read_mount("mine:/models:ro") == {
        "host": str(tmp_path / "mine"),
        "inside": "/models",
        "read_only": True,
    }


def test_the_files_of_tasks_are_checked(program: Program, tmp_path: Path) -> None:
    assert program("tasks", "check", "noisy-filter").stdout == "noisy-filter: sound\n"
    unsound = task_folder(tmp_path / "unsound")
    (Path(unsound) / "workspace").mkdir(exist_ok=True)
    (Path(unsound) / "workspace" / "link").symlink_to("/etc/hostname")
    done = program("tasks", "check", unsound, "nothing-like-it")
    assert done.returncode == 1
    link, unknown = done.stdout.splitlines()
    assert "link to outside" in link
    assert "nothing-like-it" in unknown


def test_rollouts_without_a_core_stand_still_and_ls_says_so(
    program: Program, tmp_path: Path
) -> None:
    model = script(tmp_path / "m.jsonl", [bash("true", seconds=30)])
    task = task_folder(tmp_path / "still")
    started = program("run", task, "--model", model, "--sandbox", "plain", "--unisolated")
    assert started.returncode == 0, started.stderr
    assert program("ls").stderr == ""
    assert "1 rollout stays" in program("core", "stop").stdout
    assert "core start" in program("ls").stderr
    assert "core start" in program("show", "still").stderr
    assert program("stop", "still").returncode == 0  # a command starts the core
    assert program("core", "stop").returncode == 0
