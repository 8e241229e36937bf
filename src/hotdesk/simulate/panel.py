"""Zones with their own prices: what a run over several of them is paid by.

A panel holds, for zones that were looked at together, where spot was at each tick, what an hour of it cost
then, which region each zone lies in, what on-demand costs in each region, and what moving the checkpoint from
one region to another costs. Money is US dollars, time is ticks of one length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from hotdesk.core.spot.policy import Terms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


class Panel(msgspec.Struct, kw_only=True):
    zones: tuple[str, ...]
    regions: tuple[str, ...]
    home: Any  # over zone: the place of its region in `regions`
    up: Any  # bool over zone and tick
    usd: Any  # an hour of spot, over zone and tick
    usd_on_demand: Any  # an hour, over region
    move_usd: Any  # to bring the checkpoint from one region (row) to another (column)
    tick_seconds: float
    on_demand_up: Any = None  # bool over region and tick: whether on-demand was to be had; None: always


def panel(
    *,
    zones: Sequence[str],
    regions: Sequence[str],
    up: Array,
    usd: Array | float,
    usd_on_demand: Mapping[str, float],
    tick_seconds: float,
    usd_per_gib: Mapping[tuple[str, str], float] | None = None,
    default_usd_per_gib: float = 0.0,
    checkpoint_gib: float = 0.0,
    on_demand_up: Array | None = None,
) -> Panel:
    """A panel; `regions` is each zone's own. A pair of regions that `usd_per_gib` does not name costs the
    default."""
    import numpy as np

    names = tuple(dict.fromkeys(regions))
    pairs = usd_per_gib or {}
    move = [
        [0.0 if a == b else pairs.get((a, b), default_usd_per_gib) * checkpoint_gib for b in names]
        for a in names
    ]
    return Panel(
        zones=tuple(zones),
        regions=names,
        home=np.array([names.index(region) for region in regions]),
        up=np.asarray(up, dtype=bool),
        usd=np.broadcast_to(np.asarray(usd, dtype=float), np.shape(up)),
        usd_on_demand=np.array([usd_on_demand[name] for name in names], dtype=float),
        move_usd=np.array(move),
        tick_seconds=tick_seconds,
        on_demand_up=on_demand_up,
    )


def alike(terms: Terms, up: Array) -> Panel:
    """Zones of one region at one price: a panel of what the terms say."""
    names = [str(number) for number in range(len(up))]
    return panel(
        zones=names,
        regions=["one"] * len(up),
        up=up,
        usd=terms.usd_spot,
        usd_on_demand={"one": terms.usd_on_demand},
        tick_seconds=terms.tick_seconds,
    )
