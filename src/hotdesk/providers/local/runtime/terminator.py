"""The worker process that stops a machine, and deletes it if that was ordered.

    python -m hotdesk.providers.local.runtime.terminator STATE ID

It does not rely on the supervisor: one that does not end in time is killed, and the machine's processes are
found by their mark and ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from hotdesk.providers.local import records
from hotdesk.providers.local.paths import Folders
from hotdesk.providers.local.runtime import clock, environment, locks, spawn
from hotdesk.snapshots.rmtree import remove_tree
from hotdesk.system import is_locked

_SECONDS = 20.0  # more than a supervisor's own time limits together
_DEAF_SECONDS = 5.0
#: Deleted last, in this order. The lock is the last: while it is held, the folder is no leftover.
_LAST = ("machine.json", "ending.json", "ender.log", "end.lock")


def stop(folder: Path, mark: str) -> None:
    """End a machine's supervisor and all its processes."""

    def heard() -> bool:
        run = records.read(folder / "run.json", records.Run)
        return run is not None and run.phase in {records.RunPhase.STOPPING, records.RunPhase.STOPPED}

    end_worker(folder / "run.lock", seconds=_SECONDS, heard=heard)
    from hotdesk.providers.local.runtime import processes

    processes.end_all(mark)


def end_worker(lock: Path, *, seconds: float, heard: Callable[[], bool] = lambda: True) -> None:
    """End the worker that holds this lock: SIGTERM, and SIGKILL after `seconds`. The lock is free then.

    It is killed sooner if it has not reacted (`heard`) within `_DEAF_SECONDS`.
    """
    deadline, deaf = clock.ticks() + seconds, clock.ticks() + _DEAF_SECONDS
    for number in (signal.SIGTERM, signal.SIGKILL):
        asked = 0
        while is_locked(lock):
            pid = locks.worker_pid(lock)
            if pid and pid != asked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                asked = pid
            now = clock.ticks()
            if number is signal.SIGTERM and (now > deadline or (now > deaf and not heard())):
                break
            clock.pause(0.02)


def delete(folders: Folders, id_: str, machine: records.Machine | None, ending: records.Ending) -> None:
    """Delete a stopped machine: by renaming it, with its disk, into the trash, and then file by file.

    After the rename it is gone for everybody, who need not wait for the rest. Repeated after a crash, it
    continues; what a crash leaves in the trash shows as a leftover.
    """
    folder = folders.machines / id_
    folders.make()
    if machine is not None:
        desk = machine.order.desk
        owner = records.read(folders.disk_record(desk), records.Owner)
        mine = owner is None or owner.machine == id_
        if mine and not ending.keep_disk and _written_since(folders, id_, machine):
            mine = False  # the disk is newer than its image: keep it, to be saved again
        if mine and not ending.keep_disk:
            for part in (folders.disks / desk, folders.half_restored(desk)):
                with contextlib.suppress(FileNotFoundError):
                    part.rename(folder / f"{part.name}.disk")
            folders.disk_record(desk).unlink(missing_ok=True)
    gone = folders.trash / f"{id_}.machine"
    remove_tree(gone)
    folder.rename(gone)
    for path in gone.iterdir():
        if path.name not in _LAST:
            remove_tree(path)
    for name in _LAST:
        (gone / name).unlink(missing_ok=True)
    for empty in folders.trash.iterdir():
        with contextlib.suppress(OSError):
            empty.rmdir()


def _written_since(folders: Folders, id_: str, machine: records.Machine) -> bool:
    """Whether a stopped machine's disk was written to after the image that is to replace it.

    A desk's home is an ordinary folder here: an editor outside the desk may have it open.
    """
    desk = machine.order.desk
    run, owner = records.read(folders.machines / id_ / "run.json", records.Run), folders.disk_record(desk)
    taken = [
        (picture.taken_at, folders.manifest(image))
        for image, picture in records.pictures(folders.images)
        if run and picture.verified and picture.order.source_id == id_ and picture.taken_at > run.started_at
    ]
    if not taken:
        return False
    from hotdesk.snapshots import snapshot

    taken_at, manifest = max(taken)
    if not snapshot.changed(manifest, folders.disks / desk):
        return False
    spawn.say(f"{folders.disks / desk} was written to after {manifest.stem} was taken")
    after = clock.after(taken_at)
    records.write(owner, records.Owner(
        desk=desk, machine=id_, generation=machine.order.generation, started_at=after
    ))  # fmt: skip
    return True


def main() -> int:
    spawn.settle()
    folders, id_ = Folders.of(Path(sys.argv[1])), sys.argv[2]
    folder = folders.machines / id_
    machine = records.read(folder / "machine.json", records.Machine)
    deleted = (folder / "ending.json").exists()
    for image, picture in records.pictures(folders.images) if deleted else ():
        if picture.order.source_id == id_ and picture.phase == records.Taking.BAKING:
            end_worker(folders.image_lock(image), seconds=5.0)
    stop(folder, machine.mark if machine else records.mark_of(folder))  # it may be running without its record
    if machine is not None:  # its supervisor does so too, unless it was killed
        environment.clear_up(folders.disks / machine.order.desk, machine.mark)
    run = records.read(folder / "run.json", records.Run)
    if run is not None and run.phase != records.RunPhase.STOPPED:
        changed = msgspec.structs.replace(run, phase=records.RunPhase.STOPPED, progress=None)
        records.write(folder / "run.json", changed)
    if (ending := records.read(folder / "ending.json", records.Ending)) is not None:
        delete(folders, id_, machine, ending)
    return 0


if __name__ == "__main__":
    sys.exit(main())
