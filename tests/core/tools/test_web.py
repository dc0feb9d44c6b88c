"""The web tools in real rollouts, against real servers on loopback, across crashes of the core."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from apollo_tui.client import Client
from apollo_tui.config import set_key
from apollo_tui.core.browsing import has_web
from apollo_tui.core.tools.registry import allowed_tools, specs
from apollo_tui.errors import ApolloError
from apollo_tui.log.read import History
from apollo_tui.log.types import RolloutSpec, Task
from apollo_tui.log.verify import verify
from apollo_tui.paths import Home
from tests.running import Reply, core, end_core, ended, events, script, task_folder, until
from tests.web.serving import Asked, Server, answer, redirect, serving

KEY = "k3y-0123456789abcdef"
LONG = "<title>Long</title>" + "".join(
    f"<p>line {number} {'needle' if number in (5, 90, 170) else ''}" for number in range(1, 251)
)


def act(tool: str, seconds: float = 0.0, **arguments: Any) -> Reply:
    return {"actions": [{"tool": tool, "arguments": arguments}], "seconds": seconds}


def settle(home: Home, *servers: Server, search: str = "") -> None:
    """Settings that let a core read these servers of this machine."""
    home.prepare()
    hosts = json.dumps([server.host for server in servers])
    home.config.write_text(f"[web]\nprivate_hosts = {hosts}\n{search}")


async def start(client: Client, folder: Path, extra: str, replies: list[Reply]) -> str:
    task = task_folder(folder / "task", extra=extra)
    model = script(folder / "script.jsonl", replies)
    started = await client.run(task=task, model=model, sandbox="plain", unisolated=True)
    return str(started[0]["rollout"])


def observations(home: Home, rollout: str) -> list[str]:
    """What the agent read of each action, as it was sent."""
    history = History(home.database)
    try:
        row = history.rollout(rollout)
        assert row is not None
        messages = json.loads(history.prompt(rollout, row.step))["messages"]
    finally:
        history.close()
    return [message["text"] for message in messages if message["role"] == "tool"]


async def run(home: Home, folder: Path, extra: str, replies: list[Reply]) -> list[str]:
    async with core(home) as client:
        rollout = await start(client, folder, extra, replies)
        await ended(home, rollout)
    assert verify(home.database) == []
    return observations(home, rollout)


async def test_a_page_is_opened_paged_searched_and_its_links_are_listed(
    home: Home, tmp_path: Path
) -> None:
    links = "".join(f"<a href='/{number}'>to {number}</a> " for number in range(1, 13))
    async with serving(page=answer(LONG), links=answer(links)) as server:
        settle(home, server)
        said = await run(
            home,
            tmp_path,
            f'web_hosts = ["{server.host}"]',
            [
                act("web_page_scroll_down"),
                act("web_browse", url=server.url("/page")),
                act("web_page_scroll_up"),
                act("web_page_scroll_down"),
                act("web_page_goto_line", line_number=400),
                act("web_page_goto_line", line_number=9999),
                act("web_page_scroll_down"),
                act("web_page_search_next"),
                act("web_page_search", keyword="NEEDLE", context_lines=1),
                act("web_page_search_next", context_lines=0),
                act("web_page_search_next", search_index=4, context_lines=0),
                act("web_page_search", keyword="absent"),
                act("web_page_search_next"),
                act("web_page_scroll_up"),
                act("web_page_get_links"),
                act("web_browse", url=server.url("/links")),
                act("web_page_get_links", page_number=2),
                act("web_page_get_links", page_number=3),
                act("web_page_search_next"),
            ],
        )
        assert len(server.asked) == 2
    assert "error_message: no page is open; open one with web_browse" in said[0]
    assert said[1].startswith("success=true observation_type=web timestamp=")
    assert f"Long · {server.url('/page')} · lines 1-100 of 499 (399 lines below" in said[1]
    assert "\n  1| line 1\n  2| \n  3| line 2" in said[1]
    assert "the page begins here" in said[2]
    assert (
        "lines 101-200 of 499 (100 lines above; 299 lines below: web_page_scroll_down)" in said[3]
    )
    assert "lines 351-450 of 499" in said[4]
    assert "the page has only 499 lines" in said[5]
    assert "lines 451-499 of 499" in said[6]  # a refused action moved nothing
    assert "begin with web_page_search" in said[7]
    assert 'match 1 of 3 for "NEEDLE", in line 9; web_page_search_next shows the next' in said[8]
    assert "\n  8| \n> 9| line 5 needle\n 10| " in said[8]
    assert "match 2 of 3" in said[9]
    assert "match 1 of 3" in said[10]  # the fourth of three is the first
    assert '"absent" is not on this page' in said[11]
    assert '"absent" is not on this page' in said[12]
    assert "lines 351-450 of 499" in said[13]  # a search leaves the view where it was
    assert "there are no links on this page" in said[14]
    assert f"12. to 12 -> {server.url('/12')} (line 1)" in said[16]
    assert "links 11-12 of 12" in said[16]
    assert "there are only 2 pages of links" in said[17]
    assert "begin with web_page_search" in said[18]  # a search ends with its page


async def test_a_page_stays_open_when_the_core_is_killed(home: Home, tmp_path: Path) -> None:
    held = asyncio.Event()

    async def slow(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if len(server.asked) == 2:
            held.set()
            await asyncio.sleep(60)
        writer.write(answer("<p>came the second time"))
        await writer.drain()

    async with serving(page=answer(LONG), slow=slow) as server:
        settle(home, server)
        replies = [
            act("web_browse", url=server.url("/page")),
            act("web_page_search", keyword="needle"),
            act("web_browse", url=server.url("/slow")),
            act("web_page_scroll_down"),
        ]
        replies.insert(2, act("web_page_scroll_down", seconds=1.0))
        client = await Client.connect(home, annotator="ana")
        try:
            rollout = await start(client, tmp_path, f'web_hosts = ["{server.host}"]', replies)
            await until(home, rollout, lambda row: row.step == 2 and row.in_flight == "model")
            await end_core(home, signal.SIGKILL)
        finally:
            await client.close()
        async with core(home):
            await asyncio.wait_for(held.wait(), 30)  # it reads the slow page now
            await end_core(home, signal.SIGKILL)
        async with core(home):
            await ended(home, rollout)
        paths = [asked.path for asked in server.asked]
    said = observations(home, rollout)
    assert paths == ["/page", "/slow", "/slow"]
    assert "match 1 of 3" in said[1]
    assert "lines 101-200 of 499" in said[2]
    assert "came the second time" in said[3]
    assert "line 1 is the last one" in said[4]
    viewed = events(home, rollout, "page_viewed")
    assert [(event["step"], event["first"], event["last"]) for event in viewed] == [
        (1, 1, 100),
        (2, 1, 100),
        (3, 101, 200),
        (4, 1, 1),
    ]
    assert verify(home.database) == []


async def test_without_a_network_there_is_no_web(home: Home, tmp_path: Path) -> None:
    async with serving(page=answer("x")) as server:
        settle(home, server)
        (said,) = await run(home, tmp_path, "", [act("web_browse", url=server.url("/page"))])
        assert "web_browse is not enabled for this task" in said
        assert server.asked == []


async def test_a_network_lets_public_hosts_be_read_and_no_others(
    home: Home, tmp_path: Path
) -> None:
    async with serving(page=answer("inside")) as server, serving() as allowed:
        allowed.routes["/go"] = redirect(server.url("/page"))
        settle(home, allowed)
        urls = [
            server.url("/page"),
            server.url("/page", "localhost"),
            allowed.url("/go"),
            "http://169.254.169.254/latest/meta-data/",
            "file:///etc/passwd",
            "",
        ]
        said = await run(
            home, tmp_path, "network = true", [act("web_browse", url=url) for url in urls]
        )
        assert server.asked == []
    for refused in said[:4]:
        assert "only public addresses are asked" in refused
    assert "file:///etc/passwd is no address of a web page" in said[4]
    assert "web_browse was not run: url must have at least 1 character" in said[5]


async def test_what_is_open_has_no_lines(home: Home, tmp_path: Path) -> None:
    async with serving(page=answer("<script>app()</script>")) as server:
        settle(home, server)
        said = await run(
            home,
            tmp_path,
            "network = true",
            [act("web_browse", url=server.url("/page")), act("web_page_search", keyword="x")],
        )
    assert "no lines (it has no text; a page that is made by JavaScript" in said[0]
    assert "has no text" in said[1]


async def test_a_page_of_one_enormous_line_is_capped_and_read_on(
    home: Home, tmp_path: Path
) -> None:
    line = " ".join(str(number) for number in range(1_000_000))
    async with serving(page=answer(line, "text/plain")) as server:
        settle(home, server)
        replies = [act("web_browse", url=server.url("/page")), act("web_page_scroll_down")]
        said = await run(home, tmp_path, "network = true", replies)
    assert "the page is longer: only its first 4,194,304 bytes were read" in said[0]
    assert all(20_000 < len(text) <= 30_000 for text in said)
    numbers = [
        int(word)
        for text in said
        for row in text.split("\n")
        if "| " in row
        for word in row.split("| ")[1].split()
    ]
    assert numbers == list(range(len(numbers)))  # nothing lost between the two windows


# --- searching ---------------------------------------------------------------------------------

ANSWER = answer(
    json.dumps(
        {
            "organic": [
                {"title": "One", "link": "https://arxiv.org/abs/1", "snippet": "about\nloss"},
                {"title": "Two", "link": "https://elsewhere.org/2", "date": "3 Jan 2025"},
                {"title": "Three", "link": "nonsense"},
            ]
        }
    ),
    "application/json",
)


async def test_a_search_is_asked_once_and_kept_on_the_disk(home: Home, tmp_path: Path) -> None:
    async with serving(search=ANSWER) as server:
        settle(home, search=f'search = "serper"\nsearch_url = "{server.url("")}"\n')
        set_key(home, "serper", KEY)
        replies = [
            act("web_search", query="loss  masking", top_k=1000),
            act("web_search", query="loss masking"),
            act("web_search", query="  "),
        ]
        said = await run(home, tmp_path, "network = true", replies)
        (asked,) = server.asked
    assert json.loads(asked.body)["num"] == 100
    assert asked.headers["x-api-key"] == KEY
    assert said[0].split("\n")[1:9] == [
        "message: 3 results of serper",
        "1. One",
        "   https://arxiv.org/abs/1",
        "   about loss",
        "2. Two",
        "   https://elsewhere.org/2",
        "   3 Jan 2025",
        "3. Three",
    ]
    assert "message: 3 results of serper (asked before, as it was then)" in said[1]
    assert "the query is empty" in said[2]
    kept = b"".join(path.read_bytes() for path in home.path.rglob("*") if path.is_file()
                    and path != home.keys)  # fmt: skip
    assert KEY.encode() not in kept
    assert KEY not in "".join(said)


async def test_a_task_that_lists_hosts_finds_only_them(home: Home, tmp_path: Path) -> None:
    async with serving(search=ANSWER) as server:
        settle(home, search=f'search = "serper"\nsearch_url = "{server.url("")}"\n')
        set_key(home, "serper", KEY)
        extra = 'network = true\nweb_hosts = ["arxiv.org"]'
        (said,) = await run(home, tmp_path, extra, [act("web_search", query="loss")])
    assert "1 result of serper; 2 left out, of hosts that this task does not list" in said
    assert "elsewhere" not in said


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ("", 'no search engine is set up here; the operator can name one in config.toml: [web] search'),
        ('search = "bing"\n', "there is no key for the search engine bing; the operator can set it"),
        ('search = "google"\n', "the operator's settings cannot be read; core.log says why"),
    ],
)  # fmt: skip
async def test_what_is_not_set_up_is_one_clear_line(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, search: str, told: str
) -> None:
    monkeypatch.delenv("BING_SEARCH_API_KEY", raising=False)
    async with core(home) as client:
        settle(home)
        rollout = await start(
            client,
            tmp_path,
            "network = true",
            [
                {"actions": [{"tool": "sleep", "arguments": {"sleep_time": 2}}]},
                act("web_search", query="loss"),
            ],
        )
        await until(home, rollout, lambda row: row.in_flight == "action")
        settle(home, search=search)  # settings are read anew at each use
        await ended(home, rollout)
    said = observations(home, rollout)[1]
    assert f"error_message: {told}" in said
    assert str(home.path) not in said
    assert said.startswith("success=false observation_type=web timestamp=")


# --- where they are there ------------------------------------------------------------------------


def spec(**fields: Any) -> RolloutSpec:
    network = bool(fields.pop("run_network", False))
    task = Task(name="t", description="d", **fields)
    return RolloutSpec(
        task=task, model="m", sandbox="plain", isolated=False, name="t", network=network
    )


def test_the_model_is_told_of_the_web_only_where_there_is_one() -> None:
    off = spec()
    assert not has_web(off)
    names = [tool.name for tool in specs(allowed_tools(off))]
    assert "bash" in names
    assert not [name for name in names if name.startswith("web_")]
    for on in (spec(network=True), spec(run_network=True), spec(web_hosts=("arxiv.org",))):
        assert has_web(on)
        assert allowed_tools(on) is None
    few = ("bash", "web_browse")
    assert allowed_tools(spec(tools=few)) == ("bash",)
    assert allowed_tools(spec(tools=())) == ()
    assert allowed_tools(spec(tools=few, network=True)) == few


async def test_a_task_that_names_a_web_tool_without_a_web_does_not_start(
    home: Home, tmp_path: Path
) -> None:
    async with core(home) as client:
        extra = 'tools = ["bash", "web_browse"]'
        with pytest.raises(ApolloError, match="web_browse needs network = true or web_hosts"):
            await start(client, tmp_path, extra, [act("finish")])
