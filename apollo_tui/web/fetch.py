"""Fetching one address within limits, each hop checked, the connection pinned to what was checked.

A request goes to the address itself, with the host's name in its Host header and in TLS: between the
check and the connection nobody is asked again where the name leads. No cookies, no credentials, no
proxy; of the environment only the certificates it trusts ($SSL_CERT_FILE).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from email.message import Message

import httpx2

from apollo_tui.errors import WebError
from apollo_tui.web.addresses import Access, Address, parse_address

_ADDRESSES_TRIED = 3  # of a host that has several
_CONNECT_SECONDS = 10.0
_LONGEST = 4000  # characters of a web address
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
_HEADERS = {
    "Accept": "text/html,application/xhtml+xml,text/*;q=0.9,application/json;q=0.9,*/*;q=0.1",
    "Accept-Encoding": "gzip, deflate",
    "Accept-Language": "en, *;q=0.5",
    "User-Agent": "Mozilla/5.0 (compatible; apollo-tui)",
}

Resolver = Callable[[str, int], Awaitable[Sequence[Address]]]


@dataclass(frozen=True)
class Limits:
    seconds: float = 30.0  # for all of it: names, connections, redirects, the body
    size: int = 4 << 20  # bytes of a body, unpacked; what follows is not read
    redirects: int = 5


@dataclass(frozen=True)
class Fetched:
    url: str  # where it was in the end
    media_type: str  # in lower case; empty when the server names none
    charset: str | None
    body: bytes
    cut: bool = False  # it was longer than the limit


async def resolve(host: str, port: int) -> Sequence[Address]:
    """The addresses of a host, best first."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(parse_address(str(one[4][0])) for one in found))


async def fetch(
    url: str, access: Access, limits: Limits | None = None, resolver: Resolver = resolve
) -> Fetched:
    """GET an address, following redirects. Raises WebError: not allowed, not found, too slow."""
    limits = limits or Limits()
    try:
        async with asyncio.timeout(limits.seconds):
            return await _Fetch(access, limits, resolver).follow(_parse(url))
    except TimeoutError:
        raise WebError(f"{_short(url)} took longer than {limits.seconds:g} s") from None


class _Fetch:
    """One fetch with all its hops."""

    def __init__(self, access: Access, limits: Limits, resolver: Resolver) -> None:
        self.access = access
        self.limits = limits
        self.resolver = resolver
        self.tls = httpx2.create_ssl_context()

    async def follow(self, url: httpx2.URL) -> Fetched:
        for _ in range(self.limits.redirects + 1):
            answer = await self._hop(url)
            if isinstance(answer, Fetched):
                return answer
            url = answer
        raise WebError(
            f"{_short(str(url))} was not reached: more than {self.limits.redirects} redirects"
        )

    async def _hop(self, url: httpx2.URL) -> Fetched | httpx2.URL:
        """What one address answers: something to read, or where to go instead."""
        host, port = _host_and_port(url)
        self.access.check_host(host, port)
        last: httpx2.HTTPError | None = None
        for address in (await self._addresses(host, port))[:_ADDRESSES_TRIED]:
            try:
                return await self._ask(url, host, address)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                last = error
            except httpx2.HTTPError as error:
                raise WebError(f"{_short(str(url))} broke off: {_why(error)}") from error
        raise WebError(f"{host} cannot be reached: {_why(last)}") from last

    async def _addresses(self, host: str, port: int) -> Sequence[Address]:
        """All addresses of a host. One that is refused refuses the host: it would be asked next time."""
        try:
            found = await self.resolver(host, port)
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "no such name"
            raise WebError(f"{host} cannot be found: {why}") from error
        if not found:
            raise WebError(f"{host} cannot be found: it has no address")
        for address in found:
            self.access.check_address(host, port, address)
        return found

    async def _ask(self, url: httpx2.URL, host: str, address: Address) -> Fetched | httpx2.URL:
        # A client of its own for each hop: neither cookies nor a connection made for another name.
        async with httpx2.AsyncClient(
            trust_env=False,
            verify=self.tls,
            follow_redirects=False,
            timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
        ) as client:
            request = client.build_request(
                "GET",
                url.copy_with(host=str(address), fragment=None),
                headers=_HEADERS | {"Host": url.netloc.decode("ascii")},
                extensions={"sni_hostname": host},
            )
            response = await client.send(request, stream=True)
            try:
                return await self._read(url, response)
            finally:
                await response.aclose()

    async def _read(self, url: httpx2.URL, response: httpx2.Response) -> Fetched | httpx2.URL:
        location = response.headers.get("location", "")
        if response.status_code in _REDIRECTS and location:
            return _parse(location, url)
        if not response.is_success:
            said = f"{response.status_code} {response.reason_phrase[:100]}".strip()
            raise WebError(f"{_short(str(url))} answered {said}")
        coding = response.headers.get("content-encoding", "").strip().lower()
        if coding not in _CODINGS:
            raise WebError(
                f"{_short(str(url))} is packed in a way nobody asked for: {coding[:40]!r}"
            )
        body, cut = await self._body(response)
        media_type, charset = content_type(response.headers.get("content-type", ""))
        return Fetched(str(url), media_type, charset, body, cut)

    async def _body(self, response: httpx2.Response) -> tuple[bytes, bool]:
        """As much as the limit allows, and whether there was more. Unpacked piece by piece: a small
        body that unpacks to a huge one costs no more than the limit."""
        body = bytearray()
        async with aclosing(response.aiter_bytes()) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > self.limits.size:
                    return bytes(body[: self.limits.size]), True
        return bytes(body), False


def host_of(url: str) -> tuple[str, int]:
    """Host and port of a web address. Raises WebError for what is none."""
    return _host_and_port(_parse(url))


def _host_and_port(url: httpx2.URL) -> tuple[str, int]:
    return url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80)


def content_type(header: str) -> tuple[str, str | None]:
    """Media type and charset of a Content-Type header."""
    message = Message()
    message["Content-Type"] = " ".join(header.split())
    named = message.get_param("charset")
    return (message.get_content_type() if header.strip() else ""), (
        named.strip() if isinstance(named, str) and named.strip() else None
    )


def _parse(text: str, base: httpx2.URL | None = None) -> httpx2.URL:
    """Raises WebError for what is no address of a web page."""
    shown = _short(text)
    if len(text) > _LONGEST:
        raise WebError(f"{shown} is no address: it has {len(text):,} characters")
    try:
        url = httpx2.URL(text.strip()) if base is None else base.join(text.strip())
        usable = url.scheme in ("http", "https") and url.host and 0 < (url.port or 1) < 65536
        url.raw_host.decode("ascii")
    except (httpx2.InvalidURL, UnicodeError, ValueError):
        usable = False
    if not usable:
        raise WebError(f"{shown} is no address of a web page; write it like https://example.org/a")
    if url.userinfo:
        raise WebError(f"{url.host}: an address with a user name or a password is not asked")
    return url


def _short(url: str) -> str:
    url = " ".join(url.split())
    return url if len(url) <= 300 else f"{url[:299]}…"


def _why(error: Exception | None) -> str:
    """The cause in a few words; errors of the connection say it best at their root."""
    root: BaseException | None = error
    while root is not None and (root.__cause__ or root.__context__):
        root = root.__cause__ or root.__context__
    if isinstance(root, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({root.verify_message})"
    if isinstance(root, OSError) and root.strerror:
        return root.strerror
    if isinstance(error, httpx2.TimeoutException):
        return f"no connection within {_CONNECT_SECONDS:g} s"
    return " ".join(str(error or root).split())[:200] or type(error).__name__
