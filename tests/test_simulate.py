"""`hotdesk simulate`: the published figures to four digits, tables on disk, budgets."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotdesk.core.errors import NotAllowed
from hotdesk.core.spot.policy import FALLS, RISES, Greedy, Terms, UniformProgress
from tests.recorded import POOLS_2022, WINDOWS, ZONES_2023, made, recorded

np = pytest.importorskip("numpy", reason="the simulator needs numpy")

from hotdesk.simulate import solver  # noqa: E402
from hotdesk.simulate.budget import within_budget  # noqa: E402
from hotdesk.simulate.engine import play  # noqa: E402
from hotdesk.simulate.hazards import fit  # noqa: E402
from hotdesk.simulate.solver import semi_markov  # noqa: E402
from hotdesk.simulate.traces import read_traces, windows  # noqa: E402

HOUR = 3600.0
PUBLISHED = Terms(
    work_seconds=48 * HOUR,
    deadline_seconds=56 * HOUR,
    changeover_seconds=720.0,
    usd_on_demand=3.06,
    usd_spot=0.9731,
)
SHORT = Terms(
    work_seconds=10 * HOUR,
    deadline_seconds=13 * HOUR,
    changeover_seconds=720.0,
    usd_on_demand=3.0,
    usd_spot=1.0,
)


# ---- the published simulator ---------------------------------------------------------------------------


def plainly(rule: str, terms: Terms, up: list[bool]) -> tuple[float, int]:
    """The published formulas for one run, tick by tick: dollars, and the tick it was done."""
    gap, change, whole, due = (
        terms.tick_seconds,
        terms.changeover_seconds,
        terms.work_seconds,
        terms.deadline_seconds,
    )
    left, overhead, mode, spent = whole, 0.0, "", 0.0
    for tick in range(int(due // gap) + 1):
        if left <= 1e-3:
            return spent, tick
        has_spot = up[tick]
        if mode == "spot" and not has_spot:
            mode = ""
        ticks_left = math.floor((due - tick * gap) / gap)
        two, one = (math.ceil((left + n * change) / gap) for n in (2, 1))
        wish = "spot" if has_spot else ""
        if rule == "uniform-progress":
            if tick * gap * whole / due > whole - left and not has_spot:
                wish = "od"
            hold = (tick * gap + 2 * change) * whole / due >= whole - left
            if mode == "od" and (not has_spot or hold):
                wish = "od"
        if two >= ticks_left and mode != "spot":
            wish = "od"
        elif one >= ticks_left:
            wish = "spot" if mode == "spot" and overhead < 1e-3 else "od"
        if wish and wish != mode:
            overhead = change
        mode = wish
        if mode:
            spent += {"spot": terms.usd_spot, "od": terms.usd_on_demand}[mode] * gap / HOUR
            lost = min(overhead, gap)
            overhead -= lost
            left -= min(gap - lost, left)
    raise AssertionError("late")


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), slack=st.integers(1, 40), change=st.sampled_from([72.0, 720.0, 1440.0]))
def test_greedy_and_uniform_progress_are_the_published_formulas(seed: int, slack: int, change: float) -> None:
    deadline = 10 * HOUR + (slack + 3) * 600
    terms = msgspec.structs.replace(SHORT, deadline_seconds=deadline, changeover_seconds=change)
    up = made(seed, 200)
    for rule, policy in (("greedy", Greedy()), ("uniform-progress", UniformProgress())):
        runs = play(policy, terms, up, np.array([0, 50]))
        for n, begin in enumerate((0, 50)):
            usd, tick = plainly(rule, terms, up[0, begin:].tolist())
            assert runs.usd[n] == pytest.approx(usd, rel=1e-12)
            assert runs.finish_hours[n] == pytest.approx(tick / 6)


#: Changeover, deadline (hours); greedy, Uniform Progress, omniscient, as shares of all on-demand.
PUBLISHED_SHARES = """
    0.02 52  .8391 .6923 .6305    0.20 64  .7643 .6983 .6323    0.40 52  .9116 .9067 .7791
    0.02 70  .6566 .5662 .5327    0.20 70  .7247 .6671 .6035    0.40 60  .8323 .8095 .7073
    0.02 92  .5169 .5166 .4589    0.20 80  .6546 .6305 .5625    0.40 70  .7770 .7524 .6576
    0.20 52  .8797 .8362 .7155    0.20 92  .5972 .5977 .5255    0.40 92  .6604 .6795 .5795
    0.20 56  .8266 .7674 .6784    0.20 60  .7898 .7279 .6534
