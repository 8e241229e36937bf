"""Prices for an hour in the currency of the account, and as a tag's value."""

from __future__ import annotations

from typing import NamedTuple

from hotdesk.core.model import Offer

#: Prices in another (an account in Japan has yen) are as good as not told: nothing compares them.
CURRENCIES = frozenset({"CNY", "USD"})


class Price(NamedTuple):
    """Money for an hour, in the account's currency: CNY in mainland China, else mostly USD."""

    value: float
    currency: str = "CNY"

    def __str__(self) -> str:
        return f"{self.value:g} {self.currency}"


def of(offer: Offer) -> Price:
    """The price of an offer as its cloud told it."""
    told = offer.told_per_hour
    return Price(told.value, told.currency) if told else Price(offer.usd_per_hour, "USD")


def read(text: str) -> Price | None:
    """The price in a tag; None if it is none."""
    value, _, currency = text.partition(" ")
    try:
        return Price(float(value), currency) if currency in CURRENCIES else None
    except ValueError:
        return None
