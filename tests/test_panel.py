"""Several zones in dollars: the optimum is exact, the blind know what they met, bad prices are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hotdesk.core.errors import Damaged
from hotdesk.core.spot.changeovers import GUESS_SECONDS, believed
from hotdesk.core.spot.decision import Situation, Zone, decide
from hotdesk.core.spot.policy import Greedy, Terms
from tests.conftest import Command
from tests.recorded import made, write

np = pytest.importorskip("numpy", reason="the simulator needs numpy")

from hotdesk.simulate import study  # noqa: E402
from hotdesk.simulate.many_zones import Moment, Starts, play_panel  # noqa: E402
from hotdesk.simulate.optimum import optimum_panel_usd  # noqa: E402
from hotdesk.simulate.panel import Panel, panel  # noqa: E402
from hotdesk.simulate.solver import semi_markov  # noqa: E402
from hotdesk.simulate.traces import read_trace  # noqa: E402

HOUR = 3600.0
TERMS = Terms(
    work_seconds=5 * HOUR,
    deadline_seconds=7 * HOUR,
    changeover_seconds=720.0,
    usd_on_demand=3.0,
    usd_spot=1.0,
    zones=3,
)


def market(seed: int, ticks: int = 60, gib: float = 50.0) -> Panel:
    """Three zones in two regions, at prices that move, with egress that differs by direction."""
    rng = np.random.default_rng(seed)
    usd = np.repeat(rng.uniform(0.5, 2.5, (3, ticks // 6 + 1)), 6, axis=1)[:, :ticks]
    return panel(
        zones=["a1", "a2", "b1"], regions=["a", "a", "b"], up=made(seed, ticks, 3), usd=usd,
        usd_on_demand={"a": 3.0, "b": 2.8}, tick_seconds=600.0,
        usd_per_gib={("a", "b"): 0.02}, default_usd_per_gib=0.09, checkpoint_gib=gib,
    )  # fmt: skip


def integer_programme(terms: Terms, market: Panel) -> float:
    """Places over time, moves between them as flows: solved by HiGHS, and nothing shared with the optimum."""
    optimize = pytest.importorskip("scipy.optimize", reason="the integer programme needs scipy")
    sparse = pytest.importorskip("scipy.sparse")
    zones, regions = len(market.zones), len(market.regions)
    ticks, hour = int(terms.deadline_seconds // terms.tick_seconds), terms.tick_seconds / HOUR
    # Nodes: spot in each zone, on-demand in each region, idle with the checkpoint in each region, not begun.
    where = [*market.home.tolist(), *range(regions), *range(regions), -1]
    nodes, running = len(where), zones + regions
    arcs, cost, gain = [], [], []
    for tick in range(ticks):
        for before in range(nodes):
            if tick == 0 and before != nodes - 1:
                continue
            for after in range(nodes):
                stays = before == after
                if after < zones and not market.up[after, tick]:
                    continue
                if after >= running and not (stays or where[before] == where[after]):
                    continue  # waiting moves nothing
                moved = after < running and where[before] not in {-1, where[after]}
                usd = market.move_usd[where[before], where[after]] if moved else 0.0
                if after < zones:
                    usd += market.usd[after, tick] * hour
                elif after < running:
                    usd += market.usd_on_demand[after - zones] * hour
                work = terms.tick_seconds * (after < running) - terms.changeover_seconds * (
                    after < running and not stays
                )
                arcs.append((tick, before, after))
                cost.append(usd)
                gain.append(work)
    rows, columns, values = [], [], []
    for number, (tick, before, after) in enumerate(arcs):
        rows += [tick * nodes + before, (tick + 1) * nodes + after]
        columns += [number, number]
        values += [-1.0, 1.0]
    flow = sparse.csr_matrix((values, (rows, columns)), shape=((ticks + 1) * nodes, len(arcs)))
    balance = np.zeros((ticks + 1) * nodes)
    balance[nodes - 1] = -1.0
    inner = np.arange(ticks * nodes)
    found = optimize.milp(
        np.array(cost),
        constraints=[
            optimize.LinearConstraint(flow[inner], balance[inner], balance[inner]),
            optimize.LinearConstraint(sparse.csr_matrix(np.array([gain])), terms.work_seconds, np.inf),
        ],
        bounds=optimize.Bounds(0, 1),
        integrality=np.ones(len(arcs)),
    )
    assert found.success
    return float(found.fun)


@pytest.mark.parametrize("seed", range(4))
def test_an_integer_programme_agrees_in_dollars(seed: int) -> None:
    zones = market(seed, gib=(0.0, 5.0, 50.0, 50.0)[seed])
    best = optimum_panel_usd(TERMS, zones, np.array([0]))[0]
    assert best == pytest.approx(integer_programme(TERMS, zones), abs=1e-6)


def test_nobody_is_below_the_optimum_nor_late_told_or_blind() -> None:
    policy, begins = semi_markov(TERMS), np.arange(0, 100, 7)
    for seed in range(4):
        zones = market(seed, 160)
        best = optimum_panel_usd(TERMS, zones, begins)
        for rule in (policy, Greedy()):
            for blind in (False, True):
                runs = play_panel(rule, TERMS, zones, begins, blind=blind)
                assert not runs.late.any()
                assert (runs.usd >= best - 1e-6).all()


def test_dear_spot_is_left_for_cheap_spot_that_pays_for_the_move() -> None:
    """The cheap zone comes up after an hour; for ten hours of work it is worth $1 of egress, and not $50."""
    terms = msgspec.structs.replace(TERMS, work_seconds=10 * HOUR, deadline_seconds=11 * HOUR, zones=2)
    up = np.ones((2, 100), dtype=bool)
    up[1, :6] = False
    for move, spent in ((1.0, True), (50.0, False)):
        zones = panel(
            zones=["dear", "cheap"], regions=["a", "b"], up=up,
            usd=np.array([[2.5], [0.5]]) + np.zeros((2, 100)), usd_on_demand={"a": 3.0, "b": 3.0},
            tick_seconds=600.0, default_usd_per_gib=move, checkpoint_gib=1.0,
        )  # fmt: skip
        story: list[Moment] = []
        play_panel(semi_markov(terms), terms, zones, np.array([0]), story=story)
        assert (story[-1].place == "cheap") == spent
        assert all(moment.why for moment in story)


def test_the_blind_are_told_nothing_of_zones_that_they_did_not_ask() -> None:
    """What goes on in a zone that was never asked changes nothing of a blind run."""
    zones, terms = market(7, 80, gib=0.0), TERMS
    zones.usd = np.array([[0.5], [0.6], [2.9]]) + np.zeros((3, 80))
    policy, story = semi_markov(terms), []
    play_panel(policy, terms, zones, np.array([0]), blind=True, story=story)
    asked = {moment.place for moment in story} | {name for moment in story for name in moment.refused}
    for number, name in enumerate(zones.zones):
        if name not in asked:
            other: list[Moment] = []
            zones.up[number] ^= True
            play_panel(policy, terms, zones, np.array([0]), blind=True, story=other)
            assert other == story


def test_a_refused_place_is_not_asked_again_at_once() -> None:
    zones = market(1, 80)
    zones.up[:] = False
    story: list[Moment] = []
    patient = msgspec.structs.replace(TERMS, deadline_seconds=12 * HOUR)
    play_panel(Greedy(), patient, zones, np.array([0]), blind=True, story=story)
    assert sum(len(moment.refused) for moment in story) >= 3
    assert all(len(set(moment.refused)) == len(moment.refused) for moment in story)


def test_live_a_cheaper_zone_is_named_with_both_prices() -> None:
    zones = (
        Zone(name="dear", up=True, seconds=9 * HOUR, usd_per_hour=2.6),
        Zone(name="cheap", up=True, seconds=9 * HOUR, usd_per_hour=0.5, move_usd=0.3),
    )
    now = Situation(
        elapsed_seconds=0.0, work_seconds=5 * HOUR, zones=zones, machine="dear", ran_seconds=2 * HOUR
    )
    decision = decide(semi_markov(TERMS), TERMS, now)
    assert (decision.action, decision.zone) == ("spot", "cheap")
    assert "$2.60 an hour in dear, $0.50 in cheap" in decision.why


def test_a_changeover_is_learnt_and_the_margin_with_it() -> None:
    """Nothing seen: the guess may be wrong by itself. One launch of twice the guess is within the margin."""
    first = believed(())
    assert (first.seconds, first.margin_seconds) == (GUESS_SECONDS, GUESS_SECONDS)
    one = believed((2 * GUESS_SECONDS,))
    assert one.seconds + one.margin_seconds >= 2 * GUESS_SECONDS
    many = believed((300.0, 310.0, 305.0) * 10)
    assert 300 < many.seconds <= 360
    assert many.margin_seconds < 240


def test_changeovers_are_learnt_in_a_run_as_they_are_live() -> None:
    """Twice what was believed at first: with two hours of slack nobody is late, and the first start on-demand
    comes earlier than for one who knows that starts are short."""
    zones, begins = market(3, 400), np.arange(0, 300, 5)
    terms = msgspec.structs.replace(TERMS, deadline_seconds=8 * HOUR)
    slow, quick = (
        play_panel(semi_markov(terms), terms, zones, begins, blind=True, starts=Starts(seconds=[seconds]))
        for seconds in (2 * terms.changeover_seconds, terms.changeover_seconds / 2)
    )
    assert not slow.late.any()
    assert not quick.late.any()
    assert slow.usd.mean() > quick.usd.mean()


def test_where_on_demand_is_sold_out_spot_is_better_than_nothing() -> None:
    """The deadline asks for on-demand, and there is none for three hours: told or blind, the job goes on on
    spot, at whatever it costs below on-demand, and asks again."""
    up = np.ones((2, 60), dtype=bool)
    terms = msgspec.structs.replace(TERMS, work_seconds=6 * HOUR, deadline_seconds=6.5 * HOUR, zones=2)
    zones = panel(
        zones=["a1", "a2"], regions=["a", "a"], up=up, usd=np.array([[2.9], [2.8]]) + np.zeros((2, 60)),
        usd_on_demand={"a": 3.0}, tick_seconds=600.0, on_demand_up=np.arange(60)[None] >= 18,
    )  # fmt: skip
    for blind in (False, True):
        story: list[Moment] = []
        play_panel(semi_markov(terms), terms, zones, np.array([0]), blind=blind, story=story)
        assert {moment.place for moment in story[:18]} == {"a2"}


# ---- prices in traces ------------------------------------------------------------------------------------


def priced(folder: Path, prices: Any, **more: Any) -> Path:
    content = {"metadata": {"gap_seconds": 600} | more, "data": [1, 2, 0, 1], "prices": prices}
    file = folder / "us-east-1a_v100_1.json"
    file.write_text(json.dumps(content))
    return file


def test_prices_of_a_trace_are_read_and_gaps_are_said(tmp_path: Path) -> None:
    trace = read_trace(priced(tmp_path, [1.0, None, 2.0, 2.0]))
    assert trace.usd.tolist() == [1.0, 1.0, 2.0, 2.0]
    assert "25 % of its prices are missing" in trace.notes[0]
    assert read_trace(priced(tmp_path, [1.0] * 4), nodes=2).up.tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("prices", "more", "said"),
    [
        ([1.0, 0.0, 1.0, 1.0], {}, "tick 1 is 0.0"),
        ([1.0, "1", 1.0, 1.0], {}, "tick 1 is 1"),
        ([1.0], {}, "1 prices for 4 ticks"),
        ([1.0] * 4, {"price_info": {"currency": "EUR"}}, "in EUR, not in USD"),
    ],
)
def test_prices_that_cannot_be_are_refused(tmp_path: Path, prices: Any, more: Any, said: str) -> None:
    with pytest.raises(Damaged, match=said):
        read_trace(priced(tmp_path, prices, **more))


def test_a_history_beside_traces_gives_each_zone_its_price(hotdesk: Command, tmp_path: Path) -> None:
    """Two documents in one file, as `aws … >> file` leaves it: both count, and what was assumed is said."""
    folder = tmp_path / "traces"
    for number, zone in enumerate(("us-east-1a", "us-west-2b")):
        write(folder, f"{zone}_v100_1", made(number, 200)[0])
    rows = [
        {"AvailabilityZone": zone, "InstanceType": "p3.2xlarge", "ProductDescription": "Linux/UNIX",
         "SpotPrice": price, "Timestamp": "2020-01-01T00:00:00Z"}
        for zone, price in (("us-east-1a", "2.5"), ("us-west-2b", "0.5"))
    ]  # fmt: skip
    history = tmp_path / "prices.json"
    history.write_text("".join(json.dumps({"SpotPriceHistory": [row]}) for row in rows))
    words = (
        "simulate", "--traces", str(folder), "--zones", "together", "--work", "4", "--deadline", "8",
        "--history", str(history), "--checkpoint-gib", "50", "--windows", "3",
    )  # fmt: skip
    told = hotdesk(*words, "--json")
    assert told.returncode == 0, told.stderr
    assert "$1.00" in told.stderr
    found = json.loads(told.stdout)
    assert (found["view"], found["late"]) == ("told", 0)
    assert found["cost_over_optimum"] >= 1
    shown = hotdesk(*words, "--view", "blind", "--explain")
    assert shown.returncode == 0, shown.stderr
    assert "us-west-2b" in shown.stdout
    assert "$0.50 an hour" in shown.stdout


@pytest.mark.parametrize(
    ("key", "said"),
    [("metadata", "gap of metadata is not read"), ("price_info", "usd of price_info is not read")],
)
def test_what_is_not_read_of_a_trace_is_named(tmp_path: Path, key: str, said: str) -> None:
    more = {"gap": 1} if key == "metadata" else {"price_info": {"usd": 3.06, "on_demand_price": 3.0}}
    trace = read_trace(priced(tmp_path, [1.0] * 4, **more))
    assert [said in note for note in trace.notes] == [True]
    assert trace.usd_on_demand == (3.0 if key == "price_info" else None)


def test_starts_differ_around_what_was_asked_for() -> None:
    seconds = study.starts(720.0, 0.5).seconds
    assert seconds.mean() == pytest.approx(720.0, rel=0.03)
    assert seconds.std() / seconds.mean() == pytest.approx(0.5, rel=0.1)
    assert seconds.min() > 0


def test_on_demand_is_sold_out_for_that_share_of_the_time() -> None:
    there = study.sold(3, 60_000, 0.2, 6.0)
    assert (~there).mean() == pytest.approx(0.2, rel=0.1)
    begins = (there[:, :-1] & ~there[:, 1:]).sum()
    assert (~there).sum() / begins == pytest.approx(6.0, rel=0.1)
    assert not np.array_equal(there[0], there[1]), "regions are sold out at different times"
    assert (~study.sold(1, 9_000, 0.9, 1.0)).mean() == pytest.approx(0.9, rel=0.1)


def test_slow_starts_and_refusals_cost_more(hotdesk: Command, tmp_path: Path) -> None:
    """One trace by itself, told: both options count there too, and what the optimum leaves out is said."""
    write(tmp_path / "traces", "us-east-1a_v100_1", made(1, 900)[0])
    words = (
        "simulate", "--traces", str(tmp_path / "traces"), "--work", "6", "--deadline", "9", "--windows", "60",
    )  # fmt: skip
    plain, hard = (
        json.loads(hotdesk(*words, *more, "--json").stdout)
        for more in ((), ("--changeover-spread", "0.5", "--on-demand-refused", "0.3"))
    )
    assert hard["late"] > plain["late"] == 0
    said = hotdesk(*words, "--on-demand-refused", "0.3")
    assert "on-demand that is always to be had" in said.stderr
    refused = hotdesk(*words, "--on-demand-refused", "1")
    assert refused.returncode == 2
