"""Steering a rollout: pause, resume, stop, advise."""

from __future__ import annotations

import sys
from typing import Literal

import click

from apollo_tui.cli.context import Context, as_json, pass_context, print_json, rollout_argument
from apollo_tui.client import Client
from apollo_tui.errors import UsageError
from apollo_tui.log.states import FINAL_STATES


@click.command()
@rollout_argument()
@click.option("--now", is_flag=True, help="Also cut off the model call in flight.")
@pass_context
def pause_command(context: Context, rollout: str, now: bool) -> None:
    """Pause a rollout; what is in flight completes.

    \b
    Example:
      apollo-tui pause noisy-filter
    """
    row = context.find(rollout)
    context.ask(lambda client: client.pause(row.id, now=now))
    click.echo(f"{row.name} is paused")


@click.command()
@rollout_argument()
@pass_context
def resume_command(context: Context, rollout: str) -> None:
    """Let a paused or stopped rollout go on.

    \b
    Example:
      apollo-tui resume noisy-filter
    """
    row = context.find(rollout)
    context.ask(lambda client: client.resume(row.id))
    click.echo(f"{row.name} goes on")


@click.command()
@rollout_argument(required=False)
@click.option("--all", "everything", is_flag=True, help="Stop every rollout that has not ended.")
@click.option("--evaluate", is_flag=True, help="Score the workspace once more before the end.")
@click.option(
    "--jobs",
    type=click.Choice(["kill", "leave"]),
    default="kill",
    help="What becomes of background processes (default: kill).",
)
@pass_context
def stop_command(
    context: Context,
    rollout: str | None,
    everything: bool,
    evaluate: bool,
    jobs: Literal["kill", "leave"],
) -> None:
    """Stop a rollout; `resume` takes it up again.

    The model call and the action in flight end.

    \b
    Example:
      apollo-tui stop noisy-filter --evaluate
      apollo-tui stop --all
    """
    if (rollout is None) == (not everything):
        raise UsageError("name one rollout, or write --all")
    with context.history() as history:
        rows = (
            [history.find(rollout)]
            if rollout is not None
            else [row for row in history.rollouts() if row.state not in FINAL_STATES]
        )

    async def stop(client: Client) -> None:
        for row in rows:
            await client.stop(row.id, jobs=jobs, evaluate=evaluate)
            click.echo(f"{row.name} stops")

    if rows:
        context.ask(stop)
    else:
        click.echo("nothing runs")


@click.command()
@rollout_argument()
@click.argument("text")
@click.option("--resume", is_flag=True, help="Resume the rollout as well.")
@as_json
@pass_context
def advise_command(context: Context, rollout: str, text: str, resume: bool, as_json: bool) -> None:
    """Tell the agent something before its next step.

    TEXT is what it reads; "-" reads it from standard input.

    \b
    Example:
      apollo-tui advise noisy-filter "Let healthy runs finish." --resume
    """
    row = context.find(rollout)
    said = sys.stdin.read() if text == "-" else text
    if not said.strip():
        raise UsageError("advice must not be empty")
    number = context.ask(lambda client: client.advise(row.id, said.strip(), resume=resume))
    if as_json:
        print_json({"rollout": row.id, "advice": number})
    else:
        click.echo(f"advice {number} to {row.name}: goes in before its next step")


@click.command()
@rollout_argument()
@click.argument("advice", type=int)
@pass_context
def unadvise_command(context: Context, rollout: str, advice: int) -> None:
    """Withdraw advice that is still queued.

    \b
    Example:
      apollo-tui unadvise noisy-filter 3
    """
    row = context.find(rollout)
    context.ask(lambda client: client.unadvise(row.id, advice))
    click.echo(f"advice {advice} to {row.name} is withdrawn")
