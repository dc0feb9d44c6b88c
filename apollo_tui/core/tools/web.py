"""Searching and reading the web, under the names and arguments of ResearchGym's web actions.

They run in the core and are there only where the task has a network or lists hosts. What is open is
recorded together with the action's end, so an action that is run again begins from where it began.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from pydantic import Field

from apollo_tui.core.browsing import Browser
from apollo_tui.core.tools import Arguments, Situation, ToolResult
from apollo_tui.core.tools.observation import SUMMARY_AT_MOST, observation, storable
from apollo_tui.core.tools.system import CoreTool, Nothing
from apollo_tui.errors import WebError
from apollo_tui.log.events import PageViewed
from apollo_tui.log.texts import text_hash
from apollo_tui.log.types import Text
from apollo_tui.web.page import Page

MOST_RESULTS = 100
_CONTEXT = Field(default=5, ge=0, le=100, description="How many lines to show around it.")


class WebSearch(Arguments):
    query: Text = Field(min_length=1, max_length=2000, description="What to search for.")
    top_k: int = Field(default=10, ge=1, description="How many results at most; 100 is the most.")


class WebBrowse(Arguments):
    url: Text = Field(min_length=1, description="The page's address: https://…")
    line_number: int = Field(default=1, ge=1, description="The line to show in the middle.")


class GotoLine(Arguments):
    line_number: int = Field(ge=1, description="The line of the open page to go to.")


class PageSearch(Arguments):
    keyword: Text = Field(min_length=1, description="The text to look for, whatever its case.")
    context_lines: int = _CONTEXT


class SearchNext(Arguments):
    context_lines: int = _CONTEXT
    search_index: int = Field(
        default=0,
        ge=0,
        description="Which match to show, counted from 1 and on from the start; 0: the next.",
    )


class GetLinks(Arguments):
    page_size: int = Field(default=10, ge=1, le=100, description="How many links to list.")
    page_number: int = Field(default=1, ge=1, description="Which of the pages of links.")


# --- searching ---------------------------------------------------------------------------------


async def _search(arguments: WebSearch, browser: Browser) -> ToolResult:
    query = " ".join(arguments.query.split())
    if not query:
        raise WebError("the query is empty")
    searched = await browser.search(query, min(arguments.top_k, MOST_RESULTS))
    count = len(searched.found)
    said = f"{_count(count, 'result')} of {searched.engine}" if count else "nothing was found"
    if searched.elsewhere:
        said += f"; {searched.elsewhere} left out, of hosts that this task does not list"
    if searched.remembered:
        said += " (asked before, as it was then)"
    blocks = [
        "\n".join(
            [
                f"{number}. {' '.join(one.title.split())}",
                *(f"   {part}" for part in (one.link, " ".join(one.snippet.split())) if part),
                *([f"   {one.date}"] if one.date else []),
            ]
        )
        for number, one in enumerate(searched.found, 1)
    ]
    return _told(said, "\n".join(blocks), summary=said, lines=count)


# --- reading -----------------------------------------------------------------------------------


async def _browse(arguments: WebBrowse, browser: Browser) -> ToolResult:
    page = await browser.open(arguments.url)
    window = page.around(arguments.line_number) if page.lines else (0, 0)
    stored = storable(page.model_dump_json())
    result = _shown(page, window)
    first, last = window
    viewed = _viewed(browser, url=page.url, page_ref=text_hash(stored), first=first, last=last)
    return _with(result, viewed, stored)


async def _goto_line(arguments: GotoLine, browser: Browser) -> ToolResult:
    page, view = await _open_page(browser)
    if arguments.line_number > len(page.lines):
        raise WebError(f"the page has only {_count(len(page.lines), 'line')}")
    return _moved(browser, view, page, page.around(arguments.line_number))


async def _scroll_down(arguments: Nothing, browser: Browser) -> ToolResult:
    page, view = await _open_page(browser)
    if view.last >= len(page.lines):
        raise WebError(f"line {view.last} is the last one; the page ends there")
    return _moved(browser, view, page, page.below(view.last + 1))


async def _scroll_up(arguments: Nothing, browser: Browser) -> ToolResult:
    page, view = await _open_page(browser)
    if view.first <= 1:
        raise WebError("the page begins here; there is nothing above")
    return _moved(browser, view, page, page.above(view.first - 1))


async def _find(arguments: PageSearch, browser: Browser) -> ToolResult:
    page, view = await _open_page(browser)
    return _match(browser, view, page, arguments.keyword, 1, arguments.context_lines)


async def _find_next(arguments: SearchNext, browser: Browser) -> ToolResult:
    page, view = await _open_page(browser)
    if not view.keyword:
        raise WebError("nothing was searched for on this page; begin with web_page_search")
    wanted = arguments.search_index or view.match + 1
    return _match(browser, view, page, view.keyword, wanted, arguments.context_lines)


async def _links(arguments: GetLinks, browser: Browser) -> ToolResult:
    page, _ = await _open_page(browser)
    total, size = len(page.links), arguments.page_size
    if not total:
        return _told("there are no links on this page", "", summary="no links")
    pages = -(-total // size)
    if arguments.page_number > pages:
        raise WebError(
            f"there {'is' if pages == 1 else 'are'} only {_count(pages, 'page')} of links"
        )
    start = (arguments.page_number - 1) * size
    shown = page.links[start : start + size]
    said = f"links {start + 1}-{start + len(shown)} of {total} on {page.url}"
    if arguments.page_number < pages:
        said += f"; the next are on page_number {arguments.page_number + 1} of {pages}"
    lines = [
        f"{number}. {link.text or '(no text)'} -> {link.href} (line {link.line})"
        for number, link in enumerate(shown, start + 1)
    ]
    return _told(said, "\n".join(lines), summary=f"{_count(total, 'link')}", lines=len(lines))


async def _open_page(browser: Browser) -> tuple[Page, PageViewed]:
    page, view = await browser.page(), browser.view
    assert view is not None, "there is a page, so there is a view of it"
    if not page.lines:
        raise WebError(f"{page.url} has no text")
    return page, view


def _moved(browser: Browser, view: PageViewed, page: Page, window: tuple[int, int]) -> ToolResult:
    first, last = window
    moved = _viewed(browser, view, first=first, last=last)
    return _with(_shown(page, window), moved)


def _match(
    browser: Browser, view: PageViewed, page: Page, keyword: str, wanted: int, context: int
) -> ToolResult:
    """One line that holds the keyword, with what stands around it. The view stays where it was."""
    hits = page.find(keyword)
    if not hits:
        said = f'"{keyword}" is not on this page'
        return _with(
            _told(said, "", summary=said), _viewed(browser, view, keyword=keyword, match=0)
        )
    number = (wanted - 1) % len(hits) + 1
    line = hits[number - 1]
    said = f'match {number} of {len(hits)} for "{keyword}", in line {line}'
    if len(hits) > 1:
        said += "; web_page_search_next shows " + (
            "the next" if number < len(hits) else "the first again"
        )
    window = page.around(line, 2 * context + 1)
    text = _numbered(page, window, marked=line)
    result = _told(said, text, summary=f"{_count(len(hits), 'match', 'matches')}", lines=len(hits))
    return _with(result, _viewed(browser, view, keyword=keyword, match=number))


# --- how it is said ----------------------------------------------------------------------------


def _shown(page: Page, window: tuple[int, int]) -> ToolResult:
    """Lines of a page, with where they stand in it."""
    first, last = window
    name = f"{page.title} · {page.url}" if page.title else page.url
    place = f"lines {first}-{last} of {len(page.lines)}" if page.lines else "no lines"
    hints = list(page.notes)
    if first > 1:
        hints.append(f"{_count(first - 1, 'line')} above")
    if last < len(page.lines):
        hints.append(f"{_count(len(page.lines) - last, 'line')} below: web_page_scroll_down")
    said = f"{name} · {place}" + (f" ({'; '.join(hints)})" if hints else "")
    return _told(
        said,
        _numbered(page, window),
        summary=f"{page.title or page.url} · {_count(len(page.lines), 'line')}",
        lines=last - first + 1 if page.lines else 0,
    )


def _numbered(page: Page, window: tuple[int, int], marked: int = 0) -> str:
    first, last = window
    if not page.lines:
        return ""
    width = len(str(last))
    return "\n".join(
        f"{'>' if number == marked else ' ' if marked else ''}{number:{width}}| {line}"
        for number, line in enumerate(page.lines[first - 1 : last], first)
    )


def _count(number: int, one: str, more: str = "") -> str:
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def _told(message: str, text: str, *, summary: str, lines: int = 0) -> ToolResult:
    at = time.time_ns() // 1000
    return ToolResult(
        observation("web", at, text, success=True, message=message),
        summary=storable(summary)[:SUMMARY_AT_MOST],
        lines=lines,
    )


def _viewed(browser: Browser, before: PageViewed | None = None, **changes: Any) -> PageViewed:
    """The view after this action: a new one, or the one before with changes."""
    running = browser.recorder.progress.running_action
    assert running is not None, "it is recorded before a tool runs"
    kept = (
        before.model_dump(include={"url", "page_ref", "first", "last", "keyword", "match"})
        if before
        else {}
    )
    return PageViewed(
        rollout=running.rollout, step=running.step, ordinal=running.ordinal, **kept | changes
    )


def _with(result: ToolResult, viewed: PageViewed, *texts: str) -> ToolResult:
    return replace(result, events=(viewed,), texts=texts)


def _tool(
    name: str,
    description: str,
    arguments: type[Arguments],
    line: Callable[[Any], str],
    do: Callable[[Any, Browser], Awaitable[ToolResult]],
) -> CoreTool:
    async def run(given: Any, situation: Situation) -> ToolResult:
        try:
            return await do(given, situation.browser)
        except WebError as error:
            said = storable(error.line)
            at = time.time_ns() // 1000
            return ToolResult(
                observation("web", at, success=False, message=said),
                "failed",
                summary=said[:SUMMARY_AT_MOST],
                error=True,
            )

    return CoreTool(name, description, arguments, line, run)


WEB_TOOLS = (
    _tool(
        "web_search",
        "Search the web; gives titles, addresses and excerpts.",
        WebSearch,
        lambda a: " ".join(a.query.split())[:400],
        _search,
    ),
    _tool(
        "web_browse",
        "Open a web page as text with line numbers and show it around a line. JavaScript is not "
        "run. It becomes the open page.",
        WebBrowse,
        lambda a: " ".join(a.url.split())[:400],
        _browse,
    ),
    _tool(
        "web_page_goto_line",
        "Show the open page around a line.",
        GotoLine,
        lambda a: str(a.line_number),
        _goto_line,
    ),
    _tool(
        "web_page_scroll_down",
        "Show what follows in the open page.",
        Nothing,
        lambda _: "",
        _scroll_down,
    ),
    _tool(
        "web_page_scroll_up",
        "Show what comes before in the open page.",
        Nothing,
        lambda _: "",
        _scroll_up,
    ),
    _tool(
        "web_page_search",
        "Find a text in the open page: how often it is there, and the first place.",
        PageSearch,
        lambda a: f'"{" ".join(a.keyword.split())[:400]}"',
        _find,
    ),
    _tool(
        "web_page_search_next",
        "Show the next place of the text that was searched for in the open page.",
        SearchNext,
        lambda a: str(a.search_index or ""),
        _find_next,
    ),
    _tool(
        "web_page_get_links",
        "List the links of the open page, page by page.",
        GetLinks,
        lambda a: "" if a.page_number == 1 else f"page {a.page_number}",
        _links,
    ),
)
