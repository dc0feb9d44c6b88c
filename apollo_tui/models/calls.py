"""Tool calls as they stream in: their JSON is collected, and parsed strictly at the end."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NoReturn

from pydantic_core import PydanticSerializationError

from apollo_tui.log.types import ToolCall


@dataclass
class CallBuffer:
    """One call of which more may come."""

    id: str = ""
    tool: str = ""
    pieces: list[str] = field(default_factory=list)

    def finished(self, ordinal: int) -> ToolCall:
        """The whole call; `ordinal` (from 1) names it when its server gave it no id."""
        return tool_call(self.id or f"call_{ordinal}", self.tool, "".join(self.pieces))


def tool_call(call_id: str, tool: str, raw: str) -> ToolCall:
    """The call whose arguments are the JSON text `raw`; no text means no arguments.

    What is not one JSON object that the log can keep becomes a malformed call with its raw text.
    """
    try:
        arguments = _loads(raw) if raw.strip() else {}
        if not isinstance(arguments, dict):
            return ToolCall(id=call_id, tool=tool, malformed=raw)
        call = ToolCall(id=call_id, tool=tool, arguments=arguments)
        call.model_dump_json()
    except (ValueError, RecursionError, PydanticSerializationError):
        return ToolCall(id=call_id, tool=tool, malformed=raw)
    return call


def arguments_to_send(call: ToolCall) -> dict[str, Any]:
    """The arguments as an API takes them back, always an object.

    A server that renders a chat template parses the arguments of every earlier call and answers
    400 to each later request when one is no object, so a malformed call goes back wrapped.
    """
    return call.arguments if call.malformed is None else {"malformed": call.malformed}


def _loads(raw: str) -> Any:
    value = json.loads(raw, parse_constant=_refuse_constant)
    # An escaped lone surrogate is valid JSON that no UTF-8 file can hold.
    text = json.dumps(value, ensure_ascii=False)
    if text.isascii():
        return value
    return json.loads(text.encode("utf-8", "replace"))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
