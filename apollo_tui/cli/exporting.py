"""Exporting what trains, and comparing two exports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from apollo_tui.cli.context import Context, as_json, pass_context, print_json
from apollo_tui.cli.export_progress import JsonLines, Terminal, ended_by_signals
from apollo_tui.cli.filter_options import any_given, filter_options, filter_settings
from apollo_tui.cli.filtering import filtered
from apollo_tui.errors import ApolloError, UsageError
from apollo_tui.filter.export.diff import Change, compare
from apollo_tui.filter.export.facts import Facts
from apollo_tui.filter.export.folder import refuse_existing
from apollo_tui.filter.export.formats import FORMATS, FormatOptions, make_format
from apollo_tui.filter.export.readme import kept_and_unread
from apollo_tui.filter.export.rows import Chosen
from apollo_tui.filter.export.source import Source
from apollo_tui.filter.export.trainers import TRAINERS
from apollo_tui.filter.export.writer import Order, write_export
from apollo_tui.filter.run import FilterSettings
from apollo_tui.log.read import FilterRunRow, RolloutRow

SHOWN = 40  # changes that `diff` lists on a terminal

_FOLDER = click.Path(path_type=Path, file_okay=False)


class ExportGroup(click.Group):
    """A group that is a command itself: a first word that is a subcommand's name is that subcommand,
    anything else are the arguments of the export."""

    allow_interspersed_args = True  # options may follow the rollouts, as in any command

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        if args and args[0] in self.commands:
            name = f"{info_name} {args[0]}"
            return self.commands[args[0]].make_context(name, args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.group(name="export", cls=ExportGroup, invoke_without_command=True)
@click.argument("rollouts", metavar="ROLLOUT...", nargs=-1)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    required=True,
    help="What to write.",
)
@click.option("--out", type=_FOLDER, required=True, help="The folder to write.")
@click.option("--replace", "replaces", is_flag=True, help="Replace an earlier export there.")
@click.option("--run", metavar="RUN", help="Use this filter run as it is stored.")
@click.option("--trainer", type=click.Choice(list(TRAINERS)), help="Write what it honours.")
@click.option("--tokenizer", type=_FOLDER, help="A model's folder: its tokenizer and template.")
@click.option(
    "--template",
    type=click.Path(path_type=Path),
    help="A chat template: a .jinja file or a model's folder.",
)
@click.option("--max-length", type=click.IntRange(1), help="Leave out rows with more tokens.")
@click.option("--parquet", is_flag=True, help="Write Parquet beside the JSON lines.")
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Only N rows.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which N rows.")
@click.option("--reviewed-only", is_flag=True, help="Only what a person accepted or reviewed.")
@click.option("--as-of", type=click.IntRange(1), metavar="SEQ", help="The log up to that number.")
@click.option("--progress-json", is_flag=True, help="Tell progress as JSON, an object a line.")
@filter_options
@as_json
@pass_context
def export_command(
    context: Context,
    /,
    rollouts: tuple[str, ...],
    form: str,
    out: Path,
    replaces: bool,
    run: str | None,
    trainer: str | None,
    tokenizer: Path | None,
    template: Path | None,
    max_length: int | None,
    parquet: bool,
    sample: int | None,
    seed: int,
    reviewed_only: bool,
    as_of: int | None,
    progress_json: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write what trains into a folder, in a form that trainers read.

    A filter run is made for it, so that all marks count: with the configuration given here, else that of
    the newest run over these rollouts, else the rules as they are. No judge is asked; what it has said
    counts. --run uses a run as it is stored instead. Nothing is in the folder before all of it is.

    \b
    Example:
      apollo-tui export noisy-filter --format chat --out noisy-chat
      apollo-tui export night-1 night-2 --format tokens --tokenizer glm-4.5 --trainer trl --out night
      apollo-tui export diff noisy-chat noisy-chat-2
    """
    if run is not None and (as_of is not None or any_given(options)):
        raise UsageError("--run takes a run as it is stored: leave out --as-of and filter options")
    refuse_existing(out, replace=replaces)
    given = FormatOptions(tokenizer, template, max_length)
    a_format = make_format(form, given)
    chosen = None if sample is None else Chosen(sample, seed)
    order = Order(out, replaces, parquet, chosen, given.facts())
    row = (
        _stored_run(context, run, rollouts)
        if run
        else _fresh_run(context, rollouts, as_of, options)
    )
    watcher = JsonLines() if progress_json else Terminal()
    with context.history() as history, ended_by_signals(), watcher:
        source = Source(history, row, reviewed_only=reviewed_only)
        facts = write_export(
            source, a_format, order, watcher, None if trainer is None else TRAINERS[trainer]
        )
    _note(context, facts, out)
    if progress_json:
        print_json({"export": facts.model_dump(mode="json")})
    elif as_json:
        print_json(facts.model_dump(mode="json"))
    else:
        _print(facts, out)


