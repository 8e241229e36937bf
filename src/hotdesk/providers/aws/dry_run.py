"""Test with DryRun, which does nothing, whether AWS would refuse hotdesk's requests.

Each request is built by the same function as the real one, so that whatever would be refused then (for a
permission, or a character in a description) is refused here. Resources that do not exist yet are replaced by
placeholder ids.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from hotdesk.core.errors import OFFER_KINDS, Kind, Refused
from hotdesk.core.findings import Finding
from hotdesk.core.model import Desk, Disk, Image, Instance, Leftover, Market, Offer, Survey
from hotdesk.core.ports import KeyFiles
from hotdesk.core.steps import BakeOrder, LaunchOrder
from hotdesk.parallel import side_by_side
from hotdesk.providers.aws import exposure, images, instances, network
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.base_images import find_base
from hotdesk.providers.aws.errors import code, refusal
from hotdesk.providers.cloud.caller import Computer
from hotdesk.providers.cloud.ids import split

#: Placeholder ids of the right form.
_NOTHING = {"i": "i-0123456789abcdef0", "vol": "vol-0123456789abcdef0", "ami": "ami-0123456789abcdef0",
            "snap": "snap-0123456789abcdef0", "sg": "sg-0123456789abcdef0"}  # fmt: skip
_DENIED = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"})
#: Success: the request would have worked, or its resource exists already.
_WELL = frozenset({"DryRunOperation", "InvalidGroup.Duplicate", "InvalidKeyPair.Duplicate"})
#: A public key of the right form, where a desk has none yet.
_SAMPLE_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"

Request = dict[str, Any]


class Launcher(msgspec.Struct, frozen=True):
    """What a launch from this computer sends in addition to its order."""

    user_data: bytes
    computer: Computer
    owner: str


def refusals(
    account: Account,
    region: str,
    survey: Survey | None,
    *,
    desks: Sequence[Desk],
    keys: Sequence[KeyFiles],
    launcher: Launcher,
) -> Iterator[Finding]:
    """Findings on missing permissions, and on why a launch would be refused; tests own resources if any."""
    ec2 = account.ec2_once(region)
    order = _order(region, desks)
    launch, unready = _launch(account, order, keys, launcher)
    asked = [*launch, *_on_what_there_is(region, survey, order)]
    replies = side_by_side([_asking(ec2, operation, request) for operation, request in asked])
    noes = {number: no for number, no in enumerate(replies) if getattr(no, "response", None)}
    missing = {str(getattr(no, "operation_name", "")) for no in noes.values() if code(no) in _DENIED}  # type: ignore[arg-type]
    if missing:
        yield _bad(
            f"These credentials may not do: {', '.join(f'ec2:{action}' for action in sorted(missing))}.",
            f"Asked in {region} with DryRun, which does nothing.",
            "hotdesk iam   # prints the policy that hotdesk needs",
        )
    for number, no in noes.items():
        said = refusal(no) if number < len(launch) and isinstance(no, Exception) else None
        if said is None or not isinstance(no, Exception) or code(no) in _DENIED | _WELL:
            continue
        # Quotas have a check of their own.
        if said.kind not in {*OFFER_KINDS, Kind.THROTTLED} or said.fix:
            yield _would_refuse(region, said)
    if unready:
        yield _would_refuse(region, unready)


def _would_refuse(region: str, no: Refused) -> Finding:
    why = f"{no.message} Asked in {region} with the request of a launch, which made nothing."
    return _bad(f"A launch in {region} would be refused.", why, no.fix or "hotdesk up --dry-run")


def _bad(what: str, why: str, fix: str) -> Finding:
    return Finding(level="bad", what=what, why=why, fix=fix)


def _asking(ec2: Any, operation: str, request: Request) -> Callable[[], None]:
    return lambda: getattr(ec2, operation)(DryRun=True, **request)


# ---- what a launch sends -----------------------------------------------------------------------------


def _order(region: str, desks: Sequence[Desk]) -> LaunchOrder:
    """A launch order of a desk in that region, or of a small placeholder desk."""
    for desk in desks:
        for offer in desk.offers:
            if offer.region == region:
                want = desk.want
                return LaunchOrder(
                    desk=desk.name, born=desk.created_at, generation=1, attempt=0, offer=offer,
                    base_image=want.image, disk_gib=want.disk_gib,
                )  # fmt: skip
    small = Offer(provider="aws", region=region, zone="", instance_type="t3.micro", market=Market.ON_DEMAND)
    return LaunchOrder(desk="doctor", born=1.0, generation=1, attempt=0, offer=small)


def _launch(
    account: Account, order: LaunchOrder, keys: Sequence[KeyFiles], launcher: Launcher
) -> tuple[list[tuple[str, Request]], Refused | None]:
    """The requests of a launch, as far as they can be built; and the refusal if there is no image."""
    region = order.offer.region
    public = next((k.public for k in keys if k.desk == order.desk and k.public), _SAMPLE_KEY).strip()
    asked = [("import_key_pair", network.key_request(order, public))]
    try:
        subnet, vpc = network.find_subnet(account, region, order.offer.zone)
    except Refused:  # reported by the network check
        return asked, None
    groups = network.find_groups(account, region, network.GROUP, "default")
    here = {g["GroupName"]: g["GroupId"] for g in groups if g["VpcId"] == vpc}
    group = here.get(network.GROUP) or here.get("default", "")
    rule = {"GroupId": group or _NOTHING["sg"], "IpPermissions": [_rule(account, region, launcher)]}
    asked += [
        ("create_security_group", network.group_request(vpc)),
        ("create_security_group", exposure.group_request(vpc, order.desk, str(order.born))),
        ("authorize_security_group_ingress", rule),
    ]
    try:
        base = find_base(account, order)
    except Refused as no:
        named = order.base_image or order.image_id  # these images have a check of their own
        return asked, no if no.kind is Kind.BAD_REQUEST and not named else None
    request = instances.run_request(
        order, base, subnet=subnet, group=group, key=network.key_name(order.desk, public),
        user_data=launcher.user_data, owner=launcher.owner, computer=launcher.computer.name,
    )  # fmt: skip
    request["ClientToken"] = request["ClientToken"][::-1]  # a token in use would get that launch's answer
    imported = account.ec2(region).describe_key_pairs(
        Filters=[{"Name": "key-name", "Values": [request["KeyName"]]}]
    )
    if not imported["KeyPairs"]:  # a launch imports it first
        del request["KeyName"]
    return [*asked, ("run_instances", request)], None


def _rule(account: Account, region: str, launcher: Launcher) -> Request:
    """The ssh rule for this computer's address, or for an example address if it is unknown."""
    address = "203.0.113.7/32"
    with contextlib.suppress(Refused):  # a launch reports an unknown address
        address = network.callers_address(account, region)
    return network.rule_request(address, f"hotdesk: {launcher.computer.name}", network.SSH)


