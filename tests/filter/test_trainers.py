"""What each trainer refuses, and what it makes of rows that exports of a real log hold."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo_tui.cli.exporting import ExportGroup
from apollo_tui.cli.program import program
from apollo_tui.errors import ExportError
from apollo_tui.filter.export import Format, Row
from apollo_tui.filter.export.chat import Chat
from apollo_tui.filter.export.preferences import Preferences
from apollo_tui.filter.export.tally import Tally
from apollo_tui.filter.export.trainers import TRAINERS
from apollo_tui.filter.export.trainers.ms_swift import NOT_BY_TURNS
from apollo_tui.filter.export.trainers.openai import THINKING
from apollo_tui.filter.export.trainers.trainer import shim
from apollo_tui.filter.rules import RULES
from apollo_tui.log.events import StepRegenerated
from apollo_tui.log.read import History
from apollo_tui.paths import data_dir
from tests.filter.made import Made, R
from tests.filter.stored import only_rollout, write

FORMATS = ("chat", "turns", "tokens", "preferences", "atif", "inspect")
READS = {
    "trl": ("tokens", "turns", "preferences"),
    "axolotl": ("chat", "tokens"),
    "ms-swift": ("chat",),
    "llamafactory": ("tokens", "chat"),
    "slime": ("tokens", "chat"),
    "verl": ("tokens",),
    "openai": ("chat", "preferences"),
}
PAIRS = [(name, format) for name, reads in READS.items() for format in reads]
TOKENS: Row = {
    "input_ids": [5, 6, 7, 8, 9],
    "labels": [-100, -100, 7, -100, 9],
    "meta": {"rollout": R, "trained": [[1, 1], [2, 1]]},
}


def marked() -> Made:
    """A kept reply of two actions, a rejected one, and after it a kept one."""
    made = Made()
    made.step(
        ("bash", {"command": "ls"}),
        ("bash", {"command": "pwd", "timeout": 3}),
        observations=["data", "/work"],
        thinking="Look first.",
        text="I look.",
    )
    made.bash("rm -r data", thinking="Make room.")
    made.bash("df", "90 %")
    made.mark(2, "reject")
    return made


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "apollo.db"


def rows_of(database: Path, a_format: Format) -> list[Row]:
    history = History(database)
    try:
        return list(a_format.rows(only_rollout(history)))
    finally:
        history.close()


async def chat_row(database: Path, made: Made) -> Row:
    await write(database, made)
    (row,) = rows_of(database, Chat())
    return row


# --- saying no ---------------------------------------------------------------------------------


def test_every_trainer_is_there() -> None:
    assert {name: trainer.reads for name, trainer in TRAINERS.items()} == READS


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", READS)
def test_a_format_is_read_or_refused_in_one_line_that_names_another(name: str, format: str) -> None:
    trainer = TRAINERS[name]
    if format in READS[name]:
        trainer.check(format, Tally(masked_replies=312))
        return
    with pytest.raises(ExportError) as refused:
        trainer.check(format, Tally(masked_replies=312))
    assert str(refused.value) == refused.value.line
    assert refused.value.line.endswith("use --format " + " | ".join(READS[name]))


@pytest.mark.parametrize("name", ["trl", "verl"])
def test_a_refusal_says_how_many_masked_replies_would_train(name: str) -> None:
    for count, said in [(1312, "1,312 masked replies,"), (1, "1 masked reply,")]:
        with pytest.raises(ExportError, match=f"would train {said}"):
            TRAINERS[name].check("chat", Tally(masked_replies=count))
    with pytest.raises(ExportError) as refused:
        TRAINERS[name].check("chat", Tally())
    assert "masked" not in refused.value.line


@pytest.mark.parametrize(("name", "format"), PAIRS)
def test_how_to_train_names_what_is_there(name: str, format: str) -> None:
    trainer = TRAINERS[name]
    said = trainer.loading(format, "../out-model")
    files = trainer.files(format, "../out-model")
    assert f"{format}.jsonl" in said + "".join(files.values())
    if name not in ("slime", "openai"):  # which do not say where the model goes
        assert "../out-model" in said + "".join(files.values())
    for file, text in files.items():
        assert text.endswith("\n")
        assert Path(file).stem in said + "".join(files.values())
        if file.endswith(".py"):
            compile(text, file, "exec")


def test_a_missing_shim_is_one_line() -> None:
    with pytest.raises(ExportError, match=r"no_such\.py: No such file.*; reinstall apollo-tui"):
        shim("no_such.py")


# --- rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "format"), PAIRS)
async def test_rows_keep_their_origin_and_the_given_row_is_not_changed(
    name: str, format: str, database: Path
) -> None:
    made = marked()
    made.tell(StepRegenerated(rollout=R, step=4, replaces=3))
    made.sent = []
    made.bash("du -s", "9 GB")
    await write(database, made)
    rows = {
        "chat": rows_of(database, Chat()),
        "preferences": rows_of(database, Preferences()),
        "tokens": [TOKENS],
    }
    given_rows = rows.get(format) or [_turn(rows["chat"][0])]
    before = copy.deepcopy(given_rows)
    trainer = TRAINERS[name]
    trainer.check(format, Tally())
    for row in given_rows:
        adapted = trainer.adapt(format, row)
        assert adapted is not None
        assert adapted["meta"] == row["meta"]
    assert given_rows == before


def _turn(row: Row) -> Row:
    messages = row["messages"]
    return {
        "prompt": messages[:-1],
        "completion": messages[-1:],
        "tools": row["tools"],
        "meta": row["meta"],
    }


async def test_every_trainer_of_messages_is_told_the_same(database: Path) -> None:
    row = await chat_row(database, marked())
    told = {
        "axolotl": "train",
        "ms-swift": "loss",
        "llamafactory": "loss_weight",
        "slime": "step_loss_mask",
        "openai": "weight",
    }
    for name, flag in told.items():
        adapted = TRAINERS[name].adapt("chat", row)
        assert adapted is not None
        replies = [one for one in adapted["messages"] if one["role"] == "assistant"]
        assert [bool(one[flag]) for one in replies] == [True, False, True], name
        others = [one for one in adapted["messages"] if one["role"] != "assistant"]
        assert not any(one.get(flag) for one in others), name


async def test_ms_swift_gets_thinking_in_the_text(database: Path) -> None:
    row = await chat_row(database, marked())
    adapted = TRAINERS["ms-swift"].adapt("chat", row)
    assert adapted is not None
    reply = adapted["messages"][2]
    assert reply["content"] == "<think>\nLook first.\n</think>\n\nI look."
    assert reply["tool_calls"] == row["messages"][2]["tool_calls"]
    assert not any("reasoning_content" in one for one in adapted["messages"])


async def test_ms_swift_leaves_out_advice_after_an_observation_and_says_so(database: Path) -> None:
    made = marked()
    made.advise("Slower.")
    made.bash("ls")
    row = await chat_row(database, made)
    trainer = TRAINERS["ms-swift"]
    trainer.check("chat", Tally())
    assert trainer.adapt("chat", row) is None
    assert trainer.adapt("chat", row) is None
    assert trainer.reasons == {NOT_BY_TURNS: 2}
    trainer.check("chat", Tally())
    assert not trainer.reasons


@given(st.lists(st.sampled_from(["user", "tool", "assistant"]), max_size=8))
def test_ms_swift_takes_exactly_what_its_encoder_does(roles: list[str]) -> None:
    """Its encoder joins observations, then wants pairs of something and a reply."""
    joined = [
        role
        for place, role in enumerate(roles)
        if not (role == "tool" and place and roles[place - 1] == "tool")
    ]
    pairs = list(zip(joined[::2], joined[1::2], strict=False))
    takes = len(joined) % 2 == 0 and all(
        asked in ("user", "tool") and reply == "assistant" for asked, reply in pairs
    )
    messages = [{"role": "system", "content": ""}, *({"role": r, "content": ""} for r in roles)]
    trainer = TRAINERS["ms-swift"]
    trainer.check("chat", Tally())
    row = {"tools": [], "messages": messages, "meta": {}}
    assert (trainer.adapt("chat", row) is not None) == takes
    assert trainer.reasons.total() == (not takes)


async def test_llamafactory_gets_parts(database: Path) -> None:
    row = await chat_row(database, marked())
    adapted = TRAINERS["llamafactory"].adapt("chat", row)
    assert adapted is not None
    assert adapted["messages"][1] == {
        "role": "user",
        "content": [{"type": "text", "value": "Make it."}],
        "loss_weight": 0.0,
    }
    parts = adapted["messages"][2]["content"]
    assert [part["type"] for part in parts] == ["reasoning", "text", "tool_call", "tool_call"]
    assert json.loads(parts[3]["value"]) == {
        "name": "bash",
        "arguments": {"command": "pwd", "timeout": 3},
    }
    assert [part["type"] for part in adapted["messages"][-1]["content"]] == ["tool_call"]
    assert adapted["tools"] == ""


async def test_openai_gets_only_what_it_knows(database: Path) -> None:
    row = await chat_row(database, marked())
    trainer = TRAINERS["openai"]
    trainer.check("chat", Tally())
    adapted = trainer.adapt("chat", row)
    assert adapted is not None
    assert set(adapted) == {"messages", "meta"}  # an empty list of tools is refused there
    known = {"role", "content", "tool_calls", "tool_call_id", "weight"}
    assert all(set(message) <= known for message in adapted["messages"])
    calls = adapted["messages"][2]["tool_calls"]
    assert json.loads(calls[1]["function"]["arguments"]) == {"command": "pwd", "timeout": 3}
    assert trainer.reasons == {THINKING: 2}
    tool = {"type": "function", "function": {"name": "bash", "description": "", "parameters": {}}}
    with_tools = trainer.adapt("chat", row | {"tools": [tool]})
    assert with_tools is not None
    assert with_tools["tools"] == [tool]


async def test_openai_gets_pairs_in_its_own_form(database: Path) -> None:
    made = Made()
    made.bash("sleep 9")
    made.tell(StepRegenerated(rollout=R, step=2, replaces=1))
    made.sent = []
    made.bash("ls")
    await write(database, made)
    (row,) = rows_of(database, Preferences())
    adapted = TRAINERS["openai"].adapt("preferences", row)
    assert adapted is not None
    assert set(adapted) == {"input", "preferred_output", "non_preferred_output", "meta"}
    assert [one["role"] for one in adapted["input"]["messages"]] == ["system", "user"]
    for output, command in [("preferred_output", "ls"), ("non_preferred_output", "sleep 9")]:
        (message,) = adapted[output]
        arguments = message["tool_calls"][0]["function"]["arguments"]
        assert json.loads(arguments) == {"command": command}
        assert "weight" not in message


def test_axolotl_gets_an_attention_mask() -> None:
    adapted = TRAINERS["axolotl"].adapt("tokens", TOKENS)
    assert adapted == TOKENS | {"attention_mask": [1, 1, 1, 1, 1]}


# --- shims -------------------------------------------------------------------------------------


def test_the_openai_shim_takes_meta_out_and_nothing_else(tmp_path: Path) -> None:
    rows = tmp_path / "chat.jsonl"
    messages = [{"role": "user", "content": "a\u2028b\u0085 é"}]
    row: dict[str, Any] = {"messages": messages, "meta": {"name": "x\u2028"}}
    rows.write_text(json.dumps(row, ensure_ascii=False) + "\n" + json.dumps(row) + "\n")
    upload = tmp_path / "upload.jsonl"
    script = data_dir() / "shims" / "openai_rows.py"
    subprocess.run([sys.executable, str(script), str(rows), str(upload)], check=True, timeout=60)
    lines = upload.read_bytes().splitlines()
    assert [json.loads(line) for line in lines] == [{"messages": messages}] * 2


def slime_shim() -> ModuleType:
    path = data_dir() / "shims" / "slime_tokens.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@given(st.lists(st.booleans(), min_size=2, max_size=12).filter(any))
def test_the_slime_shim_trains_exactly_what_labels_say(trains: list[bool]) -> None:
    labels = [token if train else -100 for token, train in enumerate(trains)]
    row = {"input_ids": list(range(len(trains))), "labels": labels, "meta": {}}
    adapted = TRAINERS["slime"].adapt("tokens", row)
    assert adapted is not None
    sample = SimpleNamespace(prompt=adapted["prompt"], metadata=adapted["metadata"])
    buffer = SimpleNamespace(get_samples=lambda count: [[sample]][:count])
    ((given_back,),) = slime_shim().generate_rollout(
        SimpleNamespace(rollout_batch_size=1), 0, buffer
    )
    assert len(given_back.loss_mask) == given_back.response_length
    before = len(given_back.tokens) - given_back.response_length
    whole = [0] * before + given_back.loss_mask
    assert [bool(one) for one in whole] == trains
    assert given_back.tokens == row["input_ids"]


# --- docs/training-data.md ---------------------------------------------------------------------

GUIDE = Path(__file__).parents[2] / "docs" / "training-data.md"


def test_the_guide_lists_every_trainer_with_what_it_reads() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \| [^|]* \| ((?:`\w+` ?)+) \|", GUIDE.read_text(), re.MULTILINE
    )
    listed = {name: tuple(re.findall(r"\w+", formats)) for name, formats in rows if name in READS}
    assert listed == READS


def test_the_guide_lists_every_rule() -> None:
    begun = GUIDE.read_text().split("| rule | what it masks |")[1].split("\n\n")[0]
    listed = [
        name
        for line in begun.splitlines()
        for name in re.findall(r"`([a-z-]+)`", line.split(" | ")[0])
    ]
    assert sorted(listed) == sorted(RULES)


def guide_commands() -> list[str]:
    found = re.findall(r"(?:^|`)(apollo-tui [^`\n#]+)", GUIDE.read_text(), re.MULTILINE)
    return [one.strip() for one in found if not one.startswith("apollo-tui: ")]


@pytest.mark.parametrize("command", guide_commands())
def test_the_guide_shows_commands_that_exist(command: str) -> None:
    name, *arguments = shlex.split(command)[1:]
    with click.Context(program) as context:
        found = program.get_command(context, name)
    assert found is not None
    if isinstance(found, ExportGroup) and arguments[0] in found.commands:
        found = found.commands[arguments.pop(0)]
    options = {name for parameter in found.params for name in parameter.opts}
    assert {one for one in arguments if one.startswith("--")} <= options
    for parameter in found.params:
        if isinstance(parameter.type, click.Choice) and parameter.opts[0] in arguments:
            given_value = arguments[arguments.index(parameter.opts[0]) + 1]
            assert given_value in parameter.type.choices
