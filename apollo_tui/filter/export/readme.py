"""The README of an export: what it holds, what it does not and why, and how to load it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from apollo_tui.filter.export.facts import Facts

_WHAT = {
    "chat": "One row for each segment: the messages that the model was sent, with `train`, `loss`, "
    "`weight` and `step_loss_mask` on each assistant message, which say the same.",
    "turns": "One row for each kept reply: `prompt` holds what it was sent, `completion` the reply. "
    "Only the completion trains.",
    "tokens": "One row for each stable piece of a segment: `input_ids`, and `labels` that are -100 "
    "wherever nothing trains.",
    "preferences": "Pairs of replies to one prompt: `chosen` is the better one. `meta.source` says "
    "whether a rewrite, a retry or a fork made the pair.",
    "atif": "One Agent Trajectory Interchange Format document for each rollout.",
    "inspect": "One Inspect log for each rollout.",
}
_LOADING = {
    "chat": '`datasets.load_dataset("json", data_files="{file}")`; a trainer must be told to honour one '
    "of the four flags, else it trains every reply.",
    "turns": '`datasets.load_dataset("json", data_files="{file}")`: a prompt-completion data set.',
    "tokens": '`datasets.load_dataset("json", data_files="{file}")`: tokenized already; set no '
    "`max_length` below the longest row.",
    "preferences": '`datasets.load_dataset("json", data_files="{file}")`: prompt, chosen and rejected.',
    "atif": "Each file is a document; `{file}` lists them with where they come from.",
    "inspect": "Each file is a log: `inspect_ai.log.read_eval_log`; `{file}` lists them with where they "
    "come from.",
}


def readme(facts: Facts, loading: str | None = None) -> str:
    """The README's text; `loading` is how the trainer it was made for loads it."""
    parts = [
        f"# {facts.format}" + (f" for {facts.trainer}" if facts.trainer else ""),
        _WHAT[facts.format],
        _table(_counts(facts)),
        _reasons("Masked, by whom or by which rule", facts.masked),
        _reasons("Left out", facts.left_out),
        _reasons("To know", facts.notes),
        _gated(facts),
        _choice(facts),
        "## How to load it\n\n" + (loading or _LOADING[facts.format].format(file=facts.rows_file)),
        _parquet(facts),
        "## Where it comes from\n\n"
        f"apollo-tui {facts.program}, filter run `{facts.filter_run}`, the log as of {facts.as_of}. "
        f"`apollo-tui why {facts.rows_file}:1` says of a row which rollout it is and who decided.",
        _as_json("The filter's configuration", facts.configuration),
        _as_json("Options", facts.options) if facts.options else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def kept_and_unread(facts: Facts) -> str:
    """The count that a reader should not miss."""
    return f"{facts.kept:,} kept, {facts.unread:,} of them nobody looked at"


def _counts(facts: Facts) -> list[tuple[str, str]]:
    sampled = f", a sample of {facts.rows_made:,}" if facts.sample is not None else ""
    return [
        ("rollouts", f"{facts.rollouts:,}"),
        ("samples (segments as they were sent)", f"{facts.samples:,}"),
        ("rows", f"{facts.rows:,}{sampled}"),
        ("actions", kept_and_unread(facts)),
        ("masked actions", f"{sum(facts.masked.values()):,}"),
        ("kept actions with a masked one beside them in their reply", f"{facts.partial:,}"),
        ("actions that train in these rows", f"{facts.trained:,}"),
        ("bytes", f"{facts.bytes:,}"),
        (f"SHA-256 of `{facts.rows_file}`", f"`{facts.digest}`"),
    ]


def _table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _reasons(title: str, reasons: Mapping[str, int]) -> str:
    if not reasons:
        return ""
    return f"## {title}\n\n" + "\n".join(f"- {reason}: {n:,}" for reason, n in reasons.items())


def _gated(facts: Facts) -> str:
    if not facts.gated:
        return ""
    lines = (f"- {rollout}: {why}" for rollout, why in facts.gated.items())
    return "## Rollouts that do not train\n\n" + "\n".join(lines)


def _choice(facts: Facts) -> str:
    said = []
    if facts.sample is not None:
        said.append(
            f"Only {facts.rows:,} of {facts.rows_made:,} rows are here, chosen by a hash of where they "
            f"come from with the seed {facts.seed}: the same rows every time."
        )
    if facts.reviewed_only:
        said.append(
            "Only what a person accepted or reviewed trains; the rest is masked as `unread`, or as "
            "`unsure` where a person put it aside."
        )
    return "\n\n".join(said)


def _parquet(facts: Facts) -> str:
    if not any(name.endswith(".parquet") for name in facts.files):
        return ""
    return (
        f"`{facts.format}.parquet` holds the same rows. There the arguments of tool calls and the "
        "parameters of tools are JSON text: Parquet would merge objects of different tools into one "
        "structure, with every key of all of them in each."
    )


def _as_json(title: str, value: object) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return f"## {title}\n\n```json\n{text}\n```"
