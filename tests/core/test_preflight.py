from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apollo_tui.core.preflight import names


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
