"""ApolloApp: the console as a Textual application. What it holds is shared by its screens."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path, PurePath
from typing import Any, ClassVar

from rich.console import Console
from textual import events
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.screen import Screen

from apollo_tui.client import Appended, Client, CoreBack, CoreGone, Streamed, who_am_i
from apollo_tui.errors import ApolloError
from apollo_tui.log.read import History
from apollo_tui.paths import Home
from apollo_tui.screens.glyphs import Glyphs, glyphs_here
from apollo_tui.screens.link import Heard, Link, Order
from apollo_tui.screens.marks import Marks, Request
from apollo_tui.screens.palette import Palette
from apollo_tui.screens.streams import Streams
from apollo_tui.screens.supervising import SupervisingScreen
from apollo_tui.screens.themes import DAY, NIGHT, THEMES

REPAINT = 0.1
"""Seconds between repaints for what comes from the core: at most ten a second."""
NEWS = 4
"""Keys after which a mark is no longer said in the footer; undo still takes it back."""


class ApolloApp(App[int]):
    """`connect=False` shows history only; `clock` gives UTC µs; `disk` free bytes of the home.

    Without `colour` everything reads by weight, dimness and reversed rows.
    """

    TITLE = "apollo"
    CSS_PATH: ClassVar[list[str | PurePath]] = [
        Path(__file__).with_name(f"{name}.tcss")
        for name in ("app", "console", "rollout", "review", "help")
    ]
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "detach", "detach", show=False, priority=True, id="detach"),
        Binding("ctrl+c", "say_how_to_leave", "how to leave", show=False, id="how-to-leave"),
    ]

    def __init__(
        self,
        home: Home,
        annotator: str,
        *,
        connect: bool = True,
        clock: Callable[[], int] | None = None,
        disk: Callable[[], int | None] | None = None,
        glyphs: Glyphs | None = None,
        colour: bool | None = None,
    ) -> None:
        self.colour = has_colours() if colour is None else colour
        with nullcontext() if self.colour else no_color():
            super().__init__(ansi_color=not self.colour)
        self.home = home
        self.annotator = annotator
        self.history = History(home.database)
        self.marks = Marks(annotator)
        self.streams = Streams()
        self.glyphs = glyphs or glyphs_here()
        self.drafts: dict[tuple[str, str], str] = {}
        self.error = ""  # one line, until the next key
        self.said = ""  # one line about the last act, until the next key
        self._keys_since_act = 0
        # What there is to say about the core; "" when all is well.
        self.core = "" if connect else "no core, reading history"
        self.core_gone = not connect
        self._connect = connect
        self._clock = clock or (lambda: time.time_ns() // 1000)
        self._disk = disk or self._free_bytes
        self._link = Link(Client(home, annotator), self._hear)
        self._changed: set[str] = set()
        self._streamed: set[str] = set()
        self._painted = 0.0
        self._painting = False
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = NIGHT.name
        self.palette = Palette(NIGHT, colour=self.colour)

    def now(self) -> int:
        """UTC microseconds."""
        return self._clock()

    def free_bytes(self) -> int | None:
        return self._disk()

    def _free_bytes(self) -> int | None:
        try:
            return shutil.disk_usage(self.home.path).free
        except OSError:
            return None

    # --- from start to end ---------------------------------------------------------------------

    def on_mount(self) -> None:
        from apollo_tui.screens.console import ConsoleScreen

        self.theme_changed_signal.subscribe(self, lambda _: self._take_theme())
        self.push_screen(ConsoleScreen())
        self.set_interval(60, self._minute)
        if self._connect:
            self.call_after_refresh(self._begin_link)

    def _begin_link(self) -> None:
        self.run_worker(self._link.follow(), name="follow", exit_on_error=True)
        self.run_worker(self._link.deliver(), name="deliver", exit_on_error=True)

    def _minute(self) -> None:
        """Ages are shown in minutes, so nothing runs faster than this when all is quiet."""
        if self.core == "core back":
            self.core = ""
        self.read(None)

    async def on_unmount(self) -> None:
        await self._link.close()
        self.history.close()

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key) and not event.is_forwarded:  # it may bubble up once more
            self._keys_since_act += 1
            if self.error or self.said or self._keys_since_act == NEWS:
                self.error = self.said = ""
                self._footer()
        await super().on_event(event)

    def action_detach(self) -> None:
        self.exit(0)

    def action_say_how_to_leave(self) -> None:
        self.complain("q goes back, and at home it detaches; the rollouts go on")

    def get_key_display(self, binding: Binding) -> str:
        """Keys as they are written everywhere else: enter, esc, ctrl+r."""
        from textual.keys import format_key

        names = {"escape": "esc", "enter": "enter", "pagedown": "pgdn", "pageup": "pgup"}
        *modifiers, key = binding.key.split("+") if len(binding.key) > 1 else [binding.key]
        shown = names.get(key) or format_key(key)
        if self.glyphs.ascii and not shown.isascii():
            shown = key  # left, up: no arrows
        return "+".join([*modifiers, shown])

    def action_help(self) -> None:
        from apollo_tui.screens.help import HelpScreen

        self.push_screen(HelpScreen(self.screen))

    # --- what comes from the core --------------------------------------------------------------

    def _hear(self, heard: Heard) -> None:
        match heard:
            case Appended():
                self._changed.update(heard.rollouts or ("",))
            case Streamed():
                self.streams.add(heard)
                self._streamed.add(heard.rollout)
            case CoreGone():
                at = time.strftime("%H:%M", time.localtime(self.now() / 1e6))
                self.core, self.core_gone = f"core gone {at}, reading history", True
                self.streams.forget()
                self._changed.add("")
            case CoreBack():
                self.core, self.core_gone = "core back", False
                self._changed.add("")
        self._repaint_soon()

    def _repaint_soon(self) -> None:
        if self._painting:
            return
        self._painting = True
        wait = max(0.0, self._painted + REPAINT - time.monotonic())
        self.set_timer(wait or 0.001, self._repaint)

    def _repaint(self) -> None:
        self._painting = False
        self._painted = time.monotonic()
        changed, self._changed = self._changed, set()
        streamed, self._streamed = self._streamed - changed, set()
        if changed:
            self.read(None if "" in changed else changed)
        if streamed and (screen := self._supervising) is not None:
            screen.stream(streamed)

    @property
    def _supervising(self) -> SupervisingScreen | None:
        """The screen on top, unless help or the palette covers it, or the program is ending."""
        screen = self.screen_stack[-1] if self.screen_stack else None
        return screen if isinstance(screen, SupervisingScreen) else None

    def read(self, rollouts: set[str] | None) -> None:
        """Have the screen read from the log what may have changed."""
        screen = self._supervising
        if screen is None:  # it reads when it is back on top
            return
        try:
            screen.read(rollouts)
        except ApolloError as error:
            self.complain(error.line)

    # --- what goes to the core -----------------------------------------------------------------

    def can_command(self) -> bool:
        """Whether the core can be told anything now; else says why not."""
        if self.core_gone:
            self.complain(
                "the core is gone, so nothing can be changed now; "
                "the command 'start the core' (key :) brings it back"
            )
        return not self.core_gone

    def command(
        self,
        send: Callable[[Client], Awaitable[Any]],
        *,
        done: Callable[[Any], None] | None = None,
    ) -> None:
        """Ask the core; a refusal is shown in the footer."""
        self._link.send(
            Order(send, done or (lambda _: None), lambda error: self.complain(error.line))
        )

    def send_marks(self, requests: Iterable[Request]) -> None:
        """Send marks on their way; they are shown at once."""
        self._keys_since_act = 0
        for request in requests:
            self._send_marks(request)
        self._marks_changed()

    @property
    def act_is_old(self) -> bool:
        """Whether so much was done since the last mark that the footer has better to say."""
        return self._keys_since_act >= NEWS

    def forget_act(self) -> None:
        """Another screen is shown: the last mark is no news there."""
        self._keys_since_act = NEWS

    def _send_marks(self, request: Request) -> None:
        async def send(client: Client) -> None:
            mark = request.mark
            if mark.kind:
                await client.mark(
                    request.rollout,
                    request.places,
                    mark.kind,
                    code=mark.code,
                    note=mark.note,
                )
            else:
                await client.unmark(request.rollout, request.places)

        def done(_: Any) -> None:
            self.marks.arrived(request)
            self.read({request.rollout})
            self._footer()

        def refused(error: ApolloError) -> None:
            self.marks.refused(request)
            self._marks_changed()
            self.complain(error.line)

        self._link.send(Order(send, done, refused))

    def _marks_changed(self) -> None:
        if (screen := self._supervising) is not None:
            screen.marks_changed()
            screen.draw_footer()

    def complain(self, message: str) -> None:
        """One line in the footer, which stays until a key."""
        self.error = message
        self._footer()

    def _footer(self) -> None:
        if (screen := self._supervising) is not None:
            try:
                screen.draw_footer()
            except NoMatches:  # it has not been composed yet, and draws its footer then
                return

    def action_start_core(self) -> None:
        async def start(client: Client) -> None:
            await client.open(start=True)

        if self.core_gone:
            self.command(start)

    # --- looks ---------------------------------------------------------------------------------

    def _take_theme(self) -> None:
        self.palette = Palette(self.current_theme, colour=self.colour)
        for widget in self.screen.walk_children():
            widget.refresh()

    def action_day(self) -> None:
        self.theme = DAY.name

    def action_night(self) -> None:
        self.theme = NIGHT.name

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Every action of the screen, then what concerns the whole program."""
        found: dict[str, Binding] = {}
        for active in screen.active_bindings.values():
            binding = active.binding
            ours = active.node is screen and binding.id is not None and binding.show
            if ours and binding.action != "app.command_palette":
                found.setdefault(binding.action, binding)
        longest = max((len(binding.description) for binding in found.values()), default=0)
        for action, binding in found.items():
            yield SystemCommand(
                f"{binding.description:<{longest + 3}}{self.get_key_display(binding)}",
                "",
                lambda action=action: self.run_worker(
                    screen.run_action(action), exit_on_error=True
                ),
            )
        if self.theme == DAY.name:
            yield SystemCommand(f"theme: {NIGHT.name}", "", self.action_night)
        else:
            yield SystemCommand(f"theme: {DAY.name}", "", self.action_day)
        if self.core_gone:
            yield SystemCommand("start the core", "", self.action_start_core)
        if "app.detach" not in found:
            yield SystemCommand("detach", "", self.action_detach)


