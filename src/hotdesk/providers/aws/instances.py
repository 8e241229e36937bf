"""Machines: launched, started, stopped, ended, and how to reach one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hotdesk
from hotdesk.core.errors import Failing, Kind, Refused
from hotdesk.core.model import Market, Offer
from hotdesk.core.pricelist import is_shipped
from hotdesk.core.steps import LaunchOrder
from hotdesk.parallel import all_of
from hotdesk.providers.aws import inventory, network, quotas, scopes, tags
from hotdesk.providers.aws.account import Account, qualified, split
from hotdesk.providers.aws.base_images import BaseImage, find_base
from hotdesk.providers.aws.errors import answers, code
from hotdesk.providers.cloud import hostkeys, vocabulary
from hotdesk.providers.cloud.caller import Computer

#: A base image is often full when it comes: Python packages for deep learning need this much beside it.
BASE_DISK_GIB = 64


def launch(
    account: Account,
    order: LaunchOrder,
    public_key: Path,
    user_data: bytes,
    who: Computer,
    *,
    owner: str,
    new: bool = False,
) -> str:
    """Exactly one machine of this order; its id. What it needs is seen to on the way, side by side.

    In a region that is `new` to this computer, that it can be looked at is made sure of first: a machine
    that nobody sees would be paid for.
    """
    offer = order.offer
    region = offer.region
    if order.image_id:  # before anything is made for it
        split(order.image_id)
    try:
        _, (subnet, group), key, base, _ = all_of(
            lambda: account.ec2_once(region),
            lambda: _network(account, region, offer.zone, who),
            lambda: network.ensure_key(account, region, order, public_key),
            lambda: find_base(account, order),
            lambda: inventory.may_read(account, region) if new else None,
        )
    except Refused as no:
        raise scopes.of_its_surroundings(no, order) from no.__cause__
    request = run_request(
        order, base, subnet=subnet, group=group, key=key, user_data=user_data, owner=owner, computer=who.name
    )
    try:
        with answers():
            made = account.ec2_once(region).run_instances(**request)
    except Refused as no:
        why = code(no.__cause__ or no)
        if why == "IdempotentParameterMismatch":
            return _earlier(account, order, no)
        if order.initialization_rate and "nitialization" in no.message:  # a region has 5,000 MiB/s in all
            again = f"hotdesk resume {order.desk}   # without --initialization-rate: loaded lazily"
            raise Refused(Kind.BAD_REQUEST, no.message, fix=again, seconds=no.seconds) from no
        if no.kind is Kind.QUOTA:
            no = quotas.explained(account, order, no)
        raise scopes.of_the_launch(no, why, order.offer) from no.__cause__
    return qualified(region, made["Instances"][0]["InstanceId"])


def _network(account: Account, region: str, zone: str, who: Computer) -> tuple[str, str]:
    """Subnet and security group of a zone, the latter open to the caller."""
    (subnet, vpc), groups, cidr = all_of(
        lambda: network.find_subnet(account, region, zone),
        lambda: network.find_groups(account, region),
        lambda: network.callers_address(account, region),
    )
    group = network.ensure_group(account, region, vpc, groups)
    network.admit(account, region, group, cidr, who)
    return subnet, group["GroupId"]


def run_request(
    order: LaunchOrder,
    base: BaseImage,
    *,
    subnet: str,
    group: str,
    key: str,
    user_data: bytes,
    owner: str = "",
    computer: str = "",
) -> dict[str, Any]:
    """The arguments of RunInstances. Equal orders give equal arguments, or EC2 would refuse the token."""
    offer, spot = order.offer, order.offer.market is Market.SPOT
    told = vocabulary.of(
        order.desk,
        order.name,
        generation=order.generation,
        born=order.born,
        attempt=order.attempt,
        owner=owner,
        goal="running",
        market=offer.market.value,
        usd=offer.usd_per_hour,
        priced=_priced(offer),
        gpu=offer.gpu,
        scratch=_scratch(offer),
        user=base.user,
        arch=base.arch,
        boot=base.boot,
        tpm=base.tpm,
        root=base.root,
        parts=base.parts,
        keys=base.keys or order.name,
        image=order.image_id,
        line=vocabulary.line(base.line),
        computer=computer,
        version=hotdesk.__version__,
    )
    kinds = ["instance", "volume", "network-interface", *(["spot-instances-request"] if spot else [])]
    size = max(base.size_gib, order.disk_gib or (0 if order.image_id else BASE_DISK_GIB))
    rate = order.initialization_rate
    disks = [{"DeviceName": base.root, "Ebs": _disk(size, rate)}]
    disks += [{"DeviceName": device, "Ebs": _disk(gib, rate)} for device, gib in base.more]
    request: dict[str, Any] = {
        "ImageId": base.id,
        "InstanceType": offer.instance_type,
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": order.token,
        "KeyName": key,
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "SubnetId": subnet,
                "Groups": [group],
                "AssociatePublicIpAddress": True,
                "DeleteOnTermination": True,
            }
        ],
        "BlockDeviceMappings": disks,
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
        },
        "InstanceInitiatedShutdownBehavior": "terminate" if spot else "stop",
        "UserData": user_data,
        "TagSpecifications": tags.specifications(kinds, told),
    }
    if spot:  # without MaxPrice: the on-demand price is the limit, and a lower one only interrupts earlier
        options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        request["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
    return request


def _priced(offer: Offer) -> str:
    """When the price was so, of one that AWS did not tell."""
    return str(offer.price_time) if is_shipped(offer.source) and offer.price_time else ""


def _scratch(offer: Offer) -> str:
    return f"{offer.scratch_gib:.0f}" if offer.scratch_gib else ""


def _disk(size_gib: int, rate: int = 0) -> dict[str, Any]:
    """A disk that outlives its machine, however that ends; `end` says otherwise when the work is safe.

    `rate`: MiB/s at which it is loaded from its snapshot; 0: lazily, block by block.
    """
    load = {"VolumeInitializationRate": rate} if rate else {}
    return {
        "VolumeType": "gp3",
        "Encrypted": True,
        "VolumeSize": size_gib,
        "DeleteOnTermination": False,
        **load,
    }


def _earlier(account: Account, order: LaunchOrder, no: Refused) -> str:
    """What this token launched before, with arguments that have changed since (a newer base image, say)."""
    region = order.offer.region
    mine = [{"Name": "tag:hotdesk:name", "Values": [order.name]}]
    try:
        with answers():
            found = account.ec2(region).describe_instances(Filters=mine)["Reservations"]
    except Refused as busy:  # a machine of this order exists: no refusal of it may be taken for a no
        raise Failing(f"{order.name} was launched before, and cannot be looked up: {busy.message}") from busy
    if found:
        return qualified(region, found[0]["Instances"][0]["InstanceId"])
    raise RuntimeError(f"{order.name} was launched before and is not listed yet: {no.message}")


# ---- power -------------------------------------------------------------------------------------------


def start(account: Account, region: str, bare: str, known: Mapping[str, Any] | None) -> None:
    """Start a stopped machine. Its disk will outlive it again, whatever was decided before."""
    _disk_ends_with_it(account, region, bare, known, ours=frozenset(), ends=False)
    with answers():
        account.ec2_once(region).start_instances(InstanceIds=[bare])


def stop(account: Account, region: str, bare: str) -> None:
    with answers():
        account.ec2_once(region).stop_instances(InstanceIds=[bare])


def retype(account: Account, region: str, bare: str, offer: Offer, generation: int) -> None:
    """Give a stopped machine another type. The tags come last: they say that it was done."""
    told = {
        "moved": str(generation),
        "usd": str(offer.usd_per_hour),
        "gpu": offer.gpu,
        "scratch": _scratch(offer),
        "priced": _priced(offer),
    }
    with answers():
        account.ec2_once(region).modify_instance_attribute(
            InstanceId=bare, InstanceType={"Value": offer.instance_type}
        )
        account.ec2_once(region).create_tags(
            Resources=[bare],
            Tags=[{"Key": f"hotdesk:{key}", "Value": value} for key, value in told.items()],
        )


def end(
    account: Account,
    region: str,
    bare: str,
    known: Mapping[str, Any] | None,
    ours: frozenset[str],
    *,
    keep_disk: bool,
) -> None:
    """Terminate a machine; its disk stays or goes with it. One that is gone is ended already.

    Raises `Refused` (not-ready) for the seconds in which EC2 does not know a new machine's disks yet.
    """
    try:
        if known is None:
            with answers():
                known = account.ec2(region).describe_instances(InstanceIds=[bare])["Reservations"][0][
                    "Instances"
                ][0]
        if known["State"]["Name"] == "pending" and not keep_disk and not known.get("BlockDeviceMappings"):
            known = _with_its_disks(account, region, bare)
        if known["State"]["Name"] not in {"shutting-down", "terminated"}:
            _disk_ends_with_it(account, region, bare, known, ours, ends=not keep_disk)
        with answers():
            account.ec2_once(region).terminate_instances(InstanceIds=[bare])
    except Refused as no:
        if code(no.__cause__ or no) != "InvalidInstanceID.NotFound":
            raise


def _with_its_disks(account: Account, region: str, bare: str) -> Mapping[str, Any]:
    """A starting machine as it is now. EC2 names its disks a moment after the machine itself, and until then
    nothing can have them deleted with it: they would be left, and be taken for the desk's work."""
    with answers():
        [found] = account.ec2(region).describe_instances(InstanceIds=[bare])["Reservations"]
    machine: Mapping[str, Any] = found["Instances"][0]
    if machine["State"]["Name"] == "pending" and not machine.get("BlockDeviceMappings"):
        why = f"{bare} is starting, and its disks are not attached yet: ended now, it would leave them."
        raise Refused(Kind.NOT_READY, why, seconds=5)
    return machine


