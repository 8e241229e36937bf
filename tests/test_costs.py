"""The bill on recorded journals: every figure here was worked out by hand."""

from __future__ import annotations

import datetime
import json

import pytest

from hotdesk.core import clouds
from hotdesk.core.billing.charges import charges, compute_usd
from hotdesk.core.billing.observed import Sighting
from hotdesk.core.billing.rates import HOURS_PER_MONTH, Charge, Rates
from hotdesk.core.billing.statement import lines, this_month
from hotdesk.core.billing.usage import Machine, Span
from hotdesk.core.model import Image, Instance, Market, Offer, Phase, Seen
from hotdesk.core.steps import (
    AnyStep,
    Bake,
    BakeOrder,
    Delete,
    Done,
    Launch,
    LaunchOrder,
    Leave,
    Prove,
    Refusal,
    Row,
    Start,
    Stop,
    Unsure,
    Verify,
)
from tests.conftest import Command

HOUR = 3600.0
DAY_0 = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC).timestamp()
OFFER = Offer(provider="sim", region="r1", zone="r1a", instance_type="gpu.big", usd_per_hour=1.2)
ORDER = LaunchOrder(desk="blue", born=1.0, generation=1, attempt=0, offer=OFFER)
NEXT = LaunchOrder(desk="blue", born=1.0, generation=2, attempt=0, offer=OFFER)
BAKE = BakeOrder(desk="blue", born=1.0, generation=1, attempt=0, source_id="i-1", started_at=5.0, region="r1")


def journal(*steps: tuple[float, AnyStep, str, str]) -> list[Row]:
    """Rows of (hour, step, status, id), each ended as soon as it was begun."""
    return [
        Row(
            id=n,
            desk="blue",
            at=DAY_0 + hour * HOUR,
            step=step,
            ended_at=DAY_0 + hour * HOUR,
            outcome={"done": Done(id=id_), "refused": Refusal(), "unknown": Unsure()}[status],
        )
        for n, (hour, step, status, id_) in enumerate(steps)
    ]


LAUNCH = Launch(order=ORDER, why="")
STOP = Stop(id="i-1", started_at=5.0, why="")
END = Delete(id="i-1", why="")


def compute(rows: list[Row], hours: float, seen: Seen | None = None) -> float:
    now = DAY_0 + hours * HOUR
    return sum(c.usd(0, now) for c in charges("blue", rows, now, seen or Seen()) if c.kind == "compute")


def test_hours_between_on_and_off() -> None:
    rows = journal(
        (0, LAUNCH, "done", "i-1"),
        (2.5, STOP, "done", "i-1"),
        (5, Start(id="i-1", started_at=5, why=""), "done", "i-1"),
        (6, STOP, "done", "i-1"),
    )
    assert compute(rows, 100) == pytest.approx((2.5 + 1) * 1.2)
    assert compute_usd(rows, DAY_0 + 100 * HOUR, False) == pytest.approx(4.2)


def test_a_running_machine_goes_on() -> None:
    rows = journal((0, LAUNCH, "done", "i-1"))
    machine = Instance(
        id="i-1",
        name="x",
        desk="blue",
        generation=1,
        phase=Phase.READY,
        provider="sim",
        region="r1",
        zone="r1a",
        instance_type="gpu.big",
    )
    [charge] = charges("blue", rows, DAY_0 + 10 * HOUR, Seen(instances=(machine,)))
    assert charge.going_on
    assert not charge.at_most
    assert charge.usd(0, 1e12) == pytest.approx(12.0)


def test_a_lost_reply_hides_no_dollar() -> None:
    """The launch's answer was lost; the machine shows under its id in a later step."""
    rows = journal(
        (0, LAUNCH, "unknown", ""),
        (0.1, Prove(id="i-1", generation=1, started_at=5, why=""), "done", "i-1"),
        (3, STOP, "unknown", ""),
        (4, Bake(order=BAKE, why=""), "done", "m-1"),
    )
    assert compute(rows, 50) == pytest.approx(4 * 1.2)  # surely off when its image was taken
    [charge] = [c for c in charges("blue", rows, DAY_0 + 50 * HOUR, Seen()) if c.kind == "compute"]
    assert charge.at_most
    assert charge.id == "i-1"
    assert compute(rows[:3], 50) == pytest.approx(50 * 1.2)  # it is off now; since when, nobody can say
    [charge] = [c for c in charges("blue", rows[:3], DAY_0 + 50 * HOUR, Seen()) if c.kind == "compute"]
    assert charge.at_most
    assert charge.usd_least(0, 1e12) == pytest.approx(2.9 * 1.2)  # from the login to the stop


def test_a_repeated_launch_is_one_machine() -> None:
    rows = journal((0, LAUNCH, "unknown", ""), (1, LAUNCH, "done", "i-1"), (2, END, "done", "i-1"))
    assert compute(rows, 9) == pytest.approx(2 * 1.2)


