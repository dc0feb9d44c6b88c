"""The options that make a filter's configuration, shared by `filter` and `export`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from apollo_tui.cli.context import Context
from apollo_tui.cli.run import absolute_model
from apollo_tui.config import load
from apollo_tui.errors import UsageError
from apollo_tui.filter.rules import OPTIONAL_RULES, RULES
from apollo_tui.filter.run import FilterSettings

F = TypeVar("F", bound=Callable[..., Any])

CONFIGURED = "configured"
"""What --judge takes for the model that config.toml names."""

_OPTIONS = (
    click.option(
        "--judge",
        metavar="MODEL",
        help=f'The model that judges; "{CONFIGURED}": roles.judge of config.toml. Default: none.',
    ),
    click.option(
        "--propagate", is_flag=True, help="Also mask what follows a rejected action, unasked."
    ),
    click.option("--include-hinted", is_flag=True, help="Let steps asked for with a hint train."),
    click.option("--include-rewritten", is_flag=True, help="Let what a person wrote train."),
    click.option(
        "--rules-off",
        metavar="RULE,…",
        multiple=True,
        help=f"Rules not to ask, of: {', '.join(RULES)}.",
    ),
    click.option(
        "--rule-on",
        metavar="RULE,…",
        multiple=True,
        help=f"Optional rules to ask as well: {', '.join(OPTIONAL_RULES)}.",
    ),
    click.option("--min-score", type=float, help="Only rollouts that scored at least this."),
    click.option(
        "--min-gain", type=float, help="Only those that gained so much over the baseline."
    ),
    click.option(
        "--baseline", type=float, help="A score to gain over (default: the parent's at the fork)."
    ),
    click.option("--tag", "gate_tags", multiple=True, help="Only rollouts with one of these tags."),
)
_NAMES = frozenset(
    [
        "judge",
        "propagate",
        "include_hinted",
        "include_rewritten",
        "rules_off",
        "rule_on",
        "min_score",
        "min_gain",
        "baseline",
        "gate_tags",
    ]
)


def filter_options(command: F) -> F:
    """Add the options to a command; it gets them as keywords, for `filter_settings`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def any_given(options: Mapping[str, Any]) -> bool:
    """Whether the person wrote any of them."""
    return any(options[name] not in (None, False, ()) for name in _NAMES)


def filter_settings(context: Context, options: Mapping[str, Any]) -> FilterSettings:
    """The configuration that the options make. Raises UsageError or ConfigError."""
    try:
        return FilterSettings.model_validate(
            {
                "rules": {
                    "off": _names(options["rules_off"]),
                    "on": _names(options["rule_on"]),
                    "propagate": options["propagate"],
                    "include_hinted": options["include_hinted"],
                    "include_rewritten": options["include_rewritten"],
                },
                "judge": _judge(context, options["judge"]),
                "gate": {
                    "min_score": options["min_score"],
                    "min_gain": options["min_gain"],
                    "baseline": options["baseline"],
                    "tags": tuple(options["gate_tags"]),
                },
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{first['loc'][-1]}: " if first["loc"] else ""
        raise UsageError(where + first["msg"].removeprefix("Value error, ")) from error


def _judge(context: Context, given: str | None) -> str | None:
    if given is None:
        return None
    if given != CONFIGURED:
        return absolute_model(given)
    configured = load(context.home).roles.judge
    if configured is None:
        raise UsageError(
            "no judge is configured: set judge under [roles] in config.toml, or write --judge MODEL"
        )
    return configured


def _names(given: tuple[str, ...]) -> tuple[str, ...]:
    """Names that may be repeated, and joined by commas."""
    return tuple(name.strip() for one in given for name in one.split(",") if name.strip())
