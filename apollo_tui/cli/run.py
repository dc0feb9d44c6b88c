"""Starting rollouts, and waiting for them: run, demo, wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import click

from apollo_tui.cli.attention import attention
from apollo_tui.cli.context import (
    Context,
    as_json,
    pass_context,
    print_json,
    rollout_argument,
    table,
)
from apollo_tui.client import Appended, Client, CoreBack
from apollo_tui.errors import ApolloError, UnknownName, UsageError
from apollo_tui.log.read import RolloutRow
from apollo_tui.log.states import FINAL_STATES
from apollo_tui.paths import data_dir

DEMO_TASKS = ("noisy-filter", "imbalanced-loss", "retrieval-scaffold")
GOOD_SCORE = 50.0  # the demo's rollouts are written to do better than this

SandboxName = Literal["docker", "bubblewrap", "plain"]


@click.command()
@click.argument("tasks", metavar="[TASK]...", nargs=-1)
@click.option("--task", "prompt", help="A task in words, instead of a task's folder.")
@click.option("--workspace", help="With --task: a folder to begin from.")
@click.option("--model", required=True, help="A configured name, or API:NAME, or scripted:FILE.")
@click.option(
    "--sandbox",
    type=click.Choice(["docker", "bubblewrap", "plain"]),
    help="Where actions run (default: docker, else bubblewrap).",
)
@click.option("--unisolated", is_flag=True, help="Accept plain processes: nothing is isolated.")
@click.option("--count", type=click.IntRange(1, 256), default=1, help="So many of each.")
@click.option("--name", help="How to call them (default: after the task).")
@click.option("--group", help="A group, to compare and to budget.")
@click.option("--hands-off", is_flag=True, help="A control run: advice is refused.")
@click.option("--tag", "tags", multiple=True, help="A tag; may be repeated.")
@click.option("--hours", type=click.FloatRange(0, min_open=True), help="Working time at most.")
@click.option("--steps", type=click.IntRange(1), help="Steps at most.")
@click.option("--usd", type=click.FloatRange(0, min_open=True), help="Dollars at most.")
@click.option("--gpus", type=click.IntRange(0), default=0, help="GPUs to lease for each.")
@click.option("--image", help="The Docker image.")
@click.option("--mount", "mounts", multiple=True, metavar="HOST:PATH:ro", help="A folder to see.")
@click.option("--network", is_flag=True, help="Let the sandbox reach the network.")
@click.option("--attach", is_flag=True, help="Open the console then.")
@as_json
@pass_context
def run_command(
    context: Context,
    tasks: tuple[str, ...],
    prompt: str | None,
    workspace: str | None,
    model: str,
    sandbox: SandboxName | None,
    unisolated: bool,
    count: int,
    name: str | None,
    group: str | None,
    hands_off: bool,
    tags: tuple[str, ...],
    hours: float | None,
    steps: int | None,
    usd: float | None,
    gpus: int,
    image: str | None,
    mounts: tuple[str, ...],
    network: bool,
    attach: bool,
    as_json: bool,
) -> int | None:
    """Start rollouts of a task.

    TASK is a bundled task's name or a task's folder; or write one with --task "text".

    \b
    Example:
      apollo-tui run noisy-filter --model anthropic:claude-sonnet-4-5 --count 4
      apollo-tui run --task "Make the tests pass." --workspace ./code --model glm --hours 2
    """
    if bool(tasks) == bool(prompt):
        raise UsageError('name a task, or write one: --task "text" [--workspace DIR]')
    if workspace is not None and not prompt:
        raise UsageError("--workspace goes with --task; a task's folder brings its own")
    if attach:
        context.need_terminal(
            "leave --attach out, and follow with: apollo-tui wait, ls, log --follow"
        )
    common: dict[str, Any] = {
        "model": absolute_model(model),
        "sandbox": sandbox,
        "unisolated": unisolated,
        "count": count,
        "name": name,
        "group": group,
        "hands_off": hands_off,
        "tags": list(tags),
        "hours": hours,
        "steps": steps,
        "usd": usd,
        "gpus": gpus,
        "image": image,
        "mounts": [read_mount(mount) for mount in mounts],
        "network": network,
    }
    wanted: dict[str, Any] = (
        {"task": "", "prompt": prompt, "workspace": absolute(workspace)}
        if prompt
        else {"task": [absolute_task(task) for task in tasks]}
    )
    started = context.ask(lambda client: client.run(**common, **wanted))
    if as_json:
        print_json(started)
    else:
        for one in started:
            click.echo(f"{one['name']}  {one['rollout']}")
    return context.open_console() if attach else None


@click.command()
@click.option("--headless", is_flag=True, help="No console: run to the end and print a table.")
@pass_context
def demo_command(context: Context, headless: bool) -> int:
    """Run three bundled tasks at once with scripted models.

    They really work on them; no key and no Docker is needed. The console opens; with --headless a table is printed at the
    end, and the exit code is 0 only if all is well.

    \b
    Example:
      apollo-tui demo
    """
    if not headless:
        context.need_terminal("without one: apollo-tui demo --headless")
    started = context.ask(start_demo)
    if not headless:
        return context.open_console()
    rows = context.ask(lambda client: _until(context, client, started, has_ended))
    head = ["name", "state", "steps", "score", "actions", "errors", "why"]
    table([head, *(_result(row) for row in rows)], right=frozenset({2, 3, 4, 5}))
    good = all(row.state == "finished" and (row.score or 0) >= GOOD_SCORE for row in rows)
    return 0 if good else 1


async def start_demo(client: Client) -> list[str]:
    """Start the three bundled demonstrations; returns the ids of their rollouts."""
    started = []
    for task in DEMO_TASKS:
        script = data_dir() / "tasks" / task / "demo.jsonl"
        started += await client.run(task=task, model=f"scripted:{script}", demo=True)
    return [one["rollout"] for one in started]


def _result(row: RolloutRow) -> list[str]:
    score = "none" if row.score is None else f"{row.score:.1f}"
    return [row.name, row.state, str(row.step), score, str(row.actions), str(row.errors), row.why]


@click.command()
@rollout_argument()
@click.option(
    "--until",
    "what",
    type=click.Choice(["finished", "attention", "paused"]),
    default="finished",
    show_default=True,
    help="Until it has ended, needs you, or is paused.",
)
@click.option("--timeout", type=click.FloatRange(0), help="Seconds to wait at most.")
@as_json
@pass_context
def wait_command(
    context: Context, rollout: str, what: str, timeout: float | None, as_json: bool
) -> int:
    """Wait for a rollout. Exit code 1 when it ended otherwise, or the time was up.

    \b
    Example:
      apollo-tui wait noisy-filter --until attention
    """
    row = context.find(rollout)
    met: Callable[[RolloutRow], bool] = {
        "finished": has_ended,
        "paused": lambda now: now.state == "paused",
        "attention": lambda now: bool(attention(now)),
    }[what]

    def over(now: RolloutRow) -> bool:
        return met(now) or has_ended(now)

    async def wait(client: Client) -> RolloutRow:
        async with asyncio.timeout(timeout):
            return (await _until(context, client, [row.id], over))[0]

    try:
        now = row if over(row) else context.ask(wait)
    except TimeoutError:
        raise ApolloError(f"{row.name} was not {what} within {timeout:g} s") from None
    if as_json:
        from apollo_tui.cli.look import ls_row

        print_json(ls_row(now))
    else:
        click.echo(f"{now.name} {now.state}{f': {now.why}' if now.why else ''}")
    ended_well = now.state == "finished" if what == "finished" else met(now)
    return 0 if ended_well else 1


def has_ended(row: RolloutRow) -> bool:
    return row.state in FINAL_STATES


async def _until(
    context: Context, client: Client, rollouts: Sequence[str], met: Callable[[RolloutRow], bool]
) -> list[RolloutRow]:
    """The rollouts' rows, once `met` holds of each. The core tells when there is something new."""
    with context.history() as history:

        def rows() -> list[RolloutRow]:
            return [row for one in rollouts if (row := history.rollout(one)) is not None]

        async for notification in client.follow():
            if isinstance(notification, Appended | CoreBack) and all(met(row) for row in rows()):
                return rows()
    raise AssertionError("following never ends")


# --- paths: the core works elsewhere, so they are made absolute here ----------------------------


def absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).expanduser().absolute())


def absolute_task(given: str) -> str:
    """A folder's absolute path; a bundled task's name as it is, whatever else has that name here."""
    path = Path(given).expanduser()
    bundled = "/" not in given and (data_dir() / "tasks" / given).is_dir()
    ours = path.exists() and ((path / "task.toml").is_file() or not bundled)
    return str(path.absolute()) if ours else given


def absolute_model(given: str) -> str:
    api, colon, file = given.partition(":")
    return f"scripted:{absolute(file)}" if api == "scripted" and colon and file else given


def read_mount(given: str) -> dict[str, Any]:
    """HOST:PATH or HOST:PATH:ro. Raises UsageError or UnknownName."""
    parts = given.split(":")
    if parts[-1:] == ["ro"]:
        parts.pop()
    if len(parts) != 2 or not parts[1].startswith("/"):
        raise UsageError(f"{given!r} is no mount; write HOST:PATH:ro, as in ~/models:/models:ro")
    host = absolute(parts[0]) or ""
    if not Path(host).exists():
        raise UnknownName(f"there is no {host} to mount")
    return {"host": host, "inside": parts[1], "read_only": True}
