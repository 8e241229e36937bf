"""A bill of which most was counted before equals one that is counted in full, whatever happens meanwhile."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import replace

from hotdesk.config import Config
from hotdesk.core.billing import statement
from hotdesk.core.billing.rates import HOURS_PER_MONTH, Charge
from hotdesk.core.billing.statement import Line
from hotdesk.core.billing.tally import lines, tally
from hotdesk.core.errors import NotAllowed
from hotdesk.core.model import Desk, Disk, Goal, Image, Instance, Market, Offer, Phase, Survey
from hotdesk.core.money import Amount, sums
from hotdesk.core.ports import Provider
from hotdesk.core.steps import (
    Act,
    Bake,
    BakeOrder,
    Copy,
    Delete,
    Done,
    Grow,
    Launch,
    LaunchOrder,
    Leave,
    Outcome,
    Prove,
    Refusal,
    Retype,
    Row,
    Start,
    Stop,
    Unsure,
    Verify,
)
from hotdesk.loop.clouds import Clouds
from hotdesk.services.billing import Billing
from hotdesk.state.store import Store
from tests.truth import Clock

HOUR = 3600.0
ROUNDING = 1e-6  # what computing in another order may change
BEGAN = 1_790_000_000.0
OFFER = Offer(provider="aws", region="r1", zone="r1a", instance_type="gpu.big", usd_per_hour=1.2)
SPOT = replace(OFFER, market=Market.SPOT, usd_per_hour=0.4)
TOLD = replace(OFFER, instance_type="gpu.cn", told_per_hour=Amount(8.4, "CNY"))
DESKS = [
    Desk(name=name, goal=Goal.PARKED, since=BEGAN, created_at=BEGAN, provider="aws", offers=(OFFER,))
    for name in ("blue", "red")
]


class Shown:
    """A cloud that shows what it is told to."""

    def __init__(self) -> None:
        self.survey_now = Survey(provider="aws", lag_seconds=60.0)

    def survey(self) -> Survey:
        return self.survey_now


class Counted(Store):
    """A store that notes how often a journal is read."""

    reads = 0

    def rows(self, *words: Any, **more: Any) -> list[Row]:
        self.reads += 1
        return super().rows(*words, **more)


def billing(store: Store, clock: Clock, cloud: Shown, usd_per_month: float = 0.0) -> Billing:
    config = Config()
    if usd_per_month:
        config = replace(config, defaults=replace(config.defaults, usd_per_month=usd_per_month))
    clouds = Clouds(store, clock, lambda name: cast("Provider", cloud))
    return Billing(
        store=store, clock=clock, clouds=clouds, config=config, on_note=lambda _: None, over_budget=False
    )


def check(paid: Billing, by: str, name: str | None = None) -> None:
    """The statement is what all charges come to."""
    told = paid.statement(name, by)
    every = [c for c in paid.bill() if name in (None, c.desk)]
    bill, now = [c for c in every if c.is_in_dollars], paid.clock.now()
    prices = paid.spot_prices(bill)
    (usd, at_most), (true, truly) = (
        amounts(told.lines),
        amounts(statement.lines(bill, now, by=by, prices=prices)),
    )
    assert usd == pytest.approx(true, rel=1e-9, abs=ROUNDING)
    assert at_most == truly
    assert told.this_month_usd == pytest.approx(statement.this_month(bill, now, prices), abs=1e-6)
    stored, stored_besides = sums(c.as_told(c.usd_per_hour * HOURS_PER_MONTH) for c in every if c.is_stored)
    assert told.stored_usd_per_month == pytest.approx(stored)
    assert worth(told.stored_besides) == pytest.approx(worth(stored_besides))
    besides = sums(c.as_told(c.usd(0.0, now)) for c in every)[1]
    assert worth(told.besides) == pytest.approx(worth(besides), abs=ROUNDING)
    launched = {c.desk for c in bill if c.is_spot and c.offer and c.offer.key not in prices}
    assert told.at_launch_prices == tuple(sorted(launched))
    times = [c.price_time for c in bill if c.price_time]
    assert told.storage_price_time == min(times, default=None)


def amounts(lines: Iterable[Line]) -> tuple[dict[tuple[str, str, str], float], set[tuple[str, str]]]:
    """By period, desk and kind, the dollars; and which periods of a desk say "at most"."""
    kinds = (*statement.KINDS, statement.LEFT_ON)
    usd = {(line.period, line.desk, kind): getattr(line, kind) for line in lines for kind in kinds}
    usd = {key: value for key, value in usd.items() if value > 2 * ROUNDING}
    return usd, {(line.period, line.desk) for line in lines if line.at_most and line.usd > ROUNDING}


def worth(told: tuple[Amount, ...]) -> dict[str, float]:
    return {amount.currency: amount.value for amount in told if amount.value > 2 * ROUNDING}


@pytest.mark.parametrize("seed", range(12))
def test_a_bill_that_was_kept_equals_one_counted_in_full(seed: int, tmp_path: Path) -> None:
    """Random journals of two desks, one of which is removed; with lost replies, late ends, things that are
    seen and seen no more, spot prices, another currency, several processes, and a clock that is set."""
    dice, clock, cloud = random.Random(seed), Clock(BEGAN), Shown()
    with Store(tmp_path) as first, Store(tmp_path) as second:
        for store in (first, second):
            store._db.execute("PRAGMA synchronous = OFF")  # no power fails here
        for desk in DESKS:
            first.put(desk)
        prices = {"since": 0.0, "until": 1e12, "steps": [(BEGAN + 500 * HOUR * n, 0.3 + n) for n in range(9)]}
        first.keep(f"paid:{SPOT.key}", msgspec.json.encode(prices), clock.time)
        bills = [billing(store, clock, cloud) for store in (first, second)]
        open_rows: list[Row] = []
        made = 0
        for turn in range(50):
            paid = dice.choice(bills)
            match dice.randrange(9):
                case 0 | 1 | 2 | 3:
                    made += 1
                    step, id_ = _step(dice, made)
                    [row] = paid.store.begin([(dice.choice(DESKS).name, step)], clock.time)
                    if dice.random() < 0.7:
                        paid.store.end(row, _outcome(dice, id_), clock.time + dice.choice((0.0, 30.0)))
                    else:
                        open_rows.append(row)
                case 4 if open_rows:
                    row = open_rows.pop(dice.randrange(len(open_rows)))
                    paid.store.end(row, _outcome(dice, f"i-{made}"), clock.time)
                case 5:
                    cloud.survey_now = _survey(dice, made, clock.time)
                case 6 if dice.random() < 0.3:
                    clock.time = max(BEGAN, clock.time - dice.choice((5.0, HOUR, 90 * HOUR)))
                case 7 if turn > 30:
                    paid.store.remove("red")
                case _:
                    clock.time += dice.choice((1.0, 61.0, HOUR, 30 * HOUR, 500 * HOUR))
            if dice.random() < 0.5:
                paid = billing(dice.choice((first, second)), clock, cloud)  # another process
            check(paid, dice.choice(("month", "month", "day")), dice.choice((None, None, "blue", "red")))


def _step(dice: random.Random, made: int) -> tuple[Act, str]:
    """A step, and the id of what it makes."""
    known, image = (
        f"i-{dice.randrange(max(1, made - 4), made + 1)}",
        f"ami-{dice.randrange(max(1, made - 4), made + 1)}",
    )
    started = BEGAN + dice.randrange(3)
    offer = dice.choice((OFFER, OFFER, SPOT, TOLD))
    order = LaunchOrder(
        desk="blue", born=1.0, generation=made, attempt=0, offer=offer, disk_gib=dice.choice((0, 50))
    )
    bake = BakeOrder(
        desk="blue", born=1.0, generation=made, attempt=0, source_id=known, started_at=started, region="r1"
    )
    usd, ran = dice.choice((0.0, 5.0)), dice.choice((None, 100.0))
    cny = dice.choice((None, None, Amount(7.0, "CNY")))
    steps: list[tuple[Act, str]] = [
        (Launch(order=order, why=""), f"i-{made}"),
        (Launch(order=order, why=""), f"i-{made}"),
        (Start(id=known, started_at=started, usd_per_hour=dice.choice((0.0, 2.0)), why=""), ""),
        (Stop(id=known, started_at=started, why=""), ""),
        (Prove(id=known, generation=1, started_at=started, why=""), ""),
        (Leave(id=known, started_at=started, ran_seconds=ran or 50.0, why=""), ""),
        (Retype(id=known, generation=made, started_at=started, offer=offer, why=""), ""),
        (Grow(id=known, gib=80, disk_usd_per_month=4.0, why=""), ""),
        (Bake(order=bake, ran_seconds=ran, why=""), f"ami-{made}"),
        (Bake(order=bake, ran_seconds=ran, why=""), f"ami-{made}"),
        (Verify(id=image, why=""), ""),
        (Copy(id=image, name=f"copy-{made}", region="r2", why=""), f"ami-{made}"),
        (Delete(id=image, kind="image", usd_per_month=usd, told_per_usd=cny, why=""), ""),
        (Delete(id=known, kind="machine", usd_per_month=usd, keep_disk=dice.random() < 0.3, why=""), ""),
    ]
    return dice.choice(steps)


def _outcome(dice: random.Random, id_: str) -> Outcome:
    return dice.choice((Done(id=id_), Done(id=id_), Done(id=id_), Refusal(), Unsure()))


def _survey(dice: random.Random, made: int, now: float) -> Survey:
    """Some of what was made, and of what nobody here made, as a cloud might show it."""
    ids = [n for n in range(max(1, made - 6), made + 1) if dice.random() < 0.5]
    common = {"provider": "aws", "region": "r1"}
    machines = tuple(
        Instance(
            id=f"i-{n}", name=f"hotdesk-blue-g{n}", desk=dice.choice(DESKS).name, generation=n,
            phase=dice.choice((Phase.READY, Phase.STOPPED, Phase.ENDING, Phase.ENDED)), zone="r1a",
            instance_type="gpu.big", usd_per_hour=1.2, started_at=BEGAN + dice.randrange(3),
            stopped_at=dice.choice((0.0, BEGAN + 90.0)), disk_usd_per_month=dice.choice((0.0, 5.0)),
            charged_while_off=dice.random() < 0.2, market=dice.choice(tuple(Market)), **common,
        )
        for n in ids
    )  # fmt: skip
    disks = tuple(
        Disk(
            id=f"vol-{n}", desk="blue", generation=n, phase=Phase.READY, instance_id=f"i-{n}",
            usd_per_month=4.0, **common,
        )
        for n in ids
        if dice.random() < 0.2
    )  # fmt: skip
    images = tuple(
        Image(
            id=f"ami-{n}", name=f"hotdesk-blue-g{n}", desk=dice.choice(DESKS).name, generation=n,
            phase=Phase.READY, source_id=f"i-{n}", taken_at=now,
            usd_per_month=dice.choice((0.0, 3.0)), told_per_usd=dice.choice((None, Amount(7.0, "CNY"))),
            **common,
        )
        for n in ids
    )  # fmt: skip
    unread = dice.choice(((), (), ("r1",)))
    return Survey(
        provider="aws", instances=machines, disks=disks, images=images, lag_seconds=60.0, unread=unread
    )


def test_a_bill_reads_the_journals_of_desks_that_have_changed(tmp_path: Path) -> None:
    """By another process too; and not because a parked desk's image was seen once more."""
    clock, cloud = Clock(BEGAN), Shown()
    image = Image(
        id="ami-1", name="hotdesk-blue-g1", desk="blue", generation=1, phase=Phase.READY, provider="aws",
        region="r1", usd_per_month=3.0,
    )  # fmt: skip

    def spent(hours: float, step: Act | None = None) -> tuple[float, int]:
        clock.time = BEGAN + hours * HOUR
        with Counted(tmp_path) as store:
            for desk in DESKS:
                store.put(desk)
            if step:
                [row] = store.begin([("blue", step)], clock.time)
                store.end(row, Done(id="i-1"), clock.time)
            usd = billing(store, clock, cloud).statement().usd
            return usd, store.reads

    order = LaunchOrder(desk="blue", born=1.0, generation=1, attempt=0, offer=OFFER)
    cloud.survey_now = replace(cloud.survey_now, images=(image,))
    assert spent(0, Launch(order=order, why=""))[1] == len(DESKS)
    spent(1)
    usd, reads = spent(2, Delete(id="i-1", usd_per_month=1.0, why=""))
    assert reads == 1
    later, reads = spent(12)
    assert reads == 0
    assert later - usd == pytest.approx(3.0 * 10 / HOURS_PER_MONTH), "the image costs more every hour"
    cloud.survey_now = replace(cloud.survey_now, images=())
    assert spent(13)[1] == 1, "it is gone"
    assert spent(14) == (spent(15)[0], 0)


