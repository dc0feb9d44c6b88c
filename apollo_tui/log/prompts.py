"""What a segment's first request stores besides its messages: the system prompt and the tools.

How a prompt is rebuilt from these is in `rebuild.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from pydantic_core import to_json

from apollo_tui.log.types import ToolSpec


def segment_texts(system: str, tools: Iterable[ToolSpec]) -> tuple[str, str]:
    """The system prompt and the tools, each as JSON."""
    tools_json = ",".join(tool.model_dump_json() for tool in tools)
    return to_json(system).decode(), f"[{tools_json}]"


def read_segment_texts(system_text: str, tools_text: str) -> tuple[str, tuple[ToolSpec, ...]]:
    """The inverse of `segment_texts`."""
    tools = tuple(ToolSpec.model_validate(tool) for tool in json.loads(tools_text))
    return json.loads(system_text), tools
