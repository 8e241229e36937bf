"""Images whose content is in the store of a machine, and not in this computer's: `records.Picture.at`.

    python -m hotdesk.providers.ssh.elsewhere STATE IMAGE      bring one here

Their list of files is here. A desk can be restored from one at that machine at once, at another machine by
a way straight between the two, and anywhere else once it is here.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import msgspec

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.ports import OnProgress
from hotdesk.providers.cloud import direct
from hotdesk.providers.cloud.direct import End
from hotdesk.providers.local import records
from hotdesk.providers.local.images import Images
from hotdesk.providers.local.runtime import spawn
from hotdesk.providers.local.served import Order
from hotdesk.providers.ssh.hosts import Hosts
from hotdesk.providers.ssh.line import Far, Nothing, Silent
from hotdesk.providers.ssh.patience import patiently
from hotdesk.providers.ssh.settings import Settings
from hotdesk.snapshots import kept, transfer
from hotdesk.snapshots.capture import Captured
from hotdesk.system import locked

_RESOLVE_SECONDS = 10.0


def far(state: Path, name: str) -> Far:
    hosts = Hosts(state, Settings())
    return Far(hosts, name, hosts.find(name))


def keep(there: Far, desk: str, image: str, manifest: Path, progress: OnProgress) -> Captured:
    """Take an image of a desk's disk into the store beside it. Raises as `Far.line` does."""
    with there.line("keep", desk, image) as line:
        return kept.kept(line, manifest, progress)


def verify(state: Path, image: str, progress: OnProgress) -> None:
    """Let an image be read back where it is. Raises `Refused`."""
    images = Images(state)
    there = far(state, images.whole(image).at)

    def read() -> None:
        with there.line("check", image) as line:
            kept.read(line, images.folders.manifest(image), progress)

    patiently(read, spawn.say)


def bring(state: Path, image: str, progress: OnProgress, say: Callable[[str], None] = spawn.say) -> None:
    """Bring the content of an image into the store of this computer; nothing to do where it is here."""
    images = Images(state)
    picture = images.whole(image)
    if not picture.at:
        return
    there, received = far(state, picture.at), 0.0
    manifest = images.folders.manifest(image)

    def pull() -> None:
        nonlocal received
        with there.line("push", image) as line:
            try:
                transfer.take(line, images.folders.store, manifest)
            finally:
                received += line.received if line.received > 1_000_000 else 0

    progress(0.0, f"bringing {image} here from {picture.at}")
    with locked(images.folders.root / "store.lock", shared=True):
        patiently(pull, say, lambda: received)
        from hotdesk.snapshots import snapshot

        snapshot.verify(manifest, images.folders.store, progress=progress)
        now = images.picture(image)
        if now is not None:
            here = msgspec.structs.replace(now, at="", carried=True)
            records.write(images.folders.image(image), here)
    forget(state, image, picture.at)


def forget(state: Path, image: str, name: str) -> None:
    """Delete an image at a machine. One that does not answer keeps it: its survey shows it as a leftover."""
    with contextlib.suppress(Refused, Nothing, Silent):
        far(state, name).call("delete", Order(id=image))


def end_of(there: Far) -> End:
    return End(name=there.name, ssh=tuple(there.hosts.ssh(there.machine)), python=there.python)


def address(there: Far) -> list[tuple[str, int]]:
    """Where a machine is by this computer's ssh settings, however this computer comes there."""
    argv = [*there.hosts.ssh(there.machine, "-G")]
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=_RESOLVE_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    return [(said["hostname"], int(said.get("port", "22")))] if "hostname" in said else []


def speed(state: Path, source: Far, target: Far) -> float:
    """Bytes a second straight from one machine to another. Raises `NoWay`, `OSError`."""
    with direct.way(state, end_of(source), end_of(target), direct.PROBE, tries=address(target)) as way:
        return way.bytes_per_second


def across(
    state: Path, image: str, source: Far, target: Far, progress: OnProgress
) -> tuple[int, direct.Direct]:
    """Send an image from one machine's store to another's, straight; bytes sent, and by which way.

    Raises `NoWay` if there is none, `Refused` if the image cannot be sent at all, `OSError` if it was cut:
    the same again sends what has not arrived.
    """
    source.call("source")  # hotdesk there is the same as here
    target.call("source")
    body = direct.PROBE + target.program("take", image)
    with direct.way(state, end_of(source), end_of(target), body, tries=address(target)) as way:
        sent, rest = -1, ""

        def hear(said: str) -> None:
            nonlocal sent, rest
            *lines, rest = (rest + said).split("\n")
            for told in map(json.loads, filter(None, lines)):
                if "share" in told:
                    progress(told["share"], f"{told['words']} straight from {source.name} to {target.name}")
                if "message" in told:
                    raise Refused(Kind(told["kind"]) if told["kind"] else Kind.UNREADABLE, told["message"])
                sent = told.get("sent", sent)
                if "cut" in told:
                    raise transfer.Cut(told["cut"])

        words = ["sh", "-c", source.program("across", image, "{way}/ssh", way.host)]
        status, complaint = way.run(words, heard=hear)
        if status or sent < 0:
            last = complaint.strip().splitlines()
            raise transfer.Cut(last[-1] if last else f"it ended with {status}")
        return sent, way


def main() -> int:
    state, image = Path(sys.argv[1]), sys.argv[2]
    try:
        bring(state, image, lambda share, words: _say(sys.stdout, f"{share:.3f} {words}"))
    except Refused as no:
        _say(sys.stderr, f"{no.kind} {no.message}")
        return 1
    except (OSError, Nothing) as error:
        _say(sys.stderr, f"- {error}")
        return 1
    return 0


def _say(where: TextIO, words: str) -> None:
    where.write(f"{words}\n")
    where.flush()


if __name__ == "__main__":
    sys.exit(main())
