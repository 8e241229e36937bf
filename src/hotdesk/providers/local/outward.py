"""Bring the home folder of an image in the store here straight to a machine that has no hotdesk.

`unpack` restores the image beside the desks, and reads it back; with an ssh command that gets through, and a
host, its home folder goes there by rsync, and both sides read every file. How far it is is printed in lines
of JSON; the last has the lock of the image's environment, or what differed. Killed at any moment and
repeated, it goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from hotdesk.core.errors import Kind, Refused
from hotdesk.providers.local.paths import Folders, plain
from hotdesk.providers.local.runtime import clock
from hotdesk.snapshots import rsync, snapshot
from hotdesk.snapshots.environment import locked as lock_of
from hotdesk.system import is_locked, locked

_TOLD_SECONDS = 0.3
_ROUNDS = 3  # of sending and comparing, where files differ afterwards


class _Telling:
    def __init__(self) -> None:
        self._last = 0.0

    def share(self, share: float, words: str) -> None:
        if (now := clock.ticks()) - self._last > _TOLD_SECONDS:
            self._last = now
            tell(share=share, words=words)


def tell(**what: Any) -> None:
    sys.stdout.write(msgspec.json.encode(what).decode() + "\n")
    sys.stdout.flush()


def main(state: Path, image: str, program: str = "", host: str = "") -> int:
    folders, telling = Folders.of(state), _Telling()
    if not plain(image):
        tell(kind=Kind.BAD_REQUEST, message="that is no name of an image")
        return 1
    disk = folders.root / "outward" / image
    try:
        disk.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(_lock(disk)):
            unpack(folders, image, disk, telling)
            if not program:
                tell(lock=lock_of(disk))
                return 0
            odd = send(disk / "home", program, host, telling)
            tell(sent=True, odd=odd)
            if not odd:
                snapshot.remove(disk)
    except Refused as no:
        tell(kind=no.kind, message=no.message, fix=no.fix)
        return 1
    except OSError as error:
        tell(cut=str(error))
        return 1
    return 0


def _lock(disk: Path) -> Path:
    return disk.with_name(f".{disk.name}.lock")


def unpack(folders: Folders, image: str, disk: Path, telling: _Telling) -> None:
    """The image as files. What an earlier image has left is removed."""
    for other in [one for one in disk.parent.iterdir() if plain(one.name) and one != disk]:
        if not is_locked(_lock(other)):
            snapshot.remove(other)
    manifest = folders.manifest(image)
    with locked(folders.root / "store.lock", shared=True):
        snapshot.restore(
            manifest, folders.store, disk, progress=lambda s, words: telling.share(0.2 * s, words)
        )
        snapshot.compare(manifest, disk, progress=lambda s, words: telling.share(0.2, words))


def send(home: Path, program: str, host: str, telling: _Telling) -> list[str]:
    """Send it until both sides have the same; the files that differ after the last round."""
    at = f"[{host}]" if ":" in host else host
    words, ends, odd = [*rsync.words(), "-z", "-e", program], [f"{home}/", f"{at}:./"], list[str]()
    for _ in range(_ROUNDS):
        _run([*words, "--info=progress2", *ends], lambda said: telling.share(0.5, f"sending: {said}"))
        tell(share=0.7, words="reading every file on both sides")
        odd = rsync.different(_run([*words, *rsync.COMPARE, *ends]))
        if not odd:
            break
    return odd


def _run(words: list[str], report: Callable[[str], None] | None = None) -> str:
    """What rsync prints. Raises `Refused` where the same again would fail too, `OSError` where it was cut."""
    status, said, complaint = rsync.run(words, report)
    if status:
        if "No space left" in complaint or "Disk quota" in complaint:
            raise Refused(Kind.NO_SPACE, f"the new machine's disk is full: {complaint.splitlines()[0]}")
        raise OSError(complaint.splitlines()[-1] if complaint else f"rsync ended with {status}")
    return said
