"""Below the text: the verdict on the action under the cursor and why, and who masks what. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from apollo_tui.screens.format import count, cut_end, fit, width
from apollo_tui.screens.line import Line, Span, fitted
from apollo_tui.screens.lines import View
from apollo_tui.screens.marks import Act, Place
from apollo_tui.screens.review_state import ReviewState

ROWS = 8
"""Lines of the whole: a rule, a title, four rows, why, the reasons; with a free row one more."""

Part = tuple[str, str, list[Span]]
"""Who, keep or mask or nothing, and why."""


def verdict_lines(state: ReviewState, last: Act | None, view: View) -> list[Line]:
    place = state.key
    beside = 26 * (view.width >= 70) + 21 * (view.width >= 96)
    blocks = [(view.width - 1 - beside, _verdict(state, place, view))]
    if view.width >= 70:
        blocks.append((26, _masked(state, view)))
    if view.width >= 96:
        blocks.append((21, _legend(view)))
    lines = [fitted([Span(" "), Span(view.glyphs.light * (view.width - 2), "line")], view.width)]
    for y in range(5):
        spans: list[Span] = [Span(" ")]
        for cells, block in blocks:
            spans += _cut(block[y] if y < len(block) else [], cells - 2, view).spans
            spans.append(Span("  "))
        lines.append(fitted(spans, view.width))
    if view.free_rows:
        lines.append(fitted([], view.width))
    return [*lines, _why(state, place, view), _reasons(state, last, view)]


def _cut(spans: Sequence[Span], cells: int, view: View) -> Line:
    """Spans in so many cells; what is cut says so."""
    taken = 0
    for at, span in enumerate(spans):
        taken += width(span.text)
        if taken > cells:
            room = max(0, cells - taken + width(span.text))
            cut = Span(cut_end(span.text, room, view.glyphs.cut), span.style)
            return fitted([*spans[:at], cut], cells)
    return fitted(spans, cells)


def _why(state: ReviewState, place: Place | None, view: View) -> Line:
    """What the one who decides says, in full."""
    if place is None:
        return fitted([], view.width)
    verdict, said, mark = state.shown(place), state.words(place), state.standing(place)
    why = ""
    if verdict.by == "human" and mark is not None:
        why = mark.note
        if said is not None and said.judge is not None and state.differs(place) == "judge":
            why = f"{why or 'no note'}   the judge: {said.judge.why}"
        elif other := next((one for one in state.marks(place) if one != mark and one.note), None):
            why = f"{why or 'no note'}   {view.who(other.annotator)}: {other.note}"
    elif verdict.by != "default":
        why = verdict.why
    elif said is not None and said.suggested is not None:
        why = f"{said.suggested.why}: mask it?"
    if not why:
        return fitted([], view.width)
    told = [Span("  why  ", "faint"), Span(view.clean(why), "text")]
    return fitted(_cut(told, view.width - 1, view).spans, view.width)


# --- the verdict -------------------------------------------------------------------------------


def _verdict(state: ReviewState, place: Place | None, view: View) -> list[list[Span]]:
    if place is None:
        return [[Span("verdict", "text bold")], [Span("  There is no action here.", "dim")]]
    row = state.row(place)
    about = str(place[0]) + (f".{place[1]}" if place[1] > 1 else "")
    title = [Span(f" verdict of {about}", "text bold")]
    if row.turn < 0:
        title.append(Span("  in no sample: it was rewound or replaced", "attention"))
    decided = state.shown(place)
    by = {"rule": "rules"}.get(decided.by, decided.by)
    lines = [title]
    for who, said, why in _parts(state, place, view):
        decides = who == by
        sign = view.glyphs.decides if decides else " "
        style = "text" if decides else "dim"
        colour = "masked bold" if said == "mask" else "text bold" if decides else "dim"
        lead = [Span(f" {sign} ", "accent"), Span(fit(who, 9), style), Span(fit(said, 6), colour)]
        lines.append([*lead, *why])
    return lines


def _parts(state: ReviewState, place: Place, view: View) -> list[Part]:
    nothing, said = view.glyphs.nothing, state.words(place)
    parts = [_human(state, place, view)]
    if state.board.judge is None:
        parts.append(("judge", nothing, [Span("no judge in this filter", "dim")]))
    elif said is None or said.judge is None:
        parts.append(("judge", nothing, [Span("has not seen it", "dim")]))
    elif state.hides(place):
        parts.append(("judge", view.glyphs.hidden, [Span("hidden until you decide", "dim")]))
    else:
        word = "keep" if said.judge.keep else "mask"
        parts.append(("judge", word, [Span(view.clean(said.judge.why), "dim")]))
    if said is not None and said.rules:
        parts.append(("rules", "mask", [Span(", ".join(said.rules), "masked")]))
    elif said is not None and said.suggested is not None:
        parts.append(("rules", nothing, [Span("suggest to mask it", "attention")]))
    else:
        parts.append(("rules", nothing, [Span("none fired", "dim")]))
    unread = not state.read(place)
    looked = "nobody looked at it" if unread else "it was looked at"
    decided = state.shown(place).by == "default"
    parts.append(("default", "keep", [Span(looked if decided else "", "dim")]))
    return parts


def _human(state: ReviewState, place: Place, view: View) -> Part:
    mark = state.standing(place)
    if mark is None or state.hides(place):
        hidden = "; others: hidden" if mark is not None else ""
        return "human", view.glyphs.nothing, [Span(f"not decided{hidden}", "dim")]
    said = {"accept": "keep", "reject": "mask"}.get(mark.mark, view.glyphs.nothing)
    words = {"unsure": "put aside", "reviewed": "read, nothing to say"}
    who = view.who(mark.annotator) or "someone"
    spans = [Span(f"{who}{': ' + words[mark.mark] if mark.mark in words else ''}", "text")]
    if mark.code:
        spans.append(Span(f"  {view.clean(mark.code)}", "masked" if said == "mask" else "running"))
    spans += [
        Span(f"  {view.who(one.annotator)}: {one.mark}", "attention")
        for one in state.marks(place)
        if one != mark
    ]
    if state.verdict(place).by == "rule" and said in ("keep", "mask"):
        spans.append(Span("  the rule stands above it", "attention"))
    return "human", said, spans


# --- what is masked ----------------------------------------------------------------------------


def _masked(state: ReviewState, view: View) -> list[list[Span]]:
    masked = state.tally.masked
    total = sum(masked.values())
    lines = [
        [
            Span(fit("masked in all", 18), "text bold"),
            Span(count(total).rjust(6), "text bold"),
        ]
    ]
    whose = [("you", "you"), ("rules", "rules"), ("judge", "judge"), ("others", "others")]
    most = max(masked.values(), default=0)
    for who, label in whose:
        many = masked[who]
        bar = view.glyphs.block * (max(1, many * 9 // most) if many else 0)
        value = Span(count(many).rjust(6), "text" if many else "faint")
        lines.append([Span(fit(label, 8), "dim"), Span(fit(bar, 10), "masked"), value])
    return lines


def _legend(view: View) -> list[list[Span]]:
    glyphs = view.glyphs
    signs = [
        (glyphs.trains_read, "running", "trains, was read"),
        (glyphs.trains_unread, "running", "trains, unread"),
        (glyphs.rejected, "masked", "masked"),
        (" ", "text", "context"),
    ]
    lines = [[Span("reading the mask", "text bold")]]
    return lines + [[Span(fit(sign, 3), style), Span(said, "dim")] for sign, style, said in signs]


def _reasons(state: ReviewState, last: Act | None, view: View) -> Line:
    """The reason that `.` repeats, and which rules mask how much."""
    spans = [Span("  ")]
    if last is not None and last.now.code:
        code = Span(view.clean(last.now.code), "masked" if last.now.kind == "reject" else "dim")
        spans += [Span("last reason  ", "faint"), code, Span("   .", "text bold")]
        spans.append(Span(" repeats it     ", "dim"))
    rules = [(name, many) for name, many in state.tally.rules.most_common() if many]
    room = view.width - sum(width(span.text) for span in spans)
    if rules:
        spans.append(Span("rules mask  ", "faint"))
    room -= width(spans[-1].text) if rules else 0
    said = _as_fits([f"{name} {count(many)}" for name, many in rules], room)
    spans.append(Span(cut_end(said, max(0, room), view.glyphs.cut), "faint"))
    return fitted(spans, view.width)


def _as_fits(parts: Sequence[str], cells: int) -> str:
    for shown in range(len(parts), 0, -1):
        more = f"  + {len(parts) - shown} more" if shown < len(parts) else ""
        said = "  ".join(parts[:shown]) + more
        if width(said) <= cells:
            return said
    return ""
