"""Groups of equal machines: one launch template, and instant fleets that launch from it.

An instant fleet is one request for many machines out of several pools; what it launches is kept, what a pool
lacks stands in its reply, and it leaves nothing behind (EC2 user guide, "Configure an EC2 Fleet of type
instant"). A repeated order has the same token, and EC2 answers it with the same machines.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hotdesk
from hotdesk.core.errors import Failing, Kind, Refused
from hotdesk.core.fleet import FleetOrder, FleetReply, Launched, Shortage
from hotdesk.core.model import Market, Offer
from hotdesk.core.steps import LaunchOrder
from hotdesk.parallel import all_of
from hotdesk.providers.aws import instances, network, tags
from hotdesk.providers.aws.account import Account, pages
from hotdesk.providers.aws.base_images import BaseImage, find_base
from hotdesk.providers.aws.errors import CODES, GONE, answers, code
from hotdesk.providers.cloud import vocabulary
from hotdesk.providers.cloud.caller import Computer
from hotdesk.providers.cloud.holds import TaggedHolds
from hotdesk.providers.cloud.ids import qualified
from hotdesk.providers.cloud.refusals import SECONDS, SECONDS_ELSE, kind_of

#: Machines that may be launched at once in a region, and how many more each second: the bucket of
#: RunInstances (EC2 developer guide, "Request throttling for the Amazon EC2 API", resource token limits).
BURST = (1000, 2.0)
#: Ids in one TerminateInstances, and rows on one page of DescribeInstances (EC2 API reference).
PAGE = 1000
#: All ports of a cluster of Ray's, with those of its workers: see guest/ray_node.py.
PORTS = (6379, 6499)
GROUP = {"name": "hotdesk-fleet"}
SAID = "hotdesk: the machines of one cluster among themselves"
_TOLD = "hotdesk: from this group itself"
_OVERRIDES_MOST = 300  # of all templates of an instant fleet (EC2 user guide, "Quotas for EC2 Fleet")


def launch(account: Account, order: FleetOrder, template: str) -> FleetReply:
    """Launch what there is of the order, from its fleet's template."""
    region = order.region
    zones = sorted({offer.zone for offer in order.offers})
    found = instances.subnets_of(account, region, zones)
    subnets = {zone: subnet for zone, (subnet, _) in found.items()}
    with answers():
        told = account.ec2_once(region).create_fleet(**fleet_request(order, template, subnets))
    return read_reply(order, told, {subnet: zone for zone, subnet in subnets.items()})


