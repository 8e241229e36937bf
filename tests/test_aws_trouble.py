"""What goes wrong on AWS, and what a person is told: what happened, why, what to do; nothing lost or left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fake_ec2.process import FakeEc2
from hotdesk.core.errors import Kind, NotAllowed, Refused, Unreachable
from hotdesk.core.model import Goal, Market, Want
from hotdesk.core.steps import Copy, LaunchOrder
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.settings import Settings
from tests.aws_desk import HOME, Laptop, offer, quick

pytest.importorskip("moto", reason="moto is not installed")

ELSEWHERE = (offer("g5.xlarge", "us-west-2b", gpu="A10G"),)
SPOT = (offer(market=Market.SPOT),)


@pytest.fixture
def mine(fake: FakeEc2, tmp_path: Path) -> Iterator[Laptop]:
    laptop = Laptop(fake, tmp_path)
    yield laptop
    laptop.store.close()


# ---- credentials and permissions ---------------------------------------------------------------------


def test_without_credentials_it_says_how_to_get_some(
    fake: FakeEc2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(key)
    for key in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(key, str(tmp_path / "none"))
    with pytest.raises(Refused) as no:
        Account(Settings()).regions()
    assert no.value.kind is Kind.DENIED
    assert "No AWS credentials" in no.value.message
    assert no.value.fix.startswith("aws login")
    with pytest.raises(Refused, match="nobody"):
        Account(Settings(profile="nobody")).regions()


@pytest.mark.parametrize(
    ("code", "words"),
    [("ExpiredToken", "expired"), ("AuthFailure", "does not accept"), ("RequestExpired", "clock")],
)
def test_credentials_that_no_region_accepts_stop_the_command_at_once(
    mine: Laptop, fake: FakeEc2, code: str, words: str
) -> None:
    fake.post("refuse", action="*", code=code, message="No.", status=400, times=None)
    mine.want("blue", Goal.RUNNING)
    with pytest.raises(NotAllowed) as error:
        mine.settle()
    assert words in error.value.why
    assert error.value.fix
    assert mine.things("instance") == []


def test_a_missing_permission_is_named_and_nothing_is_half_made(mine: Laptop, fake: FakeEc2) -> None:
    fake.post("refuse", action="RunInstances", code="UnauthorizedOperation", times=None)
    asked = mine.do(Goal.RUNNING)
    assert asked is not None
    assert "ec2:RunInstances" in asked.why
    assert "hotdesk iam" in asked.fix
    assert mine.billed() == []


def test_a_region_closed_by_a_policy_does_not_stop_the_others(fake: FakeEc2, tmp_path: Path) -> None:
    with quick(fake, regions=(HOME, "us-east-1", "eu-west-1")):
        fake.post("refuse", action="*", region="eu-west-1", code="UnauthorizedOperation", times=None)
        mine = Laptop(fake, tmp_path)
        assert mine.do(Goal.RUNNING) is None
        assert mine.aws.survey().unread == ()


# ---- regions, networks, types, images ----------------------------------------------------------------


def test_a_region_that_is_not_enabled_is_named_with_the_nearest(mine: Laptop) -> None:
    with pytest.raises(Refused) as no:
        mine.aws.offers(Want(gpu="T4", regions=("us-west-1",)))
    assert "us-west-1" in no.value.message
    assert HOME in no.value.fix


def test_without_a_default_vpc_it_says_which_command_makes_one(mine: Laptop, fake: FakeEc2) -> None:
    fake.post("network", default_vpc=False)
    asked = mine.do(Goal.RUNNING)
    assert asked is not None
    assert "no default VPC" in asked.why
    assert "create-default-vpc" in asked.fix


def test_a_named_subnet_is_used(fake: FakeEc2, tmp_path: Path) -> None:
    subnets = fake.client("ec2", HOME).describe_subnets()["Subnets"]
    chosen = next(s for s in subnets if s["AvailabilityZone"] == "us-west-2a")
    named = Laptop(fake, tmp_path, settings=Settings(subnet=chosen["SubnetId"], lag_seconds=0.0))
    assert named.do(Goal.RUNNING) is None
    wrong = Laptop(fake, tmp_path, settings=Settings(subnet=chosen["SubnetId"], lag_seconds=0.0))
    asked = wrong.do(Goal.RUNNING, (offer(zone="us-west-2b"),), name="green")
    assert asked is not None
    assert "no subnet in us-west-2b" in asked.why


def test_a_type_that_nobody_sells_is_answered_with_the_nearest(mine: Laptop) -> None:
    with pytest.raises(Refused) as no:
        mine.aws.offers(Want(instance_type="g5.xlrage"))
    assert "g5.xlarge" in no.value.message
    assert no.value.kind is Kind.BAD_REQUEST


def _order(**fields: object) -> LaunchOrder:
    return LaunchOrder(
        **{"desk": "blue", "born": 1.0, "generation": 1, "attempt": 0, "offer": offer()} | fields
    )  # type: ignore[arg-type]


def test_an_image_that_does_not_exist_is_named(mine: Laptop) -> None:
    with pytest.raises(Refused, match="ami-0123456789abcdef0") as no:
        mine.aws.launch(_order(base_image="ami-0123456789abcdef0"))
    assert no.value.kind is Kind.BAD_REQUEST


def test_an_image_of_another_architecture_is_refused_before_anything_is_launched(
    mine: Laptop, fake: FakeEc2
) -> None:
    images = fake.client("ec2", HOME).describe_images(Filters=[{"Name": "architecture", "Values": ["arm64"]}])
    arm = images["Images"][0]["ImageId"]
    with pytest.raises(Refused, match="arm64") as no:
        mine.aws.launch(_order(base_image=arm))
    assert no.value.kind is Kind.BAD_REQUEST
    assert mine.things("instance") == []


def test_a_disk_smaller_than_the_image_is_refused_with_the_size_it_needs(mine: Laptop, fake: FakeEc2) -> None:
    big = fake.client("ssm", HOME).get_parameter(
        Name="/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
    )["Parameter"]["Value"]
    with pytest.raises(Refused, match="10 GiB were asked") as no:
        mine.aws.launch(_order(base_image=big, disk_gib=10))
    assert "--disk" in no.value.fix


def test_an_image_that_bills_a_licence_is_not_launched_on_spot(mine: Laptop, fake: FakeEc2) -> None:
    """An image that is registered from a disk loses the licence: a spot desk could not be parked whole."""
    licensed = {"Filters": [{"Name": "name", "Values": ["RHEL-*"]}]}
    [image] = fake.client("ec2", HOME).describe_images(**licensed)["Images"]
    on_spot = msgspec.structs.replace(offer(), market=Market.SPOT)
    with pytest.raises(Refused, match="Red Hat Enterprise Linux") as no:
        mine.aws.launch(_order(base_image=image["ImageId"], offer=on_spot))
    assert no.value.kind is Kind.UNSUPPORTED
    assert no.value.fix == f"hotdesk up blue --market on-demand --image {image['ImageId']}"
    assert mine.things("instance") == []
    mine.aws.launch(_order(base_image=image["ImageId"]))
    assert len(mine.things("instance")) == 1


# ---- quota and capacity ------------------------------------------------------------------------------


def test_a_quota_of_zero_is_explained_with_its_code_and_the_command(mine: Laptop, fake: FakeEc2) -> None:
    fake.post("quota", type="g4dn.xlarge", market="on-demand", vcpus=0)
    asked = mine.do(Goal.RUNNING)
    assert asked is not None
    assert asked.kind is Kind.QUOTA
    assert "L-DB2E81BA" in asked.why
    row = [r for r in mine.store.rows() if r.refused][-1]
    assert row.refusal is not None
    assert "request-service-quota-increase" in row.refusal.fix
    assert "--quota-code L-DB2E81BA" in row.refusal.fix


def test_sold_out_goes_on_to_the_next_offer_and_says_so_when_there_is_none(
    mine: Laptop, fake: FakeEc2
) -> None:
    fake.post("capacity", zone="us-west-2a", type="*", market="*", free=0)
    fake.post("capacity", zone="us-west-2b", type="*", market="*", free=0)
    two = (offer(), offer(zone="us-west-2b"))
    asked = mine.do(Goal.RUNNING, two)
    assert asked is not None
    assert asked.kind is Kind.NO_CAPACITY
    assert "us-west-2a" in asked.why
    assert "us-west-2b" in asked.why
    assert "min" in asked.fix  # when to try again
    assert mine.do(Goal.RUNNING, (*two, offer(zone="us-west-2c"))) is None
    assert mine.machines()[0]["zone"] == "us-west-2c"


def test_a_stopped_machine_that_finds_no_capacity_moves_its_work_elsewhere(
    mine: Laptop, fake: FakeEc2
) -> None:
    both = (offer(), offer(zone="us-west-2b"))
    assert mine.do(Goal.RUNNING, both) is None
    mine.work("monday")
    assert mine.do(Goal.STOPPED) is None
    fake.post("capacity", zone="us-west-2a", type="*", market="*", free=0)
    assert mine.do(Goal.RUNNING) is None
    assert mine.machines()[0]["zone"] == "us-west-2b"


@pytest.mark.parametrize("action", ["StartInstances", "ModifyInstanceAttribute"])
def test_a_type_that_the_machine_does_not_get_is_launched_from_an_image(
    mine: Laptop, fake: FakeEc2, action: str
) -> None:
    """1. A move within the zone. 2. Sold out there, or not for this machine. 3. By an image."""
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    if action == "StartInstances":
        fake.post("capacity", zone="us-west-2a", type="g5.xlarge", market="*", free=0)
    else:
        fake.post("refuse", action=action, contains="g5.xlarge", code="InvalidParameterCombination")
    near = offer("g5.xlarge", gpu="A10G"), offer("g5.xlarge", "us-west-2b", gpu="A10G")
    assert mine.do(Goal.RUNNING, near, move=True) is None
    [machine] = mine.machines()
    assert machine["type"] == "g5.xlarge"
    assert (machine["zone"] == "us-west-2b") is (action == "StartInstances")


def test_a_moved_machine_says_what_it_costs_now(mine: Laptop) -> None:
    assert mine.do(Goal.RUNNING) is None
    assert mine.do(Goal.RUNNING, (offer("m7i.large", gpu="", price=0.1),), move=True) is None
    [machine] = mine.aws.survey().instances
    assert (machine.gpu, machine.usd_per_hour, machine.instance_type) == ("", 0.1, "m7i.large")


def test_throttling_is_waited_out(mine: Laptop, fake: FakeEc2) -> None:
    fake.post("refuse", action="RunInstances", code="RequestLimitExceeded", status=503, times=3)
    assert mine.do(Goal.RUNNING) is None
    assert len(mine.machines()) == 1


# ---- what others do to our things --------------------------------------------------------------------


@pytest.mark.parametrize("market", [Market.ON_DEMAND, Market.SPOT])
def test_a_desk_terminated_in_the_console_comes_back_with_its_work(
    mine: Laptop, fake: FakeEc2, market: Market
) -> None:
    assert mine.do(Goal.RUNNING, (offer(market=market),)) is None
    mine.work("monday")
    fake.post("console", id=mine.machines()[0]["id"], do="terminate")
    assert mine.do(Goal.RUNNING, ELSEWHERE) is None
    assert mine.do(Goal.PARKED) is None


def test_a_spot_machine_that_is_interrupted_is_saved_from_its_disk(mine: Laptop, fake: FakeEc2) -> None:
    assert mine.do(Goal.RUNNING, SPOT) is None
    mine.work("monday")
    fake.post("interrupt", id=mine.machines()[0]["id"])
    mine.time.sleep(180.0)
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING, SPOT) is None


def test_a_machine_shut_down_from_inside_is_started_again_or_saved(mine: Laptop, fake: FakeEc2) -> None:
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    fake.post("console", id=mine.machines()[0]["id"], do="shutdown")
    assert mine.do(Goal.RUNNING) is None
    fake.post("console", id=mine.machines()[0]["id"], do="shutdown")
    assert mine.do(Goal.PARKED) is None


def test_an_image_deleted_behind_our_back_is_a_question_and_not_an_empty_desk(
    mine: Laptop, fake: FakeEc2
) -> None:
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    assert mine.do(Goal.PARKED) is None
    image = next(r for r in mine.billed() if r["kind"] == "image")
    fake.post("console", id=image["id"], do="deregister", with_snapshots=True)
    asked = mine.do(Goal.RUNNING)
    assert asked is not None
    assert "is missing" in asked.what
    assert "--fresh" in asked.fix
    assert mine.machines() == []


@pytest.mark.parametrize("how", ["failed", "missing-disk", "short-disk", "snapshot-error", "wrong-source"])
def test_an_image_that_came_out_wrong_is_taken_again(mine: Laptop, fake: FakeEc2, how: str) -> None:
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    fake.post("spoil", action="CreateImage", how=how)
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING) is None


def test_an_image_that_never_comes_out_right_leaves_the_machine_as_it_is(mine: Laptop, fake: FakeEc2) -> None:
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    fake.post("spoil", action="CreateImage", how="failed", times=None)
    asked = mine.do(Goal.PARKED)
    assert asked is not None
    assert "Nothing was deleted" in asked.what
    [machine] = mine.machines()
    assert machine["state"] == "stopped"
    fake.delete("rules")
    assert mine.do(Goal.PARKED) is None


def test_the_callers_new_address_is_let_in_and_the_old_one_is_not(fake: FakeEc2, tmp_path: Path) -> None:
    """1. At home: up. 2. The next day from elsewhere: connect. 3. Somebody else's computer is left alone."""
    away = Settings(address="203.0.113.7/32", lag_seconds=0.0)
    first = Laptop(fake, tmp_path, settings=away)
    first.want("blue", Goal.RUNNING)
    with pytest.raises(AssertionError, match="does not let this computer in"):
        first.settle()  # up, from an address that is not this one
    here = Laptop(fake, tmp_path)
    assert here.settle() is None
    assert here.admitted(here.machines()[0]) == ["127.0.0.1/32"]


