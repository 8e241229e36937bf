"""A better place is asked for while the machine works; whatever happens on the way, nothing is lost or left.

1. A job works on spot in one zone; its desk seeks another place.
2. There, a placeholder is asked for: refused, everything is as before; granted, the job moves.
3. The machine is saved and ended, the placeholder gives its place to the desk's next machine.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from hotdesk.core.billing.charges import charges
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.lifecycle import holding
from hotdesk.core.lifecycle.holding import PLACEHOLDER, PLACEHOLDER_SECONDS, SEEK_SECONDS
from hotdesk.core.model import Goal, Leftover, Market, Offer, Survey
from hotdesk.core.steps import Act, Ask, Delete, Done, Hold, Launch, LaunchOrder, Row
from hotdesk.services.orphans import things
from tests.laptop import CrashAt, Laptop, a_desk, reach, until
from tests.sim import Cloud, Crash, Faults, offers

pytestmark = pytest.mark.slow
A, B = offers(market=Market.SPOT, region="r1")
FAR, DEAR = offers(market=Market.SPOT, region="r2")[0], offers(region="r1")[0]


def seek(laptop: Laptop, *places: Offer) -> None:
    """What `jobs.run` writes down for a `Seek`."""
    desk = laptop.store.desk("blue")
    laptop.store.put(replace(desk, seeks=places, seeks_until=laptop.clock.now() + SEEK_SECONDS))


def shift(laptop: Laptop) -> None:
    """What it writes down for a `Shift`, once a placeholder is granted."""
    desk = laptop.store.desk("blue")
    held = holding.granted(desk, laptop.store.past(desk))
    if not holding.seeks(desk, laptop.clock.now()) or held is None:
        return
    onward = (held, *(o for o in desk.offers if o.key != held.key))
    now = laptop.clock.now()
    more = {"generation": desk.generation + 1, "since": now, "seeks": (), "seeks_until": 0.0}
    laptop.store.put(replace(desk, offers=onward, **more))


def place(laptop: Laptop) -> str:
    [machine] = laptop.cloud.machines("blue")
    return f"sim/{machine.value.zone}/{machine.value.instance_type}/{machine.value.market}"


def moves(laptop: Laptop, *places: Offer) -> None:
    """Seek until the machine is in one of these places, whatever crashes on the way."""
    for _ in range(40):
        try:
            if laptop.cloud.machines("blue") and place(laptop) in {o.key for o in places}:
                break
            if not holding.seeks(laptop.store.desk("blue"), laptop.clock.now()):
                seek(laptop, *places)
            assert laptop.settle("blue") is None
            shift(laptop)
        except Crash:
            laptop.crash()
        assert laptop.settle("blue") is None
    laptop.check("blue", Goal.RUNNING)


def works(boundary: Callable[[str], None], seed: int, folder: Path | None = None) -> Laptop:
    cloud = Cloud(seed=seed, lag_seconds=20.0, faults=Faults(seconds=12.0), boundary=boundary)
    cloud.given_up = lambda desk: (row := laptop.store.find(desk)) is not None and row.goal is Goal.GONE
    laptop = Laptop(cloud, folder)
    return laptop


def live_through(laptop: Laptop) -> None:
    """Spot, cheaper spot where one zone refuses, on-demand, spot in another region."""
    while True:
        try:
            laptop.want("blue", Goal.RUNNING, (A, B, DEAR))
            break
        except Crash:
            laptop.crash()
    assert laptop.settle("blue") is None
    laptop.work("blue")
    laptop.cloud.sold_out = {FAR.key}
    moves(laptop, FAR, B)
    laptop.work("blue")
    moves(laptop, DEAR)
    laptop.work("blue")
    laptop.cloud.sold_out = set()
    moves(laptop, FAR)
    laptop.work("blue")


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.long)])
def test_a_crash_at_every_boundary_of_three_moves(every: int) -> None:
    count = CrashAt()
    live_through(works(count, 5))
    durable = [n for n, label in enumerate(count.labels, 1) if "survey" not in label]
    assert len(durable) > 60
    for at in durable[::every]:
        try:
            live_through(works(CrashAt(at), 5))
        except Exception as error:
            raise AssertionError(f"crash at boundary {at}, {count.labels[at - 1]}: {error}") from error


def up() -> tuple[Cloud, Laptop]:
    cloud, laptop = a_desk()
    reach(laptop, Goal.RUNNING, (A, B, DEAR))
    return cloud, laptop


def rows(laptop: Laptop, kind: type[Act]) -> list[Act]:
    return [row.step for row in laptop.store.rows("blue") if isinstance(row.step, kind)]


def test_a_refusal_leaves_the_machine_as_it_is() -> None:
    cloud, laptop = up()
    [before] = cloud.machines("blue")
    cloud.sold_out = {B.key, DEAR.key}
    seek(laptop, B, DEAR)
    assert laptop.settle("blue") is None
    desk = laptop.store.desk("blue")
    assert [step.order.offer.key for step in rows(laptop, Hold)] == [B.key, DEAR.key]
    assert holding.unanswered(desk, laptop.store.past(desk), laptop.clock.now()) == []
    assert holding.granted(desk, laptop.store.past(desk)) is None
    assert cloud.machines("blue") == [before]
    laptop.check("blue", Goal.RUNNING)


@pytest.mark.parametrize("kind", [Kind.DENIED, Kind.QUOTA, Kind.BAD_REQUEST])
def test_whatever_is_refused_is_no_question_and_no_refusal_of_a_launch(kind: Kind) -> None:
    """A quota may have no room for two machines, and have room for one in place of the other."""
    cloud, laptop = up()
    cloud.script["launch"] = [Refused(kind, "no")]
    seek(laptop, B)
    assert laptop.settle("blue") is None
    past = laptop.store.past(laptop.store.desk("blue"))
    assert past.no_placeholder(B, laptop.clock.now()) is kind
    assert past.refusal(B, laptop.clock.now()) is None
    laptop.check("blue", Goal.RUNNING)


def test_a_lost_reply_is_repeated_and_makes_no_second_one() -> None:
    cloud, laptop = up()
    cloud.script["launch"] = ["lost"]
    seek(laptop, B)
    assert laptop.settle("blue") is None
    assert len(cloud.placeholders("blue")) == 1
    assert cloud.violations == []


@pytest.mark.parametrize("goal", [Goal.PARKED, Goal.GONE, Goal.STOPPED])
def test_another_goal_ends_it_first(goal: Goal) -> None:
    cloud, laptop = up()
    seek(laptop, B)
    until(laptop, Hold)
    assert len(cloud.placeholders("blue")) == 1
    laptop.want("blue", goal)
    assert laptop.settle("blue") is None
    if goal is Goal.GONE:
        assert cloud.placeholders() == []
    else:
        laptop.check("blue", goal)


def test_nobody_comes_back_for_a_day_and_it_has_ended_itself() -> None:
    cloud, laptop = up()
    seek(laptop, B)
    until(laptop, Hold)
    began = laptop.clock.now()
    laptop.clock.sleep(86400.0)
    cloud.survey()
    assert cloud.placeholders() == []
    assert laptop.settle("blue") is None
    laptop.check("blue", Goal.RUNNING)
    [held] = [c for c in bill(laptop) if c.offer and c.offer.key == B.key]
    assert held.ended - began < PLACEHOLDER_SECONDS + 400.0


def test_one_that_no_row_wants_is_deleted_by_whoever_looks() -> None:
    """1. It was granted. 2. The row has stopped seeking, and all is well otherwise. 3. It goes at once."""
    _, laptop = up()
    seek(laptop, B)
    until(laptop, Hold)
    laptop.store.put(replace(laptop.store.desk("blue"), seeks=(), seeks_until=0.0))
    assert laptop.settle("blue") is None
    [deleted] = [s for s in rows(laptop, Delete) if s.kind == PLACEHOLDER]
    assert deleted.why == "it kept a place for a move that is not made"
    laptop.check("blue", Goal.RUNNING)


def test_without_a_desk_it_is_an_orphan_that_may_be_deleted() -> None:
    left = Leftover(
        id="i-9", kind=PLACEHOLDER, provider="sim", region="r1", desk="lost", usd_per_month=730.0, why="w"
    )
    [orphan] = things(Survey(provider="sim", leftovers=(left,)), [], 1.0)
    assert (orphan.safe, orphan.usd_per_month) == (True, 730.0)


def test_one_that_did_not_end_itself_is_an_orphan_although_its_desk_is_known() -> None:
    """Nobody may look at that desk for days."""
    _, laptop = up()
    desk = laptop.store.desk("blue")
    left = Leftover(
        id="i-9", kind=PLACEHOLDER, provider="sim", region="r1", desk="blue", usd_per_month=730.0,
        made_at=1000.0, why="w",
    )  # fmt: skip
    seen = Survey(provider="sim", leftovers=(left,))
    assert things(seen, [desk], 1000.0 + PLACEHOLDER_SECONDS) == []
    [orphan] = things(seen, [desk], 1000.0 + 3 * PLACEHOLDER_SECONDS)
    assert (orphan.safe, orphan.usd_per_month) == (True, 730.0)


def test_one_that_did_not_end_itself_is_billed_until_it_was_deleted() -> None:
    order = LaunchOrder(desk="blue", born=1.0, generation=1, attempt=0, offer=B, placeholder=True)
    steps = [(0.0, Hold(order=order, why="w")), (7200.0, Delete(id="i-9", kind=PLACEHOLDER, why="w"))]
    journal = [
        Row(id=n, desk="blue", at=at, step=step, ended_at=at, outcome=Done(id="i-9"))
        for n, (at, step) in enumerate(steps, 1)
    ]
    [held] = [c for c in charges("blue", journal, 9000.0) if c.kind == "compute"]
    assert (held.began, held.ended) == (0.0, 7200.0)


def test_the_machine_is_taken_while_a_place_is_kept() -> None:
    """1. A placeholder is granted. 2. The machine is taken before the job has moved. 3. Its disk is saved
    first; then it goes on, once."""
    cloud, laptop = up()
    laptop.work("blue")
    seek(laptop, B)
    until(laptop, Hold)
    [machine] = cloud.machines("blue")
    cloud.interrupt(machine.value.id)
    assert laptop.settle("blue") is None
    laptop.check("blue", Goal.RUNNING)


def bill(laptop: Laptop) -> list:
    return charges("blue", laptop.store.rows("blue", limit=None), laptop.clock.now())


def test_both_are_on_the_bill() -> None:
    """The placeholder costs its place's price, from the request until it was deleted."""
    _, laptop = up()
    moves(laptop, B)
    spans = sorted((c.began, c.ended, c.offer.key) for c in bill(laptop) if c.kind == "compute" and c.offer)
    assert [key for *_, key in spans] == [A.key, B.key, B.key]
    (_, first, _), (asked, gone, _), (launched, _, _) = spans
    assert asked < first < gone <= launched
    held = next(c for c in bill(laptop) if c.began == asked and c.kind == "compute")
    assert held.usd(0.0, laptop.clock.now()) == pytest.approx((gone - asked) / 3600 * B.usd_per_hour, rel=0.1)


def test_beyond_the_budget_no_place_is_asked_for_and_no_question_asked() -> None:
    cloud, laptop = up()
    laptop.reconciler.may = lambda desk, step: (
        Ask(what="w", why="w", fix="f") if isinstance(step, Hold | Launch) else None
    )
    seek(laptop, B)
    assert laptop.settle("blue") is None
    assert rows(laptop, Hold) == []
    assert cloud.placeholders() == []
