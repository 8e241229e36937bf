"""The nouns: what a person wants (`Desk`, `Want`), and what a cloud shows (`Instance`, `Disk`, `Image`).

All of them are values. Times are seconds since the epoch; a field named `*_at` of something seen in a
cloud was read from *that cloud's* clock and is compared only with others of the same cloud.
Sizes are GiB, prices are US dollars.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase

import msgspec

from hotdesk.core.errors import Kind, Usage


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A frozen record, decoded strictly: an unknown or ill-typed field is a complaint with its path."""


class Goal(StrEnum):
    """What a desk's owner wants of it. A command changes this, and nothing else."""

    RUNNING = "running"
    STOPPED = "stopped"  # the machine is off, its disk stays (and is paid)
    PARKED = "parked"  # no machine, no disk: one verified image
    GONE = "gone"  # nothing at all


class Phase(StrEnum):
    """What the cloud shows of a machine, a disk or an image just now."""

    PENDING = "pending"  # being made, started or restored
    READY = "ready"  # a machine that runs, a disk that can be used, an image that can be launched
    STOPPING = "stopping"
    STOPPED = "stopped"
    VERIFYING = "verifying"  # an image that is being read back
    ENDING = "ending"  # being deleted: a disk may yet appear from it
    ENDED = "ended"  # a machine that is gone and still listed: only its reason is of interest
    FAILED = "failed"


class EndedBy(StrEnum):
    """Who turned a machine off, or ended it. Each cloud has a table of its own words for this."""

    UNKNOWN = "unknown"
    GUEST = "guest"  # the machine itself: its idle watch, or somebody who typed `shutdown` there
    OWNER = "owner"  # somebody asked the cloud: hotdesk, or the console
    PROVIDER = "provider"  # the cloud: an interruption, a fault


class Market(StrEnum):
    ON_DEMAND = "on-demand"
    SPOT = "spot"


class Want(Value, frozen=True):
    """The hardware and the limits somebody asked for. `None` and "" mean: no preference."""

    instance_type: str = ""
    gpu: str = ""  # "L4", "A100", "none"
    gpu_count: int | float = 0  # 0.5: half of one. Whole ones stay integers: 0.1.0 reads no others
    market: str = "cheapest"  # on-demand | spot | cheapest
    regions: tuple[str, ...] = ()
    zone: str = ""
    disk_gib: int = 0  # 0: as big as the image needs
    image: str = ""  # a base image other than the provider's own choice
    usd_per_hour_max: float | None = None
    initialization_rate: int = 0  # MiB/s at which the next restored disk is loaded; 0: lazily, for nothing


#: The source of an offer's price that its cloud was not able, or not allowed, to tell: see `price_time`.
SHIPPED = "hotdesk's own table"


class Offer(Value, frozen=True):
    """One row of a price list: an instance type in a zone on a market."""

    provider: str
    region: str
    zone: str
    instance_type: str
    market: Market = Market.ON_DEMAND
    usd_per_hour: float = 0.0
    gpu: str = ""
    gpu_count: float = 0
    gpu_memory_gib: float = 0.0  # of one GPU
    vcpus: float = 0
    memory_gib: float = 0.0
    arch: str = "x86_64"
    scratch_gib: float = 0.0  # of disks that end with the run, and are in no image
    price_time: float | None = None
    source: str = ""
    why: str = ""  # the reason it was chosen, when it was

    @property
    def key(self) -> str:
        """The pool it is taken from: what a "sold out" speaks of."""
        return f"{self.provider}/{self.zone or self.region}/{self.instance_type}/{self.market}"


class Scope(Value, frozen=True):
    """Which offers a refusal is said of: a quota speaks of a whole region, a policy of one type there."""

    provider: str
    region: str = ""  # "": every one
    zone: str = ""
    market: Market | None = None
    types: tuple[str, ...] = ()  # patterns of instance types, such as "g*"; (): all
    vcpus: float = 0.0  # offers with as many, or more

    def covers(self, offer: Offer) -> bool:
        return (
            offer.provider == self.provider
            and self.region in {"", offer.region}
            and self.zone in {"", offer.zone}
            and self.market in {None, offer.market}
            and (not self.types or any(fnmatchcase(offer.instance_type, p) for p in self.types))
            and offer.vcpus >= self.vcpus
        )