def _stored_run(context: Context, run: str, rollouts: Sequence[str]) -> FilterRunRow:
    """A finished run, over the given rollouts of it or all of them."""
    with context.history() as history:
        row = history.filter_run(run)
        if row.state != "finished":
            raise UsageError(f"the filter run {row.run} is {row.state}: it has no verdicts")
        chosen = tuple(dict.fromkeys(history.find(one).id for one in rollouts)) or row.rollouts
    for rollout in chosen:
        if rollout not in row.rollouts:
            raise UsageError(f"the filter run {row.run} has no verdicts on {rollout}")
    gated = {rollout: why for rollout, why in row.gated.items() if rollout in chosen}
    return replace(row, rollouts=chosen, gated=gated)


def _fresh_run(
    context: Context, rollouts: Sequence[str], as_of: int | None, options: dict[str, Any]
) -> FilterRunRow:
    if not rollouts:
        raise UsageError("name the rollouts to export, or a filter run with --run")
    with context.history() as history:
        rows = list({row.id: row for row in map(history.find, rollouts)}.values())
        if any_given(options):
            settings = filter_settings(context, options)
        else:
            settings = _settings_of_newest(history.filter_runs(), rows)
    return context.ask(
        lambda client: filtered(context, client, rows, settings, as_of=as_of, ask_judge=False)
    )


def _settings_of_newest(runs: Sequence[FilterRunRow], rows: Sequence[RolloutRow]) -> FilterSettings:
    wanted = {row.id for row in rows}
    for run in reversed(runs):
        if run.state == "finished" and wanted <= set(run.rollouts):
            return FilterSettings.model_validate(run.configuration)
    return FilterSettings()


def _note(context: Context, facts: Facts, out: Path) -> None:
    """Tell the core. The export is whole without it, so a core that can't is no failure of it."""
    try:
        context.ask(
            lambda client: client.note_export(
                facts.filter_run, facts.format, str(out.absolute()), facts.rows, facts.digest
            )
        )
    except ApolloError as error:
        click.echo(f"apollo-tui: written, but not noted on the log: {error.line}", err=True)


def _print(facts: Facts, out: Path) -> None:
    of = f" (a sample of {facts.rows_made:,})" if facts.sample is not None else ""
    click.echo(
        f"{_many(facts.rows, 'row')}{of} of {_many(facts.rollouts, 'rollout')} in {out}: "
        f"{kept_and_unread(facts)}, "
        f"{sum(facts.masked.values()):,} masked, {facts.trained:,} train in these rows"
    )
    for what, reasons in (
        ("masked", facts.masked),
        ("left out", facts.left_out),
        ("noted", facts.notes),
    ):
        for reason, count in reasons.items():
            click.echo(f"  {what} {count:,}: {reason}")
    for rollout, why in facts.gated.items():
        click.echo(f"  {rollout} does not train: {why}")
    click.echo(f"{out / 'README.md'} says how to load it")


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


@export_command.command()
@click.argument("old", type=_FOLDER)
@click.argument("new", type=_FOLDER)
@as_json
@pass_context
def diff(context: Context, old: Path, new: Path, as_json: bool) -> None:
    """Which actions train in one of two exports and not in the other, and why.

    The reasons come from the log they were made from, as far as this home holds it.

    \b
    Example:
      apollo-tui export diff noisy-chat noisy-chat-2
    """
    with context.history() as history:
        found = compare(old, new, history)
    if as_json:
        sides = {"only_old": found.gone, "only_new": found.new}
        print_json(
            {side: [_change(one) for one in changes] for side, changes in sides.items()}
            | {"both": found.both}
        )
        return
    click.echo(f"{_many(found.both, 'action')} in both")
    for folder, changes in ((old, found.gone), (new, found.new)):
        click.echo(f"{_many(len(changes), 'action')} only in {folder}")
        for one in changes[:SHOWN]:
            click.echo(f"  {one.name} {one.step}.{one.ordinal}  in the other: {one.why}")
        if len(changes) > SHOWN:
            click.echo(f"  and {len(changes) - SHOWN:,} more: --json prints all")


def _change(one: Change) -> dict[str, Any]:
    return {
        "rollout": one.rollout,
        "name": one.name,
        "step": one.step,
        "ordinal": one.ordinal,
        "why": one.why,
    }
