"""A group of equal machines, launched several at a time: the orders, and how a cloud answers them.

Its machines carry the group's name where others carry their desk's, so every survey shows them together, and
nothing of a desk's own life touches them. They hold no work: their disks end with them.
"""

from __future__ import annotations

import hashlib

import msgspec

from hotdesk.core.errors import Kind
from hotdesk.core.model import Offer, Value


class FleetOrder(Value, frozen=True):
    """Up to `count` machines out of these pools, by one request. Only equal orders have equal tokens."""

    fleet: str  # the group's name: 1 to 32 characters, as a desk's
    desk: str  # whose image they start from, and whose keys open them
    number: int  # raised for each further order of the group
    count: int
    offers: tuple[Offer, ...]  # the pools, best first: of one region and one market
    image_id: str

    @property
    def region(self) -> str:
        return self.offers[0].region

    @property
    def token(self) -> str:
        """The idempotency token (24 hex digits)."""
        told = (self.fleet, self.number, self.count, [o.key for o in self.offers], self.image_id)
        return hashlib.sha256(msgspec.json.encode(told)).hexdigest()[:24]

    @property
    def name(self) -> str:
        return f"hotdesk-{self.fleet}"


class Launched(Value, frozen=True):
    """A machine that an order has launched."""

    id: str
    offer: Offer


class Shortage(Value, frozen=True):
    """Why a pool gave fewer machines than it was asked for; valid for so long."""

    key: str  # of the pool: Offer.key
    kind: Kind
    message: str
    seconds: float


class FleetReply(Value, frozen=True):
    """What became of an order: fewer machines than asked for is no error."""

    machines: tuple[Launched, ...] = ()
    shortages: tuple[Shortage, ...] = ()
