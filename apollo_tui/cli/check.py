"""Checks: verify, tasks, doctor; and shell completion."""

from __future__ import annotations

import asyncio
import platform
import shutil
import sys

import click

from apollo_tui import __version__
from apollo_tui.cli.context import Context, as_json, pass_context, print_json, table
from apollo_tui.errors import ApolloError, UsageError


@click.command()
@as_json
@pass_context
def verify_command(context: Context, as_json: bool) -> int:
    """Check that the log is sound.

    What is derived from the events is made anew and compared, and every text is read.

    \b
    Example:
      apollo-tui verify
    """
    from apollo_tui.log.verify import verify

    there = context.home.database.exists()
    faults = verify(context.home.database) if there else []
    if as_json:
        print_json({"log": str(context.home.database), "exists": there, "faults": faults})
    elif faults:
        click.echo("\n".join(faults))
    else:
        click.echo(f"{context.home.database}: {'sound' if there else 'no log yet'}")
    return 1 if faults else 0


@click.group(name="tasks", invoke_without_command=True)
@as_json
@click.pass_context
def tasks_command(click_context: click.Context, as_json: bool) -> None:
    """List the bundled tasks; check a task's files.

    \b
    Example:
      apollo-tui tasks
      apollo-tui tasks check ./my-task
    """
    if click_context.invoked_subcommand is None:
        _list_tasks(as_json)


@tasks_command.command()
@click.argument("tasks", nargs=-1, required=True, metavar="TASK...")
def check(tasks: tuple[str, ...]) -> int:
    """Say what is wrong with tasks: their task.toml, and the files it names.

    \b
    Example:
      apollo-tui tasks check ./my-task
    """
    from apollo_tui.tasks import faults_of, load_task

    found = 0
    for given in tasks:
        try:
            faults = faults_of(load_task(given))
        except ApolloError as error:  # the next task is looked at all the same
            faults = [error.line]
        found += len(faults)
        click.echo("\n".join(faults or [f"{given}: sound"]))
    return 1 if found else 0


def _list_tasks(as_json: bool) -> None:
    from apollo_tui.tasks import bundled_tasks

    found = bundled_tasks()
    if as_json:
        print_json(
            [
                {
                    "name": task.name,
                    "category": task.category,
                    "path": task.source,
                    "time_limit": task.time_limit,
                }
                for task in found
            ]
        )
        return
    head = ["name", "category", "minutes", "title"]
    rows = [
        [task.name, task.category, f"{(task.time_limit or 0) / 60:.0f}", task.title]
        for task in found
    ]
    table([head, *rows], right=frozenset({2}))


@click.command()
@as_json
@pass_context
def doctor_command(context: Context, as_json: bool) -> int:
    """Say what works here, and what to do about the rest.

    \b
    Example:
      apollo-tui doctor
    """
    facts = _facts(context)
    if as_json:
        print_json([{"what": what, "fine": fine, "said": said} for what, fine, said in facts])
    else:
        for what, fine, said in facts:
            mark = {
                True: click.style("✓", fg="green"),
                False: click.style("▲", fg="red"),
                None: click.style("○", fg="yellow"),
            }[fine]
            click.echo(f"{mark} {what.ljust(12)}  {said}")
    return 0 if all(fine is not False for _, fine, _ in facts) else 1


def _facts(context: Context) -> list[tuple[str, bool | None, str]]:
    """What, whether it is fine (None: could be better), and what there is to say."""
    facts: list[tuple[str, bool | None, str]] = [
        ("apollo-tui", True, __version__),
        ("Python", True, f"{platform.python_version()} at {sys.executable}"),
        _sqlite(),
    ]
    facts += [_home(context), _log(context)]
    facts += _sandboxes()
    facts += _models(context)
    columns, lines = shutil.get_terminal_size()
    roomy = columns >= 80 and lines >= 24
    facts.append(
        (
            "terminal",
            True if roomy else None,
            f"{columns}×{lines}" + ("" if roomy else "; 80×24 shows more"),
        )
    )
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    facts.append(
        ("encoding", True if utf8 else None, "UTF-8" if utf8 else "not UTF-8: glyphs become ASCII")
    )
    return facts


def _sqlite() -> tuple[str, bool | None, str]:
    from apollo_tui.log.schema import NEEDS_SQLITE, SQLITE_VERSION

    fine = SQLITE_VERSION >= NEEDS_SQLITE
    needed = "" if fine else f"; the log needs {_dotted(NEEDS_SQLITE)}, take a newer Python"
    return "SQLite", fine, f"{_dotted(SQLITE_VERSION)}{needed}"


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _home(context: Context) -> tuple[str, bool | None, str]:
    from apollo_tui.paths import file_system_of

    try:
        context.home.prepare()
    except ApolloError as error:
        return "home", False, error.line
    return "home", True, f"{context.home.path} ({file_system_of(context.home.path)})"


def _log(context: Context) -> tuple[str, bool | None, str]:
    """Whether the log can be read; apollo-tui verify looks at all of it."""
    try:
        with context.history() as history:
            rollouts = len(history.rollouts())
    except ApolloError as error:
        return "log", False, error.line
    return "log", True, f"{rollouts} rollout{'' if rollouts == 1 else 's'}"


def _sandboxes() -> list[tuple[str, bool | None, str]]:
    from apollo_tui.sandbox import Kind
    from apollo_tui.sandbox.choose import probe

    kinds: tuple[Kind, ...] = ("docker", "bubblewrap")
    why_not = {kind: probe(kind) for kind in kinds}
    found: list[tuple[str, bool | None, str]] = [
        (kind, True if why is None else None, why or "isolates") for kind, why in why_not.items()
    ]
    if all(why_not.values()):
        found.append(
            ("isolation", False, "neither runs here; only the demo and --unisolated can run")
        )
    return found


def _models(context: Context) -> list[tuple[str, bool | None, str]]:
    from apollo_tui.config import load
    from apollo_tui.models.choose import choose_model

    try:
        config = load(context.home)
    except ApolloError as error:
        return [("config", False, error.line)]
    if not config.models:
        return [("models", None, "none configured; apollo-tui config init shows how")]

    async def check(name: str) -> tuple[str, bool | None, str]:
        model = choose_model(name, config, context.home)
        try:
            await model.check()
        except ApolloError as error:
            return f"model {name}", None, error.line
        finally:
            await model.close()
        return f"model {name}", True, "a key is there and somebody answers"

    async def check_all() -> list[tuple[str, bool | None, str]]:
        return list(await asyncio.gather(*(check(name) for name in config.models)))

    return asyncio.run(check_all())


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Example:
      eval "$(apollo-tui completion bash)"
    """
    from click.shell_completion import get_completion_class

    from apollo_tui.cli.program import program

    found = get_completion_class(shell)
    if found is None:
        raise UsageError(f"there is no completion for {shell}")
    click.echo(found(program, {}, "apollo-tui", "_APOLLO_TUI_COMPLETE").source())
