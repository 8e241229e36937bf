"""Charges as a bill: by desk, and by day or month (UTC, as the clouds bill), in US dollars."""

from __future__ import annotations

import datetime
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from hotdesk.core.billing.rates import Charge, Prices
from hotdesk.core.model import Value

KINDS = ("compute", "disk", "image", "address", "transfer")
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


def lines(
    bill: Sequence[Charge], now: float, *, by: str = "month", prices: Prices | None = None
) -> list[Line]:
    """The bill by desk and day or month, oldest first."""
    by_desk: dict[str, list[Charge]] = {}
    for charge in bill:
        by_desk.setdefault(charge.desk, []).append(charge)
    found = [line for desk, mine in by_desk.items() for line in _lines_of(desk, mine, now, by, prices)]
    return sorted(found, key=lambda line: (line.period, line.desk))


def _lines_of(
    desk: str, bill: Sequence[Charge], now: float, by: str, prices: Prices | None
) -> Iterator[Line]:
    periods = list(_periods(min(c.began for c in bill), now, by))
    usd = [dict.fromkeys(KINDS, 0.0) for _ in periods]
    at_most = [False for _ in periods]
    for c in bill:
        for n, since, until in _within(periods, c.began, c.ended):
            part = c.usd(since, until, prices)
            usd[n][c.kind] += part
            at_most[n] |= bool(part) and c.at_most
    left_on = [of["compute"] for of in usd]
    compute = sorted((c for c in bill if c.kind == "compute"), key=lambda c: c.began)
    for c, later in zip(compute, [*compute[1:], None], strict=False):  # the gap after each run, at its price
        end = later.began if later else now
        for n, since, until in _within(periods, c.ended, end):
            left_on[n] += c.usd_per_hour * max(0.0, min(end, until) - max(c.ended, since)) / 3600
    for n, (period, _, _) in enumerate(periods):
        if any(usd[n].values()) or left_on[n]:
            yield Line(desk=desk, period=period, left_on=left_on[n], at_most=at_most[n], **usd[n])


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
        yield start.strftime("%Y-%m" if by == "month" else "%Y-%m-%d"), start.timestamp(), end.timestamp()
        start = end


def month_began(now: float) -> float:
    start = datetime.datetime.fromtimestamp(now, datetime.UTC).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    return start.timestamp()


def this_month(bill: Sequence[Charge], now: float, prices: Prices | None = None) -> float:
    """Spending since the month began."""
    return sum(c.usd(month_began(now), now, prices) for c in bill)
