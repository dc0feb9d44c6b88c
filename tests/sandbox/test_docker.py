"""What only Docker has: containers with names and labels, images, an engine that may be away."""

from __future__ import annotations

import asyncio
import io
import socket
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from docker import DockerClient

from apollo_tui.errors import SandboxError, SandboxUnavailable
from apollo_tui.sandbox import Kind
from apollo_tui.sandbox.choose import open_sandbox
from apollo_tui.sandbox.docker import engine, list_containers, remove_container
from apollo_tui.sandbox.image import ensure_base_image
from tests.sandbox.conftest import Place
from tests.sandboxes import HOME_LABEL, require, run

pytestmark = pytest.mark.docker


@pytest.fixture
def client() -> Iterator[DockerClient]:
    require("docker")
    with engine() as client:
        yield client


@pytest.fixture
async def place(client: DockerClient, make_place: Callable[[Kind], Place]) -> AsyncIterator[Place]:
    place = make_place("docker")
    yield place
    remove_container(place.spec.name, HOME_LABEL)


async def test_one_container_with_its_name_and_labels(place: Place, client: DockerClient) -> None:
    sandbox = place.open()
    assert await sandbox.start() is False
    container = client.containers.get(f"apollo-{place.spec.name}")
    assert container.id == sandbox.identity
    assert container.labels["apollo.rollout"] == place.spec.rollout
    assert list_containers(HOME_LABEL)[place.spec.name] == place.spec.rollout
    assert place.spec.name not in list_containers("another-home")
    assert await place.open().start() is True
    await sandbox.close(remove=True)
    assert place.spec.name not in list_containers(HOME_LABEL)


async def test_a_container_that_was_stopped_is_started_again(
    place: Place, client: DockerClient
) -> None:
    first = place.open()
    await first.start()
    await run(first, "echo here > /tmp/x; echo kept > file")
    client.containers.get(first.identity).stop(timeout=0)
    again = place.open()
    assert await again.start() is True
    assert again.identity == first.identity
    assert (await run(again, "cat file"))[1] == "kept\n"


async def test_a_container_that_was_created_and_never_started(
    place: Place, client: DockerClient
) -> None:
    """The core died between the two."""
    dead = place.open()
    place.spec.folder.mkdir()
    dead._prepare()  # type: ignore[attr-defined]
    with engine() as other:
        dead._create(other)  # type: ignore[attr-defined]
    again = place.open()
    assert await again.start() is True
    assert (await run(again, "echo on"))[1] == "on\n"
    found = client.containers.list(all=True, filters={"name": f"apollo-{place.spec.name}"})
    assert len(found) == 1


async def test_a_container_of_that_name_that_is_not_ours(place: Place) -> None:
    await place.open().start()
    other = open_sandbox(
        "docker", replace(place.spec, folder=place.spec.folder.with_name("o")), home_label="other"
    )
    with pytest.raises(SandboxError, match=f"docker rm -f apollo-{place.spec.name}"):
        await other.start()


async def test_somebody_removed_the_container(place: Place, client: DockerClient) -> None:
    sandbox = place.open()
    await sandbox.start()
    client.containers.get(sandbox.identity).remove(force=True)
    await sandbox.close(remove=True)
    assert await sandbox.start() is False
    assert (await run(sandbox, "echo on"))[1] == "on\n"


async def test_an_image_that_is_missing(place: Place) -> None:
    with pytest.raises(SandboxError, match="no image no-such-image:1; build it or `docker pull"):
        await place.open(image="no-such-image:1").start()


async def test_an_image_without_python(place: Place, client: DockerClient) -> None:
    tag = _import(client, {"bin/nothing": b"#!/nothing\n"})
    try:
        with pytest.raises(SandboxError, match=f"its image {tag} has no python3"):
            await place.open(image=tag).start()
    finally:
        remove_container(place.spec.name, HOME_LABEL)
        client.images.remove(tag)


async def test_an_image_with_its_own_entrypoint_user_and_path(
    place: Place, client: DockerClient
) -> None:
    base = ensure_base_image(client)
    built, _ = client.images.build(
        fileobj=io.BytesIO(
            f"FROM {base}\nENV PATH=/opt/tools:$PATH\nENV TOOL=yes\nUSER 1000\n"
            'WORKDIR /home\nENTRYPOINT ["/bin/false"]\n'.encode()
        ),
        tag="apollo-test-own:1",
        rm=True,
        forcerm=True,
    )
    try:
        sandbox = place.open(image="apollo-test-own:1")
        await sandbox.start()
        _, output = await run(sandbox, "echo $TOOL $PATH; id -u")
        tool, *_ = output.splitlines()
        assert tool.startswith("yes /opt/tools:")
    finally:
        remove_container(place.spec.name, HOME_LABEL)
        client.images.remove(str(built.id), force=True)


async def test_the_default_image_is_made_once(client: DockerClient) -> None:
    first = await asyncio.to_thread(ensure_base_image, client)
    before = client.images.get(first).id
    assert await asyncio.to_thread(ensure_base_image, client) == first
    assert client.images.get(first).id == before


async def test_the_default_image_has_the_tools(place: Place) -> None:
    sandbox = place.open()
    await sandbox.start()
    script = """
    for tool in bash sh python3 grep sed awk find xargs ps tar gzip diff ls head sort; do
      command -v $tool > /dev/null || echo "no $tool"
    done
    echo a-b | sed s/-/+/ | awk '{print $1}' | grep -c + ; ps -e > /dev/null && echo b | gzip | zcat
    python3 -c 'import sqlite3, ssl, ctypes, lzma, json, zlib, unittest; print("ok")'
    whoami; touch /tmp/x && diff /tmp/x /dev/null && find /tmp -name x
    """
    outcome, output = await run(sandbox, script)
    lines = output.splitlines()
    assert lines[:3] == ["1", "b", "ok"], output
    assert lines[-1] == "/tmp/x"
    assert outcome.exit_code == 0


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("unix:///nowhere/docker.sock", "no such file or directory"),
        ("tcp://198.51.100.1:2375", "not of this machine"),
    ],
)
async def test_no_engine(make_place: Callable[[Kind], Place], host: str, why: str) -> None:
    spec = make_place("docker").spec
    with pytest.raises(SandboxUnavailable, match=why) as refused:
        await open_sandbox("docker", spec, docker_host=host).start()
    assert host in refused.value.line
    assert "--sandbox bubblewrap" in refused.value.line


async def test_an_engine_that_refuses_connections(
    make_place: Callable[[Kind], Place], tmp_path: Path
) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(path))
    spec = make_place("docker").spec
    with pytest.raises(SandboxUnavailable) as refused:
        await open_sandbox("docker", spec, docker_host=f"unix://{path}").start()
    assert refused.value.line == (
        f"no Docker engine answers at unix://{path} (connection refused); "
        "start Docker, or use --sandbox bubblewrap"
    )


def _import(client: DockerClient, files: dict[str, bytes]) -> str:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    client.api.import_image_from_data(archive.getvalue(), repository="apollo-test-empty", tag="1")
    return "apollo-test-empty:1"
