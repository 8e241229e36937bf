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

from enum import StrEnum
from math import ceil, exp, floor, log, log1p
from typing import Any, Protocol

import msgspec

from hotdesk.core.errors import NotAllowed, Usage
from hotdesk.core.lengths import said
from hotdesk.core.model import Value

WAIT, SPOT, ON_DEMAND = 0, 1, 2
#: Work shorter than this is done (the published simulator's tolerance).
NOTHING = 1e-3
#: More than any plan can cost, in ticks of spot. Spot counts as at least that share of on-demand.
TOO_LATE, LEAST_SPOT = 1e8, 1e-3
#: Ages at which a zone's hazard changes: how long it has been up, or down.
EDGES_SECONDS = (600.0, 1200.0, 2400.0, 4800.0, 9600.0, 19200.0, 43200.0)
#: The chance that a zone flips within ten minutes, by age: fitted on eight pools of us-west-2, autumn 2022.
FALLS = (0.336, 0.221, 0.161, 0.099, 0.066, 0.038, 0.027, 0.014)  # up, then down
RISES = (0.472, 0.218, 0.158, 0.125, 0.056, 0.049, 0.026, 0.006)  # down, then up

LOG2 = log(2.0)


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
    changeover: float
    tick: float
    mode: Any  # WAIT, SPOT or ON_DEMAND: what goes on now, after an interruption that just came
    starting: Any  # of the changeover under way, what is left
    ran: Any  # since the present machine was started
    up: Any  # whether any zone has spot (on spot: this zone has it)
    age: Any  # how long that zone has been up; how long all have been down
    other: Any = -1.0  # how long the best of the other zones has been up; -1: none is
    model: Any = 0  # which of the table's models to believe
    unrest: Any = 0.0  # falls seen, times log 2, less those expected of a usual zone: see SemiMarkov.noticed

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