def test_a_refused_launch_costs_nothing() -> None:
    assert compute(journal((0, LAUNCH, "refused", "")), 9) == 0


def test_an_interruption_ends_at_most_at_the_next_launch() -> None:
    rows = journal(
        (0, LAUNCH, "done", "i-1"),
        (8, Launch(order=NEXT, why=""), "done", "i-2"),
        (10, Delete(id="i-2", why=""), "done", "i-2"),
    )
    assert compute(rows, 20) == pytest.approx(10 * 1.2)


def test_a_machine_that_ended_itself() -> None:
    rows = journal((0, LAUNCH, "done", "i-1"), (5, Leave(id="i-1", started_at=5, why="idle"), "done", "i-1"))
    [charge] = charges("blue", rows, DAY_0 + 20 * HOUR, Seen())
    assert charge.usd(0, 1e12) == pytest.approx(6.0)
    assert charge.at_most


@pytest.mark.parametrize("seen_now", [True, False])
def test_a_machine_that_is_charged_while_it_is_off(seen_now: bool) -> None:
    """On 2 hours, off 3, on 1, off 4: ten hours are charged, each once, also when it is gone."""
    rows = journal(
        (0.0, LAUNCH, "done", "i-1"),
        (2.0, STOP, "done", ""),
        (5.0, Start(id="i-1", started_at=5.0, why=""), "done", ""),
        (6.0, Stop(id="i-1", started_at=6.0, why=""), "done", ""),
        *(() if seen_now else ((10.0, END, "done", ""),)),
    )
    machine = Instance(
        id="i-1", name=ORDER.name, desk="blue", generation=1, phase=Phase.STOPPED, provider="sim",
        region="r1", zone="r1a", instance_type="gpu.big", usd_per_hour=1.2, charged_while_off=True,
    )  # fmt: skip
    sighted = Sighting(
        id="i-1", kind="machine", desk="blue", provider="sim", region="r1", charged_while_off=True
    )
    seen = Seen(instances=(machine,)) if seen_now else Seen()
    bill = charges("blue", rows, DAY_0 + 10 * HOUR, seen, sighted=() if seen_now else (sighted,))
    runs = [c for c in bill if c.kind == "compute"]
    assert [round((c.ended - c.began) / HOUR, 3) for c in runs] == [2.0, 3.0, 1.0, 4.0]
    assert sum(c.usd(0.0, DAY_0 + 99 * HOUR) for c in runs) == pytest.approx(12.0)
    assert compute_usd(rows, DAY_0 + 10 * HOUR, running=False, sighted=(sighted,)) == pytest.approx(12.0)
    assert [c.going_on for c in runs] == [False, False, False, seen_now]
    assert compute_usd(rows, DAY_0 + 10 * HOUR, running=False) == pytest.approx(3.6)


def test_how_long_it_ran_is_certain_also_where_the_answer_to_its_launch_was_lost() -> None:
    rows = journal(
        (0, LAUNCH, "unknown", ""),
        (0.1, Prove(id="i-1", generation=1, started_at=5, why=""), "done", "i-1"),
        (5, Leave(id="i-1", started_at=5, ran_seconds=HOUR / 2, why="idle"), "done", "i-1"),
    )
    [charge] = charges("blue", rows, DAY_0 + 20 * HOUR, Seen())
    assert charge.usd_least(0, 1e12) == pytest.approx(0.4 * 1.2)
    assert charge.usd(0, 1e12) == pytest.approx(5 * 1.2)


def test_an_image_costs_until_it_is_deleted_also_unseen() -> None:
    rows = journal(
        (0, LAUNCH, "done", "i-1"),
        (1, STOP, "done", "i-1"),
        (1, Bake(order=BAKE, why=""), "unknown", ""),
        (1.5, Verify(id="m-1", why=""), "done", "m-1"),
        (2, END, "done", "i-1"),
        (74, Delete(id="m-1", why="", usd_per_month=7.3), "done", "m-1"),
    )
    bill = charges("blue", rows, DAY_0 + 500 * HOUR, Seen())
    [image] = [c for c in bill if c.kind == "image"]
    assert image.usd(0, 1e12) == pytest.approx(73 * 7.3 / HOURS_PER_MONTH)  # 0.73
    there = Image(
        id="m-1",
        name="n",
        desk="blue",
        generation=1,
        phase=Phase.READY,
        provider="sim",
        region="r1",
        usd_per_month=7.3,
    )
    bill = charges("blue", rows[:-1], DAY_0 + 101 * HOUR, Seen(images=(there,)))
    assert sum(c.usd(0, 1e12) for c in bill if c.kind == "image") == pytest.approx(1.0)


