"""Files and room: du, gc, rm, archive, backup, path, cp."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from apollo_tui.cli.context import (
    Context,
    as_json,
    pass_context,
    print_json,
    rollout_argument,
    table,
)
from apollo_tui.errors import ApolloError, UsageError
from apollo_tui.log.read import History, RolloutRow
from apollo_tui.log.states import FINAL_STATES

PARTS = ("workspace", "spool", "tmp", "snapshots", "evaluations")
"""The folders of a rollout that `du` tells apart; what else there is counts as `other`."""
_SANDBOX_EVENTS = ("sandbox_ready", "sandbox_removed")
INSIDE = "/workspace"  # how an agent calls its workspace, and so do people who copy its paths


# --- where the files are -------------------------------------------------------------------------


@click.command()
@rollout_argument()
@pass_context
def path_command(context: Context, rollout: str) -> None:
    """Print the folder of a rollout's workspace.

    What an agent made can hold links to anywhere; `cp` never follows them.

    \b
    Example:
      cd "$(apollo-tui path noisy-filter)"
    """
    with context.history() as history:
        click.echo(_workspace(context, history, history.find(rollout)))


@click.command()
@click.argument("source", metavar="ROLLOUT:PATH")
@click.argument("dest", type=click.Path(path_type=Path))
@as_json
@pass_context
def cp_command(context: Context, source: str, dest: Path, as_json: bool) -> None:
    """Copy a file or folder out of a workspace, also while the agent works.

    PATH is relative to the workspace; a path below /workspace is one, too. Into a DEST that is a
    folder it is copied under its own name. Links are not followed: they, and all that is no regular
    file, are left out and counted.

    \b
    Example:
      apollo-tui cp noisy-filter:results/scores.csv .
    """
    from apollo_tui.sandbox.copying import copy_out

    name, colon, path = source.partition(":")
    if not colon or not name:
        raise UsageError(f"{source!r} is not ROLLOUT:PATH, such as noisy-filter:scores.csv")
    if path == INSIDE or path.startswith(f"{INSIDE}/"):
        path = path.removeprefix(INSIDE).lstrip("/")
    path = path or "."
    with context.history() as history:
        row = history.find(name)
        workspace = _workspace(context, history, row)
    target = dest / (Path(path).name or row.name) if dest.is_dir() else dest
    copied = copy_out(workspace, path, target.absolute())
    if as_json:
        print_json(
            {
                "path": str(target),
                "files": copied.files,
                "bytes": copied.bytes,
                "left_out": dict(copied.left_out),
            }
        )
        return
    click.echo(f"{_files(copied.files)}, {size(copied.bytes)}, in {target}")
    _say_left_out(copied.left_out)


def _workspace(context: Context, history: History, row: RolloutRow) -> Path:
    """Raises ApolloError, saying why, when there is none."""
    workspace = context.home.rollout(row.id) / "workspace"
    if workspace.is_dir():
        return workspace
    if row.sandbox == "none":
        raise ApolloError(f"{row.name} was imported: it has no workspace")
    if any(history.payloads(row.id, ["files_removed"])):
        raise ApolloError(f"{row.name} has no workspace any more: its files were removed")
    raise ApolloError(f"{row.name} has no workspace yet: it is {row.state}")


# --- how much they take ----------------------------------------------------------------------------


@click.command()
@as_json
@pass_context
def du_command(context: Context, as_json: bool) -> None:
    """Say what takes room: each rollout's files, and its share of the log.

    A text that several rollouts share is counted in equal parts. What the Docker engine keeps for
    images and containers is not in it. `gc` and `rm` make room.

    \b
    Example:
      apollo-tui du
      apollo-tui du --json
    """
    with context.history() as history:
        known = {row.id: row for row in history.rollouts()}
    told = _measure(context, known)
    if as_json:
        print_json(told)
        return
    shown = sorted(told["rollouts"], key=lambda row: -row["total"])
    head = ["name", "state", *PARTS, "other", "log", "total"]
    columns = (*PARTS, "other", "log", "total")
    if shown:
        table(
            [
                head,
                *(
                    [one["name"], one["state"] or "?", *(size(one[name]) for name in columns)]
                    for one in shown
                ),
            ],
            right=frozenset(range(2, len(head))),
        )
        click.echo()
    click.echo(f"log       {size(told['log'])}")
    click.echo(f"all       {size(told['total'])} in {context.home.path}")
    disk = told["disk"]
    if disk is not None:
        click.echo(
            f"the disk  {disk['used'] / max(1, disk['used'] + disk['free']):.0%} full, "
            f"{size(disk['free'])} free"
        )
    unread = told["unread"]
    if unread:
        click.echo(f"{unread:,} folders could not be looked into, and are not counted", err=True)


def _measure(context: Context, known: Mapping[str, RolloutRow]) -> dict[str, Any]:
    import shutil

    from apollo_tui.log.shares import log_shares
    from apollo_tui.sandbox.usage import parts_of, used_by

    home = context.home
    shares = log_shares(home.database)
    folders = (
        {folder.name for folder in home.rollouts.iterdir()} if home.rollouts.is_dir() else set()
    )
    rollouts = []
    unread = 0
    for rollout in [*known, *sorted(folders - known.keys())]:
        parts = parts_of(home.rollout(rollout))
        sizes = {name: parts[name].bytes if name in parts else 0 for name in PARTS}
        sizes["other"] = sum(use.bytes for name, use in parts.items() if name not in PARTS)
        files = sum(sizes.values())
        share = round(shares.get(rollout, 0))
        row = known.get(rollout)
        unread += sum(use.unread for use in parts.values())
        rollouts.append(
            {
                "rollout": rollout,
                "name": row.name if row else rollout,
                "state": row.state if row else None,  # None: the log does not know it
                **sizes,
                "log": share,
                "total": files + share,
            }
        )
    disk = shutil.disk_usage(home.path) if home.path.is_dir() else None
    log = sum(used_by(file).bytes for file in home.path.glob("apollo.db*"))
    return {
        "rollouts": rollouts,
        "log": log,
        "total": used_by(home.path).bytes,
        "unread": unread,
        "disk": disk and {"size": disk.total, "used": disk.used, "free": disk.free},
    }


def size(count: float) -> str:
    """Bytes as people say them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return (
                f"{count:.1f} {unit}" if 0 < count < 9.95 and unit != "B" else f"{count:.0f} {unit}"
            )
        count /= 1000
    return f"{count:,.1f} TB"


