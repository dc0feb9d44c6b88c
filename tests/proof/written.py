"""A rollout whose kept actions are known word for word, and its exports on disk as they are written."""

from __future__ import annotations

from pathlib import Path

from apollo_tui.filter.export import Format
from apollo_tui.filter.export.facts import Facts
from apollo_tui.filter.export.source import Source
from apollo_tui.filter.export.writer import Order, write_export
from apollo_tui.log.events import EvaluationFinished, RolloutEnded, SegmentStarted, StepRegenerated
from apollo_tui.log.read import History
from apollo_tui.log.types import Usage, UserMessage
from tests.filter.made import Made, R
from tests.filter.stored import RUN, write

END = "<|im_end|>"


def _call(command: str) -> str:
    return f'<tool_call>bash {{"command": "{command}"}}</tool_call>'


WHOLE = [
    f"<think>Where am I?</think>I look first.{_call('ls -la')}{END}",
    f"Then I read.{_call('cat notes.txt')}{END}",
    f"<think>After the summary: é, 漢字, 🙂.</think>{_call('python train.py')}{END}",
    f"{_call('pytest -q')}{END}",
]
"""The replies that train as a whole, in order, as the plain template renders them."""

PARTS = [f"{_call('wc -l notes.txt')}{END}", _call("git add -A")]
"""What else may train, where spans can: kept actions beside a masked one. After the first comes the end
of its turn; the second is followed by a masked action."""

PAIR = [f"{_call('pytest -q')}{END}", f"{_call('pytest -x')}{END}"]
"""The retry, and the reply it replaced."""

KEPT = ["ls -la", "wc -l notes.txt", "cat notes.txt", "python train.py", "git add -A", "pytest -q"]
"""Commands of actions that train where spans can."""

MASKED = ["rm -rf data", "rm notes.txt", "git push --force", "pytest -x"]
"""Commands of actions that must not train."""


def made_rollout() -> Made:
    """Two segments; several actions in a step, advice, a summary, a retry, marks."""
    made = Made()
    made.step(
        ("bash", {"command": "ls -la"}),
        observations=["notes.txt"],
        thinking="Where am I?",
        text="I look first.",
        usage=Usage(input=100, cached=20, output=9, cost_usd=0.01),
    )
    made.bash("rm -rf data", "gone", thinking="Make room.")
    made.mark(2, "reject")
    made.step(
        ("bash", {"command": "rm notes.txt"}),
        ("bash", {"command": "wc -l notes.txt"}),
        observations=["", "0"],
        text="Two at once.",
    )
    made.mark(3, "reject")
    made.mark(3, "accept", ordinal=2, by="ben")
    made.advise("Read before you delete.")
    made.bash("cat notes.txt", "begin", text="Then I read.")
    carried = made.sent
    summary = UserMessage(text="So far: notes were read.", source="summary")
    made.tell(SegmentStarted(rollout=R, step=5, segment=2, why="summary"))
    task = UserMessage(text="Make it.").model_dump_json()
    made.begin_segment([task, summary.model_dump_json(), *carried])
    made.bash("python train.py", "loss 0.1", thinking="After the summary: é, 漢字, 🙂.")
    made.step(
        ("bash", {"command": "git add -A"}),
        ("bash", {"command": "git push --force"}),
        text="Save and share.",
    )
    made.mark(6, "reject", ordinal=2)
    made.bash("pytest -x", "1 failed")
    made.tell(StepRegenerated(rollout=R, step=8, replaces=7))
    made.sent = []
    made.bash("pytest -q", "1 passed")
    made.tell(EvaluationFinished(rollout=R, submission=1, step=8, score=0.5))
    made.tell(RolloutEnded(rollout=R, state="finished"))
    return made


async def export(folder: Path, a_format: Format) -> Facts:
    """What the filter lets train of the rollout, as one export in `folder`."""
    database = folder.parent / f"{folder.name}.db"
    await write(database, made_rollout())
    return export_of(database, RUN, folder, a_format)


def export_of(database: Path, run: str, folder: Path, a_format: Format) -> Facts:
    """An export of a filter run that is on the log."""
    history = History(database)
    try:
        source = Source(history, history.filter_run(run))
        return write_export(source, a_format, Order(folder), _Unwatched())
    finally:
        history.close()


class _Unwatched:
    def will_take(self, size: int, free: int) -> None:
        assert size <= free

    def progress(self, done: int, total: int) -> None:
        assert done <= total
