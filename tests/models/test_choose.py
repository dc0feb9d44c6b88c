from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from apollo_tui.config import Config, set_key
from apollo_tui.errors import ConfigError, KeyMissing, UnknownName, UsageError
from apollo_tui.models.choose import choose_model
from apollo_tui.models.endpoint import Endpoint
from apollo_tui.paths import Home

CONFIG = Config.model_validate(
    {
        "models": {
            "glm": {"api": "openai", "model": "glm-4.5", "base_url": "http://127.0.0.1:8000/v1"},
            "claude": {"api": "anthropic", "model": "claude-sonnet-4-5"},
        }
    }
)


def endpoint(written: str, home: Home, environ: dict[str, str] | None = None) -> Endpoint:
    model = choose_model(written, CONFIG, home, environ=environ or {})
    found = getattr(model, "endpoint", None)
    assert isinstance(found, Endpoint)
    return found


@pytest.mark.parametrize(
    ("written", "api", "model", "base_url", "key_name"),
    [
        ("glm", "openai", "glm-4.5", "http://127.0.0.1:8000/v1", "glm"),
        ("claude", "anthropic", "claude-sonnet-4-5", "https://api.anthropic.com", "claude"),
        ("openai:gpt-5", "openai", "gpt-5", "https://api.openai.com/v1", "openai"),
        ("openai:a@http://h:1/v1/", "openai", "a", "http://h:1/v1", "openai"),
        ("openai:@cf/meta/x@https://h/v1", "openai", "@cf/meta/x", "https://h/v1", "openai"),
        ("anthropic:c@2025", "anthropic", "c@2025", "https://api.anthropic.com", "anthropic"),
        ("anthropic:c@http://[::1]:9", "anthropic", "c", "http://[::1]:9", "anthropic"),
    ],
)
def test_the_ways_to_name_a_model(
    home: Home, written: str, api: str, model: str, base_url: str, key_name: str
) -> None:
    found = endpoint(written, home)
    assert found.name == written
    assert (found.settings.api, found.settings.model) == (api, model)
    assert (found.base_url, found.key_name) == (base_url, key_name)


def test_scripted(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "a b@c.jsonl"
    path.write_text('{"text": "hello"}\n')
    model = choose_model(f"scripted:{path}", CONFIG, home)
    assert (model.name, model.api) == (f"scripted:{path}", "scripted")
    with pytest.raises(ConfigError, match=r"none\.jsonl"):
        choose_model("scripted:/none.jsonl", CONFIG, home)


@pytest.mark.parametrize("written", ["glmm", "gemini:x", "openai:", "", "scripted:", "open ai"])
def test_unknown_models_are_answered_with_what_there_is(home: Home, written: str) -> None:
    with pytest.raises(UnknownName) as raised:
        choose_model(written, CONFIG, home)
    assert "configured: glm, claude" in raised.value.line
    assert ("did you mean glm?" in raised.value.line) == (written == "glmm")


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("openai:m@127.0.0.1:8000/v1", "http://"),
        ("openai:m@localhost:8000", "http://"),
        ("openai:m@http://", "must be an address"),
        ("openai:m@http://h:99999/v1", "must be an address"),
        ("openai:m@https://me:sk-secret@h/v1", "apollo-tui auth set"),
        ("openai:m@https://h/v1?key=sk-secret", "apollo-tui auth set"),
    ],
)
def test_wrong_addresses(home: Home, written: str, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        choose_model(written, CONFIG, home)
    assert says in raised.value.line
    assert "secret" not in raised.value.line


def test_where_a_key_is_looked_for(home: Home) -> None:
    environ = {"OPENAI_API_KEY": "of-the-environment"}
    glm, other = endpoint("glm", home, environ), endpoint("openai:gpt-5", home, environ)
    assert glm.caller().key == other.caller().key == "of-the-environment"
    set_key(home, "openai", "of-the-api")
    assert glm.caller().key == other.caller().key == "of-the-api"
    set_key(home, "glm", "its-own")
    assert (glm.caller().key, other.caller().key) == ("its-own", "of-the-api")


def test_a_server_of_ones_own_needs_no_key_and_the_official_one_does(home: Home) -> None:
    assert endpoint("glm", home).caller().key == "none"
    with pytest.raises(KeyMissing, match="apollo-tui auth set claude"):
        endpoint("claude", home).caller()


def test_a_keys_file_that_others_can_read_counts_as_a_missing_key(home: Home) -> None:
    set_key(home, "glm", "sk-1")
    home.keys.chmod(0o644)
    with pytest.raises(KeyMissing, match="chmod 600"):
        endpoint("glm", home).caller()


async def test_check_goes_through_a_proxy_where_there_is_one(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        writer.close()

    reached = asyncio.Event()
    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with server:
        await endpoint("openai:m@http://models.invalid/v1", home).check()
        await asyncio.wait_for(reached.wait(), 5)


def test_choosing_imports_no_sdk_it_does_not_need() -> None:
    code = (
        "import sys; from apollo_tui.models.choose import choose_model;"
        "from apollo_tui.config import Config; from apollo_tui.paths import Home;"
        "from pathlib import Path;"
        "assert not {'openai', 'anthropic', 'httpx2'} & set(sys.modules);"
        "choose_model('openai:m', Config(), Home(Path('.')));"
        "assert 'openai' in sys.modules and 'anthropic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
