from __future__ import annotations

import os
import re
import threading
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apollo_tui.config import Config, get_key, key_names, load, set_key, template
from apollo_tui.config.read import line_of
from apollo_tui.config.settings import check_host
from apollo_tui.config.template import to_toml, to_toml_key
from apollo_tui.errors import ConfigError, UsageError
from apollo_tui.paths import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.prepare()
    return home


# --- config.toml -------------------------------------------------------------------------------

EXAMPLE = """
annotator = "ana"

[models.glm]
api = "openai"
model = "glm-4.5"
base_url = "http://127.0.0.1:8000/v1/"
context = 131072
concurrency = 8
price = { input = 0.6, cached = 0.11, output = 2.2 }
sampling = { temperature = 1.0 }
extra_body = { thinking = { type = "enabled" } }

[models.own]
api = "anthropic"
model = "x"
price = { per_hour = 1.9 }

[roles]
summary = "same"
judge = "glm"
ask = "anthropic:claude-haiku-4-5"

[notify]
command = "ntfy publish runs {reason}"
on = ["question", "disk"]

[guards]
pause_if = ["stuck 30m", "usd 20", "nan"]

[retention]
keep_workspaces = "30d"
disk_warn = 0.85
disk_pause = 1
"""


def test_the_example_of_the_documentation(home: Home) -> None:
    home.config.write_text(EXAMPLE)
    config = load(home)
    glm = config.models["glm"]
    assert config.annotator == "ana"
    assert (glm.api, glm.model, glm.concurrency) == ("openai", "glm-4.5", 8)
    assert glm.base_url == "http://127.0.0.1:8000/v1"
    assert glm.price is not None
    assert (glm.price.input, glm.price.cached, glm.price.output) == (0.6, 0.11, 2.2)
    assert glm.extra_body == {"thinking": {"type": "enabled"}}
    assert config.models["own"].price is not None
    assert config.models["own"].price.per_hour == 1.9
    assert config.roles.judge == "glm"
    assert config.notify.on == ("question", "disk")
    assert config.guards.pause_if == ("stuck 30m", "usd 20", "nan")
    assert config.retention.disk_pause == 1


def test_without_a_file_everything_has_its_default(home: Home) -> None:
    assert load(home) == Config()


def test_the_template_is_the_defaults_and_explains_every_setting(home: Home) -> None:
    home.config.write_text(template())
    assert load(home) == Config()
    settings = re.findall(r"(?m)^#\w.* = .*$", template())
    assert len(settings) > 20
    assert all(re.search(r"   # \S", line) for line in settings)


