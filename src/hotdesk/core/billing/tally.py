"""What one desk has cost, added up so that it can be told later without its journal.

A desk's charges are computed as of now and as of a time long after. One that is the same at both is over;
one that ends "now" at both goes on at its price. Where any does neither (an end that is about to be known, a
clock that was set back), the tally holds for this moment alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from hotdesk.core.billing.rates import HOURS_PER_MONTH, Charge, Prices
from hotdesk.core.billing.statement import LEFT_ON, Line, Sums
from hotdesk.core.model import Value
from hotdesk.core.money import Amount, sums
from hotdesk.core.pricelist import is_shipped

_LONG_SECONDS = 1e9  # no run, and no error of a clock, is as long


class Spot(Value, frozen=True):
    """A charge that is paid at each hour's price, which only its cloud knows."""

    charge: Charge
    goes_on: bool = False
    surely: bool = False  # whether that is certain too

    def until(self, now: float) -> Charge:
        more = {"ended": now} if self.goes_on else {}
        return msgspec.structs.replace(self.charge, **more, **({"sure_until": now} if self.surely else {}))


class Tally(Value, frozen=True):
    """What one desk's charges come to at a time, and what each further hour adds while nothing changes."""

    desk: str
    at: float
    lasts: bool  # whether it tells more than what the cost was then
    usd: float = 0.0  # all of it at launch prices; nominal where its cloud tells another currency
    usd_per_hour: float = 0.0
    # The bill, by month or day: of what is told in dollars, without `spot`.
    since: float = math.inf  # when the first charge began
    lines: tuple[Line, ...] = ()
    per_hour: Mapping[str, float] = msgspec.field(default_factory=dict)  # by kind
    at_most: tuple[str, ...] = ()  # kinds of which something has perhaps ended already
    spot: tuple[Spot, ...] = ()
    last_run: tuple[float, float] | None = None  # the end and the price of the last machine that is off
    # In currencies without a rate.
    besides: tuple[Amount, ...] = ()
    besides_per_hour: tuple[Amount, ...] = ()
    # What is stored now, a month.
    stored: float = 0.0
    stored_besides: tuple[Amount, ...] = ()
    compute_price_time: float | None = None  # of the oldest shipped price in it; None: there is none
    storage_price_time: float | None = None

    def usd_at(self, now: float) -> float:
        return self.usd + self.usd_per_hour * self._hours(now)

    def besides_at(self, now: float) -> tuple[Amount, ...]:
        more = [amount.times(self._hours(now)) for amount in self.besides_per_hour]
        return sums((0.0, amount) for amount in (*self.besides, *more))[1]

    def spot_at(self, now: float) -> list[Charge]:
        return [charge.until(now) for charge in self.spot]

    def _hours(self, now: float) -> float:
        return (now - self.at) / 3600


def tally(desk: str, count: Callable[[float], Sequence[Charge]], now: float, by: str = "") -> Tally:
    """Add up what `count` says of one desk, which it is asked for as of two times.

    `by`: the periods of its lines, "day" or "month"; "": there are none, nor anything that only they need.
    """
    bill = count(now)
    going = _going_on(bill, count(now + _LONG_SECONDS), now)
    on = going or list(itertools.repeat((False, False), len(bill)))
    short = Tally(
        desk=desk,
        at=now,
        lasts=going is not None,
        usd=sum(c.usd(0.0, now) for c in bill),
        usd_per_hour=sum(c.usd_per_hour for c, (goes_on, _) in zip(bill, on, strict=True) if goes_on),
    )
    return _with_lines(short, bill, on, now, by) if by else short


def _going_on(bill: Sequence[Charge], later: Sequence[Charge], now: float) -> list[tuple[bool, bool]] | None:
    """Of each charge, whether it goes on, and whether that is certain; None: there is more to it."""
    if len(bill) != len(later):
        return None
    found = []
    for charge, then in zip(bill, later, strict=True):
        if charge.began >= now or charge.ended > now:  # what is paid once, just now, is in no line yet
            return None
        goes_on = charge.ended == now and then.ended == now + _LONG_SECONDS
        surely = charge.sure_until == now and then.sure_until == now + _LONG_SECONDS
        if charge != then:
            if Spot(charge=charge, goes_on=goes_on, surely=surely).until(now + _LONG_SECONDS) != then:
                return None
            if goes_on and not surely and charge.sure_until is not None and not charge.at_most:
                return None  # it soon will be: an upper bound
        found.append((goes_on, surely))
    return found


def _with_lines(
    short: Tally, bill: Sequence[Charge], on: Sequence[tuple[bool, bool]], now: float, by: str
) -> Tally:
    dollars = [(c, how) for c, how in zip(bill, on, strict=True) if c.is_in_dollars]
    others = [(c, how) for c, how in zip(bill, on, strict=True) if not c.is_in_dollars]
    since = min((c.began for c, _ in dollars), default=math.inf)
    table, per_hour, at_most = Sums(min(since, now), now, by), dict[str, float](), set[str]()
    spot = []
    for c, (goes_on, surely) in dollars:
        if c.is_spot:
            spot.append(Spot(charge=c, goes_on=goes_on, surely=surely))
            continue
        table.add(c)
        if goes_on:
            per_hour[c.kind] = per_hour.get(c.kind, 0.0) + c.usd_per_hour
            at_most |= {c.kind} if c.at_most and c.usd_per_hour else set()
    last = table.gaps([c for c, _ in dollars])
    is_off = last is not None and not any(goes_on for c, (goes_on, _) in dollars if c is last)
    shipped = [c.offer.price_time for c, _ in dollars if c.offer and is_shipped(c.offer.source)]
    stored, stored_besides = sums(c.as_told(c.usd_per_hour * HOURS_PER_MONTH) for c in bill if c.is_stored)
    return msgspec.structs.replace(
        short,
        since=since,
        lines=tuple(table.lines()),
        per_hour=per_hour,
        at_most=tuple(sorted(at_most)),
        spot=tuple(spot),
        last_run=(last.ended, last.usd_per_hour) if last and is_off else None,
        besides=sums(c.as_told(c.usd(0.0, now)) for c, _ in others)[1],
        besides_per_hour=sums(c.as_told(c.usd_per_hour) for c, (goes_on, _) in others if goes_on)[1],
        stored=stored,
        stored_besides=stored_besides,
        compute_price_time=min((at for at in shipped if at), default=None),
        storage_price_time=min((c.price_time for c, _ in dollars if c.price_time), default=None),
    )


def lines(tallies: Iterable[Tally], now: float, *, by: str, prices: Prices | None = None) -> list[Line]:
    """The bill by desk and day or month (as the tallies have them), oldest first."""
    tallies = list(tallies)
    table = Sums(min([now, *(t.since for t in tallies)]), now, by)
    for t in tallies:
        for line in t.lines:
            table.take(line)
        for kind, usd in t.per_hour.items():
            table.grow(t.desk, kind, usd, t.at, now, at_most=kind in t.at_most)
        for charge in t.spot_at(now):
            table.add(charge, prices)
        if t.last_run:
            table.grow(t.desk, LEFT_ON, t.last_run[1], t.last_run[0], now)
    return table.lines()
