"""The nouns: what a person wants (`Desk`, `Want`), and what a cloud shows (`Instance`, `Disk`, `Image`).

Values are immutable, sizes GiB, prices US dollars, times seconds since the epoch (of a cloud: by its clock).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec

from hotdesk.core.errors import Kind
from hotdesk.core.money import Amount
from hotdesk.core.states import EndedBy, Goal, Market, MarketChoice, Phase

#: They stand in a file of their own, and are part of the model.
__all__ = ["EndedBy", "Goal", "Market", "MarketChoice", "Phase"]


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A frozen record, decoded strictly: an unknown or ill-typed field is an error that names its path."""


class Want(Value, frozen=True):
    """The hardware and the limits that were asked for. `None` and "" mean: no preference."""

    instance_type: str = ""
    gpu: str = ""  # "L4", "A100", "none"
    gpu_count: int | float = 0  # 0.5: half of one. Whole ones stay integers: 0.1.0 reads no others
    market: MarketChoice = MarketChoice.CHEAPEST
    regions: tuple[str, ...] = ()
    zone: str = ""
    disk_gib: int = 0  # 0: as big as the image needs
    image: str = ""  # a base image instead of the provider's default
    usd_per_hour_max: float | None = None
    initialization_rate: int = 0  # MiB/s at which the next restored disk is loaded; 0: lazily, free of charge


#: Source of an offer's price if the cloud could not, or was not allowed to, report it: see `price_time`.
SHIPPED = "hotdesk's own table"


class Offer(Value, frozen=True):
    """One row of a price list: an instance type in a zone and market."""

    provider: str
    region: str
    zone: str
    instance_type: str
    market: Market = Market.ON_DEMAND
    usd_per_hour: float = 0.0
    told_per_hour: Amount | None = None  # the same as the cloud told it, if not in US dollars
    gpu: str = ""
    gpu_count: float = 0
    gpu_memory_gib: float = 0.0  # of one GPU
    vcpus: float = 0
    memory_gib: float = 0.0
    arch: str = "x86_64"
    scratch_gib: float = 0.0  # of instance-store disks, which are in no image
    price_time: float | None = None
    source: str = ""
    why: str = ""  # the reason it was chosen, if it was
    note: str = ""  # what its owner should know of it beforehand, whatever its rank
    taken: bool = False  # a machine of one's own, whose GPU somebody uses now
    reservation: str = ""  # of capacity that the account pays for, whether or not it is used
    reserved_until: float = 0.0  # when that ends; 0: not before it is given up
    free: int = 0  # machines that it has room for
    ends_at: float = 0.0  # when a machine there is ended by its cloud, whatever it does; 0: not known to be

    @property
    def sold_as(self) -> str:
        """Its market, or "reserved"."""
        return "reserved" if self.reservation else self.market.value

    def is_over(self, now: float) -> bool:
        """Whether its reservation ended, or will have ended before a machine is worth starting there."""
        return bool(self.reserved_until) and now >= (self.ends_at or self.reserved_until)

    @property
    def key(self) -> str:
        """The capacity pool: what a "sold out" refers to."""
        pool = f"{self.provider}/{self.zone or self.region}/{self.instance_type}/{self.market}"
        return f"{pool}/{self.reservation}" if self.reservation else pool