def test_disk_and_address_of_an_aws_machine() -> None:
    aws = Offer(
        provider="aws", region="us-west-2", zone="us-west-2a", instance_type="g6.xlarge", usd_per_hour=0.8
    )
    order = LaunchOrder(desk="blue", born=1.0, generation=1, attempt=0, offer=aws, disk_gib=100)
    rows = journal(
        (0, Launch(order=order, why=""), "done", "i-1"), (10, STOP, "done", "i-1"), (73, END, "done", "i-1")
    )
    bill = charges("blue", rows, DAY_0 + 500 * HOUR, Seen())
    usd = {c.kind: c.usd(0, 1e12) for c in bill}
    assert usd == pytest.approx({"compute": 8.0, "address": 0.05, "disk": 100 * 0.08 / 10})


def test_a_disk_costs_what_its_region_asks() -> None:
    tokyo = Offer(provider="aws", region="ap-northeast-1", zone="ap-northeast-1a", instance_type="g6.xlarge")
    order = LaunchOrder(desk="blue", born=1.0, generation=1, attempt=0, offer=tokyo, disk_gib=100)
    rows = journal((0, Launch(order=order, why=""), "done", "i-1"), (73, END, "done", "i-1"))
    rates = {**clouds.rates(), "aws/ap-northeast-1": Rates(disk_usd_per_gib_month=0.096, price_time=7.0)}
    [disk] = [c for c in charges("blue", rows, DAY_0 + 99 * HOUR, Seen(), rates=rates) if c.kind == "disk"]
    assert disk.usd(0, 1e12) == pytest.approx(100 * 0.096 / 10)
    assert disk.price_time == 7.0


def test_spot_is_billed_at_each_hours_price() -> None:
    spot = Offer(
        provider="aws", region="r", zone="a", instance_type="t", market=Market.SPOT, usd_per_hour=0.3
    )
    charge = Charge(
        desk="blue", kind="compute", id="i", began=0, ended=2.5 * HOUR, usd_per_hour=0.3, offer=spot
    )
    prices = {spot.key: [(-100.0, 0.2), (0.5 * HOUR, 0.9), (1.5 * HOUR, 0.4)]}
    # hour 0 began at 0.2, hour 1 at 0.9 (changed at 0.5 h), half of hour 2 at 0.4
    assert charge.usd(0, 1e9, prices) == pytest.approx(0.2 + 0.9 + 0.5 * 0.4)
    assert charge.usd(0.5 * HOUR, 1.5 * HOUR, prices) == pytest.approx(0.5 * 0.2 + 0.5 * 0.9)
    assert charge.usd(0, 1e9) == pytest.approx(0.75)


def test_days_months_and_what_leaving_it_on_would_have_cost() -> None:
    rows = journal((22, LAUNCH, "done", "i-1"), (26, END, "done", "i-1"))
    now = DAY_0 + 48 * HOUR
    bill = charges("blue", rows, now, Seen())
    first, second = lines(bill, now, by="day")
    assert (first.period, first.usd, first.left_on) == ("2026-11-01", pytest.approx(2.4), pytest.approx(2.4))
    assert (second.period, second.usd, second.left_on) == (
        "2026-11-02",
        pytest.approx(2.4),
        pytest.approx(24 * 1.2),
    )
    [month] = lines(bill, now)
    assert (month.period, month.usd) == ("2026-11", pytest.approx(4.8))
    assert this_month(bill, now) == pytest.approx(4.8)
    assert this_month(bill, now + 31 * 24 * HOUR) == 0


def test_the_command(hotdesk: Command) -> None:
    said = json.loads(hotdesk("costs", "--json").stdout)
    assert (said["currency"], said["usd"], said["lines"]) == ("USD", 0, [])
    assert "Nothing has been paid" in hotdesk("costs").stdout


def test_a_row_of_a_long_journal_takes_no_longer_than_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ended long ago is not looked at again."""
    calls = 0

    def counted(at: Span, *_: object) -> None:
        nonlocal calls
        calls += 1

    monkeypatch.setattr(Span, "end", counted)
    monkeypatch.setattr(Machine, "off", counted)

    def of(turns: int) -> int:
        nonlocal calls
        calls, rows = 0, []
        for turn in range(turns):
            machine, image, at = f"i-{turn}", f"ami-{turn}", float(turn)
            order = LaunchOrder(desk="blue", born=1.0, generation=turn, attempt=0, offer=OFFER)
            bake = BakeOrder(
                desk="blue",
                born=1.0,
                generation=turn,
                attempt=0,
                source_id=machine,
                started_at=at,
                region="r1",
            )
            rows += journal(
                (at, Launch(order=order, why=""), "done", machine),
                (at, Stop(id=machine, started_at=at, why=""), "done", machine),
                (at, Bake(order=bake, why=""), "done", image),
                (at, Delete(id=machine, kind="machine", why=""), "unknown", ""),
                (at, Delete(id=image, kind="image", why=""), "done", ""),
            )
        charges("blue", rows, DAY_0)
        return calls

    assert of(400) < 2.2 * of(200)
