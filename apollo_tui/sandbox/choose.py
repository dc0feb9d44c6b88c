"""Which kind of sandbox can run here, and making one of a kind."""

from __future__ import annotations

from apollo_tui.errors import SandboxUnavailable
from apollo_tui.sandbox import Kind, Sandbox, SandboxSpec, bubblewrap, local

ORDER: tuple[Kind, ...] = ("docker", "bubblewrap")  # what isolates best comes first


def best_kind(docker_host: str | None = None) -> Kind:
    """The best kind that isolates and runs here. Blocks. Raises SandboxUnavailable with what to
    install; plain processes are never chosen by themselves."""
    reasons = []
    for kind in ORDER:
        why = probe(kind, docker_host)
        if why is None:
            return kind
        reasons.append(why)
    raise SandboxUnavailable(f"no sandbox: {'; '.join(reasons)}")


def probe(kind: Kind, docker_host: str | None = None) -> str | None:
    """None when this kind runs here, else one line that says why not and what to do. Blocks."""
    match kind:
        case "docker":
            from apollo_tui.sandbox import docker

            return docker.why_not(docker_host)
        case "bubblewrap":
            return bubblewrap.why_not()
        case "plain":
            return local.why_not()


def open_sandbox(
    kind: Kind,
    spec: SandboxSpec,
    *,
    home_label: str = "",
    image: str | None = None,
    docker_host: str | None = None,
) -> Sandbox:
    """A sandbox of this kind, to be started. Nothing is probed: its start says what is missing.

    `home_label` marks the containers of one home; `image` is used where the spec names none;
    `docker_host` is the engine's address (else $DOCKER_HOST, else the local socket).
    """
    match kind:
        case "docker":
            from apollo_tui.sandbox.docker import DockerSandbox

            return DockerSandbox(spec, home_label=home_label, image=image, host=docker_host)
        case "bubblewrap":
            return bubblewrap.BubblewrapSandbox(spec)
        case "plain":
            return local.PlainSandbox(spec)
