"""The images of this computer's pool: taken, read back and deleted by worker processes."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

import msgspec

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import Phase
from hotdesk.core.ports import SECOND, Copied, OnProgress, Part
from hotdesk.core.steps import BakeOrder
from hotdesk.providers.local import records
from hotdesk.providers.local import survey as looking
from hotdesk.providers.local.paths import Folders, plain
from hotdesk.providers.local.runtime import clock, locks, spawn
from hotdesk.system import is_locked, locked

IMAGER = "hotdesk.providers.local.runtime.imager"
#: For images whose content is at another machine (`records.Picture.at`).
_FAR_IMAGER, _BRINGER = "hotdesk.providers.ssh.taker", "hotdesk.providers.ssh.elsewhere"


class Images:
    """One pool of images, whatever machines they are of; see `core.ports.Provider` for the promises."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.folders = Folders.of(state)

    def bake(
        self,
        order: BakeOrder,
        check: Callable[[], None],
        worker: str = IMAGER,
        arch: str = platform.machine(),
    ) -> str:
        """Record the order and start its worker; `check` raises `Refused` if its source cannot be taken."""
        id_ = order.name
        if not plain(id_):
            raise Refused(Kind.BAD_REQUEST, f"{id_!r} cannot be a file's name")
        with self.in_order():
            if (present := self.picture(id_)) is not None:
                if present.order != order:
                    raise Refused(Kind.MISMATCH, f"{id_} was already taken with another order")
                return id_
            check()
            if self.being_baked(order.source_id):
                raise Refused(Kind.NOT_READY, f"another image of {order.desk} is being taken", seconds=1.0)
            taken_at = clock.after(order.started_at)
            picture = records.Picture(order=order, taken_at=taken_at, arch=arch or platform.machine())
            try:
                lock_fd = locks.take(self.folders.image_lock(id_))
            except OSError as error:
                nothing_was_made(self.folders.image_lock(id_), error)
            if lock_fd is None:
                raise Refused(Kind.NOT_READY, f"{id_} is being deleted", seconds=0.5)
            try:
                try:
                    records.write(self.folders.image(id_), picture)
                except OSError as error:
                    nothing_was_made(self.folders.image(id_), error)
                self._work_on(worker, "bake", id_, lock_fd)
            finally:
                os.close(lock_fd)
        return id_

    def verify(self, image_id: str) -> None:
        with self.in_order():
            picture = self.picture(image_id)
            if picture is None:
                raise Refused(Kind.BAD_REQUEST, f"there is no image {image_id} on this computer")
            if picture.phase == records.Taking.FAILED:
                raise Refused(picture.kind or Kind.CORRUPT, picture.reason or f"{image_id} is not whole")
            if picture.verified:
                return
            lock_fd = locks.take(self.folders.image_lock(image_id))
            if lock_fd is None:
                if picture.phase != records.Taking.VERIFYING:
                    raise Refused(Kind.NOT_READY, f"{image_id} is still being taken", seconds=0.1)
                return
            try:
                if picture.phase == records.Taking.BAKING:
                    raise Refused(Kind.CORRUPT, f"{image_id} was never finished")
                if picture.reads >= looking.READS:
                    raise Refused(
                        Kind.CORRUPT, f"{image_id} could not be read back in {picture.reads} attempts"
                    )
                changed = msgspec.structs.replace(
                    picture, phase=records.Taking.VERIFYING, reads=picture.reads + 1, progress=0.0, reason=""
                )
                records.write(self.folders.image(image_id), changed)
                self._work_on(_FAR_IMAGER if picture.at else IMAGER, "verify", image_id, lock_fd)
            finally:
                os.close(lock_fd)

    def delete(self, id_: str) -> None:
        """Remove an image; the tidier drops its content. Called under the order lock."""
        from hotdesk.providers.local.runtime import terminator

        terminator.end_worker(self.folders.image_lock(id_), seconds=0.0)
        # The record first: without a record there is no image; without content one would look complete.
        for path in (
            self.folders.image(id_),
            self.folders.manifest(id_),
            self.folders.images / f"{id_}.log",
            self.folders.image_lock(id_),
        ):
            path.unlink(missing_ok=True)
        for path in self.folders.images.glob(
            f"{id_}.*.new"
        ):  # left by a worker that was killed while writing
            path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Start the worker that removes what was deleted, unless it runs. Called under the order lock."""
        if (lock_fd := locks.take(self.folders.tidy_lock)) is None:
            return
        try:
            spawn.spawn(
                "hotdesk.providers.local.runtime.tidier",
                str(self.state.absolute()),
                lock_fd=lock_fd,
                log=self.folders.root / "tidier.log",
            )
        finally:
            os.close(lock_fd)

    def picture(self, id_: str) -> records.Picture | None:
        return records.read(self.folders.image(id_), records.Picture) if plain(id_) else None

    def whole(self, id_: str) -> records.Picture:
        """The record of an image that can be restored. Raises `Refused`."""
        picture = self.picture(id_)
        if picture is None or not self.folders.manifest(id_).exists():
            raise Refused(Kind.BAD_REQUEST, f"there is no image {id_} on this computer")
        return picture

    def contents(self, image_id: str) -> tuple[int, int] | None:
        """Files and bytes of an image; None if there is none, or it cannot be read."""
        from hotdesk.snapshots.pack_file import Damaged
        from hotdesk.snapshots.tree import load_manifest

        if not plain(image_id):
            return None
        try:
            found = load_manifest(self.folders.manifest(image_id))[0].entries
        except (OSError, Damaged):
            return None
        return sum(e.kind != "d" for e in found), sum(e.size for e in found if e.kind == "f")

    def bring(self, image_id: str, progress: OnProgress) -> None:
        """Bring the content of an image here, if it is elsewhere. Raises `Refused`, or `OSError` if cut."""
        if not self.whole(image_id).at:
            return
        import subprocess  # a survey does without

        argv = [sys.executable, "-m", _BRINGER, str(self.state.absolute()), image_id]
        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            for line in process.stdout:
                share, _, words = line.strip().partition(" ")
                progress(float(share), words)
            said = process.stderr.read().strip().rpartition("\n")[2]
        if process.returncode:
            kind, _, message = said.partition(" ")
            if kind in [*Kind]:
                raise Refused(Kind(kind), message)
            raise OSError(f"{image_id} could not be brought here: {message or said}")

    def unpack(self, image_id: str, disk: Path, progress: OnProgress) -> Path:
        """Restore an image as a new folder, and read it back; the home folder in it. Raises `Refused`."""
        from hotdesk.snapshots import snapshot

        self.bring(image_id, progress)
        with locked(self.folders.root / "store.lock", shared=True):
            snapshot.restore(self.folders.manifest(image_id), self.folders.store, disk, progress=progress)
            snapshot.compare(self.folders.manifest(image_id), disk, progress=progress)
        return disk / "home"

    def unpack_newest(self, desk: str, disk: Path, progress: OnProgress) -> Path:
        """The same for a desk's newest image, as what is here already; an empty home if there is none."""
        newest = looking.survey(self.folders).of(desk).newest
        if newest is not None and not self.whole(newest.id).at:
            return self.unpack(newest.id, disk, progress)
        home = disk / "home"
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return home

    def pack(self, order: BakeOrder, disk: Path, progress: OnProgress) -> None:
        """Take such a folder into the store as a verified image. Idempotent."""
        from hotdesk.snapshots import snapshot

        if (known := self.picture(order.name)) is not None and known.verified:
            return
        self.folders.make()
        manifest = self.folders.manifest(order.name)
        with locked(self.folders.root / "store.lock", shared=True):
            taken = snapshot.capture(
                disk, self.folders.store, manifest, progress=lambda s, words: progress(0.5 * s, words)
            )
            snapshot.verify(
                manifest, self.folders.store, progress=lambda s, words: progress(0.5 + 0.5 * s, words)
            )
            picture = records.Picture(
                order=order,
                taken_at=clock.after(order.started_at),
                phase=records.Taking.BAKED,
                verified=True,
                size_bytes=taken.bytes,
                stored_bytes=taken.stored_bytes,
                note=taken.note,
                arch=platform.machine(),
                carried=True,
            )
            records.write(self.folders.image(order.name), picture)

    def damages(self, image_ids: Sequence[str], progress: OnProgress) -> dict[str, str]:
        """What is damaged in each image, "" where nothing is; see `core.ports.Copier`."""
        from hotdesk.snapshots import snapshot

        if not (image_ids := self._here(image_ids)):
            return {}
        with locked(self.folders.root / "store.lock", shared=True):
            found = snapshot.damages(
                [self.folders.manifest(id_) for id_ in image_ids], self.folders.store, progress=progress
            )
        return dict(zip(image_ids, found, strict=True))

    def _here(self, image_ids: Sequence[str]) -> list[str]:
        """Those whose content is in the store of this computer."""
        return [id_ for id_ in image_ids if not ((known := self.picture(id_)) and known.at)]

    def shared(self, image_ids: Sequence[str]) -> dict[str, int | None]:
        """How many bytes of each image others of these hold too; see `core.ports.Copier`."""
        from hotdesk.snapshots import snapshot

        if not (image_ids := self._here(image_ids)):
            return {}
        with locked(self.folders.root / "store.lock", shared=True):
            found = snapshot.shared([self.folders.manifest(id_) for id_ in image_ids], self.folders.store)
        return dict(zip(image_ids, found, strict=True))

    def copies(
        self, folder: Path, desk: str, progress: OnProgress, *, back: bool, skip: Collection[str]
    ) -> Iterator[Copied]:
        """Copy images to the store below this folder, or back; see `core.ports.Copier`."""
        from hotdesk.snapshots import second

        self.folders.make()
        other = Folders(folder / SECOND)
        source, target = (other, self.folders) if back else (self.folders, other)
        other.images.mkdir(mode=0o700, parents=True, exist_ok=True)
        wanted = self.lacking(folder, desk, progress) if back else ()
        for id_, picture in _newest_first(source, desk):
            if id_ in skip or (back and id_ not in wanted):
                continue
            if picture.at and not back:
                self.bring(id_, progress)
                picture = self.whole(id_)  # noqa: PLW2901 - the same image, now here
            with (
                locked(self.folders.root / "store.lock", shared=True),
                locked(other.root / "store.lock", shared=True),
            ):
                count = second.copy(
                    source.manifest(id_), source.store, target.manifest(id_), target.store, progress=progress
                )
                records.write(target.image(id_), picture)
            yield Copied(id=id_, desk=picture.order.desk, bytes=count)

    def lacking(self, folder: Path, desk: str, progress: OnProgress) -> list[str]:
        """What `copies` would bring back; see `core.ports.Copier`."""
        images = _newest_first(Folders(folder / SECOND), desk)
        damages = self.damages([id_ for id_, _ in images if self.picture(id_)], progress)
        newest: dict[str, str] = {}
        for id_, picture in images:
            newest.setdefault(picture.order.desk, id_)  # an older one never comes back
        return [
            id_
            for id_, picture in images
            if (damages[id_] if id_ in damages else id_ in newest.values() and self._is_news(picture))
        ]

    def parts(self, desk: str, progress: OnProgress, skip: Collection[str]) -> Iterator[Part]:
        """Images as files; see `core.ports.Copier`."""
        from hotdesk.snapshots import second

        self.folders.make()
        for id_, picture in _newest_first(self.folders, desk):
            if id_ in skip:
                continue
            self.bring(id_, progress)
            picture = self.whole(id_)  # noqa: PLW2901 - the same image, now here
            with locked(self.folders.root / "store.lock", shared=True):
                manifest = self.folders.manifest(id_)
                with second.packs(manifest, self.folders.store, progress=progress) as packs:
                    yield Part(
                        id=id_,
                        desk=picture.order.desk,
                        packs={f"store/packs/{path.name}": str(path) for path in packs},
                        manifest=(f"images/{manifest.name}", str(manifest)),
                        record=(f"images/{self.folders.image(id_).name}", msgspec.json.encode(picture)),
                    )

    def old(self, folder: Path | None, desk: str, keep: int, keep_seconds: float) -> list[Copied]:
        """Copies that a policy does not keep; see `core.ports.Copier`."""
        kept: dict[tuple[str, float], int] = {}
        found = []
        since = clock.wall() - keep_seconds
        for id_, picture in _newest_first(Folders(folder / SECOND) if folder else self.folders, desk):
            which = picture.order.desk, picture.order.born
            kept[which] = kept.get(which, 0) + 1
            if kept[which] > max(1, keep) and picture.taken_at < since:
                found.append(Copied(id=id_, desk=picture.order.desk, bytes=picture.size_bytes))
        return found

    def prune(self, folder: Path, ids: Sequence[str]) -> int:
        """Delete copies; see `core.ports.Copier`."""
        other = Folders(folder / SECOND)
        with locked(other.root / "store.lock"):
            return self._prune(other, ids)

    def _prune(self, other: Folders, ids: Sequence[str]) -> int:
        from hotdesk.snapshots import snapshot

        images = [(id_, (p.order.desk, p.order.born)) for id_, p in _newest_first(other, "")]
        for which in {which for id_, which in images if id_ in ids}:
            newest = next((id_ for id_, its in images if its == which and id_ not in ids), None)
            if newest is None:
                raise Refused(Kind.BAD_REQUEST, f"nothing of {which[0]} would be left in {other.root}")
            [damage] = snapshot.damages([other.manifest(newest)], other.store)
            if damage:
                raise Refused(Kind.CORRUPT, f"{newest}, which is to stay, is damaged there: {damage}")
        # Whatever has a manifest stays, also where its record is of a later hotdesk, or damaged.
        left = [path for path in other.images.glob("*.manifest") if path.stem not in ids]
        snapshot.need_manifests(left, other.store)
        for id_ in ids:
            if plain(id_):
                for path in (other.image(id_), other.manifest(id_)):  # the record first
                    path.unlink(missing_ok=True)
        return snapshot.forget(other.store, left)

    def _is_news(self, picture: records.Picture) -> bool:
        """Whether an image of the second store is newer than all that is here of its desk.

        One of an earlier desk of that name is not, however often that one was parked: a desk continues from
        the image with the highest generation, and an old one would take the place of its work.
        """
        order = picture.order
        return all(
            image.age < (order.generation, picture.taken_at)
            for image in looking.survey(self.folders).of(order.desk).images
        ) and all(
            mine.order.born <= order.born
            for _, mine in records.pictures(self.folders.images)
            if mine.order.desk == order.desk
        )

    def being_baked(self, source_id: str) -> bool:
        return any(
            picture.order.source_id == source_id
            and picture.phase == records.Taking.BAKING
            and is_locked(self.folders.image_lock(id_))
            for id_, picture in records.pictures(self.folders.images)
        )

    def in_order(self) -> AbstractContextManager[bool]:
        """The order lock: one order at a time on this computer, for milliseconds."""
        self.folders.make()
        return locked(self.folders.root / "order.lock")

    def _work_on(self, worker: str, verb: str, image_id: str, lock_fd: int) -> None:
        spawn.spawn(
            worker,
            str(self.state.absolute()),
            verb,
            image_id,
            lock_fd=lock_fd,
            log=self.folders.images / f"{image_id}.log",
        )


