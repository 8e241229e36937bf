"""What disks and images cost in each region: asked of AWS itself, and by the shipped table without it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.api import Hotdesk
from hotdesk.config import Config, Defaults
from hotdesk.core.model import Goal, Want
from hotdesk.market.shipped import shipped
from hotdesk.providers.aws.settings import Settings
from tests.aws_desk import HOME, Laptop, offer, quick
from tests.conftest import Command

pytest.importorskip("moto", reason="moto is not installed")

TOKYO = offer(zone="ap-northeast-1a")
CONFIG = Config(defaults=Defaults(provider="aws"), clouds={"aws": Settings(lag_seconds=0.0)})


@pytest.fixture
def mine(server: FakeEc2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Laptop]:
    for key, value in server.environment(TOKYO.region).items():
        monkeypatch.setenv(key, value)
    with quick(server, regions=(TOKYO.region,)) as fake:
        fake.post("clock", set="2026-11-10T08:00:00+00:00")
        laptop = Laptop(fake, tmp_path / "one")
        laptop.time.at = float(fake.get("clock")["now"])
        yield laptop
        laptop.store.close()


def spend_a_week(mine: Laptop) -> dict[str, float]:
    """Off for a week, then parked for another; what the cloud bills for disks and snapshots."""
    mine.aws.offers(Want(instance_type=TOKYO.instance_type, regions=(TOKYO.region,)))  # as `up` does
    assert mine.do(Goal.RUNNING, (TOKYO,)) is None
    assert mine.do(Goal.STOPPED) is None
    for goal in (None, Goal.PARKED):
        if goal:
            assert mine.do(goal) is None
        mine.fake.post("clock", advance=7 * 86_400.0)
        mine.time.at += 7 * 86_400.0
    rows = mine.things(gone=True)
    kinds = {"disk": "volume", "image": "snapshot"}
    return {k: sum(r["usd_so_far"] for r in rows if r["kind"] == kind) for k, kind in kinds.items()}


def whole_gib(usd: float, price: float) -> bool:
    """Whether that is the price of a whole number of GiB: at another price it would not be one."""
    return usd / price == pytest.approx(round(usd / price))


def test_a_disk_in_tokyo_is_billed_at_tokyos_price(mine: Laptop) -> None:
    true = spend_a_week(mine)
    with Hotdesk(mine.folder, config=CONFIG, clock=mine.time) as desks:
        bill = desks.services.billing.bill()
        now = desks.services.clock.now()
        ours = {k: sum(c.usd(0, now) for c in bill if c.kind == k) for k in true}
        assert ours["disk"] == pytest.approx(true["disk"], rel=0.02)
        assert not any(c.price_time for c in bill), "AWS has told these prices"
        [image] = desks.services.clouds.survey("aws").of("blue").images
        assert whole_gib(image.usd_per_month, 0.05 * 1.29)
        assert ours["image"] >= true["image"]
        mine.fake.delete("log")
        assert sum(c.usd(0, now) for c in desks.services.billing.bill()) == pytest.approx(
            sum(c.usd(0, now) for c in bill)
        )
        assert not mine.fake.get("log", action="GetProducts"), "told once a day"


def test_where_aws_does_not_tell_the_shipped_table_does_and_it_is_said(
    mine: Laptop, hotdesk: Command, home: Path
) -> None:
    mine.fake.post("refuse", action="GetProducts", service="pricing", code="AccessDeniedException", times=99)
    spend_a_week(mine)
    with Hotdesk(mine.folder, config=CONFIG, clock=mine.time) as desks:
        bill = [c for c in desks.services.billing.bill() if c.kind == "disk"]
        [disk] = bill
        assert whole_gib(disk.usd_per_hour * 730, 0.096)
        assert disk.price_time == shipped().storing("ap-northeast-1").price_time
        [image] = desks.services.clouds.survey("aws").of("blue").images
        assert whole_gib(image.usd_per_month, 0.05)
    (home / "hotdesk.toml").write_text('[defaults]\nprovider = "aws"\n')
    mine.store.close()
    said = hotdesk("costs", HOTDESK_STATE=str(mine.folder), **mine.fake.environment(TOKYO.region))
    assert said.returncode == 0, said.stderr
    assert "images and disks: the cloud did not tell the price: it was so on 2021-07-14" in said.stdout


def test_offers_learn_what_a_disk_costs_beside_what_a_machine_costs(
    server: FakeEc2, hotdesk: Command, home: Path
) -> None:
    (home / "hotdesk.toml").write_text('[defaults]\nprovider = "aws"\n')
    with quick(server):
        done = hotdesk("up", "--type", "g4dn.xlarge", "--dry-run", **server.environment(HOME))
        assert done.returncode == 0, done.stderr
        asked = [json.dumps(call) for call in server.get("log", action="GetProducts")]
        assert len(asked) == 3


def test_a_region_that_nobody_priced_costs_as_much_as_the_dearest() -> None:
    known, unknown = shipped().storing("eu-central-1"), shipped().storing("mx-central-1")
    assert (known.disk_usd_per_gib_month, known.image_usd_per_gib_month) == (0.0952, 0.054)
    assert (unknown.disk_usd_per_gib_month, unknown.image_usd_per_gib_month) == (0.152, 0.068)
    assert (known.copy_usd_per_gib, unknown.copy_usd_per_gib) == (0.02, 0.147)
