"""The default image, made from the host's own files: no registry, some seconds, some 60 MB.

It holds Python with its standard library, bash and the usual small tools, the libraries they link
to, and one user, `agent`. Its tag is the hash of its content, so it is made once.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from apollo_tui.errors import SandboxError

if TYPE_CHECKING:
    from docker import DockerClient

REPOSITORY = "apollo-base"
SYSTEM_PYTHON = Path("/usr/bin/python3")

COREUTILS = """
    [ arch b2sum base32 base64 basename cat chgrp chmod chown cksum comm cp csplit cut date dd df
    dir dirname du echo env expand expr factor false fmt fold groups head hostid id install join
    link ln logname ls md5sum mkdir mkfifo mknod mktemp mv nice nl nohup nproc numfmt od paste
    pathchk pr printenv printf ptx pwd readlink realpath rm rmdir seq sha1sum sha224sum sha256sum
    sha384sum sha512sum shred shuf sleep sort split stat stdbuf stty sum sync tac tail tee test
    timeout touch tr true truncate tsort tty uname unexpand uniq unlink users vdir wc who whoami yes
"""
TOOLS = """
    bash sh grep egrep fgrep sed awk mawk gawk find xargs tar gzip gunzip zcat bzip2 xz diff cmp
    diff3 patch file less which ps pgrep pkill kill top free uptime watch pidof setsid flock
    hostname getopt tput clear git make
"""
FOLDERS = {"/tmp": 0o1777, "/var/tmp": 0o1777, "/root": 0o700} | dict.fromkeys(
    ("/workspace", "/opt/apollo", "/proc", "/sys", "/dev", "/run", "/var", "/etc"), 0o755
)
TEXTS = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\n"
    "agent:x:1000:1000:agent:/tmp/home:/bin/bash\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "/etc/group": "root:x:0:\nagent:x:1000:\nnogroup:x:65534:\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
EXTRA = ("/etc/ld.so.cache", "/etc/ssl/certs/ca-certificates.crt", "/usr/lib/ssl/openssl.cnf")
EXTRA_FOLDERS = ("/usr/lib/locale/C.utf8", "/lib/terminfo/d", "/lib/terminfo/x", "/lib/terminfo/v")
LEFT_OUT = re.compile(
    r"test|tests|idlelib|tkinter|turtledemo|ensurepip|lib2to3|config-.*|.*-packages"
)
LIBRARY = re.compile(r"(?:=>\s*|^\s*)(/\S+)\s+\(0x", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """One thing in the image. Exactly one of `source`, `link` and `text` is set, or none: a folder."""

    path: str
    mode: int
    source: Path | None = None
    link: str | None = None
    text: bytes | None = None


def ensure_base_image(client: DockerClient) -> str:
    """The tag of the default image, which is made when the engine does not have it. Blocks."""
    from docker.errors import ImageNotFound

    entries, digest = contents()
    tag = f"{REPOSITORY}:{digest}"
    try:
        client.images.get(tag)
    except ImageNotFound:
        with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
            _write(entries, archive)
            archive.flush()
            said = client.api.import_image_from_file(
                archive.name,
                repository=REPOSITORY,
                tag=digest,
                changes=["ENV LANG=C.UTF-8", "WORKDIR /workspace", 'CMD ["bash"]'],
            )
        if "errorDetail" in str(said):
            raise SandboxError(f"the default image {tag} could not be made: {said}") from None
    return tag


@functools.cache
def contents() -> tuple[tuple[Entry, ...], str]:
    """What the image holds, parents before children, and the hash of it all."""
    entries = {entry.path: entry for entry in _entries()}
    for path in list(entries):
        for parent in Path(path).parents:
            if str(parent) != "/" and str(parent) not in entries:
                entries[str(parent)] = Entry(str(parent), 0o755)
    ordered = tuple(entries[path] for path in sorted(entries))
    digest = hashlib.sha256()
    for entry in ordered:
        digest.update(f"{entry.path}\0{entry.mode:o}\0{entry.link}\0".encode())
        digest.update(entry.text or b"")
        if entry.source is not None:
            with entry.source.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return ordered, digest.hexdigest()[:16]


def _entries() -> Iterator[Entry]:
    wanted = [path for name in (COREUTILS + TOOLS).split() if (path := _program(name))]
    python = list(_python())
    compiled = [entry.source for entry in python if entry.source and _is_compiled(entry.source)]
    for path in (*wanted, *_libraries([*wanted, *compiled]), *map(Path, EXTRA)):
        yield from _with_links(path)
    for folder in map(Path, EXTRA_FOLDERS):
        for path in sorted(folder.rglob("*")):
            yield from _with_links(path)
    yield from python
    for name in ("bin", "sbin", "lib", "lib64"):
        yield from _with_links(Path("/", name))
    for name, mode in FOLDERS.items():
        yield Entry(name, mode)
    for name, text in TEXTS.items():
        yield Entry(name, 0o644, text=text.encode())


def _program(name: str) -> Path | None:
    for folder in ("/usr/bin", "/bin", "/usr/sbin", "/sbin"):
        path = Path(folder, name)
        if path.is_file():
            return path
    return None


def _python() -> Iterator[Entry]:
    """The system's Python where there is one, else the one that runs this, moved to /usr/local."""
    if SYSTEM_PYTHON.exists():
        library = _standard_library(SYSTEM_PYTHON)
        yield from _with_links(SYSTEM_PYTHON)
        yield from _tree(library, library)
        return
    program = Path(sys.executable).resolve()
    library = Path(sysconfig.get_path("stdlib")).resolve()
    yield Entry("/usr/local/bin/python3", 0o755, source=program)
    yield from _tree(library, Path("/usr/local/lib") / library.name)
    for shared in _libraries([program]):
        if shared.name.startswith("libpython"):
            yield Entry(f"/usr/lib/{shared.name}", 0o755, source=shared.resolve())


def _standard_library(python: Path) -> Path:
    ask = "import sysconfig; print(sysconfig.get_path('stdlib'))"
    told = subprocess.run([python, "-I", "-S", "-c", ask], capture_output=True, text=True)
    if told.returncode != 0:
        raise SandboxError(f"{python} does not run, so there is no default image: {told.stderr}")
    return Path(told.stdout.strip())


def _tree(source: Path, target: Path) -> Iterator[Entry]:
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if not LEFT_OUT.fullmatch(name))
        for name in sorted(files):
            path = Path(folder, name)
            if path.is_file():
                inside = str(target / path.relative_to(source))
                yield Entry(inside, path.stat().st_mode & 0o755, source=path.resolve())


