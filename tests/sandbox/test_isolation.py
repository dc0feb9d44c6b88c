"""What a job cannot see or touch. Plain processes are not isolated, and say so."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from apollo_tui.errors import SandboxError
from apollo_tui.log.types import Mount
from apollo_tui.sandbox import Job, Kind, Sandbox, bubblewrap, image
from apollo_tui.sandbox.docker import engine
from tests.sandbox.conftest import Place
from tests.sandboxes import processes, require, run, until

CANARY = "canary-5d41402abc4b2a76"
ROOT = os.geteuid() == 0


@pytest.fixture(params=["bubblewrap", "docker"])
def sandbox_kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return require(kind)


@pytest.fixture(autouse=True)
def a_key_in_the_cores_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", CANARY)


async def test_it_says_so(sandbox: Sandbox) -> None:
    assert sandbox.isolated
    assert sandbox.workspace_path == "/workspace"


async def test_no_key_in_any_environment(sandbox: Sandbox) -> None:
    # The text is put together, or the script would find itself.
    script = "env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'"
    _, output = await run(sandbox, script)
    assert "PATH=" in output
    assert CANARY not in output


async def test_the_plain_kind_has_no_key_in_its_environment(place: Place) -> None:
    plain = Place("plain", place.spec).open()
    await plain.start()
    try:
        _, output = await run(plain, "env")
        assert "PATH=" in output
        assert CANARY not in output
        assert not plain.isolated
    finally:
        await plain.close()


async def test_nothing_of_the_host(sandbox: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "keys.toml"
    secret.write_text(CANARY)
    home = Path.home()
    script = f"""
    exec 2> /dev/null
    cat {secret} /etc/shadow {home}/.ssh/* {home}/.bashrc; ls -A {home}; ls {tmp_path} /run/user
    ls /var/run/docker.sock /run/docker.sock
    find / -xdev -name keys.toml
    """
    _, output = await run(sandbox, script)
    assert output == ""


async def test_no_other_processes(sandbox: Sandbox, marker: str) -> None:
    _, output = await run(sandbox, "ps -eo args")
    assert "runner.py" in output
    assert str(os.getpid()) not in (await run(sandbox, "ls /proc"))[1].split()
    assert "pytest" not in output


async def test_no_privileges(sandbox: Sandbox) -> None:
    _, output = await run(sandbox, "id -u; grep -E '^(CapEff|CapPrm|NoNewPrivs)' /proc/self/status")
    user, *status = output.split()
    assert int(user) == (1000 if ROOT else os.getuid())
    assert status == ["CapPrm:", "0" * 16, "CapEff:", "0" * 16, "NoNewPrivs:", "1"]


async def test_the_system_cannot_be_written(sandbox: Sandbox) -> None:
    script = (
        "touch /usr/x /etc/x /opt/apollo/x /opt/apollo/runner.py; echo x >> /opt/apollo/runner.py"
    )
    outcome, _ = await run(sandbox, script + " 2>/dev/null")
    assert outcome.exit_code != 0
    assert not list(Path("/usr").glob("x"))
    runner = (sandbox.spec.folder / "inside" / "runner.py").read_text()
    assert not runner.endswith("x\n")


async def test_the_spool_and_the_runner_are_out_of_reach(sandbox: Sandbox, kind: Kind) -> None:
    if kind == "bubblewrap" and not ROOT:
        pytest.skip("in bubblewrap, an ordinary core shares its user with the job")
    spool = "/spool" if kind == "bubblewrap" else "/run/apollo/spool"
    script = f"""
    ls {spool}; cat {spool}/*/spec.json; echo forged > {spool}/forged
    for pid in $(ps -eo pid,args | awk '/runner.py/ && !/awk/ {{print $1}}'); do
      kill -9 $pid; ls /proc/$pid/root {spool}/.. /proc/$pid/fd; cat /proc/$pid/environ
    done
    """
    outcome, output = await run(sandbox, f"({script}) 2>/dev/null")
    assert outcome.ended == "exited"
    assert "spec.json" not in output
    assert "forged" not in output
    assert not (sandbox.spec.spool / "forged").exists()
    assert (await run(sandbox, "echo on"))[1] == "on\n"


@pytest.fixture
def kind(sandbox_kind: Kind) -> Kind:
    return sandbox_kind


@pytest.fixture
def no_system_python(sandbox_kind: Kind, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if sys.base_prefix == "/usr":
        pytest.skip("the Python that runs this is the system's")
    nowhere = Path("/nowhere/python3")
    monkeypatch.setattr(bubblewrap, "SYSTEM_PYTHON", nowhere)
    monkeypatch.setattr(image, "SYSTEM_PYTHON", nowhere)
    bubblewrap.interpreter.cache_clear()
    image.contents.cache_clear()
    yield
    if sandbox_kind == "docker":
        with engine() as client:
            client.images.remove(image.ensure_base_image(client), force=True)
    bubblewrap.interpreter.cache_clear()
    image.contents.cache_clear()


@pytest.mark.usefixtures("no_system_python")
async def test_a_python_that_is_not_the_systems(place: Place, kind: Kind) -> None:
    """It is shown, or put into the image, without the folders around it."""
    sandbox = place.open()
    await sandbox.start()
    here = str(Path(sys.executable).resolve())
    python = here if kind == "bubblewrap" else "/usr/local/bin/python3"
    _, served = await run(sandbox, "cat /proc/*/cmdline | tr '\\0' ' '")
    assert f"{'python3' if kind == 'docker' else here} -I -S -B /opt/apollo/runner.py" in served
    code = "import sys, ssl, sqlite3; print(sys.version_info[:2])"
    _, output = await run(sandbox, f'{python} -c "{code}"; ls -A {Path.home()} 2> /dev/null')
    assert output.splitlines()[0] == str(sys.version_info[:2])
    assert len(output.splitlines()[1:]) <= 1  # the folder this Python is in, if it is there


async def test_no_network(sandbox: Sandbox) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        address = _address_of_this_machine()
        script = f"""python3 - <<'E'