# ---- changes to existing resources -------------------------------------------------------------------


def _on_what_there_is(region: str, survey: Survey | None, order: LaunchOrder) -> list[tuple[str, Request]]:
    """The other requests for changes, on our own resources if there are any."""
    every: list[Instance | Disk | Image | Leftover] = []
    if survey:
        every = [*survey.instances, *survey.disks, *survey.images, *survey.leftovers]
    here = [split(t.id)[1] for t in every if t.region == region and "/" in t.id]

    def own(kind: str) -> str:
        return next((bare for bare in here if bare.startswith(f"{kind}-")), _NOTHING[kind])

    machine, disk, image = own("i"), own("vol"), own("ami")
    baked = BakeOrder(
        desk=order.desk, born=order.born, generation=1, attempt=0, source_id=f"{region}/{machine}",
        started_at=1.0, region=region,
    )  # fmt: skip
    made = images.image_tags(baked, {}, {"/dev/sda1": 64})
    asked: dict[str, Request] = {
        "revoke_security_group_ingress": {"GroupId": own("sg"), "IpPermissions": []},
        "delete_security_group": {"GroupId": own("sg")},
        "stop_instances": {"InstanceIds": [machine]},
        "start_instances": {"InstanceIds": [machine]},
        "terminate_instances": {"InstanceIds": [machine]},
        "modify_instance_attribute": {
            "InstanceId": machine, "InstanceInitiatedShutdownBehavior": {"Value": "stop"}
        },
        "create_image": images.image_request(baked, machine, made),
        "create_snapshot": images.snapshot_request(disk, "/dev/sda1", made),
        "deregister_image": {"ImageId": image},
        "delete_snapshot": {"SnapshotId": own("snap")},
        "delete_volume": {"VolumeId": disk},
    }  # fmt: skip
    return list(asked.items())
