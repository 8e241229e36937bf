"""Launch, start, stop and delete machines."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import hotdesk
from hotdesk.core.errors import Failing, Kind, Refused
from hotdesk.core.model import Market, Offer
from hotdesk.core.pricelist import is_shipped
from hotdesk.core.steps import LaunchOrder
from hotdesk.parallel import all_of
from hotdesk.providers.aliyun import disk_types, network, tags, times
from hotdesk.providers.aliyun.account import Account
from hotdesk.providers.aliyun.base_images import BaseImage, find_base
from hotdesk.providers.aliyun.client import DATE
from hotdesk.providers.aliyun.errors import GONE, code
from hotdesk.providers.cloud import price, vocabulary
from hotdesk.providers.cloud.caller import Computer
from hotdesk.providers.cloud.ids import qualified, split

#: Minimum disk for a base image: Python packages for deep learning need this much.
BASE_DISK_GIB = 64
BANDWIDTH_MBIT = 100  # paid by traffic, so the most that is allowed
NO_IMAGE = "InvalidImageId.NotFound"
USER = "ubuntu"  # made by our own user data, whatever the image


def launch(
    account: Account,
    order: LaunchOrder,
    user_data: bytes,
    *,
    who: Computer,
    cidr: str,
    owner: str,
    now: float,
    image: Mapping[str, Any] | None = None,
    groups: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Launch exactly one machine of this order, in its network, from its image; return its id.

    `image` is the desk's own and `groups` the region's, as a survey of just now has them. What seldom changes
    is kept for an hour. Where the service says that it is gone, it is asked anew and the launch sent once
    more: a request that was refused so has not used up its token.
    """
    offer = order.offer
    if order.image_id:
        split(order.image_id)
    there = f"/{offer.region}/"
    may_be_gone = account.recalled.has(there)

    def send(groups: Sequence[Mapping[str, Any]]) -> str:
        place, base = all_of(
            lambda: network.find_place(
                account, offer.region, offer.zone, cidr, who=who, now=now, known=groups
            ),
            lambda: find_base(account, order, image),
        )
        lack: Refused | None = None
        for _, disk in disk_types.choices(account, offer.region, offer.zone, offer.instance_type):
            request = run_request(
                order, base, place, user_data,
                disk=disk, owner=owner, computer=who.name, role=account.settings.role,
            )  # fmt: skip
            try:
                made = account.tell(offer.region, "RunInstances", **request)
            except Refused as no:
                if no.kind is Kind.MISMATCH:
                    return _earlier(account, order, no)
                if code(no) not in disk_types.NOT_SOLD:
                    raise
                lack = no  # a definite no has not used up the token
                continue
            return qualified(offer.region, made["InstanceIdSets"]["InstanceIdSet"][0])
        assert lack is not None
        raise lack

    try:
        return send(groups)
    except Refused as no:
        account.recalled.drop(there)
        if not may_be_gone or code(no) not in GONE or (order.image_id and code(no) == NO_IMAGE):
            raise
    try:
        return send(())
    except Refused:
        account.recalled.drop(there)
        raise


def run_request(
    order: LaunchOrder,
    base: BaseImage,
    place: network.Place,
    user_data: bytes,
    *,
    disk: Mapping[str, Any] = disk_types.USUAL,
    owner: str = "",
    computer: str = "",
    role: str = "",
) -> dict[str, Any]:
    """The arguments of RunInstances. Equal orders must give equal arguments, or the token is refused."""
    offer = order.offer
    told = vocabulary.of(
        order.desk,
        order.name,
        generation=order.generation,
        born=order.born,
        attempt=order.attempt,
        owner=owner,
        goal="running",
        price=price.of(offer),
        priced=_priced(offer),
        gpu=offer.gpu,
        scratch=_scratch(offer),
        arch=base.arch,
        keys=base.keys or order.name,
        image=order.image_id,
        line=vocabulary.line(base.line, tags.LINE),
        computer=computer,
        role=role,
        version=hotdesk.__version__,
    )
    size = max(base.size_gib, order.disk_gib or (0 if order.image_id else BASE_DISK_GIB))
    request: dict[str, Any] = {
        "ImageId": base.id,
        "InstanceType": offer.instance_type,
        "InstanceName": order.name,
        "ClientToken": order.token,
        "Amount": 1,
        "VSwitchId": place.vswitch,
        "SecurityGroupId": place.group,
        "InstanceChargeType": "PostPaid",
        "InternetChargeType": "PayByTraffic",
        "InternetMaxBandwidthOut": BANDWIDTH_MBIT,
        "SystemDisk": {**disk, "Size": size},
        "HttpEndpoint": "enabled",
        "HttpTokens": "required",
        "UserData": base64.b64encode(user_data).decode(),
        "Tag": tags.written(told),
    }
    if base.more:  # made of the image's snapshots, by their devices
        request["DataDisk"] = [
            {**disk, "Device": d.device, "Size": d.size_gib, "DeleteWithInstance": True} for d in base.more
        ]
    if offer.market is Market.SPOT:
        # Its disk can become an image only while it belongs to its machine: an interruption must leave that.
        stays = "Terminate" if offer.scratch_gib else "Stop"
        request |= {
            "SpotStrategy": "SpotAsPriceGo",  # the on-demand price is the limit
            "SpotDuration": 1,
            "SpotInterruptionBehavior": stays,
        }
    if role:
        request["RamRoleName"] = role
    return request