# ---- the network between -----------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "action", ["RunInstances", "CreateSecurityGroup", "ImportKeyPair", "StopInstances", "CreateImage",
               "TerminateInstances", "ModifyInstanceAttribute", "CreateTags", "DeregisterImage"],
)  # fmt: skip
def test_an_answer_that_is_lost_changes_nothing_in_the_end(
    fake: FakeEc2, tmp_path: Path, action: str, when: str
) -> None:
    mine = Laptop(fake, tmp_path, lag_seconds=1.0)
    fake.post("lose", action=action, when=when)
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING, ELSEWHERE) is None
    assert mine.do(Goal.GONE) is None
    assert all(rule["hits"] for rule in fake.get("rules")), "the answer was never lost"
    mine.store.close()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("action", ["CreateSnapshot", "RegisterImage", "DeleteVolume"])
def test_an_answer_that_is_lost_on_the_way_from_a_disk_to_an_image(
    fake: FakeEc2, tmp_path: Path, action: str, when: str
) -> None:
    mine = Laptop(fake, tmp_path, lag_seconds=1.0, offers=SPOT)
    fake.post("lose", action=action, when=when)
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    assert mine.do(Goal.PARKED) is None
    assert all(rule["hits"] for rule in fake.get("rules"))
    mine.store.close()


