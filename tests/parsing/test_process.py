"""The process that reads a document: what it may not do, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from apollo_tui.parsing import Kind, Parsed, Unreadable
from apollo_tui.parsing.process import SECONDS, Document, read_document
from apollo_tui.sandbox.beneath import open_folder_beneath
from tests.parsing import documents
from tests.sandboxes import processes


async def read(folder: Path, kind: Kind, path: str, *, seconds: float = SECONDS) -> Parsed:
    status = folder.stat()
    opened = open_folder_beneath(folder, ".")
    try:
        document = Document(kind, opened, path, (status.st_uid, status.st_gid))
        return await read_document(document, seconds=seconds)
    finally:
        os.close(opened)


async def why_not(folder: Path, kind: Kind, path: str, *, seconds: float = SECONDS) -> str:
    with pytest.raises(Unreadable) as caught:
        await read(folder, kind, path, seconds=seconds)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A job's workspace: of another user where we are root, below a folder only we can enter."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    made = closed / "workspace"
    made.mkdir()
    if os.geteuid() == 0:
        os.chown(made, 1000, 1000)
    return made


async def test_each_kind_is_read(folder: Path) -> None:
    (folder / "a.pdf").write_bytes(documents.pdf("On learning"))
    (folder / "a.docx").write_bytes(documents.docx())
    (folder / "a.pptx").write_bytes(documents.pptx())
    (folder / "sub").mkdir()
    (folder / "sub" / "a.tex").write_text(r"On learning: \input{b}")
    (folder / "sub" / "b.tex").write_text(r"$\alpha$")
    assert "On learning" in (await read(folder, "pdf", "a.pdf")).text
    assert "On learning" in (await read(folder, "docx", "a.docx")).text
    assert "Say it slowly." in (await read(folder, "pptx", "a.pptx")).text
    assert (await read(folder, "latex", "sub/a.tex")).text == r"On learning: $\alpha$"


async def test_nothing_outside_of_the_folder_is_read(folder: Path) -> None:
    (folder.parent / "secret.tex").write_text("of the host")
    (folder / "link.tex").symlink_to(folder.parent / "secret.tex")
    (folder / "up").symlink_to("..")
    os.mkfifo(folder / "pipe.tex")
    (folder / "empty.tex").touch()
    with (folder / "sparse.tex").open("wb") as file:
        file.truncate(100 << 30)
    inputs = r"\input{../secret} \input{link} \input{up/secret} \input{/etc/hostname} \input{pipe}"
    (folder / "main.tex").write_text(inputs)
    parsed = await read(folder, "latex", "main.tex")
    assert parsed.text == "[../secret] [link] [up/secret] [/etc/hostname] [pipe]"
    assert len(parsed.notes) == 5
    for path, said in (
        ("link.tex", "is a symbolic link"),
        ("up/secret.tex", "is a symbolic link or leads through one"),
        ("../secret.tex", "leads out of its folder"),
        ("pipe.tex", "is no regular file"),
        ("empty.tex", "it is empty"),
        ("sparse.tex", "has 107,374,182,400 bytes; at most 67,108,864 are read"),
        ("none.tex", "does not exist"),
    ):
        assert said in await why_not(folder, "latex", path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_it_reads_what_the_job_s_user_can_read(folder: Path) -> None:
    (folder / "theirs.tex").write_text("x")
    (folder / "theirs.tex").chmod(0o600)
    assert "may not be read" in await why_not(folder, "latex", "theirs.tex")
    os.chown(folder / "theirs.tex", 1000, 1000)
    assert (await read(folder, "latex", "theirs.tex")).text == "x"


async def test_a_bomb_costs_one_answer(folder: Path) -> None:
    word = f"<w:document {documents.W}><w:body>{'<w:p/>' * 16_000_000}</w:body></w:document>"
    packed = BytesIO()
    with (
        zipfile.ZipFile(BytesIO(documents.docx())) as good,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in good.namelist():
            bomb.writestr(name, word if name == "word/document.xml" else good.read(name))
    (folder / "bomb.docx").write_bytes(packed.getvalue())
    assert (folder / "bomb.docx").stat().st_size < 1 << 20
    said = await why_not(folder, "docx", "bomb.docx")
    assert said == "it takes more than 1,024 MiB of memory to read"


async def test_what_hangs_is_given_up_and_what_is_cancelled_ends(folder: Path) -> None:
    (folder / "slow-7319.tex").write_text("x" * 3_000_000)
    said = await why_not(folder, "latex", "slow-7319.tex", seconds=1)
    assert said == "it took more than 1 s to read, and was given up"
    assert not processes("slow-7319.tex")
    reading = asyncio.create_task(read(folder, "latex", "slow-7319.tex"))
    async with asyncio.timeout(10):
        while not processes("slow-7319.tex"):
            await asyncio.sleep(0.01)
    reading.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert time.monotonic() - began < 5
    assert not processes("slow-7319.tex")


async def test_the_event_loop_goes_on_meanwhile(folder: Path) -> None:
    (folder / "a.pdf").write_bytes(documents.pdf(*["On learning " * 200] * 100))
    longest, last, reading = (
        0.0,
        time.monotonic(),
        asyncio.create_task(read(folder, "pdf", "a.pdf")),
    )
    while not reading.done():
        await asyncio.sleep(0.01)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert (await reading).size.endswith("pages")
    assert longest < 1


@pytest.mark.parametrize(
    ("kind", "package"),
    [("pdf", "pypdf"), ("docx", "docx"), ("pptx", "pptx"), ("latex", "pylatexenc")],
)
def test_a_missing_library_is_one_line_that_says_how_to_get_it(
    tmp_path: Path, kind: str, package: str
) -> None:
    """None in sys.modules is how Python says that a package is not there."""
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "import json, apollo_tui.parsing.__main__ as child\n"
        "print(json.dumps(child.main(sys.argv[1:])))"
    )
    words = [kind, "--folder=0", "--path=a", "--parent=1"]
    ran = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, check=True)
    said = json.loads(ran.stdout)["error"]
    assert said.startswith(f"the Python package {package}")
    assert said.endswith("pip install 'apollo-tui[parse]'")
