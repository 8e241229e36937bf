"""Launch, start, stop and terminate instances, and read their host keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import hotdesk
from hotdesk.core.errors import Failing, Kind, Refused
from hotdesk.core.model import Market, Offer
from hotdesk.core.pricelist import is_shipped
from hotdesk.core.steps import LaunchOrder
from hotdesk.parallel import all_of
from hotdesk.providers.aws import disks, inventory, network, placeholders, quotas, reservations, scopes, tags
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.base_images import BaseImage, find_base
from hotdesk.providers.aws.errors import answers, code
from hotdesk.providers.cloud import hostkeys, price, vocabulary
from hotdesk.providers.cloud.caller import Computer
from hotdesk.providers.cloud.ids import qualified, split
from hotdesk.providers.cloud.kept import HOUR
from hotdesk.providers.cloud.vocabulary import Tags

#: Minimum disk for a base image, which is often full: Python packages for deep learning need this much.
BASE_DISK_GIB = 64

#: The metadata service asks for a token, which a program that is talked into fetching a URL does not have.
METADATA = MappingProxyType(
    {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1}
)
#: EC2's words for a subnet or a base image that was there when it was last asked for.
_GONE = frozenset({"InvalidSubnetID.NotFound", "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"})


def launch(
    account: Account,
    order: LaunchOrder,
    public_key: Path,
    user_data: bytes,
    who: Computer,
    *,
    owner: str,
    new: bool = False,
    image: Mapping[str, Any] | None = None,
    here: Mapping[str, Sequence[Any]] = {},
) -> str:
    """Launch exactly one instance of this order, with its network, key and image; return its id.

    In a region that is `new` to this computer, check first that it can be surveyed: an instance that no
    survey shows would be billed unseen. `image` is the desk's own, and `here` the region's keys and groups,
    as a survey of just now has them. What seldom changes (the default subnet and image) is asked once an
    hour. Where EC2 says that it is gone, it is asked anew and the launch sent once more: under the same
    token, which a request that was refused has not used up (and if it had, EC2 would say so).
    """
    offer = order.offer
    region = offer.region
    if order.image_id:  # check it before anything is made
        split(order.image_id)
    may_be_gone = account.recalled.has(f"/{region}/")

    def send(new: bool, image: Mapping[str, Any] | None) -> str:
        try:
            _, (subnet, group), key, base, _ = all_of(
                lambda: account.ec2_once(region),
                lambda: network_of(account, region, offer.zone, who, here.get("groups", ())),
                lambda: network.ensure_key(account, region, order, public_key, here.get("keys", ())),
                lambda: _base(account, order, image),
                lambda: inventory.may_read(account, region) if new else None,
            )
        except Refused as no:
            raise scopes.of_its_surroundings(no, order) from no.__cause__
        request = run_request(
            order,
            base,
            subnet=subnet,
            group=group,
            key=key,
            user_data=user_data,
            owner=owner,
            computer=who.name,
        )
        try:
            with answers():
                made = account.ec2_once(region).run_instances(**request)
        except Refused as no:
            why = code(no.__cause__ or no)
            account.recalled.drop(f"/{region}/")
            if why == "IdempotentParameterMismatch":
                return _earlier(account, order, no)
            if order.initialization_rate and "nitialization" in no.message:  # 5,000 MiB/s per region at most
                again = f"hotdesk resume {order.desk}   # without --initialization-rate: loaded lazily"
                raise Refused(Kind.BAD_REQUEST, no.message, fix=again, seconds=no.seconds) from no
            if no.kind is Kind.QUOTA:
                no = quotas.explained(account, order, no)
            no = reservations.refused(no, offer.reservation)
            raise scopes.of_the_launch(no, why, order.offer) from no.__cause__
        return qualified(region, made["Instances"][0]["InstanceId"])

    try:
        return send(new, image)
    except Refused as no:
        if not (may_be_gone and not order.image_id and code(no.__cause__ or no) in _GONE):
            raise
    return send(False, None)


def _base(account: Account, order: LaunchOrder, image: Mapping[str, Any] | None) -> BaseImage:
    """The image to launch from; the newest default one is kept for an hour."""
    if order.image_id or order.base_image:
        return find_base(account, order, image)
    key = f"image/{account.who}/{order.offer.region}/{order.offer.instance_type}"
    key += "/placeholder" if order.placeholder else ""
    found: BaseImage = account.recalled.of(key, HOUR, BaseImage, lambda: find_base(account, order))
    return found


def subnets_of(account: Account, region: str, zones: Collection[str]) -> dict[str, tuple[str, str]]:
    """Subnet and VPC to launch into, by zone; asked once an hour, and once for all zones."""
    own = account.settings
    listed = cache(lambda: network.list_subnets(account, region))

    def find(zone: str) -> tuple[str, str]:
        return network.find_subnet(account, region, zone, listed())

    found: dict[str, tuple[str, str]] = {}
    for zone in sorted(zones):
        key = f"subnet/{account.who}/{region}/{zone}/{own.vpc}/{own.subnet}"
        found[zone] = account.recalled.of(key, HOUR, tuple[str, str], partial(find, zone))
    return found


def network_of(
    account: Account, region: str, zone: str, who: Computer, known: Sequence[network.Group]
) -> tuple[str, str]:
    """Subnet and security group for a zone; the group admits the caller. `known`: groups as just listed."""
    (subnet, vpc), cidr = all_of(
        lambda: subnets_of(account, region, [zone])[zone],
        lambda: network.callers_address(account, region),
    )
    groups = [g for g in known if g["GroupName"] == network.GROUP and g["VpcId"] == vpc]
    group = network.ensure_group(account, region, vpc, groups or network.find_groups(account, region))
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
    """The arguments of RunInstances. Equal orders must give equal arguments, or EC2 refuses the token."""
    offer, spot = order.offer, order.offer.market is Market.SPOT
    told = vocabulary.of(
        order.desk,
        order.name,
        generation=order.generation,
        born=order.born,
        attempt=order.attempt,
        owner=owner,
        goal="running",
        role=placeholders.ROLE if order.placeholder else "",
        market=offer.market.value,
        **_price(offer),
        priced=_priced(offer),
        ends=f"{offer.ends_at:.0f}" if offer.ends_at else "",
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
    least = 0 if order.image_id or order.placeholder else BASE_DISK_GIB
    size = max(base.size_gib, order.disk_gib or least)
    rate = order.initialization_rate
    parts = [(base.root, size), *base.more]
    disks = [{"DeviceName": device, "Ebs": disk(gib, stays=True, rate=rate)} for device, gib in parts]
    request: dict[str, Any] = {
        "ImageId": base.id,
        "InstanceType": offer.instance_type,
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": order.token,
        "KeyName": key,
        "NetworkInterfaces": [interface([group]) | {"SubnetId": subnet}],
        "BlockDeviceMappings": disks,
        "MetadataOptions": {**METADATA},
        "InstanceInitiatedShutdownBehavior": "terminate" if spot else "stop",
        "UserData": user_data,
        "TagSpecifications": tags.specifications(kinds, told),
    }
    request |= reservations.of(offer)
    if spot:  # without MaxPrice: the on-demand price is the limit, and a lower one only interrupts earlier
        options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        request["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
    return placeholders.of(request) if order.placeholder else request


def _price(offer: Offer) -> Tags:
    """The price at the launch, as tags: US dollars, or the price in another currency as it was told."""
    return {"price": str(price.of(offer))} if offer.told_per_hour else {"usd": str(offer.usd_per_hour)}


def _priced(offer: Offer) -> str:
    """The date of a price that is not from AWS itself, as a tag's value."""
    return str(offer.price_time) if is_shipped(offer.source) and offer.price_time else ""


