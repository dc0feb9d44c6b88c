"""Both engines against a server that speaks their JSON, and the cache on the disk."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from apollo_tui.errors import WebError
from apollo_tui.web.cache import MOST, Cache
from apollo_tui.web.engines import Engine, Found, Name, search
from tests.web.serving import answer, redirect, serving

KEY = "k3y-0123456789abcdef"
SERPER = {
    "searchParameters": {"q": "loss"},
    "organic": [
        {"title": "One", "link": "https://a.org/1", "snippet": "first", "position": 1},
        {"title": "Two", "link": "https://b.org/2", "date": "3 Jan 2025", "snippet": None},
        {"title": "Three", "link": "https://c.org/3", "sitelinks": []},
    ],
    "credits": 1,
}
BING = {
    "_type": "SearchResponse",
    "webPages": {
        "totalEstimatedMatches": 2,
        "value": [
            {"name": "One", "url": "https://a.org/1", "snippet": "first",
             "datePublished": "2025-01-03T00:00:00.0000000"},
            {"name": "Two", "url": "https://b.org/2"},
        ],
    },
}  # fmt: skip


def told(value: object) -> bytes:
    return answer(json.dumps(value), "application/json")


async def refusal(engine: Engine) -> str:
    with pytest.raises(WebError) as caught:
        await search(engine, "loss", 5)
    assert KEY not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_serper() -> None:
    async with serving(search=told(SERPER)) as server:
        engine = Engine("serper", KEY, server.url(""), region="de", language="fr")
        found = await search(engine, "loss \N{GREEK SMALL LETTER BETA}", 2)
        (asked,) = server.asked
    assert found == (
        Found(title="One", link="https://a.org/1", snippet="first"),
        Found(title="Two", link="https://b.org/2", date="3 Jan 2025"),
    )
    assert (asked.method, asked.path, asked.headers["x-api-key"]) == ("POST", "/search", KEY)
    assert json.loads(asked.body) == {"q": "loss β", "num": 2, "gl": "de", "hl": "fr"}


async def test_bing() -> None:
    async with serving() as server:
        server.routes["/v7.0/search"] = told(BING)
        found = await search(Engine("bing", KEY, server.url("/v7.0")), "a & b", 500)
        (asked,) = server.asked
    assert found == (
        Found(title="One", link="https://a.org/1", snippet="first", date="2025-01-03"),
        Found(title="Two", link="https://b.org/2"),
    )
    assert asked.headers["ocp-apim-subscription-key"] == KEY
    query = parse_qs(urlsplit(asked.path).query)
    assert query == {"q": ["a & b"], "count": ["50"], "mkt": ["en-US"]}


@pytest.mark.parametrize("name", ["serper", "bing"])
async def test_nothing_found_is_no_failure(name: Name) -> None:
    async with serving(search=told({"webPages": None} if name == "bing" else {})) as server:
        assert await search(Engine(name, KEY, server.url(""), wait=0.01), "zzz", 5) == ()


async def test_a_refused_key_says_what_to_do_and_is_asked_once() -> None:
    async with serving(search=answer(f"bad key {KEY}", status="403 Forbidden")) as server:
        said = await refusal(Engine("serper", KEY, server.url(""), wait=0.01))
        assert "it answered 403: bad key (the key); set its key with: apollo-tui auth set" in said
        assert len(server.asked) == 1


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_what_may_pass_is_tried_again(status: str) -> None:
    async with serving(search=answer(status=status)) as server:
        assert status[:3] in await refusal(Engine("bing", KEY, server.url(""), wait=0.01))
        assert len(server.asked) == 3


async def test_the_key_goes_nowhere_else() -> None:
    async with serving(search=told(SERPER)) as other, serving() as server:
        server.routes["/search"] = redirect(other.url("/search"))
        assert "it answered 302" in await refusal(Engine("serper", KEY, server.url(""), wait=0.01))
        assert other.asked == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>sign in", "what cannot be read: the answer"),
        (b"[]", "what cannot be read"),
        (b'{"organic": "x"}', "what cannot be read: organic"),
        (b'{"organic": [{"title": {}}]}', "what cannot be read: organic.0.title"),
        (b"[" * 100_000, "what cannot be read"),
        (b"x" * (5 << 20), "more than 4 MiB"),
    ],
)
async def test_an_answer_that_is_none_is_said(body: bytes, said: str) -> None:
    async with serving(search=answer(body, "application/json")) as server:
        assert said in await refusal(Engine("serper", KEY, server.url(""), wait=0.01))


async def test_nobody_there() -> None:
    async with serving() as server:
        url = server.url("")
    assert "failed: " in await refusal(Engine("serper", KEY, url, wait=0.01))


# --- the cache ---------------------------------------------------------------------------------

ENGINE = Engine("serper", KEY)
FOUND = tuple(Found(title=str(number)) for number in range(5))


def test_what_was_found_is_kept_without_the_key_and_only_for_its_owner(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "search", 60)
    assert cache.get(ENGINE, "loss", 5) is None
    cache.put(ENGINE, "loss", 5, FOUND)
    assert cache.get(ENGINE, "loss", 5) == FOUND
    assert cache.get(ENGINE, "loss", 2) == FOUND[:2]
    assert cache.get(ENGINE, "loss", 6) is None  # there may be more
    assert cache.get(ENGINE, "loss?", 5) is None
    assert cache.get(Engine("bing", KEY), "loss", 5) is None
    assert cache.get(Engine("serper", KEY, region="de"), "loss", 5) is None
    (file,) = (tmp_path / "search").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert KEY not in file.read_text()


def test_fewer_than_asked_for_is_all_there_is(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 60)
    cache.put(ENGINE, "loss", 10, FOUND)
    assert cache.get(ENGINE, "loss", 100) == FOUND


def test_what_is_too_old_or_broken_is_as_if_not_there(tmp_path: Path) -> None:
    Cache(tmp_path, 60).put(ENGINE, "loss", 5, FOUND)
    (file,) = tmp_path.iterdir()
    kept = json.loads(file.read_text())
    assert Cache(tmp_path, 0).get(ENGINE, "loss", 5) is None
    file.write_text(json.dumps(kept | {"at": kept["at"] - 61}))
    assert Cache(tmp_path, 60).get(ENGINE, "loss", 5) is None
    file.write_text(json.dumps(kept | {"at": kept["at"] + 1e6}))
    assert Cache(tmp_path, 60).get(ENGINE, "loss", 5) is None
    file.write_text('{"asked": 5')
    assert Cache(tmp_path, 60).get(ENGINE, "loss", 5) is None


def test_a_cache_that_is_off_keeps_nothing(tmp_path: Path) -> None:
    Cache(tmp_path / "none", 0).put(ENGINE, "loss", 5, FOUND)
    assert not (tmp_path / "none").exists()


def test_the_oldest_go(tmp_path: Path) -> None:
    for number in range(MOST + 5):
        (tmp_path / f"{number}.json").touch()
    Cache(tmp_path, 60).put(ENGINE, "loss", 5, FOUND)
    assert len(list(tmp_path.iterdir())) == MOST
    assert Cache(tmp_path, 60).get(ENGINE, "loss", 5) == FOUND
