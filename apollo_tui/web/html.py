"""HTML to text with its links: a program, so that limits hold for it alone.

    python -m apollo_tui.web.html SECONDS < the page's address, a line break, the HTML

Prints a `Page` as JSON. The text is Markdown without escapes: headings, lists, tables and code stay
recognisable, and a search finds words as they are written.
"""

from __future__ import annotations

import re
import resource
import sys
import threading
from typing import Any
from urllib.parse import urljoin

from bs4 import BeautifulSoup, Tag
from markdownify import MarkdownConverter

from apollo_tui.web.page import Link, Page, wrap

MEMORY = 2 << 30  # bytes
LONGEST = 4_000_000  # characters of a page's text: deep nesting can make far more of it than HTML
MOST_LINKS = 5000
_DEPTH = 20_000  # calls that a deeply nested page may take
_STACK = 512 << 20  # bytes for them
_NOT_READ = ("script", "style", "template", "svg", "iframe", "object", "canvas")
# A link's beginning is marked in the text and taken out again; so its line is known.
_MARK = re.compile("\ue000(\\d{1,7})\ue001")
_LINK_TEXT = 300  # characters
_HREF = 4000  # characters; longer ones lead nowhere that can be asked


class _Converter(MarkdownConverter):
    """Collects links; shows pictures as what they are said to show."""

    def __init__(self, base: str) -> None:
        super().__init__(
            heading_style="ATX",
            bullets="-",
            escape_asterisks=False,
            escape_underscores=False,
            escape_misc=False,
        )
        self.base = base
        self.found: list[tuple[str, str]] = []

    def convert_a(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        href = self._where(el)
        if href is None:
            return text
        said = _MARK.sub("", text).strip() or str(el.get("title") or el.get("aria-label") or "")
        self.found.append((" ".join(said.split())[:_LINK_TEXT], href))
        return f"\ue000{len(self.found)}\ue001{text}"

    def convert_img(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        said = " ".join(str(el.get("alt") or "").split())
        return f"[image: {said}]" if said else ""

    def _where(self, el: Tag) -> str | None:
        """The address a link leads to; None when that is no other page."""
        given = str(el.get("href") or "").strip()
        if not given or given.startswith("#") or len(given) > _HREF:
            return None
        href = _joined(self.base, given)
        return href if href.lower().startswith(("http://", "https://")) else None


def convert(url: str, html: str) -> Page:
    """Raises RecursionError for what is nested too deeply."""
    soup = BeautifulSoup(html, "lxml")
    title = soup.title.get_text(" ", strip=True)[:300] if soup.title else ""
    base = soup.find("base", href=True)
    for tag in soup.find_all([*_NOT_READ, "title"]):
        tag.decompose()
    converter = _Converter(_joined(url, str(base["href"])) or url if isinstance(base, Tag) else url)
    text = converter.convert_soup(soup)
    notes = []
    if len(text) > LONGEST:
        notes.append(f"its text is longer: only the first of {len(text):,} characters are here")
    text = re.sub(r"\n(?:[ \t]*\n){2,}", "\n\n", text[:LONGEST]).strip("\n")
    lines, links = _lines_and_links(text, converter.found)
    if len(links) > MOST_LINKS:
        notes.append(f"it has {len(links):,} links: only the first {MOST_LINKS:,} are listed")
    return Page(
        url=url,
        title=" ".join(title.split()),
        lines=tuple(lines),
        links=tuple(links[:MOST_LINKS]),
        notes=tuple(notes),
    )


def _joined(base: str, href: str) -> str:
    """The address that `href` means on a page; an empty one when it means none."""
    try:
        return urljoin(base, href)
    except ValueError:
        return ""


def _lines_and_links(text: str, found: list[tuple[str, str]]) -> tuple[list[str], list[Link]]:
    """The text's lines without marks, and the links with the lines where the marks stood."""
    lines: list[str] = []
    links: list[Link] = []
    for line in text.split("\n") if text.strip() else ():
        plain, marks = _without_marks(line.rstrip())
        for start, piece in wrap(plain):
            if piece.strip() or not lines or lines[-1]:  # one blank line is enough
                lines.append(piece.rstrip())
            while marks and (marks[0][0] < start + len(piece) or start + len(piece) == len(plain)):
                _, number = marks.pop(0)
                if 0 < number <= len(found):  # a page may hold marks that are none of ours
                    said, href = found[number - 1]
                    links.append(Link(text=said, href=href, line=len(lines)))
    return lines, links


def _without_marks(line: str) -> tuple[str, list[tuple[int, int]]]:
    """The line, and each mark's offset in it and number."""
    parts: list[str] = []
    marks: list[tuple[int, int]] = []
    length = end = 0
    for mark in _MARK.finditer(line):
        parts.append(line[end : mark.start()])
        length += len(parts[-1])
        marks.append((length, int(mark[1])))
        end = mark.end()
    return "".join([*parts, line[end:]]), marks


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    seconds = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    url, _, html = sys.stdin.buffer.read().decode("utf-8", "replace").partition("\n")
    said: list[Any] = []

    def work() -> None:
        try:
            said.append(convert(url, html).model_dump_json())
        except RecursionError:
            said.append("it is nested too deeply")
        except MemoryError:
            said.append(f"it needs more than {MEMORY >> 30} GiB of memory")

    sys.setrecursionlimit(_DEPTH)
    threading.stack_size(_STACK)
    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    if said and said[0].startswith("{"):
        sys.stdout.buffer.write(said[0].encode())
    else:
        sys.exit(said[0] if said else 1)


if __name__ == "__main__":
    main()
