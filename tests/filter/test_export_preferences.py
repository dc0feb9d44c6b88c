from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apollo_tui.filter.export.preferences import Preferences
from apollo_tui.filter.export.source import FilteredRollout, Source
from apollo_tui.log.events import (
    ActionRewritten,
    Event,
    RolledBack,
    RolloutCreated,
    RolloutEnded,
    StepRegenerated,
)
from apollo_tui.log.read import History
from apollo_tui.log.types import AssistantMessage, Thinking, ToolCall, UserMessage
from tests.filter.made import Made, R
from tests.filter.stored import RUN, write


class Reworked(Made):
    """A made rollout in which a person steps in, and which may be told as another rollout's fork."""

    def rewrite(self, step: int, command: str, *, thinking: str = "") -> None:
        """Change the newest step's action before it goes on."""
        before = self.sent[0]
        call = ToolCall(id=f"c{step}-1", tool="bash", arguments={"command": command})
        said = AssistantMessage(thinking=(Thinking(text=thinking),), actions=(call,))
        after = said.model_dump_json()
        self.tell(
            ActionRewritten(
                rollout=R,
                step=step,
                by="ana",
                before_ref=self.keep(before),
                after_ref=self.keep(after),
            )
        )
        self.sent = [after, *self.sent[1:]]

    def retry(self, command: str, *, more: str | None = None, **said: Any) -> int:
        """Ask again for the newest step, with a hint; `more` is a message that changes the prompt."""
        replaced = self.step_number
        self.sent = [] if more is None else [UserMessage(text=more).model_dump_json()]
        step = self.bash(command, hint="Think of the disk.", **said)
        self.tell(
            StepRegenerated(rollout=R, step=step, replaces=replaced, hint="Think of the disk.")
        )
        return step

    def end(self, score: float | None) -> Reworked:
        self.tell(RolloutEnded(rollout=R, state="finished", score=score))
        return self

    def called(self, rollout: str, parent: str | None = None, forked_at: int | None = None) -> Any:
        """The same, told of a rollout of another name."""

        def of(event: Event) -> Event:
            changed: dict[str, Any] = {"rollout": rollout}
            if isinstance(event, RolloutCreated):
                spec = event.spec.model_copy(update={"name": rollout})
                changed |= {"spec": spec, "parent": parent, "forked_at": forked_at}
            return event.model_copy(update=changed)

        self.events = [of(event) for event in self.events]
        return self