class SemiMarkov:
    """The cheapest plan on average, if zones come and go as observed.

    A dynamic programme (solved in hotdesk.simulate.solver) over time left, slack, what runs, and how long the
    zone has been up or down: old spells last, young ones do not. It waits, catches up and stays put without
    rules.

    Zones differ: it holds a second solution for one that falls twice as often, and goes over to it when the
    falls seen are likelier there (Bayes' rule for two hypotheses, even odds before anything is seen).
    """

    name = "semi-markov"

    def __init__(
        self,
        *,
        actions: Any,
        quotes: Any,
        shape: tuple[int, int, int, int],
        tick: float,
        slack_step: float,
        slack_cells: Any,
        age_buckets: Any,
        other_classes: Any,
        first_stages: int,
        fall_rates: Any,
        minds: int,
    ) -> None:
        self.actions = actions  # flat, over (model, mind, layer, zone state, machine, slack)
        self.quotes = quotes  # flat, over (model, layer, slack): expected ticks of spot, from nothing
        self.fall_rates = fall_rates  # per second, by model and age in ticks of a zone that is up
        self.minds = minds  # 2: the usual zone, and the one that falls twice as often; 1: no second
        self.layers, self.states, self.machines, self.slacks = shape
        self.tick = tick  # of the programme: one layer of time left
        self.slack_step = slack_step
        self.slack_cells = slack_cells  # slack in steps -> cell
        self.age_buckets = age_buckets  # age in ticks -> bucket
        self.other_classes = other_classes  # the others' best age in ticks -> class; the last is "none"
        self.stages = first_stages  # of the changeover on-demand
        self.buckets = int(age_buckets[-1]) + 1
        self.classes = 1 if len(other_classes) == 1 else int(max(other_classes)) + 1

    def choose(self, now: Now) -> Any:
        left = now.deadline - now.elapsed
        slack = _whole(_clip((left - now.work) / self.slack_step + 1e-6, len(self.slack_cells) - 1))
        layer = _whole(_clip(left / self.tick + 0.5, self.layers - 1))
        age = _whole(_clip(now.age / self.tick + 1e-6, len(self.age_buckets) - 1))
        state = self.age_buckets[age]
        if self.classes > 1:
            known = len(self.other_classes) - 2
            other = _whole(_pick(now.other < 0, known + 1, _clip(now.other / self.tick + 1e-6, known)))
            upper = self.buckets + state * self.classes + self.other_classes[other]
        else:
            upper = self.buckets + state
        state = _pick(now.up, upper, state)
        last = self.machines - 1 - self.stages
        stage = 1 + _whole(_clip(_ceil(now.ran / self.tick - 0.01) - 1, last - 1))
        dear = _pick(stage > self.stages, self.stages, stage)
        machine = (now.mode == ON_DEMAND) * dear + (now.mode == SPOT) * (self.stages + stage)
        mind = now.model * self.minds + (now.unrest > 0) * (self.minds - 1)
        place = ((mind * self.layers + layer) * self.states + state) * self.machines + machine
        return self.actions[place * self.slacks + self.slack_cells[slack]] * 1

    def noticed(self, unrest: Any, seconds: float, *, age: Any, fell: Any, model: Any = 0) -> Any:
        """The unrest after so many seconds of watching a zone that was up, `age` old, and fell or did not.

        It is the logarithm of how much likelier all this is where falls are twice as frequent: up by log 2
        with a fall, down by the falls to be expected.
        """
        old = _whole(_clip(age / self.tick + 1e-6, len(self.age_buckets) - 1))
        return unrest + fell * LOG2 - self.fall_rates[model, old] * seconds

    def expected_usd(self, terms: Terms, work_seconds: float, left_seconds: float) -> float:
        """What so much work in so much time should cost, with no machine yet and nothing known of spot.

        Infinite where it cannot be done in time; the programme's own rounding is on the dear side.
        """
        layer = min(floor(left_seconds / self.tick + 1e-9), self.layers - 1)
        slack = floor((layer * self.tick - work_seconds) / self.slack_step + 1e-6)
        if slack < 0:
            return float("inf")
        cell = int(self.slack_cells[min(slack, len(self.slack_cells) - 1)])
        ticks = float(self.quotes[layer * self.slacks + cell])
        spot = max(terms.usd_spot, LEAST_SPOT * terms.usd_on_demand)
        return ticks * spot * self.tick / 3600 if ticks < TOO_LATE / 100 else float("inf")


def never_late(now: Now, wish: Any) -> Any:
    """The proposal, or ON_DEMAND if the proposal could make the job late.

    The worst case of waiting is that spot never comes back, that of spot is an interruption at the end of the
    tick: afterwards one changeover and all the work left must still fit before the deadline.
    """
    starting = _pick(wish == now.mode, now.starting, now.changeover)
    working = now.tick - _clip(starting, now.tick)
    work = now.work - _pick(wish == SPOT, _clip(working, now.work), 0.0)
    needed = _ceil((work + now.changeover) / now.tick - 1e-9)
    safe = (wish == ON_DEMAND) | (work <= NOTHING) | (needed <= now.ticks_left - 1)
    return _pick(safe, wish, ON_DEMAND)


# ---- live --------------------------------------------------------------------------------------------


class Zone(Value, frozen=True):
    """A zone that may have spot, as known now."""

    name: str
    up: bool
    seconds: float  # how long it has been so, as far as is known
    usd_per_hour: float
    move_usd: float = 0.0  # to bring the checkpoint there: egress, where it is another region


class Situation(Value, frozen=True):
    """The state of one job. A zone that was just interrupted is down, and `machine` is ""."""

    elapsed_seconds: float
    work_seconds: float  # left, beyond the last checkpoint
    zones: tuple[Zone, ...]
    machine: str = ""  # "", "on-demand", or the zone whose spot machine we have
    ran_seconds: float = 0.0  # since that machine was asked for
    starting_seconds: float = 0.0  # of its changeover, what is left
    unrest: float = 0.0  # as SemiMarkov.noticed adds it up


class Action(StrEnum):
    """What to do until the next decision."""

    WAIT = "wait"
    SPOT = "spot"
    ON_DEMAND = "on-demand"


