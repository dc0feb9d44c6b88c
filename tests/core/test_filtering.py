"""Filter runs of a real core: scripted judges, judges behind a real socket, crashes, marks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apollo_tui.client import Client
from apollo_tui.core.judging import TRIES
from apollo_tui.errors import ApolloError, CommandRefused, UnknownName, UsageError
from apollo_tui.filter.run import FilterSettings, filter_rollout, stored_verdicts
from apollo_tui.log.events import EvaluationFinished, RolloutCreated, RolloutEnded
from apollo_tui.log.read import FilterRunRow, History
from apollo_tui.log.store import Log
from apollo_tui.log.trajectory import read_trajectory
from apollo_tui.log.verify import verify
from apollo_tui.paths import Home
from tests.filter.made import Made, R
from tests.models.sse_server import Answer, SseServer, serve_sse
from tests.running import Reply, bash, core, end_core, ended, events, script


@contextlib.contextmanager
def reading(home: Home) -> Iterator[History]:
    history = History(home.database)
    try:
        yield history
    finally:
        history.close()


async def over(home: Home, run: str, seconds: float = 40) -> FilterRunRow:
    """Wait until a filter run has ended."""
    with reading(home) as history:
        async with asyncio.timeout(seconds):
            while (row := history.filter_run(run)).state == "running":
                await asyncio.sleep(0.02)
        return row


async def until_judged(home: Home, run: str, least: int) -> None:
    with reading(home) as history:
        async with asyncio.timeout(30):
            while (history.filter_run(run).judged or 0) < least:
                await asyncio.sleep(0.02)


def says(*steps: int, mask: Iterable[int] = (), seconds: float = 0.0) -> Reply:
    """A scripted judge's reply about the first action of some steps."""
    return {"for": "judge", "actions": [call(*steps, mask=mask)], "seconds": seconds}


def call(*steps: int, mask: Iterable[int] = ()) -> dict[str, Any]:
    verdicts = [
        {
            "step": step,
            "ordinal": 1,
            "verdict": "mask" if step in set(mask) else "keep",
            "fault": "no-progress" if step in set(mask) else None,
            "why": f"about step {step}",
        }
        for step in steps
    ]
    return {"tool": "give_verdicts", "arguments": {"verdicts": verdicts}}


def a_rollout(steps: int = 4) -> Made:
    made = Made()
    for number in range(1, steps + 1):
        made.bash(f"python3 run.py {number}", observation=f"result {number}")
    return made


async def lay(home: Home, *made: Made, names: tuple[str, ...] = (R,)) -> None:
    """Write rollouts made by hand to the log of a home, ended, under these ids."""
    home.prepare()
    log = await Log.open(home.database)
    try:
        for one, name in zip(made, names, strict=True):
            told = [event.model_copy(update={"rollout": name}) for event in one.events]
            ended_by = RolloutEnded(rollout=name, state="finished", reason="made")
            await log.append(*told, ended_by, texts=one.texts.values())
    finally:
        await log.close()


# --- the judge ---------------------------------------------------------------------------------


async def test_a_run_stores_what_people_the_judge_and_the_rules_decided(
    home: Home, tmp_path: Path
) -> None:
    made = a_rollout(4)
    made.bash("python3 run.py 4", observation="result 4", result={"disposition": "failed"})
    made.mark(1, "accept")
    made.mark(2, "reject")
    await lay(home, made)
    judge = script(tmp_path / "judge.jsonl", [says(1, 2, 3, 4, 5, mask=(1, 3))])
    async with core(home) as client:
        run = await over(home, await client.filter([R], {"judge": judge}, judge_usd=1.0))
    assert (run.state, run.why, run.cost_usd) == ("finished", "", 0.0)
    assert (run.kept, run.masked, run.unread, run.judged, run.unjudged) == (3, 2, 2, 5, 0)
    assert run.counts[R]["masked"] == {"human": 1, "judge": 1}
    assert run.counts[R]["judge_and_people"] == {
        "keep_accept": 0,
        "keep_reject": 1,
        "mask_accept": 1,
        "mask_reject": 0,
    }
    with reading(home) as history:
        rows = history.verdicts(run.run, R)
        trajectory = read_trajectory(history, R, run.as_of)
        again = filter_rollout(
            trajectory, history.text, FilterSettings.model_validate(run.configuration)
        )
    assert [(row.step, row.keep, row.by) for row in rows] == [
        *((1, True, "human"), (2, False, "human"), (3, False, "judge")),
        *((4, True, "judge"), (5, True, "judge")),
    ]
    assert rows[2].why == "no-progress: about step 3"
    assert stored_verdicts(rows, trajectory).decided == again.decided
    assert verify(home.database) == []


