"""Tokens: what is unmasked, decoded, is exactly the text of the kept actions, whatever the template."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from apollo_tui.errors import ExportError
from apollo_tui.filter.export import Row
from apollo_tui.filter.export.source import FilteredRollout
from apollo_tui.filter.export.tokens import IGNORED, Tokens
from apollo_tui.filter.mask import TurnMask
from apollo_tui.filter.spans import PARTS_UNKNOWN, Span, trained_spans
from apollo_tui.filter.stability import Template
from apollo_tui.filter.template import JinjaTemplate, load_template
from apollo_tui.filter.tokenizer import load_tokenizer
from apollo_tui.log.read import History
from apollo_tui.log.types import AssistantMessage, UserMessage
from tests.filter.made import Made
from tests.filter.stored import only_rollout, write

MADE = Path(__file__).parent / "templates"
SPECIAL = [
    *("<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>"),
    *("<tool_response>", "</tool_response>", "[gMASK]", "<sop>"),
    *("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
]


def trained_tokenizer(
    folder: Path,
    *texts: str,
    special: Sequence[str | tokenizers.AddedToken] = SPECIAL,
    size: int = 400,
) -> tokenizers.Tokenizer:
    """A byte-level BPE as models have, that learned these texts; saved in the folder.

    Its post-processor shortens offsets by white space, as GPT-2's does.
    """
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=size + len(special),
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    trained_tokenizer(folder, "Make it. thinking saying running seen advice bash command " * 20)
    return folder


def rows_of(made: Made, a_format: Tokens) -> tuple[list[Row], FilteredRollout]:
    """The rows of a rollout that was written to a real log and filtered; and what was counted."""
    with TemporaryDirectory() as home:
        database = Path(home) / "log.db"
        asyncio.run(write(database, made))
        history = History(database)
        try:
            rollout = only_rollout(history)
            return list(a_format.rows(rollout)), rollout
        finally:
            history.close()


def runs(row: Row, tokenizer: tokenizers.Tokenizer) -> Iterator[str]:
    """The texts of a row that train, each as far as it goes without a break."""
    tokens = zip(row["input_ids"], row["labels"], strict=True)
    for trains, run in groupby(tokens, key=lambda token: token[1] != IGNORED):
        if trains:
            yield tokenizer.decode([token for token, _ in run], skip_special_tokens=False)


# --- by property -------------------------------------------------------------------------------

words = st.sampled_from(["plain", "é漢字", "🙂🙂", "two words", "<b>", "</tool_call", "<|im"])


@st.composite
def rollouts(draw: st.DrawFn) -> Made:
    """Steps of several actions, some rejected, with advice and new segments that carry steps over.
    What is said anywhere is said once, so that nothing trains by being mistaken for something else."""
    made = Made()
    for number in range(draw(st.integers(1, 6))):
        if draw(st.integers(0, 4)) == 0:
            made.advise(f"advice {number} {draw(words)}")
        if number and draw(st.integers(0, 5)) == 0:
            summary = UserMessage(text=f"summary {number}").model_dump_json()
            made.begin_segment([summary, *made.sent])
        calls = draw(st.integers(0, 3))
        step = made.step(
            *(
                ("bash", {"command": f"running {number}.{call} {draw(words)}"})
                for call in range(calls)
            ),
            observations=[f"seen {number}.{call} {draw(words)}" for call in range(calls)],
            thinking=f"thinking {number} {draw(words)}",
            text=draw(st.sampled_from(["", f"saying {number} {draw(words)}"])),
        )
        for ordinal in range(1, calls + 1):
            if draw(st.integers(0, 2)) == 0:
                made.mark(step, "reject", ordinal=ordinal)
    return made


def plain_parts(reply: AssistantMessage) -> list[str]:
    calls = [
        f"<tool_call>bash {json.dumps(call.arguments, ensure_ascii=False)}</tool_call>"
        for call in reply.actions
    ]
    return ended([f"<think>{reply.thinking[0].text}</think>{reply.text}", *calls])


def qwen_parts(reply: AssistantMessage) -> list[str]:
    calls = [
        ("\n" if number or reply.text else "")
        + '<tool_call>\n{"name": "bash", "arguments": '
        + json.dumps(call.arguments, ensure_ascii=False)
        + "}\n</tool_call>"
        for number, call in enumerate(reply.actions)
    ]
    return ended([f"<think>\n{reply.thinking[0].text}\n</think>\n\n{reply.text}", *calls])


def glm_parts(reply: AssistantMessage) -> list[str]:
    said = f"\n{reply.text}" if reply.text else ""
    calls = [
        "\n<tool_call>bash\n<arg_key>command</arg_key>\n"
        f"<arg_value>{call.arguments['command']}</arg_value>\n</tool_call>"
        for call in reply.actions
    ]
    return [f"\n<think>{reply.thinking[0].text}</think>{said}", *calls]


def ended(parts: list[str]) -> list[str]:
    return [*parts[:-1], parts[-1] + "<|im_end|>"]


def kept(parts: list[str], masked: TurnMask) -> Iterator[str]:
    """The parts that train, those side by side joined."""
    trains = (masked.prose, *masked.actions)
    for together, group in groupby(zip(parts, trains, strict=True), key=lambda part: part[1]):
        if together:
            yield "".join(part for part, _ in group)


FAMILIES: dict[str, Callable[[AssistantMessage], list[str]]] = {
    "plain": plain_parts,
    "qwen": qwen_parts,
    "glm": glm_parts,
}


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=40, deadline=None)
@given(made=rollouts())
def test_what_is_unmasked_is_the_text_of_the_kept_actions(
    family: str, made: Made, folder: Path
) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    template = load_template(MADE / f"{family}.jinja", MADE)
    rows, rollout = rows_of(made, Tokens(load_tokenizer(folder), template))
    expected = [
        run
        for one in rollout.samples()
        for turn, masked in zip(one.sample.turns, one.masks, strict=True)
        if masked.trains
        for run in kept(
            FAMILIES[family](
                AssistantMessage.model_validate_json(made.texts[turn.step.message_ref])
            ),
            masked,
        )
    ]
    assert [run for row in rows for run in runs(row, tokenizer)] == expected
    for row in rows:
        assert all(
            label in (IGNORED, token)
            for token, label in zip(row["input_ids"], row["labels"], strict=True)
        )
    trained = [action for row in rows for action in map(tuple, row["meta"]["trained"])]
    assert len(trained) == len(set(trained))
    assert set(trained) == {
        (masked.step, ordinal)
        for one in rollout.samples()
        for masked in one.masks
        for ordinal, trains in enumerate(masked.actions, 1)
        if trains
    }
    segments = sum(one.trains for one in rollout.samples())
    assert rollout.reasons.total() == len(list(rollout.samples())) - segments


# --- rows that are not written -----------------------------------------------------------------


def tokens(folder: Path, family: str = "plain", **options: Any) -> Tokens:
    template = load_template(MADE / f"{family}.jinja", MADE)
    return Tokens(load_tokenizer(folder), template, **options)


def test_advice_cuts_a_segment_into_rows(folder: Path) -> None:
    made = Made()
    made.bash("ls", thinking="First.")
    made.advise("Slower.")
    made.bash("cat a", thinking="Second.")
    rows, _ = rows_of(made, tokens(folder, "glm"))
    assert [row["meta"]["trained"] for row in rows] == [[[1, 1]], [[2, 1]]]
    assert [row["meta"]["steps"] for row in rows] == [[1, 1], [1, 2]]
    whole, _ = rows_of(made, tokens(folder))
    assert [row["meta"]["trained"] for row in whole] == [[[1, 1], [2, 1]]]


def test_a_segment_in_which_nothing_trains_is_counted(folder: Path) -> None:
    made = Made()
    made.mark(made.bash("ls"), "reject")
    rows, rollout = rows_of(made, tokens(folder))
    assert rows == []
    assert rollout.reasons == {"segments in which no reply trains": 1}


def test_a_row_that_is_too_long_is_counted_and_never_cut(folder: Path) -> None:
    made = Made()
    made.bash("ls", "seen " * 50)
    made.bash("cat a")
    (row,), _ = rows_of(made, tokens(folder))
    length = len(row["input_ids"])
    same, _ = rows_of(made, tokens(folder, max_length=length))
    assert same == [row]
    none, rollout = rows_of(made, tokens(folder, max_length=length - 1))
    assert none == []
    assert rollout.reasons == {f"rows of more than {length - 1:,} tokens": 1}


def test_replies_that_no_row_can_show_are_counted(folder: Path) -> None:
    made = Made()
    made.bash("ls")
    made.bash("cat a")
    counts = JinjaTemplate(
        "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}", "counts", {}
    )
    rows, rollout = rows_of(made, Tokens(load_tokenizer(folder), counts))
    assert rows == []
    (reason,) = rollout.reasons
    assert reason.startswith("replies: the template renders the prompt differently")
    assert rollout.reasons[reason] == 2


def test_parts_that_the_template_hides_are_counted(folder: Path) -> None:
    made = Made()
    made.step(("bash", {"command": "ls"}), ("bash", {"command": "rm a"}))
    made.mark(1, "reject", ordinal=2)
    made.bash("cat a")
    made.mark(2, "reject")
    rows, rollout = rows_of(made, Tokens(load_tokenizer(folder), ENDS_DIFFER))
    assert rows == []
    assert rollout.reasons == {f"replies: {PARTS_UNKNOWN}": 1, "rows in which no token trains": 1}


def test_what_a_template_refuses_names_the_rollout_and_the_segment(folder: Path) -> None:
    made = Made()
    made.bash("ls")
    refuses = JinjaTemplate("{{ raise_exception('not today') }}", "strict", {})
    with pytest.raises(ExportError, match=r"made, segment 1: the chat template strict.*not today"):
        rows_of(made, Tokens(load_tokenizer(folder), refuses))


# --- tokens that lie across a bound ------------------------------------------------------------


def test_a_token_belongs_to_where_its_last_character_stands(tmp_path: Path) -> None:
    ends = ["<|im_start|>", "<|im_end|>"]
    tokenizer = trained_tokenizer(tmp_path, "></ call>< >< >< " * 50, special=ends, size=300)
    assert tokenizer.encode("><").tokens == ["><"]
    for rejected, expected in (
        (1, '><tool_call>bash {"command": "rm b"}</tool_call><|im_end|>'),
        (2, '<tool_call>bash {"command": "ls a"}</tool_call'),
    ):
        made = Made()
        made.step(("bash", {"command": "ls a"}), ("bash", {"command": "rm b"}), text="Both.")
        made.mark(1, "reject", ordinal=rejected)
        (row,), _ = rows_of(made, tokens(tmp_path))
        assert list(runs(row, tokenizer)) == [expected]


def test_a_token_that_begins_in_the_prompt_never_trains(tmp_path: Path) -> None:
    ends = ["<|im_start|>", "<|im_end|>"]
    tokenizer = trained_tokenizer(tmp_path, "a\n\n\na" * 50, special=ends, size=300)
    assert tokenizer.encode("a\n\n\nb").tokens == ["a", "ĊĊ", "Ċ", "b"]
    made = Made()
    made.bash("ls", text="\n\nLook.")
    (row,), _ = rows_of(made, tokens(tmp_path))
    call = '<tool_call>bash {"command": "ls"}</tool_call>'
    (run,) = runs(row, tokenizer)
    assert run == f"\nLook.{call}<|im_end|>"


def test_an_end_of_turn_that_swallows_white_space_still_trains(tmp_path: Path) -> None:
    swallows = tokenizers.AddedToken("<|im_end|>", rstrip=True, special=True)
    tokenizer = trained_tokenizer(tmp_path, "abc", special=["<|im_start|>", swallows], size=300)
    made = Made()
    made.bash("ls")
    made.bash("cat a")
    (row,), _ = rows_of(made, tokens(tmp_path))
    assert [run[-10:] for run in runs(row, tokenizer)] == ["<|im_end|>", "<|im_end|>"]


# --- the parts of a reply ----------------------------------------------------------------------

_CALLS = "{% for c in m.tool_calls or [] %}CALL{{ c.function.name }}END{% endfor %}"


def _replies(source: str, call: str = "<call>", end: str = "</call>") -> Template:
    calls = _CALLS.replace("CALL", call).replace("END", end)
    body = source.replace("CALLS", calls)
    return JinjaTemplate(
        "{% for m in messages %}{% if m.role == 'user' %}<u>{{ m.content }}{% else %}"
        + f"<a>{body}{{% endif %}}{{% endfor %}}{{% if add_generation_prompt %}}<a>{{% endif %}}",
        "made",
        {},
    )


ENDS_DIFFER = _replies("{{ m.content }}CALLS{{ '<eom>' if m.tool_calls else '<eot>' }}")
WRAPPED = _replies(
    "{{ m.content }}{% if m.tool_calls %}<calls>CALLS</calls>{% endif %}<end>", "<c>", "</c>"
)


def trained(template: Template, masked: TurnMask, **reply: Any) -> list[str] | None:
    """The texts that train of a reply with the calls one, two, three, ending its row."""
    calls = [{"function": {"name": name}} for name in ("one", "two", "three")]
    said = {"role": "assistant", "content": "", "tool_calls": calls, **reply}
    messages = [{"role": "user", "content": "Do."}, said]
    text = template.render(messages, [], add_generation_prompt=False)
    shown = Span(len(template.render(messages[:1], [], add_generation_prompt=True)), len(text))
    spans = trained_spans(template, messages, [], shown, text, 1, masked)
    return None if spans is None else [text[span.begin : span.end] for span in spans]


def keeps(*actions: bool, prose: bool = False) -> TurnMask:
    return TurnMask(1, 1, actions, prose)


@pytest.mark.parametrize("content", ["", "said", "<call>", "a</call>", "<", ">", "one"])
def test_calls_that_begin_like_the_end_of_turn(content: str) -> None:
    template = _replies("{{ m.content }}CALLS<call-ends>", "<call>", "</call>")
    first, second, third = ("<call>one</call>", "<call>two</call>", "<call>three</call><call-ends>")
    assert trained(template, keeps(True, False, False), content=content) == [first]
    assert trained(template, keeps(False, True, False), content=content) == [second]
    assert trained(template, keeps(False, True, True), content=content) == [second + third]
    assert trained(template, keeps(True, False, True), content=content) == [first, third]
    assert trained(template, keeps(True, True, True), content=content) == [first + second + third]
    whole = trained(template, keeps(True, True, True, prose=True), content=content)
    assert whole == [content + first + second + third]


def test_calls_in_one_wrapper() -> None:
    assert trained(WRAPPED, keeps(True, False, False)) == ["<calls><c>one</c><"]
    assert trained(WRAPPED, keeps(False, False, True)) == ["c>three</c></calls><end>"]
    """The comparison is late by the "<" that call and wrapper share; as tokens they are whole."""


def test_parts_that_the_template_does_not_tell() -> None:
    one_kept = keeps(True, False, False)
    assert trained(ENDS_DIFFER, one_kept) is None
    only_with_calls = _replies("{% if m.tool_calls %}{{ m.reasoning_content }}{% endif %}CALLS")
    assert trained(only_with_calls, one_kept, reasoning_content="Hm.") is None
    needs_a_call = _replies("{{ m.tool_calls[0].function.name }}CALLS")
    assert trained(needs_a_call, one_kept) is None
    assert trained(_replies("{{ m.content }}CALLS"), keeps(True, False)) is None


def test_what_needs_no_telling() -> None:
    assert trained(ENDS_DIFFER, keeps(False, False, False)) == []
    assert trained(ENDS_DIFFER, keeps(True, True, True, prose=True)) == [
        "<call>one</call><call>two</call><call>three</call><eom>"
    ]


# --- the tokenizer -----------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=60) | st.sampled_from(["", " a  b\n", "<|im_end|>\n x", "🙂"]))
def test_a_tokenizer_covers_every_character_in_order(text: str, folder: Path) -> None:
    text = text.encode("utf-8", "replace").decode()
    tokenizer = load_tokenizer(folder)
    ids, offsets = tokenizer.encode(text)
    assert tokenizer.count(text) == len(ids) == len(offsets)
    published = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert ids == published.encode(text, add_special_tokens=False).ids
    assert {place for begin, end in offsets for place in range(begin, end)} == set(range(len(text)))
    assert [end for _, end in offsets] == sorted(end for _, end in offsets)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "no tokenizer.json in"),
        ("{", "is not a tokenizer that can be read"),
        ("[]", "is not a tokenizer that can be read: it holds no JSON object"),
        ('{"model": {"type": "Unheard"}}', "is not a tokenizer that can be read"),
    ],
)
def test_a_folder_without_a_tokenizer(tmp_path: Path, content: str | None, complaint: str) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ExportError, match=complaint):
        load_tokenizer(tmp_path)
    with pytest.raises(ExportError, match="no folder"):
        load_tokenizer(tmp_path / "missing")


def test_without_the_extra_a_person_reads_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ExportError, match=r"pip install 'apollo-tui\[tokens\]'"):
        load_tokenizer(folder)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ExportError, match=r"pip install 'apollo-tui\[tokens\]'"):
        load_template(MADE / "plain.jinja")
