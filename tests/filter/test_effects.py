from __future__ import annotations

import pytest

from apollo_tui.filter.effects import effect_of, effect_of_command


@pytest.mark.parametrize(
    ("line", "effect"),
    [
        ("ls -la", "looks"),
        ("cd /x && tail -5 log 2>/dev/null | grep loss", "looks"),
        ("sleep 5; tail -3 log", "looks"),
        ("timeout 5 ls", "looks"),
        ("FOO=1 sudo nvidia-smi", "looks"),
        ("git status", "looks"),
        ("ps aux | grep 'a;b > c'", "looks"),
        ("tail -f log 2>&1 | head", "looks"),
        ("sleep 10", "waits"),
        ("kill -9 12", "kills"),
        ("pkill -f train && sleep 2 && nvidia-smi", "kills"),
        ("kill 3 && python3 train.py", "changes"),
        ("cat a > b", "changes"),
        ("echo x >> b", "changes"),
        ("python3 train.py", "changes"),
        ("git commit -m x", "changes"),
        ("find . -name '*.py' -delete", "changes"),
        ("sort -o a b", "changes"),
        ("sort -ofile a", "changes"),
        ("find . -fprintf list %p", "changes"),
        ("git branch -D old", "changes"),
        ("ls | xargs rm", "changes"),
        ("for i in 1 2; do ls; done", "changes"),
        ("cat <<EOF\nEOF", "changes"),
        ("echo $(rm x)", "changes"),
        ("ls 'open", "changes"),
        ("", "changes"),
    ],
)
def test_what_a_command_line_does(line: str, effect: str) -> None:
    assert effect_of_command(line) == effect


@pytest.mark.parametrize(
    ("tool", "arguments", "effect"),
    [
        ("open_file", {"path": "a"}, "looks"),
        ("sleep", {"seconds": 3}, "waits"),
        ("kill_session_processes", {}, "kills"),
        ("input_in_session", {"session_id": "a", "input": "\x03"}, "kills"),
        ("input_in_session", {"session_id": "a", "input": "y"}, "changes"),
        ("run_command", {"command": "ray status"}, "looks"),
        ("edit_file", {"path": "a"}, "changes"),
        ("file_goto_line", {"line_number": 3}, "looks"),
        ("get_session_status", {"session_id": "a"}, "looks"),
        ("web_page_scroll_down", {}, "looks"),
        ("view_hint", {}, "looks"),
        ("close_all_sessions", {}, "kills"),
        ("clear_session_buffer", {"session_id": "a"}, "changes"),
        ("parse_pdf", {"path": "a.pdf"}, "changes"),
        ("eval", {}, "changes"),
        ("never_heard_of_it", {}, "changes"),
    ],
)
def test_what_a_tool_does(tool: str, arguments: dict[str, str], effect: str) -> None:
    assert effect_of(tool, arguments) == effect
