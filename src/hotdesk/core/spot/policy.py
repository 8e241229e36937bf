"""Spot here, spot there, on-demand, or wait: one decision, for a job with a deadline.

The same object decides live (`decide`, one job) and in the simulator (`choose`, thousands of runs at once):
the rules below are plain arithmetic on whatever `Now` holds, numbers or arrays of numbers.

The problem is that of "Can't Be Late" (Wu et al., NSDI 2024). A job has `work` left and a deadline.
On-demand is always available, at a price; spot is cheap but intermittent; idling is free. Every start and
every change between the markets or between zones, costs a `changeover` at the new price before work goes on.

Every proposal of a policy passes `never_late`: it may wait, or risk spot, only if on-demand could still
finish in the worst case. Times are seconds, prices US dollars per hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, exp, floor, inf, log1p
from typing import Any, Protocol

import msgspec

from hotdesk.core.errors import NotAllowed, Usage
from hotdesk.core.model import Value

WAIT, SPOT, ON_DEMAND = 0, 1, 2
#: Work shorter than this is done (the published simulator's tolerance).
NOTHING = 1e-3
#: The share of time for which a zone has spot, in round numbers (half of it with the hazards below, and more
#: in most recorded zones).
AVAILABLE = 0.6
#: More than any plan can cost, in ticks of spot. Spot counts as at least that share of on-demand.
TOO_LATE, LEAST_SPOT = 1e8, 1e-3
#: Ages at which a zone's hazard changes: how long it has been up, or down.
EDGES_SECONDS = (600.0, 1200.0, 2400.0, 4800.0, 9600.0, 19200.0, 43200.0)
#: The chance that a zone flips within ten minutes, by age: fitted on eight pools of us-west-2, autumn 2022.
FALLS = (0.336, 0.221, 0.161, 0.099, 0.066, 0.038, 0.027, 0.014)  # up, then down
RISES = (0.472, 0.218, 0.158, 0.125, 0.056, 0.049, 0.026, 0.006)  # down, then up


class Terms(Value, frozen=True):
    """The work, deadline and prices of a run."""

    work_seconds: float
    deadline_seconds: float  # from the start
    changeover_seconds: float
    usd_on_demand: float
    usd_spot: float
    tick_seconds: float = 600.0  # how often a decision can be taken
    zones: int = 1
    first_hour_free: bool = False  # AWS does not charge Linux spot that it interrupts in its first hour

    @property
    def earliest_seconds(self) -> float:
        """The earliest deadline that can be promised: on-demand from the first moment, in whole ticks."""
        needed = (self.work_seconds + self.changeover_seconds) / self.tick_seconds
        return float(ceil(needed - 1e-9) * self.tick_seconds)


def check(terms: Terms) -> Terms:
    """The terms, if feasible. Raises an error with the nearest feasible ones otherwise."""
    for name, amount in (
        ("work", terms.work_seconds),
        ("tick", terms.tick_seconds),
        ("on-demand price", terms.usd_on_demand),
    ):
        if not 0 < amount < float("inf"):
            raise Usage(
                f"The {name} must be more than nothing, not {amount:g}.", "", "hotdesk simulate --help"
            )
    for name, amount in (("changeover", terms.changeover_seconds), ("spot price", terms.usd_spot)):
        if not 0 <= amount < float("inf"):
            raise Usage(f"The {name} cannot be {amount:g}.", "", "hotdesk simulate --help")
    ticks = floor(terms.deadline_seconds / terms.tick_seconds + 1e-9)
    if not ticks * terms.tick_seconds >= terms.earliest_seconds:
        hours, earliest = terms.deadline_seconds / 3600, terms.earliest_seconds / 3600
        earliest = -(-earliest * 100 // 1) / 100
        raise NotAllowed(
            f"A deadline of {hours:g} h cannot be kept, not even on-demand from the first moment.",
            f"{terms.work_seconds / 3600:g} h of work and {terms.changeover_seconds / 3600:g} h to get going,"
            f" in ticks of {terms.tick_seconds:g} s, end after {earliest:.2f} h at the earliest.",
            f"--deadline {earliest:.2f}",
        )
    return terms


class Now(msgspec.Struct, kw_only=True):
    """A moment of one job (numbers), or of many (arrays of equal length). Ages and times in seconds."""

    elapsed: Any
    deadline: Any
    work: Any  # left
    whole: Any  # at the start
    changeover: Any
    tick: float
    mode: Any  # WAIT, SPOT or ON_DEMAND: what goes on now, after an interruption that just came
    starting: Any  # of the changeover under way, what is left
    ran: Any  # since the present machine was started
    up: Any  # whether any zone has spot (on spot: this zone has it)
    age: Any  # how long that zone has been up; how long all have been down
    other: Any = -1.0  # how long the best of the other zones has been up; -1: none is
    model: Any = 0  # which of the table's models to believe
    unrest: Any = 0.0  # falls seen, times log 2, less those expected of a usual zone: see SemiMarkov.noticed
    margin: Any = 0.0  # for a last start on-demand that takes longer than the changeover
    held: Any = 0.0  # for how long a machine that starts is left to start, whatever becomes of the slack

    @property
    def ticks_left(self) -> Any:
        return _floor((self.deadline - self.elapsed) / self.tick + 1e-9)

    def ticks_needed(self, changeovers: int) -> Any:
        return _ceil((self.work + changeovers * self.changeover) / self.tick - 1e-9)


class Policy(Protocol):
    """A rule. `choose` answers WAIT, SPOT or ON_DEMAND for each run in `now`."""

    name: str

    def choose(self, now: Now) -> Any: ...


# ---- the rules ---------------------------------------------------------------------------------------


class OnDemand:
    """On-demand throughout: the baseline."""

    name = "on-demand"

    def choose(self, now: Now) -> Any:
        return now.mode * 0 + ON_DEMAND


class Greedy:
    """Spot whenever available, else wait until only on-demand can still finish in time."""

    name = "greedy"

    def choose(self, now: Now) -> Any:
        return _safety_net(now, now.up * SPOT)


class UniformProgress:
    """Never fall behind the straight line from nothing at the start to everything at the deadline.

    Behind it without spot: on-demand, and back to spot only when ahead by two changeovers (NSDI 2024).
    """

    name = "uniform-progress"

    def choose(self, now: Now) -> Any:
        done = now.whole - now.work
        behind = now.elapsed * now.whole / now.deadline > done
        ahead = (now.elapsed + 2 * now.changeover) * now.whole / now.deadline < done
        stay = (now.mode == ON_DEMAND) & ((now.up == 0) | (ahead == 0))
        wish = _pick(now.up, SPOT, _pick(behind, ON_DEMAND, WAIT))
        return _safety_net(now, _pick(stay, ON_DEMAND, wish))


def _safety_net(now: Now, wish: Any) -> Any:
    """The published one: off spot, on-demand when two changeovers no longer fit; on spot, when one does not,
    unless it is already working: then it is ridden until it is interrupted."""
    two = (now.ticks_needed(2) >= now.ticks_left) & (now.mode != SPOT)
    one = now.ticks_needed(1) >= now.ticks_left
    ride = (now.mode == SPOT) & (now.starting < NOTHING) & (two == 0)
    free = (now.up > 0) & (now.changeover == 0)  # nothing is lost by trying
    forced = _pick(ride | free, SPOT, ON_DEMAND)
    return _pick(one, forced, _pick(two, ON_DEMAND, wish))


def never_late(now: Now, wish: Any, *, elsewhere: Any = False) -> Any:
    """The proposal, or ON_DEMAND if the proposal could make the job late.

    The worst case of waiting is that spot never comes back, that of spot is an interruption at the end of the
    tick: afterwards one changeover and all the work left must still fit before the deadline, with the margin
    for what is not known of it. Spot that is only begun may be interrupted at the end of its start.
    `elsewhere`: it is another machine, although of the same market.
    """
    goes_on = wish == _pick(elsewhere, WAIT, now.mode)
    starting = _pick(goes_on, now.starting, now.changeover)
    held = _pick((wish == SPOT) & (goes_on == 0), now.held - now.tick, 0.0)
    working = now.tick - _clip(starting, now.tick)
    work = now.work - _pick(wish == SPOT, _clip(working, now.work), 0.0)
    needed = _ceil((work + now.changeover + now.margin + _pick(held > 0, held, 0.0)) / now.tick - 1e-9)
    safe = (wish == ON_DEMAND) | (work <= NOTHING) | (needed <= now.ticks_left - 1)
    return _pick(safe, wish, ON_DEMAND)


def back_chance(down_seconds: Any, later_seconds: Any) -> Any:
    """The chance that a zone which had had no spot for so long when it was last asked has it that much later:
    as often as zones came back at that age, and no more often than zones have spot."""
    risen = _risen(down_seconds + later_seconds) - _risen(down_seconds)
    return _clip(1 - _exp(-risen), AVAILABLE)


def market_usd(prices: Sequence[float], usd_on_demand: float) -> float:
    """What an hour of spot costs a job that takes the cheapest zone that has it: each has it for AVAILABLE of
    the time, and one that costs as much as on-demand is as good as on-demand."""
    weight, total, weights = AVAILABLE, 0.0, 0.0
    for price in sorted(min(price, usd_on_demand) for price in prices):
        total, weights, weight = total + weight * price, weights + weight, weight * (1 - AVAILABLE)
    return total / weights


def expected_up_seconds(age: float) -> float:
    """Expected remaining uptime of a zone that has been up for `age` seconds; grows with age."""
    rates = [-log1p(-fall) / 600 for fall in FALLS]
    life = 1 / rates[-1]
    for edge, start, rate in zip(
        EDGES_SECONDS[::-1], (*EDGES_SECONDS[-2::-1], 0.0), rates[-2::-1], strict=True
    ):
        if age >= edge:
            break
        survive = exp(-rate * (edge - max(start, age)))
        life = (1 - survive) / rate + survive * life
    return life


def _risen(age: Any) -> Any:
    """The hazard of coming back, added up over the ages until that."""
    total = 0.0
    for low, high, rise in zip((0.0, *EDGES_SECONDS), (*EDGES_SECONDS, inf), RISES, strict=True):
        total = total - log1p(-rise) / 600 * _clip(age - low, high - low)
    return total


# ---- arithmetic that numbers and arrays share -----------------------------------------------------------


def _ceil(x: Any) -> Any:
    return x.__array_namespace__().ceil(x) if hasattr(x, "__array_namespace__") else ceil(x)


def _exp(x: Any) -> Any:
    return x.__array_namespace__().exp(x) if hasattr(x, "__array_namespace__") else exp(x)


def _floor(x: Any) -> Any:
    return x.__array_namespace__().floor(x) if hasattr(x, "__array_namespace__") else floor(x)


def _pick(condition: Any, yes: Any, no: Any) -> Any:
    """`yes` where the condition holds, else `no`."""
    if hasattr(condition, "__array_namespace__"):
        return condition.__array_namespace__().where(condition, yes, no)
    return yes if condition else no


def _clip(x: Any, most: Any) -> Any:
    """x within 0..most."""
    if hasattr(x, "clip"):
        return x.clip(0, most)
    return min(max(x, 0), most)


def _whole(x: Any) -> Any:
    return x.astype("int64") if hasattr(x, "astype") else int(x)