def test_a_region_that_does_not_answer_is_waited_for_and_not_taken_for_empty(
    fake: FakeEc2, tmp_path: Path
) -> None:
    with quick(fake, regions=(HOME, "us-east-1")):
        mine = Laptop(fake, tmp_path)
        assert mine.do(Goal.RUNNING) is None
        fake.post("lose", action="*", region=HOME, when="before", times=60)
        mine.want("blue", Goal.RUNNING)
        assert mine.aws.survey().unread == (HOME,)
        assert mine.settle() is None
        assert len(mine.machines()) == 1


def test_no_answer_at_all_says_so(mine: Laptop, fake: FakeEc2) -> None:
    assert mine.aws.survey().unread == ()
    fake.post("lose", action="*", when="before", times=None)
    mine.want("blue", Goal.RUNNING)
    with pytest.raises(Unreachable, match="AWS does not answer"):
        mine.settle()


# ---- another region ----------------------------------------------------------------------------------


def test_a_desk_comes_back_in_another_region(fake: FakeEc2, tmp_path: Path) -> None:
    """1. up in Oregon, work, park. 2. resume in Virginia: the image is copied first. 3. down takes both."""
    with quick(fake, regions=(HOME, "us-east-1")):
        mine = Laptop(fake, tmp_path)
        assert mine.do(Goal.RUNNING) is None
        mine.work("monday")
        assert mine.do(Goal.PARKED) is None
        mine.want("blue", Goal.RUNNING, (offer(zone="us-east-1b"),))
        assert mine.settle() is None
        [copied] = [r.step for r in mine.store.rows("blue") if isinstance(r.step, Copy) and r.done]
        assert "it costs $0.78 at most" in copied.why, "39 of 64 GiB are written, at $0.02 to leave Oregon"
        [machine] = mine.machines()
        assert machine["zone"] == "us-east-1b"
        volume = next(v for v in mine.things("volume") if v["id"] in machine["disks"])
        assert "monday" in volume["work"]
        assert mine.do(Goal.GONE) is None
        mine.store.close()