def has_colours() -> bool:
    """Whether to use colours: not where NO_COLOR asks for none, or the terminal has only 16."""
    if os.environ.get("NO_COLOR"):
        return False
    return Console(force_terminal=True).color_system not in ("standard", None)


@contextmanager
def no_color() -> Iterator[None]:
    """Textual decides by the environment, while an App is made, to send no colour at all."""
    before = os.environ.get("NO_COLOR")
    os.environ["NO_COLOR"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["NO_COLOR"]
        else:
            os.environ["NO_COLOR"] = before


def run_console(home: Home, annotator: str | None = None) -> int:
    """Show the console until the annotator detaches; returns the exit code."""
    app = ApolloApp(home, who_am_i(home, annotator))
    going = 0
    code = app.run()
    try:
        going = sum(
            row.state not in ("finished", "failed", "stopped")
            for row in History(home.database).rollouts()
        )
    except ApolloError:
        going = 0
    print(farewell(going))  # noqa: T201
    return app.return_code or code or 0


def farewell(going: int) -> str:
    """What is left on the terminal after detaching."""
    if not going:
        return "detached; no rollout is going on. apollo-tui brings you back"
    noun = "rollout goes" if going == 1 else "rollouts go"
    return f"detached; {going} {noun} on. apollo-tui brings you back"
