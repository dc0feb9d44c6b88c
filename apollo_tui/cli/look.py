"""Looking: the rollouts, one of them, and the log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from apollo_tui.cli.attention import attention
from apollo_tui.cli.context import (
    Context,
    as_json,
    iso,
    local,
    pass_context,
    print_json,
    rollout_argument,
    table,
)
from apollo_tui.errors import UsageError
from apollo_tui.log.read import History, RolloutRow
from apollo_tui.log.states import STATES

LOOK_AT_LEAST = 2_000  # ms: the log is looked at this often even when nothing tells of a change


def ls_row(row: RolloutRow) -> dict[str, Any]:
    """The fields of `ls --json`: a contract."""
    return {
        "rollout": row.id,
        "name": row.name,
        "task": row.task,
        "model": row.model,
        "sandbox": row.sandbox,
        "isolated": row.isolated,
        "state": row.state,
        "why": row.why,
        "step": row.step,
        "actions": row.actions,
        "marks": row.marks,
        "score": row.score,
        "cost_usd": row.cost_usd,
        "started_at": iso(row.started_at),
        "ended_at": iso(row.ended_at),
        "attention": attention(row),
    }


@click.command()
@click.option("--state", type=click.Choice(STATES), metavar="STATE", help="Only those in it.")
@click.option("--tag", help="Only those with this tag.")
@click.option("--group", help="Only those of this group.")
@as_json
@pass_context
def ls_command(
    context: Context, state: str | None, tag: str | None, group: str | None, as_json: bool
) -> None:
    """List the rollouts.

    \b
    Example:
      apollo-tui ls --state running
      apollo-tui ls --json
    """
    with context.history() as history:
        rows = [
            row
            for row in history.rollouts()
            if state in (None, row.state)
            and (tag is None or tag in row.tags)
            and group in (None, row.group)
        ]
    if as_json:
        print_json([ls_row(row) for row in rows])
        return
    if not rows:
        click.echo("No rollouts. apollo-tui demo starts three.")
        return
    head = ["name", "state", "step", "marks", "score", "cost", "model", "sandbox", "why"]
    table([head, *(_shown(row) for row in rows)], right=frozenset({2, 3, 4, 5}))
    context.say_when_no_core_runs(rows)


def _shown(row: RolloutRow) -> list[str]:
    score = "" if row.score is None else f"{row.score:.1f}"
    return [
        row.name,
        row.state,
        f"{row.step:,}",
        str(row.marks or ""),
        score,
        money(row),
        row.model if len(row.model) <= 32 else f"…{row.model[-31:]}",
        _sandbox(row),
        row.why,
    ]


def _imported(row: RolloutRow) -> bool:
    """Whether another program recorded it: it never ran here, and tells no times."""
    return row.sandbox == "none"


def _workspace(context: Context, row: RolloutRow) -> str:
    return "" if _imported(row) else str(context.home.rollout(row.id) / "workspace")


def _sandbox(row: RolloutRow) -> str:
    if _imported(row):
        return "none: imported"
    return row.sandbox if row.isolated else f"{row.sandbox}, not isolated"


def money(row: RolloutRow) -> str:
    """What a rollout cost; unknown is "?", never 0."""
    if row.cost_usd is None:
        return "" if row.cost_complete else "?"
    return f"${row.cost_usd:.2f}{'' if row.cost_complete else '+?'}"


@click.command()
@rollout_argument()
@as_json
@pass_context
def show_command(context: Context, rollout: str, as_json: bool) -> None:
    """Show a rollout: state, spend, advice, scores.

    \b
    Example:
      apollo-tui show noisy-filter
    """
    with context.history() as history:
        row = history.find(rollout)
        advice = history.advice(row.id)
        scores = history.scores(row.id)
    if as_json:
        print_json(
            ls_row(row)
            | {
                "errors": row.errors,
                "submissions": row.submissions,
                "time_limit": row.time_limit,
                "step_limit": row.step_limit,
                "usd_limit": row.usd_limit,
                "worked": None if _imported(row) else row.worked,
                "tags": row.tags,
                "group": row.group,
                "workspace": _workspace(context, row) or None,
                "scores": [{"step": step, "score": score} for step, score in scores],
                "advice": [
                    {"advice": one.advice, "by": one.by, "state": one.state, "text": one.text}
                    for one in advice
                ],
            }
        )
        return
    context.say_when_no_core_runs([row])
    for name, value in _facts(context, row, scores):
        if value:
            click.echo(f"{click.style(name.ljust(10), dim=True)}  {value}")
    for one in advice:
        where = f" at step {one.delivered_step}" if one.delivered_step else ""
        click.echo(f"\nadvice {one.advice} by {one.by}, {one.state}{where}\n  {one.text}")


def _facts(
    context: Context, row: RolloutRow, scores: list[tuple[int, float | None]]
) -> list[tuple[str, str]]:
    steps = f"{row.step:,}" + (f" of {row.step_limit:,}" if row.step_limit else "")
    worked = f"{row.worked / 60:.1f} min" + (
        f" of {row.time_limit / 60:.0f}" if row.time_limit else ""
    )
    shown = ["failed" if s is None else f"{s:.1f} at step {step}" for step, s in scores]
    return [
        ("rollout", f"{row.name}  ({row.id})"),
        ("state", row.state + (f": {row.why}" if row.why else "")),
        ("task", row.task),
        ("model", row.model),
        ("sandbox", _sandbox(row)),
        ("steps", f"{steps}, {row.actions:,} actions, {row.errors} errors, {row.marks} marks"),
        ("worked", "" if _imported(row) else worked),
        ("cost", money(row)),
        ("scores", ", ".join(shown)),
        ("started", local(row.started_at)),
        ("ended", local(row.ended_at)),
        ("workspace", _workspace(context, row)),
    ]


@click.command()
@rollout_argument(required=False)
@click.option("--all", "everything", is_flag=True, help="The events of all rollouts.")
@click.option("--follow", is_flag=True, help="Go on printing what comes.")
@click.option("--from", "first", type=int, default=1, help="Begin at this number of the log.")
@click.option("--prompt", "step", type=int, help="Print the exact prompt of a step instead.")
@click.option("--json", "_json", is_flag=True, help="One JSON object a line (as always).")
@pass_context
def log_command(
    context: Context,
    rollout: str | None,
    everything: bool,
    follow: bool,
    first: int,
    step: int | None,
    _json: bool,
) -> None:
    """Print the log, or the exact prompt of a step.

    An event is one JSON object on a line of its own: seq, at, kind, rollout, and its own fields.

    \b
    Example:
      apollo-tui log noisy-filter --follow
      apollo-tui log noisy-filter --prompt 3
    """
    if (rollout is None) == (not everything):
        raise UsageError("name one rollout, or write --all")
    with context.history() as history:
        row = None if rollout is None else history.find(rollout)
        if step is not None:
            if row is None:
                raise UsageError("--prompt needs one rollout")
            click.echo(history.prompt(row.id, step))
            return
        of = None if row is None else row.id
        seq = _print_events(history, of, first - 1)
        if follow:
            context.home.prepare()
            for _ in _changes(context.home.path):
                seq = _print_events(history, of, seq)


def _print_events(history: History, rollout: str | None, after: int) -> int:
    """Print what is in the log after a number; returns the number of the last one printed."""
    while page := history.events(rollout, after=after):
        for event in page:
            print_json(event | {"at": iso(event["at"])})
        after = page[-1]["seq"]
    return after


def _changes(home: Path) -> Iterator[None]:
    """One for each time the log may have grown, whichever core writes it, now or later."""
    from watchfiles import watch

    for _ in watch(
        home,
        watch_filter=lambda _, path: Path(path).name.startswith("apollo.db"),
        recursive=False,
        debounce=100,
        rust_timeout=LOOK_AT_LEAST,
        yield_on_timeout=True,
    ):
        yield