"""
_numbers = [float(word) for word in PUBLISHED_SHARES.split()]
TABLE = {
    (_numbers[n], int(_numbers[n + 1])): tuple(_numbers[n + 2 : n + 5]) for n in range(0, len(_numbers), 5)
}


def _all_pools() -> tuple[Any, Any]:
    traces = read_traces(POOLS_2022)
    up = np.concatenate([t.up for t in traces])[None]
    ends = np.cumsum([0] + [len(t.up) for t in traces[:-1]])
    starts = np.array(windows(str(WINDOWS), len(traces[0].up), 552, 600.0, "the pools"))
    return up, (ends[:, None] + starts[None]).ravel()


@recorded
@pytest.mark.parametrize(("change", "deadline"), TABLE)
def test_the_published_table_to_four_digits(change: float, deadline: int) -> None:
    up, begins = _all_pools()
    terms = msgspec.structs.replace(
        PUBLISHED, changeover_seconds=round(change * HOUR, 3), deadline_seconds=deadline * HOUR
    )
    greedy, line, _ = TABLE[change, deadline]
    for policy, share in ((Greedy(), greedy), (UniformProgress(), line)):
        runs = play(policy, terms, up, begins)
        assert round(float(runs.usd.mean()) / (48 * 3.06), 4) == share
        assert not runs.late.any()


@pytest.mark.slow
@recorded
def test_the_published_optima_to_four_digits() -> None:
    from hotdesk.simulate.optimum import optimum_usd

    deadlines = tuple(d for c, d in TABLE if c == 0.2)
    total = np.zeros(len(deadlines))
    for trace in read_traces(POOLS_2022):
        begins = np.array(windows(str(WINDOWS), len(trace.up), 552, 600.0, trace.name))
        total += (
            optimum_usd(PUBLISHED, trace.up[None], begins, tuple(d * HOUR for d in deadlines)).mean(axis=0)
            / 8
        )
    assert [round(x / (48 * 3.06), 4) for x in total] == [TABLE[0.2, d][2] for d in deadlines]


@pytest.mark.slow
@recorded
def test_with_the_tested_pool_left_out_it_beats_uniform_progress_at_every_deadline(home: Path) -> None:
    traces = read_traces(POOLS_2022)
    deadlines = np.array([52, 56, 60, 64, 70, 80, 92]) * HOUR
    longest = msgspec.structs.replace(PUBLISHED, deadline_seconds=92 * HOUR)
    ours, line = np.zeros(7), np.zeros(7)
    for n, trace in enumerate(traces):
        hazards = fit([t.up for t in traces if t is not trace], 600.0)
        policy = semi_markov(longest, hazards=(hazards,))
        begins = np.array(windows(str(WINDOWS), len(trace.up), 552, 600.0, str(n)))[::5]
        many = np.tile(begins, 7)
        for rule, total in ((policy, ours), (UniformProgress(), line)):
            runs = play(rule, longest, trace.up[None], many, deadlines=np.repeat(deadlines, len(begins)))
            assert not runs.late.any()
            np.add(total, runs.usd.reshape(7, -1).mean(axis=1), out=total)
    assert (ours < line).all()


@pytest.mark.slow
@recorded
@pytest.mark.parametrize("deadline", [56, 64])
def test_on_every_zone_of_another_year_it_beats_uniform_progress(home: Path, deadline: int) -> None:
    terms = msgspec.structs.replace(
        PUBLISHED, usd_spot=0.918, deadline_seconds=deadline * HOUR, tick_seconds=195.0
    )
    policy = semi_markov(terms)
    for trace in read_traces(ZONES_2023):
        begins = np.linspace(0, len(trace.up) - int(deadline * HOUR / 195) - 1, 40).astype(int)
        ours, line = (play(p, terms, trace.up[None], begins) for p in (policy, UniformProgress()))
        assert ours.usd.mean() < line.usd.mean(), trace.name
        assert not ours.late.any()


def test_on_zones_that_behave_as_believed_it_beats_the_others(home: Path) -> None:
    terms = msgspec.structs.replace(SHORT, deadline_seconds=14 * HOUR)
    up = made(7, 20_000)
    begins = np.arange(0, 19_000, 50)
    ours, line, greedy = (
        play(p, terms, up, begins).usd.mean() for p in (semi_markov(terms), UniformProgress(), Greedy())
    )
    assert ours < 0.98 * line
    assert ours < 0.98 * greedy


def test_what_it_expects_is_what_it_pays(home: Path) -> None:
    """The quote of the programme against 4,000 made runs that begin when nothing is known."""
    policy = semi_markov(SHORT)
    up = made(11, 60_000)
    paid = play(policy, SHORT, up, np.arange(0, 59_000, 15)).usd.mean()
    assert policy.expected_usd(SHORT, SHORT.work_seconds, SHORT.deadline_seconds) == pytest.approx(
        paid, rel=0.06
    )


@pytest.mark.parametrize("spot", [0.0, 0.001, 2.9, 3.0, 5.0])
def test_at_any_price_it_is_sensible(home: Path, spot: float) -> None:
    """Spot for nothing is taken whenever there is any; spot that is dearer than on-demand, never."""
    terms = msgspec.structs.replace(SHORT, usd_spot=spot, deadline_seconds=16 * HOUR)
    up, begins = made(13, 3000), np.arange(0, 2800, 20)
    ours = play(semi_markov(terms), terms, up, begins)
    line = play(UniformProgress(), terms, up, begins)
    assert ours.usd.mean() <= line.usd.mean()
    if spot > 3:
        assert ours.spot_hours.sum() == 0
    if spot < 0.01:
        assert ours.spot_hours.sum() > 0.5 * (ours.spot_hours + ours.on_demand_hours).sum()


def test_more_zones_cost_less(home: Path) -> None:
    up = made(3, 6000, 4)
    begins = np.arange(0, 5800, 29)
    costs = [
        play(semi_markov(t), t, up[:n], begins).usd.mean()
        for n in (1, 2, 4)
        for t in [msgspec.structs.replace(SHORT, zones=n)]
    ]
    assert costs == sorted(costs, reverse=True)
    assert costs[2] < 0.85 * costs[0]


def test_an_interruption_in_the_first_hour_is_not_charged() -> None:
    """Six ticks up, two down, then up for good: five of six ticks in the first spell are within its hour."""
    terms = Terms(
        work_seconds=12 * 600.0, deadline_seconds=40 * 600.0, changeover_seconds=0.0, usd_on_demand=60.0,
        usd_spot=6.0, first_hour_free=True,
    )  # fmt: skip
    spell = np.ones((1, 60), dtype=bool)
    spell[0, 5:7] = False
    assert play(Greedy(), terms, spell, np.array([0])).usd[0] == pytest.approx(7 * 1.0)  # five were free
    spell[0, 5] = True  # interrupted after exactly an hour: charged
    assert play(Greedy(), terms, spell, np.array([0])).usd[0] == pytest.approx(12 * 1.0)
    charged = msgspec.structs.replace(terms, first_hour_free=False)
    spell[0, 5] = False
    assert play(Greedy(), charged, spell, np.array([0])).usd[0] == pytest.approx(12 * 1.0)


def test_knowing_of_the_free_hour_pays(home: Path) -> None:
    free = msgspec.structs.replace(SHORT, first_hour_free=True, deadline_seconds=14 * HOUR)
    up, begins = made(21, 30_000), np.arange(0, 29_000, 40)
    aware = play(semi_markov(free), free, up, begins)
    unaware = play(semi_markov(msgspec.structs.replace(free, first_hour_free=False)), free, up, begins)
    assert aware.usd.mean() < unaware.usd.mean()
    assert not aware.late.any()


# ---- hazards, tables and budgets -----------------------------------------------------------------------


@recorded
def test_the_shipped_hazards_are_those_of_the_pools_of_2022() -> None:
    falls, rises = fit([t.up for t in read_traces(POOLS_2022)], 600.0, belief=0.0)
    assert falls == pytest.approx(FALLS, abs=0.0025)
    assert rises == pytest.approx(RISES, abs=0.0025)


def test_hazards_are_found_again_in_made_traces() -> None:
    falls, rises = fit([made(n, 15_000)[0] for n in range(4)], 600.0)
    assert falls == pytest.approx(FALLS, rel=0.2)
    assert rises == pytest.approx(RISES, rel=0.35)
    never = fit([np.ones(100, dtype=bool)], 600.0)
    assert never[0] == pytest.approx(FALLS)


def test_tables_are_shared_and_together_they_stay_small() -> None:
    """Prices move all day, and most moves need no new table; those of long ago make room for new ones."""
    terms = msgspec.structs.replace(SHORT, usd_spot=1.01)
    first = semi_markov(terms)
    assert semi_markov(msgspec.structs.replace(terms, usd_spot=1.015)) is first
    for number in range(40):
        semi_markov(msgspec.structs.replace(SHORT, usd_spot=0.2 * 1.05**number))
    assert sum(one.nbytes for one in solver._tables.values()) <= solver.TABLES_BYTES
    again = semi_markov(terms)
    assert (again.costs == first.costs).all()


def test_a_budget_buys_the_earliest_deadline(home: Path) -> None:
    last = 0.0
    for usd in (29.0, 24.0, 20.0, 17.0):
        terms, expected = within_budget(SHORT, usd)
        assert expected <= usd
        assert terms.deadline_seconds > last
        last = terms.deadline_seconds
        sooner = msgspec.structs.replace(terms, deadline_seconds=terms.deadline_seconds - 1200)
        quote = semi_markov(sooner, longest_seconds=5 * sooner.work_seconds)
        assert quote.expected_usd(sooner, sooner.work_seconds, sooner.deadline_seconds) > usd
    with pytest.raises(NotAllowed, match="most patient plan") as complaint:
        within_budget(SHORT, 9.0)
    within_budget(SHORT, float(complaint.value.fix.split()[-1]))
