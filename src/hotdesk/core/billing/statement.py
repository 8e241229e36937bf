"""Charges as a bill: by desk, and by day or month (UTC, as the clouds bill), in US dollars."""

from __future__ import annotations

import datetime
import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from hotdesk.core.billing.rates import Charge, Prices
from hotdesk.core.model import Value

KINDS = ("compute", "disk", "image", "address", "transfer")
LEFT_ON = "left_on"
#: What a cloud charges and no journal shows; printed with every bill.
NOT_COUNTED = ("transfer to the internet (not measured)", "taxes")


class Line(Value, frozen=True):
    """What one desk cost in one day or month."""

    desk: str
    period: str  # 2026-11-23 or 2026-11
    compute: float = 0.0
    disk: float = 0.0
    image: float = 0.0
    address: float = 0.0
    transfer: float = 0.0  # between regions
    left_on: float = 0.0  # cost of compute had the last machine never been stopped
    at_most: bool = False

    @property
    def usd(self) -> float:
        return self.compute + self.disk + self.image + self.address + self.transfer


class Sums:
    """Money by desk and by day or month, from `since` until now."""

    def __init__(self, since: float, now: float, by: str) -> None:
        self._periods = list(_periods(since, now, by))
        self._places = {period: n for n, (period, _, _) in enumerate(self._periods)}
        self._by: dict[tuple[str, int], _Sum] = {}

    def add(self, charge: Charge, prices: Prices | None = None) -> None:
        for n, since, until in _within(self._periods, charge.began, charge.ended):
            part = charge.usd(since, until, prices)
            self._of(charge.desk, n).add(charge.kind, part, at_most=charge.at_most)

    def grow(
        self, desk: str, kind: str, usd_per_hour: float, since: float, until: float, *, at_most: bool = False
    ) -> None:
        """Something went on between these two times; `kind` LEFT_ON: something could have."""
        for n, began, ended in _within(self._periods, since, until):
            part = usd_per_hour * max(0.0, min(until, ended) - max(since, began)) / 3600
            self._of(desk, n).add(kind, part, at_most=at_most)

    def gaps(self, bill: Sequence[Charge]) -> Charge | None:
        """What one desk's machines would have cost between their runs, at each one's price; the last run."""
        compute = sorted((c for c in bill if c.kind == "compute"), key=lambda c: c.began)
        for c, later in itertools.pairwise(compute):
            self.grow(c.desk, LEFT_ON, c.usd_per_hour, c.ended, later.began)
        return compute[-1] if compute else None

    def take(self, line: Line) -> None:
        """What was summed up before."""
        mine = self._of(line.desk, self._places[line.period])
        for kind in KINDS:
            mine.usd[kind] += getattr(line, kind)
        mine.usd[LEFT_ON] += line.left_on - line.compute
        mine.at_most |= line.at_most

    def lines(self) -> list[Line]:
        """All of it, oldest first."""
        found = []
        for (desk, n), mine in self._by.items():
            if any(mine.usd.values()):
                of = {**mine.usd, LEFT_ON: mine.usd[LEFT_ON] + mine.usd["compute"]}
                found.append(Line(desk=desk, period=self._periods[n][0], at_most=mine.at_most, **of))
        return sorted(found, key=lambda line: (line.period, line.desk))

    def _of(self, desk: str, n: int) -> _Sum:
        if (mine := self._by.get((desk, n))) is None:
            mine = self._by[desk, n] = _Sum()
        return mine


class _Sum:
    def __init__(self) -> None:
        self.usd = dict.fromkeys((*KINDS, LEFT_ON), 0.0)
        self.at_most = False

    def add(self, kind: str, usd: float, *, at_most: bool) -> None:
        self.usd[kind] += usd
        self.at_most |= at_most and bool(usd)


def lines(
    bill: Sequence[Charge], now: float, *, by: str = "month", prices: Prices | None = None
) -> list[Line]:
    """The bill by desk and day or month, oldest first."""
    by_desk: dict[str, list[Charge]] = {}
    for charge in bill:
        by_desk.setdefault(charge.desk, []).append(charge)
    sums = Sums(min((c.began for c in bill), default=now), now, by)
    for desk, mine in by_desk.items():
        for charge in mine:
            sums.add(charge, prices)
        if last := sums.gaps(mine):
            sums.grow(desk, LEFT_ON, last.usd_per_hour, last.ended, now)
    return sums.lines()


def _within(
    periods: Sequence[tuple[str, float, float]], since: float, until: float
) -> Iterator[tuple[int, float, float]]:
    """The periods that this time touches, with their places."""
    first = bisect_right(periods, since, key=lambda period: period[2])
    for n in range(first, len(periods)):
        _, began, ended = periods[n]
        if began > until:
            return
        yield n, began, ended


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
        name = start.strftime("%Y-%m" if by == "month" else "%Y-%m-%d")
        yield name, start.timestamp(), min(end.timestamp(), until)
        start = end


def month_began(now: float) -> float:
    start = datetime.datetime.fromtimestamp(now, datetime.UTC).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    return start.timestamp()


def this_month(bill: Sequence[Charge], now: float, prices: Prices | None = None) -> float:
    """Spending since the month began."""
    return sum(c.usd(month_began(now), now, prices) for c in bill)
