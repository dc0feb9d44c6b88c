"""From what a person wrote after --model to a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from apollo_tui.config import Config, ModelConfig, get_key
from apollo_tui.errors import UnknownName
from apollo_tui.models import Model
from apollo_tui.paths import Home


def choose_model(
    written: str, config: Config, home: Home, *, environ: Mapping[str, str] | None = None
) -> Model:
    """A configured name · anthropic:NAME[@URL] · openai:NAME[@URL] · scripted:FILE.

    Raises UnknownName or ConfigError. Nothing is asked of the API yet: see `Model.check`.
    """
    if written in config.models:
        return _configured(written, config.models[written], home, environ)
    api, _, rest = written.partition(":")
    if api == "scripted" and rest:
        from apollo_tui.models.scripted import ScriptedModel

        return ScriptedModel(written, Path(rest).expanduser())
    if api in ("anthropic", "openai") and rest:
        name, _, base_url = rest.partition("@")
        settings = ModelConfig.model_validate(
            {"api": api, "model": name, "base_url": base_url or None}
        )
        return _configured(written, settings, home, environ)
    known = ", ".join(config.models) or "none is configured"
    raise UnknownName(
        f"there is no model {written!r} (configured: {known}); write a configured name, "
        "anthropic:NAME, openai:NAME[@BASE_URL] or scripted:FILE"
    )


def _configured(
    name: str, settings: ModelConfig, home: Home, environ: Mapping[str, str] | None
) -> Model:
    from apollo_tui.models.prices import Price, price_of

    price = price_of(settings.model)
    if settings.price is not None:
        price = Price(
            input=settings.price.input, output=settings.price.output, cached=settings.price.cached
        )

    def key() -> str | None:
        found = get_key(home, name, os.environ if environ is None else environ)
        return found or get_key(home, settings.api, os.environ if environ is None else environ)

    build: Callable[..., Model]
    if settings.api == "anthropic":
        from apollo_tui.models.anthropic import AnthropicModel as build
    else:
        from apollo_tui.models.openai import OpenAIModel as build
    return build(
        name,
        settings.model,
        base_url=settings.base_url,
        key=key,
        max_tokens=settings.max_tokens,
        sampling=settings.sampling,
        extra_body=settings.extra_body,
        price=price,
    )
