"""Where things live: $APOLLO_HOME (folders 0700, files 0600) and the `data/` that ships."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from apollo_tui.errors import HomeError

_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs"}
    | {"fuse.glusterfs", "afs", "9p", "fuse.sshfs", "fuse.s3fs", "fuse.rclone", "ocfs2", "panfs"}
)


@dataclass(frozen=True)
class Home:
    """One annotator's home folder: the log, the socket, the configuration, the workspaces."""

    path: Path

    @property
    def database(self) -> Path:
        return self.path / "apollo.db"

    @property
    def socket(self) -> Path:
        return self.path / "core.sock"

    @property
    def lock(self) -> Path:
        return self.path / "core.lock"

    @property
    def core_log(self) -> Path:
        return self.path / "core.log"

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def keys(self) -> Path:
        return self.path / "keys.toml"

    @property
    def rollouts(self) -> Path:
        return self.path / "rollouts"

    def rollout(self, rollout: str) -> Path:
        """The folder of one rollout: its `workspace/`, `spool/` and `tmp/`."""
        return self.rollouts / rollout

    def prepare(self) -> None:
        """Make the home ready to write, or raise HomeError saying why it cannot be used."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise HomeError(
                f"cannot create the home {self.path}: {error.strerror}; choose another with --home"
            ) from error
        if not self.path.is_dir() or not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise HomeError(
                f"the home {self.path} is not writable for you; choose another with --home"
            )
        refuse_network_file_system(self.path)
        self.path.chmod(0o700)
        self.rollouts.mkdir(mode=0o700, exist_ok=True)


def find_home(given: str | os.PathLike[str] | None = None) -> Home:
    """`--home`, else $APOLLO_HOME, else the platform's data folder."""
    chosen = given or os.environ.get("APOLLO_HOME")
    if chosen:
        return Home(Path(chosen).expanduser().absolute())
    import platformdirs

    return Home(Path(platformdirs.user_data_dir("apollo-tui")))


def file_system_of(path: Path, mounts: str | None = None) -> str:
    """The type of the file system that holds `path`, read from a mount table in /proc/mounts' form."""
    table = mounts if mounts is not None else Path("/proc/mounts").read_text(errors="replace")
    resolved = path.resolve()
    best, kind = -1, "unknown"
    for row in table.splitlines():
        fields = row.split()
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " "))
        if resolved.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind


def refuse_network_file_system(path: Path, mounts: str | None = None) -> None:
    """SQLite's write-ahead log needs shared memory between processes, which network mounts lack."""
    try:
        kind = file_system_of(path, mounts)
    except OSError:
        return
    if kind in _NETWORK_FILE_SYSTEMS:
        raise HomeError(
            f"the home {path} is on a network file system ({kind}), where the log is not safe; "
            "choose a local folder with --home"
        )


def data_dir() -> Path:
    """The `data/` folder that ships: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    for candidate in (package / "data", package.parent / "data"):
        if (candidate / "tasks").is_dir():
            return candidate
    raise HomeError(f"the bundled data folder is missing beside {package}; reinstall apollo-tui")