def test_what_is_paid_once_is_kept_when_it_is_in_the_bill() -> None:
    """A copy to another region, in a bill of the very moment that it was made."""
    copied = Charge(
        desk="blue", kind="transfer", id="ami-1", began=BEGAN, ended=BEGAN, usd_per_hour=0.0, usd_once=1.28
    )
    assert not tally("blue", lambda now: [copied], BEGAN, "month").lasts
    kept = tally("blue", lambda now: [copied], BEGAN + 1, "month")
    assert kept.lasts
    assert [line.transfer for line in lines([kept], BEGAN + HOUR, by="month")] == [1.28]


def test_a_budget_is_judged_by_the_same_count(tmp_path: Path) -> None:
    clock, cloud = Clock(BEGAN), Shown()
    with Counted(tmp_path) as store:
        store.put(DESKS[0])
        order = LaunchOrder(desk="blue", born=1.0, generation=1, attempt=0, offer=OFFER)
        [row] = store.begin([("blue", Launch(order=order, why=""))], BEGAN)
        store.end(row, Done(id="i-1"), BEGAN)
        [row] = store.begin([("blue", Delete(id="i-1", why=""))], BEGAN + 10 * HOUR)
        store.end(row, Done(), BEGAN + 10 * HOUR)
        clock.time = BEGAN + 11 * HOUR
        paid = billing(store, clock, cloud, usd_per_month=13.0)
        assert "$12" in paid.check_budget()
        reads = store.reads
        assert "$12" in paid.check_budget()
        assert store.reads == reads
        paid = billing(store, clock, cloud, usd_per_month=11.0)
        with pytest.raises(NotAllowed, match=r"\$12"):
            paid.check_budget()
        [row] = store.begin([("blue", Launch(order=replace(order, offer=TOLD), why=""))], clock.time)
        with pytest.raises(NotAllowed, match="CNY"):
            paid.check_budget()
