"""Solve the semi-Markov decision programme: a table of the best action in every state, cached on disk.

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

import hashlib
from contextlib import suppress
from functools import lru_cache
from math import ceil, exp, log1p
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from hotdesk.core.model import Value
from hotdesk.core.spot.policy import EDGES_SECONDS, FALLS, LEAST_SPOT, RISES, TOO_LATE, SemiMarkov, Terms
from hotdesk.system import state_folder, write_atomically

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[Any]

#: Raised with every change of what a table holds.
VERSION = 4
#: The best of the other zones, by age: none is up, then younger than 80 min, than 12 h, and old ones.
OTHER_CLASS_SECONDS = (4800.0, 43200.0)
#: The share of the other zones that behave as if independent: zones of a region often fail together.
INDEPENDENT = 0.65
LAYERS_MAX = 1200
TICK_MIN_SECONDS = 180.0


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
    version: int = VERSION


def semi_markov(
    terms: Terms,
    *,
    hazards: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ((FALLS, RISES),),
    longest_seconds: float = 0.0,
    keep: bool = True,
) -> SemiMarkov:
    """The policy for these terms: from disk if it was solved before, else solved (in seconds) and saved."""
    deadline = max(terms.deadline_seconds, longest_seconds)
    slack = max(deadline - terms.work_seconds, terms.changeover_seconds)
    coarse = max(
        ceil(TICK_MIN_SECONDS / terms.tick_seconds - 1e-9), ceil(deadline / terms.tick_seconds / LAYERS_MAX)
    )
    tick = terms.tick_seconds * coarse
    problem = Problem(
        tick=tick,
        changeover=terms.changeover_seconds,
        dear=terms.usd_on_demand / max(terms.usd_spot, LEAST_SPOT * terms.usd_on_demand),
        horizon=ceil(deadline / tick) * tick,
        slack=ceil(slack / 14400) * 14400.0,
        zones=min(terms.zones, 16),
        first_hour_free=terms.first_hour_free,
        minds=2 if terms.zones == 1 else 1,
        hazards=hazards,
    )
    return _ready(problem, keep)


@lru_cache(maxsize=8)
def _ready(problem: Problem, keep: bool) -> SemiMarkov:
    import numpy as np

    grid = _grid(problem)
    count = len(problem.hazards)
    size = count * problem.minds * int(np.prod(grid.shape))
    quoted = count * grid.shape[0] * grid.shape[3]
    name = hashlib.sha256(msgspec.json.encode(problem)).hexdigest()[:24]
    path = state_folder() / "policies" / f"{name}.table"
    actions = None
    if keep and path.is_file() and path.stat().st_size == size + 4 * quoted:
        content = path.read_bytes()
        quotes = np.frombuffer(content[: 4 * quoted], dtype="<f4")
        actions = np.frombuffer(content[4 * quoted :], dtype=np.uint8)
        if not (np.isfinite(quotes).all() and int(actions.max()) <= 2):
            actions = None
    if actions is None:
        solved = [[solve(problem, grid, pair) for pair in _minds(problem, both)] for both in problem.hazards]
        actions = np.concatenate([one.ravel() for minds in solved for one, _ in minds])
        quotes = np.concatenate([minds[0][1].ravel() for minds in solved])
        if keep:
            keep_file(path, quotes.astype("<f4").tobytes() + actions.tobytes())
    return SemiMarkov(
        actions=actions,
        quotes=quotes,
        shape=grid.shape,
        tick=problem.tick,
        slack_step=grid.step,
        slack_cells=grid.cells,
        age_buckets=grid.buckets,
        other_classes=grid.classes,
        first_stages=grid.stages,
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


def keep_file(path: Path, content: bytes) -> None:
    """Save atomically; on a full disk or read-only folder it is solved again next time."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(path, content)


# ---- the axes ----------------------------------------------------------------------------------------


class _Grid(msgspec.Struct):
    shape: tuple[int, int, int, int]  # layers, zone states, machines, slack cells
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


