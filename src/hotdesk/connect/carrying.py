"""Carry a home folder to or from a machine, file by file, and read every one back.

rsync sends what differs and goes on where it was cut; then both sides read all files and compare them by
checksum. What belongs to the machine and not to the desk stays where it is.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files as parts
from pathlib import Path
from types import MappingProxyType

import msgspec

from hotdesk.connect import copying, job_runner, ssh, tar
from hotdesk.core import shell, wire
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import Value
from hotdesk.core.ports import Access
from hotdesk.guest.one_file import source
from hotdesk.snapshots import rsync

_QUIET_SECONDS = 120.0
_LISTING_SECONDS = 300.0
_SSH_FAILED = 255


class Furnished(Value, frozen=True):
    """What became of a desk's packages (guest/furnish.py)."""

    installed: tuple[str, ...] = ()
    failed: Mapping[str, str] = MappingProxyType({})  # by name: why
    broken: Mapping[str, str] = MappingProxyType({})  # what is there and cannot be imported, or is damaged
    other: tuple[str, ...] = ()  # of the same version, with another content: built for something else


class Cut(OSError):
    """The line went away in the middle; the same again goes on."""


def to_machine(access: Access, home: Path, report: Callable[[str], None]) -> None:
    """Bring a home folder to a machine; what its system has there besides stays. Raises `Cut`, `Refused`."""
    words = [*_words(access), *(["--info=progress2"]), f"{home}/", f"{copying.host(access)}:./"]
    _run(access, words, report)


def from_machine(access: Access, home: Path, report: Callable[[str], None]) -> None:
    """Make a folder here what the machine's home is, but for data from elsewhere. Raises `Cut`, `Refused`."""
    with _without_data(access) as rules:
        more = [*rules, "--delete", "--info=progress2"]
        _run(access, [*_words(access), *more, f"{copying.host(access)}:./", f"{home}/"], report)


def differences(access: Access, home: Path, *, arriving: bool) -> list[str]:
    """The files that are not the same on both sides, after all were read. Raises `Cut`, `Refused`.

    `arriving`: here; what the machine has besides is no difference then.
    """
    ends = (f"{home}/", f"{copying.host(access)}:./")
    order = ends[::-1] if arriving else ends
    words = [*_words(access), *rsync.COMPARE]
    if arriving:
        with _without_data(access) as rules:
            done = _run(access, [*words, *rules, "--delete", *order], None)
    else:
        done = _run(access, [*words, *order], None)
    return rsync.different(done)


@contextmanager
def _without_data(access: Access) -> Iterator[list[str]]:
    """Options for rsync by which data that came to the desk from elsewhere stay there (guest/data_kept.py).

    They are hidden and not excluded: what is here of an older image is deleted, since it would look like the
    desk's own at the next place.
    """
    done = job_runner.run_there(access, "exec python3 -", source("data_kept").encode(), _LISTING_SECONDS)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise Refused(Kind.UNREADABLE, f"the data folders of {access.desk} could not be listed: {said}")
    if not are_of_data(done.stdout):
        raise Refused(Kind.UNREADABLE, f"{access.desk} does not say which of its files are data")
    with tempfile.NamedTemporaryFile(prefix="hotdesk-") as rules:
        rules.write(done.stdout)
        rules.flush()
        yield ["--from0", f"--filter=merge {rules.name}"] if done.stdout else []


def are_of_data(rules: bytes) -> bool:
    """Whether rules for rsync show and hide files, and nothing else.

    They come from a desk, which others may have got hold of. By a rule to merge a file, rsync would read one
    of this computer, and send its lines to the desk as patterns.
    """
    return all(rule.startswith((b"+ /", b"H /")) for rule in rules.split(b"\0") if rule)


def quiesce(access: Access) -> list[str]:
    """End what runs at the desk; what would not end, by its command line."""
    script = parts("hotdesk.guest").joinpath("quiesce.py").read_bytes()
    done = job_runner.run_there(access, "exec python3 -", script, seconds=_QUIET_SECONDS)
    try:
        return [str(name) for name in json.loads(done.stdout)]
    except ValueError:
        said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise Refused(Kind.NOT_READY, f"what runs at {access.desk} could not be ended: {said}") from None


def furnish(access: Access, lock: list[str]) -> Furnished:
    """Install these packages (`services.carrier.locked`) into the desk's own Python, and import each once.

    Their list stays at the desk, in ~/.hotdesk/environment.lock. Raises `Cut`, `Refused`, `Unreachable`.
    """
    text = "".join(f"{line}\n" for line in lock)
    keep = "mkdir -p ~/.hotdesk && cat > ~/.hotdesk/environment.lock"
    if (kept := job_runner.run_there(access, keep, text.encode())).returncode:
        said = kept.stderr.decode("utf-8", "replace").strip()
        raise Refused(
            Kind.NO_SPACE if "No space left" in said else Kind.DENIED, said or "no list can be kept"
        )
    script = source("furnish").encode()
    argv = ssh.command(access, [shell.told("python3 -")])
    done = subprocess.run(argv, input=script, capture_output=True, check=False)
    if done.returncode == _SSH_FAILED:
        raise Cut("the line was cut while packages were installed")
    try:
        return wire.json(done.stdout, Furnished)
    except msgspec.MsgspecError:
        said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return Furnished(failed={"all": said or f"python3 ended with {done.returncode}"})


def _words(access: Access) -> list[str]:
    by = shlex.join([ssh.program("ssh"), *ssh.options(access), "-p", str(access.port)])
    return [*rsync.words(), *copying.packed(access), "-e", by]


def _run(access: Access, words: list[str], report: Callable[[str], None] | None) -> str:
    status, said, complaint = rsync.run(words, report)
    if status:
        _complain(access, status, complaint)
    return said


def _complain(access: Access, status: int, complaint: str) -> None:
    lines = [line for line in complaint.splitlines() if line.strip()]
    full = next((line for line in lines if "No space left" in line or "Disk quota" in line), "")
    if full:
        raise Refused(Kind.NO_SPACE, f"the disk of {access.desk} is full: {full}")
    if "rsync: command not found" in complaint or "rsync: not found" in complaint or status == 127:
        raise Refused(
            Kind.UNSUPPORTED, f"{access.desk} has no rsync", fix=f"hotdesk ssh {access.desk} -- "
            "sudo apt-get install -y rsync",
        )  # fmt: skip
    first = next((line for line in lines if not line.startswith("rsync error")), lines[-1] if lines else "")
    if tar.is_lost(status):
        raise Cut(first or f"rsync ended with {status}")
    denied = [line for line in lines if "Permission denied (13)" in line]
    if denied:
        raise Refused(Kind.UNREADABLE, f"a file of {access.desk} cannot be read: {denied[0]}")
    raise Refused(Kind.UNREADABLE, f"not everything of {access.desk} could be carried: {first}")
