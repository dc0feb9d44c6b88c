"""Chat templates: where they are found, what they are given, and what a person reads when they fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from apollo_tui.errors import ExportError
from apollo_tui.filter.template import JinjaTemplate, load_template

MADE = Path(__file__).parent / "templates"
TOOLS = [{"type": "function", "function": {"name": "bash", "description": "Läuft <b>."}}]
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "bash", "arguments": {"command": "ls <é>", "wait": 3}},
}
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be careful."},
    {"role": "user", "content": "Make it."},
    {"role": "assistant", "content": "Look.", "reasoning_content": "Hm.", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "name": "bash", "content": "a.py"},
]


def rendered(source: str, messages: Any = MESSAGES, tools: Any = (), **special: str) -> str:
    template = JinjaTemplate(source, "made", special)
    return template.render(messages, tools, add_generation_prompt=False)


def in_folder(folder: Path, **files: Any) -> Path:
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        path = folder / name.replace("__", "/").replace("_jinja", ".jinja").replace(
            "_json", ".json"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def text_of(template: JinjaTemplate, tools: Any = ()) -> str:
    return template.render(MESSAGES, tools, add_generation_prompt=True)


@pytest.mark.parametrize("family", ["qwen", "glm", "plain"])
def test_a_file_renders_messages_tools_and_the_prompt_of_a_reply(family: str) -> None:
    text = text_of(load_template(MADE / f"{family}.jinja", MADE), TOOLS)
    for part in ("Be careful.", "Make it.", "Hm.", "Look.", "ls <é>", "a.py", "Läuft <b>."):
        assert part in text
    assert text.rstrip().endswith("assistant|>" if family == "glm" else "assistant")


def test_a_folder_gives_its_template_file_before_its_configuration(tmp_path: Path) -> None:
    config = {"chat_template": "configured", "eos_token": "</s>"}
    assert text_of(load_template(in_folder(tmp_path, tokenizer_config_json=config))) == "configured"
    in_folder(tmp_path, chat_template_jinja="a file's {{ eos_token }}")
    assert text_of(load_template(tmp_path)) == "a file's </s>"


def test_the_list_form_has_one_for_tools(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    template = load_template(in_folder(tmp_path, tokenizer_config_json={"chat_template": named}))
    assert text_of(template) == "plain"
    assert text_of(template, TOOLS) == "tools"


def test_more_templates_beside_the_file(tmp_path: Path) -> None:
    in_folder(tmp_path, chat_template_jinja="plain")
    more = in_folder(tmp_path / "additional_chat_templates", tool_use="tools") / "tool_use"
    more.rename(more.with_suffix(".jinja"))
    template = load_template(tmp_path)
    assert text_of(template) == "plain"
    assert text_of(template, TOOLS) == "tools"


def test_special_tokens_are_texts_or_objects_of_either_folder(tmp_path: Path) -> None:
    source = "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}"
    config = {"bos_token": {"content": "<s>", "lstrip": False}, "eos_token": "</s>"}
    model = in_folder(tmp_path / "model", tokenizer_config_json={**config, "pad_token": None})
    alone = in_folder(tmp_path / "alone", made_jinja=source) / "made.jinja"
    assert text_of(load_template(alone)) == "||"
    assert text_of(load_template(alone, model)) == "<s>|</s>|"


def test_tags_filters_and_globals_of_transformers() -> None:
    assert rendered("{% generation %}a{{ 1 }}{% endgeneration %}b") == "a1b"
    assert rendered("{% for m in messages %}{% if loop.last %}{% break %}{% endif %}x{% endfor %}")
    assert rendered("{{ messages[2].tool_calls[0].function.arguments | tojson }}") == (
        '{"command": "ls <é>", "wait": 3}'
    )
    assert rendered("{{ {'b': 'é', 'a': 1} | tojson(ensure_ascii=true, sort_keys=true) }}") == (
        '{"a": 1, "b": "\\u00e9"}'
    )
    assert rendered("{{ [1] | tojson(indent=1) }}") == "[\n 1\n]"
    assert rendered("{{ [1, 2] | tojson(separators=(',', ':')) }}") == "[1,2]"
    assert rendered("{{ strftime_now('%Y') }}").isdigit()
    assert rendered("{{ tools is none }}") == "True"
    assert rendered("{{ messages[2].thinking }}") == "Hm."
    assert rendered("  {% if true %}\nline\n  {% endif %}\n") == "line\n"


def test_dictionary_methods_go_before_keys_as_in_jinja() -> None:
    hidden = [{"role": "user", "items": "mine", "content": "x"}]
    assert rendered("{{ messages[0].items() | list | length }}", hidden) == "3"
    assert rendered("{{ messages[0]['items'] }}", hidden) == "mine"
    assert rendered("[{{ messages[0].missing }}]", hidden) == "[]"


@pytest.mark.parametrize(
    "escape",
    [
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'x'}) }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__class__.__base__ }}",
        "{{ '{0.__class__.__mro__}'.format(messages) }}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(escape: str) -> None:
    for _ in range(2):  # the second time the sandbox remembers its answer
        with pytest.raises(ExportError, match="unsafe"):
            rendered(escape)


def test_what_a_template_refuses_is_told_in_its_own_words() -> None:
    with pytest.raises(ExportError, match=r"made refuses a conversation of 4 messages: no tools!"):
        rendered("{{ raise_exception('no tools!') }}")
    with pytest.raises(ExportError, match="no such role: judge"):
        load_template(MADE / "plain.jinja").render(
            [{"role": "judge", "content": ""}], [], add_generation_prompt=False
        )
    with pytest.raises(ExportError, match="'nothing' is undefined"):
        rendered("{{ nothing.at.all }}")
    with pytest.raises(ExportError, match="division by zero"):
        rendered("{{ 1 / 0 }}")


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({}, "no chat template in"),
        ({"tokenizer_config_json": "{"}, "tokenizer_config.json is not JSON"),
        ({"tokenizer_config_json": []}, "holds no JSON object"),
        ({"tokenizer_config_json": {"chat_template": 3}}, "neither a text nor a list"),
        ({"tokenizer_config_json": {"chat_template": [{"name": "rag"}]}}, "neither a text nor"),
        (
            {"tokenizer_config_json": {"chat_template": [{"name": "rag", "template": ""}]}},
            "holds the chat templates rag, but neither default nor tool_use",
        ),
        ({"chat_template_jinja": "a\n{% if %}"}, "line 2 of the template"),
        ({"chat_template_jinja": "{% nonsense %}"}, "line 1 of the template"),
    ],
)
def test_a_folder_without_a_template_that_can_be_used(
    tmp_path: Path, files: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ExportError, match=complaint) as error:
        load_template(in_folder(tmp_path, **files))
    assert str(tmp_path) in error.value.line


def test_a_path_that_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"no chat template .*missing: give a model"):
        load_template(tmp_path / "missing")
    binary = tmp_path / "binary.jinja"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ExportError, match="cannot read"):
        load_template(binary)
