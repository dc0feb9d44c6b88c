from __future__ import annotations

import pytest

from apollo_tui.core.context import duration, remaining_line, task_message
from apollo_tui.log.types import Evaluation, Task


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m 00s"),
        (725, "12m 05s"),
        (3600, "1h 00m"),
        (108_000, "30h 00m"),
    ],
)
def test_durations_read_well(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_the_remaining_line_says_only_what_is_limited() -> None:
    assert remaining_line(None, None) == ""
    assert remaining_line(60, None) == "\n\n[left: 1m 00s of working time]"
    assert remaining_line(-5, 3) == "\n\n[left: 0s of working time, 3 steps]"


def test_the_task_message_names_limits_and_submissions() -> None:
    evaluation = Evaluation(folder="/x", command="true", submissions=2)
    task = Task(name="t", description="  Filter it.\n", evaluation=evaluation)
    text = task_message(task, 7200, 40).text
    assert text.startswith("Filter it.\n\n")
    assert "2h 00m" in text
    assert "40 at most" in text
    assert "at most 2 times" in text
    assert task_message(Task(name="t", description="Only this."), None, None).text == "Only this."
