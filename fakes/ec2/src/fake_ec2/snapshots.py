"""Snapshots: of real volumes, with a progress, kept while an image needs them."""

from __future__ import annotations

from typing import Any

from fake_ec2.actions import Call, action
from fake_ec2.disks import KMS
from fake_ec2.errors import Problem, missing, not_found
from fake_ec2.filters import keep, page, stamp, tag_list
from fake_ec2.things import Snapshot, Volume
from fake_ec2.world import ACCOUNT, World, check_tag_kinds, tags_for

USED_SHARE = 0.6  # of a volume that holds data: what a first snapshot is billed for
FILTERS = {
    "status": "State",
    "snapshot-id": "SnapshotId",
    "volume-id": "VolumeId",
    "volume-size": "VolumeSize",
    "owner-id": "OwnerId",
    "owner-alias": "OwnerAlias",
    "description": "Description",
    "encrypted": "Encrypted",
    "progress": "Progress",
    "start-time": "StartTime",
    "storage-tier": "StorageTier",
}


def take(
    world: World, volume: Volume, description: str, tags: dict[str, str], image_id: str | None = None
) -> Snapshot:
    """A snapshot of what is on the disk now: what a running machine has not flushed is not in it."""
    now = world.clock.now()
    seconds = world.clock.takes("snapshot") + world.clock.takes("snapshot-per-gib") * volume.size_gib
    snapshot = Snapshot(
        id=world.new_id("snapshot"),
        region=volume.region,
        owner=ACCOUNT,
        created=now,
        visible=now + world.lag_of("snapshot"),
        states=[(now, "pending")],
        volume_id=volume.id,
        volume_size_gib=volume.size_gib,
        used_gib=round(volume.size_gib * USED_SHARE, 1),
        encrypted=volume.encrypted,
        kms_key=volume.kms_key,
        description=description,
        started=now,
        done=now + seconds,
        image_id=image_id,
        work=dict(volume.work),
    )
    world.put_tags(snapshot, tags)
    world.region(volume.region).snapshots[snapshot.id] = snapshot
    finish_later(world, snapshot, world.rig.call("bake", snapshot.id, volume.id) if world.rig else None)
    return snapshot


def finish_later(world: World, snapshot: Snapshot, real: Any = None) -> None:
    def due() -> float | None:
        if snapshot.state != "pending":
            return None
        if real is not None and not real.done():
            return 0.05 * max(world.clock.rate, 0.001)
        failed = real is not None and real.exception() is not None
        snapshot.become("error" if failed else "completed", world.clock.now())
        return None

    world.clock.after(max(0.0, snapshot.done - world.clock.now()), due)


def progress(world: World, snapshot: Snapshot) -> str:
    """'' at first, to '99%' while pending, '100%' once completed."""
    if snapshot.state == "completed":
        return "100%"
    span = max(snapshot.done - snapshot.started, 1e-9)
    share = min(99, int(100 * (world.clock.now() - snapshot.started) / span))
    return f"{share}%" if share else ""


def snapshot_row(world: World, snapshot: Snapshot) -> dict[str, Any]:
    completed = snapshot.state == "completed"
    return {
        "SnapshotId": snapshot.id,
        "VolumeId": snapshot.volume_id,
        "VolumeSize": snapshot.volume_size_gib,
        "State": snapshot.state,
        "StateMessage": "Client error" if snapshot.state == "error" else None,
        "Progress": progress(world, snapshot),
        "StartTime": stamp(snapshot.started),
        "CompletionTime": stamp(snapshot.states[-1][0]) if completed else None,
        "OwnerId": snapshot.owner,
        "Description": snapshot.description,
        "Encrypted": snapshot.encrypted,
        "KmsKeyId": snapshot.kms_key,
        "StorageTier": "standard",
        "SseType": "sse-ebs" if snapshot.encrypted else None,
        "FullSnapshotSizeInBytes": int(snapshot.used_gib * 2**30) if completed else None,
        "Tags": tag_list(world.seen_tags(snapshot)),
    }


@action("DescribeSnapshots")
def describe_snapshots(world: World, call: Call) -> dict[str, Any]:
    found = world.listed(call.region, "snapshot", call.get("SnapshotIds"))
    owners = {ACCOUNT if o == "self" else o for o in call.get("OwnerIds") or []}
    if owners:
        aliases = {i.owner for i in world.region(call.region).images.values() if i.alias in owners}
        found = [s for s in found if s.owner in owners | aliases]
    return page(keep([snapshot_row(world, s) for s in found], call, FILTERS), call, "Snapshots")


