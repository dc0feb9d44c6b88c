"""Each rule on made trajectories: what it masks, and what it must spare."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from apollo_tui.filter import rules
from apollo_tui.filter.rules import RULES, RuleSettings, ask_rules, comparable
from apollo_tui.filter.verdicts import Finding, decide
from apollo_tui.log.events import (
    ActionRewritten,
    EvaluationFinished,
    JobEnded,
    JobStarted,
    RolledBack,
    RolloutCreated,
    RolloutEnded,
    StepRegenerated,
)
from tests.filter.made import SECOND, Made, R


def steps(findings: Iterable[Finding]) -> list[int]:
    return [finding.step for finding in findings]


def observed(text: str, seconds: float) -> str:
    return (
        f"success=true observation_type=command exit_code=0 seconds={seconds} "
        f"timestamp=2026-04-01T09:30:0{int(seconds)}Z\n{text}\n\n[left: 2h 0{int(seconds)}m, 7 steps]"
    )


def test_what_could_not_be_executed_is_masked_and_a_failing_test_is_not() -> None:
    made = Made()
    invalid = made.bash("ls", result={"disposition": "invalid", "error": True})
    refused = made.bash("ls", result={"disposition": "failed", "error": True})
    made.bash("pytest", "1 failed", result={"exit_code": 1, "error": True})
    lost = made.bash("ls", result={"disposition": "unknown", "synthetic": True})
    case = made.case()
    assert steps(rules.malformed(case)) == [invalid]
    assert steps(rules.failed(case)) == [refused]
    assert steps(rules.synthetic(case)) == [lost]


def test_a_repeated_action_keeps_the_first() -> None:
    made = Made()
    first = made.bash("python3 check.py", observed("mean 0.4", 1))
    second = made.bash("python3 check.py", observed("mean 0.4", 2))
    third = made.bash("python3 check.py", observed("mean 0.4", 3))
    found = list(rules.repeated(made.case()))
    assert steps(found) == [second, third]
    assert f"step {first}" in found[0].why


def test_a_repeated_action_is_spared_after_a_change() -> None:
    made = Made()
    made.bash("python3 check.py", "mean 0.4")
    made.step(("edit_file", {"path": "a"}))
    made.bash("python3 check.py", "mean 0.4")
    made.bash("python3 check.py", "mean 0.5")
    assert steps(rules.repeated(made.case())) == []


def test_a_repeated_action_is_spared_when_it_is_long_ago() -> None:
    made = Made()
    made.bash("python3 check.py", "mean 0.4")
    for thought in "abc":
        made.step(("think", {"thought": thought}))
    again = made.bash("python3 check.py", "mean 0.4")
    assert steps(rules.repeated(made.case(repeated_within=3))) == []
    assert steps(rules.repeated(made.case(repeated_within=4))) == [again]


def test_waiting_is_no_repetition() -> None:
    made = Made()
    for _ in range(3):
        made.step(("sleep", {"seconds": 60}), observations=["slept"])
        made.bash("sleep 60", "")
    assert steps(rules.repeated(made.case())) == []


def test_long_arguments_that_differ_at_their_end_are_not_the_same() -> None:
    made = Made()
    for end in "ab":
        made.bash("python3 check.py " + "x" * 400 + end, "mean 0.4")
    assert steps(rules.repeated(made.case())) == []


def test_polling_collapses_to_what_saw_a_change() -> None:
    made = Made()
    look = ("get_session_output", {"session_id": "train"})
    made.step(look, observations=["\r 46%|████▌    | 12/99"])
    made.step(("sleep", {"seconds": 30}))
    second = made.step(look, observations=["\r 57%|█████▌   | 31/99"])
    third = made.step(look, observations=["\r 80%|████████ | 80/99"])
    made.step(look, observations=["saved the model"])
    made.step(("edit_file", {"path": "a"}))
    made.step(look, observations=["saved the model"])
    assert steps(rules.polling(made.case())) == [second, third]


@pytest.mark.parametrize(
    ("hours", "limit", "look", "found"),
    [
        (1.0, None, "loss 0.4", True),
        (0.01, None, "loss 0.4", False),  # it had hardly begun
        (1.0, 2.5 * 3600, "loss 0.4", True),
        (1.0, 1.5 * 3600, "loss 0.4", False),  # no time was left for it
        (1.0, None, "loss nan", False),  # it was right
    ],
)
def test_killing_an_own_healthy_job(
    hours: float, limit: float | None, look: str, found: bool
) -> None:
    made = Made(time_limit=limit)
    started = made.bash("python3 train.py &")
    made.tell(JobStarted(rollout=R, step=started, job="j1"))
    made.at += int(hours * 3600 * SECOND)
    made.step(("get_session_output", {}), observations=[look])
    kill = made.bash("kill 41")
    made.tell(JobEnded(rollout=R, job="j1", exit_code=137))
    assert steps(rules.impatient(made.case())) == ([kill] if found else [])


def test_killing_what_is_no_job_of_its_own_is_spared() -> None:
    made = Made()
    made.bash("kill 41")
    assert steps(rules.impatient(made.case(long_job=0))) == []


def test_steps_that_were_rewound_or_replaced() -> None:
    made = Made()
    made.bash("a")
    second = made.bash("b")
    made.tell(RolledBack(rollout=R, to=1))
    made.begin_segment(["{}"])
    made.bash("c")
    replaced = made.bash("d")
    made.tell(StepRegenerated(rollout=R, step=5, replaces=replaced, hint="look first"))
    assert steps(rules.overridden(made.case())) == [second, replaced]


def test_what_the_model_did_not_say_to_this_prompt() -> None:
    made = Made()
    hinted = made.bash("a", hint="Look first.")
    by_person = made.bash("b", by_person=True)
    rewritten = made.bash("c")
    made.tell(ActionRewritten(rollout=R, step=rewritten, before_ref="x", after_ref=made.keep("{}")))
    made.bash("d")
    assert steps(rules.off_policy(made.case())) == [hinted, by_person, rewritten]
    assert steps(rules.off_policy(made.case(include_hinted=True))) == [by_person, rewritten]
    assert steps(rules.off_policy(made.case(include_rewritten=True))) == [hinted]


def test_a_rejection_spreads_to_what_ended_the_drift() -> None:
    made = Made()
    made.bash("good")
    bad = made.bash("bad")
    worse, read = made.bash("worse"), made.bash("seen")
    made.advise("Turn back.")
    made.bash("good again")
    bad2, worse2 = made.bash("bad again"), made.bash("and worse")
    good = made.bash("recovers")
    last = made.bash("bad, and nothing ends it")
    made.bash("goes on")
    for step in (bad, bad2, last):
        made.mark(step, "reject")
    made.mark(read, "reviewed")
    made.mark(good, "accept")
    assert steps(rules.propagated(made.case())) == [worse, worse2]


def test_propagation_is_a_suggestion_until_it_is_asked_for() -> None:
    made = Made()
    bad, worse = made.bash("bad"), made.bash("worse")
    made.mark(bad, "reject")
    made.advise("Turn back.")
    made.bash("good")
    found, suggested = ask_rules(made.case())
    assert "propagated" not in found
    assert steps(suggested) == [worse]
    found, suggested = ask_rules(made.case(propagate=True))
    assert (steps(found["propagated"]), suggested) == ([worse], [])


def test_optional_rules_are_asked_only_when_they_are_on() -> None:
    made = Made()
    made.bash("a")
    made.tell(EvaluationFinished(rollout=R, submission=1, step=1, score=4.0))
    cut = made.bash("b", finish="length")
    made.tell(RolloutEnded(rollout=R, state="finished"))
    found, _ = ask_rules(made.case())
    assert not {"abandoned", "length"} & set(found)
    found, _ = ask_rules(made.case(on=("abandoned", "length"), off=("failed",)))
    assert (steps(found["abandoned"]), steps(found["length"])) == ([cut], [cut])
    assert "failed" not in found


def test_every_rule_says_what_it_is_for() -> None:
    assert all(rule.__doc__ for rule in RULES.values())
    assert RuleSettings.model_validate_json(RuleSettings(off=("failed",)).model_dump_json())


def test_what_differs_each_time_is_not_compared() -> None:
    assert comparable(observed("x", 1)) == comparable(observed("x", 2))
    assert comparable(observed("x", 1)) != comparable(observed("y", 1))
    json_form = '{{"success": true, "timestamp": "2025-09-08T14:27:{0}.2", "last_activity": {0}.5}}'
    assert comparable(json_form.format(10)) == comparable(json_form.format(29))
    took = '{{"success": true, "output": "x", "execution_time": {0}.25}}'
    assert comparable(took.format(1)) == comparable(took.format(2))


def test_nothing_is_abandoned_where_the_record_may_just_end() -> None:
    made = Made()
    created = made.events[0]
    assert isinstance(created, RolloutCreated)
    spec = created.spec.model_copy(update={"sandbox": "none"})
    made.events[0] = created.model_copy(update={"spec": spec})
    made.bash("work")
    made.tell(EvaluationFinished(rollout=R, submission=1, step=1, score=10.0))
    made.bash("more work")
    made.tell(RolloutEnded(rollout=R, state="stopped", reason="imported"))
    assert not ask_rules(made.case(on=("abandoned",)))[0]["abandoned"]


def test_looks_at_different_things_are_no_polling() -> None:
    made = Made()
    made.bash("cat run_1/metrics.json", '{"acc": 0.51}')
    made.bash("cat run_2/metrics.json", '{"acc": 0.93}')
    made.bash("cat metrics.json", '{"acc": 0.10}')
    made.step(("sleep", {"sleep_time": 600}))
    made.bash("cat metrics.json", '{"acc": 0.93}')
    made.bash("nvidia-smi -i 0", "used 3")
    made.bash("nvidia-smi -i 1", "used 3")
    assert steps(rules.polling(made.case())) == []
    again = made.bash("cat metrics.json", '{"acc": 0.93}')
    assert steps(rules.polling(made.case())) == [again]


def test_calls_that_differ_beyond_the_cut_are_not_the_same() -> None:
    made = Made()
    long = "head -c 200 " + "/data/very/long/path" * 60
    made.bash(f"{long}/alpha.txt", "same header")
    made.bash(f"{long}/beta.txt", "same header")
    found, _ = ask_rules(made.case())
    assert not found["polling"]
    assert not found["repeated"]


def test_an_action_that_nobody_knows_the_end_of_is_masked() -> None:
    made = Made()
    made.bash("true")
    last = made.bash("train")
    made.events.pop()  # it has not finished
    assert steps(rules.synthetic(made.case())) == [last]


def test_what_was_no_json_never_trains_whatever_anybody_says() -> None:
    made = Made()
    step = made.step(
        ("bash", {}), malformed="not json {", result={"disposition": "invalid", "error": True}
    )
    made.mark(step, "accept")
    found, _ = ask_rules(made.case())
    assert steps(found["garbled"]) == [step]
    assert not decide(made.trajectory, found).keeps(step, 1)
    other = made.step(("bash", {"cmd": "ls"}), result={"disposition": "invalid", "error": True})
    made.mark(other, "accept")
    found, _ = ask_rules(made.case())
    assert steps(found["garbled"]) == [step]
    assert decide(made.trajectory, found).keeps(other, 1), "that was said as it is shown"
