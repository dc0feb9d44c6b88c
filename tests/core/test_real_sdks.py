"""Rollouts through the real SDKs against a test server, in every isolated kind of sandbox."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from apollo_tui.log.read import History
from apollo_tui.paths import Home
from tests.models.llmock_server import script_conversation, serve_llmock
from tests.running import core, ended, events, task_folder


@pytest.mark.parametrize("api", ["openai", "anthropic"])
async def test_a_rollout_with_real_tool_calls(
    home: Home, tmp_path: Path, isolated_kind: str, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve_llmock() as server:
        script_conversation(
            server,
            [
                {"tool": "bash", "arguments": {"command": "echo from-the-sandbox; id -u"}},
                {
                    "tool": "create_file",
                    "arguments": {"filename": "made.txt", "content": "by a tool call\n"},
                },
                {"tool": "finish", "arguments": {}},
            ],
        )
        monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key-not-secret")
        model = {
            "openai": f"openai:test-model@{server.base_url}/v1",
            "anthropic": f"anthropic:test-model@{server.base_url}/anthropic",
        }[api]
        async with core(home) as client:
            started = await client.run(
                task=task_folder(tmp_path / "real"), model=model, sandbox=isolated_kind
            )
            rollout = started[0]["rollout"]
            row = await ended(home, rollout, seconds=90)
    assert (row.state, row.step, row.isolated) == ("finished", 3, True)
    made = home.rollout(rollout) / "workspace" / "made.txt"
    assert made.read_text() == "by a tool call\n"
    sent = json.loads(History(home.database).prompt(rollout, 2))["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool"]
    assert "from-the-sandbox" in sent[-1]["text"]
    usage = events(home, rollout, "step_completed")[0]["usage"]
    assert usage["output"] > 0
