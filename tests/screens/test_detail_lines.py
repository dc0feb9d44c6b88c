from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from apollo_tui.log.read import ActionDetail, AdviceRow, Entry
from apollo_tui.screens.action_lines import action_lines
from apollo_tui.screens.detail_lines import advice_lines, entry_detail, tab_lines
from apollo_tui.screens.lines import View
from tests.screens.test_format import HOSTILE
from tests.screens.test_lines import ACTION, NOW, entries

DETAIL = ActionDetail(
    entry=ACTION,
    thinking="",
    text="",
    arguments="{}",
    observation="",
    output=None,
    model="glm-4.5",
    tokens_in=61_234,
    tokens_cached=58_900,
    tokens_out=214,
    cost_usd=0.011,
    step_seconds=4.0,
)
arguments = st.one_of(
    HOSTILE,
    st.dictionaries(
        st.one_of(HOSTILE, st.sampled_from(["content", "old", "new", "path", "start"])),
        st.one_of(HOSTILE, st.integers(), st.lists(HOSTILE, max_size=2)),
        max_size=5,
    ).map(json.dumps),
)


def shown(arguments: dict[str, object], tool: str) -> list[str]:
    entry = replace(ACTION, tool=tool)
    detail = replace(DETAIL, entry=entry, arguments=json.dumps(arguments))
    return [line.text for line in action_lines(detail, entry, View(60, NOW, "ana"))]


@settings(max_examples=60, deadline=None)
@given(entries, arguments, HOSTILE, HOSTILE, st.integers(24, 90))
def test_every_detail_is_exactly_as_wide_as_asked(
    entry: Entry, arguments: str, text: str, observation: str, cells: int
) -> None:
    detail = replace(DETAIL, arguments=arguments, thinking=text, observation=observation)
    view = View(cells, NOW, "ana")
    advice = AdviceRow(1, text, observation, "delivered", NOW, 4)
    lines = [*action_lines(detail, entry, view), *entry_detail(entry, view)]
    lines += [*advice_lines([advice], view), *tab_lines([("action", 0)], "action", cells, view)]
    for line in lines:
        assert cell_len(line.text) == cells
        assert line.text.isprintable()


def test_an_edit_is_shown_as_lines_from_where_it_begins() -> None:
    text = shown({"path": "a.py", "start": 31, "end": 38, "content": "one\ntwo\n"}, "edit_file")
    assert any(line.startswith("   31  +  one") for line in text)
    assert any(line.startswith("   32  +  two") for line in text)
    assert any("path  a.py" in line for line in text)


def test_a_replacement_is_shown_as_a_difference() -> None:
    text = shown({"old": "same\nold", "new": "same\nnew"}, "replace")
    assert [line.split()[1:] for line in text if "old" in line or "new" in line][1:] == [
        ["−", "old"],
        ["+", "new"],
    ]


def test_the_whole_observation_is_there() -> None:
    detail = replace(DETAIL, observation="\n".join(f"row {n}" for n in range(300)))
    text = [line.text.strip() for line in action_lines(detail, ACTION, View(60, NOW, "ana"))]
    assert {"row 0", "row 299"} <= set(text)
    assert any(line.endswith("300 lines") for line in text)
