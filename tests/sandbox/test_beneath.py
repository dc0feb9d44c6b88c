"""Nothing outside of a folder is reached through it, whatever an agent puts there."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apollo_tui.errors import PathRefused
from apollo_tui.sandbox import beneath
from apollo_tui.sandbox.beneath import open_beneath, open_folder_beneath, write_beneath

SECRET = b"of the host"


@pytest.fixture(params=["kernel", "walking"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of resolving a path; where the kernel has no openat2 only the second one runs."""
    way: str = request.param
    if way == "kernel" and not beneath._has_openat2():
        pytest.skip("this kernel has no openat2")
    monkeypatch.setattr(beneath, "_has_openat2", lambda: way == "kernel")
    return way


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An agent's folder beside a file that is not the agent's."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(SECRET)
    (tmp_path / "work" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "work" / "deep" / "er" / "file").write_bytes(b"mine")
    before = set(names("/proc/self/fd"))
    yield tmp_path / "work"
    assert set(names("/proc/self/fd")) == before  # nothing is left open


def names(folder: Path | int | str) -> list[str]:
    return sorted(os.listdir(folder))  # noqa: PTH208 - also of a descriptor


def read(folder: Path | int, path: str, at_most: int | None = None) -> bytes:
    with os.fdopen(open_beneath(folder, path, at_most=at_most), "rb") as file:
        return file.read()


def refusal(folder: Path, path: str, at_most: int | None = None) -> str:
    with pytest.raises(PathRefused) as caught:
        os.close(open_beneath(folder, path, at_most=at_most))
    return caught.value.line


def test_a_plain_file_is_read_from_a_path_and_from_an_open_folder(folder: Path) -> None:
    for path in ("deep/er/file", "./deep//er/./file"):
        assert read(folder, path) == b"mine"
    held = open_folder_beneath(folder, "deep")
    try:
        assert names(held) == ["er"]
        assert read(held, "er/file") == b"mine"
    finally:
        os.close(held)
    here = open_folder_beneath(folder, ".")
    assert names(here) == ["deep"]
    os.close(here)


def test_links_are_not_followed_wherever_they_stand_and_lead(folder: Path) -> None:
    outside = folder.parent / "outside"
    (folder / "file").symlink_to(outside / "secret")
    (folder / "up").symlink_to("../outside")
    (folder / "inside").symlink_to("deep/er/file")
    (folder / "loop").symlink_to("loop")
    (folder / "magic").symlink_to("/proc/self/cwd")
    for path in ("file", "up/secret", "inside", "loop", "magic/x", "magic"):
        assert "is a symbolic link or leads through one" in refusal(folder, path)
    for path in ("up", "magic"):
        with pytest.raises(PathRefused, match="symbolic link"):
            open_folder_beneath(folder, path)


def test_ways_out_are_refused(folder: Path) -> None:
    secret = folder.parent / "outside" / "secret"
    assert "absolute" in refusal(folder, str(secret))
    for path in ("../outside/secret", "deep/../../outside/secret", "..", "deep/.."):
        assert "leads out" in refusal(folder, path)
    assert "NUL" in refusal(folder, "deep\0x")


