"""What DOCX and PPTX share: both are zip archives of XML, and both have tables."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from io import BytesIO

from lxml.etree import ErrorTypes, XMLSyntaxError

from apollo_tui.parsing import Unreadable

UNPACKED_AT_MOST = 200 << 20  # bytes
MEMBERS_AT_MOST = 20_000
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")  # how files of Office 97, and encrypted ones, begin


def require_archive(data: bytes, kind: str) -> None:
    """Raises Unreadable for what is no zip archive, or one that unpacks to too much."""
    if data.startswith(_OLE):
        raise Unreadable(f"it is encrypted, or of the old format before {kind}; convert it first")
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise broken(kind, error) from error
    size = sum(member.file_size for member in members)
    if size > UNPACKED_AT_MOST or len(members) > MEMBERS_AT_MOST:
        raise Unreadable(
            f"it unpacks to {size:,} bytes in {len(members):,} files; at most "
            f"{UNPACKED_AT_MOST:,} in {MEMBERS_AT_MOST:,} are read"
        )


def broken(kind: str, error: Exception) -> Unreadable:
    """What to say of a package that a library stumbled over. Raises MemoryError where the XML
    library had no more: it calls that a fault of the text."""
    if isinstance(error, XMLSyntaxError) and error.code == ErrorTypes.ERR_NO_MEMORY:
        raise MemoryError from error
    return Unreadable(f"it is no {kind} file, or a broken one: {error}")


def table(rows: Iterable[Sequence[str]]) -> str:
    """A table as Markdown writes it, its first row as the head."""
    lines = []
    for number, row in enumerate(rows):
        cells = [" ".join(cell.split()).replace("|", "\\|") for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
        if number == 0:
            lines.append(f"|{' --- |' * len(cells)}")
    return "\n".join(lines)