class Scope(Value, frozen=True):
    """Which offers a refusal applies to: a quota to a whole region, a policy to one type there."""

    provider: str
    region: str = ""  # "": all
    zone: str = ""
    market: Market | None = None
    types: tuple[str, ...] = ()  # patterns of instance types, such as "g*"; (): all
    vcpus: float = 0.0  # offers with at least as many

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
    told_per_hour: Amount | None = None  # the same as the cloud told it, if not in US dollars
    price_time: float | None = None  # when that was the price, if it is not from its own cloud
    started_at: float = 0.0  # its last start: an image taken before this misses work
    image_id: str = ""  # the desk's own image that it was launched from
    line: tuple[str, ...] | None = None  # the saves that it descends from (descent.py); None: not known
    stoppable: bool = True  # a one-time spot machine can only be terminated, which leaves its disk
    retypable: bool = False  # whether its type can be changed while it is off
    retyped_for: int = 0  # the desk's generation for which its type was last changed; 0: never
    arch: str = "x86_64"
    gpu: str = ""
    charged_while_off: bool = False  # whether `usd_per_hour` is charged too while it is stopped
    disk_gib: float = 0.0
    growable_gib: float = 0.0  # the size of its root disk, where that can be made bigger in place
    disk_usd_per_month: float = 0.0  # of its own disk, which is billed as long as it exists
    copy_usd: float = 0.0  # upper bound of the cost of copying its work to another region
    told_per_usd: Amount | None = None  # one dollar of these two as the cloud tells it, if not in US dollars
    stopped_at: float = 0.0  # when it was last stopped; 0: the cloud does not report it
    scratch_gib: float = 0.0  # of instance-store disks, which are in no image and are erased when it stops
    reason: str = ""  # why it is in this phase, in the cloud's words
    ended_by: EndedBy = EndedBy.UNKNOWN  # who turned it off; meaningful while it is off or ending
    fix: str = ""  # what its owner must do before the next start can succeed, as a command
    progress: float | None = None  # 0..1 while pending
    proves_within: float = 0.0  # seconds from its start to a login, if it needs longer than others
    released_at: float = 0.0  # when its cloud deletes it, with its disks, unless that is put off; 0: never
    ends_at: float = 0.0  # when its cloud ends it in any case, and leaves its disk; 0: not known to be
    open_to: tuple[str, ...] = ()  # address ranges that can reach Jupyter's port, besides its own loopback
    computer: str = ""  # the computer that launched it, if recorded
    version: str = ""  # version of the hotdesk programs that run on it, if recorded
    reported: bool = False  # a user was told, here or on another computer, that it is ready
    never_ran: bool = False  # the cloud ended it before it ran: its disk holds no work
    doomed: bool = False  # its owner asked to delete it, here or on another computer
    owner: str = ""  # its owner, in a shared cloud account; "": not recorded
    private_ip: str = ""  # its address for machines in the same network, if it has one

    @property
    def ran_seconds(self) -> float | None:
        """Length of its last run, by the cloud's clock; None while it is on, or if it is not reported."""
        return self.stopped_at - self.started_at if self.stopped_at > self.started_at else None

    @property
    def disk_told_per_month(self) -> Amount | None:
        """What its disk costs as the cloud told it, if not in US dollars."""
        return self.told_per_usd and self.told_per_usd.times(self.disk_usd_per_month)

    @property
    def chosen_for(self) -> int:
        """The desk's generation that its hardware was chosen for. (`generation`: of its disk and images.)"""
        return max(self.generation, self.retyped_for)


class Stored(Value, frozen=True, kw_only=True):
    """What is paid by the month as long as it exists."""

    usd_per_month: float = 0.0
    told_per_usd: Amount | None = None  # one dollar of that as the cloud tells it, if not in US dollars

    @property
    def told_per_month(self) -> Amount | None:
        """The same as the cloud told it, if not in US dollars."""
        return self.told_per_usd and self.told_per_usd.times(self.usd_per_month)


class Disk(Stored, frozen=True, kw_only=True):
    """A disk that outlived its machine, with the machine's other disks. (A machine includes its own disk.)"""

    id: str
    desk: str
    generation: int
    phase: Phase
    provider: str
    region: str
    zone: str = ""
    instance_id: str = ""  # the machine it came from, if the cloud still reports it
    machine: str = ""  # … and its name, which is in a tag
    image_id: str = ""  # the desk's own image that it was made from
    line: tuple[str, ...] | None = None  # of its machine
    started_at: float | None = None  # that machine's last start, if the cloud still reports it
    size_gib: float = 0.0
    copy_usd: float = 0.0  # upper bound of the cost of copying its work to another region
    made_at: float = 0.0  # 0: the cloud does not report it
    arch: str = "x86_64"
    parts: tuple[str, ...] = ()  # the machine's other disks, which are saved and deleted with this one
    lacks: str = ""  # which of its machine's disks are missing
    held_by: str = ""  # another machine that it is attached to: it can be neither saved nor deleted
    fix: str = ""  # the command that detaches it
    doomed: bool = False  # its owner asked to delete it, here or on another computer
    owner: str = ""  # its owner, in a shared cloud account; "": not recorded


