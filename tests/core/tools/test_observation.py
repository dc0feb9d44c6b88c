"""What the model reads of a job, and what a list shows of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo_tui.core.tools import ToolResult
from apollo_tui.core.tools.command import BASH, BashArguments
from apollo_tui.core.tools.files import FILE_TOOLS, OpenFile
from apollo_tui.core.tools.observation import READS_AT_MOST, count_lines, shorten, telling_line
from apollo_tui.sandbox import Outcome

AT = 1_775_000_000_000_000  # 2026-03-31T23:33:20Z
LS = BashArguments(command="ls", timeout=5)
OPEN = FILE_TOOLS[0]
OPEN_A = OpenFile(path="a.py")


def outcome(**fields: Any) -> Outcome:
    return Outcome(
        **{
            "ended": "exited",
            "exit_code": 0,
            "started_at": AT - 1_250_000,
            "ended_at": AT,
            **fields,
        }
    )


def bash(output: bytes, **fields: Any) -> ToolResult:
    return BASH.result(LS, outcome(**fields), output)


def test_a_command_is_a_line_of_facts_and_its_output() -> None:
    result = bash(b"one\ntwo\n")
    assert result.text == (
        "success=true observation_type=command exit_code=0 seconds=1.2 "
        "timestamp=2026-03-31T23:33:20Z\none\ntwo\n"
    )
    assert (result.disposition, result.exit_code, result.error) == ("completed", 0, False)
    assert (result.summary, result.lines, result.full_output) == ("two", 2, None)


def test_a_recovered_action_gives_the_identical_text() -> None:
    assert bash(b"one\n", exit_code=3) == bash(b"one\n", exit_code=3)


def test_a_failing_command_says_its_exit_code_and_tells_its_error() -> None:
    output = b"Traceback (most recent call last):\nValueError: no such column\n\ncleaning up\n"
    result = bash(output, exit_code=1)
    assert "success=false observation_type=command exit_code=1" in result.text
    assert "\nerror_message: ended with exit code 1\n" in result.text
    assert (result.disposition, result.error) == ("completed", True)
    assert result.summary == "ValueError: no such column"


def test_silence_is_said() -> None:
    assert bash(b"").text.endswith("\nmessage: it printed nothing")
    assert (bash(b"").summary, bash(b"").lines) == ("", 0)
    assert bash(b"", exit_code=2).summary == "ended with exit code 2"


def test_a_timeout_keeps_what_was_printed() -> None:
    result = bash(b"epoch 1\n", ended="timeout", exit_code=137, signal=9)
    assert "error_message: killed at its time limit, after 1 s" in result.text
    assert result.text.endswith("epoch 1\n")
    assert (result.disposition, result.error) == ("timeout", True)
    assert result.summary.startswith("killed at its time limit")


@pytest.mark.parametrize(
    ("fields", "disposition", "said"),
    [
        ({"ended": "killed", "exit_code": 137, "signal": 9}, "killed", "the operator ended it"),
        (
            {"ended": "killed", "exit_code": 137, "out_of_memory": True},
            "killed",
            "it used too much memory",
        ),
        ({"ended": "lost", "exit_code": None, "ended_at": 0}, "unknown", "nobody can say how"),
        ({"exit_code": 126, "error": "there is no bash"}, "completed", "could not be run: there"),
        ({"exit_code": 139, "signal": 11}, "completed", "ended by signal 11"),
        ({"exit_code": 1, "out_of_memory": True}, "completed", "used too much memory"),
    ],
)
def test_every_other_end_is_told(fields: dict[str, Any], disposition: str, said: str) -> None:
    result = bash(b"partial\n", **fields)
    assert result.disposition == disposition
    assert said in result.text
    assert result.error
    assert "partial" in result.text
    assert ("exit_code=unknown" in result.text) == (fields["exit_code"] is None)


def test_what_the_model_reads_is_capped_and_what_is_kept_is_not() -> None:
    long = "".join(f"line {number}\n" for number in range(10_000))
    result = bash(long.encode())
    assert len(result.text) < READS_AT_MOST + 300
    assert f"… {len(long) - READS_AT_MOST:,} characters left out …" in result.text
    assert "line 0\n" in result.text
    assert result.text.endswith("line 9999\n")
    assert result.full_output == long
    assert result.lines == 10_000


@given(st.text(max_size=300), st.integers(2, 100))
def test_shortening_loses_only_the_counted_middle(text: str, limit: int) -> None:
    short = shorten(text, limit)
    if len(text) <= limit:
        assert short == text
    else:
        half = limit // 2
        assert short.startswith(text[:half])
        assert short.endswith(text[-half:])
        assert f"… {len(text) - 2 * half:,} characters left out …" in short


def test_control_characters_reach_the_model_but_not_nul_nor_broken_utf8() -> None:
    result = bash(b"\x1b[31mred\x1b[0m \x00 \xff\r\n")
    assert "\x1b[31mred\x1b[0m � �\r\n" in result.text
    assert result.summary == "red � �"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ""),
        ("\n \n", ""),
        ("done\n\n\n", "done"),
        ("accuracy 0.8\n 45%|████▌     | 45/100 [00:03<00:04]", "accuracy 0.8"),
        ("loss 1\n[#####     ] 50%\n", "loss 1"),
        ("10%|█         | 1/10 [00:01<00:09]\r50%|█████     | 5/10 [00:05<00:05]", "50%|█████ |"),
        ("step 1\rstep 2\rstep 3\n", "step 3"),
        ("\x1b]0;title\x07ok\x1b[K\n", "ok"),
        ("a\x0bb\x0cc\u2028d\n", "a b c d"),
    ],
)
def test_the_telling_line(text: str, said: str) -> None:
    assert telling_line(text).startswith(said)
    assert bool(telling_line(text)) == bool(said)


def test_lines_end_with_a_newline_and_nothing_else() -> None:
    assert [count_lines(text) for text in ("", "a", "a\n", "a\nb", "\n\n")] == [0, 1, 1, 2, 2]
    assert count_lines("a\x0bb\u2028c\rd\n") == 1


@given(st.binary(max_size=200), st.sampled_from(["exited", "timeout", "killed", "lost"]))
def test_any_output_becomes_text_that_can_be_stored(output: bytes, ended: str) -> None:
    for result in (bash(output, ended=ended), OPEN.result(OPEN_A, outcome(ended=ended), output)):
        for text in (result.text, result.summary):
            assert "\x00" not in text
            text.encode()


def said(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_a_file_tool_says_what_it_did() -> None:
    output = said(success=True, message="edited a.py: …", text="1| x", added=2, removed=1, lines=2)
    result = OPEN.result(OPEN_A, outcome(), output)
    assert result.text == (
        "success=true observation_type=file timestamp=2026-03-31T23:33:20Z\n"
        "message: edited a.py: …\n1| x"
    )
    assert (result.disposition, result.error, result.lines) == ("completed", False, 2)
    assert (result.added, result.removed, result.summary) == (2, 1, "edited a.py: …")


def test_a_file_tool_that_refuses_failed() -> None:
    output = said(success=False, error_message="a.py does not exist", lines=1)
    result = OPEN.result(OPEN_A, outcome(), output)
    assert "success=false" in result.text
    assert "\nerror_message: a.py does not exist" in result.text
    assert (result.disposition, result.error) == ("failed", True)
    assert result.summary == "a.py does not exist"


@pytest.mark.parametrize(
    ("output", "fields", "disposition", "told"),
    [
        (b"", {"ended": "lost", "exit_code": None}, "unknown", "nobody can say"),
        (
            b"",
            {"ended": "timeout", "exit_code": 137},
            "timeout",
            "killed at its time limit",
        ),
        (b"Traceback ...\nOSError: disk\n", {"exit_code": 1}, "failed", "OSError: disk"),
        (b"[1]", {}, "failed", "open_file: [1]"),
        (b"", {}, "failed", "open_file: no answer"),
    ],
)
def test_a_file_tool_that_broke_says_so(
    output: bytes, fields: dict[str, Any], disposition: str, told: str
) -> None:
    result = OPEN.result(OPEN_A, outcome(**fields), output)
    assert result.disposition == disposition
    assert told in result.text
    assert result.error
