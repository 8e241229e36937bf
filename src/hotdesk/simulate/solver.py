"""Solve the semi-Markov decision programme: a table of what every action costs in every state.

    V(time left, slack, zone, machine) = least expected cost to finish, one tick of time after another:
      wait        slack shrinks by a tick
      on-demand   one tick at its price; slack shrinks only while a changeover lasts
      spot        likewise, while the zone stays up; how likely that is depends on its age

Being late costs more than anything, so the safety net is a result, not a rule. Slack, not work, is the
second axis: it only ever shrinks, and it is small, which keeps the table small.

A zone is up or down, in one of some eight age buckets, with the hazards of core/spot/policy.py. With several
zones the state is that of the best one, and how old the best of the others is.
"""

from __future__ import annotations

from math import ceil, exp, log, log1p
from shutil import rmtree
from threading import Lock
from typing import TYPE_CHECKING, Any

import msgspec

from hotdesk.core.model import Value
from hotdesk.core.spot.policy import EDGES_SECONDS, FALLS, LEAST_SPOT, RISES, TOO_LATE, Terms
from hotdesk.core.spot.table import SemiMarkov
from hotdesk.system import state_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[Any]

#: Ratios of prices that are told apart, and what all tables of a process may take.
RATIO_STEP, TABLES_BYTES = 1.05, 50_000_000
#: The best of the other zones, by age: none is up, then younger than 80 min, than 12 h, and old ones.
OTHER_CLASS_SECONDS = (4800.0, 43200.0)
#: Beyond some forty steps, cells of slack and kept layers of time are this share of themselves apart.
COARSER = 0.05
#: The share of the other zones that behave as if independent: zones of a region often fail together.
INDEPENDENT = 0.65
LAYERS_MAX = 1200
TICK_MIN_SECONDS = 390.0


class Problem(Value, frozen=True):
    """Everything a table depends on."""

    tick: float
    changeover: float
    dear: float  # the on-demand price, in spot prices
    horizon: float  # the longest time left it answers for
    slack: float  # the largest slack
    zones: int
    first_hour_free: bool
    minds: int
    hazards: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]  # (falls, rises) of each model


def semi_markov(
    terms: Terms,
    *,
    hazards: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ((FALLS, RISES),),
    longest_seconds: float = 0.0,
) -> SemiMarkov:
    """The policy for these terms: its table is solved in a fraction of a second, and shared in this process.

    Prices count by their ratio, in steps of a twentieth, so a price that moves a little needs no new table.
    """
    deadline = max(terms.deadline_seconds, longest_seconds)
    slack = max(deadline - terms.work_seconds, terms.changeover_seconds)
    coarse = max(
        ceil(TICK_MIN_SECONDS / terms.tick_seconds - 1e-9), ceil(deadline / terms.tick_seconds / LAYERS_MAX)
    )
    tick = terms.tick_seconds * coarse
    ratio = terms.usd_on_demand / max(terms.usd_spot, LEAST_SPOT * terms.usd_on_demand)
    problem = Problem(
        tick=tick,
        changeover=terms.changeover_seconds,
        dear=ratio if ratio <= 1 else RATIO_STEP ** round(log(ratio) / log(RATIO_STEP)),
        horizon=ceil(deadline / tick) * tick,
        slack=ceil(slack / 14400) * 14400.0,
        zones=min(terms.zones, 16),
        first_hour_free=terms.first_hour_free,
        minds=2 if terms.zones == 1 else 1,
        hazards=hazards,
    )
    return _shared(problem)


_tables: dict[Problem, SemiMarkov] = {}
_lock = Lock()


def _shared(problem: Problem) -> SemiMarkov:
    """The table of this problem; those used longest ago go when all together exceed TABLES_BYTES."""
    with _lock:
        table = _tables.pop(problem, None) or _solved(problem)
        _tables[problem] = table
        while len(_tables) > 1 and sum(one.nbytes for one in _tables.values()) > TABLES_BYTES:
            del _tables[next(iter(_tables))]
    return table


def _solved(problem: Problem) -> SemiMarkov:
    import numpy as np

    # Earlier versions kept every table on disk, for ever: gigabytes, where each is solved in a moment.
    rmtree(state_folder() / "policies", ignore_errors=True)
    grid = _grid(problem)
    solved = [[solve(problem, grid, pair) for pair in _minds(problem, both)] for both in problem.hazards]
    costs = np.stack([one for minds in solved for one, _ in minds])
    return SemiMarkov(
        costs=costs,
        quotes=np.stack([minds[0][1] for minds in solved]),
        grid=grid,
        tick=problem.tick,
        fall_rates=np.array([_fall_rates(problem, grid, falls) for falls, _ in problem.hazards]),
        minds=problem.minds,
    )


