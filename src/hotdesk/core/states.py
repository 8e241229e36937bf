"""In which states a desk is wanted and its things are seen, and on which market one is rented."""

from __future__ import annotations

from enum import StrEnum


class Goal(StrEnum):
    """The state a desk's owner wants it in. Commands change only this."""

    RUNNING = "running"
    STOPPED = "stopped"  # the machine is off, its disk stays (and is billed)
    PARKED = "parked"  # no machine, no disk: one verified image
    GONE = "gone"  # nothing at all


class Phase(StrEnum):
    """The state of a machine, a disk or an image as the cloud last showed it."""

    PENDING = "pending"  # being made, started or restored
    READY = "ready"  # a running machine, a usable disk, an image that can be launched
    STOPPING = "stopping"
    STOPPED = "stopped"
    VERIFYING = "verifying"  # an image that is being read back
    ENDING = "ending"  # being deleted: its disk may still appear
    ENDED = "ended"  # a machine that is gone but still listed: only its reason is of interest
    FAILED = "failed"


class EndedBy(StrEnum):
    """Who stopped or terminated a machine. Each cloud maps its own codes to these."""

    UNKNOWN = "unknown"
    GUEST = "guest"  # the machine itself: its idle watch, or `shutdown` typed there
    OWNER = "owner"  # a request to the cloud: by hotdesk, or in the console
    PROVIDER = "provider"  # the cloud: an interruption, a fault


class Market(StrEnum):
    ON_DEMAND = "on-demand"
    SPOT = "spot"


class MarketChoice(StrEnum):
    """On which market somebody wants to rent."""

    ON_DEMAND = "on-demand"
    SPOT = "spot"
    CHEAPEST = "cheapest"  # whichever of the two costs less

    @classmethod
    def _missing_(cls, value: object) -> MarketChoice | None:
        return cls.CHEAPEST if value == "" else None  # no preference
