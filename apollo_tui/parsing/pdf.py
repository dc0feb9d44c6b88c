"""PDF: the text of each page in the order in which it was written, not what its images show."""

from __future__ import annotations

from io import BytesIO

from pypdf import PageObject, PasswordType, PdfReader
from pypdf.errors import PyPdfError

from apollo_tui.parsing import Parsed, Unreadable, counted


def pdf_text(data: bytes) -> Parsed:
    """The text, page by page. A page that cannot be read is named and does not end the reading.

    Raises Unreadable for what is no PDF, or one that needs a password.
    """
    try:
        reader = PdfReader(BytesIO(data))
        if reader.is_encrypted and reader.decrypt("") is PasswordType.NOT_DECRYPTED:
            raise Unreadable("it is encrypted and needs a password")
        pages = list(reader.pages)
    except MemoryError:
        raise
    except (PyPdfError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise Unreadable(f"it is no PDF, or a broken one: {error}") from error
    notes: list[str] = []
    texts = [_page(page, number, notes) for number, page in enumerate(pages, 1)]
    empty = sum(not text for text in texts)
    if empty:
        notes.append(f"{counted(empty, 'page')} without text, perhaps scanned images")
    marked = (f"@@ Page {number} @@\n{text}" for number, text in enumerate(texts, 1))
    return Parsed("\n\n".join(marked).strip(), counted(len(texts), "page"), tuple(notes))


def _page(page: PageObject, number: int, notes: list[str]) -> str:
    try:
        return page.extract_text().strip()
    except MemoryError:
        raise
    except Exception as error:  # pypdf lets through whatever a broken page makes it stumble over
        why = f"page {number} could not be read: {type(error).__name__}: {error}"
        notes.append(why)
        return f"[{why}]"
