"""Filtering: which actions of rollouts train, who decided, and how far to trust the judge."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from apollo_tui.cli.context import Context, as_json, pass_context, print_json, table
from apollo_tui.cli.filter_options import filter_options, filter_settings
from apollo_tui.client import Client, CoreGone
from apollo_tui.errors import ApolloError, CommandRefused, CoreError
from apollo_tui.filter.agreement import Agreement, stored_agreement
from apollo_tui.filter.run import FilterSettings
from apollo_tui.log.events import RolloutFiltered
from apollo_tui.log.read import FilterRunRow, RolloutRow


@click.command()
@click.argument("rollouts", metavar="ROLLOUT...", nargs=-1, required=True)
@filter_options
@click.option(
    "--judge-usd",
    type=click.FloatRange(0, min_open=True),
    help="Make no further call of the judge once so many dollars are spent.",
)
@click.option("--no-ask", is_flag=True, help="Ask no judge: what it has said before counts.")
@click.option(
    "--as-of",
    type=click.IntRange(1),
    metavar="SEQ",
    help="As the log was at that number; asks no judge.",
)
@as_json
@pass_context
def filter_command(
    context: Context,
    /,
    rollouts: tuple[str, ...],
    judge_usd: float | None,
    no_ask: bool,
    as_of: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Decide which actions train, and store it as a filter run.

    What a person marked decides, else the judge, else the rules; everything else is kept. Without
    --judge no model is asked. What a judge has answered is never asked again, so a run that was cut
    off, or cancelled with ctrl+c, costs only the rest when it is asked for again.

    \b
    Example:
      apollo-tui filter noisy-filter
      apollo-tui filter night-1 night-2 --judge glm --judge-usd 2 --min-score 60
    """
    settings = filter_settings(context, options)
    with context.history() as history:
        rows = list({row.id: row for row in map(history.find, rollouts)}.values())
    run = context.ask(
        lambda client: filtered(
            context, client, rows, settings, as_of=as_of, ask_judge=not no_ask, judge_usd=judge_usd
        )
    )
    if as_json:
        print_json(facts(run, rows))
    else:
        _print(run, rows)
    if run.to_judge and not run.judged:
        raise ApolloError(f"the judge gave no word on any action: {run.why or 'no reason given'}")


async def filtered(
    context: Context,
    client: Client,
    rows: Sequence[RolloutRow],
    settings: FilterSettings,
    *,
    as_of: int | None = None,
    ask_judge: bool = True,
    judge_usd: float | None = None,
) -> FilterRunRow:
    """Filter rollouts, and wait for the end of the run; ctrl+c cancels it.

    Raises ApolloError when it did not finish.
    """
    run = await client.filter(
        [row.id for row in rows],
        settings.model_dump(mode="json"),
        as_of=as_of,
        ask_judge=ask_judge,
        judge_usd=judge_usd,
    )
    try:
        with _progress() as tell:
            row = await _until_over(context, client, run, tell)
    except asyncio.CancelledError:
        with contextlib.suppress(CommandRefused):  # it was over already
            await client.cancel_filter(run)
        click.echo(
            f"apollo-tui: the filter run {run} was cancelled; what the judge answered is kept, and is "
            "not asked again",
            err=True,
        )
        raise click.exceptions.Exit(130) from None
    if row.state == "ended":
        raise ApolloError(f"the filter run {run} has no verdicts: {row.why}")
    return row


async def _until_over(
    context: Context, client: Client, run: str, tell: Callable[[FilterRunRow], None]
) -> FilterRunRow:
    with context.history() as history:
        async for notification in client.follow():
            row = history.filter_run(run)
            if row.state != "running":
                return row
            if isinstance(notification, CoreGone):
                raise CoreError(
                    f"the core ended in the middle of the filter run {run}; filter again: what the "
                    "judge answered is not asked again"
                )
            tell(row)
    raise AssertionError("following never ends")


@contextlib.contextmanager
def _progress() -> Any:
    """A function that tells on one line of the terminal how far the judge is."""
    drawn = False

    def tell(row: FilterRunRow) -> None:
        nonlocal drawn
        if row.to_judge and sys.stderr.isatty():
            line = f"judged {row.judged or 0:,} of {row.to_judge:,} actions   ctrl+c cancels"
            click.echo(f"\r{line}\x1b[K", nl=False, err=True)
            drawn = True

    try:
        yield tell
    finally:
        if drawn:
            click.echo("\r\x1b[K", nl=False, err=True)


# --- what is said of a run ---------------------------------------------------------------------