def _is_compiled(path: Path) -> bool:
    return ".so" in path.name or path.parent.name == "bin"


def _libraries(programs: Iterable[Path]) -> list[Path]:
    """The shared libraries that programs link to, from ldd."""
    names = [str(program) for program in programs]
    told = subprocess.run(["ldd", *names], capture_output=True, text=True, errors="replace")
    return sorted({Path(found) for found in LIBRARY.findall(told.stdout)})


def _with_links(path: Path) -> Iterator[Entry]:
    """A host file and every link on the way to it, under their own names."""
    so_far = Path("/")
    for position, part in enumerate(path.parts[1:], start=2):
        so_far /= part
        if so_far.is_symlink():
            target = so_far.readlink()
            yield Entry(str(so_far), 0o777, link=str(target))
            onward = os.path.normpath(so_far.parent / target)
            yield from _with_links(Path(onward, *path.parts[position:]))
            return
    if so_far.is_file():
        yield Entry(str(so_far), so_far.stat().st_mode & 0o755, source=so_far)


def _write(entries: Iterable[Entry], archive: IO[bytes]) -> None:
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            member = tarfile.TarInfo(entry.path.lstrip("/"))
            member.mode = entry.mode
            if entry.source is not None:
                member.size = entry.source.stat().st_size
                with entry.source.open("rb") as file:
                    tar.addfile(member, file)
            elif entry.link is not None:
                member.type, member.linkname = tarfile.SYMTYPE, entry.link
                tar.addfile(member)
            elif entry.text is not None:
                member.size = len(entry.text)
                tar.addfile(member, io.BytesIO(entry.text))
            else:
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
