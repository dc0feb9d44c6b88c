"""The program: its global options, its commands (imported when they are called), its errors."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Any

import click

from apollo_tui import __version__
from apollo_tui.cli.context import Context
from apollo_tui.errors import ApolloError
from apollo_tui.paths import find_home

COMMANDS = {
    "demo": "run",
    "run": "run",
    "wait": "run",
    "ls": "look",
    "show": "look",
    "log": "look",
    "pause": "steer",
    "resume": "steer",
    "stop": "steer",
    "advise": "steer",
    "unadvise": "steer",
    "mark": "mark",
    "unmark": "mark",
    "marks": "mark_files",
    "filter": "filtering",
    "import": "importing",
    "export": "exporting",
    "why": "why",
    "path": "housekeeping",
    "cp": "housekeeping",
    "du": "housekeeping",
    "gc": "housekeeping",
    "archive": "housekeeping",
    "rm": "housekeeping",
    "backup": "housekeeping",
    "config": "settings",
    "auth": "settings",
    "core": "core",
    "verify": "check",
    "tasks": "check",
    "doctor": "check",
    "completion": "check",
}
"""Each command and the module of this folder that holds it."""


class LazyGroup(click.Group):
    """Imports a command's module only when the command is called, or help lists it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        found = getattr(importlib.import_module(f"apollo_tui.cli.{module}"), f"{cmd_name}_command")
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f" Did you mean {near[0]}?" if near else " See: apollo-tui --help"
            raise click.UsageError(f"there is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="apollo-tui")
@click.option("--home", metavar="DIR", help="The home to use (default: $APOLLO_HOME).")
@click.option("--as", "annotator", metavar="NAME", help="Who you are: marks and advice carry it.")
@click.pass_context
def program(click_context: click.Context, home: str | None, annotator: str | None) -> int | None:
    """Supervise long agent rollouts: watch, pause, advise, mark.

    Without a command it opens the console, and starts the core if none runs.

    \b
    Example:
      apollo-tui demo
      apollo-tui ls --json
    """
    context = Context(find_home(home), annotator)
    click_context.obj = context
    if click_context.invoked_subcommand is None:
        return context.open_console()
    return None


def run(args: list[str] | None = None) -> int:
    """Run the program; returns its exit code: 0 done, 1 failed (said in one line), 2 wrong use."""
    try:
        result = program.main(args, prog_name="apollo-tui", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.UsageError as error:
        return _say(error.format_message(), 2, error)
    except click.Abort:
        return _say("stopped", 130)
    except click.ClickException as error:
        return _say(error.format_message(), error.exit_code, error)
    except ApolloError as error:
        return _say(error.line, error.exit_code, error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads; say nothing more at exit
        return 141
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        return _say(f"{why}; APOLLO_TRACEBACK=1 shows where, core.log may say more", 1, error)
    return result if isinstance(result, int) else 0


def _say(line: str, code: int, error: Any = None) -> int:
    if error is not None and os.environ.get("APOLLO_TRACEBACK"):
        traceback.print_exception(error)
    click.echo(f"apollo-tui: {' '.join(line.split())}", err=True)
    return code