async def test_the_question_is_on_the_log_as_it_was_sent(home: Home, tmp_path: Path) -> None:
    await lay(home, a_rollout(2))
    judge = script(tmp_path / "judge.jsonl", [says(1, 2)])
    async with core(home) as client:
        await over(home, await client.filter([R], {"judge": judge}))
    (sent,) = [one for one in events(home, R, "request_sent") if one["purpose"] == "judge"]
    assert sent["model"] == judge
    with reading(home) as history:
        (message,) = [json.loads(history.text(ref)) for ref in sent["added"]]
        assert "result 2" in message["text"]
        assert "give_verdicts" in history.text(sent["tools_ref"])
        assert json.loads(history.prompt(R, 2))["messages"][0]["text"] == "Make it."


async def test_what_was_answered_is_never_asked_again(home: Home, tmp_path: Path) -> None:
    await lay(home, a_rollout(3))
    judge = script(tmp_path / "judge.jsonl", [says(1, 2, 3, mask=(2,))])
    async with core(home) as client:
        first = await over(home, await client.filter([R], {"judge": judge}))
        second = await over(home, await client.filter([R], {"judge": judge}))
        unasked = await over(home, await client.filter([R], {"judge": judge}, ask_judge=False))
        before = await over(home, await client.filter([R], {"judge": judge}, as_of=first.seq))
    assert (first.judged, second.judged, second.to_judge) == (3, 0, 0)
    assert first.masked == second.masked == unasked.masked == 1
    assert unasked.to_judge is None
    assert (before.masked, before.unjudged, before.as_of) == (0, 3, first.seq)
    assert "not asked" in before.why
    assert len(events(home, R, "judge_answered")) == 1


async def test_the_very_same_in_a_fork_is_taken_over_and_not_asked(
    home: Home, tmp_path: Path
) -> None:
    await lay(home, a_rollout(3), a_rollout(4), names=("first", "second"))
    path = tmp_path / "judge.jsonl"
    judge = script(path, [says(1, 2, 3, mask=(2,))])
    async with core(home) as client:
        first = await over(home, await client.filter(["first"], {"judge": judge}))
        assert script(path, [says(4)]) == judge
        second = await over(home, await client.filter(["second"], {"judge": judge}))
    assert (first.judged, first.masked) == (3, 1)
    assert (second.judged, second.to_judge, second.masked, second.unjudged) == (1, 1, 1, 0)
    answers = events(home, "second", "judge_answered")
    assert [(one["copied"], len(one["words"])) for one in answers] == [(True, 3), (False, 1)]
    assert verify(home.database) == []


async def test_many_batches_are_asked_some_at_a_time(home: Home, tmp_path: Path) -> None:
    await lay(home, a_rollout(50))
    replies = [says(*range(n, min(n + 8, 51)), seconds=0.3) for n in range(1, 51, 8)]
    judge = script(tmp_path / "judge.jsonl", replies)
    async with core(home) as client:
        run = await over(home, await client.filter([R], {"judge": judge}))
    assert (run.judged, run.unjudged) == (50, 0)
    told = events(home, R, "request_sent", "judge_answered")
    waiting = most = 0
    for one in told:
        if one["kind"] == "judge_answered":
            waiting -= 1
        elif one["purpose"] == "judge":
            waiting += 1
            most = max(most, waiting)
    assert most == 4


async def test_two_runs_at_once_never_ask_the_same_thing(home: Home, tmp_path: Path) -> None:
    await lay(home, a_rollout(8))
    judge = script(tmp_path / "judge.jsonl", [says(*range(1, 9), seconds=0.5)])
    async with core(home) as client:
        runs = [await client.filter([R], {"judge": judge}) for _ in range(2)]
        rows = [await over(home, run) for run in runs]
    assert sorted(row.judged or 0 for row in rows) == [0, 8]
    assert [row.unjudged for row in rows] == [0, 0]
    assert len(events(home, R, "judge_answered")) == 1


