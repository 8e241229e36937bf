"""Charges as a bill: by desk, and by day or month (UTC, as the clouds bill), in US dollars."""

from __future__ import annotations

import datetime
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
    found: list[Line] = []
    for desk in sorted({c.desk for c in bill}):
        mine = [c for c in bill if c.desk == desk]
        first = min(c.began for c in mine)
        compute = sorted((c for c in mine if c.kind == "compute"), key=lambda c: c.began)
        for period, since, until in _periods(first, now, by):
            part = [(c, c.usd(since, until, prices)) for c in mine]
            usd = {k: sum(u for c, u in part if c.kind == k) for k in KINDS}
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


def month_began(now: float) -> float:
    start = datetime.datetime.fromtimestamp(now, datetime.UTC).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    return start.timestamp()


def this_month(bill: Sequence[Charge], now: float, prices: Prices | None = None) -> float:
    """Spending since the month began."""
    return sum(c.usd(month_began(now), now, prices) for c in bill)
