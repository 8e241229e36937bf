"""List all hotdesk resources in all regions.

Most regions hold nothing of ours, and one request (DescribeTags) shows that. Regions where it finds
something, or where this computer has created something, take six requests; two of them, for resources that
cost nothing, are made only now and then. All regions are read concurrently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hotdesk.core.errors import Kind, Refused
from hotdesk.parallel import side_by_side
from hotdesk.providers.aws import outage, tags
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.errors import answers, unreachable
from hotdesk.providers.aws.tags import OURS
from hotdesk.providers.cloud.vocabulary import Tags

#: How long a process does not read an empty region, or resources that cost nothing, again.
QUIET_SECONDS = 20.0

#: How long EC2 may still list a deleted resource: "a short interval" (DescribeImages). For this long the
#: process that deleted it leaves it out; if it is listed later, it was not deleted after all, and is shown.
LINGERS_SECONDS = 120.0

#: Resources that cost nothing, which a process reads only every `QUIET_SECONDS`.
FREE = ("keys", "groups")

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
    def is_empty(self) -> bool:
        told = (self.instances, self.volumes, self.images, self.snapshots, self.keys, self.groups, self.lost)
        return not any(told)


def parts(image: Raw) -> list[str]:
    """The snapshots that an image refers to."""
    mappings = image.get("BlockDeviceMappings", ())
    return [m["Ebs"]["SnapshotId"] for m in mappings if m.get("Ebs", {}).get("SnapshotId")]


class Memory:
    """What a process remembers between surveys, to save requests."""

    def __init__(self) -> None:
        self.quiet: dict[str, float] = {}  # empty regions, and when they were read
        self.free: dict[str, tuple[float, dict[str, list[Any]]]] = {}  # when, and the answers
        self.lost: dict[
            str, frozenset[str]
        ] = {}  # machines that could not be read at the last look, by region
        self.deleted: dict[str, float] = {}  # deleted disks, snapshots and images, by EC2's id, and when

    def without_deleted(self, told: Mapping[str, list[Any]], now: float) -> dict[str, list[Any]]:
        """A region's answers without resources that are deleted but still listed."""
        self.deleted = {x: at for x, at in self.deleted.items() if 0 <= now - at < LINGERS_SECONDS}
        ids = {"volumes": "VolumeId", "snapshots": "SnapshotId", "images": "ImageId"}
        kept = {
            what: [x for x in told[what] if x[key] not in self.deleted and x["State"] != "deregistered"]
            for what, key in ids.items()
        }
        return {**told, **kept}


def look(
    account: Account,
    regions: Iterable[str],
    busy: Iterable[str],
    memory: Memory,
    now: float,
) -> tuple[list[Found], dict[str, Exception]]:
    """Read the regions; return what was found, and the errors of those that failed.

    `busy` regions are read in full at once. What `memory` holds is read again only after `QUIET_SECONDS`. A
    region is in `busy` before this computer creates anything there, so that nothing is missed; whoever
    creates or deletes free resources must drop them from `memory`. Raises `Refused` if no region allows
    reading, and `Unreachable` if none answers.
    """
    regions = list(regions)
    full = [r for r in regions if r in set(busy)]
    rest = [
        r for r in regions if r not in set(full) and not 0 <= now - memory.quiet.get(r, 0.0) < QUIET_SECONDS
    ]
    known = {r: told for r, (at, told) in memory.free.items() if 0 <= now - at < QUIET_SECONDS}
    read, tagged = _read(account, full, known, memory, now=now, hints=rest)
    more, _ = _read(account, [r for r in rest if tagged.get(r) is True], known, memory, now=now)
    for region, answer in {**read, **more}.items():
        if region not in known and isinstance(answer, Found):
            memory.free[region] = now, {"keys": answer.keys, "groups": answer.groups}
    silent = {r: e for r, e in {**read, **tagged, **more}.items() if isinstance(e, Exception)}
    memory.quiet |= {region: now for region, answer in tagged.items() if answer is False}
    if silent and len(silent) == len(regions):
        _nothing_at_all(list(silent.values()))
    # A region that a policy denies to us holds nothing that we could have created.
    unread = {
        r: e
        for r, e in silent.items()
        if not (r in rest and isinstance(e, Refused) and e.kind is Kind.DENIED)
    }
    found = [f for f in [*read.values(), *more.values()] if isinstance(f, Found)]
    return found, unread


def may_read(account: Account, region: str) -> None:
    """Check that a region can be surveyed, before something is created there. Raises `Refused`."""
    for answer in side_by_side(list(_questions(account, region).values())):
        if isinstance(answer, Refused):
            raise answer


def _read(
    account: Account,
    regions: list[str],
    known: Mapping[str, dict[str, list[Any]]],
    memory: Memory,
    *,
    now: float,
    hints: Iterable[str] = (),
) -> tuple[dict[str, Found | Exception], dict[str, bool | Exception]]:
    """Read `regions` in full, and ask `hints` whether they hold anything; all concurrently."""
    jobs: list[tuple[str, str, Callable[[], Any]]] = []
    for region in regions:
        asked = _questions(account, region).items()
        jobs += [(region, what, call) for what, call in asked if what not in known.get(region, ())]
    for region in hints:
        jobs.append((region, "tags", _hint(account, region)))
    replies = side_by_side([call for _, _, call in jobs])
    by_region: dict[str, dict[str, Any]] = {}
    hinted: dict[str, bool | Exception] = {}
    for (region, what, _), reply in zip(jobs, replies, strict=True):
        if what == "tags":
            hinted[region] = reply if isinstance(reply, Exception) else bool(reply)
        else:
            by_region.setdefault(region, {})[what] = reply
    read: dict[str, Found | Exception] = {}
    for region, told in by_region.items():
        lost = _without_a_zone(account, region, told, memory)
        failed = next((reply for reply in told.values() if isinstance(reply, Exception)), None)
        whole = {**known.get(region, {}), **told}
        read[region] = failed or Found(region, memory.without_deleted(whole, now), lost)
    return read, hinted


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


def _hint(account: Account, region: str) -> Callable[[], bool]:
    def ask() -> bool:
        with answers():
            keys = [{"Name": "key", "Values": [tags.MARK]}]
            told = account.ec2(region).describe_tags(Filters=keys, MaxResults=5)
            return bool(
                told["Tags"] or told.get("NextToken")
            )  # an empty page may be followed by one that is not

    return ask


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


def _nothing_at_all(errors: list[Exception]) -> None:
    """Raise the most useful error: one that the user can fix, else throttling, else `Unreachable`."""
    refused = [error for error in errors if isinstance(error, Refused)]
    for error in sorted(refused, key=lambda no: no.kind is Kind.THROTTLED):
        raise error
    raise unreachable(errors[0]) from errors[0]
