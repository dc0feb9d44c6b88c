"""API keys: `keys.toml` (0600) or the environment; never flags, never a log, never a message."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path

from apollo_tui.config.read import read_toml
from apollo_tui.config.template import to_toml, to_toml_key
from apollo_tui.errors import ConfigError, UsageError
from apollo_tui.paths import Home

ENVIRONMENT = {
    "anthropic": "ANTHROPIC_API_KEY",
    "openai": "OPENAI_API_KEY",
    "serper": "SERPER_API_KEY",
    "bing": "BING_SEARCH_API_KEY",
}

_HEAD = "# API keys of apollo-tui, by model, API or search engine. Written by: apollo-tui auth set NAME\n"


def get_key(
    home: Home, name: str, environ: Mapping[str, str], *, api: str | None = None
) -> str | None:
    """The key of a configured model or an API, read anew: keys.toml under `name`, then under
    `api`, then the API's environment variable; None when there is none.

    Raises ConfigError when keys.toml is broken or others can read it.
    """
    keys = _read(home.keys)
    apis = (api or name,)
    for candidate in (name, *apis):
        if candidate in keys:
            return keys[candidate]
    variable = ENVIRONMENT.get(apis[0], "")
    found = environ.get(variable, "").strip()
    return _usable(found, f"the environment's {variable}") if found else None


def key_names(home: Home) -> list[str]:
    """The names that have a key in keys.toml. Raises ConfigError as `get_key` does."""
    return sorted(_read(home.keys))


def set_key(home: Home, name: str, value: str) -> None:
    """Store a key under the name of a configured model or of an API. Raises UsageError for a key
    that no API can have, ConfigError when the present file is broken."""
    value = value.strip()
    if not name or not value:
        raise UsageError("a key needs a name and must not be empty")
    try:
        _usable(value, "the key")
    except ConfigError as error:
        raise UsageError(str(error)) from None
    home.prepare()
    folder = os.open(home.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        keys = _read(home.keys) | {name: value}
        lines = [f"{to_toml_key(key)} = {to_toml(keys[key])}\n" for key in sorted(keys)]
        _replace(home.keys, _HEAD + "".join(lines))
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> dict[str, str]:
    _refuse_shared(path)
    _, values = read_toml(path)
    for name, value in values.items():
        if not isinstance(value, str):
            raise ConfigError(
                f'{path.name}: {name} must be a text in quotes, {name} = "…" ({path})'
            )
        _usable(value.strip(), f"the key {name!r} of {path}")
    return {name: value.strip() for name, value in values.items()}


def _refuse_shared(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    if mode & 0o077:
        raise ConfigError(f"others can read the keys in {path}; run: chmod 600 {path}")


def _usable(key: str, whose: str) -> str:
    """HTTP headers take visible ASCII only, and their errors would show the key."""
    if not key or not all("!" <= letter <= "~" for letter in key):
        raise ConfigError(
            f"{whose} has characters that no key has (spaces, line breaks, accents); set it again "
            "with: apollo-tui auth set NAME"
        )
    return key


def _replace(path: Path, text: str) -> None:
    """Write a file that nobody else can read at any moment, whole or not at all."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
