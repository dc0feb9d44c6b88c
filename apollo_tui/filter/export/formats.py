"""The table of formats: each name with what makes it. Each is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apollo_tui.errors import UsageError
from apollo_tui.filter.export import Format


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """What a form is made for: a model's folder with tokenizer and template, or another template;
    `max_length` is in tokens."""

    tokenizer: Path | None = None
    template: Path | None = None
    max_length: int | None = None

    @property
    def template_path(self) -> Path | None:
        return self.template or self.tokenizer

    def facts(self) -> dict[str, Any]:
        """The names of what was given, without where it lies on this machine."""
        named = {
            "tokenizer": self.tokenizer and self.tokenizer.absolute().name,
            "template": self.template and self.template.absolute().name,
            "max_length": self.max_length,
        }
        return {name: value for name, value in named.items() if value is not None}


def make_format(name: str, options: FormatOptions) -> Format:
    """Raises UsageError when the form lacks something or takes no such option; ExportError when a
    tokenizer or template cannot be read."""
    if options.max_length is not None and name != "tokens":
        raise UsageError("--max-length counts tokens: it goes with --format tokens")
    if options.template_path is not None and name not in ("chat", "tokens"):
        raise UsageError(
            f"{name} is the same for every template; leave out --tokenizer, --template"
        )
    return FORMATS[name](options)


def _chat(options: FormatOptions) -> Format:
    from apollo_tui.filter.export.chat import Chat

    if options.template_path is None:
        return Chat()
    from apollo_tui.filter.template import load_template

    return Chat(load_template(options.template_path, options.tokenizer))


def _turns(_: FormatOptions) -> Format:
    from apollo_tui.filter.export.turns import Turns

    return Turns()


def _tokens(options: FormatOptions) -> Format:
    if options.tokenizer is None or options.template_path is None:
        raise UsageError("tokens are a tokenizer's: add --tokenizer DIR, a model's folder")
    from apollo_tui.filter.export.tokens import Tokens
    from apollo_tui.filter.template import load_template
    from apollo_tui.filter.tokenizer import load_tokenizer

    return Tokens(
        load_tokenizer(options.tokenizer),
        load_template(options.template_path, options.tokenizer),
        max_length=options.max_length,
    )


def _preferences(_: FormatOptions) -> Format:
    from apollo_tui.filter.export.preferences import Preferences

    return Preferences()


def _atif(_: FormatOptions) -> Format:
    from apollo_tui.filter.export.atif import Atif

    return Atif()


def _inspect(_: FormatOptions) -> Format:
    from apollo_tui.filter.export.inspect_log import Inspect

    return Inspect()


FORMATS: Mapping[str, Callable[[FormatOptions], Format]] = {
    "chat": _chat,
    "turns": _turns,
    "tokens": _tokens,
    "preferences": _preferences,
    "atif": _atif,
    "inspect": _inspect,
}
