"""Money that a cloud tells in another currency than US dollars.

Inside, all money is US dollars, so that prices can be added, sorted and compared. What a cloud told in
another currency stays beside them as an `Amount`, and is what people see. The rate between the two is the
user's ([money] in hotdesk.toml): hotdesk asks nobody for one. Without it, dollars come from a nominal rate
that only puts prices in order: nobody is shown them, and no limit in dollars is judged by them.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import msgspec

from hotdesk.core.errors import NotAllowed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hotdesk.core.model import Offer

#: How many of a currency count as a dollar where no rate is set: for the order of prices, not for their size.
_NOMINAL = {"CNY": 7.0}


def figure(value: float) -> str:
    """Four digits, or all before the point: 0.0416, 9.53, 12,345."""
    return f"{value:,.4g}" if abs(value) < 999.95 else f"{value:,.0f}"


class Amount(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Money as a cloud told it: 9.53 CNY."""

    value: float
    currency: str
    day: str = ""  # of the rate by which it was turned into dollars; "": there is none

    def times(self, factor: float) -> Amount:
        return Amount(self.value * factor, self.currency, self.day)

    def __str__(self) -> str:
        return f"{figure(self.value)} {self.currency}"


class Money(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The section [money] of hotdesk.toml."""

    cny_per_usd: float = 0.0  # 0: no rate
    day: datetime.date | None = None  # when that was so

    def rate(self, currency: str) -> float:
        """How many of that currency are a dollar; 0: no rate is set."""
        return float(getattr(self, f"{currency.lower()}_per_usd", 0.0))

    def day_of(self, currency: str) -> str:
        """The day of that rate; "": there is none."""
        return str(self.day or "") if self.rate(currency) else ""

    def per_usd(self, currency: str) -> Amount | None:
        """A dollar in that currency, by this rate or the nominal one; None: that currency is the dollar.

        Raises `ValueError` for a currency that hotdesk does not know.
        """
        if currency == "USD":
            return None
        if currency not in _NOMINAL:
            raise ValueError(f"hotdesk does not know the currency {currency!r}")
        day = self.day_of(currency)
        return Amount(self.rate(currency) if day else _NOMINAL[currency], currency, day)

    def dollars(self, value: float, currency: str) -> tuple[float, Amount | None]:
        """US dollars, and the amount as it was told; None if that is in dollars. Raises as `per_usd`."""
        one = self.per_usd(currency)
        return (value / one.value, Amount(value, currency, one.day)) if one else (value, None)


def is_comparable(told: Amount | None) -> bool:
    """Whether a price, told so, can be compared with a limit in US dollars."""
    return told is None or bool(told.day)


def in_same(usd: float, offer: Offer) -> Amount | None:
    """Dollars paid at an offer's price, in the currency in which that was told; None: in dollars."""
    told = offer.told_per_hour
    return told and told.times(usd / offer.usd_per_hour) if offer.usd_per_hour else told


def shown(usd: float, told: Amount | None = None, each: str = "") -> str:
    """Money as people read it, as `each` " a month"; with its dollars, where it is told in another currency
    and a rate is set."""
    if told is None:
        return f"${usd:,.2f}{each}"
    return f"{told}{each} (${usd:,.2f})" if is_comparable(told) else f"{told}{each}"


def sums(paid: Iterable[tuple[float, Amount | None]]) -> tuple[float, tuple[Amount, ...]]:
    """US dollars of all that can be compared with them, and one sum for each currency without a rate."""
    usd, others = 0.0, dict[str, float]()
    for dollars, told in paid:
        if told is None or is_comparable(told):
            usd += dollars
        else:
            others[told.currency] = others.get(told.currency, 0.0) + told.value
    return usd, tuple(Amount(value, currency) for currency, value in sorted(others.items()))


def per_hour(usd: float, told: Amount | None = None) -> str:
    """A price an hour as people read it; with its dollars, where a rate is set."""
    if told is None:
        return f"${figure(usd)}/h" if usd else "free"
    return f"{told}/h (${figure(usd)})" if is_comparable(told) else f"{told}/h"


def rate_line(currency: str) -> str:
    """What to write down where a currency has no rate."""
    return f"{currency.lower()}_per_usd = …   # under [money] in hotdesk.toml: the rate, and its day"


def judge(told: Amount | None, limit: str) -> None:
    """Raises `NotAllowed` where a limit in dollars cannot be judged: the price is told in a currency without
    a rate."""
    if told is not None and not is_comparable(told):
        raise NotAllowed(
            f"{limit} cannot be compared with prices in {told.currency}.",
            "hotdesk.toml has no rate between the two, and hotdesk does not guess one.",
            rate_line(told.currency),
        )
