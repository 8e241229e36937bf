"""Find leftovers in an account that no survey shows, for `hotdesk gc`.

A survey reads the resources of desks. This reads the rest: addresses, spot requests and launch templates with
our tag; and untagged snapshots and disks that come from our resources (a snapshot that CreateImage made of
our instance, a disk made from our snapshot), which cost money without a name. Resources that only have a name
like ours, or other tags but not the mark, are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from hotdesk.core.model import Leftover, Survey
from hotdesk.core.money import Amount
from hotdesk.core.spot.prices import Storing
from hotdesk.parallel import side_by_side
from hotdesk.providers.aws import tags
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.errors import answers
from hotdesk.providers.aws.saved import time_of
from hotdesk.providers.aws.settings import NAME
from hotdesk.providers.aws.survey import StoragePrice
from hotdesk.providers.cloud import vocabulary
from hotdesk.providers.cloud.ids import qualified, split

FILTER_VALUES = 200  # the most in one filter; else FilterLimitExceeded
ADDRESS_USD = 0.005 * 730  # a month, in use or not (since February 2024)
_MADE_BY_IMAGE = re.compile(r"Created by CreateImage\((i-[0-9a-f]+)\)(?: for (ami-[0-9a-f]+))?")


def sweep(
    account: Account,
    regions: Iterable[str],
    survey: Survey,
    storage: StoragePrice,
    kinds: Mapping[str, frozenset[str]] = {},
) -> tuple[list[Leftover], list[str]]:
    """Return leftovers that no survey shows, and the regions that did not answer.

    `kinds`: what has our tag in a region, where DescribeTags was just asked. What is listed by its tag need
    not be listed where no tag is.
    """
    regions = list(regions)
    found: list[Leftover] = []
    unread = []
    replies = side_by_side(
        [_region(account, region, survey, storage(region), kinds.get(region, _TAGGED)) for region in regions]
    )
    for region, reply in zip(regions, replies, strict=True):
        if isinstance(reply, Exception):
            unread.append(region)
        else:
            found += reply
    return found, unread


#: What is listed by our tag, and by nothing else here.
_TAGGED = frozenset({"elastic-ip", "spot-instances-request", "launch-template"})


def _region(
    account: Account, region: str, survey: Survey, stored: Storing, kinds: frozenset[str]
) -> Callable[[], list[Leftover]]:
    def ask() -> list[Leftover]:
        ec2 = account.ec2(region)

        def pages(operation: str, key: str, **more: Any) -> list[Any]:
            with answers():
                if not ec2.can_paginate(operation):
                    return list(getattr(ec2, operation)(**more)[key])
                return [
                    x for page in ec2.get_paginator(operation).paginate(**more) for x in page.get(key, ())
                ]

        def listed(operation: str, key: str, kind: str) -> list[Any]:
            return pages(operation, key, Filters=tags.OURS) if kind in kinds else []

        left = []
        for raw in listed("describe_addresses", "Addresses", "elastic-ip"):
            why = "an address that hotdesk does not use"
            left.append(_left(region, raw["AllocationId"], "address", raw, why, usd=ADDRESS_USD))
        for raw in listed(
            "describe_spot_instance_requests", "SpotInstanceRequests", "spot-instances-request"
        ):
            if raw.get("Type") == "persistent" and raw["State"] in {"open", "active", "disabled"}:
                why = "it would launch machines again by itself; hotdesk makes no such requests"
                left.append(_left(region, raw["SpotInstanceRequestId"], "spot request", raw, why))
        for raw in listed("describe_launch_templates", "LaunchTemplates", "launch-template"):
            why = "what a sweep's machines were launched from (it costs nothing)"
            left.append(_left(region, raw["LaunchTemplateId"], "launch template", raw, why))
        return left + _descended(region, pages, survey, stored)

    return ask


def _descended(
    region: str, pages: Callable[..., list[Any]], survey: Survey, stored: Storing
) -> list[Leftover]:
    """Snapshots and disks without any tag that come from resources with ours."""
    machines = {split(i.id)[1]: i for i in survey.instances if i.region == region and not survey.is_others(i)}
    images = {split(i.id)[1] for i in survey.images if i.region == region}
    desks = {split(x.id)[1]: x.desk for x in survey.leftovers if x.kind == "snapshot" and x.region == region}
    left = []
    if machines:
        of_images = [{"Name": "description", "Values": ["Created by CreateImage(*"]}]
        for raw in pages("describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=of_images):
            made = _MADE_BY_IMAGE.match(raw.get("Description") or "")
            if made is None or raw.get("Tags") or made[1] not in machines or made[2] in images:
                continue  # somebody else's, or tagged by its owner
            machine = machines[made[1]]
            why = f"an untagged snapshot of our machine {made[1]}, whose image is gone"
            usd = float(raw.get("VolumeSize", 0)) * stored.image_usd_per_gib_month
            found = _left(region, raw["SnapshotId"], "snapshot", raw, why, usd=usd, told=stored.told_per_usd)
            # Which start it shows is unknown; it cannot be later than the last one.
            of = {"machine": machine.name, "started_at": machine.started_at}
            left.append(replace(found, desk=machine.desk, generation=machine.generation, **of))
            desks[raw["SnapshotId"]] = machine.desk
    ids = sorted(desks)
    for first in range(0, len(ids), FILTER_VALUES):
        asked = [
            {"Name": "snapshot-id", "Values": ids[first : first + FILTER_VALUES]},
            {"Name": "status", "Values": ["available"]},
        ]
        for raw in pages("describe_volumes", "Volumes", Filters=asked):
            if not raw.get("Tags"):
                why = f"an untagged disk made of our snapshot {raw['SnapshotId']}, in use by nothing"
                usd = raw["Size"] * stored.disk_usd_per_gib_month
                found = _left(region, raw["VolumeId"], "disk", raw, why, usd=usd, told=stored.told_per_usd)
                # It may hold newer work than its snapshot: count it as the newest generation.
                left.append(replace(found, desk=desks[raw["SnapshotId"]], generation=10**9))
    return left


def _left(
    region: str,
    bare: str,
    kind: str,
    raw: Any,
    why: str,
    *,
    usd: float = 0.0,
    told: Amount | None = None,
) -> Leftover:
    tagged = tags.read(raw.get("Tags"))
    made = raw.get("CreateTime") or raw.get("StartTime")
    return Leftover(
        id=qualified(region, bare), kind=kind, provider=NAME, region=region, desk=tagged.get("desk", ""),
        owner=tagged.get("owner", ""),
        generation=vocabulary.generation(tagged), usd_per_month=usd, told_per_usd=told,
        made_at=time_of(made), why=why,
    )  # fmt: skip