def facts(run: FilterRunRow, rows: Sequence[RolloutRow]) -> dict[str, Any]:
    """The fields of `filter --json`: a contract."""
    counts = _counts(run)
    table = _agreement(counts)
    return {
        "run": run.run,
        "as_of": run.as_of,
        "configuration": run.configuration,
        "kept": run.kept,
        "unread": run.unread,
        "masked": run.masked,
        "judge": run.configuration["judge"],
        "judged": run.judged,
        "unjudged": run.unjudged,
        "why": run.why,
        "cost_usd": run.cost_usd,
        "rollouts": [
            {"rollout": row.id, "name": row.name}
            | counts[row.id].model_dump(exclude={"judge_and_people"})
            | {"gate": run.gated.get(row.id)}
            for row in rows
        ],
        "agreement": None
        if run.configuration["judge"] is None
        else {
            "compared": table.compared,
            "agreed": table.agreed,
            "kappa": table.kappa,
            "undefined": table.undefined or None,
            "judge_keep_people_accept": table.both_keep,
            "judge_keep_people_reject": table.first_keeps,
            "judge_mask_people_accept": table.second_keeps,
            "judge_mask_people_reject": table.both_mask,
        },
    }


def _counts(run: FilterRunRow) -> dict[str, RolloutFiltered]:
    return {of: RolloutFiltered.model_validate(one) for of, one in run.counts.items()}


def _agreement(counts: Mapping[str, RolloutFiltered]) -> Agreement:
    return stored_agreement(one.judge_and_people for one in counts.values())


def _print(run: FilterRunRow, rows: Sequence[RolloutRow]) -> None:
    counts = _counts(run)
    head = ["name", "kept", "unread", "masked", "suggested", "masked by", "gate"]
    shown = [_shown(row.name, counts[row.id], run.gated.get(row.id, "")) for row in rows]
    table([head, *shown], right=frozenset({1, 2, 3, 4}))
    click.echo()
    click.echo(
        f"filter run {run.run}, the log as of {run.as_of}: {run.kept:,} kept, {run.unread:,} of them "
        f"nobody looked at; {run.masked:,} masked"
    )
    if run.gated:
        click.echo(f"{_many(len(run.gated), 'rollout')} of {len(rows)} gated: they train nothing")
    if suggested := sum(one.suggested for one in counts.values()):
        click.echo(
            f"{_many(suggested, 'action')} after a rejected one would be masked if you confirmed it, or "
            "with --propagate"
        )
    if outside := sum(one.outside for one in counts.values()):
        click.echo(f"{_many(outside, 'action')} of replaced replies are in no sample")
    _print_judge(run, _agreement(counts))
    if not run.kept:
        click.echo("Nothing is kept: an export of this run would train nothing.")


def _shown(name: str, count: RolloutFiltered, gate: str) -> list[str]:
    """One row of the table; a gated rollout has nothing that is kept."""
    masked = sum(count.masked.values())
    by = ", ".join(f"{who} {number:,}" for who, number in count.masked.items())
    kept, unread = ("–", "–") if gate else (f"{count.kept:,}", f"{count.unread:,}")
    return [name, kept, unread, f"{masked:,}", f"{count.suggested:,}", by, gate]


def _print_judge(run: FilterRunRow, agreed: Agreement) -> None:
    judge = run.configuration["judge"]
    if judge is None:
        click.echo("No judge was asked: marks and rules decided. --judge MODEL asks one.")
        return
    cost = "at an unknown cost" if run.cost_usd is None else f"for ${run.cost_usd:.2f}"
    click.echo(f"judge {judge}: {_many(run.judged or 0, 'action')} judged in this run {cost}")
    if run.why:
        click.echo(f"  {run.why}")
    if run.unjudged:
        click.echo(f"  {_many(run.unjudged, 'action')} without a word of the judge: rules decided")
    if not agreed.compared:
        click.echo("  nobody accepted or rejected what it judged: how far to trust it is not known")
        return
    kappa = agreed.kappa
    click.echo(
        f"  it agrees with people on {agreed.agreed:,} of {_many(agreed.compared, 'action')}; Cohen's "
        + (f"kappa is not defined: {agreed.undefined}" if kappa is None else f"kappa {kappa:.2f}")
    )
    table(
        [
            ["", "people accept", "people reject"],
            ["  judge keeps", f"{agreed.both_keep:,}", f"{agreed.first_keeps:,}"],
            ["  judge masks", f"{agreed.second_keeps:,}", f"{agreed.both_mask:,}"],
        ],
        right=frozenset({1, 2}),
    )


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
