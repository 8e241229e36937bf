"""Bake a desk's images from its stopped machine, verify them, copy them to another region.

A disk that outlived its machine cannot become an image again: it is a data disk then (ECS API reference,
CreateImage). That is why a spot machine stays when it is taken back, and why nothing here keeps a disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from hotdesk.core.errors import Failing, Kind, Refused
from hotdesk.core.steps import BakeOrder
from hotdesk.parallel import all_of
from hotdesk.providers.aliyun import tags, times
from hotdesk.providers.aliyun.account import Account
from hotdesk.providers.aliyun.base_images import describe, disks_of
from hotdesk.providers.aliyun.errors import code
from hotdesk.providers.aliyun.instances import after_its_minute, release_in
from hotdesk.providers.aliyun.instances import describe as machine_of
from hotdesk.providers.cloud import vocabulary
from hotdesk.providers.cloud.ids import qualified, split
from hotdesk.providers.cloud.vocabulary import Tags

BAKE_SECONDS = 48 * 3600.0  # an image takes minutes, a big one hours
_FAILED = frozenset({"CreateFailed", "UnAvailable"})
#: Tags that an image takes over from its machine.
_KEPT = ("arch", "gpu", "keys", "owner", "image", "line", "computer")


def bake(account: Account, order: BakeOrder) -> str:
    """Begin an image of a stopped machine; return its id.

    Raises `Refused` (not-ready) while it is not off, or within the minute of its last start.
    """
    region, bare = split(order.source_id)
    if not bare.startswith("i-"):
        raise Refused(
            Kind.UNSUPPORTED,
            f"{bare} is a disk without its machine, of which Alibaba Cloud makes no image.",
            fix=f"aliyun ecs AttachDisk --DiskId {bare} --InstanceId i-…   # to copy from it, as a data disk",
        )
    machine, disks = all_of(
        lambda: machine_of(account, region, bare),
        lambda: account.pages(region, "DescribeDisks", "Disks", "Disk", InstanceId=bare, MaxResults=100),
    )
    if machine["Status"] != "Stopped":
        raise Refused(
            Kind.NOT_READY, f"{bare} is {machine['Status']}: an image now would miss its last writes."
        )
    if order.started_at and times.started(machine) != order.started_at:
        raise Refused(Kind.NOT_READY, f"{bare} was started again since it was looked at.", seconds=5.0)
    after_its_minute(machine)
    if not disks:
        raise Refused(Kind.NOT_READY, f"The disks of {bare} are not listed yet.")
    if machine.get("AutoReleaseTime"):  # it must not go before its image is whole; the image counts most
        with contextlib.suppress(Refused):
            release_in(account, region, bare, BAKE_SECONDS)
    sizes = {str(d["Device"]): int(d["Size"]) for d in disks}
    made = vocabulary.of_image(order, tags.read(machine.get("Tags")), sizes, _KEPT)
    try:
        told = account.tell(
            region, "CreateImage", InstanceId=bare, ImageName=order.name, Tag=tags.written(made),
            Description=f"hotdesk: {order.desk}", ClientToken=_token(order.name),
        )  # fmt: skip
    except Refused as no:
        return qualified(region, _already(account, region, order.name, no))
    return qualified(region, told["ImageId"])


def _token(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def _already(account: Account, region: str, name: str, no: Refused) -> str:
    """The existing image of this name, which is of the same order. Raises `no` if it is another refusal."""
    if code(no) != "InvalidImageName.Duplicated" and no.kind is not Kind.MISMATCH:
        raise no
    try:
        found = account.ask(region, "DescribeImages", ImageName=name, ImageOwnerAlias="self", Status="ALL")[
            "Images"
        ]["Image"]
    except Refused as busy:  # it exists, so this must not count as a refusal of the order
        raise Failing(f"the image named {name} exists, and cannot be looked up: {busy.message}") from busy
    if found:
        return str(found[0]["ImageId"])
    raise RuntimeError(f"an image named {name} exists in {region} and is not listed yet")


def verify(account: Account, image_id: str, known: Mapping[str, Any] | None = None) -> None:
    """Check that an image holds what its tags say, and tag it as verified. Raises `Refused` (corrupt).

    `known`: the image as last surveyed; what an image that is whole holds never changes. Its snapshots are
    asked for anew.
    """
    region, bare = split(image_id)
    image = known if known and known["Status"] == "Available" else describe(account, region, bare)
    told = tags.read(image.get("Tags"))
    if image["Status"] in _FAILED:
        raise Refused(Kind.CORRUPT, f"{bare} is {image['Status']}.")
    if image["Status"] != "Available":
        raise Refused(Kind.NOT_READY, f"{bare} is {image['Status']}.")
    held = {d.device: d for d in disks_of(image)}
    wanted = sizes_of(told)
    if not wanted:
        raise Refused(Kind.CORRUPT, f"{bare} does not say which disks it must hold.")
    for device, size in wanted.items():
        if device not in held:
            raise Refused(Kind.CORRUPT, f"{bare} lacks the disk {device}.")
        if held[device].size_gib < size:
            raise Refused(
                Kind.CORRUPT,
                f"{bare} holds {held[device].size_gib} GiB of {device} where {size} were expected.",
            )
    if sum(d.kind == "system" for d in held.values()) != 1:
        raise Refused(Kind.CORRUPT, f"{bare} has no disk that a machine could start from.")
    if not all(d.snapshot for d in held.values()):
        raise Refused(Kind.CORRUPT, f"{bare} names a disk without a snapshot.")
    snapshots = sorted({d.snapshot for d in held.values()})
    _check_snapshots(account, region, bare, snapshots)
    tag_snapshots(account, region, snapshots, told)
    account.tell(
        region, "TagResources", ResourceType="image", ResourceId=[bare], Tag=tags.changed(verified="1")
    )


def _check_snapshots(account: Account, region: str, bare: str, ids: list[str]) -> None:
    told = account.ask(region, "DescribeSnapshots", SnapshotIds=json.dumps(ids), MaxResults=100)
    found = {str(s["SnapshotId"]): str(s["Status"]) for s in told["Snapshots"]["Snapshot"]}
    if missing := [id_ for id_ in ids if id_ not in found]:
        raise Refused(Kind.CORRUPT, f"{bare} refers to {missing[0]}, which does not exist.")
    for id_, status in found.items():
        if status == "failed":
            raise Refused(Kind.CORRUPT, f"{id_} of {bare} failed.")
        if status != "accomplished":
            raise Refused(Kind.NOT_READY, f"{id_} of {bare} is {status}.")


def tag_snapshots(account: Account, region: str, ids: list[str], told: Tags) -> None:
    """Give an image's snapshots its tags: they outlive it, cost money, and have none of their own."""
    if ids:
        account.tell(region, "TagResources", ResourceType="snapshot", ResourceId=ids, Tag=tags.written(told))


