"""Map volumes of a terminated instance to device names.

RunInstances gives all volumes of a launch the same tags, and a detached volume no longer shows its device.
It always shows the snapshot that it was made from, and an image has one snapshot per device. So the launch
records devices and snapshots (`hotdesk:parts`) in the same call that creates the volumes. A tag added to
each volume later would be missing if the instance is interrupted before the next survey; the image may have
been deregistered by then; and sizes may be equal or change.

Volumes that this cannot tell apart (two empty ones, or two from one snapshot) lead to a question.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hotdesk.providers.aws import tags
from hotdesk.providers.cloud import vocabulary

Raw = Mapping[str, Any]

LONGEST = 256  # characters of a tag's value
ROOT = "/dev/sda1"  # unless a tag names another


def written(snapshots: Mapping[str, str]) -> str:
    """Devices with their source snapshots, as a tag's value; "" if it would be too long."""
    text = ",".join(f"{device}={snap.removeprefix('snap-')}" for device, snap in sorted(snapshots.items()))
    return text if len(text) <= LONGEST else ""


def devices(told: vocabulary.Tags) -> dict[str, str]:
    """Device -> snapshot of the disks of a launch; empty for a single disk or without that tag."""
    pairs = [part.partition("=") for part in told.get("parts", "").split(",") if part]
    return {device: f"snap-{snap}" if snap else "" for device, _, snap in pairs}


def tells_apart(parts: str) -> bool:
    """Whether the disks of a launch with that tag can be identified by their snapshots."""
    snapshots = [*devices({"parts": parts}).values()]
    return bool(snapshots) and len({*snapshots}) == len(snapshots)


def device_of(volume: Raw) -> str:
    """The device name that a volume had on its instance; "" if unknown."""
    made_from = volume.get("SnapshotId") or ""
    wanted = devices(tags.read(volume.get("Tags")))
    fitting = [device for device, snapshot in wanted.items() if snapshot == made_from]
    return fitting[0] if len(fitting) == 1 else ""


def sizes_of(told: vocabulary.Tags) -> dict[str, int]:
    """Device -> GiB of the disks in an image, from the tag written when it was ordered."""
    pairs = [part.partition("=") for part in told.get("disks", "").split(",") if part]
    return {device: int(size) for device, _, size in pairs if size.isdecimal()}


def root_of(told: vocabulary.Tags) -> str:
    return told.get("root") or ROOT


def by_machine(volumes: Iterable[Raw]) -> list[dict[str, Raw]]:
    """The volumes of each launch, by device; a volume of unknown device is a group of its own, under ""."""
    launches: dict[str, dict[str, Raw]] = {}
    alone: list[dict[str, Raw]] = []
    for volume in volumes:
        name, device = tags.read(volume.get("Tags")).get("name", ""), device_of(volume)
        if device and name and device not in launches.get(name, {}):
            launches.setdefault(name, {})[device] = volume
        else:
            alone.append({"": volume})
    return [*launches.values(), *alone]


def root_volume(raw: Raw) -> str:
    """The volume of an instance's root device; "" for none."""
    root = raw.get("RootDeviceName")
    held = (m for m in raw.get("BlockDeviceMappings", ()) if m.get("DeviceName") == root and "Ebs" in m)
    return next((str(m["Ebs"].get("VolumeId", "")) for m in held), "")


def root_first(snapshot: Raw) -> tuple[bool, str, str]:
    """Sort key for the snapshots of one order: the root disk first, then the oldest first."""
    told = tags.read(snapshot.get("Tags"))
    return (
        told.get("device", root_of(told)) != root_of(told),
        str(snapshot["StartTime"]),
        snapshot["SnapshotId"],
    )
