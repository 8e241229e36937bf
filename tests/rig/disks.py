"""Volumes and snapshots as folders: what a machine writes lies in the upper layer of an overlay.

    layers/<number>     a frozen upper layer, shared by snapshots and volumes that descend from it
    volumes/<id>/       upper, work, and `root`, where the machine sees it all

Taking a snapshot of a disk that nobody uses freezes its upper layer and puts a new one on top, which takes no
time; one in use is copied.
"""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path

from tests.rig.commands import run

#: Without these the kernel may store references between layers, which would not survive being stacked anew.
_PLAIN = "redirect_dir=off,metacopy=off,index=off"


@dataclass
class Volume:
    folder: Path
    layers: tuple[Path, ...]  # lowest first, the base among them
    mounted: bool = False

    @property
    def upper(self) -> Path:
        return self.folder / "upper"

    @property
    def root(self) -> Path:
        return self.folder / "root"


@dataclass
class Disks:
    """All volumes and snapshots of one rig."""

    folder: Path
    base: Path
    volumes: dict[str, Volume] = field(default_factory=dict)
    snapshots: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    made: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def volume(self, volume_id: str, snapshot_id: str | None) -> Volume:
        """The volume, made from its snapshot where it is new; a stranger's snapshot is the base image."""
        with self.lock:
            if volume_id not in self.volumes:
                layers = self.snapshots.get(snapshot_id or "", (self.base,))
                folder = self.folder / "volumes" / volume_id
                for part in ("upper", "work", "root"):
                    (folder / part).mkdir(parents=True)
                self.volumes[volume_id] = Volume(folder, layers)
            return self.volumes[volume_id]

    def mount(self, volume: Volume) -> Path:
        with self.lock:
            if not volume.mounted:
                lower = ":".join(str(layer) for layer in reversed(volume.layers))
                where = f"lowerdir={lower},upperdir={volume.upper},workdir={volume.folder / 'work'}"
                run("mount", "-t", "overlay", "hotdesk-rig", "-o", f"{where},{_PLAIN}", str(volume.root))
                volume.mounted = True
            return volume.root

    def unmount(self, volume: Volume) -> None:
        with self.lock:
            if volume.mounted:
                run("umount", str(volume.root))
                volume.mounted = False

    def bake(self, snapshot_id: str, volume_id: str) -> None:
        """Keep what is on the volume now. A volume that no machine has used yet is what it was made from."""
        with self.lock:
            volume = self.volumes[volume_id]
            self.made += 1
            layer = self.folder / "layers" / str(self.made)
            layer.parent.mkdir(exist_ok=True)
            if volume.mounted:
                os.sync()
                run("cp", "-a", "--reflink=auto", str(volume.upper), str(layer), seconds=300)
                self.snapshots[snapshot_id] = (*volume.layers, layer)
                return
            volume.upper.rename(layer)
            volume.upper.mkdir()
            shutil.rmtree(volume.folder / "work", ignore_errors=True)
            (volume.folder / "work").mkdir()
            volume.layers = self.snapshots[snapshot_id] = (*volume.layers, layer)

    def copy(self, snapshot_id: str, source_id: str) -> None:
        with self.lock:
            self.snapshots[snapshot_id] = self.snapshots[source_id]

    def forget(self, thing_id: str) -> None:
        """Remove a volume or a snapshot, and every layer that nothing stands on any more."""
        with self.lock:
            self.snapshots.pop(thing_id, None)
            if volume := self.volumes.pop(thing_id, None):
                self.unmount(volume)
                shutil.rmtree(volume.folder)
            used = {p for v in self.volumes.values() for p in v.layers}
            used |= {p for layers in self.snapshots.values() for p in layers}
            for layer in (self.folder / "layers").glob("*"):
                if layer not in used:
                    shutil.rmtree(layer)