class Image(Stored, frozen=True, kw_only=True):
    """A desk's saved disk."""

    id: str
    name: str
    desk: str
    generation: int  # of the machine it was taken from
    phase: Phase
    provider: str
    region: str
    verified: bool = False  # read back and complete; stored with the image, so every computer sees it
    source_id: str = ""  # the instance or disk it was taken from
    machine: str = ""  # the name of the machine whose work it holds
    started_at: float | None = None  # that machine's last start when the image was ordered, if known
    final: bool = False  # taken from the disk of a terminated machine: it cannot have been started again
    image_id: str = ""  # the desk's own image that its machine was launched from
    line: tuple[str, ...] | None = None  # of its machine
    taken_at: float = 0.0
    size_gib: float = 0.0
    copy_usd: float = 0.0  # upper bound of the cost of copying its work to another region
    arch: str = "x86_64"
    progress: float | None = None
    kind: Kind | None = None  # of the failure, if FAILED and the cloud reports it
    reason: str = ""
    note: str = ""  # what it could not capture, in plain words
    parts: tuple[str, ...] = ()  # snapshots it is made of while it is pending; deleted with it
    doomed: bool = False  # its owner asked to delete it, here or on another computer
    owner: str = ""  # its owner, in a shared cloud account; "": not recorded

    @property
    def age(self) -> tuple[int, float]:
        """Sort key: of two images of one desk the greater has the later work, equal ones have the same."""
        return self.generation, self.taken_at


class Leftover(Stored, frozen=True, kw_only=True):
    """Any other resource of ours: a key pair, a security group, a half-deleted folder, a placeholder."""

    id: str
    kind: str
    phase: Phase = Phase.READY
    provider: str
    region: str
    desk: str = ""
    generation: int = 0  # of a snapshot: of the machine whose disk it shows
    machine: str = ""  # of a snapshot or disk: the machine whose work may be in it; a placeholder's name
    started_at: float | None = None  # that machine's last start before; None: not known
    made_at: float = 0.0  # 0: the cloud does not report it
    why: str = ""
    of: str = ""  # the machine whose interrupted deletion must be repeated: it will not end by itself
    owner: str = ""  # its owner, in a shared cloud account; "": not recorded


class Retained(Value, frozen=True):
    """A deleted resource that its cloud keeps and bills until a time (by the cloud's clock)."""

    id: str
    kind: str
    region: str
    until: float


class Hidden(Value, frozen=True):
    """A machine that exists but whose state the cloud cannot report now (its zone is out of service)."""

    id: str
    desk: str
    zone: str  # or the region, if the zone is not known
    owner: str = ""


