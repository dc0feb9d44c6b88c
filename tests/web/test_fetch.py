"""Fetching from real servers on loopback: allowed, refused, redirected, slow, packed, huge."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import ssl
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from apollo_tui.errors import WebError
from apollo_tui.web.addresses import Access, Address, parse_address
from apollo_tui.web.fetch import Limits, content_type, fetch
from tests.web.serving import Asked, Server, answer, redirect, serving


def allowing(*servers: Server) -> Access:
    return Access(private=tuple(server.host for server in servers))


async def refusal(url: str, access: Access | None = None, limits: Limits | None = None) -> str:
    with pytest.raises(WebError) as caught:
        await fetch(url, access or Access(), limits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_a_page_is_fetched_without_cookies_or_credentials() -> None:
    page = answer("<p>hello", Set_Cookie="a=b")
    async with serving(page=page, first=redirect("/page?q=1#part")) as server:
        server.routes["/first"] = answer(
            status="302 Found", Location="/page?q=1#part", Set_Cookie="a=b; Path=/"
        )
        fetched = await fetch(server.url("/first"), allowing(server))
    assert (fetched.body, fetched.media_type, fetched.charset) == (
        b"<p>hello",
        "text/html",
        "utf-8",
    )
    assert fetched.url == server.url("/page?q=1#part")
    assert [asked.path for asked in server.asked] == ["/first", "/page?q=1"]
    for asked in server.asked:
        assert asked.headers["host"] == server.host
        assert not {"cookie", "authorization", "referer"} & asked.headers.keys()


async def test_this_machine_and_its_networks_are_refused_however_they_are_written() -> None:
    async with serving(page=answer("secret")) as server:
        for host in ("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0.0.0.0", "[::1]",
                     "[::ffff:127.0.0.1]"):  # fmt: skip
            said = await refusal(server.url("/page", host))
            assert "only public addresses" in said or "cannot be found" in said
        said = await refusal(server.url("/page"))
        assert "127.0.0.1 is an address, inside a private network or of this machine" in said
        assert server.asked == []
    assert "only public addresses" in await refusal("http://169.254.169.254/latest/meta-data/")


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:1/",
        "http://localhost:1/",
        "http://169.254.169.254/latest/meta-data/",
        "//169.254.169.254/",
        "http://[fd00:ec2::254]/",
    ],
)
async def test_each_hop_of_a_redirect_is_checked_anew(target: str) -> None:
    async with serving(page=redirect(target)) as server:
        assert "only public addresses" in await refusal(server.url("/page"), allowing(server))
        assert len(server.asked) == 1


async def test_a_redirect_to_another_allowed_server_reaches_nothing_else_there() -> None:
    async with serving(page=answer("inside")) as inner, serving() as outer:
        outer.routes["/go"] = redirect(inner.url("/page"))
        said = await refusal(outer.url("/go"), allowing(outer))
        assert "only public addresses" in said
        assert inner.asked == []
        assert (await fetch(outer.url("/go"), allowing(outer, inner))).body == b"inside"


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://x/", "gopher://x/", "http://u:p@x/"]
)
async def test_a_redirect_leads_only_to_web_addresses(target: str) -> None:
    async with serving(page=redirect(target)) as server:
        said = await refusal(server.url("/page"), allowing(server))
        assert "no address of a web page" in said or "user name or a password" in said


async def test_redirects_end() -> None:
    async with serving(page=redirect("/page")) as server:
        said = await refusal(server.url("/page"), allowing(server), Limits(redirects=3))
        assert "more than 3 redirects" in said
        assert len(server.asked) == 4


async def test_a_task_that_lists_hosts_reaches_only_those_also_by_redirect() -> None:
    async with serving(page=answer("x")) as server:
        server.routes["/go"] = redirect(server.url("/page", "localhost"))
        access = Access(hosts=(server.host,), private=(server.host, f"localhost:{server.port}"))
        assert (await fetch(server.url("/page"), access)).body == b"x"
        said = await refusal(server.url("/go"), access)
        assert said == f"localhost may not be asked: this task allows only {server.host}"


async def test_a_name_is_looked_up_once_and_the_connection_goes_to_what_was_checked() -> None:
    """A name that leads to a public address when it is checked, and elsewhere a moment later."""
    lookups: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[Address]:
        lookups.append(host)
        return [parse_address("127.0.0.1" if len(lookups) == 1 else "127.0.0.2")]

    async with serving(page=answer("pinned")) as server:
        access = Access(private=("rebinding.example",))
        url = server.url("/page", "rebinding.example")
        fetched = await fetch(url, access, resolver=rebinding)
        assert (fetched.body, fetched.url) == (b"pinned", url)
        assert lookups == ["rebinding.example"]
        assert server.asked[0].headers["host"] == f"rebinding.example:{server.port}"


async def test_a_name_with_one_private_address_among_public_ones_is_refused() -> None:
    async def mixed(host: str, port: int) -> Sequence[Address]:
        return [parse_address("93.184.216.34"), parse_address("127.0.0.1")]

    with pytest.raises(WebError, match=r"mixed.example leads to 127.0.0.1, inside a private"):
        await fetch("http://mixed.example/", Access(), resolver=mixed)


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    async def several(host: str, port: int) -> Sequence[Address]:
        return [parse_address("127.0.0.9"), parse_address("127.0.0.1")]

    async with serving(page=answer("second")) as server:
        access = Access(private=("several.example",))
        url = server.url("/page", "several.example")
        assert (await fetch(url, access, resolver=several)).body == b"second"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of pinned.example, and its key, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate, and is not installed")
    made, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    wanted = ["-subj", "/CN=pinned.example", "-addext", "subjectAltName=DNS:pinned.example"]
    files = ["-keyout", str(key), "-out", str(made)]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *wanted, *files],
        check=True,
        capture_output=True,
    )
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + made.read_bytes())
    return both


async def test_over_tls_the_certificate_must_be_the_names_though_the_address_is_asked(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def here(host: str, port: int) -> Sequence[Address]:
        return [parse_address("127.0.0.1")]

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    names: list[str | None] = []
    tls.sni_callback = lambda connection, name, context: names.append(name)
    access = Access(private=("*.example",))
    async with serving(tls, page=answer("safe")) as server:
        good = server.url("/page", "pinned.example").replace("http:", "https:")
        other = server.url("/page", "other.example").replace("http:", "https:")
        with pytest.raises(WebError, match="its certificate is not valid"):
            await fetch(good, access, resolver=here)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert (await fetch(good, access, resolver=here)).body == b"safe"
        with pytest.raises(WebError, match=r"its certificate is not valid .*other\.example"):
            await fetch(other, access, resolver=here)
    assert names == ["pinned.example", "pinned.example", "other.example"]
    assert len(server.asked) == 1


async def test_a_slow_server_costs_no_more_than_the_limit() -> None:
    async def dripping(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async def silent(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    loop = asyncio.get_running_loop()
    async with serving(drip=dripping, silent=silent) as server:
        for path in ("/drip", "/silent"):
            began = loop.time()
            said = await refusal(server.url(path), allowing(server), Limits(seconds=0.3))
            assert said.endswith("took longer than 0.3 s")
            assert loop.time() - began < 2
        server.routes.clear()


async def test_a_long_body_is_cut_and_said_to_be() -> None:
    async with serving(page=answer(b"a" * 10_000_000, "text/plain")) as server:
        fetched = await fetch(server.url("/page"), allowing(server), Limits(size=1_000_000))
        assert (len(fetched.body), fetched.cut) == (1_000_000, True)
        whole = await fetch(server.url("/page"), allowing(server), Limits(size=10_000_000))
        assert (len(whole.body), whole.cut) == (10_000_000, False)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_bomb_is_unpacked_only_to_the_limit(coding: str) -> None:
    pack = zlib.compressobj(9, zlib.DEFLATED, 31 if coding == "gzip" else 15)
    bomb = b"".join([pack.compress(b"\0" * (1 << 20)) for _ in range(300)] + [pack.flush()])
    assert len(bomb) < 400_000
    async with serving(page=answer(bomb, "text/plain", Content_Encoding=coding)) as server:
        fetched = await fetch(server.url("/page"), allowing(server), Limits(size=1 << 20))
        assert (len(fetched.body), fetched.cut) == (1 << 20, True)


async def test_packed_pages_are_read_and_unknown_or_broken_packing_is_said() -> None:
    packed = gzip.compress(b"hello")
    async with serving(
        good=answer(packed, Content_Encoding="gzip"),
        twice=answer(packed, Content_Encoding="gzip, gzip"),
        odd=answer(packed, Content_Encoding="br"),
        broken=answer(b"no gzip at all", Content_Encoding="gzip"),
    ) as server:
        access = allowing(server)
        assert (await fetch(server.url("/good"), access)).body == b"hello"
        assert "packed in a way nobody asked for" in await refusal(server.url("/twice"), access)
        assert "'br'" in await refusal(server.url("/odd"), access)
        assert "broke off" in await refusal(server.url("/broken"), access)


async def test_what_goes_wrong_is_one_clear_line() -> None:
    async with serving(
        gone=answer("x", status="404 Not Found"),
        broken=b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        garbage=b"\x00\x01\x02 not http\r\n\r\n",
        headers=b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2_000_000 + b"\r\n\r\n",
    ) as server:
        access = allowing(server)
        assert (await refusal(server.url("/gone"), access)).endswith("answered 404 Not Found")
        for path in ("/broken", "/garbage", "/headers"):
            assert "broke off: " in await refusal(server.url(path), access)
    assert "cannot be reached: " in await refusal(server.url("/page"), access)
    assert "cannot be found: " in await refusal("http://no-such-host.invalid/")


@pytest.mark.parametrize(
    "url",
    ["", "example.org", "file:///etc/passwd", "javascript:alert(1)", "http://", "http:///x",
     "http://a:99999/", "http://a b/", "http://exa\nmple.org/", "http://\x00/", "x" * 5000,
     "http://a:0/", "http://[::1", "http://" + "a" * 300 + ".example/"],
)  # fmt: skip
async def test_what_is_no_address_is_told(url: str) -> None:
    said = await refusal(url)
    assert "is no address" in said or "cannot be found" in said
    assert len(said) < 500


def test_content_types() -> None:
    assert content_type("Text/HTML; Charset=UTF-8") == ("text/html", "UTF-8")
    assert content_type('text/html; charset="latin1"') == ("text/html", "latin1")
    assert content_type("application/pdf") == ("application/pdf", None)
    assert content_type("") == ("", None)
    assert content_type("nonsense")[0] == "text/plain"
