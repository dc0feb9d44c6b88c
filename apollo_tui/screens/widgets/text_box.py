"""Where one writes, titled so that nobody mixes up what the agent reads and what it never sees."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import TextArea

from apollo_tui.screens.format import cut_end, plural
from apollo_tui.screens.line import Line, Span, fitted, two_sided
from apollo_tui.screens.widgets.footer import Hint
from apollo_tui.screens.widgets.rows import Rows

READ = "THE AGENT WILL READ THIS"
NEVER = "THE AGENT NEVER SEES THIS"


@dataclass(frozen=True, slots=True)
class Writing:
    """What is being written: `purpose` and `rollout` name the draft that survives closing."""

    purpose: str
    rollout: str
    agent_reads: bool
    heading: str  # "advice 4 to limo-filter"
    foot: str  # when it will arrive, or where it goes

    @property
    def draft(self) -> tuple[str, str]:
        return self.purpose, self.rollout


class Area(TextArea):
    """Enter sends; ctrl+j makes a new line."""

    class Key(Message):
        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    async def _on_key(self, event: events.Key) -> None:
        if event.key in ("enter", "ctrl+s", "escape"):
            event.stop()
            event.prevent_default()
            self.post_message(self.Key(event.key))
        elif event.key in ("ctrl+j", "shift+enter"):
            event.stop()
            event.prevent_default()
            self.insert("\n")
        else:
            await super()._on_key(event)


class TextBox(Vertical):
    """Docked at the bottom, so that the evidence stays in sight."""

    class Sent(Message):
        def __init__(self, writing: Writing, text: str, *, resume: bool) -> None:
            super().__init__()
            self.writing = writing
            self.text = text
            self.resume = resume

    class Closed(Message):
        def __init__(self, writing: Writing, text: str) -> None:
            super().__init__()
            self.writing = writing
            self.text = text

    def __init__(self, writing: Writing, text: str) -> None:
        super().__init__(classes="agent-reads" if writing.agent_reads else "agent-never-sees")
        self.writing = writing
        self._text = text

    def compose(self) -> ComposeResult:
        yield BoxTitle(self.writing)
        area = Area(
            self._text, soft_wrap=True, show_line_numbers=False, highlight_cursor_line=False
        )
        area.cursor_blink = False
        with Vertical(classes="written"):
            yield area
            yield BoxFoot(self.writing)

    def on_mount(self) -> None:
        area = self.query_one(Area)
        area.move_cursor(area.document.end)
        area.focus()
        self.query_one(BoxFoot).count(self._text)

    @property
    def hints(self) -> list[Hint]:
        hints = [("enter", "send" if self.writing.agent_reads else "keep")]
        if self.writing.agent_reads:
            hints.append(("ctrl+s", "send and resume"))
        return [*hints, ("ctrl+j", "new line")]

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        self.query_one(BoxFoot).count(event.text_area.text)

    def on_area_key(self, event: Area.Key) -> None:
        event.stop()
        text = self.query_one(Area).text
        if event.key == "escape" or not text.strip():
            self.post_message(self.Closed(self.writing, text))
        else:
            self.post_message(self.Sent(self.writing, text.strip(), resume=event.key == "ctrl+s"))


class BoxTitle(Rows):
    ground = "surface"

    def __init__(self, writing: Writing) -> None:
        super().__init__()
        self._writing = writing

    def on_resize(self) -> None:
        self.show(
            [
                box_title(
                    self._writing,
                    self.size.width,
                    self.apollo.glyphs.heavy,
                    self.apollo.glyphs.note,
                )
            ]
        )


class BoxFoot(Rows):
    ground = "surface"

    def __init__(self, writing: Writing) -> None:
        super().__init__()
        self._writing = writing
        self._count = 0

    def count(self, text: str) -> None:
        self._count = len(text)
        self.on_resize()

    def on_resize(self) -> None:
        glyphs = self.apollo.glyphs
        sign = Span(f"{glyphs.waiting} " if self._writing.agent_reads else "", "faint")
        room = max(4, self.size.width - 18)
        self.show(
            [
                two_sided(
                    [Span("  "), sign, Span(cut_end(self._writing.foot, room, glyphs.cut), "dim")],
                    [Span(f"{plural(self._count, 'char')}  ", "faint")],
                    self.size.width,
                    ground="surface",
                )
            ]
        )


def box_title(writing: Writing, cells: int, heavy: str, light: str) -> Line:
    reads = writing.agent_reads
    sign, style = (heavy, "accent") if reads else (light, "faint")
    title = Span(f" {READ} ", "accent bold reverse") if reads else Span(NEVER, "text bold")
    room = max(0, cells - len(READ) - 12)
    heading = cut_end(writing.heading, room)
    right = [Span(f" {heading} ", "text" if reads else "dim"), Span(sign, style)] if heading else []
    if cells < len(READ) + 6:
        return fitted([title], cells, "surface")
    return two_sided(
        [Span(f"{sign} ", style), title, Span(" ")],
        right,
        cells,
        ground="surface",
        filler=sign,
        filler_style=style,
    )