def _grid(problem: Problem) -> _Grid:
    import numpy as np

    tick, changeover = problem.tick, problem.changeover
    stages = max(ceil(changeover / tick - 1e-9), 1)
    spot_stages = max(stages, ceil(3600 / tick - 1e-9)) if problem.first_hour_free else stages
    # Slack: the changeover and its multiples exactly, fine below some hours, then ever coarser.
    step = min(changeover, tick) / 5 if changeover else tick / 5
    step = changeover / ceil(changeover / max(step, tick / 5) - 1e-9) if changeover else step
    nodes, at = [0], 0
    last = ceil(problem.slack / step)
    while at < last:
        at = min(last, at + max(1, int(at * 0.025)))
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
    states = count + count * (int(classes.max()) + 1)
    shape = (ceil(problem.horizon / tick) + 1, states, 1 + stages + spot_stages, len(nodes))
    return _Grid(shape, step, np.array(nodes) * step, cells, edges, buckets, classes, stages, spot_stages)


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
    """Actions (uint8: 0 wait, 1 spot, 2 on-demand) over (layer, zone state, machine, slack cell), and quotes.

    A quote is the expected cost from no machine and a zone that has just come up or gone down, as often as in
    the long run, over (layer, slack cell).
    Machines: none; on-demand after 1..stages ticks; spot after 1..spot_stages ticks. The last stage stays.
    Costs are in ticks of the spot price.
    """
    import numpy as np

    layers, states, machines, slacks = grid.shape
    stages, spots, tick = grid.stages, grid.spot_stages, problem.tick
    moves, broken = _zones(problem, grid, pair)
    holds = moves - broken
    first = len(grid.edges)  # the first state in which a zone is up
    lost = [max(0.0, min(tick, problem.changeover - stage * tick)) for stage in range(max(stages, spots) + 1)]
    free = ceil(3600 / tick - 1e-9) if problem.first_hour_free else 0

    def owed(stage: int) -> float:
        """Ticks of spot run but not yet charged after `stage` ticks of a first hour."""
        return float(stage) if stage < free else 0.0

    shifts: dict[float, tuple[Floats, Floats, int]] = {}

    def later(value: Floats, seconds: float) -> Floats:
        """The value at a slack that is less by so many seconds."""
        if seconds <= 0:
            return value
        if seconds not in shifts:
            want = grid.nodes - seconds
            gone = int(np.searchsorted(want, -1e-6))
            low = np.clip(np.searchsorted(grid.nodes, want[gone:] + 1e-6, side="right") - 1, 0, slacks - 2)
            shifts[seconds] = (
                low,
                (want[gone:] - grid.nodes[low]) / (grid.nodes[low + 1] - grid.nodes[low]),
                gone,
            )
        low, weight, gone = shifts[seconds]
        out = np.full(value.shape, TOO_LATE)
        below = value[..., low]
        out[..., gone:] = below + weight * (value[..., low + 1] - below)
        return out

    actions = np.zeros((layers, states, machines, slacks), dtype=np.uint8)
    quotes = np.zeros((layers, slacks), dtype=np.float32)
    long_run = np.linalg.matrix_power(moves, 1 << 20)[0]
    shown = float(long_run[first:].sum())
    value = np.zeros((machines, states, slacks))
    for stage in range(1, spots + 1):
        value[stages + stage] = owed(stage)
    for layer in range(1, layers):
        idle = moves @ value[0]
        dear = moves @ value[1 : 1 + stages]
        interrupted = broken[first:] @ value[0]
        cheap = interrupted + holds[first:] @ value[1 + stages :]
        wait = later(idle, tick)

        def on_demand(stage: int) -> Floats:
            return problem.dear + later(dear[min(stage + 1, stages) - 1], lost[stage])  # noqa: B023

        def spot(stage: int) -> Floats:
            after = min(stage + 1, spots)
            paid = 1.0 + owed(stage) - owed(after) if stage < spots or not free else 1.0
            return paid + later(cheap[after - 1], lost[stage])  # noqa: B023

        begin_dear, begin_cheap = on_demand(0), spot(0)
        done = grid.nodes >= layer * tick - 1e-6
        fresh = np.empty_like(value)
        for machine in range(machines):
            is_dear, stage = 0 < machine <= stages, machine if machine <= stages else machine - stages
            debt = owed(stage) if machine > stages else 0.0
            costly = on_demand(stage) if is_dear else begin_dear + debt
            best = np.where(costly < wait + debt, costly, wait + debt)
            action = np.where(costly < wait + debt, 2, 0).astype(np.uint8)
            go = spot(stage) if machine > stages else begin_cheap
            better = go <= best[first:]
            action[first:] = np.where(better, 1, action[first:])
            best[first:] = np.where(better, go, best[first:])
            best[:, done] = debt
            fresh[machine] = np.minimum(best, TOO_LATE)
            actions[layer, :, machine] = action
        value = fresh
        quotes[layer] = shown * value[0, first] + (1 - shown) * value[0, 0]
    return actions, quotes
