"""Configuration and keys: config init|show|check, auth set|list|test."""

from __future__ import annotations

import asyncio
import os
import sys

import click

from apollo_tui.cli.context import Context, as_json, pass_context, print_json
from apollo_tui.errors import UsageError


@click.group(name="config")
def config_command() -> None:
    """The settings in config.toml.

    \b
    Example:
      apollo-tui config init
    """


@config_command.command()
@pass_context
def init(context: Context) -> None:
    """Write a commented config.toml with every setting and its default.

    \b
    Example:
      apollo-tui config init
    """
    from apollo_tui.config import template

    context.home.prepare()
    path = context.home.config
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(template())
    except FileExistsError as error:
        raise UsageError(f"{path} is there already; edit it") from error
    click.echo(str(path))


@config_command.command()
@as_json
@pass_context
def show(context: Context, as_json: bool) -> None:
    """Show the settings in force.

    \b
    Example:
      apollo-tui config show --json
    """
    from apollo_tui.config import load

    config = load(context.home)
    if as_json:
        click.echo(config.model_dump_json())
    else:
        click.echo(config.model_dump_json(indent=2))


@config_command.command()
@as_json
@pass_context
def check(context: Context, as_json: bool) -> None:
    """Check config.toml and keys.toml; a fault is named with its line.

    \b
    Example:
      apollo-tui config check
    """
    from apollo_tui.config import key_names, load

    config = load(context.home)
    keys = key_names(context.home)
    if as_json:
        there_is = str(context.home.config) if context.home.config.exists() else None
        print_json({"config": there_is, "models": list(config.models), "keys": list(keys)})
        return
    there = str(context.home.config) if context.home.config.exists() else "no config.toml, defaults"
    click.echo(f"{there}: fine, {len(config.models)} models, {len(keys)} keys")


@click.group(name="auth")
def auth_command() -> None:
    """Keys of the models' APIs. They never reach the log, a sandbox or an export.

    \b
    Example:
      apollo-tui auth set anthropic
    """


@auth_command.command(name="set")
@click.argument("name")
@pass_context
def set_(context: Context, name: str) -> None:
    """Store the key of a configured model, or of an API (anthropic, openai), or of a search
    engine (serper, bing).

    It is asked for, or read from standard input; never given as an argument.

    \b
    Example:
      apollo-tui auth set anthropic < key.txt
    """
    from apollo_tui.config import set_key

    if sys.stdin.isatty():
        value = click.prompt(f"key for {name}", hide_input=True, err=True)
    else:
        value = sys.stdin.read()
    set_key(context.home, name, value)
    click.echo(f"stored a key for {name}")


@auth_command.command(name="list")
@as_json
@pass_context
def list_(context: Context, as_json: bool) -> None:
    """List the names that have a key.

    \b
    Example:
      apollo-tui auth list
    """
    from apollo_tui.config import key_names

    names = key_names(context.home)
    if as_json:
        print_json(names)
    else:
        click.echo("\n".join(names) if names else "no keys; apollo-tui auth set NAME stores one")


@auth_command.command()
@click.argument("model")
@pass_context
def test(context: Context, model: str) -> None:
    """Ask a model for one word, with the key that is stored for it.

    \b
    Example:
      apollo-tui auth test anthropic:claude-sonnet-4-5
    """
    click.echo(asyncio.run(_one_word(context, model)))


async def _one_word(context: Context, written: str) -> str:
    from apollo_tui.cli.run import absolute_model
    from apollo_tui.config import load
    from apollo_tui.log.types import Prompt, UserMessage
    from apollo_tui.models import Reply, Request
    from apollo_tui.models.choose import choose_model

    model = choose_model(absolute_model(written), load(context.home), context.home)
    prompt = Prompt(messages=(UserMessage(text="Reply with the single word: ready"),))
    try:
        await model.check()
        async for part in model.stream(Request(prompt, purpose="ask")):
            if isinstance(part, Reply):
                said = part.message.text.strip()[:60] or "(no text)"
                return f"{part.served_model or written} answers: {said}"
    finally:
        await model.close()
    return f"{written} said nothing"
