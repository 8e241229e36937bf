"""A group of equal machines, launched several at a time: the orders, and how a cloud answers them.

Its machines carry the group's name where others carry their desk's, so every survey shows them together, and
nothing of a desk's own life touches them. They hold no work: their disks end with them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

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
    held: str = ""  # who goes on with it, if not the computer that began it: each machine is born with that

    @property
    def region(self) -> str:
        return self.offers[0].region

    @property
    def token(self) -> str:
        """The idempotency token (24 hex digits)."""
        import hashlib  # OpenSSL: 4 MB, also where a far machine only sends files

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


# ---- which computer goes on with it ------------------------------------------------------------------


class Hold(Value, frozen=True):
    """The computer that goes on with a fleet. Whoever takes it over raises the number; 0: where it began."""

    number: int = 0
    computer: str = ""

    def __str__(self) -> str:
        return f"{self.number} {self.computer}" if self.number else ""

    @classmethod
    def read(cls, text: str) -> Hold:
        """A hold as it is written down; that of the beginning for anything else."""
        number, _, computer = text.partition(" ")
        return cls(number=int(number), computer=computer) if number.isdecimal() and computer else cls()

    def ends(self, mine: Hold) -> bool:
        """Whether this one ends mine: a later one, or another at the same time."""
        return self.number > mine.number or (self.number == mine.number > 0 and self != mine)


class Holds(Protocol):
    """Where computers that share a cloud account see who goes on with a fleet.

    It stands on the image, which outlives every machine, and on each machine, where every look shows it.
    """

    def tags(self, machine_id: str) -> Mapping[str, str]:
        """Our tags of a machine, as last looked at."""
        ...

    def of_image(self, fleet: str, image_id: str) -> Hold:
        """What the image says of the fleet now. Raises `Refused`, also where the image is gone."""
        ...

    def write(self, fleet: str, image_id: str, machine_ids: Collection[str], hold: Hold) -> None:
        """Write it on the image, then on these machines; one that is gone is no error. Raises `Refused`."""
        ...

    def settle(self, image_id: str, over: Mapping[str, Hold]) -> None:
        """Put marks of fleets that are over, and that this computer had last, into few tags of their image.

        They say the same as before to a computer that comes back late; an image takes 20 tags, or 50. One
        that another computer has marked since is left alone. Raises `Refused`: each mark still stands then.
        """
        ...
