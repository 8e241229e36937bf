"""How a home folder goes by rsync to a machine without a store, and how both sides are compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from hotdesk.core.errors import Kind, Refused
from hotdesk.parallel import aside

#: Of the machine: who may log in there, what is on its way, and what its own set-up wrote.
OWN = ("/.ssh/authorized_keys", ".hotdesk-partial", "/.hotdesk/copying")
#: Change nothing, read all files on both sides, and name those that differ (`different`).
COMPARE = ("-n", "--checksum", "--itemize-changes")
_CHANGING = {24}  # files vanished while they were copied: the next round shows
#: A line of `--itemize-changes` that says more than "a folder's time is another".
_DIFFERS = re.compile(r"^(?!\.d\.\.[tT]\.{0,9} )(\S{11}|\*deleting) +(.*)$")


def words() -> list[str]:
    """rsync, with what all directions share: content, holes, links, modes, times, attributes of the owner.

    Raises `Refused` where there is no rsync.
    """
    program = shutil.which("rsync")
    if program is None:
        raise Refused(Kind.UNSUPPORTED, "there is no rsync", fix="sudo apt-get install -y rsync")
    return [
        program, "-rlptHSXs", "--filter=-x! user.*", "--specials",
        "--partial-dir=.hotdesk-partial", "--timeout=60",
        *(f"--exclude={name}" for name in OWN),
    ]  # fmt: skip


def run(words: Sequence[str], report: Callable[[str], None] | None = None) -> tuple[int, str, str]:
    """Its exit status, what it printed, and its complaints. `report` hears how far it is, instead."""
    environment, said, complaints = {**os.environ, "LC_ALL": "C"}, bytearray(), SimpleQueue[bytes]()
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        out, err = process.stdout, process.stderr
        assert out is not None
        assert err is not None
        # Beside it: a pipe that nobody empties is full after a thousand lines, and rsync would wait.
        aside(lambda: complaints.put(err.read()))
        while some := os.read(out.fileno(), 1 << 16):
            if report is None:
                said += some
            elif found := re.findall(rb"(\d+)% +(\S+/s)", some):
                report(f"{found[-1][0].decode()} % of what differs, {found[-1][1].decode()}")
        complaint = complaints.get().decode("utf-8", "replace").strip()
    status = 0 if process.returncode in _CHANGING else process.returncode
    return status, os.fsdecode(bytes(said)), complaint


def different(said: str) -> list[str]:
    """The files that are not the same on both sides, from what a comparison printed."""
    found = (_DIFFERS.match(line) for line in said.splitlines())
    return [match[2] for match in found if match]