def test_what_is_no_plain_file_is_refused_at_once(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        held = os.open(folder, os.O_PATH)
        listening.bind(f"/proc/self/fd/{held}/socket")
        os.close(held)
        assert "is no regular file" in refusal(folder, "socket")
    assert "is no regular file" in refusal(folder, "pipe")
    assert "is a folder" in refusal(folder, "deep")
    assert "is a folder" in refusal(folder, "")
    assert "does not exist" in refusal(folder, "nothing")
    assert "does not exist" in refusal(folder, "deep/er/file/below")
    assert "too long" in refusal(folder, "x" * 300)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_is_refused(folder: Path) -> None:
    try:
        os.mknod(folder / "device", 0o20666, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("no devices can be made here")
    assert "is no regular file" in refusal(folder, "device")


def test_a_hard_link_that_may_lead_out_is_refused(folder: Path) -> None:
    os.link(folder.parent / "outside" / "secret", folder / "linked")
    assert "has a second name" in refusal(folder, "linked")


def test_a_file_that_is_too_large_is_refused_by_its_size(folder: Path) -> None:
    with (folder / "sparse").open("wb") as file:
        file.truncate(100 << 30)
    assert "has 107,374,182,400 bytes; at most 1,000 are read" in refusal(folder, "sparse", 1000)
    assert read(folder, "deep/er/file", at_most=4) == b"mine"
    assert "at most 3" in refusal(folder, "deep/er/file", 3)


def test_a_folder_swapped_for_a_link_while_it_is_read_never_shows_the_outside(
    folder: Path,
) -> None:
    (folder.parent / "outside" / "file").write_bytes(SECRET)
    (folder / "link").symlink_to(folder.parent / "outside")
    (folder / "real").mkdir()
    (folder / "real" / "file").write_bytes(b"mine")
    (folder / "path").mkdir()
    (folder / "path" / "file").write_bytes(b"mine")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for one in ("link", "real"):
                with suppress(OSError):
                    (folder / "path").rename(folder / "kept")
                    (folder / one).rename(folder / "path")
                    (folder / "path").rename(folder / one)
                    (folder / "kept").rename(folder / "path")

    swapping = threading.Thread(target=swap)
    swapping.start()
    seen: set[bytes | str] = set()
    try:
        for _ in range(3000):
            try:
                seen.add(read(folder, "path/file"))
            except PathRefused as refused:
                seen.add(refused.line)
    finally:
        done.set()
        swapping.join()
    assert SECRET not in seen
    assert len(seen) > 1  # the swapping was seen


parts = st.sampled_from(["deep", "er", "file", "up", "..", ".", "", "outside", "secret", "x"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.lists(parts, max_size=6).map("/".join))
def test_any_path_is_read_inside_or_refused(folder: Path, path: str) -> None:
    with suppress(FileExistsError):
        (folder / "up").symlink_to("..")
    with suppress(PathRefused):
        assert read(folder, path) == b"mine"


# --- writing ---------------------------------------------------------------------------------------


def test_a_new_file_is_written_whole_and_nothing_else_is_left(folder: Path) -> None:
    write_beneath(folder, "deep/new", b"text")
    assert (folder / "deep" / "new").read_bytes() == b"text"
    assert names(folder / "deep") == ["er", "new"]
    assert (folder / "deep" / "new").stat().st_mode & 0o777 == 0o644
    write_beneath(folder, "deep/new", b"text")  # the same again is the same
    with pytest.raises(PathRefused, match="exists already and is not overwritten"):
        write_beneath(folder, "deep/new", b"other")
    assert (folder / "deep" / "new").read_bytes() == b"text"
    assert names(folder / "deep") == ["er", "new"]


def test_nothing_is_written_through_a_link_or_outside(folder: Path) -> None:
    outside = folder.parent / "outside"
    (folder / "up").symlink_to(outside)
    (folder / "file").symlink_to(outside / "secret")
    (folder / "dangling").symlink_to(outside / "new")
    for path in ("up/new", "file", "dangling", "../outside/new", str(outside / "new"), "no/new"):
        with pytest.raises(PathRefused):
            write_beneath(folder, path, b"text")
    for path in ("", "..", ".", "deep/"):
        with pytest.raises(PathRefused):
            write_beneath(folder, path, b"text")
    assert names(outside) == ["secret"]
    assert (outside / "secret").read_bytes() == SECRET


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_belongs_to_whom_the_folder_belongs_to(folder: Path) -> None:
    os.chown(folder, 1000, 1000)
    write_beneath(folder, "deep/new", b"text")
    status = (folder / "deep" / "new").stat()
    assert (status.st_uid, status.st_gid) == (1000, 1000)
