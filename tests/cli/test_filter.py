"""filter, marks export and marks import, as a person types them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest

from apollo_tui.cli.mark_files import MarkLine
from apollo_tui.paths import Home
from tests.cli.conftest import Program
from tests.core.test_filtering import a_rollout, lay, reading, says
from tests.filter.made import Made, R
from tests.running import end_core, script


def marked() -> Made:
    made = a_rollout(6)
    made.bash("python3 run.py 6", observation="result 6", result={"disposition": "failed"})
    made.mark(1, "accept")
    made.mark(2, "reject", by="ben")
    made.mark(3, "accept", by="ben")
    return made


FIELDS = [
    *("run", "as_of", "configuration", "kept", "unread", "masked", "judge", "judged", "unjudged"),
    *("why", "cost_usd", "rollouts", "agreement"),
]


async def test_filter_says_who_decided_and_how_far_to_trust_the_judge(
    program: Program, home: Home, tmp_path: Path
) -> None:
    await lay(home, marked())
    judge = script(tmp_path / "judge.jsonl", [says(*range(1, 8), mask=(2, 3))])
    plain = program("filter", R)
    assert plain.returncode == 0, plain.stderr
    assert "failed 1, human 1" in plain.stdout
    assert "5 kept, 3 of them nobody looked at; 2 masked" in plain.stdout
    assert "No judge was asked" in plain.stdout
    asked = program("filter", R, "--judge", judge, "--judge-usd", "1")
    assert asked.returncode == 0, asked.stderr
    assert "7 actions judged in this run for $0.00" in asked.stdout
    assert "agrees with people on 2 of 3 actions; Cohen's kappa 0.40" in asked.stdout
    rows = [line.split() for line in asked.stdout.splitlines() if "judge " in line]
    assert ["judge", "keeps", "1", "0"] in rows
    assert ["judge", "masks", "1", "1"] in rows
    facts = json.loads(program("filter", R, "--judge", judge, "--no-ask", "--json").stdout)
    assert list(facts) == FIELDS
    assert facts["agreement"]["kappa"] == pytest.approx(0.4)
    assert (facts["kept"], facts["masked"], facts["judged"]) == (6, 1, 0)
    (rollout,) = facts["rollouts"]
    assert (rollout["name"], rollout["masked"], rollout["gate"]) == ("made", {"human": 1}, None)
    assert asked.stderr == plain.stderr == ""


async def test_a_gate_and_a_filter_that_keeps_nothing_are_said(
    program: Program, home: Home
) -> None:
    await lay(home, marked())
    gated = program("filter", R, "--min-score", "50", "--tag", "night")
    assert gated.returncode == 0
    assert "has none of the tags night" in gated.stdout
    assert "1 rollout of 1 gated" in gated.stdout
    assert "Nothing is kept" in gated.stdout
    (row,) = [line.split() for line in gated.stdout.splitlines() if line.startswith("made")]
    assert row[1:3] == ["–", "–"]


async def test_the_rules_are_chosen_by_options(program: Program, home: Home) -> None:
    made = a_rollout(4)
    made.bash("python3 nothing.py", observation="no such file", result={"disposition": "failed"})
    made.mark(2, "reject")
    made.advise("That was wrong.")
    made.bash("python3 run.py 8", observation="cut", finish="length")
    await lay(home, made)

    def masked(*options: str) -> tuple[dict[str, int], int]:
        done = program("filter", R, "--json", *options)
        assert done.returncode == 0, done.stderr
        (rollout,) = json.loads(done.stdout)["rollouts"]
        return rollout["masked"], rollout["suggested"]

    assert masked() == ({"failed": 1, "human": 1}, 2)
    assert masked("--rules-off", "failed, polling") == ({"human": 1}, 3)
    assert masked("--propagate") == ({"failed": 1, "human": 1, "propagated": 2}, 0)
    assert masked("--rule-on", "length") == ({"failed": 1, "human": 1, "length": 1}, 2)
    assert "2 actions after a rejected one" in program("filter", R).stdout


async def test_the_configured_judge_is_asked_by_that_word(
    program: Program, home: Home, tmp_path: Path
) -> None:
    await lay(home, a_rollout(1))
    none = program("filter", R, "--judge", "configured")
    assert (none.returncode, "no judge is configured" in none.stderr) == (2, True)
    home.config.write_text(
        '[models.glm]\napi = "openai"\nmodel = "m"\nbase_url = "http://127.0.0.1:9"\n'
        '[roles]\njudge = "glm"\n'
    )
    facts = json.loads(program("filter", R, "--judge", "configured", "--no-ask", "--json").stdout)
    assert (facts["judge"], facts["unjudged"], facts["agreement"]["compared"]) == ("glm", 1, 0)
    assert "not asked" in facts["why"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "Missing argument"),
        (("nobody",), "there is no rollout 'nobody'"),
        ((R, "--rules-off", "nix"), "there is no rule 'nix'"),
        ((R, "--rule-on", "polling"), "no optional rule"),
        ((R, "--judge", "nix"), "there is no model 'nix'"),
        ((R, "--judge-usd", "1"), "needs a judge"),
        ((R, "--judge-usd", "-1"), "judge-usd"),
        ((R, "--min-score", "nan"), "min_score"),
        ((R, "--baseline", "3"), "min_gain"),
        ((R, "--as-of", "0"), "as-of"),
        ((R, "--as-of", "99999999"), "the log ends at"),
    ],
)
async def test_wrong_use_is_said_in_one_line(
    program: Program, home: Home, options: tuple[str, ...], why: str
) -> None:
    await lay(home, a_rollout(1))
    done = program("filter", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
    assert len(done.stderr.splitlines()) == 1


def slow_judge(tmp_path: Path) -> str:
    quick, slow = says(*range(1, 9)), says(*range(9, 17), seconds=60.0)
    return script(tmp_path / "judge.jsonl", [quick, slow])


async def test_ctrl_c_cancels_the_run_and_says_so(home: Home, tmp_path: Path) -> None:
    await lay(home, a_rollout(16))
    process = subprocess.Popen(
        [sys.executable, "-m", "apollo_tui", "filter", R, "--judge", slow_judge(tmp_path)],
        env={**os.environ, "APOLLO_HOME": str(home.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with reading(home) as history:
        async with asyncio.timeout(30):
            while not any((run.judged or 0) >= 8 for run in history.filter_runs()):
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.to_thread(process.communicate, timeout=20)
        (run,) = history.filter_runs()
    assert (process.returncode, out) == (130, "")
    assert err.splitlines() == [
        f"apollo-tui: the filter run {run.run} was cancelled; what the judge answered is kept, and is "
        "not asked again"
    ]
    assert run.state == "ended"
    assert run.why.startswith("cancelled by")


async def test_a_core_that_goes_in_the_middle_is_said(home: Home, tmp_path: Path) -> None:
    await lay(home, a_rollout(16))
    process = subprocess.Popen(
        [sys.executable, "-m", "apollo_tui", "filter", R, "--judge", slow_judge(tmp_path)],
        env={**os.environ, "APOLLO_HOME": str(home.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with reading(home) as history:
        async with asyncio.timeout(30):
            while not any((run.judged or 0) >= 8 for run in history.filter_runs()):
                await asyncio.sleep(0.05)
    await end_core(home, signal.SIGKILL)
    _, err = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 1
    assert "the core ended in the middle of the filter run" in err
    assert len(err.splitlines()) == 1


async def test_progress_is_shown_on_a_terminal(home: Home, tmp_path: Path) -> None:
    await lay(home, a_rollout(16))
    quick, slow = says(*range(1, 9)), says(*range(9, 17), seconds=1.5)
    judge = script(tmp_path / "judge.jsonl", [quick, slow])
    child = pexpect.spawn(
        sys.executable,
        ["-m", "apollo_tui", "filter", R, "--judge", judge],
        env={**os.environ, "APOLLO_HOME": str(home.path)},
        encoding="utf-8",
        timeout=30,
    )
    try:
        await asyncio.to_thread(child.expect_exact, "judged 8 of 16 actions   ctrl+c cancels")
        await asyncio.to_thread(child.expect_exact, "16 actions judged in this run")
        await asyncio.to_thread(child.expect, pexpect.EOF)
    finally:
        child.close()
    assert child.exitstatus == 0


# --- marks in files ----------------------------------------------------------------------------


async def test_marks_go_from_one_home_to_another_and_back(
    program: Program, home: Home, tmp_path: Path
) -> None:
    other = Home(tmp_path / "other")
    await lay(home, marked())
    await lay(other, a_rollout(7))
    file, back = tmp_path / "marks.jsonl", tmp_path / "back.jsonl"
    try:
        wrote = program("marks", "export", str(file), R)
        assert wrote.stdout == f"3 marks of 2 annotators in {file}\n", wrote.stderr
        program("--home", str(other.path), "--as", "cat", "mark", R, "5", "unsure")
        read = program("--home", str(other.path), "marks", "import", str(file), "--json")
        assert json.loads(read.stdout) == {"imported": 3, "had": 0, "older": 0}, read.stderr
        again = program("--home", str(other.path), "marks", "import", str(file))
        assert again.stdout == "0 marks imported\n3 left out: they are here already\n"
        assert program("--home", str(other.path), "marks", "export", str(back)).returncode == 0
    finally:
        await end_core(other)
    first, second = file.read_text().splitlines(), back.read_text().splitlines()
    assert set(first) < set(second)  # to the microsecond, under the same names
    assert json.loads(second[-1])["annotator"] == "cat"
    line = json.loads(first[0])
    assert list(line) == list(MarkLine.model_fields)
    assert (line["rollout"], line["step"], line["tool"], line["mark"]) == (R, 1, "bash", "accept")
    assert [path.name for path in tmp_path.glob(".*")] == []


def a_line(**fields: Any) -> str:
    line = {"rollout": R, "step": 1, "mark": "reject", "annotator": "ben"} | fields
    return json.dumps({name: value for name, value in line.items() if value is not None})


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["{broken"], "line 1: this is no JSON"),
        ([a_line(), "", "[]"], "line 3:"),
        ([a_line(), a_line(step=None)], "line 2: step is missing"),
        ([a_line(mark="great")], "line 1: mark must be"),
        ([a_line(step=0)], "line 1: step"),
        ([a_line(colour="red")], "line 1: unknown field colour"),
        ([a_line(at="2026-01-01T00:00:00")], "line 1: at"),
        ([a_line(), "", a_line(step=8)], "line 3: the rollout made has no action 8.1"),
        ([a_line(), a_line(rollout="x")], "line 2: there is no rollout 'x' here"),
        ([""], "holds no marks"),
    ],
)
async def test_a_wrong_line_is_named_and_nothing_is_imported(
    program: Program, home: Home, tmp_path: Path, lines: list[str], why: str
) -> None:
    await lay(home, a_rollout(2))
    file = tmp_path / "marks.jsonl"
    file.write_text("\n".join(lines))
    done = program("marks", "import", str(file))
    assert done.returncode in (1, 2)
    assert why in done.stderr
    assert str(file) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    with reading(home) as history:
        assert history.marks() == []


async def test_files_that_cannot_be_read_or_written_are_said(
    program: Program, home: Home, tmp_path: Path
) -> None:
    await lay(home, a_rollout(1))
    nothing = program("marks", "export", str(tmp_path / "marks.jsonl"))
    assert (nothing.returncode, "no marks to export" in nothing.stderr) == (1, True)
    assert not (tmp_path / "marks.jsonl").exists()
    assert program("mark", R, "1", "accept").returncode == 0
    for wrong in (tmp_path / "no" / "where.jsonl", tmp_path):
        done = program("marks", "export", str(wrong))
        assert done.returncode in (1, 2)
        assert len(done.stderr.splitlines()) == 1
    assert "cannot read" in program("marks", "import", str(tmp_path / "absent")).stderr
    (tmp_path / "latin").write_bytes(b"\xe9\n")
    assert "not UTF-8" in program("marks", "import", str(tmp_path / "latin")).stderr
