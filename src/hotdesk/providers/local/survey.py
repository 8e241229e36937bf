"""Survey the local provider: all its resources, read from folders and locks within milliseconds."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

from hotdesk.core.errors import Kind
from hotdesk.core.model import Disk, EndedBy, Image, Instance, Leftover, Phase, Survey
from hotdesk.providers.local import records
from hotdesk.providers.local.paths import Folders, is_disk, plain
from hotdesk.system import is_locked

PROVIDER, REGION, ZONE = "local", "local", "here"
READS = 3  # unfinished attempts to verify an image before it counts as failed

_GIB = 2.0**30


def survey(folders: Folders) -> Survey:
    root, files = folders.machines, names(folders.images)
    machines = {id_: _Machine(root / id_, folders) for id_ in names(root)}
    return Survey(
        provider=PROVIDER,
        instances=tuple(_instance(id_, one, one.record) for id_, one in machines.items() if one.record),
        disks=tuple(_disks(folders, machines)),
        images=tuple(images(folders, files)),
        leftovers=tuple(_leftovers(folders, machines, files)),
        linear=True,
        lag_seconds=0.0,
        poll_seconds=0.1,
    )


def names(folder: Path) -> list[str]:
    """The names in a folder, sorted; none if it does not exist."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(entry.name for entry in os.scandir(folder))
    return []


# ---- machines ----------------------------------------------------------------------------------------


class _Machine:
    """One machine's folder, read once: which of its locks are held, then its record."""

    def __init__(self, folder: Path, folders: Folders) -> None:
        self.folder = folder
        # Locks first: a supervisor that ends between the two reads has written its final state to the record.
        self.lives, self.ends = is_locked(folder / "run.lock"), is_locked(folder / "end.lock")
        self.record = records.read(folder / "machine.json", records.Machine)
        self.lost = ""  # the desk whose disk it has lost
        if self.record and self.off and _lost(folder, folders.disks / self.record.order.desk):
            self.lost, self.record = self.record.order.desk, None

    @property
    def off(self) -> bool:
        return not self.lives and not self.ends


def lost_its_disk(folders: Folders, id_: str, machine: records.Machine) -> bool:
    """Whether the disk of a machine that is off was deleted by hand.

    Started again, the machine would have an empty disk, whose image would count as the newest work.
    """
    folder = folders.machines / id_
    off = not is_locked(folder / "run.lock") and not is_locked(folder / "end.lock")
    return off and _lost(folder, folders.disks / machine.order.desk)


def _lost(folder: Path, disk: Path) -> bool:
    """Whether a machine that is off has lost this disk, and is not being deleted itself."""
    return (
        not (folder / "ending.json").exists()
        and not is_disk(disk)
        and (folder / "prepared").exists()  # checked last: a concurrent deletion removes it first
    )


def _instance(id_: str, machine: _Machine, record: records.Machine) -> Instance:
    phase, progress, reason, run = _now(machine.folder, lives=machine.lives, ends=machine.ends)
    order = record.order
    return Instance(
        id=id_,
        name=id_,  # see `Local.launch`
        desk=order.desk,
        generation=order.generation,
        phase=phase,
        provider=PROVIDER,
        region=REGION,
        zone=ZONE,
        instance_type=order.offer.instance_type,
        market=order.offer.market,
        started_at=run.started_at if run else 0.0,
        image_id=order.image_id,
        arch=order.offer.arch,
        gpu=order.offer.gpu,
        reason=reason,
        version=_version(machine.folder),
        ended_by=EndedBy.GUEST if reason.startswith(_OWN_END) else EndedBy.UNKNOWN,
        fix=run.fix if run and phase is Phase.STOPPED else "",
        progress=progress,
    )


def _version(folder: Path) -> str:
    with contextlib.suppress(OSError):
        return (folder / "version").read_text("utf-8")
    return ""


#: Prefixes of the reasons for which the watch at the desk ends its machine (guest/idle.py).
_OWN_END = ("idle ", "its lease ", "deadline:")


def machine_now(folders: Folders, id_: str) -> tuple[Phase, float | None, str, records.Run | None]:
    """A machine's phase, progress, reason and last start, from its locks and records."""
    folder = folders.machines / id_
    return _now(folder, lives=is_locked(folder / "run.lock"), ends=is_locked(folder / "end.lock"))


def _now(folder: Path, *, lives: bool, ends: bool) -> tuple[Phase, float | None, str, records.Run | None]:
    """The same, with the locks read before."""
    run = records.read(folder / "run.json", records.Run)
    if (folder / "ending.json").exists():
        return (
            Phase.ENDING,
            None,
            "deleting its machine" if ends else "its deletion was interrupted",
            run,
        )
    if ends:
        return Phase.STOPPING, None, "ending what runs at the desk", run
    if run is None:
        if lives:  # its supervisor has not written down its start yet
            return Phase.PENDING, None, "the machine is starting", run
        return Phase.STOPPED, None, "its launch was interrupted", run
    if lives:
        if run.phase == records.RunPhase.READY:
            return Phase.READY, None, run.reason, run
        if run.phase in {records.RunPhase.STOPPING, records.RunPhase.STOPPED}:
            return Phase.STOPPING, None, run.reason, run
        return Phase.PENDING, run.progress, run.reason or "the machine is starting", run
    if run.phase == records.RunPhase.STOPPED:
        return Phase.STOPPED, None, run.reason, run
    words = last_line(folder / "supervisor.log")
    reason = f"it ended unexpectedly: killed, or this computer was restarted; its last words: {words}"
    return Phase.STOPPED, None, reason, run