def delete(account: Account, region: str, bare: str, known: Mapping[str, Any] | None = None) -> list[str]:
    """Delete an image and then its snapshots; return their ids. Idempotent.

    `known`: the image as last surveyed; the snapshots of one that is whole are always the same. Before the
    deletion they have its tags, so that those of an interrupted one are found.
    """
    if known and known["Status"] == "Available" and tags.read(known.get("Tags")).get("verified"):
        found = [known]
    else:
        found = account.ask(region, "DescribeImages", ImageId=bare, Status="ALL")["Images"]["Image"]
    if not found:
        return []
    told, ids = tags.read(found[0].get("Tags")), [d.snapshot for d in disks_of(found[0]) if d.snapshot]
    if told and not told.get("verified"):
        tag_snapshots(account, region, ids, told)
    account.tell(region, "DeleteImage", ImageId=bare, Force=True)
    for snapshot in ids:
        delete_snapshot(account, region, snapshot)
    return ids


def delete_snapshot(account: Account, region: str, bare: str) -> None:
    """Delete a snapshot, also one that made the disk of a machine. One that is gone is a success."""
    account.tell(region, "DeleteSnapshot", SnapshotId=bare, Force=True)


def sizes_of(told: Tags) -> dict[str, int]:
    """Device -> GiB of the disks in an image, from the tag written when it was ordered."""
    pairs = [part.partition("=") for part in told.get("disks", "").split(",") if part]
    return {device: int(size) for device, _, size in pairs if size.isdecimal()}


def copy(account: Account, image_id: str, region: str, name: str) -> str:
    """Begin a copy into another region under that name; return its id. (Five at once; the others wait.)"""
    home, bare = split(image_id)
    image = describe(account, home, bare)
    told = tags.read(image.get("Tags"))
    kept = vocabulary.of_copy(told, name, image.get("CreationTime"))
    try:
        made = account.tell(
            home, "CopyImage", ImageId=bare, DestinationRegionId=region, DestinationImageName=name,
            DestinationDescription=str(image.get("Description") or "") or f"hotdesk: {told.get('desk')}",
            Tag=tags.written(kept), ClientToken=_token(f"{image_id} {region} {name}"),
        )  # fmt: skip
    except Refused as no:
        return qualified(region, _already(account, region, name, no))
    return qualified(region, made["ImageId"])