class Decision(Value, frozen=True):
    action: Action
    why: str
    zone: str = ""


def decide(policy: Policy, terms: Terms, now: Situation) -> Decision:
    """What to do until the next decision, and why. Pure; takes a few microseconds."""
    if now.work_seconds <= NOTHING:
        return Decision(action=Action.WAIT, why="the work is done")
    here = next((z for z in now.zones if z.name == now.machine and z.up), None)
    best = here or best_zone(terms, now)
    others = [z.seconds for z in now.zones if z.up and z is not best]
    on_demand = now.machine == "on-demand"
    down = min((z.seconds for z in now.zones if not z.up), default=0.0)
    look = Now(
        elapsed=now.elapsed_seconds,
        deadline=terms.deadline_seconds,
        work=now.work_seconds,
        whole=terms.work_seconds,
        changeover=terms.changeover_seconds,
        tick=terms.tick_seconds,
        mode=ON_DEMAND if on_demand else SPOT if here else WAIT,
        starting=now.starting_seconds if on_demand or here else 0.0,
        ran=now.ran_seconds if on_demand or here else 0.0,
        up=best is not None,
        age=best.seconds if best else down,
        other=max(others, default=-1.0),
        unrest=now.unrest,
    )
    wish = int(policy.choose(look))
    action = int(never_late(look, wish))
    slack = (terms.deadline_seconds - now.elapsed_seconds - now.work_seconds) / 3600
    if action == SPOT and best:
        return Decision(action=Action.SPOT, zone=best.name, why=_why_spot(terms, best, here, slack))
    if action == ON_DEMAND:
        return Decision(action=Action.ON_DEMAND, why=_why_on_demand(look, wish, slack))
    seen = (
        "there is no spot"
        if best is None
        else f"spot in {best.name} is {said(best.seconds, 2)} old and may not last"
    )
    return Decision(action=Action.WAIT, why=f"{seen}; {slack:.1f} h of slack are left, and waiting is free")


def best_zone(terms: Terms, now: Situation) -> Zone | None:
    """The zone whose spot is worth most: expected duration times saving, minus the cost of moving."""

    def gain(zone: Zone) -> float:
        hours = min(expected_up_seconds(zone.seconds), now.work_seconds) / 3600
        changeover = zone.usd_per_hour * terms.changeover_seconds / 3600
        return (terms.usd_on_demand - zone.usd_per_hour) * hours - zone.move_usd - changeover

    worth = [
        (gain(z), z.seconds, -n, z)
        for n, z in enumerate(now.zones)
        if z.up and z.usd_per_hour < terms.usd_on_demand
    ]
    # A zone that is free to reach need only be the best; a move must pay for itself.
    worth = [w for w in worth if w[3].move_usd == 0 or w[0] > 0]
    return max(worth, key=lambda w: w[:3])[3] if worth else None


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


def _why_spot(terms: Terms, best: Zone, here: Zone | None, slack: float) -> str:
    price = f"${best.usd_per_hour:.2f} an hour against ${terms.usd_on_demand:.2f}"
    if here:
        return f"it runs on spot in {best.name} for {price}; a change would only cost time"
    moved = f", ${best.move_usd:.2f} to move included" if best.move_usd else ""
    age = said(best.seconds, 2)
    return f"spot in {best.name} has been there for {age}: {price}{moved}, {slack:.1f} h of slack"


def _why_on_demand(look: Now, wish: int, slack: float) -> str:
    if wish != ON_DEMAND or look.ticks_needed(2) >= look.ticks_left:
        return f"{slack:.1f} h of slack are left: anything but on-demand could make it late"
    if look.mode == ON_DEMAND:
        return f"on-demand is under way, and with {slack:.1f} h of slack leaving it now would not pay"
    return f"with {slack:.1f} h of slack, waiting longer for spot would cost more later"


# ---- arithmetic that numbers and arrays share -----------------------------------------------------------


def _ceil(x: Any) -> Any:
    return x.__array_namespace__().ceil(x) if hasattr(x, "__array_namespace__") else ceil(x)


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
