"""Random events and histories for property tests: plausible ones, and any at all."""

from __future__ import annotations

import typing
from typing import Any

from hypothesis import strategies as st

from apollo_tui.log import events
from apollo_tui.log.events import Event
from apollo_tui.log.types import Evaluation, RolloutSpec, Task, Usage

ROLLOUTS = ("aaaa", "bbbb")
KINDS: tuple[type[Any], ...] = typing.get_args(typing.get_args(Event)[0])

small = st.integers(1, 6)
words = st.text(max_size=12)
refs = st.sampled_from(["0" * 32, "1" * 32, "2" * 32])

specs = st.builds(
    RolloutSpec,
    task=st.builds(
        Task,
        name=words,
        description=words,
        time_limit=st.none() | st.just(60.0),
        evaluation=st.none() | st.just(Evaluation(folder="/e", command="true")),
    ),
    model=words,
    sandbox=st.sampled_from(["docker", "bubblewrap", "plain"]),
    isolated=st.booleans(),
    name=words,
    tags=st.lists(words, max_size=2).map(tuple),
    hands_off=st.booleans(),
)
usages = st.builds(
    Usage,
    input=st.integers(0, 999),
    output=st.integers(0, 999),
    cost_usd=st.none() | st.integers(0, 8).map(lambda n: n / 4),
)


_NUMBERS: dict[Any, st.SearchStrategy[Any]] = {
    int: small,
    float: st.integers(0, 90).map(lambda n: n / 2),
    int | None: st.none() | small,
    float | None: st.none() | st.integers(0, 90).map(lambda n: n / 2),
}


def event_of(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Any event of one class, with small numbers so that events meet one another."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for name, field in kind.model_fields.items():
        if name in ("kind", "command"):
            continue
        if name == "rollout":
            fields[name] = st.sampled_from(ROLLOUTS)
        elif name == "at":
            fields[name] = st.integers(1, 10**9)
        elif name == "by":
            fields[name] = st.none() | st.sampled_from(["ana", "ben"])
        elif name == "spec":
            fields[name] = specs
        elif name == "usage":
            fields[name] = usages
        elif name in ("changes", "results", "configuration", "sampling"):
            fields[name] = st.dictionaries(
                st.sampled_from(["time_limit", "name", "other"]), st.none() | words, max_size=2
            )
        elif name.endswith("_ref"):
            fields[name] = refs
        elif name == "added" and kind is events.RequestSent:
            fields[name] = st.lists(refs, max_size=3).map(tuple)
        else:
            fields[name] = (
                _NUMBERS[field.annotation]
                if field.annotation in _NUMBERS
                else st.from_type(typing.cast(type[Any], field.annotation))
            )
    return st.builds(kind, **fields)


SPEC = RolloutSpec(
    task=Task(name="t", description="d"), model="m", sandbox="plain", isolated=False, name="first"
)

any_event = st.one_of([event_of(kind) for kind in KINDS])
any_history = st.lists(any_event, max_size=40).map(
    lambda found: [
        events.RolloutCreated(rollout=ROLLOUTS[0], at=1, spec=SPEC),
        *found,
    ]
)
