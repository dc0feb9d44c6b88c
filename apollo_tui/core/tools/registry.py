"""All actions by name: what the model is told of them, and reading its calls strictly."""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Iterable
from types import NoneType
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from apollo_tui.core.browsing import has_web
from apollo_tui.core.tools import InvalidCall, Tool, ToolResult
from apollo_tui.core.tools.command import BASH
from apollo_tui.core.tools.files import FILE_TOOLS
from apollo_tui.core.tools.observation import observation, storable, telling_line
from apollo_tui.core.tools.parse import PARSE_TOOLS
from apollo_tui.core.tools.sessions import SESSION_TOOLS
from apollo_tui.core.tools.system import SYSTEM_TOOLS
from apollo_tui.core.tools.web import WEB_TOOLS
from apollo_tui.log.types import RolloutSpec, ToolCall, ToolSpec

FAULTS_AT_MOST = 5
SUMMARY_AT_MOST = 1000  # characters of a call's arguments in one line

TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (BASH, *SESSION_TOOLS, *FILE_TOOLS, *PARSE_TOOLS, *WEB_TOOLS, *SYSTEM_TOOLS)
}
WEB = frozenset(tool.name for tool in WEB_TOOLS)


def allowed_tools(spec: RolloutSpec) -> tuple[str, ...] | None:
    """The names a rollout's task allows (None: all): those of the web only where it may read it."""
    named = spec.task.tools
    if has_web(spec):
        return named
    return tuple(name for name in (TOOLS if named is None else named) if name not in WEB)


def enabled_tools(enabled: Iterable[str] | None) -> dict[str, Tool]:
    """The tools a task allows (None: all). `finish` is always there."""
    if enabled is None:
        return TOOLS
    wanted = {*enabled, "finish"}
    return {name: tool for name, tool in TOOLS.items() if name in wanted}


def specs(enabled: Iterable[str] | None) -> tuple[ToolSpec, ...]:
    """What the model is told: names, descriptions, JSON schemas of the arguments."""
    return tuple(
        ToolSpec(name=tool.name, description=tool.description, parameters=schema(tool.arguments))
        for tool in enabled_tools(enabled).values()
    )


def schema(arguments: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a tool's arguments, without the noise of titles."""
    made = arguments.model_json_schema()
    made.pop("title", None)
    made.pop("description", None)
    for one in made.get("properties", {}).values():
        one.pop("title", None)
    made.setdefault("properties", {})
    return made


def read_call(call: ToolCall, enabled: Iterable[str] | None) -> tuple[Tool, BaseModel]:
    """The tool and its arguments. Raises InvalidCall, whose observation says what was wrong."""
    tools = enabled_tools(enabled)
    tool = tools.get(call.tool)
    if tool is None:
        raise _invalid(_no_such_tool(call.tool, tools))
    if call.malformed is not None:
        why = _no_object(call.malformed)
        raise _invalid(f"{call.tool} was not run: its arguments are no JSON object: {why}")
    try:
        return tool, tool.arguments.model_validate(call.arguments)
    except ValidationError as error:
        known = list(tool.arguments.model_fields)
        faults = "; ".join(_fault(details, known) for details in error.errors()[:FAULTS_AT_MOST])
        raise _invalid(f"{call.tool} was not run: {faults}") from error


def one_line(text: str) -> str:
    """A text in one line, for lists."""
    return storable(_cut(" ".join(text.split())))


def summarise_call(call: ToolCall) -> str:
    """A call's arguments in one line, whether or not they are valid."""
    tool = TOOLS.get(call.tool)
    if tool is not None and call.malformed is None:
        try:
            line = tool.summarise(tool.arguments.model_validate(call.arguments))
            return storable(_cut(line))
        except ValidationError:
            pass
    return one_line(call.malformed or _in_words(call.arguments))


def _cut(line: str) -> str:
    """The line; a longer one ends with a sign that it does."""
    return line if len(line) <= SUMMARY_AT_MOST else f"{line[: SUMMARY_AT_MOST - 1]}…"


def _in_words(arguments: dict[str, Any]) -> str:
    """Arguments of a tool that nobody described, as `name=value`; of a single one its value."""
    words = {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in arguments.items()
    }
    if len(words) == 1:
        return next(iter(words.values()))
    return " ".join(f"{name}={word}" for name, word in words.items())


def _no_such_tool(name: str, tools: dict[str, Tool]) -> str:
    if name in TOOLS:
        return f"{name} is not enabled for this task; there is: {', '.join(tools)}"
    near = difflib.get_close_matches(name, tools, 1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return f"there is no tool {name[:80]!r}. {hint}There is: {', '.join(tools)}"


def _no_object(raw: str) -> str:
    try:
        value = json.loads(raw)
    except json.JSONDecodeError as error:
        near = raw[max(0, error.pos - 20) : error.pos + 20]
        return f"{error.msg} at character {error.pos} (near {near!r})"
    except RecursionError:
        return "it is nested too deeply"
    except ValueError as error:
        return str(error)
    kinds = {list: "a list", str: "a text", bool: "true or false", NoneType: "null"}
    return f"it is {kinds.get(type(value), 'a number')}"


def _fault(details: ErrorDetails, known: list[str]) -> str:
    """One bad argument, by its name."""
    name = ".".join(str(part)[:40] for part in details["loc"])
    match details["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(known) or 'none'}"
            return f"there is no argument {name} ({hint})"
        case "missing":
            return f"the argument {name} is missing"
        case _:
            said = details["msg"].replace("Input should be", "must be")
            return f"{name} {said.replace('String should', 'must')}, is {_short(details['input'])}"


def _short(value: object) -> str:
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= 60 else f"{shown[:59]}…"


def _invalid(message: str) -> InvalidCall:
    at = time.time_ns() // 1000
    return InvalidCall(
        ToolResult(
            observation("invalid", at, success=False, message=message),
            disposition="invalid",
            summary=telling_line(message),
            lines=1,
            error=True,
        )
    )