def fleet_request(order: FleetOrder, template: str, subnets: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of CreateFleet. Equal orders must give equal arguments, or EC2 refuses the token."""
    spot = order.offers[0].market is Market.SPOT
    most = max(offer.usd_per_hour for offer in order.offers)
    told = vocabulary.of(
        order.fleet, order.name, market=order.offers[0].market.value, usd=str(most), held=order.held
    )
    strategy = "price-capacity-optimized" if spot else "lowest-price"
    return {
        "Type": "instant",
        "ClientToken": order.token,
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "1"},
                "Overrides": [
                    {"InstanceType": offer.instance_type, "SubnetId": subnets[offer.zone]}
                    for offer in order.offers[:_OVERRIDES_MOST]
                ],
            }
        ],
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": order.count,
            "DefaultTargetCapacityType": "spot" if spot else "on-demand",
        },
        "SpotOptions" if spot else "OnDemandOptions": {"AllocationStrategy": strategy},
        "TagSpecifications": tags.specifications(["fleet", "instance"], told),
    }


def read_reply(order: FleetOrder, told: Mapping[str, Any], zones: Mapping[str, str]) -> FleetReply:
    """EC2's answer as ours. Raises `Refused` where nothing was launched, and by no pool's fault."""
    by_pool = {(o.instance_type, o.zone): o for o in order.offers}

    def offers(raw: Mapping[str, Any]) -> list[Offer]:
        """The pools that a row is about."""
        said = (raw.get("LaunchTemplateAndOverrides") or {}).get("Overrides") or {}
        zone = zones.get(said.get("SubnetId", ""), said.get("AvailabilityZone", ""))
        found = by_pool.get((said.get("InstanceType") or raw.get("InstanceType", ""), zone))
        return [found] if found else []

    made = [
        Launched(id=qualified(order.region, bare), offer=(offers(row) or [order.offers[0]])[0])
        for row in told.get("Instances", ())
        for bare in row["InstanceIds"]
    ]
    short, other = {}, None
    for row in told.get("Errors", ()):
        why, said = str(row.get("ErrorCode") or ""), str(row.get("ErrorMessage") or "")
        kind = kind_of(why, 400, CODES, read_only=False) or Kind.BAD_REQUEST
        seconds = SECONDS.get(kind, SECONDS_ELSE)
        message = f"{said.rstrip('.')} ({why})"
        if kind is Kind.THROTTLED or not offers(row):
            other = Refused(kind, message, seconds=seconds)
            continue
        for offer in offers(row):
            short[offer.key] = Shortage(key=offer.key, kind=kind, message=message, seconds=seconds)
    if not made and not short and other:
        raise other
    return FleetReply(machines=tuple(made), shortages=tuple(short.values()))


# ---- the template ------------------------------------------------------------------------------------


def ensure_template(
    account: Account,
    order: FleetOrder,
    public_key: Path,
    user_data: bytes,
    who: Computer,
    *,
    owner: str,
    image: Mapping[str, Any] | None = None,
) -> str:
    """The fleet's launch template, with the network and the key that it names; made if it is not there."""
    region = order.region
    as_one = LaunchOrder(
        desk=order.desk, born=0.0, generation=1, attempt=0, offer=order.offers[0], image_id=order.image_id
    )
    zone = order.offers[0].zone
    instances.subnets_of(account, region, {offer.zone for offer in order.offers})  # all in one listing
    _, key, base = all_of(
        lambda: instances.network_of(account, region, zone, who, ()),  # this computer may log in
        lambda: network.ensure_key(account, region, as_one, public_key),
        lambda: find_base(account, as_one, image),
    )
    _, vpc = instances.subnets_of(account, region, [zone])[zone]
    groups = network.find_groups(account, region, network.GROUP, GROUP["name"])
    here = [g for g in groups if g["VpcId"] == vpc]
    desks = next(g for g in here if g["GroupName"] == network.GROUP)
    own = [g for g in here if g["GroupName"] == GROUP["name"]]
    cluster = network.ensure_group(account, region, vpc, own, told=GROUP, said=SAID)
    _let_itself_in(account, region, cluster)
    request = template_request(
        order, base, [desks["GroupId"], cluster["GroupId"]], key, user_data, owner=owner, computer=who.name
    )
    try:
        with answers():
            made = account.ec2_once(region).create_launch_template(**request)
        return str(made["LaunchTemplate"]["LaunchTemplateId"])
    except Refused as no:
        # Made before, perhaps by another version of hotdesk: what it says of the machines still holds.
        if code(no.__cause__ or no) not in {
            "InvalidLaunchTemplateName.AlreadyExistsException", "IdempotentParameterMismatch"
        }:  # fmt: skip
            raise
    with answers():
        asked = account.ec2(region).describe_launch_templates(LaunchTemplateNames=[order.name])
    return str(asked["LaunchTemplates"][0]["LaunchTemplateId"])


def _let_itself_in(account: Account, region: str, group: network.Group) -> None:
    """One rule: the cluster's ports, from the group itself."""
    first, last = PORTS
    pairs = [
        pair["GroupId"]
        for rule in group.get("IpPermissions", ())
        if (rule.get("FromPort"), rule.get("ToPort")) == (first, last)
        for pair in rule.get("UserIdGroupPairs", ())
    ]
    if group["GroupId"] in pairs:
        return
    rule = {
        "IpProtocol": "tcp",
        "FromPort": first,
        "ToPort": last,
        "UserIdGroupPairs": [{"GroupId": group["GroupId"], "Description": _TOLD}],
    }
    try:
        with answers():
            account.ec2_once(region).authorize_security_group_ingress(
                GroupId=group["GroupId"], IpPermissions=[rule]
            )
    except Refused as no:
        if code(no.__cause__ or no) != "InvalidPermission.Duplicate":
            raise


def template_request(
    order: FleetOrder,
    base: BaseImage,
    groups: Sequence[str],
    key: str,
    user_data: bytes,
    *,
    owner: str,
    computer: str,
) -> dict[str, Any]:
    """The arguments of CreateLaunchTemplate.

    Whatever ends a machine ends its disks too: they hold no work. A machine that turns itself off, because
    its lease has run out, is terminated.
    """
    told = vocabulary.of(
        order.fleet,
        order.name,
        of=order.desk,
        goal="running",
        owner=owner,
        user=base.user,
        arch=base.arch,
        keys=base.keys,
        computer=computer,
        version=hotdesk.__version__,
    )
    disks = [
        {"DeviceName": device, "Ebs": instances.disk(gib, stays=False)}
        for device, gib in ((base.root, base.size_gib), *base.more)
    ]
    kinds = ["instance", "volume", "network-interface", "spot-instances-request"]
    return {
        "LaunchTemplateName": order.name,
        "ClientToken": hashlib.sha256(f"{order.fleet} {order.image_id}".encode()).hexdigest()[:24],
        "TagSpecifications": tags.specifications(["launch-template"], told),
        "LaunchTemplateData": {
            "ImageId": base.id,
            "KeyName": key,
            "NetworkInterfaces": [instances.interface(groups)],
            "BlockDeviceMappings": disks,
            "MetadataOptions": {**instances.METADATA},
            "InstanceInitiatedShutdownBehavior": "terminate",
            "UserData": base64.b64encode(user_data).decode("ascii"),
            "TagSpecifications": tags.specifications(kinds, told),
        },
    }


# ---- looking and ending ------------------------------------------------------------------------------


def look(account: Account, fleet: str, region: str) -> list[dict[str, Any]]:
    """The fleet's machines, as EC2 describes them."""
    mine = [{"Name": "tag:hotdesk:desk", "Values": [fleet]}]
    rows = pages(account.ec2(region), "describe_instances", "Reservations", Filters=mine, MaxResults=PAGE)
    return [dict(one) for row in rows for one in row["Instances"]]


def end(account: Account, region: str, ids: Collection[str]) -> None:
    """Terminate these instances; those that EC2 does not know any more are gone already."""
    left = sorted(ids)
    while left:
        part = left[:PAGE]
        try:
            with answers():
                account.ec2_once(region).terminate_instances(InstanceIds=part)
            left = left[PAGE:]
        except Refused as no:
            # One unknown id refuses them all (EC2 API reference, TerminateInstances).
            if code(no.__cause__ or no) != "InvalidInstanceID.NotFound":
                raise
            unknown = {*re.findall(r"i-[0-9a-f]+", no.message)} & {*part}
            if not unknown:
                raise Failing(f"EC2 terminated none of {len(part)} machines: {no.message}") from no
            left = [bare for bare in left if bare not in unknown]


def clear(account: Account, fleet: str, region: str) -> None:
    """Delete the fleet's template. Its groups stay, as desks' do: they cost nothing."""
    name = f"hotdesk-{fleet}"
    try:
        with answers():
            account.ec2_once(region).delete_launch_template(LaunchTemplateName=name)
    except Refused as no:
        if code(no.__cause__ or no) not in GONE:
            raise


# ---- which computer goes on with it ------------------------------------------------------------------


@dataclass(frozen=True)
class Holds(TaggedHolds):
    account: Account

    def image_tags(self, region: str, image: str) -> Mapping[str, str] | None:
        with answers():
            told = self.account.ec2(region).describe_images(ImageIds=[image])
        return tags.read(told["Images"][0].get("Tags")) if told["Images"] else None

    def tag_image(self, region: str, image: str, key: str, value: str) -> None:
        with answers():
            self.account.ec2_once(region).create_tags(Resources=[image], Tags=[{"Key": key, "Value": value}])

    def untag_image(self, region: str, image: str, tags: Mapping[str, str]) -> None:
        removed = [{"Key": key, "Value": value} for key, value in tags.items()]
        with answers():
            self.account.ec2(region).delete_tags(Resources=[image], Tags=removed)

    def tag_machines(self, region: str, ids: Sequence[str], key: str, value: str) -> None:
        ec2, left = self.account.ec2_once(region), [*ids]
        while left:
            part, left = left[:PAGE], left[PAGE:]  # (EC2 API reference, CreateTags: up to 1,000 resources)
            try:
                with answers():
                    ec2.create_tags(Resources=part, Tags=[{"Key": key, "Value": value}])
            except Refused as no:
                if code(no.__cause__ or no) != "InvalidInstanceID.NotFound":
                    raise
                unknown = {*re.findall(r"i-[0-9a-f]+", no.message)} & {*part}
                if not unknown:
                    raise
                left = [*(id_ for id_ in part if id_ not in unknown), *left]
