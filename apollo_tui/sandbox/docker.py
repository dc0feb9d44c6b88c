"""Docker: one container per rollout, whose only program is the runner.

The runner is the container's root without capabilities but SETUID, SETGID and KILL; jobs run as an
ordinary user (1000 when the core is root, else the core's own). The spool lies below a folder that
only the container's root can enter, so no job can read or write it, whoever owns its files.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import LogConfig
from docker.types import Mount as Bind
from requests import RequestException

from apollo_tui.errors import SandboxError, SandboxUnavailable
from apollo_tui.sandbox import Kind, SandboxSpec
from apollo_tui.sandbox.hangup import Hangup
from apollo_tui.sandbox.image import ensure_base_image
from apollo_tui.sandbox.jobs import Config
from apollo_tui.sandbox.spooled import JOB_USER, START_TIMEOUT, SpooledSandbox

if TYPE_CHECKING:
    from docker.models.containers import Container

DEFAULT_HOST = "unix:///var/run/docker.sock"
# Below a folder that no image has: a folder the image brings would keep the image's own mode.
CLOSED_FOLDER = "/run/apollo"
SPOOL_INSIDE = f"{CLOSED_FOLDER}/spool"
LOOK_AGAIN = 0.25  # seconds between looks at a container that is starting


class DockerSandbox(SpooledSandbox):
    kind: Kind = "docker"
    isolated = True

    def __init__(
        self,
        spec: SandboxSpec,
        *,
        home_label: str = "",
        image: str | None = None,
        host: str | None = None,
    ) -> None:
        super().__init__(spec, shared_spool=os.geteuid() != 0)
        self.name = f"apollo-{spec.name}"
        self._home = home_label
        self._image = spec.image or image
        self._host = host

    async def _start(self) -> bool:
        await asyncio.to_thread(self._prepare)
        with Hangup(self.spool.ready) as ready:
            found = await asyncio.to_thread(self._find_or_create)
            await self._until_taking_jobs(ready)
        return found

    async def _remove(self) -> None:
        await asyncio.to_thread(self._remove_container)

    # --- blocking, in threads ------------------------------------------------------------------------

    def _prepare(self) -> None:
        if self.spool.serving():
            return
        self._require_mounts()
        user = JOB_USER if os.geteuid() == 0 else os.getuid()
        group = JOB_USER if os.geteuid() == 0 else os.getgid()
        config = Config(
            workspace=self.workspace_path,
            tmp="/tmp",
            uid=user,
            gid=group,
            environment=self.spec.environment,
        )
        self._lay_out(config)

    def _find_or_create(self) -> bool:
        with engine(self._host) as client:
            container = self._find(client)
            found = container is not None
            if container is None:
                container = self._create(client)
            self.identity = str(container.id)
            try:
                if container.status != "running":
                    container.start()
            except APIError as error:
                raise SandboxError(
                    f"container {self.name} did not start: {_said(error)}"
                ) from error
            return found

    def _find(self, client: docker.DockerClient) -> Container | None:
        try:
            container = client.containers.get(self.name)
        except NotFound:
            return None
        theirs = {name: container.labels.get(name) for name in self._labels()}
        if theirs != self._labels():
            raise SandboxError(
                f"there is a container {self.name} that is not of this rollout and home; "
                f"if it is not needed: docker rm -f {self.name}"
            )
        return container

    def _create(self, client: docker.DockerClient) -> Container:
        _refuse_mapped_users(client)
        image = self._image or ensure_base_image(client)
        try:
            return client.containers.create(image, **self._settings())
        except ImageNotFound as error:
            raise SandboxError(
                f"the Docker engine has no image {image}; build it or `docker pull {image}`, "
                "or name another"
            ) from error
        except APIError as error:
            raise SandboxError(f"container {self.name} was not created: {_said(error)}") from error

    def _labels(self) -> dict[str, str]:
        return {
            "apollo.rollout": self.spec.rollout,
            "apollo.home": self._home,
            "apollo.sandbox": self.spec.name,
        }

    def _settings(self) -> dict[str, Any]:
        spec = self.spec
        mounts = [
            Bind("/workspace", str(spec.workspace), type="bind"),
            Bind(SPOOL_INSIDE, str(spec.spool), type="bind"),
            Bind("/opt/apollo", str(self.inside), type="bind", read_only=True),
            *(
                Bind(mount.inside, mount.host, type="bind", read_only=mount.read_only)
                for mount in spec.mounts
            ),
        ]
        return {
            "name": self.name,
            "labels": self._labels(),
            "entrypoint": ["python3"],
            "command": ["-I", "-S", "-B", "/opt/apollo/runner.py", "serve", SPOOL_INSIDE],
            "user": "0:0",
            "working_dir": "/",
            "hostname": "sandbox",
            "init": True,
            "cap_drop": ["ALL"],
            "cap_add": ["SETUID", "SETGID", "KILL"],
            "security_opt": ["no-new-privileges"],
            "mem_limit": spec.memory,
            "memswap_limit": spec.memory,
            "pids_limit": spec.processes,
            "nano_cpus": None if spec.cpus is None else int(spec.cpus * 1e9),
            "shm_size": min(1 << 30, spec.memory // 2),
            "network_mode": "bridge" if spec.network else "none",
            "mounts": mounts,
            "tmpfs": {
                "/tmp": "rw,exec,nosuid,nodev,mode=1777",
                CLOSED_FOLDER: "rw,noexec,nosuid,nodev,mode=0700,size=64k",
            },
            "log_config": LogConfig(type="json-file", config={"max-size": "1m"}),
        }

    def _remove_container(self) -> None:
        with engine(self._host) as client:
            container = self._find(client)
            if container is not None:
                remove(container)

    # --- starting --------------------------------------------------------------------------------------

    async def _until_taking_jobs(self, ready: Hangup) -> None:
        """The engine tells of a container's end only to a thread that blocks, so it is asked now
        and then, for as long as the start takes."""
        loop = asyncio.get_running_loop()
        until = loop.time() + START_TIMEOUT
        while not await asyncio.to_thread(self.spool.serving):
            why = await asyncio.to_thread(self._why_it_ended)
            if why is None and loop.time() > until:
                why = f"it took no jobs within {START_TIMEOUT:g} s"
            if why is not None:
                raise SandboxError(f"container {self.name} did not start: {why}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN):
                    await ready.changed.wait()
            ready.changed.clear()

    def _why_it_ended(self) -> str | None:
        with engine(self._host) as client:
            container = self._find(client)
            if container is None:
                return "somebody removed it"
            if container.status in ("created", "running", "restarting"):
                return None
            said = container.logs(tail=20).decode(errors="replace").strip()
            if container.attrs["State"]["ExitCode"] == 127:
                image = container.attrs["Config"]["Image"]
                return f"its image {image} has no python3, which the runner needs; add it ({said})"
            return said.splitlines()[-1] if said else f"its state is {container.status}"


def why_not(host: str | None = None) -> str | None:
    """Why Docker cannot be used here, in one line; None when it can. Blocks."""
    try:
        with engine(host) as client:
            _refuse_mapped_users(client)
            return None
    except SandboxError as error:
        return error.line


def list_containers(home_label: str, host: str | None = None) -> dict[str, str]:
    """The containers of a home, running or not: {sandbox name: rollout}. Blocks."""
    with engine(host) as client:
        found = client.containers.list(all=True, filters={"label": f"apollo.home={home_label}"})
        return {
            container.labels["apollo.sandbox"]: container.labels["apollo.rollout"]
            for container in found
        }


def remove_container(sandbox: str, home_label: str, host: str | None = None) -> None:
    """Remove a container that `list_containers` named: its rollout has ended. Blocks."""
    with engine(host) as client:
        labels = [f"apollo.home={home_label}", f"apollo.sandbox={sandbox}"]
        for container in client.containers.list(all=True, filters={"label": labels}):
            remove(container)


def remove(container: Container) -> None:
    try:
        container.remove(force=True, v=True)
    except NotFound:
        return
    except APIError as error:
        if error.status_code != 409:  # 409: it is being removed already
            raise SandboxError(f"container {container.name}: {_said(error)}") from error


@contextlib.contextmanager
def engine(host: str | None = None) -> Iterator[docker.DockerClient]:
    """A connection to the engine. Raises SandboxUnavailable when none answers, and SandboxError
    for what it refuses or does not finish. Blocks."""
    address = host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
    client = _connect(address)
    try:
        yield client
    except APIError as error:
        raise SandboxError(f"the Docker engine at {address} refused: {_said(error)}") from error
    except RequestException as error:
        raise SandboxError(f"the Docker engine at {address} went away: {_cause(error)}") from error
    finally:
        client.close()


def _connect(address: str) -> docker.DockerClient:
    if not address.startswith("unix://"):
        raise SandboxUnavailable(
            f"the Docker engine at {address} is not of this machine, which is not supported; "
            "use a local one, or --sandbox bubblewrap"
        )
    # The SDK leaks the socket it could not connect, and buries what the system said.
    try:
        with socket.socket(socket.AF_UNIX) as tried:
            tried.connect(address.removeprefix("unix://"))
        return docker.DockerClient(base_url=address, version="auto")
    except (OSError, DockerException) as error:
        raise SandboxUnavailable(
            f"no Docker engine answers at {address} ({_cause(error)}); "
            "start Docker, or use --sandbox bubblewrap"
        ) from error


def _refuse_mapped_users(client: docker.DockerClient) -> None:
    """Where the engine gives users other numbers, jobs could not own their workspace."""
    for option in client.info().get("SecurityOptions") or ():
        if option in ("name=rootless", "name=userns"):
            raise SandboxUnavailable(
                f"this Docker engine maps users to others ({option.removeprefix('name=')}), which "
                "is not supported; use another engine, or --sandbox bubblewrap"
            )


def _said(error: APIError) -> str:
    return " ".join(str(error.explanation or error).split())


def _cause(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) else None
    return said.lower() if said else " ".join(str(error).split())
