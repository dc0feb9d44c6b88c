"""The core process: start, stop, look at it."""

from __future__ import annotations

import os
import signal
import time

import click

from apollo_tui.cli.context import Context, as_json, pass_context, print_json
from apollo_tui.client import Client, core_pid, start_core
from apollo_tui.errors import CoreError, CoreUnreachable

ENDS_WITHIN = 30.0  # seconds that a core may take to end


@click.group(name="core")
def core_command() -> None:
    """The process that runs the rollouts. Consoles come and go; it stays.

    \b
    Example:
      apollo-tui core status
    """


@core_command.command()
@pass_context
def start(context: Context) -> None:
    """Start it, when it does not run yet.

    \b
    Example:
      apollo-tui core start
    """
    before = core_pid(context.home)
    if before is None:
        start_core(context.home)
    pid = core_pid(context.home)
    click.echo(f"the core {'runs' if before is None else 'ran already'} (pid {pid})")


@core_command.command()
@pass_context
def stop(context: Context) -> None:
    """End it. Rollouts, containers and jobs stay, and go on when it is started again.

    \b
    Example:
      apollo-tui core stop
    """
    pid = core_pid(context.home)
    if pid is None:
        click.echo("no core runs")
        return
    rollouts = _end(context, pid)
    stay = "stays and goes" if rollouts == 1 else "stay and go"
    left = f"; {_rollouts(rollouts)} {stay} on with the next core" if rollouts else ""
    click.echo(f"the core ended{left}")


@core_command.command()
@pass_context
def restart(context: Context) -> None:
    """End it and start it again, for instance after an upgrade.

    \b
    Example:
      apollo-tui core restart
    """
    pid = core_pid(context.home)
    if pid is not None:
        _end(context, pid)
    start_core(context.home)
    click.echo(f"the core runs (pid {core_pid(context.home)})")


@core_command.command()
@as_json
@pass_context
def status(context: Context, as_json: bool) -> None:
    """Say whether it runs.

    \b
    Example:
      apollo-tui core status --json
    """
    try:
        said = context.ask(lambda client: client.status(), start=False)
    except CoreUnreachable:
        said = {
            "pid": core_pid(context.home),
            "socket": str(context.home.socket),
            "version": None,
            "rollouts": 0,
        }
    if as_json:
        print_json(said)
    elif said["version"] is None:
        click.echo("no core runs" if said["pid"] is None else f"pid {said['pid']} does not answer")
    else:
        click.echo(
            f"core {said['version']} runs (pid {said['pid']}), {_rollouts(said['rollouts'])}, "
            f"{said['socket']}"
        )


@core_command.command()
@click.option("-n", "lines", default=50, show_default=True, help="How many lines.")
@pass_context
def log(context: Context, lines: int) -> None:
    """Print the end of core.log, the place to look when something went wrong.

    \b
    Example:
      apollo-tui core log -n 100
    """
    try:
        text = context.home.core_log.read_text(errors="replace")
    except FileNotFoundError:
        click.echo("no core has run in this home yet")
        return
    click.echo("\n".join(text.splitlines()[-lines:]))


@core_command.command(hidden=True)
@click.option("--ready-fd", type=int)
@pass_context
def serve(context: Context, ready_fd: int | None) -> int:
    """Be the core, in the foreground.

    \b
    Example:
      apollo-tui core serve
    """
    from apollo_tui.core.daemon import serve as serve_home

    return serve_home(context.home, ready_fd)


def _rollouts(count: int) -> str:
    return f"{count} rollout{'' if count == 1 else 's'}"


def _end(context: Context, pid: int) -> int:
    """End the core; returns how many rollouts it leaves."""

    async def shut_down(client: Client) -> int:
        rollouts = int((await client.status())["rollouts"])
        await client.shutdown()
        return rollouts

    try:
        rollouts = context.ask(shut_down, start=False)
    except CoreError:  # it does not answer: say it with a signal
        os.kill(pid, signal.SIGTERM)
        rollouts = 0
    end = time.monotonic() + ENDS_WITHIN
    while core_pid(context.home) is not None:
        if time.monotonic() > end:
            raise CoreError(f"the core (pid {pid}) does not end; see {context.home.core_log}")
        time.sleep(0.05)
    return rollouts
