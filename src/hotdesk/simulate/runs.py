"""What many runs over a trace came to, and one of them told tick by tick."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


class Runs(msgspec.Struct):
    """What many runs came to; arrays in the order the runs were given."""

    usd: Any
    spot_hours: Any
    on_demand_hours: Any
    finish_hours: Any  # infinite where it never finished
    late: Any
    interruptions: Any
    starts: Any
    egress_usd: Any = 0.0


class Story(msgspec.Struct):
    """One run, tick by tick."""

    hours: Any
    mode: Any
    zone: Any
    done_hours: Any  # work done at the beginning of each tick


def last_flips(up: Array) -> Array:
    """For each zone and tick, the tick at which its present spell began."""
    import numpy as np

    ticks = np.broadcast_to(np.arange(up.shape[1]), up.shape)
    changed = np.zeros(up.shape, dtype=bool)
    changed[:, 1:] = up[:, 1:] != up[:, :-1]
    return np.maximum.accumulate(np.where(changed, ticks, 0), axis=1)
