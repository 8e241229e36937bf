"""Placeholders (core/lifecycle/holding.py): machines that keep a place, and hold nothing."""

from __future__ import annotations

from typing import Any

from hotdesk.core.billing.rates import HOURS_PER_MONTH
from hotdesk.core.lifecycle.holding import PLACEHOLDER, PLACEHOLDER_SECONDS
from hotdesk.core.model import Leftover, Phase
from hotdesk.providers.aws import tags
from hotdesk.providers.aws.inventory import Found, Raw
from hotdesk.providers.aws.saved import time_of
from hotdesk.providers.aws.settings import NAME
from hotdesk.providers.cloud import vocabulary
from hotdesk.providers.cloud.ids import qualified

ROLE = PLACEHOLDER  # the value of its tag
USER_DATA = f"#!/bin/sh\nshutdown -h +{PLACEHOLDER_SECONDS / 60:.0f}\n".encode()
_ENDING = {"shutting-down": Phase.ENDING}


def of(request: dict[str, Any]) -> dict[str, Any]:
    """The arguments of RunInstances: without a public address, and nothing of it outlives it."""
    network = [{**interface, "AssociatePublicIpAddress": False} for interface in request["NetworkInterfaces"]]
    disks = [
        {**disk, "Ebs": {**disk["Ebs"], "DeleteOnTermination": True}}
        for disk in request["BlockDeviceMappings"]
    ]
    ends = {"InstanceInitiatedShutdownBehavior": "terminate", "UserData": USER_DATA}
    return {**request, **ends, "NetworkInterfaces": network, "BlockDeviceMappings": disks}


def is_one(raw: Raw) -> bool:
    """Whether an instance, or a volume, is one or of one.

    The tag alone does not make it one: a desk's machine leaves its disks when it ends.
    """
    held = [m["Ebs"] for m in raw.get("BlockDeviceMappings", ()) if "Ebs" in m] + [
        *raw.get("Attachments", ())
    ]
    stays = any(disk.get("DeleteOnTermination") is False for disk in held)
    return tags.read(raw.get("Tags")).get("role") == ROLE and not stays


def found(region: Found) -> list[Leftover]:
    """Those that still count. A disk that lost its machine is deleted like one."""
    machines = [raw for raw in region.instances if is_one(raw) and raw["State"]["Name"] != "terminated"]
    disks = [raw for raw in region.volumes if is_one(raw) and raw["State"] == "available"]
    return [_leftover(region.region, raw) for raw in (*machines, *disks)]


def _leftover(region: str, raw: Raw) -> Leftover:
    told = tags.read(raw.get("Tags"))
    usd = vocabulary.number(told, "usd") if "InstanceId" in raw else 0.0
    return Leftover(
        id=qualified(region, raw.get("InstanceId") or raw["VolumeId"]),
        kind=PLACEHOLDER,
        phase=_ENDING.get(raw["State"]["Name"], Phase.READY) if "InstanceId" in raw else Phase.READY,
        provider=NAME,
        region=region,
        desk=told.get("desk", ""),
        owner=told.get("owner", ""),
        generation=vocabulary.generation(told),
        machine=told.get("name", ""),
        made_at=time_of(raw.get("LaunchTime") or raw.get("CreateTime")),
        usd_per_month=usd * HOURS_PER_MONTH,
        why="a machine that kept a place for a move",
    )
