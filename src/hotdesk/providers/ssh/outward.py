"""Bring an image that stays at a machine of one's own straight to a cloud's (core.lines.Outward)."""

from __future__ import annotations

import ipaddress
import shlex
from pathlib import Path
from typing import Any

import msgspec

from hotdesk.core import wire
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.lines import NotStraight, Target
from hotdesk.core.ports import OnProgress
from hotdesk.guest.one_file import source as program
from hotdesk.providers.cloud import direct
from hotdesk.providers.local.images import Images
from hotdesk.providers.ssh import elsewhere
from hotdesk.providers.ssh.line import Far
from hotdesk.snapshots import transfer

#: All that the key may run there: rsync's other end, whose arguments come over the line (`-s`).
BODY = (
    direct.PROBE
    + 'set -f\ncase "$SSH_ORIGINAL_COMMAND" in "rsync --server "*) exec $SSH_ORIGINAL_COMMAND ;; esac\n'
    + "exit 1\n"
)
_ADDRESS_SECONDS = 30.0


def straight(state: Path, image: str, to: Target, progress: OnProgress) -> list[str] | None:
    """Bring it; the lock of its environment. None: it is in this computer's store. Raises as `bring`."""
    picture = Images(state).whole(image)
    if not picture.at:
        return None
    source = elsewhere.far(state, picture.at)
    source.call("source")  # hotdesk there is the same as here
    last = _Last(source, to.name, progress)
    try:
        with source.started(source.program("unpack", image)) as process:
            assert process.stdout is not None
            for line in process.stdout:
                last.hear(line.decode("utf-8", "surrogateescape"))
    except Refused as no:
        if no.kind not in {Kind.NO_SPACE, Kind.UNSUPPORTED}:
            raise
        raise NotStraight(no.message) from no
    if last.lock is None:
        raise transfer.Cut(f"the line to {source.name} was cut")
    target = direct.End(name=to.name, ssh=to.ssh)
    with (
        to.admit(_address(source, to.place[0], to.url)),
        direct.way(state, elsewhere.end_of(source), target, BODY, tries=[to.place]) as way,
    ):
        words = ["sh", "-c", source.program("outward", image, "{way}/ssh", way.host)]
        status, complaint = way.run(words, heard=last.hear)
    if not last.sent:
        said = complaint.strip().splitlines()
        raise transfer.Cut(said[-1] if said else f"it ended with {status}")
    return last.lock


class _Last:
    """What is heard of providers/local/outward.py."""

    def __init__(self, source: Far, target: str, progress: OnProgress) -> None:
        self._name, self._progress = source.name, progress
        self._where = f"straight from {source.name} to {target}"
        self.lock: list[str] | None = None
        self.sent = False
        self._rest = ""

    def hear(self, said: str) -> None:
        *lines, self._rest = (self._rest + said).split("\n")
        for line in filter(None, lines):
            try:
                told = wire.json(line.encode("utf-8", "surrogateescape"), dict[str, Any])
            except msgspec.MsgspecError:
                continue  # what a login shell prints
            match told:
                case {"share": float() | int() as share, "words": str(words)}:
                    self._progress(float(share), f"{words}, {self._where}")
                case {"lock": list(lock)}:
                    self.lock = [str(one) for one in lock]
                case {"sent": True, "odd": list(odd)}:
                    if odd:
                        few = ", ".join(map(str, odd[:4]))
                        raise Refused(Kind.CORRUPT, f"not as they were sent, each time: {few}")
                    self.sent = True
                case {"message": str(message), "kind": str(kind)}:
                    raise Refused(Kind(kind), f"{self._name}: {message}")
                case {"cut": str(why)}:
                    raise transfer.Cut(why)
                case _:
                    pass


def _address(source: Far, host: str, url: str) -> str:
    """From which address the source connects to there. Raises `NotStraight` where nobody can tell."""
    line = f"exec {source.python} - {shlex.quote(host)} {shlex.quote(url)}"
    done = source.run(line, program("outward").encode(), _ADDRESS_SECONDS)
    said = done.stdout.decode("utf-8", "replace").split()
    try:
        return str(ipaddress.ip_network(said[-1]))
    except (IndexError, ValueError):
        raise NotStraight(f"{source.name} does not know its own address") from None
