"""A sweep's machines in a cloud: which there are, which are to be launched, and which to be ended. Pure.

Whatever was asked for is written down before it is asked, and asked again word for word where the answer was
lost; whatever a look shows counts, whoever asked for it. So no machine is paid for that nobody knows of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import inf

from msgspec.structs import replace

from hotdesk.core.errors import Kind
from hotdesk.core.fleet import FleetOrder, FleetReply
from hotdesk.core.model import Instance, Market, MarketChoice, Offer, Phase, Value

#: From its launch to the first answer: an encrypted disk from a snapshot is slow at first.
BOOT_SECONDS = 900.0
UNBOOTED_MOST = 3  # machines that never answered, before the image is taken for the cause
POOLS_MOST = 20  # of one order
DEARER_MOST = 2.0  # a pool that costs more than so many times the best one is left alone
LASTING = frozenset({Kind.QUOTA, Kind.UNSUPPORTED, Kind.DENIED, Kind.BAD_REQUEST})  # waiting does not help


class Member(Value, frozen=True):
    """A machine of the group, from the moment when it is heard of."""

    id: str
    offer: Offer
    since: float  # when it was heard of, by this computer's clock
    name: str = ""  # which machine of the sweep it is, for as long as it lives
    seen: bool = False  # by a look; an answer alone may be ahead of what is listed
    phase: Phase = Phase.PENDING
    up: bool = False  # whether its runner has ever answered
    ending_at: float = 0.0  # when it was asked to end
    ended_at: float = 0.0

    @property
    def alive(self) -> bool:
        return not self.ended_at

    @property
    def stays(self) -> bool:
        return not self.ended_at and not self.ending_at


class Asked(Value, frozen=True):
    """An order that was sent, or was about to be."""

    order: FleetOrder
    at: float  # the last time
    answered: bool = False
    got: int = 0  # machines


class Short(Value, frozen=True):
    """A pool that lacks something, until then."""

    key: str
    kind: Kind
    why: str
    until: float


class Group(Value, frozen=True):
    """All that is known of a sweep's machines."""

    members: tuple[Member, ...] = ()
    asked: tuple[Asked, ...] = ()
    short: tuple[Short, ...] = ()

    @property
    def alive(self) -> tuple[Member, ...]:
        return tuple(m for m in self.members if m.alive)

    @property
    def unanswered(self) -> Asked | None:
        return next((a for a in self.asked if not a.answered), None)

    @property
    def unbooted(self) -> int:
        """How many of them never answered."""
        return sum(1 for m in self.members if not m.up and m.ending_at - m.since >= BOOT_SECONDS)

    @property
    def boots(self) -> bool:
        """Whether the image has ever come up, or may still."""
        return any(m.up for m in self.members) or self.unbooted < UNBOOTED_MOST

    def usd(self, now: float) -> float:
        """What its machines have cost so far: by the second, at the prices they were launched at."""
        return sum(
            max(0.0, (m.ended_at or now) - m.since) / 3600 * m.offer.usd_per_hour for m in self.members
        )


class Wanted(Value, frozen=True):
    """What the group is to be."""

    fleet: str
    desk: str
    image_id: str
    names: tuple[str, ...]  # of its machines; the first has the cluster's head
    pools: tuple[Offer, ...]  # of one region and both markets, best first
    market: MarketChoice = MarketChoice.CHEAPEST
    together: bool = False  # they are of use only if all of them can be had
    most: int = 1000  # machines in one order
    burst: tuple[int, float] = (1000, 2.0)  # machines launched at once, and then each second
    lag_seconds: float = 0.0
    held: str = ""  # by which computer, if not the one that began it: core/fleet.py


# ---- what is heard -----------------------------------------------------------------------------------


def replied(group: Group, order: FleetOrder, reply: FleetReply, now: float) -> Group:
    """The group after an order was answered. The same answer twice changes nothing."""
    known = {m.id for m in group.members}
    new = tuple(Member(id=m.id, offer=m.offer, since=now) for m in reply.machines if m.id not in known)
    short = {s.key: s for s in group.short}
    for lack in reply.shortages:
        short[lack.key] = Short(key=lack.key, kind=lack.kind, why=lack.message, until=now + lack.seconds)
    asked = tuple(
        replace(a, answered=True, got=len(reply.machines)) if a.order.token == order.token else a
        for a in group.asked
    )
    return replace(group, members=(*group.members, *new), asked=asked, short=tuple(short.values()))


