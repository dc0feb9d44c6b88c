"""From `config.toml` to settings, or one line that names what is wrong and where."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from apollo_tui.config.settings import Config, Settings, table_in
from apollo_tui.errors import ConfigError
from apollo_tui.paths import Home

Loc = Sequence[int | str]


def load(home: Home) -> Config:
    """The settings of a home; the defaults when it has no config.toml.

    Raises ConfigError with file, line and setting, for every setting that is wrong.
    """
    path = home.config
    text, values = read_toml(path)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        complaints = [_complaint(details, text) for details in error.errors()]
        raise ConfigError(f"{path.name} {'; '.join(complaints)} ({path})") from None
    _check_roles(config, text, path)
    return config


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """A file's text and values, both empty when there is no file. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return "", {}
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read {path}: {why}") from error
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path.name} {_where_broken(str(error), text)} ({path})") from None


def _where_broken(said: str, text: str) -> str:
    """tomllib tells the line at the end of its message; ours begin with it."""
    what = re.sub(r" \(at .*\)$", "", said)
    found = re.search(r"\(at line (\d+)", said)
    line = int(found[1]) if found else max(1, len(text.splitlines()))
    return f"line {line}: {what[:1].lower()}{what[1:]}"


def _check_roles(config: Config, text: str, path: Path) -> None:
    for role, name in config.roles:
        if name is None or name == "same" or name in config.models or ":" in name:
            continue
        raise ConfigError(
            f"{path.name} line {line_of(text, ('roles', role))}: roles.{role} must name a model "
            f"of [models], is {name!r}{_nearest(name, config.models)} ({path})"
        )


def _complaint(details: ErrorDetails, text: str) -> str:
    loc = [part for part in details["loc"] if part != "[key]"]
    setting, line = ".".join(map(str, loc)), f"line {line_of(text, loc)}:"
    match details["type"]:
        case "extra_forbidden" if re.search(r"(^|_)(key|token)$", str(loc[-1])):
            return f"{line} keys do not belong in this file ({setting}); use: apollo-tui auth set"
        case "extra_forbidden":
            near = _nearest(str(loc[-1]), _known(loc[:-1]))
            return f"{line} unknown setting {setting}{near}"
        case "missing":
            return f"{line} {setting} is missing"
        case _:
            return f"{line} {setting} {_in_our_words(details['msg'])}, is {_shown(details)}"


def _in_our_words(said: str) -> str:
    said = said.removeprefix("Value error, ").replace("Input should", "must")
    said = re.sub(r"String should (have|match)", r"must \1", said)
    said = said.replace("a valid integer", "an integer").replace("a valid", "a")
    said = re.sub(r"a dictionary.*", "a table", said)
    return said.replace("a tuple", "a list").replace("a string", "a text in quotes")


def _shown(details: ErrorDetails) -> str:
    value = details["input"]
    if details["loc"][-1] in ("base_url", "search_url") and re.search(r"[@?#]", str(value)):
        return "one that may hold a key"
    shown = "true" if value is True else "false" if value is False else repr(value)
    return shown if len(shown) <= 60 else f"{shown[:59]}…"


def _known(loc: Loc) -> Iterable[str]:
    """The names of the settings in the table at `loc`."""
    table: type[Settings] = Config
    parts = iter(loc)
    for part in parts:
        annotation = table.model_fields[str(part)].annotation
        if get_origin(annotation) is dict:
            next(parts, None)
        table = table_in(annotation) or table
    return table.model_fields


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def line_of(text: str, loc: Loc) -> int:
    """The line (from 1) where the statement begins that sets `loc`, or its nearest existing table.

    tomllib keeps no positions, but a text parses up to exactly the end of each of its statements.
    """
    lines = text.splitlines()
    deepest, line, statement = 0, 1, 1
    for end in range(1, len(lines) + 1):
        try:
            values = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue
        if (depth := _depth(values, loc)) > deepest:
            deepest, line = depth, statement
        statement = end + 1
    return line


def _depth(values: Any, loc: Loc) -> int:
    """How many parts of `loc` exist in `values`."""
    for depth, part in enumerate(loc):
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return depth
    return len(loc)
