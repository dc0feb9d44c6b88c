"""A page as an agent reads it: lines, the links on them, and windows of lines that fit. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

LONGEST_LINE = 1000  # characters; a longer one becomes several
WINDOW = 100  # lines shown at once
SHOWN = 28_000  # characters shown at once: with what stands around them below the 30,000


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Link(_Part):
    text: str
    href: str
    line: int  # where it stands, from 1


class Page(_Part):
    """One page that was read. `notes` say what is not in it."""

    url: str
    title: str = ""
    lines: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    notes: tuple[str, ...] = ()

    def around(self, line: int, most: int = WINDOW) -> tuple[int, int]:
        """The first and last line of a window of at most `most` lines with `line` in its middle."""
        first = last = min(max(line, 1), len(self.lines))
        room = SHOWN - self._cost(first)
        while last - first + 1 < most:
            above = first > 1 and self._cost(first - 1) <= room
            below = last < len(self.lines) and self._cost(last + 1) <= room
            if below and (not above or last - line <= line - first):
                last += 1
                room -= self._cost(last)
            elif above:
                first -= 1
                room -= self._cost(first)
            else:
                break
        return first, last

    def below(self, line: int) -> tuple[int, int]:
        """The window that begins with `line`."""
        first = last = min(max(line, 1), len(self.lines))
        room = SHOWN - self._cost(first)
        while last < len(self.lines) and last - first + 1 < WINDOW:
            room -= self._cost(last + 1)
            if room < 0:
                break
            last += 1
        return first, last

    def above(self, line: int) -> tuple[int, int]:
        """The window that ends with `line`."""
        first = last = min(max(line, 1), len(self.lines))
        room = SHOWN - self._cost(last)
        while first > 1 and last - first + 1 < WINDOW:
            room -= self._cost(first - 1)
            if room < 0:
                break
            first -= 1
        return first, last

    def find(self, keyword: str) -> list[int]:
        """The lines that hold a text, whatever its case."""
        wanted = keyword.casefold()
        return [number for number, line in enumerate(self.lines, 1) if wanted in line.casefold()]

    def _cost(self, line: int) -> int:
        return len(self.lines[line - 1]) + 12  # its number, and the end of the line


def wrap(line: str, width: int = LONGEST_LINE) -> list[tuple[int, str]]:
    """A line in pieces of at most `width` characters, cut after a space where there is one; each
    with its offset. Joined they are the line."""
    pieces, start = [], 0
    while len(line) - start > width:
        space = line.rfind(" ", start + width // 2, start + width)
        end = space + 1 if space >= 0 else start + width
        pieces.append((start, line[start:end]))
        start = end
    return [*pieces, (start, line[start:])]


def page_of_text(url: str, text: str, notes: Sequence[str] = ()) -> Page:
    """A page of plain text, line by line."""
    lines = [
        piece.rstrip() for line in text.rstrip().split("\n") for _, piece in wrap(line.rstrip("\r"))
    ]
    return Page(url=url, lines=tuple(lines) if text.strip() else (), notes=tuple(notes))
