"""The day of a desk on EC2, through the loop, the real client and HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.core.lifecycle.plan import plan
from hotdesk.core.model import Goal, Market, Want
from tests.aws_desk import HOME, Laptop, offer

pytest.importorskip("moto", reason="moto is not installed")


def test_a_day_on_demand(fake: FakeEc2, tmp_path: Path) -> None:
    """1. up; 2. work; 3. park; 4. resume elsewhere; 5. work; 6. move; 7. down."""
    mine = Laptop(fake, tmp_path)
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING, (offer("g5.xlarge", "us-west-2b", gpu="A10G"),)) is None
    [machine] = mine.machines()
    assert (machine["type"], machine["zone"]) == ("g5.xlarge", "us-west-2b")
    mine.work("tuesday")
    assert mine.do(Goal.RUNNING, (offer("g6.xlarge", "us-west-2a", gpu="L4"),), move=True) is None
    assert mine.machines()[0]["type"] == "g6.xlarge"
    assert mine.do(Goal.GONE) is None


def test_a_name_that_is_used_again(fake: FakeEc2, tmp_path: Path) -> None:
    """1. up, down. 2. up by the same name, while EC2 still lists the ended machine: nothing is missing."""
    mine = Laptop(fake, tmp_path)
    for text in ("monday", "tuesday"):
        assert mine.do(Goal.RUNNING) is None
        mine.work(text)
        assert mine.do(Goal.GONE) is None
        assert mine.aws.survey().instances != (), "an ended machine is listed for about an hour"
    assert mine.do(Goal.RUNNING, (offer(market=Market.SPOT),)) is None
    mine.fake.post("interrupt", id=mine.machines()[0]["id"])
    mine.time.sleep(60.0)
    assert mine.do(Goal.GONE) is None
    assert mine.do(Goal.RUNNING) is None


def test_a_day_on_spot(fake: FakeEc2, tmp_path: Path) -> None:
    """1. up on spot; 2. work; 3. park (it cannot be stopped); 4. resume on demand; 5. park; 6. spot again."""
    spot = (offer(market=Market.SPOT),)
    mine = Laptop(fake, tmp_path, offers=spot)
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING, (offer(zone="us-west-2c"),)) is None
    mine.work("tuesday")
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING, spot) is None
    assert mine.do(Goal.GONE) is None


def test_a_restored_disk_is_loaded_at_a_rate_when_that_is_asked_for(fake: FakeEc2, tmp_path: Path) -> None:
    """1. up: nothing is restored. 2. resume at a rate. 3. AWS has no more of it: said, with the way on."""
    mine = Laptop(fake, tmp_path)
    fast = Want(initialization_rate=300)

    def rates() -> list[object]:
        volumes = fake.client("ec2", HOME).describe_volumes()["Volumes"]
        return [v.get("VolumeInitializationRate") for v in volumes]

    assert mine.do(Goal.RUNNING, want=fast) is None
    assert rates() == [None]
    mine.work("monday")
    assert mine.do(Goal.PARKED) is None
    mine.want("blue", Goal.RUNNING, want=fast)
    desk = mine.store.desk("blue")
    [launch] = plan(desk, mine.aws.survey().of("blue"), mine.store.past(desk), mine.time.now())
    assert "is loaded at 300 MiB/s" in launch.why
    assert mine.settle() is None
    assert rates() == [300]
    assert mine.do(Goal.PARKED) is None
    fake.post("refuse", action="RunInstances", code="InvalidParameterValue", status=400, times=1,
              message="You have exceeded the volume initialization rate of this Region.")  # fmt: skip
    asked = mine.do(Goal.RUNNING, want=fast)
    assert asked is not None
    assert "without --initialization-rate" in asked.fix
    assert mine.do(Goal.RUNNING, want=Want()) is None
    assert rates() == [None]
