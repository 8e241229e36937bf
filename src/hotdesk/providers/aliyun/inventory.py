"""List all hotdesk resources in all regions.

Most regions hold nothing of ours, and three requests show that (ListTagResources); regions where it finds
something, or where this computer has created something, take five, and three of them while the other two are
remembered. All regions are read concurrently.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from hotdesk.core.errors import Kind, Refused
from hotdesk.parallel import all_of
from hotdesk.providers.aliyun import base_images, network, tags
from hotdesk.providers.aliyun.account import Account
from hotdesk.providers.aliyun.errors import PASSED, code
from hotdesk.providers.cloud.ids import split

#: How long a deleted resource may still be listed; the process that deleted it leaves it out so long.
LINGERS_SECONDS = 120.0

#: How long a process does not read snapshots and groups again, which change only by what it does itself, and
#: does not ask again a region that holds nothing: that takes three requests each time.
QUIET_SECONDS = 120.0

#: A listing that was asked for so short a time before a look is that look's own.
GLIMPSE_SECONDS = 2.0
PAGE = 100  # the most rows of one answer

Raw = Mapping[str, Any]


class Found(NamedTuple):
    """The raw answers of one region."""

    region: str
    instances: Sequence[Raw]
    disks: Sequence[Raw]
    images: Sequence[Raw]
    snapshots: Sequence[Raw]
    groups: Sequence[Raw]
    rules: Mapping[str, Sequence[Raw]] = {}  # for Jupyter's port, by security group

    @property
    def is_empty(self) -> bool:
        return not any((self.instances, self.disks, self.images, self.snapshots, self.groups))

    def without(self, deleted: Mapping[str, float], now: float) -> Found:
        """The same without what was deleted moments ago, and may still be listed."""

        def there(rows: Sequence[Raw], key: str) -> list[Raw]:
            return [r for r in rows if not 0 <= now - deleted.get(str(r[key]), -1e9) < LINGERS_SECONDS]

        return self._replace(
            disks=there(self.disks, "DiskId"),
            images=there(self.images, "ImageId"),
            snapshots=there(self.snapshots, "SnapshotId"),
        )


class Memory:
    """Snapshots and security groups by region, which a process reads again only after `QUIET_SECONDS`.

    They change only by what a process does itself: it forgets a region before that. What a process before it
    did is listed `lag_seconds` after the first look, and no older answer stands from then on.
    """

    def __init__(self, lag_seconds: float = 0.0) -> None:
        self.lag_seconds = lag_seconds
        self._first: dict[str, float] = {}  # when each region was first read
        self._read: dict[str, tuple[float, Found]] = {}
        self._glimpsed: dict[tuple[str, str], tuple[float, list[Any]]] = {}

    def forget(self, region: str) -> None:
        self._read.pop(region, None)

    @contextlib.contextmanager
    def forgotten_unless_done(self, region: str) -> Iterator[None]:
        """While something is deleted with all that belongs to it: then what is gone is known by its id."""
        known = self._read.pop(region, None)
        yield
        if known:
            self._read[region] = known

    def glimpsed(self, region: str, kind: str, rows: list[Any], now: float) -> None:
        """All machines or images of a region, which were listed while one of them was waited for."""
        self._glimpsed[region, kind] = now, rows

    def glimpse(self, region: str, kind: str, now: float) -> list[Any] | None:
        """What was listed this moment, once: the look that follows a wait is the answer that ended it."""
        at, rows = self._glimpsed.pop((region, kind), (-GLIMPSE_SECONDS, None))
        return rows if 0 <= now - at < GLIMPSE_SECONDS else None

    def is_crowded(self, region: str) -> bool:
        """Whether all machines of a region, or all images, are more than one page, as last read."""
        found = self._read.get(region, (0.0, None))[1]
        return found is not None and max(len(found.instances), len(found.images)) >= PAGE

    def of(self, region: str, now: float) -> Found | None:
        at, found = self._read.get(region, (0.0, None))
        listed = self._first.setdefault(region, now) + self.lag_seconds
        stands = 0 <= now - at < QUIET_SECONDS and not at < listed <= now
        return found if found and stands else None

    def keep(self, found: Found, now: float) -> None:
        self._read[found.region] = now, found


def read(account: Account, region: str, memory: Memory | None = None, now: float = 0.0) -> Found:
    """Everything of ours in a region."""
    known = memory.of(region, now) if memory else None
    questions = _questions(account, region)
    for place, kind in ((0, "i"), (2, "m")):
        if memory and (rows := memory.glimpse(region, kind, now)) is not None:
            questions[place] = partial(list, rows)
    if known:
        instances, disks, images = all_of(*questions[:3])
        return known._replace(instances=instances, disks=disks, images=images)
    found = _with_rules(account, Found(region, *all_of(*questions)))
    if memory:
        memory.keep(found, now)
    return found


def _with_rules(account: Account, found: Found) -> Found:
    region = found.region
    open_ones = [g for g in found.groups if g["SecurityGroupName"] not in {network.NAME, network.FLEET}]
    if not open_ones:
        return found
    ids = [str(g["SecurityGroupId"]) for g in open_ones]
    asked = all_of(*(_rules(account, region, id_) for id_ in ids))
    return found._replace(rules=dict(zip(ids, asked, strict=True)))


def _rules(account: Account, region: str, group: str) -> Callable[[], Sequence[Raw]]:
    return lambda: network.rules(account, region, group, network.NOTEBOOK)


def _questions(account: Account, region: str) -> list[Callable[[], list[Any]]]:
    return [
        lambda: _machines(account, region),
        lambda: account.pages(region, "DescribeDisks", "Disks", "Disk", Tag=tags.OURS, MaxResults=PAGE),
        lambda: _images(account, region),
        lambda: account.pages(
            region, "DescribeSnapshots", "Snapshots", "Snapshot", Tag=tags.OURS, MaxResults=PAGE
        ),
        lambda: network.find_groups(account, region),
    ]  # fmt: skip


def _machines(account: Account, region: str) -> list[Any]:
    return account.pages(region, "DescribeInstances", "Instances", "Instance", Tag=tags.OURS, MaxResults=PAGE)


def _images(account: Account, region: str) -> list[Any]:
    return account.pages(
        region, "DescribeImages", "Images", "Image", Tag=tags.OURS, ImageOwnerAlias="self", Status="ALL",
        PageNumber=1, PageSize=PAGE,
    )  # fmt: skip


def holds_any(account: Account, region: str) -> bool:
    """Whether there is anything of ours in a region that costs money.

    Every machine has a disk, with the machine's tags since its launch. A disk can outlive its machine, and a
    snapshot its image; the snapshots of an image that is being made have no tags yet.
    """

    def asked(kind: str) -> Callable[[], bool]:
        def ask() -> bool:
            told = account.ask(region, "ListTagResources", ResourceType=kind, Tag=tags.OURS)
            return bool(told["TagResources"]["TagResource"] or told.get("NextToken"))

        return ask

    return any(all_of(asked("disk"), asked("image"), asked("snapshot")))


#: The service's states of what is on its way, and how to ask for them, by the beginning of an id.
_IN_TRANSIT = {"i": {"Pending", "Starting", "Stopping"}, "m": {"Creating", "Waiting"}}


def in_transit(account: Account, ids: Collection[str], memory: Memory, now: float) -> bool:
    """Whether all these are listed and on their way: a request for a region's machines, one for its images.

    May raise.
    """
    asked: dict[tuple[str, str], list[str]] = {}
    for region, bare in map(split, ids):
        asked.setdefault((region, bare.partition("-")[0]), []).append(bare)
    if any(kind not in _IN_TRANSIT for _, kind in asked):
        return False
    return all(
        len(found := _states(account, (region, kind), bare, memory, now)) == len(bare)
        and {*found} <= _IN_TRANSIT[kind]
        for (region, kind), bare in asked.items()
    )


def _states(
    account: Account, where: tuple[str, str], ids: list[str], memory: Memory, now: float
) -> list[str]:
    region, kind = where
    if not memory.is_crowded(region):
        rows = _machines(account, region) if kind == "i" else _images(account, region)
        memory.glimpsed(region, kind, rows, now)
        name = "InstanceId" if kind == "i" else "ImageId"
        return [str(one["Status"]) for one in rows if one[name] in ids]
    if kind == "i":
        told = account.pages(
            region, "DescribeInstances", "Instances", "Instance", InstanceIds=json.dumps(ids), MaxResults=PAGE
        )
        return [str(one["Status"]) for one in told]
    return [str(base_images.describe(account, region, bare)["Status"]) for bare in ids]


def may_read(account: Account, region: str) -> None:
    """Check that a listing of machines means something: without the right it may be empty.

    Raises `Refused` (denied).
    """
    try:
        account.ask(region, "DescribeInstances", DryRun=True)
    except Refused as no:
        if code(no) in PASSED:
            return
        raise
    raise Refused(Kind.DENIED, f"Alibaba Cloud does not say whether machines in {region} may be listed.",
                  fix="hotdesk iam --provider aliyun   # prints the policy that hotdesk needs")  # fmt: skip
