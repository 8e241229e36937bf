"""List all hotdesk resources in all regions.

Most regions hold nothing of ours, and one request (DescribeTags) shows that: see cloud/regions.py. The others
take six requests; two of them, for resources that cost nothing, are made only now and then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from hotdesk.core.errors import Refused
from hotdesk.parallel import side_by_side
from hotdesk.providers.aws import outage, tags
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.errors import answers, unreachable
from hotdesk.providers.aws.tags import OURS
from hotdesk.providers.cloud import regions as regions_
from hotdesk.providers.cloud.ids import split
from hotdesk.providers.cloud.regions import QUIET_SECONDS, RegionMemory
from hotdesk.providers.cloud.vocabulary import MARK, Tags

#: How long EC2 may still list a deleted resource: "a short interval" (DescribeImages). For this long the
#: process that deleted it leaves it out; if it is listed later, it was not deleted after all, and is shown.
LINGERS_SECONDS = 120.0

Raw = Mapping[str, Any]


class Found:
    """The raw answers of one region."""

    def __init__(
        self,
        region: str,
        answers_: Mapping[str, list[Any]],
        lost: Mapping[str, Tags] | None = None,
    ) -> None:
        """`lost`: tags of instances that cannot be described now, by their id: see outage.py."""
        self.region = region
        self.lost = lost or {}
        self.paid: dict[str, float] = {}  # reservations in which an instance costs nothing more: see `paid`
        self.instances: list[Raw] = [i for r in answers_["reservations"] for i in r["Instances"]]
        self.volumes: list[Raw] = answers_["volumes"]
        self.images: list[Raw] = answers_["images"]
        self.snapshots: list[Raw] = answers_["snapshots"]
        self.keys: list[Raw] = answers_["keys"]
        self.groups: list[Raw] = answers_["groups"]
        # Indexed, because they are looked up for each instance and image.
        self.sizes: dict[str, int] = {v["VolumeId"]: v["Size"] for v in self.volumes}
        self.parts: dict[str, list[Raw]] = {}  # snapshots by their own id and by the name of their image
        for raw in self.snapshots:
            name = tags.read(raw.get("Tags")).get("name", "")
            for key in {raw["SnapshotId"], name} - {""}:
                self.parts.setdefault(key, []).append(raw)

    @property
    def is_busy(self) -> bool:
        """Whether there is more than keys and groups, which cost nothing and change with nothing."""
        return any((self.instances, self.volumes, self.images, self.snapshots, self.lost))


def parts(image: Raw) -> list[str]:
    """The snapshots that an image refers to."""
    mappings = image.get("BlockDeviceMappings", ())
    return [m["Ebs"]["SnapshotId"] for m in mappings if m.get("Ebs", {}).get("SnapshotId")]


class Memory:
    """What a process remembers between surveys, to save requests."""

    def __init__(self) -> None:
        self.free: dict[str, tuple[float, dict[str, list[Any]]]] = {}  # keys and groups by region, and when
        self.lost: dict[
            str, frozenset[str]
        ] = {}  # machines that could not be read at the last look, by region
        self.kinds: dict[str, frozenset[str]] = {}  # of what has our tag, in regions where that was asked
        self.deleted: dict[str, float] = {}  # deleted disks, snapshots and images, by EC2's id, and when

    def free_now(self, region: str, now: float) -> dict[str, list[Any]]:
        """The keys and groups of a region by a look of just now; {} without one."""
        at, known = self.free.get(region, (-QUIET_SECONDS, {}))
        return known if 0 <= now - at < QUIET_SECONDS else {}

    def without_deleted(self, told: Mapping[str, list[Any]], now: float) -> dict[str, list[Any]]:
        """A region's answers without resources that are deleted but still listed."""
        gone = {x for x, at in self.deleted.items() if 0 <= now - at < LINGERS_SECONDS}
        ids = {"volumes": "VolumeId", "snapshots": "SnapshotId", "images": "ImageId"}
        kept = {
            what: [x for x in told[what] if x[key] not in gone and x["State"] != "deregistered"]
            for what, key in ids.items()
        }
        return {**told, **kept}


def look(
    account: Account, regions: Iterable[str], busy: RegionMemory, memory: Memory, now: float
) -> tuple[list[Found], dict[str, Exception]]:
    """Read the regions; return what was found, and the errors of those that failed.

    Resources that cost nothing are read again only after `QUIET_SECONDS`; whoever creates or deletes some
    must drop them from `memory`. Raises as `cloud.regions.look` does.
    """
    found, unread = regions_.look(
        regions,
        busy,
        now,
        holds_any=lambda region: _holds_any(account, region, memory),
        read=lambda region: _read(account, region, memory, now),
        unreachable=unreachable,
    )
    return list(found.values()), unread


#: EC2's states of what is on its way, by the beginning of its id.
_IN_TRANSIT = {"i": {"pending", "stopping", "shutting-down"}, "ami": {"pending"}, "snap": {"pending"}}