def _fall_rates(problem: Problem, grid: _Grid, falls: tuple[float, ...]) -> Floats:
    """Falls per second of a zone that is up, by its age in ticks."""
    import numpy as np

    rates = [-log1p(-fall) / problem.tick for fall in _hazards(problem, grid.edges, falls)]
    by_age: Floats = np.array(rates)[grid.buckets]
    return by_age


def _minds(problem: Problem, pair: tuple[tuple[float, ...], tuple[float, ...]]) -> list[Any]:
    """The usual zone and the restless one: twice the rate of falling, at every age."""
    falls, rises = pair
    return [pair, (tuple(1 - (1 - fall) ** 2 for fall in falls), rises)][: problem.minds]


# ---- the axes ----------------------------------------------------------------------------------------


class _Grid(msgspec.Struct):
    states: int  # of the zones
    stored: Any  # the layers of time left that are kept: all of the last hours, then ever fewer
    layer_of: Any  # time left in ticks -> the stored layer nearest to it
    step: float
    nodes: Any  # slack of each cell, seconds
    cells: Any  # slack in steps -> the cell at or below it
    edges: list[int]  # ages in ticks at which a bucket begins
    buckets: Any  # age in ticks -> bucket
    classes: (
        Any  # the others' best age in ticks -> class; last: none is up. One entry where there are no others
    )
    stages: int  # ticks until a machine is past its changeover
    spot_stages: int  # the same, or until its first hour is over
    owed: Any  # ticks of spot run but not yet charged, after so many ticks of a free first hour


def _grid(problem: Problem) -> _Grid:
    import numpy as np

    tick, changeover = problem.tick, problem.changeover
    stages = max(ceil(changeover / tick - 1e-9), 1)
    free = ceil(3600 / tick - 1e-9) if problem.first_hour_free else 0
    spot_stages = max(stages, free)
    # Slack: the changeover and its multiples exactly, fine below some hours, then ever coarser.
    step = min(changeover, tick) / 5 if changeover else tick / 5
    step = changeover / ceil(changeover / max(step, tick / 5) - 1e-9) if changeover else step
    nodes, at = [0], 0
    last = max(1, ceil(problem.slack / step))  # two nodes at least, to interpolate between
    while at < last:
        at = min(last, at + max(1, int(at * COARSER)))
        nodes.append(at)
    cells = np.searchsorted(np.array(nodes), np.arange(last + 1), side="right") - 1
    edges = sorted({0, *(max(1, round(edge / tick)) for edge in EDGES_SECONDS)})
    buckets = np.searchsorted(np.array(edges), np.arange(edges[-1] + 1), side="right") - 1
    if problem.zones > 1:
        ages = np.arange(edges[-1] + 1) * tick
        classes = np.append(1 + np.searchsorted(np.array(OTHER_CLASS_SECONDS), ages, side="right"), 0)
    else:
        classes = np.zeros(1, dtype=np.int64)
    count = len(edges)
    stored, at, layers = [0], 0, ceil(problem.horizon / tick)
    while at < layers:
        at = min(layers, at + max(1, int(at * COARSER)))
        stored.append(at)
    kept = np.array(stored)
    ticks = np.arange(layers + 1)
    above = np.clip(np.searchsorted(kept, ticks), 1, len(kept) - 1)
    nearest = np.where(ticks - kept[above - 1] < kept[above] - ticks, above - 1, above)
    return _Grid(
        states=count + count * (int(classes.max()) + 1),
        stored=kept,
        layer_of=nearest,
        step=step,
        nodes=np.array(nodes) * step,
        cells=cells,
        edges=edges,
        buckets=buckets,
        classes=classes,
        stages=stages,
        spot_stages=spot_stages,
        owed=np.array([float(n) if n < free else 0.0 for n in range(spot_stages + 1)], dtype=np.float32),
    )


# ---- zones' transitions ------------------------------------------------------------------------------


def _hazards(problem: Problem, edges: list[int], ten_minutes: tuple[float, ...]) -> list[float]:
    """The chance of a flip within one tick, for each age bucket, from chances per ten minutes.

    Constant rates between the ages of EDGES_SECONDS; the last bucket keeps its own.
    """
    rates = [-log1p(-min(chance, 0.999)) / 600 for chance in ten_minutes]
    starts = (0.0, *EDGES_SECONDS)

    def total(age: float) -> float:
        ends = (*EDGES_SECONDS, float("inf"))
        return sum(r * (min(e, age) - s) for s, e, r in zip(starts, ends, rates, strict=True) if age > s)

    out = []
    for begin, end in zip(edges, [*edges[1:], edges[-1] + 40], strict=True):
        mean = (total(end * problem.tick) - total(begin * problem.tick)) / (end - begin)
        out.append(1 - exp(-mean))
    return out