def looked(group: Group, found: Iterable[Instance], wanted: Wanted, now: float) -> Group:
    """The group after a look: machines that no answer told of are adopted, those that are gone have ended.

    One that was missing from a listing and is there again is paid for: it is the group's again, under its
    name if no other has that now.
    """
    there = {i.id: i for i in found}
    taken = {m.name for m in group.members if m.stays}
    members = []
    for member in group.members:
        shown = there.pop(member.id, None)
        if shown is not None:
            over = shown.phase is Phase.ENDED
            member = replace(member, seen=True, phase=shown.phase)  # noqa: PLW2901
            if over or shown.phase is Phase.ENDING:  # it costs nothing from here on
                member = replace(member, ending_at=member.ending_at or now)  # noqa: PLW2901
            if over and member.alive:
                member = replace(member, ended_at=now)  # noqa: PLW2901
            elif not over and not member.alive:
                name = "" if member.name in taken else member.name
                member = replace(member, ended_at=0.0, name=name)  # noqa: PLW2901
                taken.add(name)
        elif member.alive and (member.seen or now - member.since > wanted.lag_seconds):
            member = replace(member, ended_at=now, phase=Phase.ENDED)  # noqa: PLW2901
        members.append(member)
    pools = {(o.instance_type, o.zone, o.market): o for a in group.asked for o in a.order.offers}
    for shown in there.values():
        if shown.phase is not Phase.ENDED:
            offer = pools.get((shown.instance_type, shown.zone, shown.market)) or _offer_of(shown)
            members.append(Member(id=shown.id, offer=offer, since=now, seen=True, phase=shown.phase))
    asked = group.asked
    if not wanted.names:  # it need not be asked again: what it launched would be listed by now
        asked = tuple(replace(a, answered=a.answered or now - a.at > wanted.lag_seconds) for a in asked)
    return replace(group, members=tuple(members), asked=asked)


def _offer_of(shown: Instance) -> Offer:
    return Offer(
        provider=shown.provider, region=shown.region, zone=shown.zone, instance_type=shown.instance_type,
        market=shown.market, usd_per_hour=shown.usd_per_hour, vcpus=1,
    )  # fmt: skip


# ---- what follows ------------------------------------------------------------------------------------


def bound(group: Group, names: Sequence[str]) -> Group:
    """Each machine without a name gets one that is wanted and free; the head's is for one that stays."""
    taken = {m.name for m in group.members if m.stays and m.name}
    free = [name for name in names if name not in taken]
    loose = sorted(
        (m for m in group.members if m.stays and not m.name),
        key=lambda m: (m.offer.market is not Market.ON_DEMAND, m.since, m.id),
    )
    given = {m.id: name for m, name in zip(loose, free, strict=False)}
    if not given:
        return group
    return replace(group, members=tuple(replace(m, name=given.get(m.id, m.name)) for m in group.members))


def to_end(group: Group, names: Collection[str], now: float, again_seconds: float) -> list[Member]:
    """Machines that are not wanted, or never answered; those asked before are asked again after a while."""
    kept = {*names}
    return [
        m
        for m in group.members
        if m.alive
        and m.phase not in {Phase.ENDING, Phase.ENDED}
        and (m.name not in kept or m.ending_at or (not m.up and now - m.since >= BOOT_SECONDS))
        and (not m.ending_at or now - m.ending_at >= again_seconds)
    ]


def ending(group: Group, ids: Collection[str], now: float) -> Group:
    members = tuple(replace(m, ending_at=now) if m.id in ids else m for m in group.members)
    return replace(group, members=members)


