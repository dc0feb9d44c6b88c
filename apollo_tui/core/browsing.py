"""The web for one rollout: what it may reach, which page is open, whom it searches with.

Nothing is remembered here: the open page is a fact of the log (`PageViewed`) and settings and keys
are read anew at each use.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass

from apollo_tui.config import Config, WebSettings, get_key, load
from apollo_tui.core.recorder import Recorder
from apollo_tui.errors import ConfigError, WebError
from apollo_tui.log.events import PageViewed
from apollo_tui.log.types import RolloutSpec
from apollo_tui.paths import Home
from apollo_tui.web.addresses import Access, matches
from apollo_tui.web.cache import Cache
from apollo_tui.web.engines import Engine, Found, search
from apollo_tui.web.fetch import Limits, fetch, host_of
from apollo_tui.web.page import Page
from apollo_tui.web.reading import read_page

logger = logging.getLogger(__name__)


def has_web(spec: RolloutSpec) -> bool:
    """Whether a rollout's task lets it read the web: it has a network, or lists hosts."""
    return spec.network or spec.task.network or bool(spec.task.web_hosts)


@dataclass(frozen=True)
class Searched:
    """What a search gave. `elsewhere`: results left out, of hosts that the task does not list."""

    engine: str
    found: tuple[Found, ...]
    remembered: bool = False
    elsewhere: int = 0


class Browser:
    def __init__(self, recorder: Recorder, home: Home) -> None:
        self.recorder = recorder
        self.home = home

    @property
    def view(self) -> PageViewed | None:
        """Which page is open, and what of it was shown last."""
        return self.recorder.progress.page

    async def open(self, url: str) -> Page:
        """Fetch and read a page. Raises WebError."""
        settings = (await self._settings()).web
        access = Access(self._hosts(), settings.private_hosts)
        limits = Limits(settings.seconds, int(settings.size_mb * (1 << 20)), settings.redirects)
        return await read_page(await fetch(url, access, limits), limits)

    async def page(self) -> Page:
        """The open page, as it was when it was opened. Raises WebError when there is none."""
        if self.view is None:
            raise WebError("no page is open; open one with web_browse")
        ref = self.view.page_ref
        texts = await self.recorder.log.texts({ref})
        return await asyncio.to_thread(Page.model_validate_json, texts[ref])

    async def search(self, query: str, top_k: int) -> Searched:
        """Ask the configured engine, or the disk when it was asked before. Raises WebError."""
        hosts = self._hosts()
        settings = (await self._settings()).web
        engine = await asyncio.to_thread(self._engine, settings)
        cache = Cache(self.home.path / "web" / "search", settings.cache_hours * 3600)
        found = await asyncio.to_thread(cache.get, engine, query, top_k)
        remembered = found is not None
        if found is None:
            found = await search(engine, query, top_k)
            try:
                await asyncio.to_thread(cache.put, engine, query, top_k, found)
            except OSError as error:
                logger.warning("a search was not kept in %s: %s", cache.folder, error.strerror)
        kept = tuple(one for one in found if _is_among(hosts, one.link))
        return Searched(engine.name, kept, remembered, len(found) - len(kept))

    def _hosts(self) -> tuple[str, ...]:
        """The only hosts that may be read; none: all. Raises WebError when the web is off."""
        spec = self.recorder.progress.spec
        assert spec is not None
        if not has_web(spec):
            raise WebError("this task has no network and lists no hosts to read")
        return spec.task.web_hosts

    async def _settings(self) -> Config:
        try:
            return await asyncio.to_thread(load, self.home)
        except ConfigError as error:
            raise self._unreadable(error) from error

    def _engine(self, settings: WebSettings) -> Engine:
        if settings.search is None:
            raise WebError(
                "no search engine is set up here; the operator can name one in config.toml: "
                '[web] search = "serper"'
            )
        try:
            key = get_key(self.home, settings.search, os.environ)
        except ConfigError as error:
            raise self._unreadable(error) from error
        if key is None:
            raise WebError(
                f"there is no key for the search engine {settings.search}; the operator can set "
                f"it with: apollo-tui auth set {settings.search}"
            )
        return Engine(settings.search, key, settings.search_url, settings.region, settings.language)

    def _unreadable(self, error: ConfigError) -> WebError:
        """The agent need not read about the files of its operator."""
        logger.warning("the web tools cannot be used: %s", error.line)
        return WebError("the operator's settings cannot be read; core.log says why")


def _is_among(hosts: tuple[str, ...], link: str) -> bool:
    if not hosts:
        return True
    try:
        host, port = host_of(link)
    except WebError:
        return False
    return any(matches(one, host, port) for one in hosts)