def test_the_template_with_everything_taken_in_is_right_too(home: Home) -> None:
    home.config.write_text(re.sub(r"(?m)^#(?=\S)", "", template()))
    config = load(home)
    assert config.annotator == "ana"
    assert config.models["glm"].model == "glm-4.5"
    assert config.guards.pause_if


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '[models.glm]\napi = "openai"\nmodel = "m"\n\n# how much\n\ncontext = "x"\n',
            "config.toml line 7: models.glm.context must be an integer, is 'x'",
        ),
        (
            '[models.glm]\napi = "openai"\nmodel = "m"\ncontxt = 5\n',
            "config.toml line 4: unknown setting models.glm.contxt; did you mean context?",
        ),
        ("anotator = 'a'", "line 1: unknown setting anotator; did you mean annotator?"),
        ("\n[gaurds]\n", "line 2: unknown setting gaurds; did you mean guards?"),
        ("zzz = 1", "line 1: unknown setting zzz ("),
        ('\n[models.glm]\nmodel = "m"', "line 2: models.glm.api is missing"),
        (
            '[models.glm]\napi = "openapi"\nmodel = "m"',
            "line 2: models.glm.api must be 'openai' or 'anthropic', is 'openapi'",
        ),
        (
            '[models]\nglm = { api = "openai", model = "m", price = { input = 1 } }',
            "line 2: models.glm.price must have either input and output, or per_hour",
        ),
        (
            '[models.glm]\napi = "openai"\nmodel = "m"\nprice = { inpt = 1 }',
            "line 4: unknown setting models.glm.price.inpt; did you mean input?",
        ),
        ("annotator = 3", "line 1: annotator must be a text in quotes, is 3"),
        ("annotator = ''", "line 1: annotator must have at least 1 character, is ''"),
        ("[retention]\ndisk_warn = true", "line 2: retention.disk_warn must be a number, is true"),
        ("[retention]\ndisk_warn = 85", "line 2: retention.disk_warn must be less than or equal"),
        (
            "[retention]\ndisk_warn = 0.9\ndisk_pause = 0.8",
            "line 1: retention must have disk_warn at or below disk_pause",
        ),
        ('[retention]\nkeep_workspaces = "30"', "line 2: retention.keep_workspaces must be a num"),
        ('[notify]\non = [\n "disk",\n "fire",\n]', "line 2: notify.on.1 must be 'question'"),
        ('[guards]\npause_if = "nan"', "line 2: guards.pause_if must be a list, is 'nan'"),
        ('[web]\nsearch = "google"', "line 2: web.search must be 'serper' or 'bing', is 'google'"),
        ('[web]\nprivate_hosts = ["http://x"]', "line 2: web.private_hosts.0 must be a host like"),
        ("[web]\nserper_key = 1", "line 2: keys do not belong in this file (web.serper_key); use"),
        ('[web]\nsearch_url = "https://me:s@h/"', "line 2: web.search_url must be a plain address"),
        ("models = 3", "line 1: models must be a table, is 3"),
        ('[models."a:b"]\napi = "openai"\nmodel = "m"', "line 1: models.a:b must be letters"),
        ('[roles]\nsummary = "same"\njudge = "gml"\n', "line 3: roles.judge must name a model"),
        ("a = [1,\n2\nb = 3", "line 3: "),
        ("a = 1\n\na = 2", "line 3: cannot overwrite a value"),
        ('annotator = "ana', "line 1: "),
    ],
)
def test_wrong_settings_are_named_with_file_and_line(home: Home, text: str, says: str) -> None:
    home.config.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(home)
    assert says in raised.value.line
    assert str(home.config) in raised.value.line


def test_all_wrong_settings_are_named_at_once(home: Home) -> None:
    home.config.write_text('annotator = 1\n[guards]\nx = 2\n[roles]\ny = "a"')
    with pytest.raises(ConfigError, match=r"line 1: .*line 5: .*line 3: "):
        load(home)


@pytest.mark.parametrize(
    "line",
    [
        'api_key = "sk-secret"',
        'key = "sk-secret"',
        'base_url = "https://me:sk-secret@host/v1"',
        'base_url = "https://host/v1?key=sk-secret"',
    ],
)
def test_a_key_in_the_configuration_is_refused_and_not_shown(home: Home, line: str) -> None:
    home.config.write_text(f'[models.glm]\napi = "openai"\nmodel = "m"\n{line}\n')
    with pytest.raises(ConfigError, match="apollo-tui auth set") as raised:
        load(home)
    assert "line 4" in raised.value.line
    assert "secret" not in raised.value.line


def test_a_file_that_cannot_be_read(home: Home) -> None:
    home.config.write_bytes(b"annotator = '\xff'")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(home)
    home.config.unlink()
    home.config.mkdir()
    with pytest.raises(ConfigError, match="cannot read"):
        load(home)


def test_the_line_of_a_value_that_spans_several() -> None:
    text = '\n[a]\nb = """\nx = 1\n"""\nc = [\n  1,\n]\n[d.e]\nf.g = 1\n'
    found = {
        loc: line_of(text, loc)
        for loc in (("a",), ("a", "b"), ("a", "c", 0), ("d", "e"), ("d", "e", "f", "g"), ("z",))
    }
    assert list(found.values()) == [2, 3, 6, 9, 10, 1]


values = st.recursive(
    st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), inner)
    ),
    max_leaves=6,
)


@given(st.text(st.characters(exclude_categories=["Cs"])), values)
@settings(deadline=None)
def test_what_is_written_as_toml_reads_back(name: str, value: object) -> None:
    assert tomllib.loads(f"{to_toml_key(name)} = {to_toml(value)}\n") == {name: value}


