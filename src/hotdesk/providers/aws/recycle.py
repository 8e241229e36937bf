"""List deleted resources of ours in AWS's Recycle Bin, which are billed until their retention ends.

A retention rule of the account (often made by an administrator for the whole organisation) keeps deregistered
images and deleted snapshots and disks; they are billed as before, and cannot be deleted earlier (EBS user
guide, "Recycle Bin"). They are listed without their tags.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from hotdesk.core.model import Retained
from hotdesk.parallel import side_by_side
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.errors import answers
from hotdesk.providers.aws.saved import time_of
from hotdesk.providers.cloud.ids import qualified, split

#: Kinds of resources: the operation, the answer's list, a row's id, and our name for it.
_KINDS = (
    ("list_images_in_recycle_bin", "Images", "ImageId", "image"),
    ("list_snapshots_in_recycle_bin", "Snapshots", "SnapshotId", "snapshot"),
    ("list_volumes_in_recycle_bin", "Volumes", "VolumeId", "disk"),
)
_IDS = re.compile(r"\b(?:ami|i|vol|snap)-[0-9a-f]+\b")


def retained(
    account: Account, regions: Iterable[str], ids: Collection[str], *, named: bool
) -> tuple[list[Retained], list[str]]:
    """The retained resources among these ids, and the regions that could not be read.

    `named`: also those that are ours by their name or description.
    """
    regions = sorted(set(regions))
    bare = frozenset(split(i)[1] for i in ids if "/" in i)
    replies = side_by_side([lambda r=r: _region(account, r, bare, named) for r in regions])  # type: ignore[misc]
    found: list[Retained] = []
    unread = []
    for region, reply in zip(regions, replies, strict=True):
        if isinstance(reply, Exception):
            unread.append(region)
        else:
            found += reply
    return found, unread


def _region(account: Account, region: str, ids: frozenset[str], named: bool) -> list[Retained]:
    found = []
    for operation, key, name, kind in _KINDS:
        for raw in _pages(account, region, operation, key):
            told = f"{raw.get('Name') or ''} {raw.get('Description') or ''}".strip()
            mentioned = {raw[name], raw.get("SnapshotId"), raw.get("VolumeId"), *_IDS.findall(told)}
            ours = told.startswith(("hotdesk-", "hotdesk: "))
            if mentioned & ids or (named and ours):
                until = time_of(raw.get("RecycleBinExitTime"))
                found.append(Retained(id=qualified(region, raw[name]), kind=kind, region=region, until=until))
                ids |= {raw[name]}  # a snapshot's description names its image
    return found


def _pages(account: Account, region: str, operation: str, key: str) -> list[Any]:
    call = getattr(account.ec2(region), operation, None)
    if call is None:  # a boto3 from before the Recycle Bin kept disks
        return []
    rows: list[Any] = []
    page: dict[str, Any] = {}
    while True:
        with answers():
            told = call(**page)
        rows += told.get(key, ())
        if not told.get("NextToken"):
            return rows
        page["NextToken"] = told["NextToken"]