def in_transit(account: Account, ids: Collection[str]) -> bool:
    """Whether all these are listed and on their way: one request for each kind. May raise."""
    asked: dict[tuple[str, str], list[str]] = {}
    for region, bare in map(split, ids):
        asked.setdefault((region, bare.partition("-")[0]), []).append(bare)
    if any(kind not in _IN_TRANSIT for _, kind in asked):
        return False
    return all(
        {*_states(account, region, kind, bare)} <= _IN_TRANSIT[kind] for (region, kind), bare in asked.items()
    )


def _states(account: Account, region: str, kind: str, ids: list[str]) -> list[str]:
    ec2 = account.ec2(region)
    with answers():
        if kind == "i":
            told = ec2.describe_instances(InstanceIds=ids)["Reservations"]
            return [i["State"]["Name"] for r in told for i in r["Instances"]]
        if kind == "ami":
            return [i["State"] for i in ec2.describe_images(ImageIds=ids)["Images"]]
        return [s["State"] for s in ec2.describe_snapshots(SnapshotIds=ids)["Snapshots"]]


def may_read(account: Account, region: str) -> None:
    """Check that a region can be surveyed, before something is created there. Raises `Refused`."""
    for answer in side_by_side(list(_questions(account, region).values())):
        if isinstance(answer, Refused):
            raise answer


def _read(account: Account, region: str, memory: Memory, now: float) -> Found:
    """Everything of ours in one region. Raises the first error among its answers."""
    known = memory.free_now(region, now)
    asked = {what: call for what, call in _questions(account, region).items() if what not in known}
    told: dict[str, Any] = dict(zip(asked, side_by_side([*asked.values()]), strict=True))
    lost = _without_a_zone(account, region, told, memory)
    for reply in told.values():
        if isinstance(reply, Exception):
            raise reply
    whole = {**known, **told}
    if not known:
        memory.free[region] = now, {"keys": told["keys"], "groups": told["groups"]}
    return Found(region, memory.without_deleted(whole, now), lost)


def _without_a_zone(
    account: Account, region: str, told: dict[str, Any], memory: Memory
) -> Mapping[str, Tags]:
    """If only instances could not be read, one zone may be down: put those of other zones into `told`.

    Returns the tags of the instances that cannot be described now.
    """
    failed = told.get("reservations")
    alone = not any(isinstance(told[what], Exception) for what in told if what != "reservations")
    if not (isinstance(failed, Exception) and alone and outage.may_be(failed)):
        memory.lost.pop(region, None)
        return {}
    try:
        partly = outage.around(account, region, memory.lost.get(region, frozenset()))
    except Exception:  # the whole region is down: keep `failed`
        return {}
    memory.lost[region] = frozenset(partly.lost)
    told["reservations"] = partly.reservations
    return partly.lost


def _holds_any(account: Account, region: str, memory: Memory) -> bool | Found:
    """Whether a region holds anything with our tag; where that costs nothing, those things."""
    with answers():
        keys = [{"Name": "key", "Values": [MARK]}]
        told = account.ec2(region).describe_tags(Filters=keys, MaxResults=50)
    memory.kinds.pop(region, None)
    if told.get("NextToken"):  # an empty page may be followed by one that is not
        return True
    kinds = memory.kinds[region] = frozenset(row["ResourceType"] for row in told["Tags"])
    if not kinds or not kinds <= _FREE.keys():
        return bool(kinds)
    questions = _questions(account, region)
    free = {what: questions[what]() for what in (_FREE[kind] for kind in kinds)}
    return Found(region, {what: free.get(what, []) for what in questions})


#: Our resources that cost nothing and change only when somebody works with a desk there.
_FREE = {"key-pair": "keys", "security-group": "groups"}


def _questions(account: Account, region: str) -> dict[str, Callable[[], list[Any]]]:
    def all_pages(operation: str, key: str, **more: Any) -> Callable[[], list[Any]]:
        def ask() -> list[Any]:
            call, things, page = getattr(account.ec2(region), operation), [], dict(more)
            while True:  # botocore's paginators take longer to load than a request takes
                with answers():
                    told = call(Filters=OURS, **page)
                things += told.get(key, ())
                if not told.get("NextToken"):
                    return things
                page["NextToken"] = told["NextToken"]

        return ask

    return {
        "reservations": all_pages("describe_instances", "Reservations"),
        "volumes": all_pages("describe_volumes", "Volumes"),
        "images": all_pages("describe_images", "Images", Owners=["self"], IncludeDisabled=True),
        "snapshots": all_pages("describe_snapshots", "Snapshots", OwnerIds=["self"]),
        "keys": all_pages("describe_key_pairs", "KeyPairs"),
        "groups": all_pages("describe_security_groups", "SecurityGroups"),
    }
