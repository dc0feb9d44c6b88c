"""From a `run` command to rollouts that can start, or one line that says why none can."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from pathlib import Path

from apollo_tui.config import load
from apollo_tui.core.tools.registry import TOOLS, WEB
from apollo_tui.errors import SandboxUnavailable, TaskError, UsageError
from apollo_tui.log.commands import Run
from apollo_tui.log.types import RolloutSpec, Task
from apollo_tui.models.choose import choose_model
from apollo_tui.paths import Home, data_dir
from apollo_tui.sandbox import Kind
from apollo_tui.sandbox.choose import best_kind, probe
from apollo_tui.tasks import bare_task, load_task


async def plan_run(command: Run, home: Home, taken: Collection[str]) -> list[RolloutSpec]:
    """The specs of the rollouts to start, named so that no name in `taken` is used again.

    Raises what would stop any of them at once: an unknown task or model, a missing key, nobody at the
    API's address, a budget that cannot be kept, no sandbox.
    """
    if not command.tasks:
        raise UsageError("name a task to run; apollo-tui tasks lists the bundled ones")
    tasks = [await asyncio.to_thread(_task, command, one) for one in command.tasks]
    for task in tasks:
        _refuse_what_is_missing(command, task)
    await _check_model(command, home)
    specs: list[RolloutSpec] = []
    for task in tasks:
        kind = await asyncio.to_thread(choose_kind, command, task)
        used = {*taken, *(spec.name for spec in specs)}
        specs += [
            _spec(command, task, kind, name)
            for name in names(command.name or task.name, command.count, used)
        ]
    return specs


async def _check_model(command: Run, home: Home) -> None:
    model = await asyncio.to_thread(choose_model, command.model, load(home), home)
    try:
        if command.usd is not None and not model.priced:
            raise UsageError(
                f"nobody knows what {model.name} costs, so a budget in dollars cannot hold; give it "
                "a price in config.toml: price = { input = …, output = … }"
            )
        await model.check()
    finally:
        await model.close()


def _spec(command: Run, task: Task, kind: Kind, name: str) -> RolloutSpec:
    return RolloutSpec(
        task=task,
        model=command.model,
        sandbox=kind,
        isolated=kind != "plain",
        name=name,
        group=command.group,
        tags=command.tags,
        hands_off=command.hands_off,
        time_limit=None if command.hours is None else command.hours * 3600,
        step_limit=command.steps,
        usd_limit=command.usd,
        image=command.image,
        network=command.network,
        mounts=command.mounts,
        gpus=command.gpus,
    )


def _refuse_what_is_missing(command: Run, task: Task) -> None:
    """What a task or a command asks for and this program cannot do yet is said, never left out."""
    if command.gpus or task.gpus:
        raise UsageError("GPUs cannot be leased yet; run a task that asks for none")
    if unknown := [tool for tool in task.tools or () if tool not in TOOLS]:
        raise TaskError(
            f"{task.source or task.name}: there is no tool {unknown[0]!r}; there is: "
            f"{', '.join(TOOLS)}"
        )
    online = command.network or task.network or task.web_hosts
    if not online and (unreachable := [tool for tool in task.tools or () if tool in WEB]):
        raise TaskError(
            f"{task.source or task.name}: {unreachable[0]} needs network = true or web_hosts in the "
            "task, or --network"
        )
    if command.sandbox == "plain" and (command.mounts or task.mounts):
        raise UsageError(
            "plain processes see the host's own paths; mounts need docker or bubblewrap"
        )


def names(wanted: str, count: int, taken: Collection[str]) -> list[str]:
    """`count` free names: the wanted one, then with -2, -3 …"""
    base = re.sub(r"[^\w.-]+", "-", wanted).strip("-.")[:48] or "rollout"
    chosen: list[str] = []
    number = 1
    while len(chosen) < count:
        name = base if number == 1 else f"{base}-{number}"
        if name not in taken:
            chosen.append(name)
        number += 1
    return chosen


def choose_kind(command: Run, task: Task) -> Kind:
    """Docker; else bubblewrap; else refuse. Plain processes only for the bundled scripted demos
    or with --unisolated. Never a silent fallback."""
    plain_allowed = command.unisolated or _is_bundled_demo(command, task)
    if command.sandbox == "plain":
        if not plain_allowed:
            raise UsageError(
                "plain processes are not isolated from your files; add --unisolated to accept that"
            )
        return "plain"
    if command.sandbox is not None:
        if why := probe(command.sandbox):
            raise SandboxUnavailable(why)
        return command.sandbox
    try:
        return best_kind()
    except SandboxUnavailable as error:
        if plain_allowed:
            return "plain"
        raise SandboxUnavailable(
            f"{error.line}; or accept plain processes with --unisolated"
        ) from error


def _is_bundled_demo(command: Run, task: Task) -> bool:
    """A task and a script that ship with the program: nothing of it comes from elsewhere."""
    shipped = data_dir().resolve()
    api, _, script = command.model.partition(":")
    return (
        command.demo
        and api == "scripted"
        and Path(script).resolve().is_relative_to(shipped)
        and Path(task.source).resolve().is_relative_to(shipped)
    )


def _task(command: Run, given: str) -> Task:
    if command.prompt:
        return bare_task(command.prompt, command.workspace)
    if command.workspace is not None:
        raise UsageError("--workspace goes with --task; a task folder brings its own")
    return load_task(given)
