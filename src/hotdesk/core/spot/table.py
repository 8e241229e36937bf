"""The semi-Markov policy: what each action is expected to cost, looked up in a solved table.

The table (hotdesk.simulate.solver) knows one market: zones that come and go as observed, at one price. The
zones as they are differ from it in price and in the way there, and each gets its own quote: what the table
says of a zone of its age, plus what its hours cost more (or less) than the market's, plus the move. Least
wins, among all zones, on-demand and waiting; a cheaper zone is gone to when that is less than staying.
"""

from __future__ import annotations

from functools import cache, cached_property
from math import ceil, inf, log
from operator import mul
from typing import Any

import msgspec

from hotdesk.core.spot.decision import Situation, Zone
from hotdesk.core.spot.policy import (
    AVAILABLE,
    LEAST_SPOT,
    ON_DEMAND,
    SPOT,
    TOO_LATE,
    WAIT,
    Now,
    Terms,
    expected_up_seconds,
)

LOG2 = log(2.0)
#: Columns of a table: wait, on-demand after 0, 1, ... ticks of it, then spot after 0, 1, ... ticks.
WAITING, DEAR = 0, 1


class Places(msgspec.Struct, kw_only=True):
    """The zones of one moment of many jobs: arrays over zone and job, the last four over job."""

    up: Any  # whether it has spot, as far as is known
    age: Any  # seconds for which it has been up, or down
    usd: Any  # an hour of spot
    move_usd: Any  # to bring the checkpoint there
    here: Any  # the zone whose spot machine works; -1: none
    usd_on_demand: Any  # an hour, where it is had for least
    on_demand_move_usd: Any
    down_age: Any  # how long all zones have been down
    chance: Any = (
        1.0  # over zone and job: that a machine there is granted, once the present one is given back
    )


