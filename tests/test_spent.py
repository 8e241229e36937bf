"""What desks have cost is kept, and equals what their journals come to, whatever happens meanwhile."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from hotdesk.core.billing.charges import compute_usd
from hotdesk.core.billing.observed import SeenRun, Sighting
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.model import Desk, Goal, Offer
from hotdesk.core.steps import (
    Act,
    Bake,
    BakeOrder,
    Delete,
    Done,
    Launch,
    LaunchOrder,
    Outcome,
    Prove,
    Refusal,
    Row,
    Start,
    Stop,
    Unsure,
)
from hotdesk.services.spent import Spent
from hotdesk.state.store import Store
from tests.truth import Clock

HOUR = 3600.0
OFFER = Offer(provider="aws", region="r1", zone="r1a", instance_type="gpu.big", usd_per_hour=1.2)
LAUNCH = Launch(order=LaunchOrder(desk="blue", born=1.0, generation=1, attempt=0, offer=OFFER), why="")
NEXT = Launch(order=LaunchOrder(desk="blue", born=1.0, generation=2, attempt=0, offer=OFFER), why="")
BLUE = Desk(name="blue", goal=Goal.PARKED, since=1.0, created_at=1.0, offers=(OFFER,))


class Listed(Store):
    """A store that notes when a journal is read."""

    reads = 0

    def rows(self, *words: Any, **more: Any) -> list[Row]:
        self.reads += 1
        return super().rows(*words, **more)


def test_a_journal_is_counted_once_and_anew_when_it_goes_on(tmp_path: Path) -> None:
    """By another process too; a desk that runs costs more each second, and its journal is not read for it."""

    def spent(now: float, *, running: bool = False) -> tuple[float, int]:
        with Listed(tmp_path) as store:
            counting = Spent(store=store, clock=Clock(now))
            counting.look()
            usd = [counting.usd(BLUE, running) for _ in range(2)]
            counting.keep()
            assert usd[0] == usd[1]
            return usd[0], store.reads

    def write(step: Act, hour: float) -> None:
        with Store(tmp_path) as store:
            [row] = store.begin([("blue", step)], hour * HOUR)
            store.end(row, Done(id="i-1"), hour * HOUR)

    write(LAUNCH, 1)
    assert spent(3 * HOUR, running=True) == (pytest.approx(2.4), 1)
    assert spent(4 * HOUR, running=True) == (pytest.approx(3.6), 0)
    assert spent(2 * HOUR, running=True) == (pytest.approx(1.2), 1), "the clock was set back"
    assert spent(3 * HOUR) == (pytest.approx(2.4), 1), "nothing tells when it ended: at most now"
    assert spent(4 * HOUR) == (pytest.approx(3.6), 0)
    write(Delete(id="i-1", why=""), 5)
    assert spent(9 * HOUR) == (pytest.approx(4.8), 1)
    assert spent(10 * HOUR) == (pytest.approx(4.8), 0)
    write(NEXT, 11)
    assert spent(11 * HOUR + 30, running=True) == (pytest.approx(4.81), 1)
    assert spent(12 * HOUR, running=True) == (pytest.approx(6.0), 0)
    assert spent(13 * HOUR, running=True) == (pytest.approx(7.2), 0)


@pytest.mark.parametrize("seed", range(24))
def test_what_is_kept_equals_what_is_counted(seed: int, tmp_path: Path) -> None:
    """Random journals: rows without an end, ends that come late, lost replies, several processes that each
    keep what they counted, machines that cost while they are off, and a clock that is set."""
    dice = random.Random(seed)
    clock = Clock(1000.0)
    stores = [Store(tmp_path) for _ in range(2)]
    for store in stores:
        store._db.execute("PRAGMA synchronous = OFF")  # no power fails here
    countings = [Spent(store=store, clock=clock) for store in stores]
    open_rows: list[Row] = []
    machines: list[str] = []
    for _ in range(60):
        store = dice.choice(stores)
        match dice.randrange(8):
            case 0 | 1 | 2:
                step = _step(dice, machines)
                [row] = store.begin([("blue", step)], clock.time)
                made = f"i-{len(machines)}"
                if isinstance(step, Launch):
                    machines.append(made)
                if dice.random() < 0.6:
                    store.end(row, _outcome(dice, made), clock.time + dice.choice((0.0, 30.0)))
                else:
                    open_rows.append(row)
            case 3 if open_rows:
                row = open_rows.pop(dice.randrange(len(open_rows)))
                store.end(row, _outcome(dice, row.made or f"i-{len(machines)}"), clock.time)
            case 4 if machines:
                store.amend([_sighting(dice, dice.choice(machines), clock.time)])
            case 5:
                clock.time = max(10.0, clock.time - dice.choice((5.0, HOUR, 90 * HOUR)))
            case _:
                clock.time += dice.choice((1.0, 61.0, HOUR, 30 * HOUR))
        counting, running = dice.choice(countings), dice.random() < 0.5
        counting.look()
        found = counting.usd(BLUE, running)
        if dice.random() < 0.5:
            counting.keep()
        rows = [r for r in store.rows("blue", limit=10**6) if r.at >= BLUE.created_at]
        off = [s for s in store.sighted("blue") if s.charged_while_off and s.first >= BLUE.created_at]
        true = compute_usd(rows, clock.time, running, off, nominal=True)
        assert found == pytest.approx(true, rel=1e-9, abs=1e-9)
    for store in stores:
        store.close()


def _step(dice: random.Random, machines: list[str]) -> Act:
    known = dice.choice(machines) if machines else "i-0"
    started = float(dice.randrange(3))
    bake = BakeOrder(
        desk="blue", born=1.0, generation=1, attempt=0, source_id=known, started_at=started, region="r1"
    )
    steps: list[Act] = [
        replace(LAUNCH, order=replace(LAUNCH.order, generation=len(machines) + 1)),
        Start(id=known, started_at=started, usd_per_hour=dice.choice((0.0, 2.0)), why=""),
        Stop(id=known, started_at=started, why=""),
        Prove(id=known, generation=1, started_at=started, why=""),
        Bake(order=bake, ran_seconds=dice.choice((None, 100.0)), why=""),
        Delete(id=known, kind="machine", keep_disk=dice.random() < 0.3, why=""),
    ]
    return dice.choice(steps)


def _outcome(dice: random.Random, made: str) -> Outcome:
    return dice.choice((Done(id=made), Done(id=made), Refusal(), Unsure()))


def _sighting(dice: random.Random, id_: str, at: float) -> Sighting:
    run = SeenRun(started_at=float(dice.randrange(3)), on_first=at - 50, on_last=at)
    return Sighting(
        id=id_,
        kind="machine",
        desk="blue",
        provider="aws",
        region="r1",
        first=at - 50,
        last=at,
        gone=dice.choice((0.0, at)),
        charged_while_off=dice.random() < 0.5,
        runs=(run, replace(run, off_at=at, ran_seconds=dice.choice((None, 40.0))))[dice.randrange(2) :][:1],
    )


def test_a_listing_reads_no_journal_of_a_desk_that_is_as_it_was(tmp_path: Path) -> None:
    """The last login alone is asked for; other questions read the rows, and get the same answers."""
    with Store(tmp_path) as store:
        for at, id_ in ((5.0, "i-1"), (6.0, "i-2"), (7.0, "i-3")):
            step = Prove(id=id_, generation=1, started_at=at, why="", name=f"hotdesk-blue-g1-{id_}")
            [row] = store.begin([("blue", step)], at)
            if id_ != "i-3":
                store.end(row, Done(), at)
        known, unread = store.past(BLUE), store.unread_past(BLUE)
        assert unread.proof == known.proof is not None
        assert "last" not in vars(unread)
        assert (unread.proven, unread.last, unread.machines) == (known.proven, known.last, known.machines)
        assert store.unread_past(replace(BLUE, created_at=7.0)).proof is None


def test_what_a_past_derives_of_machines_follows_each_row() -> None:
    """Asked between any two rows, it says what a past of all rows so far says."""
    dice = random.Random(7)
    steps = [Prove(id="i-9", generation=1, started_at=1.0, why="", name="hotdesk-blue-g1-nine"), NEXT, LAUNCH]
    rows = [Row(id=n, desk="blue", at=float(n), step=dice.choice(steps)) for n in range(12)]
    rows += [replace(row, ended_at=20.0, outcome=_outcome(dice, f"i-{row.id}")) for row in rows]
    past = Past()
    for n, row in enumerate(rows, 1):
        past.add(row)
        anew = Past(rows[:n])
        assert (past.machines, past.recent_machines, past.in_use) == (
            anew.machines,
            anew.recent_machines,
            anew.in_use,
        )
