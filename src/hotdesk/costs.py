"""The bill, from the journal: what each desk's machines, disks, images and addresses have cost.

Where the journal cannot know when something ended (an interruption, a lost reply, a machine that ended
itself), it is charged until the first row that shows that it had ended: at most, and said to be so.
Transfer out of a cloud is in no journal and is not counted.
"""

from __future__ import annotations

import bisect
import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence

from hotdesk.core.model import Disk, Image, Market, Offer, Seen, Value
from hotdesk.core.steps import (
    Bake,
    BakeOrder,
    Copy,
    Delete,
    Launch,
    Leave,
    Prove,
    Retype,
    Row,
    Start,
    Stop,
    Verify,
)

HOURS_PER_MONTH = 730.0  # as the clouds count
#: US dollars per GiB and month of a machine's own disk (EC2: gp3 in us-east-1; the price list differs by
#: region by up to 20 %), and per hour of a machine's public address (EC2, since February 2024).
DISK_USD = {"aws": 0.08}
ADDRESS_USD = {"aws": 0.005}

Prices = Mapping[str, Sequence[tuple[float, float]]]  # offer key -> (time, US dollars an hour), by time


class Charge(Value, frozen=True):
    """One thing that was paid for from `began` to `ended` (our clock)."""

    desk: str
    kind: str  # compute | disk | image | address
    id: str
    began: float
    ended: float
    usd_per_hour: float
    offer: Offer | None = None  # of compute
    at_most: bool = False  # its true end is not known, and was earlier
    going_on: bool = False

    def usd(self, since: float, until: float, prices: Prices | None = None) -> float:
        """What it cost between two times. Spot: each hour from its start at the price of that moment."""
        low, high = max(since, self.began), min(until, self.ended)
        if high <= low:
            return 0.0
        steps = prices.get(self.offer.key) if prices and self.offer else None
        if not steps or self.offer is None or self.offer.market is not Market.SPOT:
            return self.usd_per_hour * (high - low) / 3600
        times, total = [at for at, _ in steps], 0.0
        hour = int((low - self.began) // 3600)
        while (start := self.began + hour * 3600) < high:
            place = bisect.bisect_right(times, start) - 1
            price = steps[place][1] if place >= 0 else self.usd_per_hour
            total += price * (min(high, start + 3600) - max(low, start)) / 3600
            hour += 1
        return total


class _Machine:
    def __init__(self, offer: Offer, disk_gib: float, began: float) -> None:
        self.offer, self.disk_gib, self.made = offer, disk_gib, began
        self.id = ""
        self.on: float | None = began
        self.maybe_off: float | None = None  # a stop that may have had its effect
        self.runs: list[tuple[float, float, bool, Offer]] = []
        self.gone: float | None = None

    def off(self, at: float, at_most: bool = False) -> None:
        if self.on is not None:
            self.runs.append((self.on, max(at, self.on), at_most, self.offer))
        self.on = self.maybe_off = None


def charges(desk: str, rows: Iterable[Row], now: float, seen: Seen | None = None) -> list[Charge]:
    """Everything that one desk's rows (by id) have made and paid; `seen` is what there is of it now.

    Without `seen`, whatever is not known to have ended is taken to go on.
    """
    machines: dict[str, _Machine] = {}  # by token, later by id too
    stored: dict[str, tuple[str, float, float]] = {}  # id or name -> kind, began, US dollars a month
    bill: list[Charge] = []
    last: _Machine | None = None
    unnamed: list[str] = []  # images whose ids are not known yet, by name
    names: dict[str, str] = {}  # of an image: name -> id

    def of(id_: str) -> _Machine | None:
        if id_ in machines:
            return machines[id_]
        if last is not None and not last.id:  # the reply that would have named it was lost
            last.id, machines[id_] = id_, last
            return last
        return None

    def end(id_: str, at: float, usd_per_month: float) -> None:
        if found := stored.pop(id_, None):
            usd = usd_per_month or found[2]
            bill.append(_stored(desk, found[0], id_, found[1], at, usd=usd))

    for row in rows:
        if row.refused:
            continue
        at = row.ended_at or row.at
        match row.step:
            case Launch(order=order):
                machine = machines.get(order.token)
                if machine is None:
                    for other in {id(m): m for m in machines.values()}.values():
                        other.off(row.at, at_most=True)  # there are never two: it had ended by then
                        other.gone = other.gone or row.at
                    machine = machines[order.token] = _Machine(order.offer, order.disk_gib, row.at)
                    last = machine
                if row.done and row.outcome and row.outcome.id:
                    machine.id = row.outcome.id
                    machines[machine.id] = machine
            case Start(id=id_) if (m := of(id_)) is not None:
                m.on = row.at if m.on is None else m.on
            case Stop(id=id_) if (m := of(id_)) is not None:
                if row.done:
                    m.off(at)
                else:
                    m.maybe_off = at
            case Retype(id=id_, offer=offer) if (m := of(id_)) is not None:
                m.off(row.at, at_most=True)  # it is off, whether or not a row says so
                m.offer = offer
            case Prove(id=id_) | Leave(id=id_) if (m := of(id_)) is not None:
                if isinstance(row.step, Leave):
                    m.off(row.at, at_most=True)
            case Bake(order=bake):
                if (m := of(bake.source_id)) is not None:
                    m.off(row.at, at_most=True)
                id_ = _made(row, bake)
                names[bake.name] = id_
                if id_ not in stored and not row.done and id_ not in unnamed:
                    unnamed.append(id_)
                stored.setdefault(id_, ("image", row.at, 0.0))
            case Copy() if row.outcome and row.outcome.id:
                stored.setdefault(row.outcome.id, ("image", row.at, 0.0))
            case Verify(id=id_) if id_ not in stored and unnamed:
                stored[id_] = stored.pop(unnamed.pop())  # the reply that would have named it was lost
            case Delete(id=id_, keep_disk=keep, usd_per_month=usd):
                if id_ in stored or id_ in names:
                    if row.done:
                        end(id_ if id_ in stored else names[id_], at, usd)
                elif (m := machines.get(id_)) is not None:
                    if row.done:
                        m.off(at)
                        m.gone = m.gone or (None if keep else at)
                    else:
                        m.maybe_off = at
                elif usd and row.done and last is not None:  # a disk that its machine left behind
                    last.gone = at
    bill += _machines(desk, {id(m): m for m in machines.values()}.values(), now, seen)
    bill += _still_there(desk, stored, now, seen)
    return sorted(bill, key=lambda c: (c.began, c.kind, c.id))


def _made(row: Row, bake: BakeOrder) -> str:
    return row.outcome.id if row.outcome and row.outcome.id else bake.name


def _machines(desk: str, found: Iterable[_Machine], now: float, seen: Seen | None) -> Iterator[Charge]:
    from hotdesk.core.model import Phase

    on = {i.id for i in seen.machines if i.phase not in {Phase.STOPPED, Phase.ENDING}} if seen else set()
    there = {i.id: i for i in seen.machines} if seen else {}
    for m in found:
        going_on = m.on is not None and (seen is None or m.id in on)
        if m.on is not None and not going_on and m.maybe_off is not None:
            m.off(m.maybe_off)
        elif m.on is not None:
            m.off(now, at_most=not going_on)
        provider = m.offer.provider
        for n, (began, ended, at_most, offer) in enumerate(m.runs):
            more = going_on and n == len(m.runs) - 1
            yield Charge(
                desk=desk, kind="compute", id=m.id, began=began, ended=ended, offer=offer,
                usd_per_hour=offer.usd_per_hour, at_most=at_most, going_on=more,
            )  # fmt: skip
            if usd := ADDRESS_USD.get(provider):
                yield Charge(desk=desk, kind="address", id=m.id, began=began, ended=ended,
                             usd_per_hour=usd, at_most=at_most, going_on=more)  # fmt: skip
        gib = m.disk_gib or (there[m.id].disk_gib if m.id in there else 0.0)
        if usd := gib * DISK_USD.get(provider, 0.0):
            stays = m.id in there or seen is None
            ended = m.gone if m.gone is not None else now
            yield _stored(desk, "disk", m.id, m.made, ended, usd=usd, going_on=m.gone is None and stays)


def _still_there(
    desk: str, stored: Mapping[str, tuple[str, float, float]], now: float, seen: Seen | None
) -> Iterator[Charge]:
    things: dict[str, Disk | Image] = {}
    listed: list[Disk | Image] = [*seen.images, *seen.disks] if seen else []
    for thing in listed:
        things[thing.id] = thing
        if isinstance(thing, Image):
            things[thing.name] = thing
    for id_, (kind, began, usd) in stored.items():
        thing_ = things.get(id_)
        month = thing_.usd_per_month if thing_ else usd
        yield _stored(desk, kind, id_, began, now, usd=month, going_on=thing_ is not None)


def _stored(
    desk: str, kind: str, id_: str, began: float, ended: float, *, usd: float, going_on: bool = False
) -> Charge:
    """Something that is paid by the month."""
    return Charge(
        desk=desk, kind=kind, id=id_, began=began, ended=max(began, ended),
        usd_per_hour=usd / HOURS_PER_MONTH, going_on=going_on,
    )  # fmt: skip


def compute_usd(rows: Iterable[Row], now: float, running: bool) -> float:
    """Compute charges of one desk's rows, in US dollars. `running`: whether a machine of it is on now."""
    bill = charges("", rows, now, None if running else Seen())
    return sum(c.usd(0.0, now) for c in bill if c.kind == "compute")


class Line(Value, frozen=True):
    """What one desk cost in one day or month (UTC, as the clouds bill)."""

    desk: str
    period: str  # 2026-11-23 or 2026-11
    compute: float = 0.0
    disk: float = 0.0
    image: float = 0.0
    address: float = 0.0
    left_on: float = 0.0  # what compute would have cost had the last machine never been turned off
    at_most: bool = False

    @property
    def usd(self) -> float:
        return self.compute + self.disk + self.image + self.address


def lines(
    bill: Sequence[Charge], now: float, *, by: str = "month", prices: Prices | None = None
) -> list[Line]:
    """The bill by desk and day or month, oldest first."""
    found: list[Line] = []
    for desk in sorted({c.desk for c in bill}):
        mine = [c for c in bill if c.desk == desk]
        first = min(c.began for c in mine)
        compute = sorted((c for c in mine if c.kind == "compute"), key=lambda c: c.began)
        for period, since, until in _periods(first, now, by):
            part = [(c, c.usd(since, until, prices)) for c in mine]
            usd = {k: sum(u for c, u in part if c.kind == k) for k in ("compute", "disk", "image", "address")}
            left_on = usd["compute"]
            for n, c in enumerate(compute):  # the gap after each run, at its price
                end = compute[n + 1].began if n + 1 < len(compute) else now
                low, high = max(c.ended, since), min(end, until)
                left_on += c.usd_per_hour * max(0.0, high - low) / 3600
            if any(usd.values()) or left_on:
                at_most = any(c.at_most and u for c, u in part)
                found.append(Line(desk=desk, period=period, left_on=left_on, at_most=at_most, **usd))
    return sorted(found, key=lambda line: (line.period, line.desk))


def _periods(since: float, until: float, by: str) -> Iterator[tuple[str, float, float]]:
    start = datetime.datetime.fromtimestamp(since, datetime.UTC).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    if by == "month":
        start = start.replace(day=1)
    while start.timestamp() < until:
        days = 32 if by == "month" else 1
        end = start + datetime.timedelta(days=days)
        if by == "month":
            end = end.replace(day=1)
        yield start.strftime("%Y-%m" if by == "month" else "%Y-%m-%d"), start.timestamp(), end.timestamp()
        start = end


def this_month(bill: Sequence[Charge], now: float) -> float:
    """What was spent since the month began (UTC)."""
    start = datetime.datetime.fromtimestamp(now, datetime.UTC).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    return sum(c.usd(start.timestamp(), now) for c in bill)