# --- making room -------------------------------------------------------------------------------------


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@as_json
@pass_context
def gc_command(context: Context, dry_run: bool, as_json: bool) -> int:
    """Remove the files of rollouts that ended long ago, and what nothing needs any more.

    Files of ended rollouts go after retention.keep_workspaces (default 30d), those that only a
    running rollout needs at once, as do containers without a rollout. Marks and the log stay.

    \b
    Example:
      apollo-tui gc --dry-run
    """
    told = context.ask(lambda client: client.collect_garbage(dry_run=dry_run))
    if as_json:
        print_json(told)
        return 1 if told["failed"] else 0
    would = "would be removed" if dry_run else "removed"
    for waste in told["removed"]:
        room = size(waste["bytes"]) + (" at least" if waste["unread"] else "")
        what = {"files": "all files", "spool": "spool"}.get(waste["what"], waste["what"])
        amount = "" if waste["what"] == "container" else f", {room}"
        click.echo(f"{waste['name']}: {what}{amount} {would} ({waste['why']})")
    freed = sum(waste["bytes"] for waste in told["removed"])
    click.echo(
        f"{size(freed)} {would}"
        if told["removed"]
        else "nothing to remove; apollo-tui du shows what takes room"
    )
    for waste in told["failed"]:
        click.echo(f"apollo-tui: {waste['name']} stays: {waste['error']}", err=True)
    for note in told["notes"]:
        click.echo(note, err=True)
    return 1 if told["failed"] else 0


@click.command()
@rollout_argument()
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@pass_context
def rm_command(context: Context, rollout: str, yes: bool, as_json: bool) -> None:
    """Delete the files of a rollout that has ended. It cannot be resumed then.

    Its log, its marks and what was exported stay.

    \b
    Example:
      apollo-tui rm noisy-filter --yes
    """
    row = context.find(rollout)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("without a terminal to ask at, rm needs --yes")
        lost = ", and it cannot be resumed then" if row.state == "stopped" else ""
        click.confirm(
            f"Delete all files of {row.name} ({row.state})? Its log and marks stay{lost}.",
            abort=True,
        )
    told = context.ask(lambda client: client.remove_files(row.id))
    if as_json:
        print_json(told)
    else:
        click.echo(f"the files of {row.name} are removed, {size(told['bytes'])}; its log stays")


# --- keeping -----------------------------------------------------------------------------------------


@click.command()
@rollout_argument()
@click.argument("file", type=click.Path(path_type=Path))
@as_json
@pass_context
def archive_command(context: Context, rollout: str, file: Path, as_json: bool) -> None:
    """Write a rollout that has ended into one file: its workspace, and what the log says of it.

    FILE is a tar, compressed with zstd. Links are kept as links. Nothing is removed.

    \b
    Example:
      apollo-tui archive noisy-filter noisy-filter.tar.zst
    """
    from apollo_tui.core.archive import archive

    with context.history() as history:
        row = history.find(rollout)
        if row.state in FINAL_STATES and any(history.payloads(row.id, ["files_removed"])):
            click.echo(f"{row.name} has no files any more; only its log is archived", err=True)
        sandbox = [kind for _, kind, _ in history.payloads(row.id, _SANDBOX_EVENTS)]
        if sandbox[-1:] == ["sandbox_ready"]:
            click.echo(f"jobs that {row.name} left running may still write", err=True)
        told = archive(history, row, context.home.rollout(row.id), file.absolute())
    if as_json:
        print_json(
            {
                "file": str(file),
                "bytes": told.bytes,
                "files": told.files,
                "events": told.events,
                "left_out": dict(told.left_out),
            }
        )
        return
    click.echo(f"{_files(told.files)} and {told.events:,} events in {file}, {size(told.bytes)}")
    _say_left_out(told.left_out)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@as_json
@pass_context
def backup_command(context: Context, file: Path, as_json: bool) -> None:
    """Copy the log into a new file, checked, while the core goes on writing.

    It holds every rollout's history and all marks, but no workspaces, settings or keys. To go back to
    it, end the core, move apollo.db with its -wal and -shm away, and put the copy in its place.

    \b
    Example:
      apollo-tui backup /mnt/disk/apollo-monday.db
    """
    from apollo_tui.log.backup import backup

    count = backup(context.home.database, file.absolute())
    if as_json:
        print_json({"file": str(file), "bytes": count})
    else:
        click.echo(f"the log is copied to {file}, {size(count)}, and the copy is sound")


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"


def _say_left_out(left_out: Mapping[str, int]) -> None:
    if left_out:
        said = ", ".join(f"{count:,} {what}" for what, count in sorted(left_out.items()))
        click.echo(f"left out: {said}", err=True)