def _scratch(offer: Offer) -> str:
    return f"{offer.scratch_gib:.0f}" if offer.scratch_gib else ""


def disk(size_gib: int, *, stays: bool, rate: int = 0) -> dict[str, Any]:
    """A disk. One that `stays` outlives its instance, however that ends, unless `end` decides otherwise.

    `rate`: MiB/s at which it is initialized from its snapshot; 0: lazily, block by block.
    """
    load = {"VolumeInitializationRate": rate} if rate else {}
    return {
        "VolumeType": "gp3",
        "Encrypted": True,
        "VolumeSize": size_gib,
        "DeleteOnTermination": not stays,
        **load,
    }


def interface(groups: Sequence[str]) -> dict[str, Any]:
    """An address of its own on the internet, in these security groups."""
    return {
        "DeviceIndex": 0,
        "Groups": [*groups],
        "AssociatePublicIpAddress": True,
        "DeleteOnTermination": True,
    }


def _earlier(account: Account, order: LaunchOrder, no: Refused) -> str:
    """The instance that this token launched before, with other arguments (an older base image, say)."""
    region = order.offer.region
    mine = [{"Name": "tag:hotdesk:name", "Values": [order.name]}]
    try:
        with answers():
            found = account.ec2(region).describe_instances(Filters=mine)["Reservations"]
    except (
        Refused
    ) as busy:  # an instance of this order exists, so this must not count as a refusal of the launch
        raise Failing(f"{order.name} was launched before, and cannot be looked up: {busy.message}") from busy
    if found:
        return qualified(region, found[0]["Instances"][0]["InstanceId"])
    raise RuntimeError(f"{order.name} was launched before and is not listed yet: {no.message}")


