"""Second copies of the images in this computer's store: on another disk, or at another computer by ssh."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hotdesk.connect import second_place
from hotdesk.core.errors import Kind, NeedsDecision, NotAllowed, Refused, Usage
from hotdesk.core.ports import SECOND, Copied, Copier, OnProgress
from hotdesk.services.move_shapes import CopiedImage


class Second:
    """A store of second copies: `where` is a folder of this computer, or "me@host:folder"."""

    def __init__(self, pool: Copier, where: str, desk: str, on_progress: OnProgress) -> None:
        self.pool, self.where, self.desk, self.progress = pool, where, desk, on_progress
        self.place = second_place.place_of(where)

    def copy(
        self, *, verify: bool = False, keep: int | None = None, keep_seconds: float = 0.0
    ) -> list[CopiedImage]:
        """Copy the images of the desk ("": of all) there, as much of each as is not there, and read it back.

        With `keep`, none that this policy would delete again (`prune`). `verify`: at another computer, what
        was there already is read again; what is damaged is sent anew.
        """
        old = [] if keep is None else self.pool.old("", self.desk, keep, keep_seconds)
        skip = {one.id for one in old}
        if self.place is None:
            folder = self._folder(back=False)
            return self._all(self.pool.copies(folder, self.desk, self.progress, back=False, skip=skip))
        with second_place.opened(*self.place) as place:
            return self._all(self._sent(place, verify, skip))

    def bring(self) -> list[CopiedImage]:
        """Mend damaged images here from there, and bring those that are newer than what is here."""
        if self.place is None:
            folder = self._folder(back=True)
            return self._all(self.pool.copies(folder, self.desk, self.progress, back=True))
        with second_place.opened(*self.place) as place, _mirrored(place) as here:
            lacking = self.pool.lacking(str(here), self.desk, self.progress)
            needed = [f"images/{id_}.manifest" for id_ in lacking] + sorted(_packs(place, here, lacking))
            for number, name in enumerate(needed):
                self.progress(number / len(needed), f"fetching from {place}")
                place.get(name, here / SECOND / name)
            return self._all(self.pool.copies(str(here), self.desk, self.progress, back=True))

    def prune(self, keep: int, keep_seconds: float, *, anyway: bool) -> list[str]:
        """Delete the copies that this policy does not keep (`Copier.old`); their ids.

        Raises `NeedsDecision`, which names them, unless `anyway`; `NotAllowed` where what stays is damaged.
        """
        if self.place is None:
            folder = self._folder(back=True)
            ids = self._agreed(self.pool.old(folder, self.desk, keep, keep_seconds), anyway)
            with self._said("Nothing was deleted"):
                if ids:
                    self.pool.prune(folder, ids)
            return ids
        with second_place.opened(*self.place) as place, _mirrored(place) as here:
            ids = self._agreed(self.pool.old(str(here), self.desk, keep, keep_seconds), anyway)
            with self._said("Nothing was deleted"):
                if ids:
                    self._prune(place, here, ids)
            return ids

    # ---- at another computer -------------------------------------------------------------------------

    def _sent(self, place: second_place.Place, verify: bool, skip: set[str]) -> Iterator[Copied]:
        there = place.files(begin=True)
        whole, needed = set[str](), set[str]()
        for part in self.pool.parts(self.desk, self.progress, skip):
            packs = {name: Path(path) for name, path in part.packs.items()}
            record, content = part.record
            size = {name: path.stat().st_size for name, path in packs.items()}
            lacks = [name for name in packs if there.get(name) != size[name]]
            known = {}
            with_it = {f"images/{part.id}.packs", part.manifest[0], record}
            if lacks or verify or not with_it <= there.keys():
                known = {name: second_place.sha256(path) for name, path in packs.items()}
            if verify:
                lacks += place.damaged({n: sum_ for n, sum_ in known.items() if n not in {*lacks, *whole}})
            sent = 0
            for name in sorted(lacks):
                self.progress(sent / sum(size[lack] for lack in lacks), f"copying to {place}")
                place.put(name, packs[name])
                there[name] = size[name]
                sent += size[name]
            whole |= packs.keys()
            needed |= packs.keys() | with_it
            if known:
                lines = "".join(f"{name} {sum_}\n" for name, sum_ in sorted(known.items()))
                place.put(f"images/{part.id}.packs", lines.encode())
                place.put(part.manifest[0], Path(part.manifest[1]))
                place.put(record, content)
            yield Copied(id=part.id, desk=part.desk, bytes=sent)
        if lost := sorted(needed - place.files().keys()):
            again = f"hotdesk images --copy-to {shlex.quote(self.where)}   # sends what is missing"
            raise Refused(Kind.NOT_READY, f"{lost[0]} was deleted at {place} meanwhile", fix=again)

    def _prune(self, place: second_place.Place, here: Path, ids: list[str]) -> None:
        """The records first, then what no other image needs; not before what stays was read there."""
        images = here / SECOND / "images"
        left = sorted(path.stem for path in images.glob("*.json") if path.stem not in ids)
        packs = _packs(place, here, left)
        there = place.files()
        lost = [name for name in (f"images/{id_}.manifest" for id_ in left) if name not in there]
        if bad := lost + place.damaged(packs):
            raise Refused(Kind.CORRUPT, f"{bad[0]}, which is to stay, is damaged there, or missing")
        known = {f"images/{path.name}" for path in images.glob("*.json")}
        came = {name for name in place.files(every=True) if name.endswith(".json")} - known
        if came:  # another computer copies, and its packs may be among those that nothing here needs
            again = f"hotdesk images --copy-to {shlex.quote(self.where)}   # with --keep, as before"
            raise Refused(Kind.NOT_READY, f"{min(came)} was copied there meanwhile", fix=again)
        place.delete([f"images/{id_}.json" for id_ in ids])
        place.delete([f"images/{id_}{end}" for id_ in ids for end in (".manifest", ".packs")])
        place.delete(sorted(name for name in there.keys() - packs.keys() if name.startswith("store/packs/")))

    # ---- what is said --------------------------------------------------------------------------------

    def _folder(self, *, back: bool) -> str:
        folder = Path(self.where)
        if not folder.is_dir() or (back and not (folder / SECOND).is_dir()):
            what = (
                f"{folder} holds no copies of images." if folder.is_dir() else f"There is no folder {folder}."
            )
            why = "It must be there, so that a disk that is not mounted is noticed."
            raise Usage(what, why, f"hotdesk images --copy-to {shlex.quote(self.where)}")
        return str(folder)

    def _all(self, copies: Iterator[Copied]) -> list[CopiedImage]:
        done: list[CopiedImage] = []
        with self._said("Not all images were copied", done):
            for one in copies:
                done.append({"id": one.id, "desk": one.desk, "bytes": one.bytes})
        return done

    @contextmanager
    def _said(self, what: str, done: list[CopiedImage] | None = None) -> Iterator[None]:
        try:
            yield
        except (Refused, OSError) as no:
            fix = (no.fix if isinstance(no, Refused) else "") or f"df -h {shlex.quote(self.where)}"
            whole = ", ".join(one["id"] for one in done or ()) or "none"
            said = no.message if isinstance(no, Refused) else str(no)
            why = "" if done is None else f"Copied and read back: {whole}."
            raise NotAllowed(f"{what}: {said.rstrip('.')}.", why, fix) from no

    def _agreed(self, old: list[Copied], anyway: bool) -> list[str]:
        ids = [one.id for one in old]
        if ids and not anyway:
            many = f"{len(ids)} cop{'ies' if len(ids) > 1 else 'y'}"
            raise NeedsDecision(
                f"{many} at {self.where} would be deleted: {', '.join(ids)}.",
                "Newer ones of the same desks stay there, and are read back first.",
                "the same with --yes",
            )
        return ids


@contextmanager
def _mirrored(place: second_place.Place) -> Iterator[Path]:
    """A folder with the records of such a store, as `Copier` reads them from a folder."""
    with tempfile.TemporaryDirectory(prefix="hotdesk-") as folder:
        here = Path(folder)
        for name in place.files():
            if name.startswith("images/") and name.endswith(".json"):
                place.get(name, here / SECOND / name)
        yield here


def _packs(place: second_place.Place, here: Path, ids: list[str]) -> dict[str, str]:
    """The packs of these images there, with their SHA-256. Raises `Refused` (CORRUPT)."""
    found: dict[str, str] = {}
    for id_ in ids:
        name = f"images/{id_}.packs"
        place.get(name, here / SECOND / name)
        packs = second_place.read_packs((here / SECOND / name).read_text("utf-8", "replace"))
        if packs is None:
            raise Refused(Kind.CORRUPT, f"{name} at {place} is damaged")
        found |= packs
    return found
