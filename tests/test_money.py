"""Prices in another currency: shown as told, compared by the user's rate, or not judged at all."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from hotdesk import Hotdesk, PlanRequest
from hotdesk.cli.commands.ls import together
from hotdesk.cli.ui import offer_table, render, sweep_shown
from hotdesk.config import parse
from hotdesk.core.billing.charges import compute_usd
from hotdesk.core.billing.observed import news
from hotdesk.core.errors import NeedsDecision, NotAllowed
from hotdesk.core.matching import Place, Query, sold_there
from hotdesk.core.model import Desk, Goal, Image, Market, Offer, Phase, Survey, Want
from hotdesk.core.money import Amount, Money, in_same, per_hour
from hotdesk.core.steps import Delete, Done, Launch, LaunchOrder, Row
from hotdesk.core.sweep.model import Counts, Sweep
from hotdesk.core.sweep.params import Space
from hotdesk.jobs.terms import agree
from hotdesk.market.catalog import Catalog, build
from hotdesk.market.query import search
from hotdesk.market.ranking import rank
from hotdesk.services import sweep_fleet, sweep_shapes
from hotdesk.services.sweep_request import SweepRequest
from hotdesk.services.sweep_view import SweepView
from hotdesk.services.view import View

RATE = parse("[money]\ncny_per_usd = 7.06\nday = 2026-11-30", Path("hotdesk.toml")).money


def offer(value: float = 9.53, money: Money = RATE, currency: str = "CNY", name: str = "gn7i") -> Offer:
    usd, told = money.dollars(value, currency)
    return Offer(
        provider="toy", region="cn-here", zone="cn-here-a", instance_type=name, gpu="A10", gpu_count=1,
        gpu_memory_gib=22.5, vcpus=8, memory_gib=30, usd_per_hour=usd, told_per_hour=told, source="asked",
    )  # fmt: skip


NO_RATE = offer(money=Money())
DOLLARS = offer(1.2, currency="USD", name="g5")


def test_the_rate_turns_an_amount_into_dollars_and_the_amount_stays() -> None:
    usd, told = RATE.dollars(9.53, "CNY")
    assert usd == pytest.approx(9.53 / 7.06)
    assert (str(told), told and told.day) == ("9.53 CNY", "2026-11-30")
    assert RATE.dollars(1.2, "USD") == (1.2, None)
    with pytest.raises(ValueError, match="XYZ"):
        RATE.dollars(1.0, "XYZ")
    assert in_same(2 * usd, offer()) == Amount(pytest.approx(2 * 9.53), "CNY", "2026-11-30")
    assert in_same(2.4, DOLLARS) is None


def test_a_price_is_shown_as_told_and_in_dollars_only_where_there_is_a_rate() -> None:
    assert per_hour(1.2) == render.price(DOLLARS) == "$1.2/h"
    assert render.price(NO_RATE) == "9.53 CNY/h"
    assert render.price(offer()) == "9.53 CNY/h ($1.35)"
    catalog = build([[offer(), DOLLARS]])
    rows = search(catalog, Query()).rows
    told = [offer_table.record(catalog, row, {}) for row in rows]
    assert [(r["currency"], r["price_per_hour"]) for r in told] == [("USD", 1.2), ("CNY", 9.53)]
    assert told[1]["usd_per_hour"] == pytest.approx(9.53 / 7.06)
    nominal = build([[NO_RATE]])
    assert offer_table.record(nominal, 0, {})["usd_per_hour"] is None
    assert "9.53 CNY" in offer_table.line(nominal, (0, None), {}, 0.0)


def test_what_runs_together_is_not_added_across_currencies_without_a_rate() -> None:
    view = View(name="blue", goal=Goal.RUNNING, phase="ready", provider="toy")

    def priced(o: Offer) -> View:
        return msgspec.structs.replace(view, usd_per_hour=o.usd_per_hour, told_per_hour=o.told_per_hour)

    assert together([priced(DOLLARS), priced(NO_RATE), priced(NO_RATE)]) == "$1.2/h and 19.06 CNY/h"
    assert together([priced(NO_RATE)]) == "9.53 CNY/h"
    assert together([priced(DOLLARS), priced(offer())]) == "$2.55/h"


def test_the_catalogue_keeps_the_amount_and_knows_when_the_rate_has_changed() -> None:
    again = Catalog.unpack(build([[offer(), DOLLARS]]).pack())
    assert sorted(again.offers(range(2)), key=lambda o: o.usd_per_hour) == [DOLLARS, offer()]
    assert not again.is_of_another_rate(RATE)
    assert again.is_of_another_rate(Money())
    assert not build([[DOLLARS]]).is_of_another_rate(RATE)


def test_another_rate_gives_other_dollars_for_the_same_amount_and_another_order() -> None:
    dear = Money(cny_per_usd=20.0, day=date(2026, 12, 1))
    catalog = Catalog.unpack(build([[offer(), DOLLARS]]).pack())
    assert catalog.offers(catalog.order)[0] == DOLLARS
    one, other = catalog.at_rate(dear).offers(catalog.order)
    assert one.usd_per_hour == pytest.approx(9.53 / 20.0)
    assert str(one.told_per_hour) == "9.53 CNY"
    assert other == DOLLARS
    assert not catalog.is_of_another_rate(dear)


# ---- limits in dollars -----------------------------------------------------------------------------------


def test_a_limit_in_dollars_is_judged_by_the_rate_or_not_at_all() -> None:
    place, limit = Place("toy", "cn-here", "cn-here-a"), Query(max_usd=1.4)
    for fits, o in ((True, offer()), (False, offer(20.0))):
        assert sold_there(limit, place, Market.ON_DEMAND, o.usd_per_hour, o.told_per_hour) is fits
    with pytest.raises(NotAllowed) as raised:
        sold_there(limit, place, Market.ON_DEMAND, NO_RATE.usd_per_hour, NO_RATE.told_per_hour)
    assert raised.value.what == "--max-usd 1.4 cannot be compared with prices in CNY."
    assert "cny_per_usd" in raised.value.fix
    assert sold_there(Query(), place, Market.ON_DEMAND, NO_RATE.usd_per_hour, NO_RATE.told_per_hour)
    elsewhere = Query(max_usd=1.4, regions=("us-*",))
    assert not sold_there(elsewhere, place, Market.ON_DEMAND, 1.0, NO_RATE.told_per_hour)


def test_offers_that_no_limit_can_judge_are_left_out_and_it_is_said() -> None:
    found = search(build([[NO_RATE, DOLLARS]]), Query(max_usd=1.5))
    assert len(found.rows) == 1
    assert found.left_out == {"priced in CNY: set its rate under [money] in hotdesk.toml": 1}
    assert len(search(build([[offer(), DOLLARS]]), Query(max_usd=1.5)).rows) == 2
    choice = rank(Want(usd_per_hour_max=1.5), [NO_RATE, DOLLARS])
    assert [o.instance_type for o in choice.offers] == ["g5"]


def test_a_jobs_budget_is_not_judged_without_a_rate() -> None:
    assert agree([offer()], 3600.0, None, 50.0) is None
    with pytest.raises(NotAllowed, match=r"\$50.00 cannot be compared with prices in CNY"):
        agree([NO_RATE], 3600.0, None, 50.0)


@pytest.mark.parametrize(("day", "usd"), [("2026-11-30", 2.0), ("", 0.0)])
def test_what_a_desk_has_cost_is_in_dollars_only_with_a_rate(day: str, usd: float) -> None:
    """At 7 CNY, the rate that only puts prices in order, nobody is told dollars."""
    told = replace(NO_RATE, usd_per_hour=1.0, told_per_hour=Amount(7.0, "CNY", day))
    order = LaunchOrder(desk="blue", born=0.0, generation=1, attempt=0, offer=told)
    row = Row(id=1, desk="blue", at=0.0, step=Launch(order=order, why=""), ended_at=0.0, outcome=Done(id="i"))
    assert compute_usd([row], 7200.0, running=True) == pytest.approx(usd)
    assert compute_usd([row], 7200.0, running=True, nominal=True) == pytest.approx(2.0), "to turn it back"


@pytest.mark.parametrize("offers", [(NO_RATE,), None])
def test_a_plan_is_in_dollars_and_compares_no_price_without_a_rate(
    home: Path, offers: tuple[Offer, ...] | None
) -> None:
    """Neither an offer that was named, nor those of the catalogue; and no imagined machine stands in."""
    asked = PlanRequest(
        work_hours=10, reference="A10", regions=("cn-hangzhou",), budget_usd=20, offers=offers
    )
    with Hotdesk() as desks, pytest.raises(NotAllowed, match="CNY") as no:
        desks.plan(asked)
    assert "hotdesk.toml" in f"{no.value.why}{no.value.fix}"
    with Hotdesk() as desks:
        answer = desks.plan(replace(asked, offers=(offer(name="ecs.gn7i-c8g1.2xlarge"),))).answer
    assert answer.cheapest is not None
    assert answer.cheapest.finish.usd == pytest.approx(10 * 9.53 / 7.06, rel=0.1)


@pytest.mark.parametrize("paid", [True, False])
def test_the_months_budget_is_not_judged_without_a_rate(home: Path, paid: bool) -> None:
    """Neither for what was paid, nor for what would be launched."""
    (home / "hotdesk.toml").write_text("[defaults]\nusd_per_month = 100\n")
    with Hotdesk() as desks:
        billing, store, now = desks.services.billing, desks.services.store, desks.services.clock.now()
        desk = Desk(name="blue", goal=Goal.RUNNING, since=now, created_at=now)
        if paid:
            order = LaunchOrder(desk="old", born=1.0, generation=1, attempt=0, offer=NO_RATE)
            [row] = store.begin([("old", Launch(order=order, why=""))], now - 7200)
            store.end(row, Done(id="i-1"), now - 7200)
            bill = billing.statement()
            assert (bill.usd, [str(a) for a in bill.besides]) == (0.0, ["19.06 CNY"])
        else:
            desk = msgspec.structs.replace(desk, offers=(NO_RATE,))
        with pytest.raises(NotAllowed, match=r"budget of \$100.00 cannot be compared with prices in CNY"):
            billing.within_budget(desk)
        assert desks.services.billing.limit_usd == 100


@pytest.mark.parametrize(("day", "usd", "besides"), [("", 0.0, ["14.25 CNY"]), ("2026-11-30", 2.036, [])])
def test_disks_and_images_cost_what_their_cloud_tells(
    home: Path, day: str, usd: float, besides: list[str]
) -> None:
    """A desk's disk, which a row tells, and another computer's image, which a look has shown."""
    month, unit = 730 * 3600.0, Amount(7.0, "CNY", day)
    free = replace(NO_RATE, usd_per_hour=0.0, told_per_hour=None)
    order = LaunchOrder(desk="blue", born=1.0, generation=1, attempt=0, offer=free)
    gone = Delete(id="i-1", kind="machine", usd_per_month=2.0, told_per_usd=unit, ran_seconds=1.0, why="")
    with Hotdesk() as desks:
        store, now = desks.services.store, desks.services.clock.now()
        for step, at in ((Launch(order=order, why=""), now - month), (gone, now)):
            [row] = store.begin([("blue", step)], at)
            store.end(row, Done(id="i-1"), at)
        looked = now - month / 28
        image = Image(id="m-9", name="m-9", desk="blue", generation=3, phase=Phase.READY, provider="toy",
                      region="r1", usd_per_month=1.0, told_per_usd=unit, taken_at=looked)  # fmt: skip
        store.amend(news({}, Survey(provider="toy", images=(image,)), ["blue"], looked, looked))
        bill = desks.costs()
        assert (bill.usd, [str(a) for a in bill.besides]) == (pytest.approx(usd, abs=1e-3), besides)
        assert bill.stored_usd_per_month == pytest.approx(1.0 if day else 0.0)
        assert [str(a) for a in bill.stored_besides] == ([] if day else ["7 CNY"])


def sweep(*pools: Offer) -> Sweep:
    return Sweep(
        number=1, desk="blue", image="cn-here/m-1", provider="toy", command=("true",), created_at=1.0,
        folder="/", machines=2, pools=pools,
    )  # fmt: skip


def test_a_sweep_costs_what_the_cloud_of_its_machines_tells() -> None:
    """Before it begins and as it goes: nobody is shown dollars that come from a nominal rate."""
    for pool, price, paid in (
        (NO_RATE, "9.53 CNY/h", "2.382 CNY"),
        (offer(), "9.53 CNY/h ($1.35)", "2.382 CNY ($0.34)"),
        (DOLLARS, "$1.2/h", "$0.30"),
    ):
        begun, quarter = sweep(pool), pool.usd_per_hour / 4
        assert sweep_shown.hourly(begun, pool.usd_per_hour) == price
        assert sweep_shown.cost(begun, quarter) == paid
        lines = sweep_shown.offered(begun, sweep_shapes.plan(begun, None, 0, []), "it")
        assert f"on-demand: {pool.instance_type} in cn-here-a, {price}" in lines[1]
        view = SweepView(
            sweep=begun, state="running", counts=Counts(done=1), machines=(), usd=quarter,
            usd_per_hour=pool.usd_per_hour, task_seconds=0.0, left_seconds=None, driven=True,
        )  # fmt: skip
        assert sweep_shown.summary(view).endswith(f"{price}, {paid} so far")


class Sells:
    """A cloud that offers one thing."""

    def __init__(self, sold: Offer) -> None:
        self.sold = sold

    def offers(self, want: Want) -> list[Offer]:
        return [self.sold]


def test_the_budget_of_a_sweep_is_not_judged_without_a_rate() -> None:
    desk = Desk(name="blue", goal=Goal.PARKED, since=1.0, created_at=1.0, provider="toy")
    asked = SweepRequest(desk="blue", command=("true",), space=Space(samples=1), budget_usd=5.0)

    def pools(sold: Offer) -> tuple[Offer, ...]:
        return sweep_fleet.pools(Sells(sold), desk, asked, "cn-here", "x86_64")  # type: ignore[arg-type]

    assert pools(offer()) == (offer(),)
    with pytest.raises(NeedsDecision):  # a fleet does not launch into it, and it would be counted as free
        pools(replace(offer(), reservation="cr-1"))
    with pytest.raises(NotAllowed, match=r"A budget of \$5\.00 cannot be compared with prices in CNY"):
        pools(NO_RATE)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[money]\ncny_per_usd = 7.06", "money.day is missing"),
        ("[money]\ncny_per_usd = -1\nday = 2026-11-30", "money.cny_per_usd is -1"),
        ("[money]\ncny_per_us = 7", "did you mean 'cny_per_usd'?"),
        ("[money]\ncny_per_usd = 7\nday = 'once'", "money.day"),
    ],
)
def test_a_rate_without_its_day_is_no_rate(text: str, why: str) -> None:
    config = parse(text, Path("hotdesk.toml"))
    assert why in config.faults["money"].why
    assert config.money == Money()