@action("CreateSnapshot")
def create_snapshot(world: World, call: Call) -> dict[str, Any]:
    check_tag_kinds(call.get("TagSpecifications"), {"snapshot"})
    volume = world.volume(call.region, call.get("VolumeId") or "")
    call.dry_run()
    if volume.state not in {"available", "in-use"}:
        raise Problem("IncorrectState", f"The volume '{volume.id}' is not in a state to be snapshotted.")
    tags = tags_for(call.get("TagSpecifications"), "snapshot")
    return snapshot_row(world, take(world, volume, call.get("Description") or "", tags))


@action("CreateSnapshots")
def create_snapshots(world: World, call: Call) -> dict[str, Any]:
    check_tag_kinds(call.get("TagSpecifications"), {"snapshot"})
    spec = call.get("InstanceSpecification") or {}
    instance = world.instance(call.region, spec.get("InstanceId") or "")
    excluded = set(spec.get("ExcludeDataVolumeIds") or [])
    call.dry_run()
    rows = []
    for attachment in instance.disks.values():
        if attachment.volume_id in excluded:
            continue
        if spec.get("ExcludeBootVolume") and attachment.device == instance.root_device:
            continue
        volume = world.region(call.region).volumes[attachment.volume_id]
        tags = tags_for(call.get("TagSpecifications"), "snapshot")
        if call.get("CopyTagsFromSource") == "volume":
            tags = volume.tags | tags
        rows.append(snapshot_row(world, take(world, volume, call.get("Description") or "", tags)))
    return {"Snapshots": rows}


def needed_by(world: World, snapshot: Snapshot) -> str | None:
    """An image that cannot be without this snapshot."""
    for image in world.region(snapshot.region).images.values():
        if image.gone is None and any(
            m.get("Ebs", {}).get("SnapshotId") == snapshot.id for m in image.mappings
        ):
            return image.id
    return None


def refuse_in_use(world: World, snapshot: Snapshot) -> None:
    if image := needed_by(world, snapshot):
        raise Problem("InvalidSnapshot.InUse", f"The snapshot {snapshot.id} is currently in use by {image}")


def drop_snapshot(world: World, snapshot: Snapshot) -> None:
    snapshot.gone = world.clock.now()
    snapshot.become("deleted", snapshot.gone)
    if world.rig:
        world.rig.call("forget", snapshot.id)


@action("DeleteSnapshot")
def delete_snapshot(world: World, call: Call) -> dict[str, Any]:
    snapshot = world.snapshot(call.region, call.get("SnapshotId") or "")
    if snapshot.owner != ACCOUNT:
        raise Problem("AuthFailure", "Not authorized for snapshot.", 403)
    call.dry_run()
    refuse_in_use(world, snapshot)
    drop_snapshot(world, snapshot)
    return {}


def copy(
    world: World,
    source: Snapshot,
    region: str,
    *,
    description: str,
    tags: dict[str, str],
    encrypted: bool | None = None,
    kms_key: str | None = None,
    image_id: str | None = None,
) -> Snapshot:
    """The same content under a new id, in that region."""
    now = world.clock.now()
    encrypt = bool(encrypted) or source.encrypted
    seconds = world.clock.takes("copy") + world.clock.takes("snapshot-per-gib") * source.volume_size_gib
    made = Snapshot(
        id=world.new_id("snapshot"),
        region=region,
        owner=ACCOUNT,
        created=now,
        visible=now + world.lag_of("snapshot"),
        states=[(now, "pending")],
        volume_id="vol-ffffffff",  # AWS shows an arbitrary volume id for a copy
        volume_size_gib=source.volume_size_gib,
        used_gib=source.used_gib,
        encrypted=encrypt,
        kms_key=(kms_key or KMS.format(region=region)) if encrypt else None,
        description=description,
        started=now,
        done=now + seconds,
        image_id=image_id,
        work=dict(source.work),
    )
    world.put_tags(made, tags)
    world.region(region).snapshots[made.id] = made
    finish_later(world, made, world.rig.call("copy", made.id, source.id) if world.rig else None)
    return made


@action("CopySnapshot")
def copy_snapshot(world: World, call: Call) -> dict[str, Any]:
    if not call.get("SourceRegion"):
        raise missing("SourceRegion")
    source = world.region(call.get("SourceRegion")).snapshots.get(call.get("SourceSnapshotId") or "")
    if source is None or not world.visible(source):
        raise not_found("snapshot", call.get("SourceSnapshotId") or "")
    if source.state != "completed":
        raise Problem("IncorrectState", f"Snapshot '{source.id}' is not 'completed'.")
    call.dry_run()
    tags = tags_for(call.get("TagSpecifications"), "snapshot")
    made = copy(
        world,
        source,
        call.region,
        description=call.get("Description") or f"[Copied {source.id} from {source.region}]",
        tags=tags,
        encrypted=call.get("Encrypted"),
        kms_key=call.get("KmsKeyId"),
    )
    return {"SnapshotId": made.id, "Tags": tag_list(tags)}
