"""List what lies on a machine's instance store, whose content is in no image and is lost at a stop.

Runs at the desk (`python3 -`), with the standard library only. EC2's NVMe controllers are identified by their
model name (EC2 user guide: "Amazon EC2 NVMe Instance Storage"); partitions, logical volumes and RAID arrays
on them are found through the kernel's `holders`.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

MODEL = "Instance Storage"


def written(blocks: Path, mounts: str) -> list[dict[str, object]]:
    """Folders on instance store that hold anything: path, GiB used, and the first names in them."""
    devices: set[str] = set()
    for block in sorted(blocks.iterdir()):
        if MODEL in _text(block / "device" / "model"):
            _gather(blocks, block, devices)
    found: list[dict[str, object]] = []
    seen: set[str] = set()
    for line in mounts.splitlines():
        source, path = [part.encode().decode("unicode_escape") for part in line.split()[:2]]
        name = re.sub("^/dev/(mapper/)?", "", source)
        if not source.startswith("/dev/") or name not in devices or name in seen:
            continue
        seen.add(name)  # a disk may be mounted at several places
        try:
            names = sorted(set(os.listdir(path)) - {"lost+found"})
            room = os.statvfs(path)
        except OSError:
            continue
        if names:
            used = (room.f_blocks - room.f_bfree) * room.f_frsize / 2**30
            found.append({"path": path, "used_gib": round(used, 3), "names": names[:5]})
    return found


def _gather(blocks: Path, block: Path, devices: set[str]) -> None:
    """Add the names of a disk and of all devices built on it to `devices`."""
    if block.name in devices or not block.exists():
        return
    devices.add(block.name)
    if mapped := _text(block / "dm" / "name"):
        devices.add(mapped)
    for part in [block, *(p for p in sorted(block.iterdir()) if (p / "partition").exists())]:
        devices.add(part.name)
        if (part / "holders").is_dir():
            for holder in sorted((part / "holders").iterdir()):
                _gather(blocks, blocks / holder.name, devices)


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


if __name__ == "__main__":
    text = json.dumps(written(Path("/sys/block"), Path("/proc/self/mounts").read_text()))
    os.write(1, text.encode())