def _one_zone(falls: list[float], rises: list[float], edges: list[int]) -> Floats:
    """Transitions of one zone: down by age bucket, then up by age bucket; geometric within a bucket."""
    import numpy as np

    count = len(edges)
    moves = np.zeros((2 * count, 2 * count))
    for up, chances in enumerate((rises, falls)):
        for bucket, chance in enumerate(chances):
            here = up * count + bucket
            older = 1 / (edges[bucket + 1] - edges[bucket]) if bucket + 1 < count else 0.0
            moves[here, (1 - up) * count] = chance
            moves[here, here] += (1 - chance) * (1 - older)
            if older:
                moves[here, here + 1] += (1 - chance) * older
    return moves


def _zones(
    problem: Problem, grid: _Grid, pair: tuple[tuple[float, ...], tuple[float, ...]]
) -> tuple[Floats, Floats]:
    """(moves, interruptions): transitions of the zones' state, and the part in which the best goes down."""
    import numpy as np

    falls, rises = (_hazards(problem, grid.edges, chances) for chances in pair)
    one = _one_zone(falls, rises, grid.edges)
    count = len(grid.edges)
    if problem.zones == 1:
        broken = np.zeros_like(one)
        broken[count:, :count] = one[count:, :count]
        return one, broken
    others = (problem.zones - 1) * INDEPENDENT
    class_of = grid.classes[np.array(grid.edges)]
    kinds = int(grid.classes.max()) + 1
    # How the class of the best other zone moves: n zones alike and independent, in their long run.
    share = np.linalg.matrix_power(one, 1 << 20)[0]
    lumped = np.zeros((kinds, kinds))
    kind = np.concatenate([np.zeros(count, dtype=np.int64), class_of])
    np.add.at(lumped, (kind[:, None], kind[None, :]), share[:, None] * one)
    below = np.cumsum(np.cumsum(lumped, 0), 1) ** others
    joint = np.maximum(np.diff(np.diff(np.pad(below, ((1, 0), (1, 0))), axis=0), axis=1), 0)
    mass = joint.sum(1, keepdims=True)
    best = np.where(mass > 0, joint / np.where(mass > 0, mass, 1), np.eye(kinds))
    second = np.cumsum(lumped.sum(1)) ** max(others - 1, 0)
    members = [np.flatnonzero(class_of == c) for c in range(1, kinds)]
    heir = [int(m[len(m) // 2]) for m in members if len(m)]  # the bucket that stands for a class
    size = count + count * kinds
    moves, broken = np.zeros((size, size)), np.zeros((size, size))
    for bucket in range(count):
        older = 1 / (grid.edges[bucket + 1] - grid.edges[bucket]) if bucket + 1 < count else 0.0
        still = (1 - rises[bucket]) * best[0, 0]  # none of them comes up
        moves[bucket, bucket] += still * (1 - older)
        if older:
            moves[bucket, bucket + 1] += still * older
        moves[bucket, count] += 1 - still
        for other in range(kinds):
            here = count + bucket * kinds + other
            for then in range(kinds):
                chance = best[other, then]
                moves[here, count + bucket * kinds + then] += chance * (1 - falls[bucket]) * (1 - older)
                if older:
                    moves[here, count + (bucket + 1) * kinds + then] += chance * (1 - falls[bucket]) * older
                if then == 0:
                    broken[here, 0] += chance * falls[bucket]
                    continue
                after = np.diff(np.append(0.0, second[: then + 1])) / second[then]
                place = count + heir[min(then, len(heir)) - 1] * kinds
                broken[here, place : place + then + 1] += chance * falls[bucket] * after
    return moves + broken, broken


# ---- the programme -----------------------------------------------------------------------------------


def solve(
    problem: Problem, grid: _Grid, pair: tuple[tuple[float, ...], tuple[float, ...]]
) -> tuple[Floats, Floats]:
    """What each action is expected to cost, over (stored layer, zone state, slack cell, action), and quotes.

    Actions: wait; on-demand after 0, 1, ... stages ticks of it, the last of which stays; likewise spot, after
    0, 1, ... spot_stages ticks. A quote is the expected cost from no machine and a zone that has just come up
    or gone down, as often as in the long run, over (stored layer, slack cell). All in ticks of the spot
    price.
    """
    import numpy as np

    layers, states, slacks = len(grid.stored), grid.states, len(grid.nodes)
    stages, spots, tick = grid.stages, grid.spot_stages, problem.tick
    moves, broken = (part.astype(np.float32) for part in _zones(problem, grid, pair))
    first = len(grid.edges)  # the first state in which a zone is up
    holds, broken = (moves - broken)[first:], broken[first:]
    owed = grid.owed
    after = np.minimum(np.arange(spots + 1) + 1, spots)
    paid = (1.0 + owed - owed[after]).astype(np.float32)
    if not problem.first_hour_free:
        paid[:] = 1.0
    lost = [max(0.0, min(tick, problem.changeover - stage * tick)) for stage in range(spots + 1)]
    # Ticks of a start that are lost whole; then one that is lost in part (both markets alike).
    whole = sum(seconds == tick for seconds in lost)
    part = slice(whole, sum(seconds > 0 for seconds in lost))
    a_tick, a_part = _Later(grid, tick), _Later(grid, lost[whole])
    kept_at = {int(layer): place for place, layer in enumerate(grid.stored)}
    costs = np.full((layers, slacks, states, 3 + stages + spots), TOO_LATE, dtype=np.float32)
    quotes = np.zeros((layers, slacks), dtype=np.float32)
    long_run = np.linalg.matrix_power(moves.astype(float), 1 << 20)[0]
    shown = float(long_run[first:].sum())
    # No machine; on-demand after 1.. ticks; spot after 1.. ticks. Slack is the first axis: shifting it copies
    # whole rows.
    value = np.zeros((slacks, 1 + stages + spots, states), dtype=np.float32)
    value[:, 1 + stages :] = owed[1:, None]
    next_dear = np.minimum(np.arange(stages + 1) + 1, stages)
    for layer in range(1, int(grid.stored[-1]) + 1):
        calm = _times(value[:, : 1 + stages], moves)
        wait, dear = a_tick.of(calm[:, 0]), calm[:, next_dear]
        dear += np.float32(problem.dear)
        spot = _times(value[:, 1 + stages :], holds)[:, after - 1]
        spot += _times(value[:, :1], broken)
        for begun in (dear, spot):
            begun[:, :whole] = a_tick.of(begun[:, :whole])
            begun[:, part] = a_part.of(begun[:, part])
        spot += paid[:, None]
        done = int(np.searchsorted(grid.nodes, layer * tick - 1e-6))
        value = np.empty_like(value)
        idle, on_demand, on_spot = value[:, :1], value[:, 1 : 1 + stages], value[:, 1 + stages :]
        np.minimum(wait[:, None], dear[:, :1], out=idle)
        np.minimum(idle[..., first:], spot[:, :1], out=idle[..., first:])
        np.minimum(idle, dear[:, 1:], out=on_demand)
        np.add(idle, owed[1:, None], out=on_spot)
        np.minimum(on_spot[..., first:], spot[:, 1:], out=on_spot[..., first:])
        value[done:, : 1 + stages] = 0.0
        value[done:, 1 + stages :] = owed[1:, None]
        np.minimum(value, np.float32(TOO_LATE), out=value)
        if (place := kept_at.get(layer)) is not None:
            at = costs[place]
            at[..., 0] = wait
            at[..., 1 : 2 + stages] = dear.transpose(0, 2, 1)
            at[:, first:, 2 + stages :] = spot.transpose(0, 2, 1)
            quotes[place] = shown * value[:, 0, first] + (1 - shown) * value[:, 0, 0]
    return np.minimum(costs, np.float32(TOO_LATE)), quotes


#: Products of matrices beyond this are cut up: smaller ones are not worth several threads, nor are these.
PRODUCT_MAX = 200_000


def _times(value: Floats, moves: Floats) -> Floats:
    """What a value (over slack, machine, state) is expected to be after the zones have moved."""
    import numpy as np

    rows = np.ascontiguousarray(value).reshape(-1, value.shape[-1])
    out = np.empty((len(rows), len(moves)), dtype=np.float32)
    some, turned = max(1, PRODUCT_MAX // moves.size), np.ascontiguousarray(moves.T)
    for low in range(0, len(rows), some):
        np.matmul(rows[low : low + some], turned, out=out[low : low + some])
    return out.reshape(*value.shape[:-1], len(moves))


class _Later:
    """The values at a slack that is less by so many seconds, by interpolation; too late where there is
    none."""

    def __init__(self, grid: _Grid, seconds: float) -> None:
        import numpy as np

        want = grid.nodes - seconds
        self.seconds = seconds
        self.gone = int(np.searchsorted(want, -1e-6))
        want = want[self.gone :]
        last = len(grid.nodes) - 2
        self.low = np.clip(np.searchsorted(grid.nodes, want + 1e-6, side="right") - 1, 0, last)
        weight = (want - grid.nodes[self.low]) / (grid.nodes[self.low + 1] - grid.nodes[self.low])
        self.weight = np.where(np.abs(weight) < 1e-9, 0.0, weight).astype(np.float32)

    def of(self, value: Floats) -> Floats:
        import numpy as np

        if self.seconds <= 0:
            return value
        out = np.empty(value.shape, dtype=np.float32)
        out[: self.gone] = TOO_LATE
        below, above = value[self.low], value[self.low + 1]
        above -= below
        above *= self.weight.reshape(-1, *[1] * (value.ndim - 1))
        np.add(below, above, out=out[self.gone :])
        return out
