"""How a cloud tells all that it sells, and for how much: what the market asks, and what it is told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from hotdesk.core.matching import InstanceType
from hotdesk.core.model import SHIPPED, Offer
from hotdesk.core.ports import Cache

#: In the source of a price that nobody told: it follows from others, and is shown with a "~".
ESTIMATED = "estimated"
#: How the source of a price begins that a table which ships with hotdesk tells the market.
SHIPPED_TABLE = "shipped table"


class Shipped(NamedTuple):
    """An on-demand price of the table that ships with hotdesk."""

    usd: float  # an hour
    time: float  # when it was so
    source: str = SHIPPED


def is_estimate(source: str) -> bool:
    return ESTIMATED in source


def is_shipped(source: str) -> bool:
    return source.startswith((SHIPPED, SHIPPED_TABLE))


class Gathering(NamedTuple):
    """One round of questions."""

    cache: Cache  # read and written in the asking thread only
    now: float
    settings: Any = None  # of the type that the cloud's `settings` names; None: its defaults
    regions: Sequence[str] = ()  # (): all that are enabled
    names: Callable[[Collection[InstanceType]], Collection[str]] = lambda types: ()  # the types that matter
    known_types: Collection[str] = ()
    known_regions: Collection[str] = ()
    limit_seconds: float = 60.0  # for all of it
    list_seconds: float = 15.0  # of them for on-demand prices, which may be told slowly
    progress: Callable[[str], None] = lambda text: None


class Lacks(msgspec.Struct):
    """What a gathering did not get: regions whose prices are not today's, and why."""

    listed: list[str] = []  # no on-demand prices: the shipped table stands in
    silent: dict[str, str] = {}  # no spot prices, or nothing at all
    named: dict[str, float] = {}  # types whose on-demand price was told in every region, and when


class Told(NamedTuple):
    types: Sequence[InstanceType] = ()
    offers: Sequence[Offer] = ()  # as the cloud itself prices them
    spot: Collection[str] = ()  # regions whose spot prices these are
    listed: Collection[str] = ()  # regions whose on-demand prices these are, of all types
    bands: Mapping[tuple[str, str], int] = {}  # by (region, type): how often spot machines are taken
    savings: Mapping[tuple[str, str], float] = {}  # by (region, type): percent below on-demand, on average
    savings_time: float = 0.0
    lacks: Lacks = Lacks()
    notes: Sequence[str] = ()
    dropped: Mapping[str, int] = {}  # broken rows, by what is wrong with them


class PriceList(Protocol):
    """Where a cloud's prices come from. Made for one gathering."""

    def jobs(self) -> Mapping[str, Callable[[], None]]:
        """What to ask, by whom it is asked: each in a thread, until time is up. One may raise."""
        ...

    def told(self) -> Told:
        """What was heard until now, in the asking thread."""
        ...
