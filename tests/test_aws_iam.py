"""`hotdesk iam` prints what hotdesk really does on AWS: no less, and no more."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_ec2.keys import NEEDED
from fake_ec2.process import FakeEc2
from hotdesk.core.errors import Refused
from hotdesk.core.fleet import FleetOrder, Hold
from hotdesk.core.model import Goal, Market, Want
from hotdesk.providers.aws.base_images import describe
from hotdesk.providers.aws.iam import actions, policy
from hotdesk.providers.aws.settings import Settings
from hotdesk.services.exposure import CALLER
from tests.aws_desk import HOME, Laptop, offer, quick

pytest.importorskip("moto", reason="moto is not installed")

#: Names of services in IAM, where they differ from what the requests say.
SERVICES = {"service-quotas": "servicequotas", "api.pricing": "pricing"}
#: What AWS does in our name: at an account's first spot machine, and with a key of the customer's.
IN_OUR_NAME = {"iam:CreateServiceLinkedRole", *NEEDED}


@pytest.fixture
def fake(server: FakeEc2, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEc2]:
    for key, value in server.environment(HOME).items():
        monkeypatch.setenv(key, value)
    with quick(server, regions=(HOME, "us-east-1")):
        yield server


def test_the_policy_allows_exactly_what_is_done(fake: FakeEc2, tmp_path: Path) -> None:
    """A long day in two regions, with everything that hotdesk can do on AWS, and the log of its requests."""
    fake.delete("log")
    mine = Laptop(fake, tmp_path)
    assert mine.aws.offers(Want(gpu="T4"))
    with pytest.raises(Refused):
        mine.aws.offers(Want(instance_type="g5.xlrage"))
    assert mine.do(Goal.RUNNING) is None
    for to in (CALLER, "198.51.100.0/24", ""):
        mine.publish(to=to)
    mine.publish()
    assert mine.do(Goal.STOPPED) is None
    assert mine.do(Goal.RUNNING) is None
    assert mine.do(Goal.RUNNING, want=Want(disk_gib=90)) is None
    assert mine.do(Goal.RUNNING, (offer("g5.xlarge", gpu="A10G"),), move=True) is None
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING, (offer(market=Market.SPOT),)) is None
    assert mine.do(Goal.PARKED) is None
    [image] = [i.id for i in mine.aws.survey().images]
    order = FleetOrder(
        fleet="sweep1-abc123",
        desk="blue",
        number=1,
        count=2,
        image_id=image,
        offers=(offer(market=Market.SPOT),),
    )
    ids = [m.id for m in mine.aws.launch_fleet(order).machines]
    assert len(mine.aws.fleet(order.fleet, HOME)) == 2
    taken = Hold(number=1, computer="tower")
    mine.aws.holds.write(order.fleet, image, ids, taken)
    mine.aws.end_fleet(ids)
    mine.aws.holds.settle(image, {order.fleet: taken})
    mine.aws.clear_fleet(order.fleet, HOME)
    mine.want("blue", Goal.RUNNING, (offer(zone="us-east-1b"),))  # the image is copied there
    assert mine.settle() is None
    mine.store.close()

    away = Laptop(fake, tmp_path, settings=Settings(address="203.0.113.7/32", lag_seconds=0.0))
    away.time = mine.time
    away.want("blue", Goal.RUNNING)
    with pytest.raises(AssertionError, match="does not let this computer in"):
        away.settle()  # another address: let in, and the one before is not any more
    away.store.close()

    last = Laptop(fake, tmp_path)
    last.time.at = mine.time.at
    fake.post("quota", type="g4dn.xlarge", market="on-demand", vcpus=0)
    assert last.do(Goal.RUNNING, name="green") is not None
    assert last.do(Goal.GONE) is None
    assert last.do(Goal.GONE, name="green") is None
    fake.post("spoil", action="CreateImage", how="failed")
    last.gc()
    assert last.aws.retained([], everywhere=True) == ([], [])
    with pytest.raises(Refused, match="no image"):
        describe(last.aws.account, HOME, "ami-0123456789abcdef0")
    sweep_once(last, fake)

    calls = {(row["service"], row["action"]) for row in fake.get("log") if row["service"] != "_fake"}
    calls = {(service, action) for service, action in calls if action not in OTHERS}
    done = {f"{SERVICES.get(service, service)}:{action}" for service, action in calls}
    assert done <= actions(), "done and not allowed"
    # A snapshot is deleted with its image, which needs the permission and is no request of its own.
    assert actions() - done <= IN_OUR_NAME | {"ec2:DeleteSnapshot"}, "allowed and never done"


def test_with_a_key_of_the_customers_the_policy_is_enough(fake: FakeEc2, tmp_path: Path) -> None:
    """1. Without KMS: the machine ends on its way up, and the answer names the key. 2. With it: up.
    3. Stopped, and the key is taken away: the machine is off again, and that is said as well."""
    fake.post("account", ebs_key="customer", may=sorted(actions() - NEEDED))
    mine = Laptop(fake, tmp_path)
    asked = mine.do(Goal.RUNNING)
    assert asked is not None
    assert "kms:CreateGrant" in asked.why
    assert "hotdesk iam" in asked.why
    fake.post("account", may=sorted(actions()))
    assert mine.do(Goal.RUNNING, (offer(zone=f"{HOME}b"),)) is None
    assert len([m for m in mine.machines() if m["state"] == "running"]) == 1
    assert mine.do(Goal.STOPPED) is None
    fake.post("account", may=[])
    asked = mine.do(Goal.RUNNING)
    assert asked is not None
    assert asked.what == "blue was started and stopped again."  # once, and not three times for a minute each
    assert "kms:CreateGrant" in asked.why
    assert asked.fix.startswith("hotdesk iam")
    mine.store.close()


def test_opening_a_desk_needs_no_permission_that_an_older_policy_lacks(fake: FakeEc2, tmp_path: Path) -> None:
    """Whoever has attached the policy before desks had groups of their own need not attach it again."""
    mine = Laptop(fake, tmp_path)
    assert mine.do(Goal.RUNNING) is None
    before = fake.get("log")[-1]["number"] + 1
    mine.publish()
    mine.publish(to="")
    mine.store.close()
    rows = [r for r in fake.get("log", since=before) if r["service"] == "ec2"]
    assert {r["action"] for r in rows if not r["action"].startswith("Describe")} == {
        *("CreateSecurityGroup", "AuthorizeSecurityGroupIngress"),
        *("ModifyInstanceAttribute", "DeleteSecurityGroup"),
    }


def sweep_once(laptop: Laptop, fake: FakeEc2) -> None:
    """What hotdesk never makes and clears away all the same, where it carries its tag."""
    ec2, tags = fake.client("ec2", HOME), [{"Key": "hotdesk", "Value": "1"}]
    with_tags = lambda kind: [{"ResourceType": kind, "Tags": tags}]  # noqa: E731
    before = fake.get("log")[-1]["number"] + 1
    ec2.allocate_address(TagSpecifications=with_tags("elastic-ip"))
    ec2.create_launch_template(
        LaunchTemplateName="old",
        LaunchTemplateData={"InstanceType": "t3.micro"},
        TagSpecifications=with_tags("launch-template"),
    )
    made = fake.get("log", since=before)
    left, unread = laptop.aws.sweep(laptop.aws.survey())
    assert ({t.kind for t in left}, unread) == ({"address", "launch template"}, [])
    for thing in left:
        laptop.aws.delete(thing.id)
    laptop.aws.delete(f"{HOME}/sir-abcd1234")  # absent is success
    assert laptop.aws.sweep(laptop.aws.survey())[0] == []
    OTHERS.update(row["action"] for row in made if row["action"] != "CreateLaunchTemplate")


#: What nobody needs a permission for, and what the test itself has asked for, through the same door.
OTHERS: set[str] = {"GetCallerIdentity"}


def test_what_changes_something_needs_the_tag() -> None:
    for statement in policy()["Statement"]:
        for action in statement["Action"]:
            verb = action.partition(":")[2]
            if verb.startswith(("Delete", "Terminate", "Stop", "Start", "Modify", "Deregister", "Revoke")):
                assert statement["Condition"]["StringEquals"]["aws:ResourceTag/hotdesk"] == "1", action
    assert "iam:PassRole" not in actions()
    assert not any("*" in action for action in actions())
    assert len(json.dumps(policy(), separators=(",", ":"))) < 6144  # IAM's limit on a managed policy


def test_the_command_prints_json_that_can_be_piped() -> None:
    source = Path(__file__).parents[1] / "src"
    done = subprocess.run(
        [sys.executable, "-m", "hotdesk", "iam"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(source)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == policy()
