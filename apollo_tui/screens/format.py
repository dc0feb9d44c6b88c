"""Numbers and texts as the console writes them: short, unambiguous, and harmless."""

from __future__ import annotations

import re
import unicodedata

from rich.cells import cell_len, set_cell_size

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movements
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC: titles, links, clipboard
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x9c]*(?:\x1b\\|\x9c)?"  # DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-~]"
)
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_UNSHOWABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_FORMAT_WITHOUT_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad"


def clean(text: str, *, ascii_only: bool = False) -> str:
    """One line that does nothing to a terminal: no escape sequences, controls or bidi overrides.

    Line breaks and tabs become spaces, what cannot be shown becomes "?" or "\ufffd".
    """
    if text.isascii() and text.isprintable():
        return text
    text = _SELECTORS.sub("", _ESCAPES.sub("", text))
    out: list[str] = []
    for char in text:
        if char.isascii() and char.isprintable():
            out.append(char)
        elif char.isspace() and char not in "\x1c\x1d\x1e\x1f":  # those four are controls
            out.append(" ")
        elif char in _FORMAT_WITHOUT_WIDTH:
            continue
        elif ascii_only:
            out.append(_plain(char))
        elif _unshowable(char):
            out.append("\ufffd")
        else:
            out.append(char)
    return "".join(out)


def _unshowable(char: str) -> bool:
    # Regional indicators and skin tones join with their neighbour in some terminals only.
    joins = "\U0001f1e6" <= char <= "\U0001f1ff" or "\U0001f3fb" <= char <= "\U0001f3ff"
    return joins or unicodedata.category(char) in _UNSHOWABLE


_PLAIN = str.maketrans({"…": "~", "−": "-", "–": "-", "—": "-", "“": '"', "”": '"', "’": "'"})


def _plain(char: str) -> str:
    translated = char.translate(_PLAIN)
    return translated if translated.isascii() and translated.isprintable() else "?"


def clean_lines(text: str, *, ascii_only: bool = False) -> list[str]:
    """The lines of a text, each harmless; tabs are kept as four-cell stops."""
    rows = _ESCAPES.sub("", text).replace("\r\n", "\n").split("\n")
    return [clean(row.split("\r")[-1].expandtabs(4), ascii_only=ascii_only) for row in rows]


def width(text: str) -> int:
    """Cells that a clean text takes."""
    return len(text) if text.isascii() else cell_len(text)


def fit(text: str, cells: int) -> str:
    """Exactly `cells` wide: filled with spaces, or chopped (a halved wide character is a space)."""
    if cells <= 0:
        return ""
    if text.isascii():
        return text[:cells].ljust(cells)
    return set_cell_size(text, cells)


def head(text: str, cells: int) -> str:
    """As much of the beginning as fits into `cells`."""
    if width(text) <= cells:
        return text
    return fit(text, cells).rstrip()


def tail(text: str, cells: int) -> str:
    """As much of the end as fits into `cells`."""
    if cells <= 0:
        return ""
    if text.isascii():
        return text[-cells:]
    start = max(0, len(text) - cells)
    while start < len(text) and width(text[start:]) > cells:
        start += 1
    return text[start:]


def cut_end(text: str, cells: int, mark: str = "…") -> str:
    """Cut at the end, after a whole word where one ends nearby."""
    if width(text) <= cells:
        return text
    if cells <= width(mark):
        return mark[:cells]
    kept = head(text, cells - width(mark))
    space = kept.rfind(" ")
    if space >= len(kept) - 3 and space > 0:
        kept = kept[: space + 1]
    return kept + mark


def cut_middle(text: str, cells: int, mark: str = "…") -> str:
    """Cut in the middle; of arguments the end matters more: a file's name, the last option."""
    if width(text) <= cells:
        return text
    room = cells - width(mark)
    if room <= 1:
        return head(text, cells)
    front = room // 2
    return head(text, front) + mark + tail(text, room - front)


def cut_tool(name: str, cells: int, mark: str = "…") -> str:
    """A tool's name with its first and last word kept: get_session_output is get_se…_output."""
    if width(name) <= cells:
        return name
    room = cells - width(mark)
    if room <= 1:
        return head(name, cells)
    last = name.rfind("_")
    ending = name[last:] if last > 0 and width(name[last:]) <= room - 3 else ""
    if not ending:
        ending = tail(name, room // 2)
    return head(name, room - width(ending)) + mark + ending


def wrap(text: str, cells: int, limit: int | None = None, mark: str = "…") -> list[str]:
    """Lines of at most `cells`, broken at spaces; with `limit` the last one says it was cut."""
    lines: list[str] = []
    rest = text.strip(" ")
    while rest:
        if limit is not None and len(lines) == limit - 1:
            lines.append(cut_end(rest, cells, mark))
            return lines
        if width(rest) <= cells:
            lines.append(rest)
            return lines
        piece = head(rest, cells)
        if not piece:
            piece = rest[:1]
        broken = piece.rfind(" ") if not rest[len(piece) :].startswith(" ") else -1
        if broken > 0:
            piece = piece[:broken]
        lines.append(piece.rstrip(" "))
        rest = rest[len(piece) :].lstrip(" ")
    return lines or [""]


def duration(seconds: float) -> str:
    """0s 41s 4m10 27m 2h11 4d06"""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes, second = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{second:02}" if second and minutes < 10 else f"{minutes}m"
    hours, minute = divmod(minutes, 60)
    if hours < 100:
        return f"{hours}h{minute:02}"
    return f"{hours // 24}d{hours % 24:02}" if hours < 2400 else f"{hours // 24}d"


def age(seconds: float) -> str:
    """3m, 9h02; under a minute "<1m": no clock runs in seconds."""
    return duration(seconds // 60 * 60) if seconds >= 60 else "<1m"


def ago(seconds: float) -> str:
    return f"{age(seconds)} ago" if seconds >= 60 else "just now"


def count(number: int) -> str:
    """1,588"""
    return f"{number:,}"


def tokens(number: int) -> str:
    """61.2k of 61,234; 1.2M"""
    if number < 1000:
        return str(number)
    if number < 999_950:
        return f"{number / 1000:.1f}k"
    return f"{number / 1_000_000:.1f}M"


def money(usd: float) -> str:
    """$3.10; small sums keep what distinguishes them from nothing: $0.011"""
    if 0 < usd < 0.1:
        return f"${usd:.3f}" if usd >= 0.0005 else "<$0.001"
    return f"${usd:,.2f}"


def number(value: float) -> str:
    """A score: 44.0, 0.425, 1,204"""
    if value == int(value) and abs(value) >= 1000:
        return f"{int(value):,}"
    size = abs(value)
    if size >= 10:
        return f"{value:.1f}"
    if size >= 1:
        return f"{value:.2f}"
    return f"{value:.3f}"


def size(count_of_bytes: int) -> str:
    """212 GB"""
    amount = float(count_of_bytes)
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def plural(number_of: int, noun: str) -> str:
    return f"{count(number_of)} {noun}" if number_of == 1 else f"{count(number_of)} {noun}s"