class SemiMarkov:
    """The cheapest plan on average, if zones come and go as observed.

    A dynamic programme (solved in hotdesk.simulate.solver) over time left, slack, what runs, and how long the
    zone has been up or down: old spells last, young ones do not. It waits, catches up and stays put without
    rules.

    Zones differ: it may hold a second solution for one that falls twice as often, and goes over to it when
    the falls seen are likelier there (Bayes' rule for two hypotheses, even odds before anything is seen).
    """

    name = "semi-markov"

    def __init__(
        self, *, costs: Any, quotes: Any, grid: Any, tick: float, fall_rates: Any, minds: int
    ) -> None:
        self.costs = costs  # over (model and mind, layer, slack, zone state, action), in ticks of spot
        self.quotes = quotes  # over (model, layer, slack): expected ticks of spot, from nothing
        self.fall_rates = fall_rates  # per second, by model and age in ticks of a zone that is up
        self.minds = minds  # 2: the usual zone, and the one that falls twice as often; 1: no second
        self.tick = tick  # of the programme: one layer of time left
        self.grid = grid
        self.stages, self.spot_stages = grid.stages, grid.spot_stages
        self.cheap = DEAR + grid.stages + 1  # the first column of spot
        self.buckets = int(grid.buckets[-1]) + 1
        self.classes = 1 if len(grid.classes) == 1 else int(grid.classes.max()) + 1
        np = costs.__array_namespace__()
        # Expected life by age in ticks of the programme.
        self.lives = np.array([expected_up_seconds(n * tick) for n in range(len(grid.buckets))])
        self._columns = costs.ravel()

    @property
    def nbytes(self) -> int:
        return int(self.costs.nbytes + self.quotes.nbytes)

    # ---- one market -----------------------------------------------------------------------------------

    def choose(self, now: Now) -> Any:
        """WAIT, SPOT or ON_DEMAND where all zones cost the same and a move costs the changeover alone."""
        if isinstance(now.age, int | float):
            return int(self.choose(_lifted(now, self.costs))[0])
        np = self.costs.__array_namespace__()
        state = self._state(now.up, now.age, now.other)
        mind = now.model * self.minds + (now.unrest > 0) * (self.minds - 1)
        stage = self._stage(now.ran)
        last = self.stages + self.spot_stages
        dear = np.minimum(stage, self.stages)
        machine = (now.mode == SPOT) * (self.stages + stage) + (now.mode == ON_DEMAND) * dear
        return self.actions[self._place(now, state, mind) * (last + 1) + machine] * 1

    @cached_property
    def actions(self) -> Any:
        """The cheapest action, flat, over (a row of the table, machine): what `choose` looks up."""
        np = self.costs.__array_namespace__()
        rows = self.costs.reshape(-1, self.costs.shape[-1])
        wait, cheap = rows[:, WAITING], self.cheap
        out = np.empty((len(rows), 1 + self.stages + self.spot_stages), dtype=np.uint8)
        for machine in range(out.shape[1]):
            on_spot = max(machine - self.stages, 0)
            dear = rows[:, DEAR + (machine if machine <= self.stages else 0)]
            spot = rows[:, cheap + on_spot]
            least = np.minimum(wait, dear) + self.grid.owed[on_spot]
            go = (spot <= least) & (spot < TOO_LATE)
            out[:, machine] = np.where(go, SPOT, np.where(dear < wait, ON_DEMAND, WAIT))
        return out.ravel()

    def _cost(self, place: Any, column: Any) -> Any:
        """Expected ticks of spot of the action in that column."""
        return self._columns[place * self.costs.shape[-1] + column]

    def _state(self, up: Any, age: Any, other: Any) -> Any:
        grid = self.grid
        old = grid.buckets[_cells(age / self.tick + 1e-6, len(grid.buckets) - 1)]
        if self.classes == 1:
            return old + up * self.buckets
        np = self.costs.__array_namespace__()
        known = len(grid.classes) - 2
        rest = np.where(other < 0, known + 1, _cells(other / self.tick + 1e-6, known))
        return np.where(up, self.buckets + old * self.classes + grid.classes[rest], old)

    def _stage(self, ran: Any) -> Any:
        np = self.costs.__array_namespace__()
        return _cells(np.ceil(ran / self.tick - 0.01), self.spot_stages)

    def _place(self, now: Now, state: Any, mind: Any) -> Any:
        """The rows of the table for these moments, at the slack of the cell below."""
        grid = self.grid
        left = now.deadline - now.elapsed
        slack = grid.cells[_cells((left - now.work) / grid.step + 1e-6, len(grid.cells) - 1)]
        layer = grid.layer_of[_cells(left / self.tick + 0.5, len(grid.layer_of) - 1)]
        _, layers, slacks, states, _ = self.costs.shape
        return ((mind * layers + layer) * slacks + slack) * states + state

    # ---- zones as they are -------------------------------------------------------------------------------

    def place(self, terms: Terms, now: Now, zones: Places) -> tuple[Any, Any]:
        """(WAIT, SPOT or ON_DEMAND; the zone) for each job, at the zones' own prices."""
        usd, wait, dear = self.quote(terms, now, zones)
        np = self.costs.__array_namespace__()
        best = usd.argmin(axis=0)
        least = usd[best, np.arange(usd.shape[1])]
        wish = np.where(dear < wait, ON_DEMAND, WAIT)
        go = (least <= np.minimum(wait, dear)) & np.isfinite(least)
        return np.where(go, SPOT, wish), best

    def quote(self, terms: Terms, now: Now, zones: Places) -> tuple[Any, Any, Any]:
        """Expected dollars until the end: of spot in each zone (infinite where there is none), of waiting,
        and of on-demand."""
        np = self.costs.__array_namespace__()
        worth = zones.up & (zones.usd < zones.usd_on_demand)
        ages = np.where(worth, zones.age, -1.0)
        index = np.arange(len(ages))[:, None]
        # One state of the others for all: quotes are to differ by what the zones themselves differ in.
        other = np.where(index == ages.argmax(axis=0), -1.0, ages).max(axis=0)
        here = index == zones.here
        state = self._state(worth, np.maximum(ages, 0.0), other)
        market = markets_usd(np, zones.usd, zones.usd_on_demand)
        unit = market * self.tick / 3600
        stage = self._stage(now.ran)
        mind = now.model * self.minds + (now.unrest > 0) * (self.minds - 1)
        cost = self._cost(self._place(now, state, mind), self.cheap + here * stage)
        extra = (zones.usd - market) * self._hours(now, ages) + zones.move_usd * ~here
        column = DEAR + (now.mode == ON_DEMAND) * np.minimum(stage, self.stages)
        down = self.grid.buckets[_cells(zones.down_age / self.tick + 1e-6, len(self.grid.buckets) - 1)]
        away = self._place(now, down, mind)
        # A refusal costs the way back: to begin anew, instead of going on.
        anew = (self._cost(away, DEAR) - self._cost(away, column)) * (now.mode == ON_DEMAND)
        mine = self._place(now, np.take_along_axis(state, np.maximum(zones.here, 0)[None], 0)[0], mind)
        anew += (self._cost(mine, self.cheap) - self._cost(mine, self.cheap + stage)) * (zones.here >= 0)
        risk = np.maximum(anew, 0.0) * unit * (1 / zones.chance - 1) * ~here
        usd = np.where(worth, cost * unit + extra + risk, np.inf)
        # What follows a wait, or a time on-demand, is that spot later with its price and its move, or
        # another zone that comes up meanwhile, with theirs.
        best = usd.argmin(axis=0)[None]
        column_of = np.arange(usd.shape[1])
        state = state[best[0], column_of]
        # Spot that may be refused is nothing to count on while on-demand goes on.
        sure = worth.any(axis=0) & (risk[best[0], column_of] == 0)
        entry = np.where(sure, extra[best[0], column_of], np.inf)
        market_entry = zones.move_usd.mean(axis=0)
        there = self._place(now, state, mind)
        wait, dear = (
            np.minimum(self._cost(there, one) * unit + entry, self._cost(away, one) * unit + market_entry)
            for one in (WAITING, column)
        )
        dear = dear + zones.on_demand_move_usd
        return usd, wait, dear

    def _hours(self, now: Now, ages: Any) -> Any:
        """For how long the price of each zone is paid: until it falls, or the work is done."""
        np = self.costs.__array_namespace__()
        lives = self.lives[_cells(np.maximum(ages, 0.0) / self.tick + 1e-6, len(self.lives) - 1)]
        return np.minimum(lives, now.work + now.changeover) / 3600

    def place_one(self, terms: Terms, now: Now, situation: Situation) -> tuple[int, int]:
        """`place` for one job, as `hotdesk.core.spot.decision.decide` asks it: in plain numbers, because a
        few dozen zones are too few for arrays to be worth it."""
        zones, dear_usd = situation.zones, terms.usd_on_demand
        if not zones:
            return int(self.choose(now)), 0
        tick, top = self.tick, len(self.lives) - 1
        asked: list[tuple[int, float, float, Zone]] = []  # those worth asking: number, age, price
        oldest = second = here_age = -1.0
        here, moves, down_age = -1, 0.0, inf
        prices: list[float] = []
        ask, count, machine = asked.append, prices.append, situation.machine
        for n, zone in enumerate(zones):
            price, age = zone.usd_per_hour, zone.seconds
            moves += zone.move_usd
            if zone.up:
                if zone.name == machine:
                    here, here_age = n, age if price < dear_usd else -1.0
                if price < dear_usd:
                    if age > oldest:
                        oldest, second = age, oldest
                    elif age > second:
                        second = age
                    if age >= 0:
                        ask((n, age, price, zone))
            elif age < down_age:
                down_age = age
            count(price if price < dear_usd else dear_usd)
        market = _market(prices)
        unit, longest = market * tick / 3600, now.work + now.changeover
        other, stage = self._class(second), int(self._stage_of(now.ran))
        row, width = self._row(now), self.costs.shape[-1]
        item, buckets, lives = self._columns.item, self._buckets, self._lives
        down = min(int((down_age if down_age < inf else 0.0) / tick + 1e-6), top)
        away = (row + buckets[down]) * width
        column = DEAR + (now.mode == ON_DEMAND) * min(stage, self.stages)
        # A refusal costs the way back: to begin anew, instead of going on.
        anew = item(away + DEAR) - item(away + column)
        if here >= 0:
            old = min(int(max(here_age, 0.0) / tick + 1e-6), top)
            up = self.buckets + buckets[old] * self.classes + other if here_age >= 0 else buckets[old]
            mine = (row + up) * width + self.cheap
            anew += item(mine) - item(mine + stage)
        anew = max(anew, 0.0) * unit
        best, least, entry, state = 0, inf, inf, 0
        above, classes = self.buckets + other, self.classes
        first = (row + above) * width + self.cheap
        costs = self._columns[first : first + self.buckets * classes * width : classes * width].tolist()
        for n, age, price, zone in asked:
            old = int(age / tick + 1e-6)
            if old > top:  # noqa: PLR1730 -- min() takes twice as long as the rest of the line
                old = top
            hours = (life if (life := lives[old]) < longest else longest) / 3600
            extra = (price - market) * hours
            if n == here:
                total = item(first + buckets[old] * classes * width + stage) * unit + extra
            else:
                extra += zone.move_usd
                total = costs[buckets[old]] * unit + extra
                if anew and (risk := anew * (1 / zone.chance - 1)):
                    if (total := total + risk) < least:
                        best, least, entry, state = n, total, inf, old
                    continue
            if total < least:
                best, least, entry, state = n, total, extra, old
        state = above + buckets[state] * classes if least < inf else 0
        there = (row + state) * width
        wait, dear = (
            min(item(there + one) * unit + entry, item(away + one) * unit + moves / len(zones))
            for one in (WAITING, column)
        )
        dear += situation.on_demand_move_usd
        if least <= min(wait, dear) and least < inf:
            return SPOT, best
        return (ON_DEMAND if dear < wait else WAIT), best

    @cached_property
    def _buckets(self) -> list[int]:
        return [int(bucket) for bucket in self.grid.buckets]

    @cached_property
    def _lives(self) -> list[float]:
        return [float(life) for life in self.lives]

    def _class(self, other: float) -> int:
        """Of the others' best age, -1 where none is up."""
        if self.classes == 1:
            return 0
        known = len(self.grid.classes) - 2
        return int(self.grid.classes[known + 1 if other < 0 else min(int(other / self.tick + 1e-6), known)])

    def _row(self, now: Now) -> int:
        """The first row of the table for this moment of one job."""
        return int(self._place(now, 0, now.model * self.minds + (now.unrest > 0) * (self.minds - 1)))

    def _stage_of(self, ran: float) -> int:
        return int(min(max(ceil(ran / self.tick - 0.01), 0), self.spot_stages))

    # ---- what was learnt, and what it should cost ----------------------------------------------------------

    def noticed(self, unrest: Any, seconds: float, *, age: Any, fell: Any, model: Any = 0) -> Any:
        """The unrest after so many seconds of watching a zone that was up, `age` old, and fell or did not.

        It is the logarithm of how much likelier all this is where falls are twice as frequent: up by log 2
        with a fall, down by the falls to be expected.
        """
        old = _cells(age / self.tick + 1e-6, len(self.grid.buckets) - 1)
        return unrest + fell * LOG2 - self.fall_rates[model, old] * seconds

    def expected_usd(self, terms: Terms, work_seconds: float, left_seconds: float) -> float:
        """What so much work in so much time should cost, with no machine yet and nothing known of spot.

        Infinite where it cannot be done in time; the programme's own rounding is on the dear side.
        """
        grid = self.grid
        layer = int(grid.layer_of[min(int(left_seconds / self.tick + 1e-9), len(grid.layer_of) - 1)])
        if grid.stored[layer] * self.tick > left_seconds + 1e-6:
            layer -= 1
        slack = int((grid.stored[layer] * self.tick - work_seconds) // grid.step + 1e-6)
        if slack < 0:
            return float("inf")
        cell = int(grid.cells[min(slack, len(grid.cells) - 1)])
        ticks = float(self.quotes[0, layer, cell])
        spot = max(terms.usd_spot, LEAST_SPOT * terms.usd_on_demand)
        return ticks * spot * self.tick / 3600 if ticks < TOO_LATE / 100 else float("inf")


def markets_usd(np: Any, usd: Any, usd_on_demand: Any) -> Any:
    """`policy.market_usd` of many jobs at once: over zone and job -> over job."""
    dear = np.sort(np.minimum(usd, usd_on_demand), axis=0)
    weights = AVAILABLE * (1 - AVAILABLE) ** np.arange(len(dear))
    return (dear * (weights / weights.sum())[:, None]).sum(axis=0)


@cache
def _weights(count: int) -> tuple[float, ...]:
    """How often a job is in the cheapest zone, in the next, ..."""
    raw = [AVAILABLE * (1 - AVAILABLE) ** n for n in range(count)]
    return tuple(weight / sum(raw) for weight in raw)


def _market(prices: list[float]) -> float:
    """`markets_usd` of one job; none of the prices is above that of on-demand."""
    prices.sort()
    return float(sum(map(mul, prices, _weights(len(prices)))))


def _lifted(now: Now, like: Any) -> Now:
    """The same moment of one job as arrays of one."""
    np = like.__array_namespace__()
    return Now(**{name: np.array([getattr(now, name)]) for name in Now.__struct_fields__})


def _cells(x: Any, most: int) -> Any:
    """x rounded down to a whole number within 0..most."""
    if hasattr(x, "astype"):
        np = x.__array_namespace__()
        return np.minimum(np.maximum(x.astype(np.int64), 0), most)
    return min(max(int(x), 0), most)