import socket
for host in ("127.0.0.1", "{address}", "172.17.0.1", "169.254.169.254"):
    try:
        socket.create_connection((host, {port}), timeout=1).close()
        print("reached", host)
    except OSError as error:
        print("refused")
E"""
        outcome, output = await run(sandbox, script)
    assert (outcome.exit_code, output.split()) == (0, ["refused"] * 4)


async def test_network_when_it_is_asked_for(place: Place) -> None:
    sandbox = place.open(network=True)
    await sandbox.start()
    with socket.create_server(("0.0.0.0", 0)) as server:
        address = _address_of_this_machine()
        port = server.getsockname()[1]
        code = f"import socket; socket.create_connection(('{address}', {port}), 3).close()"
        outcome, output = await run(sandbox, f'python3 -c "{code}"')
    assert outcome.exit_code == 0, output


def _address_of_this_machine() -> str:
    """An address of it that is not the loopback's, without sending anything."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


async def test_mounts_can_be_read_and_not_written(place: Place, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "set.txt").write_text("numbers")
    mount = Mount(host=str(data), inside="/data/deep/set")
    sandbox = place.open(mounts=(mount,))
    await sandbox.start()
    outcome, output = await run(sandbox, "cat /data/deep/set/set.txt; touch /data/deep/set/new")
    assert outcome.exit_code == 1
    assert output.startswith("numbers")
    assert not (data / "new").exists()


async def test_a_mount_that_is_not_there(place: Place, tmp_path: Path) -> None:
    mount = Mount(host=str(tmp_path / "nowhere"), inside="/data")
    with pytest.raises(SandboxError, match=r"cannot mount .*nowhere at /data"):
        await place.open(mounts=(mount,)).start()
    assert not (tmp_path / "nowhere").exists()


async def test_links_in_the_workspace_are_given_away_not_followed(
    place: Place, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    workspace = place.spec.workspace
    (workspace / "sub").mkdir(parents=True)
    (workspace / "sub" / "file").write_text("given")
    (workspace / "link").symlink_to(outside)
    (workspace / "sub" / "link").symlink_to(outside / "file")
    await place.open().start()
    assert (outside / "file").stat().st_uid == outside.stat().st_uid == os.getuid()
    if ROOT:
        assert (workspace / "sub" / "file").stat().st_uid == 1000
        assert (workspace / "link").lstat().st_uid == 1000
        assert workspace.stat().st_uid == 1000


async def test_a_fork_bomb_stops_at_the_limit_and_leaves_others_alone(
    place: Place, marker: str
) -> None:
    bomb = place.open(processes=60)
    await bomb.start()
    other = Place(
        place.kind,
        replace(
            place.spec, name=place.spec.name + "-b", folder=place.spec.folder.with_name("other")
        ),
    )
    neighbour = other.open(processes=60)
    try:
        await neighbour.start()
        script = f"for n in $(seq 200); do sleep {marker} & done; wait"
        await bomb.launch(Job(id="bomb", script=script))
        await until(lambda: len(processes(marker)) > 40)
        await asyncio.sleep(0.3)
        assert len(processes(marker)) <= 62
        outcome, output = await run(
            neighbour, "for n in 1 2 3 4 5; do sleep 0.01 & done; wait; echo ok"
        )
        assert (outcome.exit_code, output) == (0, "ok\n")
        await bomb.kill("bomb", grace=0)
        async with asyncio.timeout(5):
            assert (await bomb.wait("bomb")).ended == "killed"
        assert processes(marker) == []
        assert (await run(bomb, "echo on"))[1] == "on\n"
    finally:
        await neighbour.close()


async def test_a_memory_bomb(place: Place, kind: Kind) -> None:
    sandbox = place.open(memory=256 << 20)
    await sandbox.start()
    bomb = "python3 -c 'x = bytearray(1 << 30); print(len(x))'"
    outcome, output = await run(sandbox, bomb)
    assert outcome.exit_code in (1, 137)
    assert "1073741824" not in output
    assert outcome.out_of_memory is (kind == "docker")
    assert (await run(sandbox, "echo on"))[1] == "on\n"
