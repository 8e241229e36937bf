"""Estimate zones' hazards from traces: the chance of a flip within ten minutes, by the age of the state."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log1p
from typing import TYPE_CHECKING, Any

from hotdesk.core.spot.policy import EDGES_SECONDS, FALLS, RISES

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: (falls, rises): chances of a zone that is up to go down, and of one that is down to come up.
Hazards = tuple[tuple[float, ...], tuple[float, ...]]


def fit(traces: Sequence[NDArray[Any]], tick_seconds: float, *, belief: float = 2.0) -> Hazards:
    """Hazards of these traces (bool for each tick), with `belief` flips' worth of the shipped ones mixed in.

    The first spell of a trace is left out, for its age is not known. Rates are flips by time at risk.
    """
    import numpy as np

    edges = np.array(EDGES_SECONDS)
    count = len(edges) + 1
    flips, seconds = np.zeros((2, count)), np.zeros((2, count))
    for up in traces:
        state = np.asarray(up).astype(np.int64)
        changes = np.flatnonzero(np.diff(state)) + 1
        if not len(changes):
            continue
        ticks = np.arange(len(state))
        begun = np.zeros(len(state), dtype=np.int64)
        begun[changes] = changes
        age = (ticks - np.maximum.accumulate(begun)) * tick_seconds
        known = (ticks >= changes[0]) & (ticks < len(state) - 1)
        bucket = np.searchsorted(edges, age, side="right")
        np.add.at(seconds, (state[known], bucket[known]), tick_seconds)
        last = changes[1:] - 1
        np.add.at(flips, (state[last], bucket[last]), 1)
    shipped = np.array([[-log1p(-chance) / 600 for chance in chances] for chances in (RISES, FALLS)])
    # Counts say how many of the ticks at risk flipped; as rates they hold for any tick.
    share = np.minimum(flips / np.maximum(seconds / tick_seconds, 1e-9), 0.999)
    rates = np.where(seconds > 0, -np.log1p(-share) / tick_seconds, shipped)
    weight = flips / (flips + belief)
    rates = weight * rates + (1 - weight) * shipped
    rises, falls = (tuple(1 - exp(-rate * 600) for rate in row) for row in rates)
    return falls, rises
