"""Settings: $APOLLO_HOME/config.toml, and the keys beside it.

Every setting has a default, a type and a one-line meaning; the commented file that `config init`
writes is made from them. A wrong setting is named with its line.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from apollo_tui.errors import ConfigError, UsageError
from apollo_tui.paths import Home

KEY_VARIABLES = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class PriceConfig(_Section):
    input: float = Field(description="$ per million prompt tokens", ge=0)
    output: float = Field(description="$ per million tokens of replies", ge=0)
    cached: float | None = Field(None, description="$ per million cached prompt tokens", ge=0)


class ModelConfig(_Section):
    api: Literal["openai", "anthropic"] = Field(description="openai (chat completions) | anthropic")
    model: str = Field(description="the name the API knows", min_length=1)
    base_url: str | None = Field(None, description="where the API is; unset: the provider's own")
    context: int | None = Field(None, description="tokens that fit its window", gt=0)
    concurrency: int | None = Field(None, description="calls at once, shared by all rollouts", gt=0)
    max_tokens: int | None = Field(None, description="tokens of one reply at most", gt=0)
    price: PriceConfig | None = Field(None, description="$ per million tokens; unset: see prices")
    sampling: dict[str, Any] = Field({}, description="sent with each request: temperature …")
    extra_body: dict[str, Any] = Field({}, description="what else the API wants in the request")


class RolesConfig(_Section):
    summary: str = Field("same", description="the model that summarises; same: the rollout's own")
    judge: str | None = Field(None, description="the model that judges actions")
    ask: str | None = Field(None, description="the model that answers your questions")


class NotifyConfig(_Section):
    command: str | None = Field(None, description="any program, run when nobody looks")
    on: tuple[str, ...] = Field(
        ("question", "stuck", "failed", "finished", "disk", "api"), description="for what"
    )


class GuardsConfig(_Section):
    pause_if: tuple[str, ...] = Field((), description="rules that pause a rollout by themselves")


class RetentionConfig(_Section):
    keep_workspaces: str = Field("30d", description="gc keeps ended workspaces so long")
    disk_warn: float = Field(0.85, description="share of the disk in use that warns", gt=0, le=1)
    disk_pause: float = Field(0.95, description="share that pauses rollouts", gt=0, le=1)


class SandboxConfig(_Section):
    image: str | None = Field(None, description="Docker image where a task names none")
    memory_gb: float = Field(4.0, description="memory of one sandbox", gt=0)
    processes: int = Field(512, description="processes of one sandbox", gt=0)


class Config(_Section):
    annotator: str | None = Field(None, description="who marks and advises; --as overrides")
    models: dict[str, ModelConfig] = Field({}, description="apollo-tui run … --model NAME")
    roles: RolesConfig = Field(RolesConfig(), description="which model does the side work")
    notify: NotifyConfig = Field(NotifyConfig(), description="the core tells you when nobody looks")
    guards: GuardsConfig = Field(GuardsConfig(), description="rules that act by themselves")
    retention: RetentionConfig = Field(RetentionConfig(), description="what is kept, and how long")
    sandbox: SandboxConfig = Field(SandboxConfig(), description="where actions run")


def load(home: Home) -> Config:
    """The configuration of a home; defaults when there is no file.

    Raises ConfigError naming the file, the line and the setting.
    """
    data, text = read_toml(home.config)
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_first_fault(home.config, text, error)) from error


def read_toml(path: Path) -> tuple[dict[str, Any], str]:
    """A TOML file's data and text; empty when there is none. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}, ""
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read {path}: {why}") from error
    try:
        return tomllib.loads(text), text
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error


def line_of(text: str, where: tuple[str | int, ...]) -> int | None:
    """The line of a setting in a TOML text, as well as a search for its table and name can tell."""
    names = [str(part) for part in where if isinstance(part, str)]
    lines = text.splitlines()
    for depth in range(len(names), 0, -1):
        table, name = ".".join(names[: depth - 1]), names[depth - 1]
        current = ""
        for number, line in enumerate(lines, 1):
            if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line):
                current = header.group(1).replace('"', "").replace("'", "")
                if current == ".".join(names[:depth]):
                    return number
            elif current == table and re.match(rf"\s*[\"']?{re.escape(name)}[\"']?\s*[=.]", line):
                return number
    return None