async def test_a_reply_that_does_not_fit_is_asked_for_once_more(home: Home, tmp_path: Path) -> None:
    await lay(home, a_rollout(2))
    judge = script(tmp_path / "judge.jsonl", [says(1), says(1, 2, mask=(2,))])
    async with core(home) as client:
        run = await over(home, await client.filter([R], {"judge": judge}))
    assert (run.judged, run.masked, run.why) == (2, 1, "")
    answers = events(home, R, "judge_answered")
    assert [one["fault"] for one in answers] == ["it has no verdict on action 2.1", ""]


async def test_what_is_never_answered_is_counted_with_the_reason(
    home: Home, tmp_path: Path
) -> None:
    await lay(home, a_rollout(10))
    replies = [says(1), says(9, 10), {"for": "judge", "text": "I would rather not."}]
    judge = script(tmp_path / "judge.jsonl", replies)
    async with core(home) as client:
        run = await over(home, await client.filter([R], {"judge": judge}))
    assert (run.judged, run.unjudged, run.kept) == (2, 8, 10)
    assert run.why == (
        "8 not judged: the judge's replies could not be used: it must call give_verdicts once, and "
        "nothing else"
    )


async def test_marks_and_steps_after_as_of_do_not_count(home: Home) -> None:
    made = a_rollout(2)
    await lay(home, made)
    async with core(home) as client:
        await client.mark(R, [(1, 1)], "reject")
        first = await over(home, await client.filter([R]))
        await client.mark(R, [(2, 1)], "reject")
        then = await over(home, await client.filter([R], as_of=first.as_of))
        now = await over(home, await client.filter([R]))
    assert (first.masked, then.masked, now.masked) == (1, 1, 2)


# --- a judge behind a socket --------------------------------------------------------------------


def answers(*actions: dict[str, Any]) -> Answer:
    """What an OpenAI-compatible server streams: one call, and a million tokens of prompt."""
    calls = [
        {
            "index": index,
            "id": f"call_{index}",
            "type": "function",
            "function": {"name": one["tool"], "arguments": json.dumps(one["arguments"])},
        }
        for index, one in enumerate(actions)
    ]
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000}
    common: dict[str, Any] = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
    }
    parts: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"tool_calls": calls}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
        {"choices": [], "usage": usage},
    ]
    return Answer([*(common | part for part in parts), "data: [DONE]\n\n"])


@contextlib.asynccontextmanager
async def served_judge(
    home: Home, *given: Answer, price: str = "price = { input = 2.0, output = 1.0 }"
) -> AsyncIterator[SseServer]:
    """A model "served" in the home's configuration; one call at a time, $2 each."""
    async with serve_sse(*given) as server:
        home.prepare()
        home.config.write_text(
            f'[models.served]\napi = "openai"\nmodel = "m"\nbase_url = "{server.base_url}"\n'
            f"concurrency = 1\n{price}\n"
        )
        yield server


async def test_no_call_is_made_once_the_budget_is_spent(home: Home) -> None:
    await lay(home, a_rollout(60))
    given = [answers(call(*range(n, n + 8))) for n in range(1, 57, 8)]
    async with served_judge(home, *given) as server, core(home) as client:
        run = await over(home, await client.filter([R], {"judge": "served"}, judge_usd=3.5))
    # Two calls spend it; those that waited for their turn by then (4 at once) are still made.
    calls = len(server.requests)
    assert 2 <= calls <= 5
    assert (run.cost_usd, run.judged, run.unjudged) == (2.0 * calls, 8 * calls, 60 - 8 * calls)
    assert run.why == f"{60 - 8 * calls} not judged: the budget of $3.5 was spent"


async def test_a_judge_of_unknown_price_takes_no_budget(home: Home) -> None:
    await lay(home, a_rollout(2))
    async with served_judge(home, answers(call(1, 2)), price="") as server, core(home) as client:
        with pytest.raises(UsageError, match="nobody knows what served costs"):
            await client.filter([R], {"judge": "served"}, judge_usd=1.0)
        run = await over(home, await client.filter([R], {"judge": "served"}))
    assert (len(server.requests), run.judged, run.cost_usd) == (1, 2, None)