class Instance(Value, frozen=True):
    """A machine as the cloud lists it."""

    id: str
    name: str
    desk: str
    generation: int
    phase: Phase
    provider: str
    region: str
    zone: str
    instance_type: str
    market: Market = Market.ON_DEMAND
    usd_per_hour: float = 0.0
    price_time: float | None = None  # when that was the price, where it is not from its own cloud
    started_at: float = 0.0  # its last start: an image taken before this misses work
    image_id: str = ""  # the desk's own image that it was launched from
    line: tuple[str, ...] | None = None  # the saves that it comes from (descent.py); None: not known
    stoppable: bool = True  # a one-time spot machine can only be ended, which leaves its disk
    retypable: bool = False  # whether it can be given another type while it is off
    retyped_for: int = 0  # the desk's generation for which it was last given another type; 0: never
    arch: str = "x86_64"
    gpu: str = ""
    charged_while_off: bool = False  # whether `usd_per_hour` is charged too while it is stopped
    disk_gib: float = 0.0
    disk_usd_per_month: float = 0.0  # of its own disk, which is paid as long as it exists
    copy_usd: float = 0.0  # what it costs at most to have its work in another region
    stopped_at: float = 0.0  # when it was last turned off, where the cloud tells; 0: it does not
    scratch_gib: float = 0.0  # of disks that are in no image, and lose everything when it stops
    reason: str = ""  # why it is in this phase, in the cloud's words
    ended_by: EndedBy = EndedBy.UNKNOWN  # who turned it off, while it is off or going
    fix: str = ""  # what its owner must do before another start can go better, as a command
    progress: float | None = None  # 0..1 while pending
    proves_within: float = 0.0  # seconds from its start to a login, where it needs longer than others
    open_to: tuple[str, ...] = ()  # address ranges that can reach Jupyter's port, besides its own loopback
    computer: str = ""  # the computer that launched it, where that is written down
    version: str = ""  # the hotdesk whose programs run on it, where that is written down
    reported: bool = False  # somebody was told that it can be used, here or at another computer
    never_ran: bool = False  # the cloud ended it before it ran: nobody has worked on its disk
    doomed: bool = False  # its owner asked for it to be gone, here or at another computer
    owner: str = ""  # whose it is, where its cloud is shared; "": made before anybody said so

    @property
    def ran_seconds(self) -> float | None:
        """How long it ran since its last start, where it is off and the cloud tells; by the cloud's clock."""
        return self.stopped_at - self.started_at if self.stopped_at > self.started_at else None

    @property
    def chosen_for(self) -> int:
        """The desk's generation that its hardware was chosen for; its disk and images go by `generation`."""
        return max(self.generation, self.retyped_for)


class Disk(Value, frozen=True):
    """A disk that outlived its machine, and those that it had beside it. (A machine's own is part of it.)"""

    id: str
    desk: str
    generation: int
    phase: Phase
    provider: str
    region: str
    zone: str = ""
    instance_id: str = ""  # the machine it came from, where the cloud still tells
    machine: str = ""  # … and its name, which is told for ever
    image_id: str = ""  # the desk's own image that it was made from
    line: tuple[str, ...] | None = None  # of its machine
    started_at: float | None = None  # that machine's last start, where the cloud still tells
    size_gib: float = 0.0
    usd_per_month: float = 0.0
    copy_usd: float = 0.0  # what it costs at most to have its work in another region
    made_at: float = 0.0  # 0: the cloud does not tell
    arch: str = "x86_64"
    parts: tuple[str, ...] = ()  # the machine's other disks, which are saved and deleted with this one
    lacks: str = ""  # which of its machine's disks are not to be found
    held_by: str = ""  # another machine that has it in use: it is neither gone nor to be had
    fix: str = ""  # the command that frees it
    doomed: bool = False  # its owner asked for it to be gone, here or at another computer
    owner: str = ""  # whose it is, where its cloud is shared; "": made before anybody said so


class Image(Value, frozen=True):
    """A desk's saved disk."""

    id: str
    name: str
    desk: str
    generation: int  # of the machine it was taken from
    phase: Phase
    provider: str
    region: str
    verified: bool = False  # read back and found whole; kept with the image, so every computer sees it
    source_id: str = ""  # the instance or disk it was taken from
    machine: str = ""  # the name of the machine whose work it holds
    started_at: float | None = None  # that machine's last start when it was ordered, where that is known
    final: bool = False  # taken of a disk whose machine had ended: no start can have come after it
    image_id: str = ""  # the desk's own image that its machine was launched from
    line: tuple[str, ...] | None = None  # of its machine
    taken_at: float = 0.0
    size_gib: float = 0.0
    usd_per_month: float = 0.0
    copy_usd: float = 0.0  # what it costs at most to have its work in another region
    arch: str = "x86_64"
    progress: float | None = None
    kind: Kind | None = None  # when FAILED: what sort of failure, where the cloud tells
    reason: str = ""
    note: str = ""  # what it could not capture, said plainly
    parts: tuple[str, ...] = ()  # what else it is made of while it is in the making, and is deleted with it
    doomed: bool = False  # its owner asked for it to be gone, here or at another computer
    owner: str = ""  # whose it is, where its cloud is shared; "": made before anybody said so

    @property
    def age(self) -> tuple[int, float]:
        """Of two images of one desk, the greater has the later work; equal ones have the same."""
        return self.generation, self.taken_at


