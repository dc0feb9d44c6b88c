"""What the model is told of the tools, and how its calls are read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo_tui.core.tools import InvalidCall
from apollo_tui.core.tools.registry import TOOLS, read_call, specs, summarise_call
from apollo_tui.log.types import ToolCall

# The names and arguments models were trained with.
NAMES = {
    "bash": ["command", "timeout"],
    "create_session": ["session_id", "computer_ip"],
    "list_sessions": ["computer_ip"],
    "run_command": ["command", "session_id", "wait_for_completion", "timeout", "computer_ip"],
    "input_in_session": ["session_id", "input_text", "computer_ip"],
    "get_session_output": [
        *("session_id", "start_lines", "end_lines", "since_timestamp", "computer_ip")
    ],
    "get_session_recent_output": ["session_id", "seconds", "computer_ip"],
    "get_session_status": ["session_id", "computer_ip"],
    "check_session_idle": ["session_id", "computer_ip"],
    "clear_session_buffer": ["session_id", "computer_ip"],
    "close_session": ["session_id", "computer_ip"],
    "close_all_sessions": ["computer_ip"],
    "kill_session_processes": ["session_id", "force", "computer_ip"],
    "wait_for": ["session_id", "seconds", "until", "pattern", "computer_ip"],
    "open_file": ["path", "line_number", "context_lines"],
    "file_goto_line": ["line_number"],
    "file_scroll_down": [],
    "file_scroll_up": [],
    "create_file": ["filename", "content"],
    "edit_file": ["path", "start", "end", "content"],
    "search_dir": ["search_term", "dir_path"],
    "search_file": ["search_term", "file_path"],
    "find_file": ["file_name", "dir_path"],
    "list_files": ["path", "show_hidden"],
    "get_file_info": ["path"],
    "parse_pdf": ["file_path", "save_path"],
    "parse_docx": ["file_path", "save_path"],
    "parse_latex": ["file_path", "save_path"],
    "parse_pptx": ["file_path", "save_path"],
    "web_search": ["query", "top_k"],
    "web_browse": ["url", "line_number"],
    "web_page_goto_line": ["line_number"],
    "web_page_scroll_down": [],
    "web_page_scroll_up": [],
    "web_page_search": ["keyword", "context_lines"],
    "web_page_search_next": ["context_lines", "search_index"],
    "web_page_get_links": ["page_size", "page_number"],
    "think": ["thought"],
    "sleep": ["sleep_time"],
    "eval": [],
    "view_hint": [],
    "finish": [],
}


def call(tool: str, malformed: str | None = None, **arguments: Any) -> ToolCall:
    return ToolCall(id="1", tool=tool, arguments=arguments, malformed=malformed)


def refusal(made: ToolCall, enabled: tuple[str, ...] | None = None) -> str:
    """What the agent reads of a call that is not executed."""
    with pytest.raises(InvalidCall) as caught:
        read_call(made, enabled)
    result = caught.value.result
    assert (result.disposition, result.error, result.exit_code) == ("invalid", True, None)
    assert result.text.startswith("success=false observation_type=invalid timestamp=")
    assert "error_message: " in result.text
    assert result.summary
    return result.text.partition("error_message: ")[2]


def test_every_tool_has_its_name_and_its_arguments_and_no_noise() -> None:
    told = {spec.name: spec for spec in specs(None)}
    assert list(told) == list(NAMES)
    for name, spec in told.items():
        assert list(spec.parameters["properties"]) == NAMES[name]
        assert spec.parameters["type"] == "object"
        assert spec.parameters["additionalProperties"] is False
        assert '"title"' not in json.dumps(spec.parameters)
        assert "anyOf" not in json.dumps(spec.parameters)
        assert spec.description.endswith(".")
        for argument in spec.parameters["properties"].values():
            assert argument["description"]
            assert argument["type"]


def test_a_task_s_tools_keep_their_order_and_the_agent_can_always_finish() -> None:
    names = [spec.name for spec in specs(["think", "bash"])]
    assert names == ["bash", "think", "finish"]
    assert specs(["bash"]) == specs(("bash", "no-such-tool"))


def test_a_good_call_is_read() -> None:
    tool, arguments = read_call(call("bash", command="ls", timeout="5"), None)
    assert tool is TOOLS["bash"]
    assert arguments.model_dump() == {"command": "ls", "timeout": 5.0}


def test_null_is_as_if_left_out() -> None:
    _, arguments = read_call(call("open_file", path="a", context_lines=None), None)
    assert arguments.model_dump() == {"path": "a", "line_number": 1, "context_lines": 100}
    assert "the argument path is missing" in refusal(call("open_file", path=None))


def test_an_unknown_tool_gets_the_nearest_and_all() -> None:
    said = refusal(call("bahs", command="ls"))
    assert "there is no tool 'bahs'. Did you mean bash?" in said
    assert "finish" in said
    assert "Did you mean" not in refusal(call("qqqqqq"))


def test_a_tool_the_task_does_not_allow_is_refused() -> None:
    said = refusal(call("bash", command="ls"), ("think",))
    assert "bash is not enabled for this task; there is: think, finish" in said
    assert read_call(call("finish"), ("think",))[0] is TOOLS["finish"]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ('{"command": "ls', "Unterminated string starting at at character 12 (near '"),
        ("", "Expecting value at character 0"),
        ('{"command": ls}', "Expecting value at character 12"),
        ('["ls"]', "it is a list"),
        ('"ls"', "it is a text"),
        ("17", "it is a number"),
        ("null", "it is null"),
        ("[" * 100_000, "it is nested too deeply"),
    ],
)
def test_what_is_no_json_object_is_told_where(raw: str, said: str) -> None:
    assert said in refusal(call("bash", malformed=raw))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (call("bash"), "the argument command is missing"),
        (call("bash", cmd="ls"), "there is no argument cmd (did you mean command?)"),
        (call("bash", command="ls", zzz=1), "there is no argument zzz (there is command, timeout)"),
        (call("bash", command=""), "command must have at least 1 character"),
        (call("bash", command=["ls"]), 'command must be a valid string, is ["ls"]'),
        (call("bash", command="ls", timeout=0), "timeout must be greater than 0, is 0"),
        (call("bash", command="ls", timeout=3601), "must be less than or equal to 3600"),
        (call("bash", command="ls", timeout=float("nan")), "timeout must be"),
        (call("sleep", sleep_time=1801), "sleep_time must be less than or equal to 1800"),
        (
            call("edit_file", path="a", start="x", end=2, content=""),
            "start must be a valid integer",
        ),
        (call("open_file", path="a", line_number=0), "line_number must be greater than or equal"),
        (call("list_files", show_hidden="perhaps"), "show_hidden must be a valid boolean"),
        (call("think", thought="x" * 10, why="y" * 500), "there is no argument why"),
        (call("finish", now=True), "there is no argument now (there is none)"),
    ],
)
def test_each_bad_argument_is_named(made: ToolCall, said: str) -> None:
    found = refusal(made)
    assert found.startswith(f"{made.tool} was not run: ")
    assert said in found


def test_all_bad_arguments_are_told_at_once() -> None:
    said = refusal(call("edit_file", path=1, start=0.5, end=-2, contents=""))
    for name in ("path", "start", "end", "content", "contents"):
        assert name in said


def test_a_call_is_one_line_in_a_list() -> None:
    assert summarise_call(call("bash", command="cd a\n  ls | wc")) == "cd a ls | wc"
    assert summarise_call(call("open_file", path="a.py", line_number=3)) == "a.py:3"
    edit = {"path": "a", "content": ""}
    assert summarise_call(call("edit_file", start=3, end=5, **edit)) == "a:3-5"
    assert summarise_call(call("edit_file", start=3, end=3, **edit)) == "a:3"
    assert summarise_call(call("edit_file", start=-1, end=-1, **edit)) == "a:end"
    assert summarise_call(call("search_file", search_term="x")) == '"x"'
    assert summarise_call(call("bash", cmd="ls")) == "ls"
    strange: dict[str, Any] = {"host": "10.0.0.1", "lines": 20, "session": None}
    assert summarise_call(call("peek", **strange)) == "host=10.0.0.1 lines=20 session=null"
    assert summarise_call(ToolCall(id="c", tool="bash", malformed="{'a'")) == "{'a'"
    assert summarise_call(call("bash", malformed='{"comm')) == '{"comm'
    assert len(summarise_call(call("bash", command="x" * 5000))) == 1000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from([*NAMES, "nothing"]) | st.text(max_size=20)
argument_names = st.sampled_from(sorted({name for some in NAMES.values() for name in some}))


@given(
    st.builds(
        ToolCall,
        id=st.just("1"),
        tool=names,
        arguments=st.dictionaries(argument_names | st.text(max_size=9), json_values, max_size=4),
        malformed=st.none() | st.text(max_size=40),
    )
)
def test_any_call_is_read_or_refused_and_always_summarised(made: ToolCall) -> None:
    try:
        tool, arguments = read_call(made, None)
        assert "\n" not in tool.summarise(arguments)
    except InvalidCall as refused:
        refused.result.text.encode()
        refused.result.summary.encode()
    line = summarise_call(made)
    line.encode()
    assert len(line) <= 1000