async def pairs(
    database: Path, *made: Made, reviewed_only: bool = False
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The rows of all rollouts, and what was left out."""
    await write(database, *made)
    history = History(database)
    try:
        rollouts: list[FilteredRollout] = []
        a_format, rows = Preferences(), []
        source = Source(history, history.filter_run(RUN), reviewed_only=reviewed_only)
        for rollout in source.rollouts():
            rollouts.append(rollout)
            rows += list(a_format.rows(rollout))
        left_out = {why: n for rollout in rollouts for why, n in rollout.reasons.items()}
        return rows, left_out
    finally:
        history.close()


def command(message: dict[str, Any]) -> str:
    return str(message["tool_calls"][0]["function"]["arguments"]["command"])


def replies(row: dict[str, Any]) -> tuple[str, str]:
    (chosen,), (rejected,) = row["chosen"], row["rejected"]
    return command(chosen), command(rejected)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "apollo.db"


async def test_a_rewrite_is_chosen_over_what_the_model_said_and_neither_shows_its_thinking(
    database: Path,
) -> None:
    made = Reworked()
    made.bash("ls", "a")
    step = made.bash("rm -r data", "done", thinking="Free some space.")
    made.rewrite(step, "du -sh data", thinking="Free some space.")
    made.bash("exit")
    (row,), left_out = await pairs(database, made)
    assert replies(row) == ("du -sh data", "rm -r data")
    assert [message["role"] for message in row["prompt"]] == ["system", "user", "assistant", "tool"]
    assert not any("reasoning_content" in one for one in (*row["chosen"], *row["rejected"]))
    assert row["meta"]["source"] == "rewrite"
    assert row["meta"]["trained"] == [[2, 1]]
    assert row["meta"]["rejected"] == {"rollout": R, "step": 2}
    assert not left_out


async def test_a_rewrite_that_a_person_rejected_gives_no_pair(database: Path) -> None:
    made = Reworked()
    step = made.bash("rm -r data")
    made.rewrite(step, "rm -r data/*")
    made.mark(step, "reject")
    rows, left_out = await pairs(database, made)
    assert rows == []
    assert left_out == {"pairs whose better reply a person rejected": 1}


async def test_a_rewrite_of_nothing_but_thinking_gives_no_pair(database: Path) -> None:
    made = Reworked()
    step = made.bash("ls", thinking="one")
    made.rewrite(step, "ls", thinking="two")
    rows, left_out = await pairs(database, made)
    assert rows == []
    assert left_out == {"rewrites that change nothing but thinking": 1}


async def test_a_retry_is_chosen_over_all_it_replaced_at_the_same_prompt(database: Path) -> None:
    made = Reworked()
    made.bash("pip install x")
    made.retry("pip install y", thinking="again")
    made.retry("df -h", thinking="at last")
    rows, left_out = await pairs(database, made)
    assert [replies(row) for row in rows] == [
        ("df -h", "pip install y"),
        ("df -h", "pip install x"),
    ]
    assert [row["meta"]["source"] for row in rows] == ["retry", "retry"]
    for row in rows:
        assert [message["content"] for message in row["prompt"]] == ["Be careful.", "Make it."]
        assert row["chosen"][0]["reasoning_content"] == "at last"
    assert left_out == {"pairs whose better reply was replaced or rewound itself": 1}


async def test_a_retry_at_another_prompt_gives_no_pair(database: Path) -> None:
    made = Reworked()
    made.bash("pip install x")
    made.retry("df -h", more="The disk is full.")
    rows, left_out = await pairs(database, made)
    assert rows == []
    assert left_out == {"retries whose prompt was another": 1}


async def test_a_retry_in_a_new_segment_is_compared_by_its_whole_prompt(database: Path) -> None:
    made = Reworked()
    made.bash("ls", "a")
    prompt = [UserMessage(text="Make it.").model_dump_json(), *made.sent]
    made.bash("rm a")
    made.tell(RolledBack(rollout=R, to=1))
    made.begin_segment(prompt)
    step = made.bash("cat a", hint="Read it.")
    made.tell(StepRegenerated(rollout=R, step=step, replaces=2))
    (row,), left_out = await pairs(database, made)
    assert replies(row) == ("cat a", "rm a")
    assert row["meta"]["segment"] == 2
    assert not left_out


async def test_a_retry_of_a_reply_that_a_person_accepted_gives_no_pair(
    database: Path,
) -> None:
    made = Reworked()
    made.bash("ls")
    made.mark(1, "accept")
    made.retry("df")
    rows, left_out = await pairs(database, made)
    assert rows == []
    assert left_out == {"retries of a reply that a person accepted": 1}


async def test_with_reviewed_only_the_better_reply_must_have_been_read(database: Path) -> None:
    made = Reworked()
    step = made.bash("rm -r data")
    made.rewrite(step, "du -sh data")
    later = made.bash("rm b")
    made.rewrite(later, "ls b")
    made.mark(later, "reviewed")
    (row,), left_out = await pairs(database, made, reviewed_only=True)
    assert replies(row) == ("ls b", "rm b")
    assert left_out == {"pairs whose better reply no person has looked at": 1}


async def test_with_reviewed_only_an_unsure_better_reply_was_looked_at(database: Path) -> None:
    made = Reworked()
    step = made.bash("rm -r data")
    made.rewrite(step, "du -sh data")
    made.mark(step, "unsure")
    rows, left_out = await pairs(database, made, reviewed_only=True)
    assert rows == []
    assert left_out == {"pairs whose better reply a person put aside as unsure": 1}


def forks(first: float | None, second: float | None) -> tuple[Reworked, Reworked]:
    """A rollout and its fork, which part after two steps."""
    both = []
    for score, commands in (
        (first, ["ls", "cat a", "rm a"]),
        (second, ["ls", "cat a", "vi a", "x"]),
    ):
        made = Reworked()
        for one in commands:
            made.bash(one)
        both.append(made.end(score))
    parent, fork = both
    return parent.called("trunk"), fork.called("branch", "trunk", 2)


@pytest.mark.parametrize(
    ("scores", "better", "worse", "chosen"),
    [
        ((10.0, 60.0), "branch", "trunk", ("vi a", "rm a")),
        ((60.0, 10.0), "trunk", "branch", ("rm a", "vi a")),
    ],
)
async def test_where_forks_part_the_reply_of_the_better_scored_one_is_chosen(
    database: Path,
    scores: tuple[float, float],
    better: str,
    worse: str,
    chosen: tuple[str, str],
) -> None:
    (row,), left_out = await pairs(database, *forks(*scores))
    assert replies(row) == chosen
    assert len(row["prompt"]) == 6
    assert row["meta"]["rollout"] == better
    assert row["meta"]["trained"] == [[3, 1]]
    assert row["meta"]["rejected"]["rollout"] == worse
    assert row["meta"]["rejected"]["score"] == min(scores)
    assert not left_out


@pytest.mark.parametrize(
    ("scores", "why"),
    [((10.0, 10.0), "forks with equal scores"), ((None, 10.0), "forks without a score")],
)
async def test_forks_that_cannot_be_compared_are_counted(
    database: Path, scores: tuple[float | None, float], why: str
) -> None:
    rows, left_out = await pairs(database, *forks(*scores))
    assert rows == []
    assert left_out == {why: 1}


async def test_a_forks_better_reply_that_a_person_rejected_gives_no_pair(database: Path) -> None:
    trunk, _ = forks(60.0, 10.0)
    made = Reworked()
    for one in ("ls", "cat a", "rm a"):
        made.bash(one)
    made.mark(3, "reject")
    trunk = made.end(60.0).called("trunk")
    rows, left_out = await pairs(database, trunk, forks(60.0, 10.0)[1])
    assert rows == []
    assert left_out == {"pairs whose better reply a person rejected": 1}


@pytest.mark.parametrize("scores", [(10.0, 60.0), (60.0, 10.0)])
@pytest.mark.parametrize("accepted", ["trunk", "branch"])
async def test_a_forks_reply_that_a_person_accepted_is_never_rejected(
    database: Path, scores: tuple[float, float], accepted: str
) -> None:
    """Whichever of the two is read first. An accepted better reply is a pair as ever."""
    scored = dict(zip(("trunk", "branch"), scores, strict=True))
    both = {}
    for name, score in scored.items():
        made = Reworked()
        for one in ("ls", "cat a", f"{name} it"):
            made.bash(one)
        if name == accepted:
            made.mark(3, "accept")
        both[name] = made.end(score)
    trunk = both["trunk"].called("trunk")
    rows, left_out = await pairs(database, trunk, both["branch"].called("branch", "trunk", 2))
    if scored[accepted] == min(scores):
        assert (rows, left_out) == ([], {"forks of a reply that a person accepted": 1})
    else:
        assert [replies(row)[0] for row in rows] == [f"{accepted} it"]
        assert left_out == {}


async def test_rollouts_that_are_no_forks_of_one_another_are_not_compared(database: Path) -> None:
    trunk, branch = forks(10.0, 60.0)
    branch.events = [
        event.model_copy(update={"parent": None}) if isinstance(event, RolloutCreated) else event
        for event in branch.events
    ]
    assert await pairs(database, trunk, branch) == ([], {})