# ---- power -------------------------------------------------------------------------------------------


def start(account: Account, region: str, bare: str, known: Mapping[str, Any] | None) -> None:
    """Start a stopped instance. Its disk outlives it again, whatever was set before."""
    _disk_ends_with_it(account, region, bare, known, ours=frozenset(), ends=False)
    try:
        with answers():
            account.ec2_once(region).start_instances(InstanceIds=[bare])
    except Refused as no:
        raise reservations.refused(no, reservations.of_instance(known or {})) from no.__cause__


def stop(account: Account, region: str, bare: str) -> None:
    with answers():
        account.ec2_once(region).stop_instances(InstanceIds=[bare])


def retype(account: Account, region: str, bare: str, offer: Offer, generation: int) -> None:
    """Change the type of a stopped instance. The tags are written last, as a record that it was done."""
    told = {
        "moved": str(generation),
        **_price(offer),
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


def grow(account: Account, region: str, bare: str, gib: int) -> None:
    """Make the root volume of an instance this big; idempotent. EC2 allows it once in six hours a volume."""
    with answers():
        known = describe(account, region, bare)
        volume = disks.root_volume(known)
        [found] = account.ec2(region).describe_volumes(VolumeIds=[volume])["Volumes"]
        if found["Size"] < gib:
            account.ec2_once(region).modify_volume(VolumeId=volume, Size=gib)


def end(
    account: Account,
    region: str,
    bare: str,
    known: Mapping[str, Any] | None,
    ours: frozenset[str],
    *,
    keep_disk: bool,
) -> None:
    """Terminate an instance; its disk stays or is deleted with it. Idempotent.

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
    """Describe a starting instance again, to learn its disks. Raises `Refused` (not-ready) until then.

    EC2 lists the disks a moment after the instance. Terminated before that, it would leave them, and they
    would be taken for the desk's work.
    """
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
    """Set whether the desk's disks are deleted with their instance. Other disks are left alone."""
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


# ---- access ------------------------------------------------------------------------------------------


def describe(account: Account, region: str, bare: str) -> Mapping[str, Any]:
    with answers():
        found = account.ec2(region).describe_instances(InstanceIds=[bare])["Reservations"]
    machine: Mapping[str, Any] = found[0]["Instances"][0]
    return machine


def host_keys(account: Account, region: str, bare: str) -> list[str]:
    """The public host keys that an instance printed on its console at boot, as `type base64`.

    The console is read through AWS's API and only root can write to it, so a man in the middle cannot insert
    another key. Raises `Refused` (not-ready) until they are there.
    """
    keys = hostkeys.on_console(_console(account, region, bare))
    if not keys:
        raise Refused(Kind.NOT_READY, f"{bare} has not shown its host key on its console yet.", seconds=5)
    return keys


def _console(account: Account, region: str, bare: str) -> str:
    """An instance's latest console output; for types before Nitro, that of some minutes after its start."""
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
