"""Importing rollouts that other programs recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from apollo_tui.cli.context import Context, as_json, pass_context, print_json
from apollo_tui.client import Client
from apollo_tui.errors import ApolloError, UsageError


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--name", help="What to call the rollout (default: after the file).")
@as_json
@pass_context
def import_command(
    context: Context, files: tuple[str, ...], name: str | None, as_json: bool
) -> int:
    """Import rollouts that other programs recorded: InnovatorBench nodes.

    An imported rollout is read-only: it is read, searched, marked, filtered and exported, and never
    goes on. The same file twice is one rollout. What the file does not tell stays unknown; what found
    no place is kept as it was, and counted.

    \b
    Example:
      apollo-tui import node.json
      apollo-tui import nodes/*.json --json
    """
    if name is not None and len(files) > 1:
        raise UsageError("--name goes with one file")

    paths = [str(Path(file).absolute()) for file in files]

    async def import_all(client: Client) -> list[dict[str, Any]]:
        return [await _import(client, path, name, quiet=as_json) for path in paths]

    done = context.ask(import_all)
    if as_json:
        print_json([one for one in done if one])
    return 0 if all(done) else 1


async def _import(client: Client, path: str, name: str | None, *, quiet: bool) -> dict[str, Any]:
    """Import one file, and say so; {} when it was refused, so that the next one has its turn."""
    try:
        done = await client.import_file(path, name=name)
    except ApolloError as error:
        click.echo(f"apollo-tui: {error.line}", err=True)
        return {}
    if not quiet:
        click.echo(_said(done))
    return done


def _said(done: dict[str, Any]) -> str:
    line = f"{done['name']}  {done['rollout']}  {done['steps']:,} steps"
    if not done["new"]:
        return f"{line}  (was imported before)"
    unmapped = done["unmapped"]
    fields = "1 field" if unmapped == 1 else f"{unmapped:,} fields"
    return f"{line}  {fields} of the file found no place and are kept raw" if unmapped else line
