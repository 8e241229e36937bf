"""Runs over a panel: every zone at its own price of the tick, moves paid by the pair of regions.

Two views of the same market. Told: at each tick it is known which zones have spot, and since when (within
the run). Blind: what a live run does (hotdesk.jobs.placement), with what it knows. It knows what it met: a
launch that was granted, one that was refused, a machine that was taken. A refused launch costs nothing and is
known at once, so the next place is asked in the same tick. A working machine is left once another is granted
(core/lifecycle/holding.py), one that starts is left to start, and one that works is kept where waiting would
be better.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from hotdesk.core.jobs import ASKED_SECONDS
from hotdesk.core.spot.availability import DOWN_SECONDS, UNKNOWN_SECONDS
from hotdesk.core.spot.changeovers import of_sums
from hotdesk.core.spot.policy import (
    AVAILABLE,
    NOTHING,
    ON_DEMAND,
    SPOT,
    WAIT,
    Now,
    Policy,
    Terms,
    back_chance,
    never_late,
)
from hotdesk.core.spot.table import Places, SemiMarkov
from hotdesk.simulate.panel import Panel
from hotdesk.simulate.runs import Runs, Story, last_flips

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


class Starts(msgspec.Struct):
    """How long changeovers really take. A run does not know it: it expects what the terms say, and learns
    from its own, as `hotdesk.core.spot.changeovers` does."""

    seconds: Any  # one of these at random, each time
    seed: int = 2026


class Moment(msgspec.Struct):
    """One tick of one run, as `--explain` draws it."""

    hour: float
    mode: int
    place: str  # the zone, or the region of on-demand
    done_hours: float
    usd: float  # spent so far
    refused: tuple[str, ...]  # asked for in vain
    why: str


class _State:
    """Runs under way, as arrays; `take` keeps some of them."""

    def __init__(self, panel: Panel, terms: Terms, begins: Array) -> None:
        import numpy as np

        count, zones = len(begins), len(panel.zones)
        self.who = np.arange(count)
        self.begin = np.asarray(begins)
        self.work = np.full(count, terms.work_seconds)
        self.starting, self.ran = np.zeros(count), np.zeros(count)
        self.mode = np.zeros(count, dtype=np.int64)
        self.zone = np.zeros(count, dtype=np.int64)
        self.data = np.full(count, -1)  # the region where the checkpoint is
        self.usd, self.egress, self.spot, self.dear = (np.zeros(count) for _ in range(4))
        self.ran_before, self.spell_usd = np.zeros(count), np.zeros(count)
        self.cuts, self.starts = np.zeros(count), np.zeros(count)
        # Changeovers that came to their end: how many, their sum, and that of their squares.
        self.took, self.begun, self.sum, self.squares = (np.zeros(count) for _ in range(4))
        # What a run knows of zones when nobody tells it: seen there, away or never; since when; when last.
        self.seen = np.full((zones, count), -1, dtype=np.int64)
        self.since, self.last = np.zeros((zones, count)), np.zeros((zones, count))
        self.no_dear = np.full(count, -np.inf)  # when on-demand was last refused
        self.granted, self.denied = (
            np.zeros(count),
            np.zeros(count),
        )  # how often on-demand was, when asked for

    def take(self, keep: Array) -> None:
        for name, part in vars(self).items():
            setattr(self, name, part[..., keep])


def play_panel(
    policy: Policy,
    terms: Terms,
    panel: Panel,
    begins: Array,
    *,
    blind: bool = False,
    story: list[Moment] | None = None,
    record: Story | None = None,
    starts: Starts | None = None,
    gives_back: bool = False,
    overlap_seconds: float = ASKED_SECONDS,
) -> Runs:
    """Each run of `begins` (ticks into the panel), until its work or its time is done.

    `story` is that of the first, with reasons; `record` the same in arrays. Without `starts`, a changeover
    takes what the terms say, and the run knows it. A blind run pays both machines of a move for the time in
    which the job writes its checkpoint (`overlap_seconds`); where it `gives_back`, it has one at most, and a
    refusal leaves it with none.
    """
    import numpy as np

    count, tick, change = len(begins), terms.tick_seconds, terms.changeover_seconds
    dice = np.random.default_rng(starts.seed) if starts else None
    flips, total = last_flips(panel.up), panel.up.shape[1]
    result = np.zeros((8, count))
    result[4] = np.inf
    now = _State(panel, terms, begins)
    step = 0
    while len(now.who):
        at = np.minimum(now.begin + step, total - 1)
        there, usd = panel.up[:, at], panel.usd[:, at]
        cut = (now.mode == SPOT) & ~np.take_along_axis(there, now.zone[None], 0)[0]
        now.cuts += cut
        if blind and cut.any():
            _note(now, np.flatnonzero(cut), now.zone[cut], False, step * tick)
        now.mode = np.where(cut, WAIT, now.mode)
        if not blind:
            known, age = there, (at - np.maximum(flips[:, at], now.begin)) * tick
        moving = _moving(panel, now.data)
        dear_at, dear_usd, dear_move = _on_demand(panel, now)
        changeover, margin = (
            _expected(now, change) if starts else (np.full(len(now.who), change), now.took * 0)
        )
        wish, best = now.mode.copy(), now.zone.copy()
        # Live, a machine that starts is left to start.
        open_ = np.flatnonzero((now.mode == WAIT) | (now.starting <= 0)) if blind else np.arange(len(now.who))
        refused = []
        while len(open_):
            if blind:
                known, age, chance = _believed(now, step * tick)
            pick = open_
            here, mode = np.where(now.mode == SPOT, now.zone, -1)[pick], now.mode[pick]
            sold_out = step * tick - now.no_dear[pick] < DOWN_SECONDS
            # As core.spot.availability expects on-demand to be refused.
            late = margin[pick] + DOWN_SECONDS * now.denied[pick] / (now.granted[pick] + 1)
            places = Places(
                up=known[:, pick], age=age[:, pick], usd=usd[:, pick],
                move_usd=moving[:, pick],
                chance=chance[:, pick] if blind and gives_back else 1.0,
                here=here, usd_on_demand=dear_usd[pick], on_demand_move_usd=dear_move[pick],
                down_age=np.where(known[:, pick], 1e9, age[:, pick]).min(axis=0) % 1e9,
            )  # fmt: skip
            look = Now(
                elapsed=step * tick, deadline=terms.deadline_seconds, work=now.work[pick],
                whole=terms.work_seconds, changeover=changeover[pick], tick=tick, mode=mode,
                starting=np.where(now.starting > 0, np.maximum(changeover - now.ran, 0.0), 0.0)[pick],
                ran=now.ran[pick], up=places.up.any(axis=0), age=0.0,
                margin=late, held=changeover[pick] + late if blind else 0.0,
            )  # fmt: skip
            if isinstance(policy, SemiMarkov):
                want, zone = policy.place(terms, look, places)
            else:
                want, zone = _oldest(policy, look, places)
            want = never_late(look, want, elsewhere=(want == SPOT) & (zone != here))
            if blind:  # a working machine is not given back for nothing, nor for what is known to be sold out
                stays = (mode != WAIT) & ((want == WAIT) | ((want == ON_DEMAND) & sold_out))
                want, zone = np.where(stays, mode, want), np.where(stays, here, zone)
            want, zone = _instead(want, zone, sold_out & (mode != ON_DEMAND), places)
            wish[pick], best[pick] = want, zone
            fresh = (want != mode) | ((want == SPOT) & (zone != here))
            leaves = fresh & (mode != WAIT) & (blind and gives_back)
            now.mode[pick[leaves]], now.starting[pick[leaves]] = WAIT, 0.0
            denied = fresh & (want == SPOT) & ~there[zone, pick]
            _note(now, pick[denied], zone[denied], False, step * tick)
            if story is not None and denied.any() and pick[denied][0] == 0 and now.who[0] == 0:
                refused.append(panel.zones[int(zone[denied][0])])
            if panel.on_demand_up is not None:
                gone = fresh & (want == ON_DEMAND) & ~panel.on_demand_up[dear_at[pick], at[pick]]
                now.no_dear[pick[gone]] = step * tick
                now.denied[pick[gone]] += 1
                now.granted[pick[fresh & (want == ON_DEMAND) & ~gone]] += 1
                denied |= gone
            open_ = pick[denied]
        runs = wish != WAIT
        fresh = runs & ((wish != now.mode) | ((wish == SPOT) & (best != now.zone)))
        if blind:
            granted = np.flatnonzero(fresh & (wish == SPOT))
            _note(now, granted, best[granted], True, step * tick)
        both = fresh & (now.mode != WAIT) & blind
        now.took = np.where(
            fresh, dice.choice(starts.seconds, len(fresh)) if dice and starts else change, now.took
        )
        now.starting = np.where(fresh, now.took, now.starting)
        now.ran_before = now.ran
        now.ran = np.where(fresh, 0.0, now.ran) + tick
        now.zone = np.where(wish == SPOT, best, now.zone)
        region = np.where(wish == SPOT, panel.home[best], np.where(wish == ON_DEMAND, dear_at, now.data))
        moved = runs & (now.data >= 0) & (region != now.data)
        fee = np.where(moved, panel.move_usd[now.data, region], 0.0)
        now.data = np.where(runs, region, now.data)
        price = np.where(wish == SPOT, np.take_along_axis(usd, best[None], 0)[0], dear_usd)
        if story is not None and len(now.who) and now.who[0] == 0:
            place = panel.zones[int(best[0])] if wish[0] == SPOT else panel.regions[int(region[0])]
            story.append(
                Moment(
                    step * tick / 3600, int(wish[0]), place if runs[0] else "",
                    (terms.work_seconds - float(now.work[0])) / 3600, float(now.usd[0]), tuple(refused),
                    _why(int(wish[0]), bool(fresh[0]), bool(cut[0]), float(price[0]), float(fee[0])),
                )
            )  # fmt: skip
        if record is not None:
            record.hours.append(step * tick / 3600)
            record.mode.append(int(wish[0]))
            record.zone.append(int(best[0]))
            record.done_hours.append((terms.work_seconds - float(now.work[0])) / 3600)
        free = cut & (now.ran_before < 3600 - NOTHING) if terms.first_hour_free else None
        if free is not None:  # interrupted within the first hour: that spell is not charged
            now.usd -= np.where(free, now.spell_usd, 0.0)
        now.usd += np.where(runs, price * tick / 3600, 0.0) + fee
        now.usd += np.where(both, price * overlap_seconds / 3600, 0.0)
        spent = np.where(runs & (wish == SPOT), price * tick / 3600, 0.0)
        now.spell_usd = np.where(fresh, 0.0, now.spell_usd) + spent
        now.egress += fee
        now.spot += wish == SPOT
        now.dear += wish == ON_DEMAND
        now.starts += fresh
        lost = np.minimum(now.starting, tick) * runs
        now.starting = now.starting - lost
        now.starting = np.where(now.starting < NOTHING, 0.0, now.starting)
        if starts:
            _learn(now, (lost > 0) & (now.starting <= 0))
        now.work = np.where(runs, now.work - np.minimum(tick - lost, now.work), now.work)
        now.mode = wish
        step += 1
        ended = (now.work <= NOTHING) | ((step + 1) * tick > terms.deadline_seconds + NOTHING)
        if ended.any():
            done = now.work[ended] <= NOTHING
            result[:, now.who[ended]] = (
                now.spot[ended], now.dear[ended], now.cuts[ended], now.starts[ended],
                np.where(done, step * tick / 3600, np.inf), now.work[ended], now.usd[ended],
                now.egress[ended],
            )  # fmt: skip
            now.take(~ended)
    hour = tick / 3600
    return Runs(
        usd=result[6],
        spot_hours=result[0] * hour,
        on_demand_hours=result[1] * hour,
        finish_hours=result[4],
        late=~np.isfinite(result[4]),
        interruptions=result[2],
        starts=result[3],
        egress_usd=result[7],
    )


def _note(now: _State, runs: Array, zones: Array, there: bool, at: float) -> None:
    """What these runs met in these zones: spot, or none."""
    import numpy as np

    known = now.seen[zones, runs]
    now.since[zones, runs] = np.where(known == int(there), now.since[zones, runs], at)
    now.seen[zones, runs] = int(there)
    now.last[zones, runs] = at


def _expected(now: _State, guess: float) -> tuple[Array, Array]:
    """(what a changeover is expected to take, the margin), from those of each run."""
    import numpy as np

    # The first says nothing live: before it a job may have waited for its turn.
    return of_sums(np.maximum(now.begun - 1, 0), now.sum, now.squares, guess)


def _learn(now: _State, begun: Array) -> None:
    """These runs work again, after a changeover."""
    later = begun & (now.begun > 0)
    now.begun += begun
    now.sum += now.took * later
    now.squares += now.took**2 * later


def _instead(want: Array, zone: Array, sold_out: Array, places: Places) -> tuple[Array, Array]:
    """Where on-demand is known to be sold out: the next in the list of places, the cheapest that has spot."""
    import numpy as np

    usd = np.where(places.up, places.usd, np.inf)
    cheapest, some = usd.argmin(axis=0), places.up.any(axis=0)
    instead = (want == ON_DEMAND) & sold_out
    want = np.where(instead, np.where(some, SPOT, WAIT), want)
    return want, np.where(instead & some, cheapest, zone)


def _believed(now: _State, at: float) -> tuple[Array, Array, Array]:
    """(whether a zone is worth asking, how long it has been so, the chance that it is there), as
    core.spot.availability says it."""
    import numpy as np

    again = (now.seen == 0) & (at - now.last >= DOWN_SECONDS)
    up = (now.seen != 0) | again
    age = np.where(now.seen < 0, UNKNOWN_SECONDS, np.where(again, 0.0, at - now.since))
    chance = np.where(again, back_chance(now.last - now.since, at - now.last), AVAILABLE)
    return up, age, chance


def _moving(panel: Panel, data: Array) -> Array:
    """What bringing each run's checkpoint to each zone costs."""
    import numpy as np

    return np.where(data >= 0, panel.move_usd[data][:, panel.home].T, 0.0)


