from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apollo_tui.log import projections
from apollo_tui.log.events import Event, event_adapter
from apollo_tui.log.read import History
from apollo_tui.log.schema import PROJECTIONS, create_projections
from apollo_tui.log.store import Log
from apollo_tui.log.texts import compress, decompress, text_hash
from apollo_tui.log.verify import verify
from tests.log.histories import KINDS, ROLLOUTS, any_history, event_of


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_event_round_trips(kind: type) -> None:
    @given(event_of(kind))
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    def round_trips(event: Event) -> None:
        stored = event.model_dump_json()
        again = event_adapter.validate_json(stored)
        assert again == event
        assert again.model_dump_json() == stored

    round_trips()


@given(any_history, st.integers(0, 40))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_order_of_events_can_be_applied_and_pieces_give_the_whole(
    history: list[Event], cut: int
) -> None:
    whole, pieces = _empty(), _empty()
    for seq, event in enumerate(history, 1):
        projections.apply(whole, seq, event)
    for part in (list(enumerate(history, 1))[:cut], list(enumerate(history, 1))[cut:]):
        pieces.execute("BEGIN")
        for seq, event in part:
            projections.apply(pieces, seq, event)
        pieces.execute("COMMIT")
    assert _all(whole) == _all(pieces)
    whole.close()
    pieces.close()


@given(any_history)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_was_written_equals_a_rebuild_and_can_be_read(history: list[Event]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_write_and_verify(Path(folder) / "apollo.db", history))


async def _write_and_verify(path: Path, history: list[Event]) -> None:
    log = await Log.open(path)
    try:
        await asyncio.gather(*(log.append(event) for event in history))
    finally:
        await log.close()
    assert [fault for fault in verify(path) if "names the text" not in fault] == []
    reader = History(path)
    for row in reader.rollouts():
        entries = reader.entries(row.id, 1, 10_000)
        assert [entry.n for entry in entries] == list(range(1, row.entries + 1))
        assert len(reader.landmark_map(row.id, 10)) == 10
    assert len(reader.events(None, limit=1000)) == len(history)
    assert reader.rollout(ROLLOUTS[0]) is not None
    reader.close()


@given(st.text())
def test_texts_come_back_as_they_were(text: str) -> None:
    assert decompress(compress(text)) == text
    assert len(text_hash(text)) == 32


def _empty() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    create_projections(db)
    return db


def _all(db: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    return {table: db.execute(f"SELECT * FROM {table}").fetchall() for table in PROJECTIONS}