async def test_a_judge_that_is_down_is_asked_again_and_then_given_up(home: Home) -> None:
    await lay(home, a_rollout(2))
    busy = Answer([{"error": {"message": "busy"}}], status=503, headers={"retry-after": "0"})
    given = [*[busy] * TRIES, answers(call(1, 2))]
    async with served_judge(home, *given) as server, core(home) as client:
        down = await over(home, await client.filter([R], {"judge": "served"}))
        up = await over(home, await client.filter([R], {"judge": "served"}))
    assert len(server.requests) == TRIES + 1
    assert (down.state, down.judged, down.unjudged) == ("finished", 0, 2)
    assert f"gave up after {TRIES} tries" in down.why
    assert (up.judged, up.unjudged, up.why) == (2, 0, "")


async def test_a_judge_without_a_key_is_given_up_at_once(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    await lay(home, a_rollout(2))
    async with core(home) as client:
        run = await over(home, await client.filter([R], {"judge": "openai:gpt-5-mini"}), seconds=5)
    assert (run.state, run.unjudged, run.cost_usd) == ("finished", 2, 0.0)
    assert run.why.startswith("2 not judged: there is no key for openai:gpt-5-mini")


async def test_a_judge_that_comes_back_is_waited_for(home: Home) -> None:
    await lay(home, a_rollout(2))
    busy = Answer([{"error": {"message": "busy"}}], status=429, headers={"retry-after": "0"})
    async with served_judge(home, busy, answers(call(1, 2))), core(home) as client:
        run = await over(home, await client.filter([R], {"judge": "served"}))
    assert (run.judged, run.why) == (2, "")


# --- ends --------------------------------------------------------------------------------------


async def test_a_cancelled_run_has_no_verdicts_and_keeps_what_was_answered(
    home: Home, tmp_path: Path
) -> None:
    await lay(home, a_rollout(40))
    quick = says(*range(1, 9))
    slow = [says(*range(n, n + 8), seconds=0.4) for n in range(9, 41, 8)]
    judge = script(tmp_path / "judge.jsonl", [quick, *slow])
    async with core(home) as client:
        run = await client.filter([R], {"judge": judge})
        await until_judged(home, run, 8)
        await client.cancel_filter(run)
        row = await over(home, run)
        with pytest.raises(CommandRefused, match="has ended already"):
            await client.cancel_filter(run)
        with pytest.raises(UnknownName, match="no filter run"):
            await client.cancel_filter("nothing")
        again = await over(home, await client.filter([R], {"judge": judge}))
        with pytest.raises(CommandRefused, match="has finished already"):
            await client.cancel_filter(again.run)
    assert (row.state, row.why) == ("ended", "cancelled by ana")
    with reading(home) as history:
        assert history.verdicts(run, R) == []
    assert (again.state, again.unjudged) == ("finished", 0)
    assert again.judged == 40 - sum(
        len(one["words"]) for one in events(home, R, "judge_answered") if one["run"] == run
    )
    assert verify(home.database) == []


@pytest.mark.parametrize(
    ("end", "why"), [(signal.SIGKILL, "the core ended"), (signal.SIGTERM, "the core was stopped")]
)
async def test_a_run_that_its_core_left_is_ended_and_costs_only_the_rest(
    home: Home, tmp_path: Path, end: signal.Signals, why: str
) -> None:
    await lay(home, a_rollout(40))
    slow = [says(*range(n, n + 8), seconds=0.3 if n < 33 else 3.0) for n in range(1, 41, 8)]
    judge = script(tmp_path / "judge.jsonl", slow)
    async with core(home) as client:
        run = await client.filter([R], {"judge": judge})
        await until_judged(home, run, 32)
        await end_core(home, end)
    async with core(home) as client:
        left = await over(home, run)
        again = await over(home, await client.filter([R], {"judge": judge}))
    assert (left.state, left.why) == ("ended", why)
    assert (again.to_judge, again.judged, again.unjudged) == (8, 8, 0)
    assert verify(home.database) == []


async def test_a_rollout_is_filtered_while_it_runs(home: Home, tmp_path: Path) -> None:
    model = script(tmp_path / "model.jsonl", [bash("sleep 0.05", repeat=60)])
    async with core(home) as client:
        (started,) = await client.run(
            task="", prompt="Go on.", model=model, sandbox="plain", unisolated=True
        )
        rollout = started["rollout"]
        await first_step(home, client, rollout)
        runs = []
        for _ in range(5):
            runs.append(await over(home, await client.filter([rollout])))
            await client.mark(rollout, [(1, 1)], "reject")
        row = await ended(home, rollout)
    assert [run.state for run in runs] == ["finished"] * 5
    assert runs[-1].counts[rollout]["masked"]["human"] == 1
    assert (row.state, row.step) == ("finished", 61)
    times = [one["at"] for one in events(home, rollout)]
    assert times == sorted(times)
    assert verify(home.database) == []


async def test_a_repeated_command_is_the_same_run(home: Home) -> None:
    await lay(home, a_rollout(2))
    async with core(home) as client:
        first = await client.command("filter", command="filter-once", rollouts=[R])
        again = await client.command("filter", command="filter-once", rollouts=[R])
        await over(home, first["run"])
    assert first == again
    with reading(home) as history:
        assert len(history.filter_runs()) == 1


REFUSED: list[tuple[dict[str, Any], type[ApolloError], str]] = [
    ({"rollouts": ["nothing"]}, UnknownName, "no rollout 'nothing'"),
    ({"rollouts": []}, UsageError, "rollouts"),
    ({"settings": {"rules": {"off": ["nix"]}}}, UsageError, "no rule 'nix'"),
    ({"settings": {"rules": {"on": ["polling"]}}}, UsageError, "no optional rule"),
    ({"settings": {"judges": "x"}}, UsageError, "judges"),
    ({"settings": {"judge": "nix"}}, UnknownName, "no model 'nix'"),
    ({"settings": {"judge": "scripted:/no/where"}}, ApolloError, "cannot read"),
    ({"settings": {"gate": {"baseline": 1}}}, UsageError, "min_gain"),
    ({"as_of": 1 << 40}, UsageError, "the log ends at"),
    ({"judge_usd": 1.0}, UsageError, "needs a judge"),
]


async def test_what_cannot_be_filtered_is_refused_and_leaves_no_run(home: Home) -> None:
    await lay(home, a_rollout(1))
    async with core(home) as client:
        for asked, error, why in REFUSED:
            with pytest.raises(error, match=why):
                await client.command("filter", **{"rollouts": [R], **asked})
    with reading(home) as history:
        assert history.filter_runs() == []


async def test_a_text_that_is_missing_ends_the_run_and_says_which(
    home: Home, tmp_path: Path
) -> None:
    made = a_rollout(2)
    made.bash("python3 run.py 2", observation="result 2")
    lost = next(ref for ref, text in made.texts.items() if text == "result 2")
    del made.texts[lost]
    await lay(home, made)
    async with core(home) as client:
        run = await over(home, await client.filter([R]))
        judge = script(tmp_path / "judge.jsonl", [])
        judged = await over(home, await client.filter([R], {"judge": judge}))
    assert (run.state, judged.state) == ("ended", "ended")
    assert lost in run.why
    assert lost in judged.why


# --- gates -------------------------------------------------------------------------------------


async def test_a_fork_that_gained_nothing_over_its_parent_is_gated(home: Home) -> None:
    def scored(made: Made, *scores: tuple[int, float]) -> Made:
        for number, (step, score) in enumerate(scores, 1):
            made.tell(EvaluationFinished(rollout=R, submission=number, step=step, score=score))
        return made

    parent = scored(a_rollout(4), (2, 40.0), (4, 90.0))
    good, poor = scored(a_rollout(4), (4, 55.0)), scored(a_rollout(4), (4, 45.0))
    for fork in (good, poor):
        created = fork.events[0]
        assert isinstance(created, RolloutCreated)
        fork.events[0] = created.model_copy(update={"parent": "parent", "forked_at": 2})
    await lay(home, parent, good, poor, names=("parent", "good", "poor"))
    async with core(home) as client:
        run = await over(
            home, await client.filter(["parent", "good", "poor"], {"gate": {"min_gain": 10}})
        )
    assert sorted(run.gated) == ["parent", "poor"]
    assert run.gated["poor"] == "gained 5 over 40 of its parent at the fork, less than 10"
    assert run.kept == run.counts["good"]["kept"] == 4


# --- marks, exports ----------------------------------------------------------------------------


def mark(step: int, kind: str = "reject", **fields: Any) -> dict[str, Any]:
    return {
        "rollout": R,
        "action": {"step": step, "ordinal": 1},
        "mark": kind,
        "annotator": "ben",
        **fields,
    }


async def test_marks_are_imported_in_the_names_of_those_who_made_them(home: Home) -> None:
    await lay(home, a_rollout(3))
    given = [
        mark(1, code="impatient", note="healthy", at=1_000_000),
        mark(2, code="impatient", note="healthy", at=1_000_000),
        mark(3, "accept", annotator="cat"),
    ]
    async with core(home) as client:
        first = await client.import_marks(given)
        again = await client.import_marks(given)
        once = await client.command("import_marks", command="import-once", marks=[mark(3)])
        twice = await client.command("import_marks", command="import-once", marks=[mark(3)])
    assert first == {"imported": 3, "had": 0, "older": 0}
    assert again == {"imported": 0, "had": 3, "older": 0}
    assert once == twice == {"imported": 1, "had": 0, "older": 0}
    with reading(home) as history:
        marks = history.marks(R)
    assert [(one.step, one.annotator, one.mark) for one in marks] == [
        *((1, "ben", "reject"), (2, "ben", "reject"), (3, "ben", "reject"), (3, "cat", "accept"))
    ]
    assert (marks[0].code, marks[0].note, marks[0].at) == ("impatient", "healthy", 1_000_000)
    told = events(home, R, "marked")
    assert [len(one["actions"]) for one in told] == [2, 1, 1]
    assert {one["imported_by"] for one in told} == {"ana"}
    assert verify(home.database) == []


async def test_an_older_mark_never_takes_the_place_of_a_newer_one(home: Home) -> None:
    await lay(home, a_rollout(2))
    async with core(home, annotator="ben") as client:
        await client.mark(R, [(1, 1)], "accept")
        told = await client.import_marks(
            [mark(1, at=1_000_000), mark(2, at=2_000_000), mark(2, "accept", at=1_000_000)]
        )
    assert told == {"imported": 1, "had": 0, "older": 2}
    with reading(home) as history:
        assert [one.mark for one in history.marks(R)] == ["accept", "reject"]


async def test_one_wrong_mark_imports_none(home: Home) -> None:
    await lay(home, a_rollout(2))
    wrong = [
        (mark(9), "mark 2: the rollout made has no action 9.1"),
        (mark(1, line=7, rollout="x"), "line 7: there is no rollout 'x' here"),
        (mark(1, "great"), "mark"),
        (mark(0), "greater than or equal to 1"),
    ]
    async with core(home) as client:
        for one, why in wrong:
            with pytest.raises(ApolloError, match=why):
                await client.import_marks([mark(1), one])
    with reading(home) as history:
        assert history.marks() == []


async def test_marks_are_imported_while_their_rollouts_run(home: Home, tmp_path: Path) -> None:
    model = script(tmp_path / "model.jsonl", [bash("sleep 0.05", repeat=30)])
    async with core(home) as client:
        plain = {"model": model, "sandbox": "plain", "unisolated": True}
        started = [
            (await client.run(task="", prompt="Go on.", **plain))[0]["rollout"] for _ in range(2)
        ]
        for rollout in started:
            await first_step(home, client, rollout)
        both = [mark(1, rollout=rollout) for rollout in started]
        assert (await client.import_marks(both))["imported"] == 2
        for rollout in started:
            assert (await ended(home, rollout)).marks == 1
            times = [one["at"] for one in events(home, rollout)]
            assert times == sorted(times)
    assert verify(home.database) == []


async def first_step(home: Home, client: Client, rollout: str) -> None:
    with reading(home) as history:
        async for _ in client.follow():
            row = history.rollout(rollout)
            if row is not None and row.step:
                return


async def test_an_export_is_noted_for_its_run(home: Home) -> None:
    await lay(home, a_rollout(1))
    async with core(home) as client:
        run = await client.filter([R])
        await over(home, run)
        await client.note_export(run, "chat", "/exports/one", 1, "0" * 32)
        with pytest.raises(UnknownName, match="no filter run"):
            await client.note_export("nothing", "chat", "/exports/two", 1)
    (noted,) = events(home, None, "exported")
    assert (noted["run"], noted["format"], noted["samples"], noted["by"]) == (run, "chat", 1, "ana")
