"""Policies over recorded traces: thousands of runs at once, tick by tick.

The rules of the game are those of the published simulator ("Can't Be Late", NSDI 2024): a decision for each
tick, taken when it is known where spot is to be had during it; a tick of a machine is paid whole; a
changeover comes off the work of the first ticks; an interruption ends the spot machine before the tick's
decision. Nothing is known of what zones did before the run began.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotdesk.core.spot.policy import NOTHING, ON_DEMAND, SPOT, WAIT, Now, Policy, Terms, never_late
from hotdesk.core.spot.table import SemiMarkov
from hotdesk.simulate.many_zones import play_panel
from hotdesk.simulate.panel import alike
from hotdesk.simulate.runs import Runs, Story, last_flips

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def play(
    policy: Policy,
    terms: Terms,
    up: Array,
    begins: Array,
    *,
    deadlines: Array | None = None,
    models: Array | int = 0,
    record: Story | None = None,
) -> Runs:
    """Each run of `begins` (ticks into `up`, bool over zone and tick), until its work or its time is done.

    `deadlines` (seconds) and `models` (of a semi-Markov table) may differ from run to run.
    """
    import numpy as np

    if len(up) > 1:
        return play_panel(policy, terms, alike(terms, up), begins, record=record)
    count, tick, change = len(begins), terms.tick_seconds, terms.changeover_seconds
    whole, free = terms.work_seconds, terms.first_hour_free
    due = np.full(count, terms.deadline_seconds) if deadlines is None else np.asarray(deadlines, dtype=float)
    flips = last_flips(up)
    flat_up, flat_flips = np.ascontiguousarray(up).ravel(), flips.ravel()
    result = np.zeros((6, count))
    result[4] = np.inf
    # The state of those still under way; `who` is their place in the result.
    who: Any = np.arange(count)
    begin: Any = np.asarray(begins)
    models = np.broadcast_to(np.asarray(models), (count,))
    work, starting, ran = np.full(count, whole), np.zeros(count), np.zeros(count)
    mode = np.zeros(count, dtype=np.int64)
    spent, dear, broken, starts = (np.zeros(count) for _ in range(4))
    watching = isinstance(policy, SemiMarkov) and policy.minds > 1
    unrest, seen = np.zeros(count), np.zeros(count)  # `seen`: the zone's age a tick ago, -1 when it was down
    step = 0
    while len(who):
        place = begin + step
        here = flat_up[place]
        age = (place - np.maximum(flat_flips[place], begin)) * tick
        cut = (mode == SPOT) & ~here
        mode = np.where(cut, WAIT, mode)
        if watching and isinstance(policy, SemiMarkov):
            if step:
                learnt = policy.noticed(unrest, tick, age=seen, fell=~here, model=models)
                unrest = np.where(seen < 0, unrest, learnt)
            seen = np.where(here, age, -1.0)
        if free:  # interrupted within the first hour: those ticks are not charged
            spent -= np.where(cut & (ran < 3600 - NOTHING), np.rint(ran / tick), 0)
        broken += cut
        now = Now(
            elapsed=step * tick, deadline=due, work=work, whole=whole, changeover=change, tick=tick,
            mode=mode, starting=starting, ran=ran, up=here, age=age, model=models,
            unrest=unrest,
        )  # fmt: skip
        wish = never_late(now, policy.choose(now))
        runs = wish != WAIT
        fresh = runs & (wish != mode)
        starting = np.where(fresh, change, starting)
        ran = np.where(fresh, 0.0, ran) + tick
        starts += fresh
        spent += wish == SPOT
        dear += wish == ON_DEMAND
        if record is not None:
            record.hours.append(step * tick / 3600)
            record.mode.append(int(wish[0]))
            record.zone.append(0)
            record.done_hours.append((whole - float(work[0])) / 3600)
        lost = np.minimum(starting, tick) * runs
        starting = starting - lost
        starting = np.where(starting < NOTHING, 0.0, starting)
        work = np.where(runs, work - np.minimum(tick - lost, work), work)
        mode = wish
        step += 1
        ended = (work <= NOTHING) | ((step + 1) * tick > due + NOTHING)
        if ended.any():
            at = who[ended]
            result[:, at] = (
                spent[ended], dear[ended], broken[ended], starts[ended],
                np.where(work[ended] <= NOTHING, step * tick / 3600, np.inf), work[ended],
            )  # fmt: skip
            keep = ~ended
            state: list[Any] = [
                begin,
                due,
                models,
                work,
                starting,
                ran,
                mode,
                spent,
                dear,
                broken,
                starts,
                unrest,
                seen,
            ]
            begin, due, models, work, starting, ran, mode, spent, dear, broken, starts, unrest, seen = (
                part[keep] for part in state
            )
            who = who[keep]
    hour = tick / 3600
    return Runs(
        usd=(result[0] * terms.usd_spot + result[1] * terms.usd_on_demand) * hour,
        spot_hours=result[0] * hour,
        on_demand_hours=result[1] * hour,
        finish_hours=result[4],
        late=~np.isfinite(result[4]),
        interruptions=result[2],
        starts=result[3],
    )
