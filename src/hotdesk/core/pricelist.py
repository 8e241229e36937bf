"""The interface for a cloud's price list: the request (`Gathering`) and the answer (`Told`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from hotdesk.core.matching import InstanceType
from hotdesk.core.model import SHIPPED, Offer
from hotdesk.core.money import Amount, Money
from hotdesk.core.ports import Cache

#: In the source of a price that was derived from other prices; shown with a "~".
ESTIMATED = "estimated"
#: Start of the source of a price that comes from a table shipped with hotdesk.
SHIPPED_TABLE = "shipped table"


class Shipped(NamedTuple):
    """An on-demand price of the table that ships with hotdesk."""

    usd: float  # an hour
    time: float  # when it was valid
    source: str = SHIPPED
    told: Amount | None = None  # the same as the cloud told it, if not in US dollars


def is_estimate(source: str) -> bool:
    return ESTIMATED in source


def is_shipped(source: str) -> bool:
    return source.startswith((SHIPPED, SHIPPED_TABLE))


class Gathering(NamedTuple):
    """One request for a cloud's prices."""

    cache: Cache  # read and written in the calling thread only
    now: float
    settings: Any = None  # of the type that the cloud's `settings` names; None: its defaults
    money: Money = Money()  # turns prices in other currencies into dollars
    regions: Sequence[str] = ()  # (): all that are enabled
    names: Callable[[Collection[InstanceType]], Collection[str]] = lambda types: ()  # the types of interest
    known_types: Collection[str] = ()
    known_regions: Collection[str] = ()
    limit_seconds: float = 60.0  # time limit for all of it
    list_seconds: float = 15.0  # of that, for on-demand prices, which may be slow
    progress: Callable[[str], None] = lambda text: None


class Lacks(msgspec.Struct):
    """What a gathering did not get: regions whose prices are not today's, and why."""

    listed: list[str] = []  # no on-demand prices: the shipped table is used instead
    silent: dict[str, str] = {}  # no spot prices, or nothing at all
    named: dict[str, float] = {}  # types whose on-demand price was received in every region, and when


class Told(NamedTuple):
    types: Sequence[InstanceType] = ()
    offers: Sequence[Offer] = ()  # with the cloud's own prices
    spot: Collection[str] = ()  # regions with complete spot prices
    listed: Collection[str] = ()  # regions with complete on-demand prices
    bands: Mapping[tuple[str, str], int] = {}  # by (region, type): band of the spot interruption frequency
    savings: Mapping[tuple[str, str], float] = {}  # by (region, type): percent below on-demand, on average
    savings_time: float = 0.0
    lacks: Lacks = Lacks()
    notes: Sequence[str] = ()
    reserved: Sequence[Offer] = ()  # places that the account pays for already
    dropped: Mapping[str, int] = {}  # number of invalid rows, by what is wrong with them


class PriceList(Protocol):
    """A cloud's source of prices. Created for one gathering."""

    def jobs(self) -> Mapping[str, Callable[[], None]]:
        """Requests by the name of their source; each runs in a thread, until time is up. One may raise."""
        ...

    def told(self) -> Told:
        """What was received so far. Called in the calling thread."""
        ...
