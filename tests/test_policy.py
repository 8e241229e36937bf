"""One policy, live and simulated: it is never late, decides the same in both, and says why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotdesk.core.errors import NotAllowed, Usage
from hotdesk.core.spot.decision import Situation, Zone, best_zone, decide
from hotdesk.core.spot.policy import (
    FALLS,
    ON_DEMAND,
    SPOT,
    WAIT,
    Greedy,
    Now,
    OnDemand,
    Policy,
    Terms,
    UniformProgress,
    check,
    expected_up_seconds,
)
from hotdesk.core.spot.table import Places, SemiMarkov
from tests.recorded import made

np = pytest.importorskip("numpy", reason="the simulator needs numpy")

from hotdesk.simulate.engine import Story, play  # noqa: E402
from hotdesk.simulate.solver import semi_markov  # noqa: E402

HOUR = 3600.0
TERMS = Terms(
    work_seconds=10 * HOUR,
    deadline_seconds=14 * HOUR,
    changeover_seconds=0.2 * HOUR,
    usd_on_demand=3.0,
    usd_spot=1.0,
)
SLOW = settings(max_examples=25)


def lived(policy: Policy, terms: Terms, up: Any) -> tuple[list[int], list[float]]:
    """A run decided by `decide`, one moment at a time, in plain arithmetic: modes, and work done."""
    tick, zones = terms.tick_seconds, len(up)
    modes: list[int] = []
    done: list[float] = []
    work, starting, ran, machine = terms.work_seconds, 0.0, 0.0, ""
    since = [0] * zones
    step, unrest, old = 0, 0.0, 0.0
    while work > 1e-3 and (step + 1) * tick <= terms.deadline_seconds + 1e-3:
        for zone in range(zones):
            if step and up[zone, step] != up[zone, step - 1]:
                since[zone] = step
        if step and zones == 1 and up[0, step - 1] and isinstance(policy, SemiMarkov):
            unrest = policy.noticed(unrest, tick, age=old, fell=not up[0, step])
        old = (step - since[0]) * tick
        if machine.isdigit() and not up[int(machine), step]:
            machine = ""
        seen = tuple(
            Zone(name=str(z), up=bool(up[z, step]), seconds=(step - since[z]) * tick, usd_per_hour=1.0)
            for z in range(zones)
        )
        now = Situation(
            elapsed_seconds=step * tick,
            work_seconds=work,
            zones=seen,
            machine=machine,
            ran_seconds=ran if machine else 0.0,
            starting_seconds=starting if machine else 0.0,
            unrest=unrest,
        )
        answer = decide(policy, terms, now)
        assert answer.why
        wanted = {"wait": "", "spot": answer.zone, "on-demand": "on-demand"}[answer.action]
        if wanted and wanted != machine:
            starting, ran = terms.changeover_seconds, 0.0
        modes.append({"wait": WAIT, "spot": SPOT, "on-demand": ON_DEMAND}[answer.action])
        done.append((terms.work_seconds - work) / HOUR)
        machine, ran = wanted, ran + tick
        if machine:
            lost = min(starting, tick)
            starting -= lost
            work -= min(tick - lost, work)
        step += 1
    assert work <= 1e-3, "late"
    return modes, done


@pytest.mark.parametrize("zones", [1, 3])
@pytest.mark.parametrize("name", ["semi-markov", "uniform-progress", "greedy", "on-demand"])
def test_live_and_simulated_are_one(home: Path, name: str, zones: int) -> None:
    terms = msgspec.structs.replace(TERMS, zones=zones)
    rules: dict[str, Policy] = {
        "semi-markov": semi_markov(terms),
        "uniform-progress": UniformProgress(),
        "greedy": Greedy(),
        "on-demand": OnDemand(),
    }
    for seed in range(6):
        up = made(seed, 84, zones)
        told = Story(hours=[], mode=[], zone=[], done_hours=[])
        play(rules[name], terms, up, np.array([0]), record=told)
        modes, done = lived(rules[name], terms, up)
        assert told.mode == modes
        assert told.done_hours == pytest.approx(done)


class Stubborn:
    """Never wants anything but what it wants."""

    name = "stubborn"

    def __init__(self, wish: int) -> None:
        self.wish = wish

    def choose(self, now: Now) -> Any:
        return np.where(now.up | (self.wish != SPOT), self.wish, WAIT)


class Fickle:
    name = "fickle"

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def choose(self, now: Now) -> Any:
        wish = self.rng.integers(0, 3, size=np.shape(now.mode))
        return np.where((wish == SPOT) & ~now.up, WAIT, wish)


@SLOW
@given(
    gap=st.one_of(st.integers(60, 5000).map(float), st.floats(60, 5000)),
    work=st.floats(0.5, 20),
    changeover=st.one_of(st.just(0.0), st.floats(0.01, 3)),
    slack=st.one_of(st.just(0.0), st.floats(0, 12)),
    zones=st.integers(1, 4),
    seed=st.integers(0, 10**6),
    ratio=st.floats(0.05, 1.5),
    free=st.booleans(),
)
@pytest.mark.slow
def test_never_late(
    *,
    gap: float,
    work: float,
    changeover: float,
    slack: float,
    zones: int,
    seed: int,
    ratio: float,
    free: bool,
) -> None:
    """Whatever the trace does, whatever the policy wishes: the work is done in time."""
    draft = Terms(
        work_seconds=work * HOUR,
        deadline_seconds=1.0,
        changeover_seconds=changeover * HOUR,
        usd_on_demand=2.0,
        usd_spot=2.0 * ratio,
        tick_seconds=gap,
        zones=zones,
        first_hour_free=free,
    )
    terms = check(msgspec.structs.replace(draft, deadline_seconds=draft.earliest_seconds + slack * HOUR))
    ticks = int(terms.deadline_seconds // gap) + 2
    rng = np.random.default_rng(seed)
    wild = rng.random((zones, 3 * ticks)) < rng.random()
    policies = [Greedy(), UniformProgress(), OnDemand(), Stubborn(SPOT), Stubborn(WAIT), Fickle(seed)]
    if ticks < 400:
        policies.append(semi_markov(terms))
    for policy in policies:
        for up in (wild, made(seed, 3 * ticks, zones, gap / 60)):
            runs = play(policy, terms, up, np.arange(0, 2 * ticks, max(ticks // 4, 1)))
            assert not runs.late.any(), policy.name
            assert (runs.finish_hours * HOUR <= terms.deadline_seconds + 1).all()


@pytest.mark.parametrize(
    ("work", "deadline", "changeover", "tick"),
    [(48, 48.1, 0.2, 600), (5, 5, 0, 7), (1, 0, 0, 60)],
)
def test_an_impossible_deadline_is_said_with_the_earliest(
    work: float, deadline: float, changeover: float, tick: float
) -> None:
    terms = msgspec.structs.replace(
        TERMS,
        work_seconds=work * HOUR,
        deadline_seconds=deadline * HOUR,
        changeover_seconds=changeover * HOUR,
        tick_seconds=float(tick),
    )
    with pytest.raises(NotAllowed) as complaint:
        check(terms)
    earliest = float(complaint.value.fix.split()[-1])
    assert complaint.value.exit_code == 3
    kept = check(msgspec.structs.replace(terms, deadline_seconds=earliest * HOUR))
    runs = play(
        Greedy(), kept, np.zeros((1, int(kept.deadline_seconds // tick) + 1), dtype=bool), np.array([0])
    )
    assert not runs.late.any()


@pytest.mark.parametrize("field", ["work_seconds", "tick_seconds", "usd_on_demand"])
@pytest.mark.parametrize("amount", [0.0, -1.0, float("nan"), float("inf")])
def test_nonsense_is_refused(field: str, amount: float) -> None:
    with pytest.raises(Usage):
        check(msgspec.structs.replace(TERMS, **{field: amount}))


# ---- choosing among zones -----------------------------------------------------------------------------


def at(*zones: Zone, work: float = 8 * HOUR) -> Situation:
    return Situation(elapsed_seconds=0.0, work_seconds=work, zones=zones)


def zone(
    name: str, seconds: float, usd: float = 1.0, *, up: bool = True, move: float = 0.0, chance: float = 1.0
) -> Zone:
    return Zone(name=name, up=up, seconds=seconds, usd_per_hour=usd, move_usd=move, chance=chance)


def test_the_oldest_zone_is_taken_for_old_spells_last() -> None:
    best = best_zone(TERMS, at(zone("a", 600), zone("b", 40000), zone("c", 90000, up=False)))
    assert best is not None
    assert best.name == "b"
    ages = [0, 600, 3000, 10000, 50000, 10**6]
    lives = [expected_up_seconds(age) for age in ages]
    assert lives == sorted(lives)
    assert lives[-1] == pytest.approx(42600, rel=0.01)  # 600 s over the last bucket's hazard


def test_another_region_must_earn_its_egress() -> None:
    far = zone("eu-west-1a", 40000, 0.9, move=25.0)
    assert best_zone(TERMS, at(far, work=2 * HOUR)) is None  # saves 2 h at 2.1 $, less than 25 $
    near = zone("us-west-2a", 0.0)
    assert best_zone(TERMS, at(far, near)) == near
    cheap_move = msgspec.structs.replace(far, move_usd=0.5)
    assert best_zone(TERMS, at(cheap_move, near)) == cheap_move


def test_a_zone_pinned_at_the_on_demand_price_is_no_spot() -> None:
    assert best_zone(TERMS, at(zone("a", 90000, 3.0))) is None


def test_reasons_name_the_zone_the_price_and_the_slack(home: Path) -> None:
    policy = semi_markov(TERMS)
    spot = decide(policy, TERMS, at(zone("us-west-2b", 40000)))
    assert (spot.action, spot.zone) == ("spot", "us-west-2b")
    assert "us-west-2b" in spot.why
    assert "$1.00" in spot.why
    late = Situation(elapsed_seconds=3.7 * HOUR, work_seconds=10 * HOUR, zones=(zone("a", 40000),))
    forced = decide(policy, TERMS, late)
    assert forced.action == "on-demand"
    assert "late" in forced.why
    patient = msgspec.structs.replace(TERMS, deadline_seconds=40 * HOUR)
    waiting = decide(semi_markov(patient), patient, at(zone("a", 600, up=False)))
    assert waiting.action == "wait"
    assert "slack" in waiting.why
    assert decide(policy, TERMS, at(work=0.0)).action == "wait"


def test_deciding_needs_only_the_core() -> None:
    code = "import sys, hotdesk.core.spot.policy; sys.exit('numpy' in sys.modules)"
    source = str(Path(__file__).parents[1] / "src")
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": source}).returncode == 0


def test_a_zone_that_falls_often_is_believed_to_be_restless(home: Path) -> None:
    """Every fall says log 2, every hour up takes back the falls to be expected; then spot is begun less."""
    policy = semi_markov(TERMS)
    calm = restless = 0.0
    for _ in range(12):
        calm = policy.noticed(calm, 600.0, age=3600.0, fell=False)
        restless = policy.noticed(restless, 600.0, age=600.0, fell=True)
    assert calm < 0 < restless
    usual = policy.noticed(0.0, 600.0, age=0.0, fell=True)
    assert usual == pytest.approx(np.log(2) + np.log(1 - FALLS[0]), abs=0.01)
    taken = {
        unrest: sum(
            decide(policy, TERMS, young(unrest, work=hours * HOUR)).action == "spot" for hours in range(2, 11)
        )
        for unrest in (calm, restless)
    }
    assert taken[restless] <= taken[calm]
    assert taken[calm] > 0


def test_one_job_is_decided_in_plain_numbers_as_many_are_in_arrays(home: Path) -> None:
    """Any zones, up or down, dear or cheap, near or far, with any machine: the same answer."""
    rng, asked = np.random.default_rng(11), []
    for count in (1, 3, 20):
        terms = msgspec.structs.replace(TERMS, zones=count)
        policy = semi_markov(terms)
        for _ in range(60):
            some = tuple(
                zone(
                    str(n), 600.0 * int(rng.integers(0, 90)), float(rng.uniform(0.5, 3.4)),
                    up=bool(rng.random() < 0.5), move=float(rng.choice([0.0, 2.0])),
                    chance=float(rng.choice([1.0, 0.6, 0.05])),
                )
                for n in range(count)
            )  # fmt: skip
            machine = str(rng.choice(["", "on-demand", "0"]))
            here = 0 if machine == "0" and some[0].up else -1
            mode = ON_DEMAND if machine == "on-demand" else SPOT if here == 0 else WAIT
            one, down = np.ones(1), [z.seconds for z in some if not z.up]
            hours = float(rng.uniform(0.1, 10))
            now = Now(
                elapsed=one * HOUR, deadline=terms.deadline_seconds, work=one * hours * HOUR,
                whole=terms.work_seconds, changeover=terms.changeover_seconds, tick=600.0,
                mode=np.array([mode]), starting=one * 0, ran=one * 1800.0 * (mode != WAIT),
                up=one, age=one * 0,
            )  # fmt: skip
            places = Places(
                up=np.array([[z.up] for z in some]), age=np.array([[z.seconds] for z in some]),
                usd=np.array([[z.usd_per_hour] for z in some]),
                move_usd=np.array([[z.move_usd] for z in some]),
                here=np.array([here]), usd_on_demand=one * terms.usd_on_demand, on_demand_move_usd=one * 0.5,
                down_age=one * min(down, default=0.0), chance=np.array([[z.chance] for z in some]),
            )  # fmt: skip
            wish, best = policy.place(terms, now, places)
            look = msgspec.structs.replace(
                at(*some, work=hours * HOUR), elapsed_seconds=HOUR, machine=machine, on_demand_move_usd=0.5
            )
            plain = Now(**{
                name: value.item() if hasattr(value, "item") else value
                for name in Now.__struct_fields__
                for value in (getattr(now, name),)
            })  # fmt: skip
            found = policy.place_one(terms, plain, look)
            assert found[0] == wish[0]
            assert found[1] == best[0] or wish[0] != SPOT
            asked.append(found[0])
    assert {*asked} == {WAIT, SPOT, ON_DEMAND}


def young(unrest: float, work: float) -> Situation:
    zone = Zone(name="a", up=True, seconds=0.0, usd_per_hour=1.0)
    return Situation(elapsed_seconds=0.0, work_seconds=work, zones=(zone,), unrest=unrest)