def _disk_ends_with_it(
    account: Account,
    region: str,
    bare: str,
    known: Mapping[str, Any] | None,
    ours: frozenset[str],
    *,
    ends: bool,
) -> None:
    """Have the desk's disks deleted with their machine, or not. Another's disk is left alone."""
    root = (known or {}).get("RootDeviceName")
    wrong = [
        mapping["DeviceName"]
        for mapping in (known or {}).get("BlockDeviceMappings", ())
        if mapping["Ebs"].get("DeleteOnTermination") is not ends
        and (mapping["DeviceName"] == root or mapping["Ebs"].get("VolumeId") in ours)
    ]
    if wrong:
        with answers():
            account.ec2_once(region).modify_instance_attribute(
                InstanceId=bare,
                BlockDeviceMappings=[
                    {"DeviceName": device, "Ebs": {"DeleteOnTermination": ends}} for device in wrong
                ],
            )


# ---- reaching it -------------------------------------------------------------------------------------


def describe(account: Account, region: str, bare: str) -> Mapping[str, Any]:
    with answers():
        found = account.ec2(region).describe_instances(InstanceIds=[bare])["Reservations"]
    machine: Mapping[str, Any] = found[0]["Instances"][0]
    return machine


def host_keys(account: Account, region: str, bare: str) -> list[str]:
    """The public host keys that a machine wrote on its console when it booted, as `type base64`.

    The console comes through AWS's own API and only root can write there, so that nobody between us and
    the machine can put in another key. Raises `Refused` (not-ready) until they are there.
    """
    keys = hostkeys.on_console(_console(account, region, bare))
    if not keys:
        raise Refused(Kind.NOT_READY, f"{bare} has not shown its host key on its console yet.", seconds=5)
    return keys


def _console(account: Account, region: str, bare: str) -> str:
    """What is on a machine's console now; of types before Nitro, what was there a while after it started."""
    ec2 = account.ec2(region)
    try:
        with answers():
            shown = ec2.get_console_output(InstanceId=bare, Latest=True)
    except Refused as no:
        if code(no.__cause__ or no) != "UnsupportedOperation":
            raise
        with answers():
            shown = ec2.get_console_output(InstanceId=bare)
    return str(shown.get("Output") or "")
