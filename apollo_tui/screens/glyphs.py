"""The signs of the console: one set for UTF-8 terminals, one in plain ASCII."""

from __future__ import annotations

import locale
import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Glyphs:
    """Every sign has one cell, except those noted. `ascii` says that text must be ASCII too."""

    ascii: bool = False
    running: str = "●"
    paused: str = "‖"
    needs: str = "!"
    error: str = "▲"
    waiting: str = "○"
    finished: str = "✓"
    rejected: str = "✗"
    accepted: str = "✓"
    unsure: str = "~"
    unread: str = "·"
    advice: str = "»"
    question: str = "?"
    submission: str = "◆"
    summary: str = "≡"
    job: str = "&"
    heavy: str = "━"
    light: str = "─"
    note: str = "┄"
    divider: str = "│"
    quote: str = "┃"
    thumb: str = "┃"
    cursor: str = "▌"
    output: str = "└"
    live: str = "▏"
    cut: str = "…"
    minus: str = "−"
    to: str = "–"
    path: str = "›"
    progress: str = "…"
    trains_read: str = "┃"  # the mask's gutter
    trains_unread: str = "│"
    masked: str = "┆"
    hidden: str = "?"
    differs: str = "≠"  # two cells in ASCII
    decides: str = "▸"
    nothing: str = "–"
    block: str = "▇"
    densities: str = "█▓▒░"  # four signs, from full to light


UNICODE = Glyphs()
ASCII = Glyphs(
    ascii=True,
    running="*",
    paused="=",
    error="E",
    waiting="o",
    finished="+",
    rejected="x",
    accepted="+",
    unread=".",
    advice=">",
    submission="#",
    summary="S",
    heavy="=",
    light="-",
    note=".",
    divider="|",
    quote="#",
    thumb="#",
    cursor=">",
    output="\\",
    live="_",
    cut="~",
    minus="-",
    to="-",
    path=">",
    progress="~",
    trains_read="T",
    trains_unread="t",
    masked="x",
    differs="/=",
    decides=">",
    nothing="-",
    block="#",
    densities="+x~.",  # the marks' own signs
)


def glyphs_for(encoding: str, *, ambiguous_is_wide: bool = False) -> Glyphs:
    """The signs a terminal of this encoding can show, each in one cell."""
    utf8 = encoding.lower().replace("-", "").replace("_", "") == "utf8"
    return UNICODE if utf8 and not ambiguous_is_wide else ASCII


def glyphs_here() -> Glyphs:
    """The signs for this process's locale; VTE_CJK_WIDTH=wide says ambiguous characters are wide."""
    wide = os.environ.get("VTE_CJK_WIDTH", "") in ("2", "wide")
    return glyphs_for(locale.getencoding(), ambiguous_is_wide=wide)
