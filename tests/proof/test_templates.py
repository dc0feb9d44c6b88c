"""Templates render as the real transformers renders them, character by character."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apollo_tui.filter.template import load_template

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

TEMPLATES = Path(__file__).parent.parent / "filter" / "templates"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
OWN = {
    "every global": "{{ bos_token }}{{ eos_token }}{{ tools | length if tools else 'none' }}"
    "{% for m in messages %}{{ loop.index }}{{ m | tojson(indent=2, sort_keys=true) }}"
    "{% if loop.index > 3 %}{% break %}{% endif %}{% endfor %}",
    "white space": "  {% if true %}\n  a  \n  {% endif %}\n\n{%- for m in messages %}\n"
    "  {% generation %}\n {{ m.content }}\n  {% endgeneration %}\n{% endfor %}\n",
    "the other name of thinking": "{% for m in messages %}{{ m.thinking }}|{% endfor %}",
}

texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    ["", " a ", "<b>&'\"", "</think>x", "é漢🙂", "<tool_response>x</tool_response>", "{{ 1 }}"]
)
values = st.none() | st.booleans() | st.integers() | texts | st.lists(texts, max_size=2)
arguments = st.dictionaries(texts, values, max_size=3)
calls = st.builds(
    lambda made: {"id": "c", "type": "function", "function": {"name": "bash", "arguments": made}},
    arguments,
)
tools = st.lists(
    st.builds(
        lambda text: {"type": "function", "function": {"name": "bash", "description": text}}, texts
    ),
    max_size=2,
)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    messages = [{"role": "user", "content": draw(texts)}]
    if draw(st.booleans()):
        messages.insert(0, {"role": "system", "content": draw(texts)})
    for _ in range(draw(st.integers(0, 4))):
        reply: dict[str, Any] = {"role": "assistant", "content": draw(texts)}
        if draw(st.booleans()):
            reply["reasoning_content"] = draw(texts.filter(bool))
        called = draw(st.lists(calls, max_size=2))
        if called:
            reply["tool_calls"] = called
        messages.append(reply)
        messages += [
            {"role": "tool", "tool_call_id": "c", "name": "bash", "content": draw(texts)}
            for _ in called
        ]
        if draw(st.booleans()):
            messages.append({"role": "user", "content": draw(texts)})
    return messages


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    """Each template in a folder as a model publishes it, and the tokenizer that was published."""
    sources = {path.stem: path.read_text() for path in sorted(TEMPLATES.glob("*.jinja"))} | OWN
    return {
        name: _published(tmp_path_factory.mktemp("model"), source)
        for name, source in sources.items()
    }


def _published(folder: Path, template: str | dict[str, str]) -> tuple[Path, Any]:
    letters = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=letters, **TOKENS)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder, tokenizer


def both(
    folder: Path, tokenizer: Any, messages: list[dict[str, Any]], tools: Any, prompt: bool
) -> tuple[str, str]:
    """What we render, and what transformers does."""
    ours = load_template(folder).render(messages, tools, add_generation_prompt=prompt)
    theirs = tokenizer.apply_chat_template(
        messages, tools=tools or None, tokenize=False, add_generation_prompt=prompt
    )
    return ours, theirs


@settings(max_examples=150, deadline=None)
@given(conversations(), tools, st.booleans())
def test_every_template_renders_as_in_transformers(
    models: dict[str, tuple[Path, Any]],
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]],
    prompt: bool,
) -> None:
    for name, (folder, tokenizer) in models.items():
        ours, theirs = both(folder, tokenizer, messages, tools, prompt)
        assert ours == theirs, name


def test_the_template_for_tools_is_chosen_as_in_transformers(tmp_path: Path) -> None:
    named = {"default": "plain", "tool_use": "tools {{ tools | tojson }}"}
    folder, tokenizer = _published(tmp_path, named)
    messages = [{"role": "user", "content": "Hi."}]
    for given_tools in ([], [{"type": "function", "function": {"name": "bash"}}]):
        ours, theirs = both(folder, tokenizer, messages, given_tools, False)
        assert ours == theirs