def _first_fault(path: Path, text: str, error: ValidationError) -> str:
    fault = error.errors()[0]
    where = fault["loc"]
    setting = ".".join(str(part) for part in where)
    line = line_of(text, where)
    place = f"{path} line {line}" if line else str(path)
    if fault["type"] == "extra_forbidden":
        near = _nearest(where)
        return f"{place}: there is no setting {setting}" + (
            f"; did you mean {near}?" if near else ""
        )
    if fault["type"] == "missing":
        return f"{place}: {setting} is missing"
    return f"{place}: {setting}: {fault['msg'].lower()}, is {fault['input']!r}"


def _nearest(where: tuple[str | int, ...]) -> str | None:
    section: Any = Config
    for part in where[:-1]:
        field = section.model_fields.get(str(part)) if hasattr(section, "model_fields") else None
        if field is None:
            break
        section = ModelConfig if part == "models" else field.annotation
    known = list(getattr(section, "model_fields", {})) or list(ModelConfig.model_fields)
    found = difflib.get_close_matches(str(where[-1]), known, 1)
    return found[0] if found else None


def template() -> str:
    """The commented file that `config init` writes. It loads, and changes nothing."""
    lines = [
        "# apollo-tui: every setting with its default. Remove the # before one to change it.",
        "",
    ]
    tables = []
    for name, field in Config.model_fields.items():
        if name == "models":
            tables += [f"# [models.glm]  {' ' * 20}# {field.description}"]
            tables += [
                _setting(n, "…" if f.is_required() else f.default, f.description)
                for n, f in ModelConfig.model_fields.items()
            ]
            tables.append("")
        elif isinstance(field.annotation, type) and issubclass(field.annotation, _Section):
            tables += [f"[{name}]  # {field.description}"]
            tables += [
                _setting(n, f.default, f.description)
                for n, f in field.annotation.model_fields.items()
            ]
            tables.append("")
        else:
            lines.append(_setting(name, field.default, field.description))
    return "\n".join([*lines, "", *tables])


def _setting(name: str, default: Any, meaning: str | None) -> str:
    return f"# {f'{name} = {_toml(default)}':<44} # {meaning or ''}"


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case None:
            return '""'
        case str():
            return f'"{value}"'
        case tuple() | list():
            return "[" + ", ".join(_toml(one) for one in value) + "]"
        case dict():
            return "{}"
    return str(value)


# --- keys --------------------------------------------------------------------------------------


def get_key(home: Home, name: str, environ: Mapping[str, str]) -> str | None:
    """The key of a configured model or an API: from keys.toml, else the environment."""
    found = _keys(home).get(name)
    if isinstance(found, str) and found:
        return found
    return environ.get(KEY_VARIABLES.get(name, "")) or None


def key_names(home: Home) -> list[str]:
    return sorted(_keys(home))


def set_key(home: Home, name: str, value: str) -> None:
    """Store a key: a new file of mode 0600 takes the old one's place."""
    if not re.fullmatch(r"[\w.:@/-]{1,200}", name):
        raise UsageError(
            f"{name!r} is no name for a key; use the model's name, anthropic or openai"
        )
    value = value.strip()
    if not value or not value.isprintable() or '"' in value or "\\" in value:
        raise UsageError("that is no key: it is empty, or has characters that no key has")
    keys = {**_keys(home), name: value}
    home.prepare()
    handle, temporary = tempfile.mkstemp(dir=home.path, prefix=".keys-")
    try:
        with os.fdopen(handle, "w") as file:
            file.writelines(f'"{one}" = "{keys[one]}"\n' for one in sorted(keys))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(home.keys)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _keys(home: Home) -> dict[str, Any]:
    data, _ = read_toml(home.keys)
    if data and stat.S_IMODE(home.keys.stat().st_mode) & 0o077:
        raise ConfigError(f"others can read {home.keys}; run: chmod 600 {home.keys}")
    return data
