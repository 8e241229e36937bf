"""Find leftovers that no survey shows, for `hotdesk gc`: networks, and what is in regions that look empty."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from hotdesk.core.model import Leftover, Survey
from hotdesk.parallel import side_by_side
from hotdesk.providers.aliyun import inventory, tags
from hotdesk.providers.aliyun.account import Account
from hotdesk.providers.aliyun.settings import NAME
from hotdesk.providers.aliyun.survey import StoragePrice, leftovers
from hotdesk.providers.cloud.ids import qualified


def sweep(
    account: Account, regions: Iterable[str], survey: Survey, storage: StoragePrice
) -> tuple[list[Leftover], list[str]]:
    """Leftovers that no survey shows, and the regions that did not answer."""
    regions = list(regions)
    known = {thing.id for thing in survey.leftovers}
    used = {i.region for i in survey.instances}
    found: list[Leftover] = []
    unread = []
    asked = [partial(_region, account, region, storage, in_use=region in used) for region in regions]
    for region, reply in zip(regions, side_by_side(asked), strict=True):
        if isinstance(reply, Exception):
            unread.append(region)
        else:
            found += [thing for thing in reply if thing.id not in known]
    return found, unread


def _region(account: Account, region: str, storage: StoragePrice, *, in_use: bool) -> list[Leftover]:
    there = inventory.read(account, region)
    left = leftovers(there, storage(region))
    if in_use:
        return left
    numbered = {"of": "vpc", "Tag": tags.OURS, "PageNumber": 1, "PageSize": 50}
    switches = account.pages(region, "DescribeVSwitches", "VSwitches", "VSwitch", **numbered)  # type: ignore[arg-type]
    vpcs = account.pages(region, "DescribeVpcs", "Vpcs", "Vpc", **numbered)  # type: ignore[arg-type]
    rows = [(str(s["VSwitchId"]), "vSwitch") for s in switches]
    rows += [(str(v["VpcId"]), "VPC") for v in vpcs]
    return left + [
        Leftover(
            id=qualified(region, id_),
            kind=kind,
            provider=NAME,
            region=region,
            why=f"a {kind} that no machine uses (it costs nothing)",
        )
        for id_, kind in rows
    ]
