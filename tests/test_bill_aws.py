"""The bill beside the fake cloud's own: spot by the hour, disks, images, addresses; and Cost Explorer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.api import Hotdesk
from hotdesk.config import Config, Defaults
from hotdesk.core.billing.statement import this_month
from hotdesk.core.errors import NotAllowed
from hotdesk.core.model import Goal, Market
from hotdesk.providers.aws.settings import Settings
from tests.aws_desk import HOME, Laptop, offer, quick
from tests.conftest import Command

pytest.importorskip("moto", reason="moto is not installed")

CONFIG = Config(defaults=Defaults(provider="aws"), clouds={"aws": Settings(lag_seconds=0.0)})
SPOT = offer(market=Market.SPOT)


@pytest.fixture
def mine(server: FakeEc2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Laptop]:
    for key, value in server.environment(HOME).items():
        monkeypatch.setenv(key, value)
    with quick(server) as fake:
        fake.post("clock", set="2026-11-10T08:00:00+00:00")
        laptop = Laptop(fake, tmp_path / "one")
        laptop.time.at = float(fake.get("clock")["now"])
        yield laptop
        laptop.store.close()


def hours(laptop: Laptop, count: float) -> None:
    """Time in which nobody does anything."""
    laptop.fake.post("clock", advance=count * 3600)
    laptop.time.at += count * 3600


def test_a_day_on_spot_is_billed_as_the_cloud_bills_it(mine: Laptop) -> None:
    """1. Up on spot; its price changes by the hour. 2. Parked. 3. Again on spot. 4. Parked for ten days."""
    start = float(mine.fake.get("clock")["now"])
    for hour, usd in enumerate((0.2, 0.9, 0.35, 0.5, 0.15, 0.6, 0.25, 0.8)):
        mine.fake.post("spot-price", type=SPOT.instance_type, zone=SPOT.zone, usd_per_hour=usd,
                       at=start + (hour - 1) * 3600 + 1200)  # fmt: skip
    assert mine.do(Goal.RUNNING, (SPOT,)) is None
    hours(mine, 3.4)
    assert mine.do(Goal.PARKED) is None
    hours(mine, 1.0)
    assert mine.do(Goal.RUNNING, (SPOT,)) is None
    hours(mine, 1.5)
    assert mine.do(Goal.PARKED) is None
    hours(mine, 240.0)
    with Hotdesk(mine.folder, config=CONFIG, clock=mine.time) as desks:
        bill = desks.services.billing.bill()
        prices = desks.services.billing.spot_prices(bill)
        now = desks.services.clock.now()
        ours = {kind: sum(c.usd(0, now, prices) for c in bill if c.kind == kind)
                for kind in ("compute", "disk", "image", "address")}  # fmt: skip
        theirs = desks.services.billing.billed("aws", start)
        rows = mine.things(gone=True)
        true = {
            "compute": sum(r["usd_so_far"] for r in rows if r["kind"] == "instance"),
            "disk": sum(r["usd_so_far"] for r in rows if r["kind"] == "volume"),
            "image": sum(r["usd_so_far"] for r in rows if r["kind"] == "snapshot"),
        }
        ours["compute"] += ours.pop("address")  # the cloud's ledger has them together
        assert true["compute"] > 1.5
        assert ours["compute"] == pytest.approx(true["compute"], rel=0.03)
        assert ours["disk"] == pytest.approx(true["disk"], rel=0.03)
        assert ours["image"] >= true["image"]
        assert {k: usd for k, usd in theirs.items() if usd} == pytest.approx(
            {"blue": sum(true.values())}, rel=0.001
        )
        flat = sum(c.usd(0, now) for c in bill if c.kind == "compute")
        assert abs(flat - true["compute"]) > 0.03, "at one price, it would have been wrong"
        # What the cloud told is kept: the same bill without asking again.
        mine.fake.delete("log")
        assert desks.services.billing.spot_prices(bill, ask=False) == prices
        assert desks.services.billing.spot_prices(bill) == prices
        assert not mine.fake.get("log", action="DescribeSpotPriceHistory")
        assert this_month(bill, now, prices) == pytest.approx(sum(ours.values()))


def test_a_machine_that_vanished_unseen_is_paid_until_its_spot_request_says(mine: Laptop) -> None:
    """1. On spot. 2. Terminated in the console after two hours. 3. Nobody looks for a day."""
    assert mine.do(Goal.RUNNING, (SPOT,)) is None
    [machine] = mine.machines()
    mine.reconciler.clouds.survey("aws")
    hours(mine, 2.0)
    mine.fake.post("console", id=machine["id"], do="terminate")
    hours(mine, 24.0)
    with Hotdesk(mine.folder, config=CONFIG, clock=mine.time) as desks:
        assert desks.services.clouds.survey("aws").of("blue").instances == ()
        [run] = [c for c in desks.services.billing.bill() if c.kind == "compute"]
        assert run.ended - run.began == pytest.approx(2 * 3600, abs=120)
        assert not run.at_most
        mine.fake.delete("log")
        desks.services.billing.bill()
        assert not mine.fake.get("log", action="DescribeSpotInstanceRequests"), "told once, it is known"


def test_without_the_permission_it_says_which(mine: Laptop) -> None:
    mine.fake.post("refuse", action="GetCostAndUsage", service="ce", code="UnauthorizedOperation")
    with (
        Hotdesk(mine.folder, config=CONFIG, clock=mine.time) as desks,
        pytest.raises(NotAllowed) as error,
    ):
        desks.services.billing.billed("aws", 0.0)
    assert "ce:GetCostAndUsage" in error.value.why
    assert error.value.fix


def test_it_asks_before_it_asks(hotdesk: Command, server: FakeEc2, home: Path) -> None:
    (home / "hotdesk.toml").write_text('[defaults]\nprovider = "aws"\n')
    with quick(server):
        asked = hotdesk("costs", "--compare", **server.environment(HOME))
        assert asked.returncode == 5
        assert "$0.01" in asked.stderr
        assert "hotdesk costs --compare --yes" in asked.stderr.replace("  ", " ")
        assert not server.get("log", action="GetCostAndUsage")
        done = hotdesk("costs", "--compare", "--yes", "--json", **server.environment(HOME))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["compared"] == []
        assert len(server.get("log", action="GetCostAndUsage")) == 1
