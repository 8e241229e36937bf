"""What a desk cost on Alibaba Cloud by hotdesk's journal, beside the cloud's own bill."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hotdesk.api import Hotdesk
from hotdesk.config import Config, Defaults
from hotdesk.core.errors import Kind, NotAllowed, Refused
from hotdesk.core.model import Goal, Market
from hotdesk.core.money import Money
from hotdesk.providers.aliyun import billing
from tests.aliyun_desk import HOME, MONEY, Laptop, as_new, offer, with_a_network
from tests.conftest import typed
from tests.fake_ecs import market
from tests.fake_ecs.server import FakeEcs

HOUR = 3600.0
NOW = datetime(2026, 11, 10, 8, tzinfo=UTC).timestamp()
SPOT = offer(market=Market.SPOT)


@pytest.fixture
def mine(ecs: FakeEcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Laptop]:
    as_new(ecs, monkeypatch)
    ecs.world.clock.set(NOW)
    with_a_network(ecs, HOME)
    laptop = Laptop(ecs, tmp_path / "one")
    yield laptop
    laptop.store.close()


def hours(mine: Laptop, count: float) -> None:
    """Time in which nobody does anything."""
    mine.fake.advance(count * HOUR)
    mine.time.at += count * HOUR


def billed(mine: Laptop, money: Money = MONEY) -> dict[str, float]:
    now = mine.fake.world.clock.now()
    return billing.billed(mine.aliyun.account, NOW, now, money)


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [offer(), SPOT], ids=["on-demand", "spot"])
def test_a_week_is_billed_as_the_cloud_bills_it(mine: Laptop, chosen: object) -> None:
    """1. Up for some hours. 2. Parked. 3. Up again. 4. Parked for a week."""
    assert mine.do(Goal.RUNNING, (chosen,)) is None  # type: ignore[arg-type]
    hours(mine, 3.4)
    assert mine.do(Goal.PARKED) is None
    hours(mine, 1.0)
    assert mine.do(Goal.RUNNING) is None
    hours(mine, 1.5)
    assert mine.do(Goal.PARKED) is None
    hours(mine, 168.0)
    config = Config(defaults=Defaults(provider="aliyun"), clouds={"aliyun": mine.settings}, money=MONEY)
    mine.store.close()
    with Hotdesk(mine.folder, config=config, clock=mine.time) as desks:
        bill = desks.services.billing.statement(compare="aliyun")
        [row] = bill.compared
        kinds = {line.desk: line for line in bill.lines}
        assert row.desk == "blue"
        assert row.theirs == pytest.approx(billed(mine)["blue"])
        assert kinds.keys() == {"blue"}
        assert row.here == pytest.approx(row.theirs, rel=0.05)
    mine.open()


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["cloud_essd", "cloud_auto", "cloud_essd_entry", "cloud_ssd", "cloud_efficiency"]
)
@pytest.mark.parametrize("denied", [False, True])
def test_each_kind_of_disk_has_its_own_price(mine: Laptop, kind: str, denied: bool) -> None:
    """By the service's list, asked once a day; where it refuses that, by hotdesk's own list of the kinds."""
    mine.fake.world.disks_sold = {offer().zone: {kind}}
    if denied:
        mine.fake.world.harm("DescribePrice", code="Forbidden.RAM", status=403, times=None)
    assert mine.do(Goal.RUNNING) is None
    hours(mine, 10.0)
    [disk] = mine.fake.world.every("disk")
    assert disk.category == kind
    a_month = disk.size * market.disk_cny(kind, disk.level) * 730 / MONEY.cny_per_usd
    shown = mine.aliyun.survey().of("blue").live
    assert shown is not None
    assert shown.disk_usd_per_month == pytest.approx(a_month, rel=0.002)
    config = Config(defaults=Defaults(provider="aliyun"), clouds={"aliyun": mine.settings}, money=MONEY)
    mine.store.close()
    with Hotdesk(mine.folder, config=config, clock=mine.time) as desks:
        now = desks.services.clock.now()
        ours = sum(c.usd(0, now) for c in desks.services.billing.bill() if c.kind == "disk")
        assert ours == pytest.approx(10 / 730 * a_month, rel=0.05)
    mine.open()
    asked = [c for c in mine.fake.world.log if c["action"] == "DescribePrice"]
    assert len([c for c in asked if c["params"].get("ResourceType") == "disk"]) == 1


def test_every_page_of_every_month_is_read_and_what_is_not_ours_left_out(mine: Laptop) -> None:
    from tests.fake_ecs.world import Disk

    region = mine.fake.world.region(HOME)
    for number in range(650):
        tags = {"hotdesk": "1", "hotdesk:desk": f"desk-{number % 2}"} if number % 10 else {}
        tags |= {"hotdesk": "1"} if number == 0 else {}
        disk = Disk(
            f"d-{number}", HOME, tags=tags, made=NOW - 20 * 24 * HOUR, size=100, category="cloud_essd"
        )
        region.disks[disk.id] = disk
    each = 100 * 0.0021 * (NOW - datetime(2026, 11, 1, tzinfo=UTC).timestamp()) / HOUR / 7.0
    told = billed(mine)
    assert told == {
        "desk-1": pytest.approx(325 * each),
        "desk-0": pytest.approx((325 - 65) * each),
        "": pytest.approx(each),
    }
    mine.fake.world.log.clear()
    billing.billed(mine.aliyun.account, NOW - 40 * 24 * HOUR, NOW, MONEY)
    asked = [entry["params"]["BillingCycle"] for entry in mine.fake.world.log]
    assert asked == ["2026-10"] * 3 + ["2026-11"] * 3
    mine.fake.world.discount = 0.5
    assert billed(mine)[""] == pytest.approx(each / 2), "as the account pays it"


@pytest.mark.parametrize(
    "tag",
    [
        "key:hotdesk value:1; key:hotdesk:desk value:blue",
        "hotdesk=1,hotdesk:desk=blue,hotdesk:name=blue-1",
        '[{"Key":"hotdesk:desk","Value":"blue"},{"Key":"hotdesk","Value":"1"}]',
    ],
)
def test_a_tag_is_understood_however_the_bill_writes_it(tag: str) -> None:
    assert billing.desk_of(tag) == "blue"
    assert billing.desk_of("key:hotdesk value:1; key:team value:vision") == ""
    assert billing.desk_of("key:nothotdesk value:1") is None
    assert billing.desk_of("") is None


def test_without_the_right_it_says_which(mine: Laptop) -> None:
    mine.fake.world.denied = {"DescribeInstanceBill"}
    config = Config(defaults=Defaults(provider="aliyun"), clouds={"aliyun": mine.settings}, money=MONEY)
    with (
        Hotdesk(mine.folder, config=config, clock=mine.time) as desks,
        pytest.raises(NotAllowed) as error,
    ):
        desks.services.billing.billed("aliyun", NOW)
    assert "bssapi:DescribeInstanceBill" in error.value.why
    assert "hotdesk iam --provider aliyun" in error.value.fix


def test_a_refusal_with_the_status_200_is_one(mine: Laptop) -> None:
    mine.fake.world.no_bill = "NotAuthorized"
    with pytest.raises(Refused) as no:
        billed(mine)
    assert no.value.kind is Kind.DENIED


def test_an_account_of_the_other_site_is_asked_there(mine: Laptop) -> None:
    mine.fake.world.harm("DescribeInstanceBill", code="InvalidAccessKeyId.NotFound", status=404)
    assert billed(mine) == {}
    assert [e["code"] for e in mine.fake.world.log] == ["InvalidAccessKeyId.NotFound", None]
    client = mine.aliyun.account.client
    client._endpoint = ""
    hosts = {client.url(site, HOME) for site in billing.SITES}
    assert hosts == {"https://business.aliyuncs.com", "https://business.ap-southeast-1.aliyuncs.com"}


@pytest.mark.parametrize(("currency", "fix"), [("CNY", "cny_per_usd = …"), ("JPY", "")])
def test_a_bill_in_a_currency_without_a_rate_is_not_guessed(mine: Laptop, currency: str, fix: str) -> None:
    assert mine.do(Goal.RUNNING) is None
    hours(mine, 1.0)
    mine.fake.world.currency = currency
    with pytest.raises(Refused, match=currency) as no:
        billed(mine, Money())
    assert no.value.fix.startswith(fix)


@pytest.mark.slow
def test_the_command_shows_both(mine: Laptop, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mine.do(Goal.RUNNING) is None
    hours(mine, 1.0)
    (home / "hotdesk.toml").write_text(
        f'[defaults]\nprovider = "aliyun"\n[money]\ncny_per_usd = 7.0\nday = 2026-11-30\n'
        f'[aliyun]\nendpoint = "{mine.fake.url}"\nregions = ["{HOME}"]\naddress = "203.0.113.7/32"\n'
    )
    monkeypatch.setenv("HOTDESK_CONFIG", str(home / "hotdesk.toml"))
    monkeypatch.setenv("HOTDESK_STATE", str(mine.folder))
    mine.store.close()
    shown = typed("costs", "--compare")
    assert shown.returncode == 0, shown.stderr
    assert "ALIYUN $" in shown.stdout
    assert "bills after the account's discounts" in shown.stdout
    told = typed("costs", "--compare", "--json")
    assert json.loads(told.stdout)["compared"]
    mine.fake.world.denied = {"DescribeInstanceBill"}
    refused = typed("costs", "--compare")
    assert refused.returncode == 3
    assert "bssapi:DescribeInstanceBill" in refused.stderr
    assert "Traceback" not in refused.stderr
    mine.open()
