"""All actions by name: what the model is told of them, and reading its calls strictly."""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from apollo_tui.core.tools import InvalidCall, Tool, ToolResult
from apollo_tui.core.tools.command import BASH
from apollo_tui.core.tools.files import FILE_TOOLS
from apollo_tui.core.tools.observation import observation
from apollo_tui.core.tools.system import SYSTEM_TOOLS
from apollo_tui.log.types import ToolCall, ToolSpec

TOOLS: dict[str, Tool] = {tool.name: tool for tool in (BASH, *FILE_TOOLS, *SYSTEM_TOOLS)}


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
        raise _invalid(f"The arguments of {call.tool} are no JSON object: {_where(call.malformed)}")
    try:
        return tool, tool.arguments.model_validate(call.arguments)
    except ValidationError as error:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc']) or call.tool}: {fault['msg']}"
            for fault in error.errors()
        ]
        raise _invalid(f"{call.tool} was not run. " + "; ".join(faults)) from error


def summarise_call(call: ToolCall) -> str:
    """A call's arguments in one line, whether or not they are valid."""
    tool = TOOLS.get(call.tool)
    if tool is not None and call.malformed is None:
        try:
            return tool.summarise(tool.arguments.model_validate(call.arguments))[:1000]
        except ValidationError:
            pass
    raw = call.malformed or json.dumps(call.arguments, ensure_ascii=False)
    return " ".join(raw.split())[:1000]


def _no_such_tool(name: str, tools: dict[str, Tool]) -> str:
    if name in TOOLS:
        return f"{name} is not enabled for this task; there is: {', '.join(tools)}"
    near = difflib.get_close_matches(name, tools, 1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return f"There is no tool {name[:80]!r}. {hint}There is: {', '.join(tools)}"


def _where(raw: str) -> str:
    try:
        value = json.loads(raw)
    except json.JSONDecodeError as error:
        return f"{error.msg} at character {error.pos}"
    except RecursionError:
        return "it is nested too deeply"
    return f"it is a {type(value).__name__}"


def _invalid(text: str) -> InvalidCall:
    at = time.time_ns() // 1000
    return InvalidCall(
        ToolResult(
            observation("invalid", at, text, success=False),
            disposition="invalid",
            summary=text[:200],
            lines=1,
            error=True,
        )
    )