def _newest_first(folders: Folders, desk: str) -> list[tuple[str, records.Picture]]:
    """The verified images of a desk ("": of all) in a store; generations begin anew with a desk."""
    found = [
        (id_, picture)
        for id_, picture in records.pictures(folders.images)
        if plain(id_) and picture.verified and desk in {"", picture.order.desk}
    ]

    def age(one: tuple[str, records.Picture]) -> tuple[float, int, float]:
        return one[1].order.born, one[1].order.generation, one[1].taken_at

    return sorted(found, key=age, reverse=True)


def check_source(
    order: BakeOrder, desk: str, phase: Phase, started_at: float | None, what: str = "machine"
) -> None:
    """Raise `Refused` unless this source is that of the order: off, and not started since."""
    if desk != order.desk:
        raise Refused(Kind.MISMATCH, f"{order.source_id} belongs to {desk}, not to {order.desk}")
    if phase is not Phase.STOPPED and what == "machine":
        raise Refused(Kind.NOT_READY, f"{order.source_id} is {phase}, and must be stopped first", seconds=1.0)
    if started_at is not None and started_at != order.started_at:
        raise Refused(Kind.MISMATCH, f"{order.source_id} was started again since this image was ordered")


def nothing_was_made(path: Path, error: OSError) -> NoReturn:
    """Raise `Refused` because even the first record could not be written."""
    from hotdesk.snapshots.rmtree import remove_tree

    remove_tree(path)
    full = error.errno in records.FULL
    raise Refused(
        Kind.NO_SPACE if full else Kind.DENIED,
        f"{path} cannot be written: {error.strerror}",
        fix="df -h   # make room; then the same again"
        if full
        else f"ls -ld {shlex.quote(str(path.parent))}   # make it yours to write; then the same again",
    ) from error
