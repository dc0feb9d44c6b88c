"""The prompt rebuilt from the log is, byte for byte, what the model was given."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apollo_tui.core.progress import Progress
from apollo_tui.core.recorder import Recorder
from apollo_tui.core.restore import restore_messages, restore_progress
from apollo_tui.core.rollout import Rollout
from apollo_tui.core.watching import FileWatch, Watcher
from apollo_tui.log.events import AdviceQueued, RolloutCreated
from apollo_tui.log.read import History
from apollo_tui.log.store import Log
from apollo_tui.log.types import RolloutSpec, Task
from apollo_tui.models import Request
from apollo_tui.models.scripted import ScriptedModel
from apollo_tui.paths import Home
from apollo_tui.sandbox import Sandbox, SandboxSpec
from apollo_tui.sandbox.choose import open_sandbox

ROLLOUT = "0123456789ab"


def plain(spec: SandboxSpec) -> Sandbox:
    return open_sandbox("plain", spec, home_label="test")


texts = st.text(max_size=40)
calls = st.one_of(
    st.builds(lambda t: {"tool": "think", "arguments": {"thought": t}}, texts),
    st.builds(
        lambda t: {"tool": "bash", "arguments": {"command": f"echo {t!r}"}}, st.sampled_from("ab")
    ),
    st.builds(lambda t: {"tool": t, "arguments": {"x": t}}, texts),
)
replies = st.fixed_dictionaries(
    {"thinking": texts, "text": texts, "actions": st.lists(calls, min_size=1, max_size=2)}
)


@given(script=st.lists(replies, min_size=1, max_size=5), advice=texts.filter(str.strip))
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_prompt_can_be_rebuilt(script: list[dict[str, Any]], advice: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_rollout_of(Path(folder), script, advice))


async def _rollout_of(folder: Path, script: list[dict[str, Any]], advice: str) -> None:
    path = folder / "script.jsonl"
    path.write_text("".join(json.dumps(reply) + "\n" for reply in script))
    given_to_the_model: list[str] = []

    def note(request: Request) -> None:
        given_to_the_model.append(request.prompt.model_dump_json())

    log = await Log.open(folder / "apollo.db")
    try:
        recorder = Recorder(log, ROLLOUT, Progress())
        task = Task(name="t", description="Do it — “well”.", step_limit=20, actions_per_step=2)
        spec = RolloutSpec(task=task, model="scripted", sandbox="plain", isolated=False, name="t")
        await recorder.record(RolloutCreated(rollout=ROLLOUT, spec=spec))
        await recorder.record(AdviceQueued(rollout=ROLLOUT, advice=1, text=advice, by="ana"))
        model = ScriptedModel("scripted", path, on_request=note)
        place = SandboxSpec(ROLLOUT, ROLLOUT, folder / "rollout")
        watcher = Watcher()
        files = FileWatch(watcher, recorder, place.workspace)
        rollout = Rollout(recorder, model, plain, place, lambda _: None, Home(folder), files)
        await rollout.run()
        watcher.close()
        progress = await restore_progress(log, ROLLOUT)
        assert progress == recorder.progress
        remembered = await restore_messages(log, progress)
        assert remembered is not None
    finally:
        await log.close()
    history = History(folder / "apollo.db")
    rebuilt = [history.prompt(ROLLOUT, step) for step in steps_of(history)]
    history.close()
    assert rebuilt == given_to_the_model
    assert len(remembered[2]) >= len(json.loads(rebuilt[-1])["messages"])


def steps_of(history: History) -> Iterator[int]:
    row = history.rollout(ROLLOUT)
    assert row is not None
    return iter(range(1, row.step + 1))