class Survey(Value, frozen=True):
    """Everything with our tag, as one look at a cloud shows it."""

    provider: str
    instances: tuple[Instance, ...] = ()
    disks: tuple[Disk, ...] = ()
    images: tuple[Image, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    unread: tuple[str, ...] = ()  # regions that did not answer: nothing may be concluded about them
    hidden: tuple[Hidden, ...] = ()  # in regions that answered: nothing may be concluded about their desks
    closed: str = ""  # why access to a region that may hold something is denied; waiting does not help
    closed_fix: str = ""
    lag_seconds: float = 0.0  # how long a change may take to show in a survey of this cloud
    disks_throughout: bool = False  # disks are listed as long as they exist, also while attached to a machine
    linear: bool = False  # only this computer makes things here: a generation descends from every earlier one
    poll_seconds: float = 5.0  # recommended time between surveys
    owner: str = ""  # the owner this survey was made for, in a shared cloud account

    def by_desk(self) -> dict[str, Seen]:
        """The same, grouped by desk; one pass, so that a thousand desks cost one survey.

        Resources of other owners are left out: of their desks only the owners' names are given.
        """
        by_desk: dict[str, dict[str, list[Value]]] = {}
        for kind in ("instances", "disks", "images", "leftovers", "hidden"):
            for thing in getattr(self, kind):
                if not self.is_others(thing):
                    by_desk.setdefault(thing.desk, {}).setdefault(kind, []).append(thing)
        others = self.others()
        return {d: self._seen(by_desk.get(d, {}), others.get(d, ())) for d in [*by_desk, *others]}

    def without(self, names: Collection[str]) -> Survey:
        """The same without what carries one of these names where others carry their desk's."""
        kept = {
            kind: tuple(t for t in getattr(self, kind) if t.desk not in names)
            for kind in ("instances", "disks", "leftovers", "hidden")
        }
        return msgspec.structs.replace(self, **kept) if names else self

    def is_others(self, thing: Instance | Disk | Image | Leftover | Hidden) -> bool:
        """Whether its tag names another owner."""
        return thing.owner not in {"", self.owner}

    def others(self) -> dict[str, tuple[str, ...]]:
        """Desks of other owners in this cloud, with the owners' names."""
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
        """What this survey shows of each of these desks, which may be nothing."""
        by_desk = self.by_desk()
        return {desk: by_desk.get(desk) or self.nothing for desk in desks}

    def of(self, desk: str) -> Seen:
        """What this survey shows of one desk, which may be nothing."""
        return self.by_desk().get(desk) or self.nothing

    @property
    def ids(self) -> list[str]:
        """What there is of machines, disks and images."""
        return [t.id for group in (self.instances, self.disks, self.images) for t in group]

    @property
    def nothing(self) -> Seen:
        """The view of a desk that has nothing here."""
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
    strays: tuple[Instance | Disk | Image, ...] = ()  # from another beginning under this name: see descent.py
    spares: tuple[Disk, ...] = ()  # … and of machines launched here that were never reported to a user
    rivals: tuple[str, ...] = ()  # ids of ends of lines, if nothing tells which one the desk continues from

    @property
    def machines(self) -> tuple[Instance, ...]:
        """Machines that exist, without ended ones that are still listed."""
        return tuple(i for i in self.instances if i.phase is not Phase.ENDED)

    @property
    def live(self) -> Instance | None:
        """The desk's machine; the newest if there are several, which the planner resolves first."""
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
        """Names of all machines and images still listed, including ended machines."""
        named = [t for t in self.strays if not isinstance(t, Disk)]
        return frozenset(t.name for t in (*self.instances, *self.images, *named))

    @property
    def newest(self) -> Image | None:
        """The newest verified image: what a resume starts from. (A copy is as new as its original.)"""
        whole = [i for i in self.images if i.verified and i.phase is Phase.READY]
        return max(whole, key=lambda i: (*i.age, i.id), default=None)


class Bound(Value, frozen=True):
    """Where a desk goes once all of its work is saved where it is."""

    provider: str
    want: Want
    offers: tuple[Offer, ...] = ()
    generation: int = 0  # above that of everything of the desk there: its machine is of this one at least
    keep_seconds: float = 0.0  # for so long the last image stays where the desk leaves


class Fetched(Value, frozen=True):
    """An image in this computer's store of what a machine held when nothing ran there any more."""

    image: str
    machine: str
    started_at: float
    at: float = 0.0  # (our clock)
    attempt: int = 0  # at this run of the machine


class Former(Value, frozen=True):
    """A place that a desk has left, and where its last image stays for a time."""

    provider: str
    at: float  # when it left (our clock)
    until: float
    image: str = ""  # the one that stays, in this computer's store; "": what is there is parked
    parked: bool = False  # nothing is to be done until its time is over


class Desk(Value, frozen=True):
    """A name with a goal. This row is the only thing that commands write."""

    name: str
    goal: Goal
    since: float  # when the goal was last asked for (our clock)
    created_at: float  # part of every name made for it, so that a later desk of the same name shares none
    provider: str = "local"
    want: Want = Want()
    offers: tuple[Offer, ...] = ()  # candidates, best first, chosen when the goal was asked for
    generation: int = 1  # its machine must be at least of this generation: `move` raises it
    fresh: bool = False  # the owner agreed to start empty although images are missing
    origin: str = ""  # id of the image or disk that the owner chose, if several have work
    idle_minutes: float | None = None  # idle time after which the machine ends itself; 0: never
    lease_hours: float = 0.0  # how long it runs without a hotdesk renewing its lease; 0: for ever
    stop_at: float = 0.0  # the hard end (our clock), also in the middle of work; 0: none
    over_budget: bool = False  # the owner agreed to exceed the month's budget
    retried_at: float = 0.0  # what was sold out or over a quota before (our clock) is tried again
    on_demand_at: float = 0.0  # until then (our clock) only spot is launched; a job waits if there is none
    seeks: tuple[Offer, ...] = ()  # better places for its job, to be asked for while its machine works …
    seeks_until: float = 0.0  # … up to then (our clock): see core/lifecycle/holding.py
    bound: Bound | None = None  # it is saved first where it is, and then belongs to this provider
    carried: str = ""  # the image here that holds its work until its machine has all of it
    fetched: Fetched | None = None  # its work has come here from the place that it is about to leave
    former: tuple[Former, ...] = ()
    away: bool = False  # of a row for a place that was left: its newest work is elsewhere
    there: bool = False  # its next image may stay where its machine is (core.steps.BakeOrder)
    public: str = ""  # who may reach its Jupyter without a tunnel: "" (nobody), "caller", or an address range

    @property
    def wish(self) -> tuple[object, ...]:
        """What its owner wants. Commands with equal wishes share the work; any other changes the goal."""
        return (self.goal, self.want, self.generation, self.fresh, self.origin, self.provider, self.bound)

    def wishes_as(self, other: Desk) -> bool:
        return self == other or self.wish == other.wish
