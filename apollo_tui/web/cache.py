"""Search results on the disk of the home, so that the same question is asked once a day.

One file for each question, shared by all rollouts. A file that is broken or too old is as if it were
not there. Blocks: call it in a thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from apollo_tui.web.engines import Engine, Found

MOST = 2000  # files that are kept; the oldest go


class _Kept(BaseModel):
    asked: int  # results that were asked for
    at: float  # UTC seconds
    found: tuple[Found, ...]


@dataclass(frozen=True)
class Cache:
    folder: Path
    seconds: float  # how long an answer is good; 0: it never is

    def get(self, engine: Engine, query: str, top_k: int) -> tuple[Found, ...] | None:
        """What was found before, when as many results were asked for, or there were no more."""
        try:
            kept = _Kept.model_validate_json(self._file(engine, query).read_bytes())
        except (OSError, ValidationError):
            return None
        age = time.time() - kept.at
        enough = kept.asked >= top_k or len(kept.found) < kept.asked
        return kept.found[:top_k] if 0 <= age < self.seconds and enough else None

    def put(self, engine: Engine, query: str, top_k: int, found: tuple[Found, ...]) -> None:
        """Keep an answer. Raises OSError."""
        if not self.seconds:
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._file(engine, query)
        new = file.with_name(f"{file.name}.{uuid.uuid4().hex}.new")
        try:
            new.touch(mode=0o600)
            new.write_text(_Kept(asked=top_k, at=time.time(), found=found).model_dump_json())
            new.replace(file)
        finally:
            new.unlink(missing_ok=True)
        self._forget_the_oldest()

    def _forget_the_oldest(self) -> None:
        files = list(self.folder.glob("*.json"))
        if len(files) <= MOST:
            return
        with contextlib.suppress(FileNotFoundError):  # another core's thread was faster
            files.sort(key=lambda file: file.stat().st_mtime)
            for file in files[: len(files) - MOST]:
                file.unlink()

    def _file(self, engine: Engine, query: str) -> Path:
        question = [engine.name, engine.base, engine.region, engine.language, query]
        digest = hashlib.sha256(json.dumps(question).encode()).hexdigest()
        return self.folder / f"{digest}.json"
