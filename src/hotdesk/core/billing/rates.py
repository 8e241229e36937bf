"""Charges, provider rates and hourly spot billing."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence

from hotdesk.core.model import Market, Offer, Value
from hotdesk.core.money import Amount, in_same, is_comparable

HOURS_PER_MONTH = 730.0  # as the clouds count
UNSURE_SECONDS = 180.0  # what calls and listings take: an end known to within this is known


class Rates(Value, frozen=True):
    """What a cloud charges besides its machines, in US dollars, and how it bills time."""

    disk_usd_per_gib_month: float = 0.0
    image_usd_per_gib_month: float = 0.0
    address_usd_per_hour: float = 0.0
    copy_usd_per_gib: float = 0.0  # to another region, by the one that it leaves
    out_usd_per_gib: float | None = 0.0  # to the internet; None: not known
    minimum_seconds: float = 0.0  # of each start of a machine
    disk_gib: float = 0.0  # a machine's disk, where nothing tells its size any more
    price_time: float | None = None  # of disks and images: when that was so, where the cloud did not tell it
    told_per_usd: Amount | None = None  # one dollar of disks, images and copies as the cloud tells it


def rates_of(rates: Mapping[str, Rates], provider: str, region: str = "") -> Rates:
    """A cloud's rates in that region, as far as they are known."""
    return rates.get(f"{provider}/{region}") or rates.get(provider) or Rates()


Prices = Mapping[str, Sequence[tuple[float, float]]]  # offer key -> (time, US dollars an hour), by time


class Charge(Value, frozen=True):
    """One thing that was paid for from `began` to `ended` (our clock), or once."""

    desk: str
    kind: str  # compute | disk | image | address | transfer
    id: str
    began: float
    ended: float
    usd_per_hour: float
    offer: Offer | None = None  # of compute
    sure_from: float | None = None  # None: `began`
    sure_until: float | None = None  # None: `ended`
    going_on: bool = False
    usd_once: float = 0.0  # paid when it began
    price_time: float | None = None  # of a disk or an image: see `Rates`
    told_per_usd: Amount | None = None  # of what is not compute: see `Rates`
    provider: str = ""

    def as_told(self, usd: float) -> tuple[float, Amount | None]:
        """So many of its dollars, and the same as its cloud tells it; None: in dollars."""
        told = in_same(usd, self.offer) if self.offer else self.told_per_usd and self.told_per_usd.times(usd)
        return usd, told

    @property
    def is_in_dollars(self) -> bool:
        """Whether its dollars mean something: its cloud tells dollars, or the user has set a rate."""
        return is_comparable(self.as_told(1.0)[1])

    @property
    def is_spot(self) -> bool:
        return self.offer is not None and self.offer.market is Market.SPOT

    @property
    def is_stored(self) -> bool:
        """Whether it is of a disk or an image that is there now."""
        return self.going_on and self.kind in {"disk", "image"}

    @property
    def at_most(self) -> bool:
        """Whether this is an upper bound: the true end is unknown, and was earlier."""
        return self.sure_until is not None and self.ended - self.sure_until > UNSURE_SECONDS

    def usd(self, since: float, until: float, prices: Prices | None = None) -> float:
        """Upper bound of the cost between two times. Spot: each hour since its start at its own price."""
        once = self.usd_once if since <= self.began < until else 0.0
        return once + self._usd(max(since, self.began), min(until, self.ended), prices)

    def usd_least(self, since: float, until: float, prices: Prices | None = None) -> float:
        """The cost between two times that is certain."""
        low = self.began if self.sure_from is None else self.sure_from
        high = self.ended if self.sure_until is None else self.sure_until
        return self._usd(max(since, low), min(until, high), prices)

    def _usd(self, low: float, high: float, prices: Prices | None) -> float:
        if high <= low:
            return 0.0
        steps = prices.get(self.offer.key) if prices and self.offer else None
        if not steps or not self.is_spot:
            return self.usd_per_hour * (high - low) / 3600
        times, total = [at for at, _ in steps], 0.0
        hour = int((low - self.began) // 3600)
        while (start := self.began + hour * 3600) < high:
            place = bisect.bisect_right(times, start) - 1
            price = steps[place][1] if place >= 0 else self.usd_per_hour
            total += price * (min(high, start + 3600) - max(low, start)) / 3600
            hour += 1
        return total
