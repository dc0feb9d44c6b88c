"""From what was fetched to a page. HTML is turned into text by a process of its own (`html.py`): a
page that is built to take all memory or all time takes only that process."""

from __future__ import annotations

import asyncio
import os
import re
import sys

from pydantic import ValidationError

from apollo_tui.errors import WebError
from apollo_tui.web.charset import decode, looks_binary
from apollo_tui.web.fetch import Fetched, Limits
from apollo_tui.web.page import Page, page_of_text

# What the program that reads pages needs to start; above all none of the keys that may be there.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
_HTML = ("text/html", "application/xhtml+xml")
_TEXT = re.compile(
    r"text/.*|application/(.*\+)?(json|xml|yaml)|application/(x-)?(ndjson|jsonlines|javascript"
    r"|ecmascript|toml|yaml|sh|python|tex|latex|bibtex|sql|httpd-php)|message/.*"
)
_LOOKS_HTML = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b", re.I | re.S)


async def read_page(fetched: Fetched, limits: Limits | None = None) -> Page:
    """Raises WebError for what is no text, and for a page that cannot be turned into text in time."""
    limits = limits or Limits()
    html = _is_html(fetched)
    if not html and not _is_text(fetched):
        raise WebError(_no_text(fetched))
    text, unreadable = await asyncio.to_thread(
        decode, fetched.body, fetched.charset, cut=fetched.cut
    )
    notes = []
    if fetched.cut:
        notes.append(f"the page is longer: only its first {len(fetched.body):,} bytes were read")
    if unreadable:
        notes.append(f"{unreadable:,} characters could not be read in its charset")
    if not html:
        return await asyncio.to_thread(page_of_text, fetched.url, text, notes)
    page = await _converted(fetched.url, text, limits.seconds)
    if not page.lines:
        notes.append("it has no text; a page that is made by JavaScript cannot be read")
    return page.model_copy(update={"notes": (*notes, *page.notes)})


def _is_html(fetched: Fetched) -> bool:
    if fetched.media_type in _HTML:
        return not _is_binary(fetched)
    return fetched.media_type == "" and bool(_LOOKS_HTML.match(fetched.body[:4096]))


def _is_text(fetched: Fetched) -> bool:
    if fetched.media_type and not _TEXT.fullmatch(fetched.media_type):
        return False
    return not _is_binary(fetched)


def _is_binary(fetched: Fetched) -> bool:
    wide = (fetched.charset or "").lower().startswith(("utf-16", "utf-32"))  # of which half is NUL
    return looks_binary(fetched.body) and not wide


def _no_text(fetched: Fetched) -> str:
    kind = fetched.media_type or "of an unknown kind"
    size = f"more than {len(fetched.body):,}" if fetched.cut else f"{len(fetched.body):,}"
    if _TEXT.fullmatch(fetched.media_type):
        kind = f"{kind}, but binary"
    return (
        f"{fetched.url} is no page to read: it is {kind} ({size} bytes). If the sandbox has a "
        "network, download it there with a command"
    )


async def _converted(url: str, html: str, seconds: float) -> Page:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "apollo_tui.web.html", str(max(1, round(seconds)))),
        env={name: value for name in _ENVIRONMENT if (value := os.environ.get(name))},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            given = f"{url}\n{html}".encode("utf-8", "replace")
            page, said = await program.communicate(given)
    except TimeoutError:
        raise WebError(f"{url} could not be turned into text within {seconds:g} s") from None
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    try:
        return await asyncio.to_thread(Page.model_validate_json, page)
    except ValidationError as error:
        last = said.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1][:200]
        why = last or f"the program that reads pages ended with {program.returncode}"
        raise WebError(f"{url} could not be turned into text: {why}") from error
