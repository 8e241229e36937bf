"""A store of second copies at another computer, reached by a person's own ssh: `me@host:folder`.

It has the files that such a store has on a disk (providers/local/images.py), and nothing of hotdesk is needed
there: a shell, and sha256sum. Each file is compared with its checksum after it was written, before it gets
its name.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from hotdesk.connect import ssh
from hotdesk.core.errors import Kind, Refused, Unreachable, Usage
from hotdesk.core.ports import SECOND

_PLACE = re.compile(
    r"(?P<host>[A-Za-z0-9_][\w.+-]*(?:@[A-Za-z0-9\[][\w.:\]%-]*)?):(?P<folder>[^\0\n]+)", re.ASCII
)
_NAME = re.compile(r"(?:images|store/packs)/[A-Za-z0-9][\w.-]*", re.ASCII)
_PACK = re.compile(r"store/packs/[0-9a-f]+\.pack", re.ASCII)
_NO_FOLDER, _SSH_FAILED = 79, 255
_ALL_AT_ONCE = 500  # names in one command line


def place_of(text: str) -> tuple[str, str] | None:
    """Host and folder of "me@host:folder"; None for what is a folder of this computer."""
    found = _PLACE.fullmatch(text)
    return (found["host"], found["folder"]) if found and not Path(text).exists() else None


class Place:
    """One such store. All raise `Unreachable` where the host does not answer, `Refused` where it cannot."""

    def __init__(self, host: str, folder: str, words: Sequence[str]) -> None:
        self.host, self.folder = host, folder.removeprefix("~/") or "."
        self._words = [*words, host]

    def __str__(self) -> str:
        return f"{self.host}:{self.folder}"

    def files(self, *, begin: bool = False, every: bool = False) -> dict[str, int]:
        """The files of the store with their bytes; `begin`: it is made where there is none.

        Those that cannot be read are left out, or an error with `every`. Raises `Usage` where the folder, or
        the store in it, is not there.
        """
        make = f"mkdir -p {SECOND}/images {SECOND}/store/packs; " if begin else ""
        script = f"umask 077; {make}cd {SECOND} 2>/dev/null || exit {_NO_FOLDER}; "
        script += "find images store/packs -type f -exec wc -c {} +" + ("" if every else " 2>/dev/null; true")
        said = self._run(script).decode("utf-8", "replace")
        rows = (line.split(None, 1) for line in said.splitlines())
        return {row[1]: int(row[0]) for row in rows if len(row) == 2 and _NAME.fullmatch(row[1])}

    def put(self, name: str, content: Path | bytes) -> None:
        """Write one file, and compare what lies there with what was sent, before it has its name."""
        data = content if isinstance(content, bytes) else content.read_bytes()
        new = shlex.quote(f"{name}.new")
        script = f"umask 077; cd {SECOND} && cat > {new} && sync {new} 2>/dev/null; sha256sum {new}"
        said = self._run(script, data).decode("utf-8", "replace").split()
        if not said or said[0].lstrip("\\") != hashlib.sha256(data).hexdigest():
            raise Refused(Kind.CORRUPT, f"{name} is not at {self} what was sent", fix=self._look())
        self._run(f"cd {SECOND} && mv -f {new} {shlex.quote(name)}")

    def get(self, name: str, to: Path) -> None:
        """Fetch one file. What is in it, its reader checks."""
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(self._run(f"cd {SECOND} && cat {shlex.quote(name)}"))

    def damaged(self, known: dict[str, str]) -> list[str]:
        """Those of these files (name and SHA-256) that are not there, or are another; each is read there."""
        found = []
        for some in _parts(sorted(known)):
            said = self._run(f"cd {SECOND} && sha256sum {shlex.join(some)} 2>/dev/null; true")
            rows = (line.split(None, 1) for line in said.decode("utf-8", "replace").splitlines())
            sums = {row[1].lstrip("*"): row[0] for row in rows if len(row) == 2}
            found += [name for name in some if sums.get(name) != known[name]]
        return found

    def delete(self, names: Sequence[str]) -> None:
        for some in _parts(names):
            self._run(f"cd {SECOND} && rm -f -- {shlex.join(some)}")

    def _run(self, script: str, given: bytes = b"") -> bytes:
        script = f"cd -- {shlex.quote(self.folder)} 2>/dev/null || exit {_NO_FOLDER}; {script}"
        done = subprocess.run(
            [*self._words, f"exec sh -c {shlex.quote(script)}"], input=given, capture_output=True, check=False
        )
        if done.returncode == 0:
            return done.stdout
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        why = words[-1] if words else f"It ended with {done.returncode}."
        if done.returncode == _NO_FOLDER:
            what = f"There is no folder {self.folder} at {self.host}, or no copies of images in it."
            why = "It must be there, so that a disk that is not mounted is noticed."
            raise Usage(what, why, f"ssh {self.host} mkdir -p {shlex.quote(self.folder)}")
        if done.returncode == _SSH_FAILED:
            raise Unreachable(
                f"{self.host} does not answer.", why, f"ssh {self.host}   # does it let you in?"
            )
        kind = Kind.NO_SPACE if "No space left" in why or "quota" in why.lower() else Kind.DENIED
        raise Refused(kind, f"{self}: {why}", fix=self._look())

    def _look(self) -> str:
        return f"ssh {self.host} df -h {shlex.quote(self.folder)}"


@contextlib.contextmanager
def opened(host: str, folder: str) -> Iterator[Place]:
    """Such a store, over one login while this lasts: whoever types a password does it once."""
    with tempfile.TemporaryDirectory(prefix="hotdesk-", ignore_cleanup_errors=True) as sockets:
        shared = ["-o", f"ControlPath={sockets}/s"]
        words = [ssh.program("ssh"), *shared, "-o", "ControlMaster=auto", "-o", "ControlPersist=60"]
        try:
            yield Place(host, folder, [*words, "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15"])
        finally:
            null = subprocess.DEVNULL
            ended = [ssh.program("ssh"), *shared, "-O", "exit", host]
            subprocess.run(ended, stdin=null, stdout=null, stderr=null, check=False)


def read_packs(text: str) -> dict[str, str] | None:
    """The packs of an image with their SHA-256, from its list there; None where that is none."""
    rows = [tuple(line.split(" ")) for line in text.splitlines()]
    found = {row[0]: row[1] for row in rows if len(row) == 2 and _PACK.fullmatch(row[0])}
    return found if len(found) == len(rows) else None


def sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(names), _ALL_AT_ONCE):
        yield names[at : at + _ALL_AT_ONCE]