# --- keys.toml ---------------------------------------------------------------------------------


def test_a_key_is_stored_for_its_owner_only(home: Home) -> None:
    before = os.umask(0)
    try:
        set_key(home, "glm", "  sk-first\n")
    finally:
        os.umask(before)
    set_key(home, "a.b c", 'q"\\z')
    set_key(home, "glm", "sk-second")
    assert home.keys.stat().st_mode & 0o777 == 0o600
    assert key_names(home) == ["a.b c", "glm"]
    assert get_key(home, "glm", {}) == "sk-second"
    assert get_key(home, "a.b c", {}) == 'q"\\z'
    assert [path.name for path in home.path.iterdir() if "keys" in path.name] == ["keys.toml"]


def test_keys_stored_at_the_same_time_are_all_there(home: Home) -> None:
    threads = [
        threading.Thread(target=set_key, args=(home, f"m{number}", f"sk-{number}"))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert key_names(home) == [f"m{number}" for number in range(8)]


def test_the_environment_comes_last(home: Home) -> None:
    environ = {"ANTHROPIC_API_KEY": "env-a", "OPENAI_API_KEY": " env-o\n"}
    assert get_key(home, "claude", environ, api="anthropic") == "env-a"
    assert get_key(home, "openai", environ) == "env-o"
    assert get_key(home, "glm", environ) is None
    assert get_key(home, "glm", {"OPENAI_API_KEY": ""}, api="openai") is None
    set_key(home, "anthropic", "file-a")
    assert get_key(home, "claude", environ, api="anthropic") == "file-a"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606])
def test_a_keys_file_that_others_can_read_is_refused(home: Home, mode: int) -> None:
    set_key(home, "glm", "sk-1")
    home.keys.chmod(mode)
    for use in (
        lambda: get_key(home, "glm", {}),
        lambda: key_names(home),
        lambda: set_key(home, "x", "sk-2"),
    ):
        with pytest.raises(ConfigError, match=f"chmod 600 {re.escape(str(home.keys))}"):
            use()


@pytest.mark.parametrize("value", ["", "  \n", "sk one", "sk-é", "sk-\x00", "a\nb"])
def test_what_is_no_key_is_refused_without_showing_it(home: Home, value: str) -> None:
    with pytest.raises(UsageError) as raised:
        set_key(home, "glm", value)
    assert "sk" not in raised.value.line
    assert not home.keys.exists()


@pytest.mark.parametrize(
    "text",
    ['glm = 3\nsecret = "sk-secret"', 'glm = "sk-secret', "glm = { a = 1 }", 'glm = "sk secret"'],
)
def test_a_broken_keys_file_is_named_and_not_shown(home: Home, text: str) -> None:
    home.keys.touch(0o600)
    home.keys.write_text(text)
    with pytest.raises(ConfigError, match=r"keys\.toml") as raised:
        get_key(home, "glm", {})
    assert "sk" not in raised.value.line.replace(str(home.keys), "")
    assert home.keys.read_text() == text


def test_a_key_makes_the_home_it_needs(tmp_path: Path) -> None:
    home = Home(tmp_path / "new")
    set_key(home, "glm", "sk-1")
    assert get_key(home, "glm", {}) == "sk-1"


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("arxiv.org", "arxiv.org"),
        (" *.ArXiv.org ", "*.arxiv.org"),
        ("127.0.0.1:8000", "127.0.0.1:8000"),
        ("[::1]:80", "[::1]:80"),
        ("a_b-c", "a_b-c"),
        ("", None),
        ("*", None),
        ("https://arxiv.org", None),
        ("arxiv.org/abs", None),
        ("a..b", None),
        ("-a.org", None),
        ("a*.org", None),
        ("x.org:", None),
        ("x" * 300, None),
    ],
)
def test_hosts(given: str, host: str | None) -> None:
    if host is None:
        with pytest.raises(ValueError, match="must be a host like"):
            check_host(given)
    else:
        assert check_host(given) == host
