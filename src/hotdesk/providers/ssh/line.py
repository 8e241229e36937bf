"""Talk to hotdesk's own program at a machine (providers/local/served.py), over one ssh connection a call."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shlex
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import IO

import msgspec

import hotdesk
from hotdesk.core import wire
from hotdesk.core.errors import Kind, Refused
from hotdesk.providers.local.served import Answer, Order
from hotdesk.providers.ssh.hosts import Hosts
from hotdesk.providers.ssh.settings import Machine
from hotdesk.snapshots import transfer

_SECONDS = 60.0
_HOLDS = 80  # exit status: something of a desk is there
_NOTHING, _OTHER = 81, 82  # exit statuses: nothing of ours is there; only another version of hotdesk is
_SSH_FAILED = 255
_HEX = "[0-9a-f]" * 12  # as a shell matches it: the folder may have other things of its owner's


class Nothing(Exception):
    """Nothing of this computer's is at the machine."""


class Silent(OSError):
    """The machine does not answer, or its ssh does not let us in for now."""


class Far:
    """One machine, and what is ours there.

    FOLDER/OWNER/      the desks of one computer: `local/` as at home; `kit`, a link to its Python
    FOLDER/kit-…/      a Python environment with what hotdesk needs; shared by all computers
    FOLDER/lib-…/      hotdesk itself
    """

    def __init__(self, hosts: Hosts, name: str, machine: Machine) -> None:
        self.hosts, self.name, self.machine = hosts, name, machine
        self.owner = owner_of(hosts.folder)

    # ---- asking --------------------------------------------------------------------------------------

    def call(self, verb: str, order: Order | None = None) -> Answer:
        """Let hotdesk there do one thing. Raises `Refused`, `Nothing`, `Silent`."""
        given = msgspec.json.encode(order or Order())
        for _ in range(2):
            done = self.run(self.program(verb), given)
            if done.returncode != _OTHER:
                break
            self.send_library()
        if done.returncode == _NOTHING:
            raise Nothing(self.name)
        try:
            answer = wire.json(done.stdout, Answer)
        except msgspec.MsgspecError:
            said = _last(done.stderr) or f"exit status {done.returncode}"
            raise Silent(f"hotdesk at {self.name} does not answer: {said}") from None
        if answer.kind is not None:
            fix = answer.fix
            raise Refused(
                answer.kind, f"{self.name}: {answer.message}", fix=fix, seconds=answer.seconds or 1.0
            )
        return answer

    @contextlib.contextmanager
    def line(self, verb: str, *what: str) -> Iterator[transfer.Line]:
        """A line to `give` or `take` there. Raises as `call` does if there was none."""
        self.call("source")  # what is wrong is said in words, and hotdesk there is the same as here
        with self.started(self.program(verb, *what)) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            came: IO[bytes] = process.stdout
            yield transfer.Line(came, process.stdin)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def started(self, script: str) -> Iterator[subprocess.Popen[bytes]]:
        """A process there; ended when this is left."""
        argv = [*self.hosts.ssh(self.machine), f"exec sh -c {shlex.quote(script)}"]
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            yield process
        finally:
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    if pipe:
                        pipe.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def run(
        self, script: str, given: bytes = b"", seconds: float = _SECONDS
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a shell script there. Raises `Refused` if we may not, `Silent` if nobody answers."""
        argv = [*self.hosts.ssh(self.machine), f"exec sh -c {shlex.quote(script)}"]
        try:
            done = subprocess.run(argv, input=given, capture_output=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            raise Silent(f"{self.name} did not answer within {seconds:.0f} s") from None
        if done.returncode == _SSH_FAILED:
            raise self._closed(done.stderr.decode("utf-8", "replace"))
        return done

    def _closed(self, said: str) -> Exception:
        if "IDENTIFICATION HAS CHANGED" in said or "host key" in said.lower():
            changed = "CHANGED" in said or self._was_known()
            return self.hosts.stranger(self.name, self.machine, changed=changed)
        if "Permission denied" in said:
            return Refused(
                Kind.DENIED,
                f"{self.name} ({self.machine.host}) does not let this computer in: {_last(said.encode())}",
                fix=f"ssh-copy-id {shlex.quote(self.machine.host)}   # hotdesk types no passwords",
                seconds=0.0,
            )
        return Silent(_last(said.encode()) or f"ssh to {self.name} ended without a word")

    def _was_known(self) -> bool:
        """Whether a key of this machine was confirmed here before."""
        host = self.machine.host.rpartition("@")[2]
        shown = f"[{host}]:{self.machine.port}" if self.machine.port not in {0, 22} else host
        with contextlib.suppress(OSError):
            lines = self.hosts.known_hosts.read_text("utf-8").splitlines()
            return any(line.split(" ", 1)[0] == shown for line in lines)
        return False

    # ---- what is there -------------------------------------------------------------------------------

    @property
    def folder(self) -> str:
        """The one folder, as a word of a shell line."""
        path = self.machine.folder
        if path == "~" or path.startswith("~/"):
            return f'"$HOME"/{shlex.quote(path[2:])}' if path[2:] else '"$HOME"'
        return shlex.quote(path)

    @property
    def python(self) -> str:
        """A Python there, as a word of a shell line: of its environment, if that is there already."""
        own = f"{self.folder}/{self.owner}/kit/bin/python"
        return f"$([ -x {own} ] && echo {own} || command -v python3)"

    def program(self, verb: str, *words: str) -> str:
        """A shell script that runs hotdesk there."""
        library = library_name()
        served = "-P -m hotdesk.providers.local.served"
        given = shlex.join([verb, *words])
        # One heap for all threads, where files are captured: what one has freed is there for the others.
        heap = "env MALLOC_ARENA_MAX=1 " if verb in {"give", "keep"} else ""
        return (
            f"cd {self.folder} 2>/dev/null || exit {_NOTHING}; [ -x {self.owner}/kit/bin/python ] || "
            f"exit {_NOTHING}; [ -d {library}/hotdesk ] || exit {_OTHER}; "
            f'd=$(pwd -P); PYTHONPATH="$d/{library}"; export PYTHONPATH; unset PYTHONHOME; '
            f'exec {heap}{self.owner}/kit/bin/python {served} "$d/{self.owner}" {given}'
        )

    def send_library(self) -> None:
        """Put this very hotdesk there."""
        name = library_name()
        script = (
            f"mkdir -p {self.folder} && cd {self.folder} && chmod 700 . && n={name}.$$ && mkdir $n && "
            f"tar -xzf - -C $n && {{ [ -d {name} ] || mv $n {name} 2>/dev/null; rm -rf $n; }}; "
            f"test -d {name}/hotdesk"
        )
        done = self.run(script, _library())
        if done.returncode:
            raise full_or(done, f"hotdesk could not be put at {self.name}")

    def leave(self) -> None:
        """Remove this computer's part, and what all share if nobody else has a part there.

        Raises `Refused` (not-ready) while something of a desk is there.
        """
        with contextlib.suppress(Nothing):
            self.call("leave")
        script = (
            f"cd {self.folder} 2>/dev/null || exit 0; "
            # Also where hotdesk there does not run any more, and could say nothing.
            f"for d in {self.owner}/local/disks/* {self.owner}/local/images/*.json; do "
            f"[ -e $d ] && exit {_HOLDS}; done; rm -rf {self.owner} kit-{_HEX}.{self.owner}; "
            # Somebody's part, also as a link to what is not mounted, or what is brought for the first one.
            "for o in of-* kit-*.of-*; do [ -e $o ] || [ -L $o ] && exit 0; done; "
            f"rm -rf kit-{_HEX} lib-{_HEX} lib-{_HEX}.[0-9]*; "
            f"cd / && rmdir {self.folder} 2>/dev/null; exit 0"
        )
        if self.run(script).returncode == _HOLDS:
            raise Refused(Kind.NOT_READY, f"files of a desk are still at {self.name}", seconds=1.0)


def full_or(done: subprocess.CompletedProcess[bytes], what: str) -> Refused:
    """The refusal for a script there that failed; a full disk is said as one."""
    said = _last(done.stderr) or f"exit status {done.returncode}"
    full = "No space left" in said or "Disk quota" in said
    return Refused(Kind.NO_SPACE if full else Kind.DENIED, f"{what}: {said}", seconds=0.0)


def owner_of(folder: Path) -> str:
    """The name of this computer's part at every machine: the same as long as its state stays where it is."""
    place = f"{socket.gethostname()}:{folder}"
    return f"of-{hashlib.sha256(place.encode()).hexdigest()[:12]}"


@cache
def _library() -> bytes:
    """This hotdesk's own files, as an archive that is the same for the same files."""
    root = Path(hotdesk.__file__).parent
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=6, format=tarfile.PAX_FORMAT) as archive:
        for path in _files(root):
            entry = tarfile.TarInfo(f"hotdesk/{path.relative_to(root)}")
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as file:
                archive.addfile(entry, file)
    return packed.getvalue()


def _files(root: Path) -> list[Path]:
    """What runs at a machine; the page and the price tables stay here."""
    away = {"web", "cli", "market", "simulate", "charts", "aws", "aliyun"}
    return sorted(
        path
        for path in root.rglob("*.py")
        if not away & set(path.relative_to(root).parts[:-1]) and path.is_file()
    )


@cache
def library_name() -> str:
    """The folder of this very hotdesk: named by its content."""
    digest = hashlib.sha256()
    root = Path(hotdesk.__file__).parent
    for path in _files(root):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return f"lib-{digest.hexdigest()[:12]}"


def _last(said: bytes) -> str:
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