class Leftover(Value, frozen=True):
    """Anything else of ours that a survey found: a key pair, a security group, a half-deleted folder."""

    id: str
    kind: str
    provider: str
    region: str
    desk: str = ""
    generation: int = 0  # of a snapshot: of the machine whose disk it shows
    machine: str = ""  # of a snapshot or disk: the machine whose work may be in it
    started_at: float | None = None  # that machine's last start before; None: not known
    usd_per_month: float = 0.0
    made_at: float = 0.0  # 0: the cloud does not tell
    why: str = ""
    of: str = ""  # the machine whose deletion somebody must take up again: it ends by itself no more
    owner: str = ""  # whose it is, where its cloud is shared; "": made before anybody said so


class Retained(Value, frozen=True):
    """Something that was deleted, and that its cloud keeps and bills until a time (by the cloud's clock)."""

    id: str
    kind: str
    region: str
    until: float


class Hidden(Value, frozen=True):
    """A machine that is there, and of which its cloud tells nothing now (its zone is out of service)."""

    id: str
    desk: str
    zone: str  # or the region, where that is all that is known
    owner: str = ""


class Survey(Value, frozen=True):
    """Everything with our tag, in one look."""

    provider: str
    instances: tuple[Instance, ...] = ()
    disks: tuple[Disk, ...] = ()
    images: tuple[Image, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    unread: tuple[str, ...] = ()  # regions that did not answer: nothing may be concluded about them
    hidden: tuple[Hidden, ...] = ()  # in regions that did: nothing may be concluded about desks of these
    closed: str = ""  # why a region that may hold something does not let us look; waiting will not mend it
    closed_fix: str = ""
    lag_seconds: float = 0.0  # how long a change may take to show in a survey of this cloud
    disks_throughout: bool = False  # a machine's disk is listed as long as it exists: none appears at its end
    linear: bool = False  # one computer makes all of it: a later generation comes from every earlier one
    poll_seconds: float = 5.0  # how often it is polite to look
    owner: str = ""  # who looks, where the cloud is shared

    def by_desk(self) -> dict[str, Seen]:
        """The same, sorted by desk; one pass, so that a thousand desks cost one survey.

        What is another owner's is nobody's business here: of a desk of that name only the owners are told.
        """
        by_desk: dict[str, dict[str, list[Value]]] = {}
        for kind in ("instances", "disks", "images", "leftovers", "hidden"):
            for thing in getattr(self, kind):
                if not self.is_others(thing):
                    by_desk.setdefault(thing.desk, {}).setdefault(kind, []).append(thing)
        others = self.others()
        return {
            desk: self._seen(by_desk.get(desk, {}), others.get(desk, ()))
            for desk in [*by_desk, *(name for name in others if name not in by_desk)]
        }

    def is_others(self, thing: Instance | Disk | Image | Leftover | Hidden) -> bool:
        """Whether it is another owner's, by its tag."""
        return thing.owner not in {"", self.owner}

    def others(self) -> dict[str, tuple[str, ...]]:
        """Desks that other owners have in this cloud, and whose they are."""
        found: dict[str, set[str]] = {}
        things: list[Instance | Disk | Image] = [*self.instances, *self.disks, *self.images]
        for thing in things:
            if self.is_others(thing) and thing.phase is not Phase.ENDED:
                found.setdefault(thing.desk, set()).add(thing.owner)
        for machine in self.hidden:
            if self.is_others(machine):
                found.setdefault(machine.desk, set()).add(machine.owner)
        return {desk: tuple(sorted(owners)) for desk, owners in found.items()}

    def of_each(self, desks: Iterable[str]) -> dict[str, Seen]:
        """What is seen of each of these desks, which may be nothing."""
        by_desk = self.by_desk()
        return {desk: by_desk.get(desk) or self.nothing for desk in desks}

    def of(self, desk: str) -> Seen:
        """What is seen of one desk, which may be nothing."""
        return self.by_desk().get(desk) or self.nothing

    @property
    def nothing(self) -> Seen:
        """What is seen of a desk that has nothing here."""
        return self._seen({})

    def _seen(self, things: Mapping[str, Sequence[Value]], others: tuple[str, ...] = ()) -> Seen:
        hidden = {machine.zone for machine in things.get("hidden", ())}  # type: ignore[attr-defined]
        things = {kind: group for kind, group in things.items() if kind != "hidden"}
        return Seen(
            others=others,
            unread=(*self.unread, *sorted(hidden)),
            closed=self.closed,
            closed_fix=self.closed_fix,
            lag_seconds=self.lag_seconds,
            disks_throughout=self.disks_throughout,
            linear=self.linear,
            poll_seconds=self.poll_seconds,
            **{kind: tuple(group) for kind, group in things.items()},  # type: ignore[arg-type]
        )


class Seen(Value, frozen=True):
    """What a survey shows of one desk."""

    instances: tuple[Instance, ...] = ()
    disks: tuple[Disk, ...] = ()
    images: tuple[Image, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    unread: tuple[str, ...] = ()
    closed: str = ""
    closed_fix: str = ""
    lag_seconds: float = 0.0
    disks_throughout: bool = False
    linear: bool = False
    poll_seconds: float = 5.0
    others: tuple[str, ...] = ()  # other owners who have a desk of this name in the same cloud
    strays: tuple[Instance | Disk | Image, ...] = ()  # of another beginning under this name: see descent.py
    spares: tuple[Disk, ...] = ()  # … and of machines launched here that nobody was told of
    rivals: tuple[str, ...] = ()  # ends of which nobody here can tell which one the desk goes on from

    @property
    def machines(self) -> tuple[Instance, ...]:
        """Machines that exist: everything but those that only linger in the listing."""
        return tuple(i for i in self.instances if i.phase is not Phase.ENDED)

    @property
    def live(self) -> Instance | None:
        """The desk's machine; the newest where there are several, which the planner settles first."""
        return max(self.machines, key=lambda i: (i.generation, i.started_at, i.id), default=None)

    @property
    def ids(self) -> frozenset[str]:
        """Ids of all that exists."""
        return frozenset(
            t.id
            for group in (self.machines, self.disks, self.images, self.strays, self.spares)
            for t in group
        )

    @property
    def names(self) -> frozenset[str]:
        """Names of all that was ever made under a chosen name and is still listed, ended machines too."""
        named = [t for t in self.strays if not isinstance(t, Disk)]
        return frozenset(t.name for t in (*self.instances, *self.images, *named))

    @property
    def newest(self) -> Image | None:
        """The newest verified image: what a resume starts from. (A copy is as new as its original.)"""
        whole = [i for i in self.images if i.verified and i.phase is Phase.READY]
        return max(whole, key=lambda i: (*i.age, i.id), default=None)


class Desk(Value, frozen=True):
    """A name with a goal. This row is all that a command writes."""

    name: str
    goal: Goal
    since: float  # when the goal was last asked for (our clock)
    created_at: float  # part of every name made for it: a later desk of the same name shares none
    provider: str = "local"
    want: Want = Want()
    offers: tuple[Offer, ...] = ()  # candidates, best first, chosen when the goal was asked for
    generation: int = 1  # its machine must be at least of this generation: `move` raises it
    fresh: bool = False  # the owner agreed to begin with an empty desk although images are missing
    origin: str = ""  # the image or disk that the owner chose where several have work: its id
    idle_minutes: float | None = None  # without work, after which the machine ends itself; 0: never
    lease_hours: float = 0.0  # for which it runs on without any hotdesk renewing it; 0: for ever
    stop_at: float = 0.0  # the hard end (our clock), whatever it does then; 0: none
    over_budget: bool = False  # the owner agreed to launch it past the month's budget
    on_demand_at: float = 0.0  # only spot is launched before (our clock): a job waits where there is none
    public: str = ""  # who may reach its Jupyter without a tunnel: nobody, "caller", or a range of addresses

    @property
    def wish(self) -> tuple[object, ...]:
        """What its owner wants: two commands of one wish can share the work, others change its mind."""
        return (self.goal, self.want, self.generation, self.fresh, self.origin)

    def wishes_as(self, other: Desk) -> bool:
        return self == other or self.wish == other.wish


_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\Z")


def is_name(name: str) -> bool:
    """Whether that can be a desk's name. A tag in a cloud may say anything, and is not believed unasked."""
    return bool(_NAME.match(name))


def check_name(name: str) -> str:
    """The name itself, when it can be a desk's: 1 to 32 of a-z, 0-9 and inner hyphens.

    It becomes part of tags, host aliases, folders and image names of every cloud, hence the narrow rule.
    Raises `Usage` otherwise.
    """
    if _NAME.match(name):
        return name
    shown = name if len(name) <= 40 else name[:37] + "..."
    tidy = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:32].strip("-") or "blue"
    raise Usage(
        f"{shown!r} cannot be a desk's name.",
        "A name has 1 to 32 characters: a-z, 0-9 and hyphens between them.",
        f"hotdesk up {tidy}",
    )
