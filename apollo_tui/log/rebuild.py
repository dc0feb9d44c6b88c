"""The exact prompt of any step, put together from the log without parsing any of it.

A request is recorded as the one before it plus the hashes of new messages, all of them at a
segment's start, so the log grows linearly. A message is stored as the JSON of `model_dump_json`, and
a prompt's JSON is the concatenation of its parts' JSON.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable

from apollo_tui.errors import UnknownName


def assemble(system_text: str, messages: Iterable[str], tools_text: str) -> str:
    """The prompt's JSON, equal to `Prompt.model_dump_json`."""
    return f'{{"system":{system_text},"messages":[{",".join(messages)}],"tools":{tools_text}}}'


def rebuild_prompt(
    db: sqlite3.Connection, read: Callable[[Iterable[str]], dict[str, str]], rollout: str, step: int
) -> str:
    """The JSON of the prompt that was sent for a step: of its last attempt.

    `read` gives texts by their hashes. Raises UnknownName when the step was never asked for.
    """
    last = db.execute(
        "SELECT max(seq) FROM requests WHERE rollout = ? AND step = ? AND purpose = 'step'",
        (rollout, step),
    ).fetchone()[0]
    if last is None:
        raise UnknownName(f"no request was sent for step {step}")
    first = db.execute(
        "SELECT max(seq) FROM requests WHERE rollout = ? AND seq <= ? AND starts_segment"
        " AND purpose = 'step'",
        (rollout, last),
    ).fetchone()[0]
    rows = db.execute(
        "SELECT added, system_ref, tools_ref FROM requests WHERE rollout = ?"
        " AND seq BETWEEN ? AND ? AND purpose = 'step' ORDER BY seq",
        (rollout, first, last),
    ).fetchall()
    refs = [ref for added, _, _ in rows for ref in json.loads(added)]
    _, system_ref, tools_ref = rows[0]
    texts = read({*refs, system_ref, tools_ref})
    return assemble(texts[system_ref], (texts[ref] for ref in refs), texts[tools_ref])