def _priced(offer: Offer) -> str:
    """The date of a price that is not from the cloud itself, as a tag's value."""
    return str(offer.price_time) if is_shipped(offer.source) and offer.price_time else ""


def _scratch(offer: Offer) -> str:
    return f"{offer.scratch_gib:.0f}" if offer.scratch_gib else ""


def _earlier(account: Account, order: LaunchOrder, no: Refused) -> str:
    """The machine that this token launched before, with other arguments (an older base image, say)."""
    region = order.offer.region
    try:
        told = account.ask(region, "DescribeInstances", Tag=tags.named(order.name))
    except Refused as busy:  # it exists, so this must not count as a refusal of the launch
        raise Failing(f"{order.name} was launched before, and cannot be looked up: {busy.message}") from busy
    if found := told["Instances"]["Instance"]:
        return qualified(region, found[0]["InstanceId"])
    raise RuntimeError(f"{order.name} was launched before and is not listed yet: {no.message}")


# ---- power -------------------------------------------------------------------------------------------


def start(account: Account, region: str, bare: str) -> None:
    """Start a stopped machine; one that runs is left alone.

    Raises `Refused` (not-ready) within the minute of its last start: the next one would have the same time.
    """
    machine = describe(account, region, bare)
    if machine["Status"] in {"Pending", "Starting", "Running"}:
        return
    _after_its_minute(machine, "started again")
    account.tell(region, "StartInstances", InstanceId=[bare])


def _after_its_minute(machine: Mapping[str, Any], what: str) -> None:
    """Raises `Refused` (not-ready) until the minute of its last start is over, by the cloud's clock."""
    now, began = times.clock(machine.get(DATE, "")), times.started(machine)
    if now <= began:
        why = f"{machine['InstanceId']} was started within this minute: it is {what} after it."
        raise Refused(Kind.NOT_READY, why, seconds=max(1.0, min(61.0, began - now + 1)))


def after_its_minute(machine: Mapping[str, Any]) -> None:
    """The same, for an image: one of this minute could not be told from one of the start before."""
    _after_its_minute(machine, "saved")


def release_in(account: Account, region: str, bare: str, seconds: float) -> None:
    """Have a machine deleted in so long at the earliest, by the cloud's clock; 0: never.

    A time that is set is never brought forward. (AutoReleaseTime is told to the minute, and rounded down.)
    """
    machine = describe(account, region, bare)
    now, before = times.clock(machine.get(DATE, "")), times.seconds(machine.get("AutoReleaseTime"))
    if not seconds:
        if before:
            account.tell(region, "ModifyInstanceAutoReleaseTime", InstanceId=bare)
        return
    if not now or before >= now + seconds:
        return
    at = datetime.fromtimestamp(now + seconds + times.MINUTE, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    account.tell(region, "ModifyInstanceAutoReleaseTime", InstanceId=bare, AutoReleaseTime=at)


def stop(account: Account, region: str, bare: str) -> None:
    """Stop a machine in economical mode, so that only its disk is paid. One that is off is left alone.

    (A type that does not know that mode stops all the same, and goes on costing: the survey shows it.)
    """
    try:
        account.tell(region, "StopInstances", InstanceId=[bare], StoppedMode="StopCharging", ForceStop=False)
    except Refused as no:
        if code(no) != "IncorrectInstanceStatus" or describe(account, region, bare)["Status"] not in {
            "Stopping",
            "Stopped",
        }:
            raise


def retype(account: Account, region: str, bare: str, offer: Offer, generation: int) -> None:
    """Change the type of a stopped machine. The tags are written last, as a record that it was done."""
    machine = describe(account, region, bare)
    if machine["Status"] != "Stopped":
        raise Refused(Kind.NOT_READY, f"{bare} is {machine['Status']}, and not stopped.")
    if machine["InstanceType"] != offer.instance_type:
        account.tell(region, "ModifyInstanceSpec", InstanceId=bare, InstanceType=offer.instance_type)
    told = {
        "moved": str(generation),
        "price": str(price.of(offer)),
        "gpu": offer.gpu,
        "scratch": _scratch(offer),
        "priced": _priced(offer),
    }
    account.tell(region, "TagResources", ResourceType="instance", ResourceId=[bare], Tag=tags.changed(**told))


def end(account: Account, region: str, bare: str) -> None:
    """Release a machine with its disks. Idempotent."""
    try:
        account.tell(region, "DeleteInstances", InstanceId=[bare], Force=True)
    except Refused as no:
        if code(no) not in GONE:
            raise


# ---- access ------------------------------------------------------------------------------------------


def describe(account: Account, region: str, bare: str) -> dict[str, Any]:
    """A machine, with the cloud's clock (`client.DATE`). Raises `Refused` (not-ready) if it is not listed."""
    import json

    told = account.ask(region, "DescribeInstances", InstanceIds=json.dumps([bare]))
    found = told["Instances"]["Instance"]
    if not found:
        raise Refused(Kind.NOT_READY, f"{bare} is not listed in {region}.", seconds=5.0)
    return {**found[0], DATE: told[DATE]}


def address_of(machine: Mapping[str, Any]) -> str:
    """Its public address; "" while it has none."""
    public = (machine.get("PublicIpAddress") or {}).get("IpAddress") or []
    elastic = (machine.get("EipAddress") or {}).get("IpAddress") or ""
    return str(public[0]) if public else str(elastic)