@pytest.mark.parametrize("market", Market)
def test_a_key_pair_goes_while_its_machine_ends_unless_the_work_is_still_to_be_saved(
    fake: FakeEc2, tmp_path: Path, market: Market
) -> None:
    """1. blue is to be gone: its key is not kept for its machine's end. 2. green is parked: its key stays."""
    with quick(fake):
        mine = Laptop(fake, tmp_path, offers=(offer(market=market),))
        for name in ("blue", "green"):
            assert mine.do(Goal.RUNNING, name=name) is None
        mine.want("blue", Goal.GONE)
        if market is Market.SPOT:  # its disk stays when it ends, and is listed as nobody's only then
            mine.want("green", Goal.PARKED)
        mine.reconciler.tick()
        mine.reconciler.tick()
        states = {m["tags"]["hotdesk:desk"]: m["state"] for m in mine.things("instance")}
        assert states == {
            "blue": "shutting-down",
            "green": "shutting-down" if market is Market.SPOT else "running",
        }
        assert [k["tags"]["hotdesk:desk"] for k in mine.things("key-pair")] == ["green"]
        seen = mine.aws.survey()
        assert [t for t in seen.leftovers if t.kind == "key pair"] == []
        mine.store.close()


def test_a_stop_that_skips_the_shutdown_loses_what_was_not_written(mine: Laptop, fake: FakeEc2) -> None:
    """So does EC2; the machine's agent says it at the next boot (tests/test_user_data.py)."""
    assert mine.do(Goal.RUNNING) is None
    [machine] = mine.machines()
    fake.post("write", id=machine["id"], name="monday", text="kept", flush=True)
    fake.post("write", id=machine["id"], name="tuesday", text="still in memory")
    fake.client("ec2", HOME).stop_instances(InstanceIds=[machine["id"]], SkipOsShutdown=True)
    fake.post("clock", advance=60)
    assert [list(v["work"]) for v in mine.things("volume")] == [["monday"]]
