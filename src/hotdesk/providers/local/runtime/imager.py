"""The worker process that bakes or verifies an image.

    python -m hotdesk.providers.local.runtime.imager STATE bake|verify IMAGE

It holds the image's lock; an unfinished image whose worker has died counts as failed.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from hotdesk.core.errors import Kind, Refused
from hotdesk.providers.local import records
from hotdesk.providers.local.paths import Folders, is_disk
from hotdesk.providers.local.runtime import clock, spawn
from hotdesk.snapshots import snapshot
from hotdesk.system import locked, write_atomically

_STATUS_SECONDS = 0.2


class Baker:
    def __init__(self, state: Path, id_: str) -> None:
        self.folders = Folders.of(state)
        self.id = id_
        picture = records.read(self.folders.image(id_), records.Picture)
        if picture is None:
            raise Refused(Kind.BAD_REQUEST, f"{id_} has no readable record")
        self.picture = picture
        self._told = 0.0

    def tell(self, *, durable: bool = True, **changes: Any) -> None:
        self.picture = msgspec.structs.replace(self.picture, **changes)
        records.write(self.folders.image(self.id), self.picture, durable=durable)

    def report(self, share: float, words: str) -> None:
        if clock.ticks() - self._told > _STATUS_SECONDS:
            self._told = clock.ticks()
            self.tell(durable=False, progress=round(share, 3), reason=words)

    def work(self, what: Callable[[], None]) -> int:
        """Run `what` and record how it ended, whatever happens; return the exit status."""
        try:
            with locked(self.folders.root / "store.lock", shared=True):
                what()
        except Refused as refused:
            self._failed(refused.kind, refused.message)
        except OSError as error:
            self._failed(Kind.NO_SPACE if error.errno in records.FULL else None, str(error))
        except Exception as error:
            traceback.print_exc()
            self._failed(None, f"{type(error).__name__}: {error}")
        else:
            return 0
        return 1

    def _failed(self, kind: Kind | None, reason: str) -> None:
        spawn.say(f"failed: {reason}")
        self.tell(phase=records.Taking.FAILED, verified=False, progress=None, kind=kind, reason=reason)

    def bake(self) -> None:
        """Capture the source's present content, as an image still to be verified."""
        source = self.picture.order.source_id
        machine = records.read(self.folders.machines / source / "machine.json", records.Machine)
        manifest = self.folders.manifest(self.id)
        disk = self.folders.disks / self.picture.order.desk
        if machine is not None:
            from hotdesk.providers.local.runtime import processes

            processes.end_all(machine.mark)  # left by a machine that was killed: they could still write
            if not (self.folders.machines / source / "prepared").exists():
                self.take_unused(machine.order.image_id, manifest)
                return
        else:
            self._end_strays()
        taken = snapshot.capture(
            disk, self.folders.store, manifest, previous=self._previous(), progress=self.report
        )
        if machine is not None and not is_disk(disk):  # or it went while it was read
            raise Refused(Kind.NOT_READY, f"{disk} is no longer the disk of {source}")
        self.baked(taken)

    def baked(self, taken: snapshot.Captured, **more: Any) -> None:
        """Write down that the content is captured, and not yet verified."""
        self.tell(
            phase=records.Taking.BAKED,
            progress=None,
            reason="",
            size_bytes=taken.bytes,
            stored_bytes=taken.stored_bytes,
            note=taken.note,
            **more,
        )

    def _end_strays(self) -> None:
        """End the machine that used this disk: it may be running although its folder was deleted."""
        from hotdesk.providers.local.runtime import processes

        owner = records.read(self.folders.disk_record(self.picture.order.desk), records.Owner)
        if owner is not None:
            mark = records.mark_of(self.folders.machines / owner.machine)
            processes.end_stray(self.folders.root.parent, owner.machine, mark)

    def take_unused(self, image: str, manifest: Path) -> None:
        """Bake a machine whose disk was never completed: its content is that of its order's image."""
        if image:
            from hotdesk.providers.local.images import Images

            Images(self.folders.root.parent).bring(image, self.report)
            write_atomically(manifest, self.folders.manifest(image).read_bytes(), durable=True)
            old = records.read(self.folders.image(image), records.Picture)
            self.tell(
                phase=records.Taking.BAKED,
                progress=None,
                reason="",
                size_bytes=old.size_bytes if old else 0,
            )
            return
        empty = self.folders.trash / f"{self.id}.empty"
        empty.mkdir(mode=0o700, exist_ok=True)
        try:
            snapshot.capture(empty, self.folders.store, manifest, progress=self.report)
        finally:
            empty.rmdir()
        self.tell(phase=records.Taking.BAKED, progress=None, reason="")

    def _previous(self) -> Path | None:
        """The newest complete image of this desk, so that unchanged files are not read again."""
        whole = [
            (other.order.generation, other.taken_at, self.folders.manifest(id_))
            for id_, other in records.pictures(self.folders.images)
            if other.order.desk == self.picture.order.desk
            and other.phase == records.Taking.BAKED
            and not other.at
            and self.folders.manifest(id_).exists()
        ]
        return max(whole)[2] if whole else None

    def verify(self) -> None:
        snapshot.verify(self.folders.manifest(self.id), self.folders.store, progress=self.report)
        self.tell(phase=records.Taking.BAKED, verified=True, progress=None, reason="")


def main() -> int:
    spawn.settle()
    state, verb, id_ = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    baker = Baker(state, id_)
    return baker.work(baker.bake if verb == "bake" else baker.verify)


if __name__ == "__main__":
    sys.exit(main())
