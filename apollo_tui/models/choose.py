"""From what a person wrote after --model to a model."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from apollo_tui.config import Config, ModelSettings
from apollo_tui.errors import UnknownName, UsageError
from apollo_tui.models import Model
from apollo_tui.models.endpoint import OFFICIAL, Endpoint
from apollo_tui.paths import Home

_FORMS = "a configured name, anthropic:NAME, openai:NAME[@BASE_URL] or scripted:FILE"

_BARE_ADDRESS = re.compile(r".@(localhost\b|[\w.-]+:\d+|[\w-]+(\.[\w-]+)+(/|$))")


def choose_model(
    written: str, config: Config, home: Home, *, environ: Mapping[str, str] | None = None
) -> Model:
    """A configured name · anthropic:NAME[@URL] · openai:NAME[@URL] · scripted:FILE.

    Nothing is asked of an API yet: see `Model.check`. Raises UnknownName; UsageError for an address
    that is none; ConfigError for a scripted model's file that is missing or broken.
    """
    env = os.environ if environ is None else environ
    if settings := config.models.get(written):
        return _adapter(Endpoint(written, written, settings, home, env))
    api, _, rest = written.partition(":")
    if api == "scripted" and rest:
        from apollo_tui.models.scripted import ScriptedModel

        return ScriptedModel(written, Path(rest).expanduser())
    if api in OFFICIAL and rest:
        return _adapter(Endpoint(written, api, _settings(api, rest), home, env))
    raise UnknownName(_unknown(written, config))


def _adapter(endpoint: Endpoint) -> Model:
    """The SDKs are slow to import and heavy, so only the one that is needed is."""
    if endpoint.settings.api == "anthropic":
        from apollo_tui.models.anthropic import AnthropicModel

        return AnthropicModel(endpoint)
    from apollo_tui.models.openai import OpenAIModel

    return OpenAIModel(endpoint)


def _settings(api: str, rest: str) -> ModelSettings:
    """NAME or NAME@BASE_URL, where NAME may itself contain an @. Raises UsageError."""
    named = re.fullmatch(r"(?s)(?P<model>.+?)(@(?P<base_url>https?://.*))?", rest)
    assert named is not None, "any text of at least one character matches"
    if named["base_url"] is None and _BARE_ADDRESS.search(rest):
        raise UsageError(f"--model {api}:…@…: write the address with http:// or https://")
    try:
        return ModelSettings.model_validate({"api": api, **named.groupdict()})
    except ValidationError as error:
        why = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"the address in --model {api}:…@… {why}") from None


def _unknown(written: str, config: Config) -> str:
    names = ", ".join(config.models) or "none"
    near = difflib.get_close_matches(written, config.models, n=1)
    hint = f", did you mean {near[0]}?" if near else ""
    return f"there is no model {written!r}{hint} (configured: {names}); write {_FORMS}"
