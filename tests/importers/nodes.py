"""InnovatorBench nodes made by hand, of the shape that ResearchGym writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

REAL = Path(__file__).parents[3] / "shared/data/trajectories/innovatorbench-node-depth70.json"
SUMMARY = "After the last action, I have also made 91 actions and get 91 observations.\nBest: 0.04."

Node = dict[str, Any]


def message(role: str, content: str = "", **more: Any) -> Node:
    return {
        "role": role,
        "content": content,
        "reasoning": None,
        "tool_call": None,
        "tool_result": None,
        **more,
    }


def called(number: int, name: str, arguments: Any, *, reasoning: str | None = None) -> Node:
    call = {"call_id": f"c{number}", "name": name, "arguments": arguments}
    return message("assistant", reasoning=reasoning, tool_call=call)


def answered(number: int, name: str, **fields: Any) -> Node:
    content = json.dumps(fields)
    return message("tool", tool_result={"call_id": f"c{number}", "name": name, "content": content})


def node(**changes: Any) -> Node:
    """A summary, three steps in the context, and the node's own."""
    made: Node = {
        "id": "0af1",
        "parent_id": "6091",
        "timestamp": "2025-09-08T15:38:36.604590",
        "node_type": "react",
        "system_prompt": "",
        "messages": [
            message("system", "You are an innovator."),
            message("user", "<task>Beat 0.04.</task>"),
            message("assistant", SUMMARY),
            message("user", "OK, continue."),
            called(1, "run_command", {"command": "python train.py"}, reasoning="Train first."),
            answered(1, "run_command", success=True, message="Sent.", execution_time=0.25),
            called(2, "open_file", {"path": "/none"}),
            answered(2, "open_file", success=False, error_message="There is no /none."),
            called(3, "eval", {}),
            answered(
                3,
                "eval",
                success=True,
                message="Eval finish!",
                overall_score=5.5,
                already_eval_num=1,
                metric_0={"execution_time": 2.5, "eval_results": {"score": 5.5}},
            ),
        ],
        "response": {
            "role": "assistant",
            "content": "Look.",
            "reasoning": None,
            "usage": {"input_tokens": 900, "output_tokens": 8, "total_tokens": 908},
            "model": "glm",
            "finish_reason": "tool_calls",
            "tool_calls": [{"call_id": "c4", "name": "sleep", "arguments": {"sleep_time": 5}}],
        },
        "source": "generate",
        "depth": 4,
        "observation": {"message": "Slept."},
        "action": {
            "call_id": "c4",
            "action_type": "sleep",
            "thought": "It needs time.",
            "description": "Sleeps.",
            "sleep_time": 5,
            "end_lines": None,
        },
    }
    return made | changes


def data(made: Any) -> bytes:
    return json.dumps(made).encode()