def last_line(log: Path) -> str:
    """The last line of a log that is not blank, or "none"."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4000))
        lines = file.read().decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "none")
    return "none"


# ---- disks -------------------------------------------------------------------------------------------


def disk_id(desk: str) -> str:
    return f"disk-{desk}"


def _disks(folders: Folders, machines: dict[str, _Machine]) -> Iterator[Disk]:
    """Disks whose machine is gone; without a record too, as one may be the only copy of somebody's work."""
    with_machine = {machine.record.order.desk for machine in machines.values() if machine.record}
    with_machine |= {machine.lost for machine in machines.values()}  # what is in its place is not its disk
    root = folders.disks
    for desk in names(root):
        if desk.endswith(".json") or desk in with_machine or not plain(desk) or not (root / desk).is_dir():
            continue
        owner = records.read(folders.disk_record(desk), records.Owner)
        yield Disk(
            id=disk_id(desk),
            desk=desk,
            generation=owner.generation if owner else _next_generation(folders, desk),
            phase=Phase.READY,
            provider=PROVIDER,
            region=REGION,
            zone=ZONE,
            instance_id=owner.machine if owner else "",
            started_at=owner.started_at if owner else None,
        )


def _next_generation(folders: Folders, desk: str) -> int:
    """A generation above that of every image, so that none counts as newer than a disk without a record."""
    return 1 + max(
        (i.generation for i in images(folders, names(folders.images)) if i.desk == desk), default=0
    )


# ---- images ------------------------------------------------------------------------------------------


def images(folders: Folders, files: list[str]) -> Iterator[Image]:
    for file in files:
        if file.endswith(".json"):
            id_ = file.removesuffix(".json")
            # The lock before the record: a worker that ends between the two reads has recorded its end.
            busy = is_locked(folders.image_lock(id_))
            if picture := records.read(folders.image(id_), records.Picture):
                yield _image(folders, id_, picture, busy=busy)


def _image(folders: Folders, id_: str, picture: records.Picture, *, busy: bool) -> Image:
    phase, kind, reason = _image_phase(picture, busy=busy)
    if phase is Phase.READY and not folders.manifest(id_).exists():
        phase, kind, reason = Phase.FAILED, Kind.CORRUPT, "its list of files is missing"
    order = picture.order
    return Image(
        id=id_,
        name=order.name,
        desk=order.desk,
        generation=order.generation,
        phase=phase,
        provider=PROVIDER,
        region=REGION,
        verified=picture.verified and phase is Phase.READY,
        source_id=order.source_id,
        taken_at=picture.taken_at,
        size_gib=picture.size_bytes / _GIB,
        arch=picture.arch or platform.machine(),
        progress=picture.progress if busy else None,
        kind=kind,
        reason=reason,
        note=picture.note,
    )


def _image_phase(picture: records.Picture, *, busy: bool) -> tuple[Phase, Kind | None, str]:
    match picture.phase:
        case records.Taking.FAILED:
            return Phase.FAILED, picture.kind, picture.reason
        case records.Taking.BAKING:
            if busy:
                return Phase.PENDING, None, picture.reason or "the image is being taken"
            return Phase.FAILED, None, "the process that took it ended before it was whole"
        case records.Taking.VERIFYING:
            if busy:
                return Phase.VERIFYING, None, picture.reason or "the image is being read back"
            if picture.reads >= READS:
                return Phase.FAILED, None, f"reading it back ended unfinished {picture.reads} times"
            return Phase.READY, None, "the process that read it back ended before it was done"
    if busy and not picture.verified:  # its worker is just ending
        return Phase.PENDING, None, "the image is being taken"
    return Phase.READY, None, picture.reason


# ---- leftovers ---------------------------------------------------------------------------------------

_DESK = re.compile(r"hotdesk-(?P<desk>.+)-g\d+-[0-9a-f]{8,12}\Z")


def _desk_of(name: str) -> str:
    found = _DESK.match(name)
    return found["desk"] if found else ""


def _leftovers(folders: Folders, machines: dict[str, _Machine], files: list[str]) -> Iterator[Leftover]:
    """What interrupted deletions and orders left behind."""
    for id_, machine in machines.items():
        folder, record = machine.folder, machine.record
        whole = record is not None and not (folder / "ending.json").exists()
        if whole or machine.ends or is_locked(folder / "end.lock"):  # or being deleted now
            continue
        if record is None:
            kind = "machine without its disk" if (folder / "prepared").exists() else ""
            yield _leftover(f"machine/{id_}", kind or "half-made machine", _desk_of(id_))
        else:
            said = last_line(folder / "ender.log")
            why = f"its deletion was interrupted; its last words: {said}"
            yield _leftover(f"machine/{id_}", "half-deleted machine", record.order.desk, of=id_, why=why)
    trash = folders.trash
    for name in () if is_locked(folders.tidy_lock) else names(trash):
        id_, _, _ = name.rpartition(".")
        folder = trash / name
        if id_ not in machines and names(folder) and not is_locked(folder / "end.lock"):
            yield _leftover(f"trash/{name}", "half-deleted folder", _desk_of(id_))
    for file in files:
        stem, _, kind = file.rpartition(".")
        if (
            kind == "manifest"
            and not folders.image(stem).exists()
            and not is_locked(folders.image_lock(stem))
        ):
            yield _leftover(f"manifest/{stem}", "half-deleted image", _desk_of(stem))


def _leftover(id_: str, kind: str, desk: str, of: str = "", why: str = "") -> Leftover:
    return Leftover(
        id=id_,
        kind=kind,
        provider=PROVIDER,
        region=REGION,
        desk=desk,
        why=why or f"a {kind}, left by an interruption",
        of=of,
    )
