from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo_tui.core.preflight import names
from apollo_tui.errors import ApolloError
from apollo_tui.log.read import History
from apollo_tui.paths import Home
from tests.running import bash, core, ended, script, task_folder


def test_names_are_the_wanted_one_and_then_numbered() -> None:
    assert names("limo", 3, {"limo-2"}) == ["limo", "limo-3", "limo-4"]
    assert names("a b/c!", 1, ()) == ["a-b-c"]
    assert names("///", 1, ()) == ["rollout"]


@given(st.text(max_size=80), st.integers(1, 20), st.sets(st.text(max_size=10)))
def test_names_are_free_short_and_all_different(wanted: str, count: int, taken: set[str]) -> None:
    chosen = names(wanted, count, taken)
    assert len(set(chosen)) == count
    assert not set(chosen) & taken
    assert all(name and len(name) < 60 and "/" not in name for name in chosen)


async def test_a_batch_starts_whole_or_not_at_all(home: Home, tmp_path: Path) -> None:
    model = script(tmp_path / "m.jsonl", [bash("true")])
    common: dict[str, Any] = {"model": model, "sandbox": "plain", "unisolated": True}
    async with core(home) as client:
        with pytest.raises(ApolloError, match="nosuch"):
            await client.run(task=[task_folder(tmp_path / "first"), "nosuch"], **common)
        assert not History(home.database).rollouts()
        tasks = [task_folder(tmp_path / "a"), task_folder(tmp_path / "b")]
        started = await client.run(task=tasks, count=2, command="one-batch", **common)
        assert [one["name"] for one in started] == ["a", "a-2", "b", "b-2"]
        again = await client.run(task=tasks, count=2, command="one-batch", **common)
        assert again == started
        for one in started:
            await ended(home, one["rollout"])


async def test_a_budget_needs_a_price(home: Home, tmp_path: Path) -> None:
    async with core(home) as client:
        with pytest.raises(ApolloError, match="price"):
            await client.run(
                task=task_folder(tmp_path / "t"),
                model="openai:nobody-knows@http://127.0.0.1:9/v1",
                usd=1.0,
                sandbox="plain",
                unisolated=True,
            )
