"""Files that other programs wrote, read as recordings: bytes in, a Recording out, nothing else touched.

A format is a module of this package with a NAME, `recognises` and `read`; `IMPORTERS` lists them, those
of binary files first. How a recording becomes a rollout on the log is in `core/importing.py`.
"""

from __future__ import annotations

from typing import Protocol

from apollo_tui.importers import innovatorbench
from apollo_tui.importers.recording import Recording, Source


class Importer(Protocol):
    """One format."""

    NAME: str

    def recognises(self, source: Source) -> bool:
        """Whether a file is of this format, broken or not. Raises ImportFailed for what no format
        can be."""

    def read(self, source: Source) -> Recording:
        """Raises ImportFailed, with the place in the file, when it cannot be read as it should."""


IMPORTERS: tuple[Importer, ...] = (innovatorbench,)


def read_recording(source: Source) -> tuple[str, Recording]:
    """The name of a file's format, and what it records. Raises ImportFailed."""
    for importer in IMPORTERS:
        if importer.recognises(source):
            return importer.NAME, importer.read(source)
    known = ", ".join(importer.NAME for importer in IMPORTERS)
    raise source.failed(f"its format is not known; these are: {known}")