def next_order(group: Group, wanted: Wanted, now: float) -> FleetOrder | None:
    """What to ask for now; first, word for word, whatever got no answer. None: nothing."""
    if not wanted.names:
        return None
    if (open_ := group.unanswered) is not None:
        return open_.order
    if not group.boots:
        return None
    taken = {m.name for m in group.members if m.stays}
    missing = [name for name in wanted.names if name not in taken]
    room = int(allowance(group.asked, wanted.burst, now))
    if not missing or room < 1:
        return None
    head = missing[0] == wanted.names[0]
    # The head is worth its price: with it goes what every machine is doing.
    markets = [Market.ON_DEMAND, Market.SPOT] if head else _markets(wanted.market)
    if head and wanted.market is MarketChoice.SPOT and len(wanted.names) == 1:
        markets = [Market.SPOT]
    for market in markets:
        if pools := open_pools(group, wanted.pools, market, now, wanted.market):
            count = 1 if head else min(len(missing), wanted.most, room)
            return FleetOrder(
                fleet=wanted.fleet,
                desk=wanted.desk,
                number=max((a.order.number for a in group.asked), default=0) + 1,
                count=count,
                offers=tuple(pools),
                image_id=wanted.image_id,
                held=wanted.held,
            )
    return None


def _markets(choice: MarketChoice) -> list[Market]:
    match choice:
        case MarketChoice.SPOT:
            return [Market.SPOT]
        case MarketChoice.ON_DEMAND:
            return [Market.ON_DEMAND]
    return [Market.SPOT, Market.ON_DEMAND]


def open_pools(
    group: Group,
    pools: Sequence[Offer],
    market: Market,
    now: float,
    choice: MarketChoice = MarketChoice.CHEAPEST,
) -> list[Offer]:
    """The pools of a market that lack nothing now, and cost about as much as the best one."""
    short = {s.key for s in group.short if s.until > now}
    return [o for o in _considered(pools, market, choice) if o.key not in short][:POOLS_MOST]


def _considered(pools: Sequence[Offer], market: Market, choice: MarketChoice) -> list[Offer]:
    """The pools of a market that are ever asked: of spot none that costs more than on-demand would."""
    mine = [o for o in pools if o.market is market]
    if market is Market.SPOT and choice is MarketChoice.CHEAPEST:
        firm = min((o.usd_per_hour for o in pools if o.market is Market.ON_DEMAND), default=inf)
        mine = [o for o in mine if o.usd_per_hour <= firm]
    least = min((o.usd_per_hour for o in mine), default=0.0)
    return [o for o in mine if o.usd_per_hour <= least * DEARER_MOST]


def allowance(asked: Sequence[Asked], burst: tuple[int, float], now: float) -> float:
    """How many machines may be launched now, of a bucket that fills as time goes on."""
    size, per_second = burst
    left, at = float(size), float("-inf")
    for one in sorted(asked, key=lambda a: a.at):
        if at > float("-inf"):
            left = min(size, left + (one.at - at) * per_second)
        left, at = left - one.order.count, one.at
    return left if at == float("-inf") else min(size, left + max(0.0, now - at) * per_second)


def trouble(group: Group, wanted: Wanted, now: float) -> str:
    """Why no machine can be had at all, where waiting does not help; "" as long as there is hope.

    Of those that are of use together only: why not all of them can.
    """
    if not group.boots and not any(m.up and m.alive for m in group.members):
        return (
            f"{group.unbooted} machines from {wanted.image_id} did not answer within"
            f" {BOOT_SECONDS / 60:.0f} minutes each"
        )
    taken = {m.name for m in group.members if m.stays}
    missing = [name for name in wanted.names if name not in taken]
    if not missing or group.unanswered or (group.alive and not wanted.together):
        return ""
    short = {s.key: s for s in group.short if s.until > now}
    head = missing[0] == wanted.names[0] and len(wanted.names) > 1
    usable = {*_markets(wanted.market)} | ({Market.ON_DEMAND} if head else set())
    asked = {o.key for market in usable for o in _considered(wanted.pools, market, wanted.market)}
    mine = [o for o in wanted.pools if o.key in asked]
    if mine and all((s := short.get(o.key)) is not None and s.kind in LASTING for o in mine):
        return short[mine[0].key].why
    return "" if mine else "nothing that fits is offered in the image's region"


def shortage(group: Group, names: Sequence[str], now: float) -> Mapping[str, str]:
    """By wanted name that has no machine: what its pools lack, for the person who waits."""
    taken = {m.name for m in group.members if m.stays}
    lacks = sorted({s.why for s in group.short if s.until > now})
    missing = [name for name in names if name not in taken]
    return dict.fromkeys(missing, lacks[0]) if lacks and not group.unanswered else {}
