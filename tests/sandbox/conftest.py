from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from apollo_tui.sandbox import Kind, Sandbox, SandboxSpec
from apollo_tui.sandbox.choose import open_sandbox
from tests.sandboxes import HOME_LABEL, KINDS, require


@pytest.fixture(params=KINDS)
def sandbox_kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return require(kind)


@dataclass
class Place:
    """Where a test's sandbox lives. Every `open` is what a new core would make of it."""

    kind: Kind
    spec: SandboxSpec

    def open(self, **changes: Any) -> Sandbox:
        return open_sandbox(self.kind, replace(self.spec, **changes), home_label=HOME_LABEL)


@pytest.fixture
def make_place(tmp_path: Path) -> Callable[[Kind], Place]:
    def make(kind: Kind) -> Place:
        name = f"test-{uuid.uuid4().hex[:12]}"
        return Place(kind, SandboxSpec(name=name, rollout=name, folder=tmp_path / "rollout"))

    return make


@pytest.fixture
async def place(sandbox_kind: Kind, make_place: Callable[[Kind], Place]) -> AsyncIterator[Place]:
    place = make_place(sandbox_kind)
    yield place
    await place.open().close(remove=True)


@pytest.fixture
async def sandbox(place: Place) -> Sandbox:
    """A started sandbox, of every kind in turn."""
    sandbox = place.open()
    await sandbox.start()
    return sandbox


@pytest.fixture
def marker() -> str:
    """A number of seconds nobody else sleeps: finds a test's processes."""
    return f"{10_000 + uuid.uuid4().int % 80_000}.{uuid.uuid4().int % 10_000:04}"
