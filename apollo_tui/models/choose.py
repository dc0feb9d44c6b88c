"""From what a person wrote after --model to a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from apollo_tui.config import Config, ModelSettings, get_key
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
        settings = ModelSettings.model_validate(
            {"api": api, "model": name, "base_url": base_url or None}
        )
        return _configured(written, settings, home, environ)
    known = ", ".join(config.models) or "none is configured"
    raise UnknownName(
        f"there is no model {written!r} (configured: {known}); write a configured name, "
        "anthropic:NAME, openai:NAME[@BASE_URL] or scripted:FILE"
    )


def _configured(
    name: str, settings: ModelSettings, home: Home, environ: Mapping[str, str] | None
) -> Model:
    from apollo_tui.models.prices import Price, price_of

    price = price_of(settings.model)
    if (set_price := settings.price) is not None and set_price.input is not None:
        price = Price(
            input=set_price.input,
            output=set_price.output or 0.0,
            cached=set_price.cached,
            cache_written=set_price.cache_written,
        )

    def key() -> str | None:
        return get_key(home, name, os.environ if environ is None else environ, api=settings.api)

    build: Callable[..., Model]
    if settings.api == "anthropic":
        from apollo_tui.models.anthropic import AnthropicModel

        build = AnthropicModel
    else:
        from apollo_tui.models.openai import OpenAIModel

        build = OpenAIModel
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
