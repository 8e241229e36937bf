"""Translate a region's images, and snapshots still to be registered, into `Image`s."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hotdesk.core.model import Image, Phase
from hotdesk.core.spot.prices import Storing
from hotdesk.providers.aws import tags
from hotdesk.providers.aws.disks import root_first
from hotdesk.providers.aws.inventory import Found, Raw
from hotdesk.providers.cloud import vocabulary
from hotdesk.providers.cloud.ids import qualified

#: A disabled image keeps its content, so it counts as ready; a launch from it is refused with an explanation.
_IMAGE = {
    "available": Phase.READY,
    "disabled": Phase.READY,
    "pending": Phase.PENDING,
    "transient": Phase.PENDING,
}


def image_of(found: Found, raw: Raw, stored: Storing) -> Image | None:
    told = tags.read(raw.get("Tags"))
    if raw["State"] == "deregistered":
        return None
    phase = _IMAGE.get(raw["State"], Phase.FAILED)
    parts = _snapshots_of(found, raw, told)
    size = float(sum(m["Ebs"].get("VolumeSize", 0) for m in raw.get("BlockDeviceMappings", ()) if "Ebs" in m))
    bad = next((s for s in parts if s["State"] == "error"), None)
    reason = str((raw.get("StateReason") or {}).get("Message") or "")
    if bad is not None:
        phase, reason = Phase.FAILED, str(bad.get("StateMessage") or f"{bad['SnapshotId']} failed")
    taken = told.get("taken") if told.get("copied") else None
    return Image(
        id=qualified(found.region, raw["ImageId"]),
        name=told.get("name") or raw.get("Name", ""),
        desk=told.get("desk", ""),
        owner=told.get("owner", ""),
        generation=vocabulary.generation(told),
        phase=phase,
        provider="aws",
        region=found.region,
        verified=told.get("verified") == "1",
        source_id=told.get("source", ""),
        **descent_of(told),
        doomed=told.get("goal") == "gone",
        taken_at=time_of(taken or raw.get("CreationDate")),
        size_gib=size,
        usd_per_month=(sum(map(gib, parts)) if parts else size) * stored.image_usd_per_gib_month,
        told_per_usd=stored.told_per_usd,
        copy_usd=(sum(map(gib, parts)) if parts else size) * stored.copy_usd_per_gib,
        arch=raw.get("Architecture", "x86_64"),
        progress=_progress(parts) if phase is Phase.PENDING else None,
        reason=reason if phase is Phase.FAILED else "",
    )


def descent_of(told: vocabulary.Tags) -> dict[str, Any]:
    """The fields of an image that say where it comes from, by its tags."""
    source = told.get("source", "").partition("/")[2]
    return {
        "machine": told.get("machine", ""),
        "image_id": told.get("image", ""),
        "line": vocabulary.line_of(told),
        "started_at": vocabulary.number(told, "started") or None,
        "final": source.startswith("vol-"),
    }


def _snapshots_of(found: Found, raw: Raw, told: vocabulary.Tags) -> list[Raw]:
    """The snapshots that an image refers to, and those with its name, as a pending image refers to none."""
    ids = [m["Ebs"].get("SnapshotId", "") for m in raw.get("BlockDeviceMappings", ()) if "Ebs" in m]
    listed = {s["SnapshotId"]: s for key in (*ids, told.get("name", "")) for s in found.parts.get(key, ())}
    return list(listed.values())


def unregistered(found: Found, stored: Storing) -> list[Image]:
    """Snapshots of disks that outlived their instance, as pending images until they are registered."""
    registered = {
        tags.read(i.get("Tags")).get("name") or i.get("Name")
        for i in found.images
        if i["State"] != "deregistered"
    }
    orders: dict[str, list[Raw]] = {}
    for raw in sorted(found.snapshots, key=root_first):
        told = tags.read(raw.get("Tags"))
        if told.get("bake") == "disk" and told.get("name") not in registered:
            orders.setdefault(told.get("name") or raw["SnapshotId"], []).append(raw)
    images = []
    for taken in orders.values():
        told = tags.read(taken[0].get("Tags"))
        states = {raw["State"] for raw in taken}
        phase = Phase.READY if states == {"completed"} else Phase.PENDING
        reasons = [
            raw.get("StateMessage") or "the snapshot failed" for raw in taken if raw["State"] == "error"
        ]
        ids = [qualified(found.region, raw["SnapshotId"]) for raw in taken]
        images.append(
            Image(
                id=ids[0],
                name=told.get("name", ""),
                desk=told.get("desk", ""),
                owner=told.get("owner", ""),
                generation=vocabulary.generation(told),
                phase=Phase.FAILED if reasons else phase,
                provider="aws",
                region=found.region,
                source_id=told.get("source", ""),
                **descent_of(told),
                doomed=told.get("goal") == "gone",
                taken_at=min(time_of(raw.get("StartTime")) for raw in taken),
                size_gib=float(sum(raw.get("VolumeSize", 0) for raw in taken)),
                usd_per_month=sum(map(gib, taken)) * stored.image_usd_per_gib_month,
                told_per_usd=stored.told_per_usd,
                arch=told.get("arch") or "x86_64",
                progress=_progress(taken) if phase is Phase.PENDING and not reasons else None,
                reason=str(next(iter(reasons), "")),
                parts=tuple(ids[1:]),
            )
        )
    return images


def gib(snapshot: Raw) -> float:
    """The most GiB that a snapshot is billed for: its full size if EC2 tells it, else the disk's."""
    whole = snapshot.get("FullSnapshotSizeInBytes")
    return whole / 2**30 if whole else float(snapshot.get("VolumeSize", 0))


def _progress(snapshots: list[Raw]) -> float | None:
    shares = [float(str(s.get("Progress") or "0").rstrip("%") or 0) / 100 for s in snapshots]
    return sum(shares) / len(shares) if shares else None


def time_of(value: Any) -> float:
    """Seconds since the epoch of an EC2 time: a datetime or, for images, text; else 0."""
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, str) and value:
        return datetime.fromisoformat(value).timestamp()
    return 0.0
