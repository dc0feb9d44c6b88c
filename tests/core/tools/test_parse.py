"""The parse tools: a real rollout in a real sandbox parses what its agent put there."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from apollo_tui.log.read import History
from apollo_tui.paths import Home
from apollo_tui.sandbox import Kind
from tests.parsing import documents
from tests.running import Reply, bash, core, end_core, ended, events, script, task_folder
from tests.sandboxes import KINDS, processes, require, until


def act(tool: str, **arguments: Any) -> Reply:
    return {"actions": [{"tool": tool, "arguments": arguments}]}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return require(request.param)


@dataclass
class Run:
    """What a rollout left: the answers to its actions by step, and its workspace."""

    home: Home
    rollout: str
    answers: list[str]

    @property
    def workspace(self) -> Path:
        return self.home.rollout(self.rollout) / "workspace"


async def run(
    home: Home,
    tmp_path: Path,
    replies: list[Reply],
    *,
    kind: Kind = "plain",
    files: dict[str, bytes] | None = None,
    **more: Any,
) -> Run:
    """A rollout on a task with these files, to its end."""
    task = Path(task_folder(tmp_path / "task"))
    for name, data in (files or {}).items():
        path = task / "workspace" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    model = script(tmp_path / "model.jsonl", replies)
    settings = {"sandbox": kind, "unisolated": kind == "plain"} | more
    async with core(home) as client:
        started = await client.run(task=str(task), model=model, **settings)
        rollout = str(started[0]["rollout"])
        row = await ended(home, rollout)
    assert (row.state, row.why) == ("finished", "the agent finished")
    finished = events(home, rollout, "action_finished")
    history = History(home.database)
    answers = [history.text(event["observation_ref"]) for event in finished]
    history.close()
    return Run(home, rollout, answers)


DOCUMENTS = {
    "paper.pdf": documents.pdf("On learning", "It works."),
    "a b/notes.docx": documents.docx(),
    "talk.pptx": documents.pptx(),
    "tex/main.tex": rb"\section{Method} \input{sub} \input{/etc/hostname}",
    "tex/sub.tex": rb"$\alpha$",
}


async def test_documents_are_parsed_in_every_sandbox(
    home: Home, tmp_path: Path, kind: Kind
) -> None:
    replies = [
        act("parse_pdf", file_path="paper.pdf"),
        act("parse_docx", file_path="/workspace/a b/notes.docx", save_path="a b/notes.md"),
        act("parse_pptx", file_path="./talk.pptx", save_path="/workspace/talk.txt"),
        act("parse_latex", file_path="tex/main.tex"),
        bash("cat paper.pdf.txt && echo more >> paper.pdf.txt && stat -c %a:%U:%G talk.txt"),
        bash("stat -c %a:%U:%G . && id -un"),
        act("open_file", path="tex/main.tex.txt"),
    ]
    ran = await run(home, tmp_path, replies, kind=kind, files=DOCUMENTS)
    pdf, docx, pptx, latex, read, mine, opened, *_ = ran.answers
    assert pdf.startswith("success=true observation_type=parse save_path=paper.pdf.txt seconds=")
    assert "message: PDF file parsed and saved to paper.pdf.txt: 2 pages, 6 lines, " in pdf
    assert "save_path='a b/notes.md'" in docx
    assert "saved to /workspace/talk.txt: 2 slides" in pptx
    assert "2 files" in latex
    assert "/etc/hostname was not included: /etc/hostname.tex is absolute" in latex
    assert "[Reading PDF file from paper.pdf]\n@@ Page 1 @@\nOn learning\n" in read
    assert "644:" in read  # the job's user wrote to one, and owns the other as it owns the folder
    assert read.split("644:")[1].split()[0] == mine.split("755:")[1].split()[0]
    assert "$\\alpha$ [/etc/hostname]" in opened
    assert "## Method" in (ran.workspace / "a b" / "notes.md").read_text()
    details = events(home, ran.rollout, "action_finished")
    assert [event["disposition"] for event in details[:4]] == ["completed"] * 4
    assert details[0]["added"] == 6
    assert details[0]["summary"].startswith("paper.pdf.txt: 2 pages, 6 lines")


async def test_what_cannot_be_done_says_why_and_the_rollout_goes_on(
    home: Home, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.pdf"
    secret.write_bytes(documents.pdf("of the host"))
    victim = tmp_path / "victim"
    files = {
        "locked.pdf": documents.pdf("x", password="secret"),
        "good.pdf": documents.pdf("good"),
        "empty.pdf": b"",
        "text.pdf": b"hello",
        "kept.txt": b"kept",
    }
    prepare = (
        f"ln -s {secret} link.pdf; ln -s {tmp_path} up; ln -s {victim} out.txt; mkfifo pipe.pdf;"
        f"ln {secret} hard.pdf; truncate -s 100G huge.pdf; mkdir folder.pdf"
    )
    refused = {
        ("link.pdf", ""): "link.pdf is a symbolic link or leads through one",
        ("up/secret.pdf", ""): "is a symbolic link or leads through one",
        ("../secret.pdf", ""): "../secret.pdf is not in the workspace; copy it there first",
        (str(secret), ""): "is not in the workspace; copy it there first",
        ("hard.pdf", ""): "has a second name (a hard link); copy it first",
        ("pipe.pdf", ""): "is no regular file",
        ("folder.pdf", ""): "is a folder, no file",
        ("/workspace", ""): "is a folder",
        ("huge.pdf", ""): "has 107,374,182,400 bytes; at most 67,108,864 are read",
        ("none.pdf", ""): "none.pdf does not exist",
        ("empty.pdf", ""): "it is empty",
        ("text.pdf", ""): "it is no PDF, or a broken one",
        ("locked.pdf", ""): "locked.pdf was not read: it is encrypted and needs a password",
        ("good.pdf", "kept.txt"): "kept.txt exists already and is not overwritten",
        ("good.pdf", "out.txt"): "out.txt exists already and is not overwritten",
        ("good.pdf", "up/new.txt"): "is a symbolic link or leads through one",
        ("good.pdf", "no/new.txt"): "no does not exist",
        ("good.pdf", "../new.txt"): "is not in the workspace",
        ("good.pdf", str(victim)): "is not in the workspace",
    }
    replies = [
        bash(prepare),
        *(act("parse_pdf", file_path=path, save_path=save) for path, save in refused),
        act("parse_pdf", file_path="good.pdf"),
        act("parse_pdf", file_path="good.pdf"),
        act("parse_pdf", path="good.pdf"),
        act("parse_image", file_path="a.png", save_path="a.txt"),
    ]
    ran = await run(home, tmp_path, replies, files=files)
    for (path, save), answer in zip(refused, ran.answers[1:], strict=False):
        assert answer.startswith("success=false observation_type=parse timestamp="), answer
        assert refused[path, save] in answer
    once, again, misnamed, missing = ran.answers[len(refused) + 1 :][:4]
    assert once.startswith("success=true")
    assert again.startswith("success=true")  # it says the same, so nothing was overwritten
    assert "there is no argument path (did you mean " in misnamed
    assert "there is no tool 'parse_image'" in missing
    assert not victim.exists()
    assert not (tmp_path / "new.txt").exists()
    assert (ran.workspace / "kept.txt").read_text() == "kept"
    assert "of the host" not in "".join(ran.answers)


async def test_a_mounted_folder_can_be_read_and_not_written(
    home: Home, tmp_path: Path, isolated_kind: Kind
) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    mounted.joinpath("paper.pdf").write_bytes(documents.pdf("On learning"))
    replies = [
        act("parse_pdf", file_path="/data/paper.pdf", save_path="paper.txt"),
        act("parse_pdf", file_path="/data/paper.pdf"),
    ]
    mounts = [{"host": str(mounted), "inside": "/data"}]
    ran = await run(home, tmp_path, replies, kind=isolated_kind, mounts=mounts)
    assert "saved to paper.txt: 1 page" in ran.answers[0]
    assert "is in a mounted folder; save_path must be in the workspace" in ran.answers[1]
    assert [path.name for path in mounted.iterdir()] == ["paper.pdf"]


async def test_a_core_that_is_killed_leaves_no_process_and_the_next_one_parses_again(
    home: Home, tmp_path: Path
) -> None:
    task = Path(task_folder(tmp_path / "task"))
    (task / "workspace" / "slow-8841.tex").write_text("x" * 500_000)
    model = script(tmp_path / "model.jsonl", [act("parse_latex", file_path="slow-8841.tex")])
    async with core(home) as client:
        started = await client.run(task=str(task), model=model, sandbox="plain", unisolated=True)
        rollout = str(started[0]["rollout"])
        await until(lambda: bool(processes("slow-8841.tex")))
        await end_core(home, signal.SIGKILL)
        await until(lambda: not processes("slow-8841.tex"), seconds=4)
    async with core(home):
        row = await ended(home, rollout)
    assert row.state == "finished"
    finished = events(home, rollout, "action_finished")
    assert [event["disposition"] for event in finished] == ["completed", "completed"]
    text = home.rollout(rollout) / "workspace" / "slow-8841.tex.txt"
    assert len(text.read_text()) > 500_000
    names = sorted(path.name for path in text.parent.iterdir())
    assert names == ["notes.txt", "slow-8841.tex", "slow-8841.tex.txt"]
