"""Marking actions: reject, accept, unsure, reviewed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple, cast

import click

from apollo_tui.cli.context import Context, as_json, pass_context, print_json, rollout_argument
from apollo_tui.client import Client, who_am_i
from apollo_tui.errors import UnknownName, UsageError
from apollo_tui.log.read import History

MarkName = Literal["reject", "accept", "unsure", "reviewed"]
DONE = {"reject": "rejected", "accept": "accepted", "unsure": "put aside", "reviewed": "read"}
MARKS = ("reject", "accept", "unsure", "reviewed")
_WHERE = re.compile(r"(\d+)(?:\.(\d+))?(?:[-–](\d+))?")


class Place(NamedTuple):
    """STEP, STEP.ORDINAL or STEP-STEP."""

    first: int
    ordinal: int | None
    last: int


class Wanted(NamedTuple):
    rollout: str
    place: Place
    mark: MarkName
    code: str | None
    note: str


def read_place(text: str) -> Place:
    """Raises UsageError with the forms that are understood."""
    found = _WHERE.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no place; write STEP, STEP.ORDINAL or STEP-STEP")
    first, ordinal, last = found.groups()
    place = Place(int(first), int(ordinal) if ordinal else None, int(last or first))
    if place.last < place.first or place.first < 1 or (ordinal and last):
        raise UsageError(f"{text!r} is no place; write STEP, STEP.ORDINAL or STEP-STEP")
    return place


@click.command()
@rollout_argument(required=False)
@click.argument("place", metavar="STEP[.ORDINAL][-STEP]", required=False)
@click.argument("mark", type=click.Choice(MARKS), required=False)
@click.option("--reason", "code", metavar="CODE", help="A short reason, such as impatient.")
@click.option("--note", default="", help="A note; the agent never sees it.")
@click.option(
    "--from",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Marks from a file: ROLLOUT PLACE MARK [CODE [NOTE]] on each line.",
)
@as_json
@pass_context
def mark_command(
    context: Context,
    rollout: str | None,
    place: str | None,
    mark: str | None,
    code: str | None,
    note: str,
    file: Path | None,
    as_json: bool,
) -> None:
    """Mark actions: reject, accept, unsure, reviewed.

    STEP marks all actions of a step, STEP.ORDINAL one of them, STEP-STEP those of a range. A line of
    a file given with --from is written the same way:

    \b
      noisy-filter 6-8 reject impatient "it was healthy"
      noisy-filter 9.1 accept

    \b
    Example:
      apollo-tui mark noisy-filter 6-8 reject --reason impatient --note "it was healthy"
      apollo-tui mark --from marks.txt
    """
    if file is not None:
        if rollout is not None:
            raise UsageError("--from takes everything from the file; name no rollout beside it")
        wanted = read_marks(file)
    elif rollout is None or place is None or mark is None:
        raise UsageError("write: mark ROLLOUT STEP reject|accept|unsure|reviewed")
    else:
        wanted = [Wanted(rollout, read_place(place), cast(MarkName, mark), code, note)]
    with context.history() as history:
        found = [(one, *_actions(history, one.rollout, one.place)) for one in wanted]

    async def send(client: Client) -> None:
        for one, rollout_id, actions in found:
            await client.mark(rollout_id, actions, one.mark, code=one.code, note=one.note)

    context.ask(send)
    if as_json:
        print_json(
            [
                {"rollout": rollout_id, "step": step, "ordinal": ordinal, "mark": one.mark}
                for one, rollout_id, actions in found
                for step, ordinal in actions
            ]
        )
        return
    who = who_am_i(context.home, context.annotator)
    with context.history() as history:
        for one, rollout_id, actions in found:
            click.echo(f"{_told(history, rollout_id, actions)} {DONE[one.mark]} (as {who})")


def _told(history: History, rollout: str, actions: list[tuple[int, int]]) -> str:
    """ "noisy-filter: 3 bash", or how many and where when there are several."""
    row = history.rollout(rollout)
    name = rollout if row is None else row.name
    (first, ordinal), last = actions[0], actions[-1][0]
    if len(actions) > 1:
        where = f"of step {first}" if first == last else f"of steps {first}-{last}"
        return f"{name}: {len(actions)} actions {where}"
    detail = history.action(rollout, first, ordinal)
    return f"{name}: {first} {detail.entry.tool if detail else 'action'}"


@click.command()
@rollout_argument()
@click.argument("place", metavar="STEP[.ORDINAL][-STEP]")
@pass_context
def unmark_command(context: Context, rollout: str, place: str) -> None:
    """Take your marks back.

    \b
    Example:
      apollo-tui unmark noisy-filter 6
    """
    with context.history() as history:
        rollout_id, actions = _actions(history, rollout, read_place(place))
    context.ask(lambda client: client.unmark(rollout_id, actions))
    with context.history() as history:
        click.echo(f"{_told(history, rollout_id, actions)} unmarked")


def read_marks(path: Path) -> list[Wanted]:
    """Marks from a file; blank lines and lines that begin with # are passed over.

    Raises UsageError naming the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read {path}: {why}") from error
    return [
        _read_line(f"{path} line {number}", line)
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]


def _read_line(where: str, line: str) -> Wanted:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error
    if not 3 <= len(words) <= 5 or words[2] not in MARKS:
        raise UsageError(f"{where}: write ROLLOUT PLACE {'|'.join(MARKS)} [CODE [NOTE]]")
    rollout, place, mark, *why = words
    code, note = [*why, None, None][:2]
    try:
        return Wanted(rollout, read_place(place), cast(MarkName, mark), code, note or "")
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def _actions(history: History, rollout: str, place: Place) -> tuple[str, list[tuple[int, int]]]:
    """The rollout's id and the actions at a place. Raises UnknownName when there is none."""
    row = history.find(rollout)
    actions = [
        action
        for action in _actions_between(history, row.id, place.first, min(place.last, row.step))
        if place.ordinal in (None, action[1])
    ]
    if not actions:
        raise UnknownName(f"{row.name} has no action there; it is at step {row.step}")
    return row.id, actions


def _actions_between(
    history: History, rollout: str, first: int, last: int
) -> Iterable[tuple[int, int]]:
    begins = (history.entry_of_step(rollout, step) for step in range(first, last + 1))
    n = next((n for n in begins if n is not None), None)  # a step may have nothing to show
    while n is not None:
        page = history.entries(rollout, n, 200)
        for entry in page:
            if entry.step > last:
                return
            if entry.kind == "action" and entry.step >= first:
                yield entry.step, entry.ordinal
        n = page[-1].n + 1 if page else None
