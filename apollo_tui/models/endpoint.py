"""Where a model answers, with which key, and whether anybody is there."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from apollo_tui.config import ModelSettings, get_key
from apollo_tui.errors import ConfigError, KeyMissing
from apollo_tui.models.failures import Caller, connection_reason, nobody_answers, set_key_line
from apollo_tui.paths import Home

OFFICIAL = {"anthropic": "https://api.anthropic.com", "openai": "https://api.openai.com/v1"}

CONNECT_SECONDS = 10.0
READ_SECONDS = 600.0  # a reasoning model may be silent for minutes
_CHECK_SECONDS = 5.0


@dataclass(frozen=True)
class Endpoint:
    """One model behind one API. `key_name` is what `apollo-tui auth set` calls its key."""

    name: str
    key_name: str
    settings: ModelSettings
    home: Home
    environ: Mapping[str, str]

    @property
    def base_url(self) -> str:
        return self.settings.base_url or OFFICIAL[self.settings.api]

    @property
    def official(self) -> bool:
        return urlsplit(self.base_url).hostname == urlsplit(OFFICIAL[self.settings.api]).hostname

    def caller(self) -> Caller:
        """Who asks, with the key read anew. Raises KeyMissing.

        An own server usually wants no key, and gets "none" when there is none.
        """
        try:
            key = get_key(self.home, self.key_name, self.environ, api=self.settings.api)
        except ConfigError as error:
            raise KeyMissing(error.line) from error
        if key is None and self.official:
            raise KeyMissing(f"there is no key for {self.name}; {set_key_line(self.key_name)}")
        return Caller(self.name, self.base_url, self.key_name, key or "none")

    async def check(self) -> None:
        """Raise KeyMissing without a key, ModelUnavailable when nobody listens."""
        self.caller()
        host, port = _first_hop(urlsplit(self.base_url))
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                _, writer = await asyncio.open_connection(host, port)
        except TimeoutError:
            why = f"no connection within {_CHECK_SECONDS:g} s"
        except OSError as error:
            why = connection_reason(error)
        else:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return
        raise nobody_answers(self.base_url, why)


def _first_hop(url: SplitResult) -> tuple[str, int]:
    """Host and port that a request to `url` connects to: a proxy's where the environment has one."""
    host = url.hostname or ""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(host):
        hop = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        return hop.hostname or host, hop.port or (1080 if hop.scheme.startswith("socks") else 80)
    return host, url.port or (443 if url.scheme == "https" else 80)
