"""Where a row of an export comes from."""

from __future__ import annotations

from typing import Any

import click

from apollo_tui.cli.context import Context, as_json, iso, local, pass_context, print_json, table
from apollo_tui.filter.export.origin import ActionOrigin, Origin, find_origin, row_at, said_of


@click.command()
@click.argument("place", metavar="FILE:LINE")
@as_json
@pass_context
def why_command(context: Context, place: str, as_json: bool) -> None:
    """Where a row of an export comes from, and who decided on each of its actions.

    \b
    Example:
      apollo-tui why noisy-chat/chat.jsonl:3
    """
    path, meta = row_at(place)
    with context.history() as history:
        origin = find_origin(history, path, meta)
    first = next(iter(meta.steps), None)
    opens = f"apollo-tui log {origin.name} --prompt {first}" if first is not None else ""
    if as_json:
        print_json(_origin(origin, opens))
        return
    steps = f", steps {meta.steps[0]}–{meta.steps[-1]}" if meta.steps else ""
    click.echo(f"{origin.name} ({meta.rollout}), segment {meta.segment}{steps}")
    click.echo(f"filter run {meta.filter_run}")
    rows = [["action", "", "tool", "when", "who decided, and why"]]
    rows += [
        [
            f"{one.action.step}.{one.action.ordinal}",
            "trained" if one.trained else "masked",
            one.action.tool,
            local(one.at),
            said_of(one.verdict) + (f"; {one.note}" if one.note else ""),
        ]
        for one in origin.actions
    ]
    table(rows)
    if opens:
        click.echo(f"\nits first prompt: {opens}")


def _origin(origin: Origin, opens: str) -> dict[str, Any]:
    return {
        "rollout": origin.meta.rollout,
        "name": origin.name,
        "segment": origin.meta.segment,
        "steps": list(origin.meta.steps),
        "filter_run": origin.meta.filter_run,
        "open": opens,
        "actions": [_action(one) for one in origin.actions],
    }


def _action(one: ActionOrigin) -> dict[str, Any]:
    return {
        "step": one.action.step,
        "ordinal": one.action.ordinal,
        "tool": one.action.tool,
        "arguments": one.action.arguments,
        "trained": one.trained,
        "verdict": "keep" if one.verdict.keep else "mask",
        "decided_by": one.verdict.by,
        "rule": one.verdict.rule,
        "why": one.verdict.why,
        "at": iso(one.at),
        "note": one.note,
    }
