"""The commented config.toml that `apollo-tui config init` writes."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic.fields import FieldInfo

from apollo_tui.config.settings import Config, table_in

_HEAD = """\
# Settings of apollo-tui. Those that begin with # are not set: most show their default, some an
# example. Take the # away from what you change. Keys do not belong here: apollo-tui auth set NAME
"""


def template() -> str:
    """All settings with what they mean, each commented out as "#name = value"."""
    fields = Config.model_fields
    blocks = [_HEAD]
    blocks += [_setting(name, field) for name, field in fields.items() if not _table(field)]
    for name, field in fields.items():
        if table := _table(field):
            header = ".".join([name, *(field.examples or [])])
            settings = "".join(_setting(*item) for item in table.model_fields.items())
            blocks.append(f"# {field.description}\n#[{header}]\n{settings}")
    return "\n".join(blocks)


def _table(field: FieldInfo) -> Any:
    return table_in(field.annotation)


def _setting(name: str, field: FieldInfo) -> str:
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    value = field.examples[0] if field.examples and not default else default
    return f"#{name} = {to_toml(value)}   # {field.description}\n"


def to_toml(value: Any) -> str:
    """A value as TOML writes it, tables inline."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case dict():
            pairs = (f"{to_toml_key(name)} = {to_toml(item)}" for name, item in value.items())
            return f"{{ {', '.join(pairs)} }}"
        case list() | tuple():
            return f"[{', '.join(map(to_toml, value))}]"
        case _:
            # JSON leaves DEL as it is, which TOML forbids.
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def to_toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else to_toml(name)
