"""AWS in China tells its prices in CNY: shown so, turned into dollars by the user's rate alone."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest

from hotdesk.core.errors import Missing
from hotdesk.core.matching import InstanceType
from hotdesk.core.model import Market, Offer
from hotdesk.core.money import Amount, Money, is_comparable
from hotdesk.core.pricelist import Gathering
from hotdesk.core.spot.prices import Storing
from hotdesk.core.steps import LaunchOrder
from hotdesk.market.history_files import gather_raw
from hotdesk.providers.aws import billing, catalog, pricing
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.base_images import BaseImage
from hotdesk.providers.aws.instances import run_request
from hotdesk.providers.aws.inventory import Found
from hotdesk.providers.aws.offers import spot_now
from hotdesk.providers.aws.settings import Settings
from hotdesk.providers.aws.survey import survey
from hotdesk.state.store import Store

pytest.importorskip("botocore", reason="botocore is not installed")
HERE, ZONE = "cn-north-1", "cn-north-1a"
RATE = Money(cny_per_usd=7.0, day=date(2026, 11, 30))
G4 = InstanceType(provider="aws", instance_type="g4dn.xlarge", gpu="T4", gpu_count=1)


@pytest.fixture
def account(home: object, monkeypatch: pytest.MonkeyPatch) -> Account:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return Account(Settings(regions=(HERE,)))


def answered(client: Any, operation: str, **answer: Any) -> None:
    """The next answer of a client, as botocore's model of the service allows it."""
    from botocore.stub import Stubber

    stub = Stubber(client)
    stub.add_response(operation, answer)
    stub.activate()


def spot_row(price: str) -> dict[str, Any]:
    return {
        "AvailabilityZone": ZONE,
        "InstanceType": G4.instance_type,
        "SpotPrice": price,
        "Timestamp": datetime(2026, 11, 30, tzinfo=UTC),
    }


def offer(money: Money = RATE) -> Offer:
    usd, told = money.dollars(5.6, "CNY")
    return G4.offer(
        region=HERE,
        zone=ZONE,
        market=Market.SPOT,
        usd_per_hour=usd,
        told_per_hour=told,
        price_time=0.0,
        source="asked",
    )


def test_the_price_list_is_asked_in_china_and_in_its_currency(account: Account) -> None:
    client = account.client("pricing", pricing.ENDPOINT["CNY"])
    assert client.meta.endpoint_url == "https://api.pricing.cn-northwest-1.amazonaws.com.cn"
    dimension = {"pricePerUnit": {"CNY": "5.6000000000"}}
    row = {
        "product": {"attributes": {"regionCode": HERE, "instanceType": G4.instance_type}},
        "terms": {"OnDemand": {"T": {"priceDimensions": {"D": dimension}}}},
    }
    answered(client, "get_products", PriceList=[json.dumps(row)])
    assert pricing.of_type(account, G4.instance_type) == {HERE: 5.6}


@pytest.mark.parametrize(("money", "usd"), [(RATE, 0.8), (Money(), None)])
def test_a_price_is_an_amount_and_dollars_only_by_the_rate(
    account: Account, money: Money, usd: float | None
) -> None:
    answered(account.ec2(HERE), "describe_spot_price_history", SpotPriceHistory=[spot_row("5.6")])
    with Store(None) as store:
        prices = catalog.Prices(Gathering(store, 0.0, money=money))
        prices.types = {G4.instance_type: G4}
        [found] = prices._spot(account, HERE)
    assert found.told_per_hour == Amount(5.6, "CNY", "2026-11-30" if usd else "")
    assert is_comparable(found.told_per_hour) == (usd is not None)
    assert usd is None or found.usd_per_hour == pytest.approx(usd)


def test_elsewhere_a_price_is_in_dollars(account: Account) -> None:
    answered(account.ec2("us-west-2"), "describe_spot_price_history", SpotPriceHistory=[spot_row("0.2")])
    assert spot_now(account, "us-west-2", 0.0) == {(ZONE, G4.instance_type): (0.2, 1795996800.0)}
    assert pricing.currency_of("us-west-2") == "USD"


def test_a_spot_machine_is_billed_in_dollars_by_the_rate(account: Account) -> None:
    answered(account.ec2(HERE), "describe_spot_price_history", SpotPriceHistory=[spot_row("5.6")])
    [[(_, usd)]] = billing.spot_prices(account, [offer()], 0.0, 1.0, RATE).values()
    assert usd == pytest.approx(0.8)


def test_a_disk_costs_what_its_price_in_cny_is_in_dollars() -> None:
    shipped = Storing(disk_usd_per_gib_month=1.0, image_usd_per_gib_month=1.0)
    with Store(None) as store:
        store.keep("aws-stored/disk", json.dumps({HERE: 0.7, "us-west-2": 0.08}).encode(), 0.0)
        prices = pricing.Storage(store, lambda region: shipped, RATE)
        assert prices(HERE).disk_usd_per_gib_month == pytest.approx(0.1)
        assert prices("us-west-2").disk_usd_per_gib_month == pytest.approx(0.08)


def test_a_machine_keeps_the_price_of_its_launch_as_it_was_told() -> None:
    """Through its tags; another rate later changes its dollars, and not the amount."""
    order = LaunchOrder(desk="blue", generation=1, born=1.0, attempt=1, offer=offer())
    base = BaseImage(id="ami-1", arch="x86_64", user="ubuntu", root="/dev/sda1", size_gib=50, boot="")
    made = run_request(order, base, subnet="subnet-1", group="sg-1", key="blue", user_data=b"")
    tags = next(s["Tags"] for s in made["TagSpecifications"] if s["ResourceType"] == "instance")
    raw = {
        "InstanceId": "i-1",
        "InstanceType": G4.instance_type,
        "InstanceLifecycle": "spot",
        "State": {"Name": "running"},
        "Tags": tags,
    }
    none: dict[str, list[Any]] = {key: [] for key in ("volumes", "images", "snapshots", "keys", "groups")}
    found = Found(HERE, {"reservations": [{"Instances": [raw]}], **none})
    free = Storing(disk_usd_per_gib_month=0.0, image_usd_per_gib_month=0.0)
    rate = Money(cny_per_usd=8.0, day=date(2026, 12, 1))
    seen = survey(
        [found], [], lag_seconds=0, poll_seconds=0, owner="", storage=lambda region: free, money=rate
    )
    [machine] = seen.instances
    assert machine.told_per_hour == Amount(5.6, "CNY", "2026-12-01")
    assert machine.usd_per_hour == pytest.approx(0.7)


def test_the_past_of_spot_in_cny_is_shown_in_dollars_by_the_users_rate_alone(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numpy", reason="price histories need numpy")
    monkeypatch.setattr(catalog, "_open", lambda settings: account)
    answered(account.ec2(HERE), "describe_spot_price_history", SpotPriceHistory=[spot_row("5.6")])
    rows, notes = catalog.spot_history(account.settings, [G4.instance_type], [], 0.0)
    [pool] = gather_raw(rows, notes, RATE).pools
    assert pool.prices.tolist() == [pytest.approx(0.8)]
    with pytest.raises(Missing, match="told in CNY") as no:
        gather_raw(rows, notes)
    assert no.value.fix.startswith("cny_per_usd")
