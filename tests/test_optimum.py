"""The optimum is exact (an integer programme agrees), and no policy is ever below it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotdesk.core.spot.policy import Greedy, OnDemand, Policy, Terms, UniformProgress, check
from tests.recorded import POOLS_2022, ZONES_2023, made, recorded

np = pytest.importorskip("numpy", reason="the simulator needs numpy")

from hotdesk.simulate.engine import play  # noqa: E402
from hotdesk.simulate.optimum import optimum_usd  # noqa: E402
from hotdesk.simulate.solver import semi_markov  # noqa: E402
from hotdesk.simulate.traces import read_traces  # noqa: E402

HOUR = 3600.0
TERMS = Terms(
    work_seconds=8 * HOUR,
    deadline_seconds=10 * HOUR,
    changeover_seconds=720.0,
    usd_on_demand=3.06,
    usd_spot=0.9731,
)


def integer_programme(terms: Terms, up: Any) -> float:
    """The published formulation (NSDI 2024, appendix), widened to several zones; solved by HiGHS."""
    optimize = pytest.importorskip("scipy.optimize", reason="the integer programme needs scipy")
    sparse = pytest.importorskip("scipy.sparse")
    zones, ticks = len(up), int(terms.deadline_seconds // terms.tick_seconds)
    machines = zones + 1  # the last is on-demand
    size = machines * ticks
    # Variables: runs[m, t] (binary), starts[m, t].
    hour = terms.tick_seconds / HOUR
    price = np.array([terms.usd_spot] * zones + [terms.usd_on_demand]) * hour
    cost = np.concatenate([np.repeat(price, ticks), np.zeros(size)])
    rows, low, high = [], [], []
    work = sparse.hstack(
        [
            sparse.csr_matrix(np.full((1, size), terms.tick_seconds)),
            sparse.csr_matrix(np.full((1, size), -terms.changeover_seconds)),
        ]
    )
    rows.append(work)
    low.append([terms.work_seconds])
    high.append([np.inf])
    rows.append(
        sparse.hstack([sparse.hstack([sparse.eye(ticks)] * machines), sparse.csr_matrix((ticks, size))])
    )
    low.append([0] * ticks)
    high.append([1] * ticks)
    # starts[m, t] >= runs[m, t] - runs[m, t-1]
    before = sparse.block_diag([sparse.eye(ticks) - sparse.eye(ticks, k=-1)] * machines)
    rows.append(sparse.hstack([-before, sparse.eye(size)]))
    low.append([0] * size)
    high.append([np.inf] * size)
    most = np.concatenate([up[:, :ticks].astype(float).ravel(), np.ones(ticks), np.ones(size)])
    found = optimize.milp(
        cost,
        constraints=optimize.LinearConstraint(sparse.vstack(rows), np.concatenate(low), np.concatenate(high)),
        bounds=optimize.Bounds(0, most),
        integrality=np.concatenate([np.ones(size), np.zeros(size)]),
    )
    assert found.success
    return float(found.fun)


@pytest.mark.parametrize("seed", range(8))
def test_an_integer_programme_agrees_on_made_windows(seed: int) -> None:
    gap = (600.0, 585.0, 195.0 * 4, 1000.0)[seed % 4]
    zones = 1 + seed % 3
    terms = msgspec.structs.replace(
        TERMS, tick_seconds=gap, zones=zones, changeover_seconds=(720.0, 300.0, 1440.0)[seed % 3]
    )
    up = made(seed, 80, zones, gap / 60)
    assert optimum_usd(terms, up, np.array([0]))[0, 0] == pytest.approx(
        integer_programme(terms, up), abs=1e-6
    )


@recorded
@pytest.mark.parametrize("pool", range(8))
def test_an_integer_programme_agrees_on_recorded_windows(pool: int) -> None:
    up = read_traces(POOLS_2022)[pool].up[None]
    begin = 300 + 211 * pool
    best = optimum_usd(TERMS, up, np.array([begin]))[0, 0]
    assert best == pytest.approx(integer_programme(TERMS, up[:, begin : begin + 60]), abs=1e-6)


@recorded
@pytest.mark.parametrize("begin", [1000, 9000])
def test_an_integer_programme_agrees_on_recorded_zones_together(begin: int) -> None:
    zones = [t.up for t in read_traces(ZONES_2023) if t.zone.startswith("us-east-1")]
    terms = msgspec.structs.replace(TERMS, tick_seconds=195.0 * 4, zones=len(zones))
    up = np.stack(zones)[:, ::4]
    best = optimum_usd(terms, up, np.array([begin // 4]))[0, 0]
    assert best == pytest.approx(integer_programme(terms, up[:, begin // 4 :]), abs=1e-6)


def test_by_hand() -> None:
    """Four ticks of spot, a hole of two, four of spot; seven ticks of work in ten, no changeover."""
    terms = Terms(
        work_seconds=4200.0, deadline_seconds=6000.0, changeover_seconds=0.0, usd_on_demand=6.0, usd_spot=1.2
    )
    up = np.array([[1, 1, 1, 1, 0, 0, 1, 1, 1, 1]], dtype=bool)
    assert optimum_usd(terms, up, np.array([0]))[0, 0] == pytest.approx(7 * 0.2)
    # With a changeover of a tick, spot alone would do six: the hole is bridged on-demand, in three starts.
    dear = msgspec.structs.replace(terms, changeover_seconds=600.0)
    assert optimum_usd(dear, up, np.array([0]))[0, 0] == pytest.approx(8 * 0.2 + 2 * 1.0)


@pytest.mark.slow
@settings(max_examples=30)
@given(
    gap=st.sampled_from([195.0, 300.0, 600.0, 900.0, 3600.0, 431.7]),
    changeover=st.sampled_from([0.0, 0.02, 0.1, 0.2, 0.37, 1.3]),
    slack=st.floats(0, 8),
    zones=st.integers(1, 3),
    seed=st.integers(0, 10**6),
    free=st.booleans(),
)
def test_no_policy_is_below_it(
    *, gap: float, changeover: float, slack: float, zones: int, seed: int, free: bool
) -> None:
    draft = msgspec.structs.replace(
        TERMS, tick_seconds=gap, zones=zones, changeover_seconds=changeover * HOUR, first_hour_free=free
    )
    terms = check(msgspec.structs.replace(draft, deadline_seconds=draft.earliest_seconds + slack * HOUR))
    ticks = int(terms.deadline_seconds // gap) + 1
    up, begins = made(seed, 2 * ticks, zones, gap / 60), np.array([0, ticks // 2, ticks - 1])
    best = optimum_usd(terms, up, begins)[:, 0]
    policies: list[Policy] = [Greedy(), UniformProgress(), OnDemand(), semi_markov(terms)]
    for policy in policies:
        assert (play(policy, terms, up, begins).usd >= best - 1e-6).all(), policy.name


def test_more_time_never_costs_more() -> None:
    up = made(5, 400)
    deadlines = tuple((8.5 + n) * HOUR for n in range(12))
    costs = optimum_usd(TERMS, up, np.arange(0, 200, 20), deadlines)
    assert (np.diff(costs, axis=1) <= 1e-9).all()
    for column, due in enumerate(deadlines):
        alone = optimum_usd(msgspec.structs.replace(TERMS, deadline_seconds=due), up, np.arange(0, 200, 20))
        assert costs[:, column] == pytest.approx(alone[:, 0])