def _on_demand(panel: Panel, now: _State) -> tuple[Array, Array, Array]:
    """Of each run: the region where on-demand is had for least, its price there, and the move."""
    import numpy as np

    move = np.where(now.data[:, None] >= 0, panel.move_usd[now.data], 0.0)
    total = panel.usd_on_demand * (now.work[:, None] / 3600) + move
    region = np.where(now.mode == ON_DEMAND, now.data, total.argmin(axis=1))
    return region, panel.usd_on_demand[region], np.take_along_axis(move, region[:, None], 1)[:, 0]


def _oldest(policy: Policy, look: Now, places: Places) -> tuple[Array, Array]:
    """A rule that knows one market: in the zone that has been up for longest, and never from spot to spot."""
    import numpy as np

    ages = np.where(places.up, places.age, -1.0)
    best = np.where(places.here >= 0, places.here, ages.argmax(axis=0))
    mine = np.take_along_axis(ages, best[None], 0)[0]
    rest = np.where(np.arange(len(ages))[:, None] == best, -1.0, ages).max(axis=0)
    age = np.where(mine >= 0, mine, places.down_age)
    return policy.choose(replace(look, up=mine >= 0, age=age, other=rest)), best


def _why(wish: int, fresh: bool, cut: bool, usd: float, fee: float) -> str:
    if wish == WAIT:
        return "interrupted; waits" if cut else "waits"
    market = "spot" if wish == SPOT else "on-demand"
    if not fresh:
        return f"{market}, ${usd:.2f} an hour"
    after = "after an interruption " if cut else ""
    return f"{after}to {market} at ${usd:.2f} an hour" + (f", ${fee:.2f} for the move" if fee else "")
