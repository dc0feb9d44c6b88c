"""What an action does to the world, as far as its call tells: looks, waits, kills, or may change.

Rules must spare whatever changed something, so an action counts as one that may change things unless it
is known not to.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any, Literal

Effect = Literal["looks", "waits", "kills", "changes"]

LOOKING_TOOLS = frozenset(
    {
        "open_file",
        "goto_line",
        "file_goto_line",
        "file_scroll_down",
        "file_scroll_up",
        "search_dir",
        "search_file",
        "find_file",
        "list_files",
        "get_file_info",
        "get_session_output",
        "get_session_recent_output",
        "check_session_idle",
        "session_status",
        "get_session_status",
        "list_sessions",
        "list_jobs",
        "job_output",
        "system_status",
        "hint",
        "view_hint",
        "web_search",
        "web_browse",
        "web_page_goto_line",
        "web_page_scroll_down",
        "web_page_scroll_up",
        "web_page_search",
        "web_page_search_next",
        "web_page_get_links",
        "think",
    }
)
WAITING_TOOLS = frozenset({"sleep", "wait_for", "wait"})
KILLING_TOOLS = frozenset(
    {
        "kill_session_processes",
        "kill_session",
        "close_session",
        "close_all_sessions",
        "kill_job",
    }
)
TYPING_TOOLS = frozenset({"input_in_session", "send_input", "session_input"})
INTERRUPT_KEYS = ("\x03", "ctrl+c", "ctrl-c", "c-c", "^c")

LOOKING_PROGRAMS = frozenset(
    [
        "ls",
        "cat",
        "head",
        "tail",
        "grep",
        "egrep",
        "zgrep",
        "rg",
        "wc",
        "find",
        "du",
        "df",
        "ps",
        "pgrep",
        "nvidia-smi",
        "free",
        "uptime",
        "top",
        "htop",
        "pwd",
        "echo",
        "printf",
        "stat",
        "file",
        "tree",
        "which",
        "whereis",
        "date",
        "whoami",
        "id",
        "hostname",
        "uname",
        "jobs",
        "squeue",
        "sacct",
        "cut",
        "sort",
        "uniq",
        "tr",
        "nl",
        "jq",
        "md5sum",
        "sha256sum",
        "diff",
        "cmp",
        "cd",
        "true",
        "test",
        "[",
    ]
)
CHANGING_OPTIONS = {
    "find": frozenset({"-delete", "-exec", "-execdir", "-ok", "-okdir"}),
    "sort": frozenset({"-o", "--output"}),
}
CHANGING_BEGINNINGS = {"find": ("-fprint", "-fls"), "sort": ("-o", "--output=")}
"""Beginnings of options that write a file."""
LOOKING_SUBCOMMANDS = {
    "git": frozenset({"status", "log", "diff", "show", "rev-parse", "ls-files", "blame"}),
    "docker": frozenset({"ps", "logs", "images", "inspect"}),
    "ray": frozenset({"status", "list"}),
    "pip": frozenset({"list", "show", "freeze"}),
}
KILLING_PROGRAMS = frozenset({"kill", "pkill", "killall", "scancel"})
WRAPPERS = frozenset(
    {"sudo", "nohup", "nice", "time", "timeout", "stdbuf", "command", "exec", "env"}
)
LOOKING_WORDS = LOOKING_PROGRAMS | WRAPPERS | frozenset(LOOKING_SUBCOMMANDS) | {"sleep", "{", "("}
"""What a command line that only looks may begin with."""
_KNOWN_WORDS = LOOKING_WORDS | KILLING_PROGRAMS
_OPERATORS = frozenset({";", "&&", "||", "|", "&", "|&", "\n", "(", ")", "{", "}"})
_PLAIN_LINE = re.compile(r"[\w./=:@%+,~ -]+")
"""A command line that the shell only cuts at spaces."""
_FIRST_WORD = re.compile(r"\s*([\w./+-]+)(?=\s|$)")
_HARMLESS_REDIRECT = re.compile(r"\d?>+\s*(&\d|/dev/null)|&>\s*/dev/null")


def effect_of(tool: str, arguments: Mapping[str, Any]) -> Effect:
    """What calling `tool` with these arguments does, from the names alone.

    Command lines are read as far as they are simple; whatever is not understood may change things.
    """
    if tool in WAITING_TOOLS:
        return "waits"
    if tool in LOOKING_TOOLS:
        return "looks"
    if tool in KILLING_TOOLS:
        return "kills"
    if tool in TYPING_TOOLS:
        typed = " ".join(str(value) for value in arguments.values()).strip().lower()
        return "kills" if any(key in typed for key in INTERRUPT_KEYS) else "changes"
    command = arguments.get("command")
    return effect_of_command(command) if isinstance(command, str) else "changes"


def begins_with_a_change(line: str) -> bool:
    """Whether a command line's first word already tells that it may change something."""
    word = _FIRST_WORD.match(line)
    return word is not None and word[1].rsplit("/", 1)[-1] not in _KNOWN_WORDS


def effect_of_command(line: str) -> Effect:
    """What a shell command line does: the strongest effect of its commands."""
    if begins_with_a_change(line):
        return "changes"
    effects = [_effect_of_simple(words) for words in _simple_commands(line)]
    for strongest in ("changes", "kills", "looks"):
        if strongest in effects:
            return strongest
    return "waits" if effects else "changes"


def _simple_commands(line: str) -> list[list[str]]:
    """The command line cut at its operators; [[]] when it cannot be read."""
    if _PLAIN_LINE.fullmatch(line):
        return [line.split()] if line.split() else []
    if "<<" in line or "`" in line or "$(" in line:
        return [[]]
    lexer = shlex.shlex(
        _HARMLESS_REDIRECT.sub(" ", line).replace("\n", " ; "), posix=True, punctuation_chars=True
    )
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:
        return [[]]
    commands: list[list[str]] = [[]]
    for word in words:
        if word in _OPERATORS or set(word) <= set(";&|"):
            commands.append([])
        else:
            commands[-1].append(word)
    return [command for command in commands if command]


def _effect_of_simple(words: list[str]) -> Effect:
    if any(set(word) <= set("<>&") and ">" in word for word in words):
        return "changes"
    words = _without_wrappers(words)
    if not words:
        return "changes"
    program = words[0].rsplit("/", 1)[-1]
    if program == "sleep":
        return "waits"
    if program in KILLING_PROGRAMS:
        return "kills"
    if program in LOOKING_SUBCOMMANDS:
        return "looks" if set(words[1:2]) & LOOKING_SUBCOMMANDS[program] else "changes"
    if program in LOOKING_PROGRAMS and not _writes(program, words):
        return "looks"
    return "changes"


def _writes(program: str, words: list[str]) -> bool:
    """Whether an option of a program that only looks makes it do more."""
    beginnings = CHANGING_BEGINNINGS.get(program, ())
    return bool(set(words) & CHANGING_OPTIONS.get(program, frozenset())) or any(
        word.startswith(beginnings) for word in words if beginnings
    )


def _without_wrappers(words: list[str]) -> list[str]:
    """The command itself: without variables set for it, and programs that only run it."""
    rest = list(words)
    while rest:
        word = rest[0]
        if re.fullmatch(r"\w+=.*", word):
            rest.pop(0)
        elif word in WRAPPERS:
            rest.pop(0)
            while rest and (rest[0].startswith("-") or re.fullmatch(r"[\d.]+[smhd]?", rest[0])):
                rest.pop(0)
        else:
            break
    return rest
