"""The omniscient optimum: the exact least cost of a run if the whole trace were known in advance.

Every tick is spent idle, on spot in some zone, or on-demand; every (re)start loses a changeover. With I idle
ticks and S starts in T ticks the work gets done exactly when I·tick + S·changeover <= T·tick - work. So the
dynamic programme needs no work axis: for each machine, the least cost for every amount of time lost so far.
No policy can cost less: its run, without the machines that never got past their changeover, is such a plan.

Where the first hour is free, a machine that is to be interrupted within it costs nothing if it is held until
then, even past the end of the work: a bound that a policy may miss by an hour of spot.
"""

from __future__ import annotations

from fractions import Fraction
from math import floor, gcd
from typing import TYPE_CHECKING, Any

from hotdesk.core.spot.policy import Terms
from hotdesk.simulate.panel import Panel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

#: Amounts of lost time that are told apart. Beyond it the changeover is rounded down, which keeps it a bound.
CELLS_MAX = 20_000
#: Floats that fit into a core's cache.
CACHE_FLOATS = 48_000


def optimum_usd(terms: Terms, up: Array, begins: Array, deadlines: tuple[float, ...] = ()) -> Array:
    """Least cost in dollars of each run (rows) for each deadline (columns; the terms' own if none is named).

    `up` is bool over zone and tick; `begins` are ticks into it.
    """
    import numpy as np

    ends = [floor(due / terms.tick_seconds + 1e-9) for due in deadlines or (terms.deadline_seconds,)]
    unit = _unit(terms, max(ends))
    room = [floor((end * terms.tick_seconds - terms.work_seconds) / unit + 1e-9) + 1 for end in ends]
    cells, zones = max(room), len(up)
    machines = 2 + zones * (2 if terms.first_hour_free else 1)
    at_once = max(1, CACHE_FLOATS // (cells * machines))
    left = _left_of_spell(up) if terms.first_hour_free else None
    out = np.empty((len(begins), len(ends)))
    for low in range(0, len(begins), at_once):
        some = np.asarray(begins[low : low + at_once])
        out[low : low + at_once] = _forward(
            terms, up, left, some, ends=ends, room=room, unit=unit, machines=machines
        )
    return out * terms.tick_seconds / 3600


def _unit(terms: Terms, end: int) -> float:
    """The largest step of time, in seconds, of which both the tick and the changeover are multiples."""
    tick, change = (Fraction(round(x * 1000), 1000) for x in (terms.tick_seconds, terms.changeover_seconds))
    scale = tick.denominator * change.denominator
    unit = gcd(int(tick * scale), int(change * scale)) / scale
    slack = max(end * terms.tick_seconds - terms.work_seconds, terms.tick_seconds)
    if slack / unit <= CELLS_MAX:
        return unit
    return terms.tick_seconds / max(1, floor(terms.tick_seconds * CELLS_MAX / slack))


def _forward(
    terms: Terms,
    up: Array,
    left: Array | None,
    begins: Array,
    *,
    ends: list[int],
    room: list[int],
    unit: float,
    machines: int,
) -> Array:
    import numpy as np

    zones, cells, count = len(up), max(room), len(begins)
    tick, change = round(terms.tick_seconds / unit), floor(terms.changeover_seconds / unit + 1e-6)
    free_ticks = -(-3600 // terms.tick_seconds)
    cost = np.full((machines, count, cells), np.inf)
    cost[0, :, 0] = 0.0
    out = np.full((count, len(ends)), np.inf)
    any_machine, started = np.empty((count, cells)), np.full((count, cells), np.inf)
    for step in range(max(ends)):
        # Time lost so far is at most the time that has passed and one changeover for each tick.
        wide = min(cells, (step + 1) * (tick + change) + 1)
        now = cost[:, :, :wide]
        here = up[:, begins + step]
        if left is not None:  # a free spell cannot be left before it is interrupted
            held = now[2 + zones :].copy()
            now[2 + zones :][here] = np.inf
        np.minimum.reduce(now, axis=0, out=any_machine[:, :wide])
        if change < wide:
            started[:, change:wide] = any_machine[:, : wide - change]
        now[0, :, :tick] = np.inf
        if tick < wide:
            now[0, :, tick:] = any_machine[:, : wide - tick]
        np.minimum(now[1], started[:, :wide], out=now[1])
        now[1] += terms.usd_on_demand
        for zone in range(zones):
            spot = now[2 + zone]
            np.minimum(spot, started[:, :wide], out=spot)
            spot += terms.usd_spot
            spot[~here[zone]] = np.inf
            if left is not None:
                short = here[zone] & (left[zone, begins + step] < free_ticks)
                go = np.where(short[:, None], np.minimum(held[zone], started[:, :wide]), np.inf)
                now[2 + zones + zone] = go
        for column, end in enumerate(ends):
            if end == step + 1:
                out[:, column] = cost[:, :, : room[column]].min(axis=(0, 2))
    return out


def _left_of_spell(up: Array) -> Array:
    """For each zone and tick in which it is up, how many ticks of that spell are left, this one counted."""
    import numpy as np

    left = np.zeros(up.shape, dtype=np.int64)
    for tick in range(up.shape[1] - 1, -1, -1):
        after = left[:, tick + 1] if tick + 1 < up.shape[1] else 1 << 40
        left[:, tick] = np.where(up[:, tick], after + 1, 0)
    return left


def optimum_panel_usd(terms: Terms, panel: Panel, begins: Array) -> Array:
    """Least cost in dollars of each run over a panel: at each zone's own prices, moves and on-demand by
    region.

    The same programme, with a place for each zone, for on-demand in each region, and for waiting with the
    checkpoint in each region; a start costs the move from where the checkpoint is, and the first start none.
    """
    import numpy as np

    end = floor(terms.deadline_seconds / terms.tick_seconds + 1e-9)
    unit = _unit(terms, end)
    cells = floor((end * terms.tick_seconds - terms.work_seconds) / unit + 1e-9) + 1
    tick, change = round(terms.tick_seconds / unit), floor(terms.changeover_seconds / unit + 1e-6)
    zones, regions, hour = len(panel.zones), len(panel.regions), terms.tick_seconds / 3600
    at_once = max(1, CACHE_FLOATS // (cells * (zones + 2 * regions)))
    of_region = [np.flatnonzero(panel.home == region) for region in range(regions)]
    out = np.empty(len(begins))
    for low in range(0, len(begins), at_once):
        some = np.asarray(begins[low : low + at_once])
        spot = np.full((zones, len(some), cells), np.inf)
        dear = np.full((regions, len(some), cells), np.inf)
        idle = np.full((regions + 1, len(some), cells), np.inf)  # the last: nothing was started yet
        idle[-1, :, 0] = 0.0
        best = np.empty((regions + 1, len(some), cells))
        arriving = np.empty((len(some), cells))
        for step in range(end):
            at = some + step
            for region, members in enumerate(of_region):
                best[region] = np.minimum(idle[region], dear[region])
                for zone in members:
                    np.minimum(best[region], spot[zone], out=best[region])
            best[-1] = idle[-1]
            idle[..., :tick] = np.inf
            idle[..., tick:] = best[..., : cells - tick]
            for region, members in enumerate(of_region):
                arriving[:] = np.inf
                reached = best[-1][:, : cells - change].copy()
                for other in range(regions):
                    np.minimum(
                        reached, best[other][:, : cells - change] + panel.move_usd[other, region], out=reached
                    )
                arriving[:, change:] = reached
                np.minimum(dear[region], arriving, out=dear[region])
                dear[region] += panel.usd_on_demand[region] * hour
                if panel.on_demand_up is not None:
                    dear[region][~panel.on_demand_up[region, at]] = np.inf
                for zone in members:
                    np.minimum(spot[zone], arriving, out=spot[zone])
                    spot[zone] += (panel.usd[zone, at] * hour)[:, None]
                    spot[zone][~panel.up[zone, at]] = np.inf
        out[low : low + at_once] = np.minimum(
            idle.min(axis=(0, 2)), np.minimum(dear.min(axis=(0, 2)), spot.min(axis=(0, 2)))
        )
    return out
