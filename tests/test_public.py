"""Jupyter without a tunnel: who is let in at which desk, and that it ends (served: test_public_served.py)."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import msgspec
import pytest

from fake_ec2.process import FakeEc2
from hotdesk.api import Hotdesk
from hotdesk.config import Config
from hotdesk.core.errors import Kind, NeedsDecision, NotAllowed, Refused, Usage
from hotdesk.core.model import Desk, Goal, Instance, Phase
from hotdesk.core.ports import Provider
from hotdesk.doctor import Finding
from hotdesk.doctor import desks as doctor
from hotdesk.loop.clouds import Clouds
from hotdesk.providers.aws.provider import Aws
from hotdesk.providers.aws.settings import Settings
from hotdesk.providers.cloud.caller import GRACE_SECONDS, Computer
from hotdesk.services.exposure import CALLER, Exposure, who_may
from hotdesk.state.store import Store
from hotdesk.system import SystemClock
from tests.aws_desk import HOME, Laptop, offer
from tests.conftest import Command


@pytest.mark.parametrize(
    "to", ["0.0.0.0/0", "0.0.0.0/1", "64.0.0.0/2", "::/0", "fe80::/64", "my house", "10.0.0.1/8"]
)
def test_a_range_that_is_too_wide_or_none_is_refused(to: str) -> None:
    with pytest.raises(Usage) as error:
        who_may(to)
    assert error.value.fix.startswith("hotdesk notebook --public-to")


def test_what_is_spelled_out_is_taken() -> None:
    assert who_may("") == who_may("caller") == CALLER
    assert who_may("203.0.113.7") == "203.0.113.7/32"
    assert who_may("198.51.100.0/24") == "198.51.100.0/24"
    assert who_may("everybody") == "0.0.0.0/0"


def test_a_desk_on_this_computer_is_opened_to_nobody(hotdesk: Command) -> None:
    for words in (["up", "blue", "--public"], ["up", "blue", "--public-to", "0.0.0.0/0"]):
        done = hotdesk(*words)
        assert done.returncode == 2, done.stderr
    assert hotdesk("ls", "--json").stdout.strip() == "[]", "nothing was made before it was refused"


# ---- the security group --------------------------------------------------------------------------------


US, CAFE, STRANGER = "127.0.0.1", "192.0.2.9", "198.51.100.7"  # STRANGER is one of RANGE
EVERYBODY = (US, CAFE, STRANGER)
RANGE = "198.51.100.0/24"
OWN = "hotdesk-blue-notebook"


def at(mine: Laptop, address: str) -> Aws:
    """A new process of the same computer, which has that address by now."""
    mine.settings = Settings(address=address, lag_seconds=0.0)
    mine.crash()
    return mine.aws


def another(mine: Laptop, folder: Path, address: str) -> Laptop:
    """Another computer that knows the desk, at another address; perhaps of the same host name."""
    made = Laptop(mine.fake, folder, settings=Settings(address=address, lag_seconds=0.0))
    made.time = mine.time
    made.crash()
    for desk in mine.store.desks():
        made.store.put(desk)
    return made


def live(mine: Laptop, name: str = "blue") -> Instance:
    machine = mine.aws.survey().of(name).live
    assert machine is not None
    return machine


def rules(fake: FakeEc2, group: str, port: int) -> dict[str, str]:
    """Ranges and what they are called, by EC2's own answer; {} where there is no such group."""
    listed = fake.client("ec2", HOME).describe_security_groups(
        Filters=[{"Name": "group-name", "Values": [group]}]
    )
    return {
        r["CidrIp"]: r["Description"]
        for found in listed["SecurityGroups"]
        for rule in found["IpPermissions"]
        if rule["FromPort"] == port
        for r in rule["IpRanges"]
    }


@pytest.fixture
def mine(fake: FakeEc2, tmp_path: Path) -> Iterator[Laptop]:
    made = Laptop(fake, tmp_path / "mine")
    made.do(Goal.RUNNING)
    yield made
    made.store.close()


def test_of_two_desks_the_one_that_is_opened_is_open(mine: Laptop, fake: FakeEc2) -> None:
    """1. two desks; 2. blue is opened, green not; 3. green, to others; 4. blue is private, green is not."""
    mine.do(Goal.RUNNING, name="green")
    assert mine.groups() == ["hotdesk"]
    assert mine.publish("blue") == ("127.0.0.1/32",)
    assert (mine.reached_by(*EVERYBODY), mine.reached_by(*EVERYBODY, name="green")) == ([US], [])
    assert mine.publish("green", RANGE) == (RANGE,)
    assert (mine.reached_by(*EVERYBODY), mine.reached_by(*EVERYBODY, name="green")) == ([US], [STRANGER])
    assert (live(mine).open_to, live(mine, "green").open_to) == (("127.0.0.1/32",), (RANGE,))
    mine.publish("blue", "")
    assert (mine.reached_by(*EVERYBODY), mine.reached_by(*EVERYBODY, name="green")) == ([], [STRANGER])
    assert mine.groups() == ["hotdesk", "hotdesk-green-notebook"]
    assert [mine.reached_by(*EVERYBODY, name=n, port=22) for n in ("blue", "green")] == [[US], [US]]


def test_twice_is_once_and_another_wish_replaces_the_first(mine: Laptop, fake: FakeEc2) -> None:
    for to, who in ((CALLER, [US]), (CALLER, [US]), (RANGE, [STRANGER]), (CALLER, [US]), ("", []), ("", [])):
        mine.publish(to=to)
        assert mine.reached_by(*EVERYBODY) == who
        assert mine.groups() == (["hotdesk", OWN] if to else ["hotdesk"])


def test_its_group_says_whose_it_is_from_the_first_moment(mine: Laptop, fake: FakeEc2) -> None:
    """It cannot even be let alone between being made and being tagged: nothing tags it later."""
    fake.delete("log")
    mine.publish()
    [group] = [t for t in mine.things("security-group") if t["name"] == OWN]
    born = str(mine.store.desk("blue").created_at)
    assert group["tags"] == {
        "hotdesk": "1", "Name": OWN, "hotdesk:name": OWN, "hotdesk:desk": "blue", "hotdesk:born": born
    }  # fmt: skip
    assert fake.get("log", action="CreateTags") == []
    assert not [r for r in fake.get("log") if "NetworkInterface" in r["action"]], (
        "no permission but those known"
    )


def test_parked_resumed_and_gone(mine: Laptop, fake: FakeEc2) -> None:
    """The planner, at whichever computer, deletes what a machine has left; nothing has to be remembered."""
    mine.publish()
    assert mine.do(Goal.PARKED) is None
    assert mine.groups() == ["hotdesk"]
    assert mine.do(Goal.RUNNING) is None
    assert mine.reached_by(*EVERYBODY) == []
    mine.publish(to=mine.store.desk("blue").public)  # as `resume` does
    assert mine.reached_by(*EVERYBODY) == [US]
    assert mine.do(Goal.GONE) is None
    assert mine.groups() == ["hotdesk"]


def test_moved_to_another_machine_and_another_type(mine: Laptop, fake: FakeEc2) -> None:
    mine.publish()
    assert mine.do(Goal.RUNNING, (offer("g5.xlarge", gpu="A10G"),), move=True) is None
    assert mine.reached_by(*EVERYBODY) == [US], "it is the same machine"
    assert mine.do(Goal.RUNNING, (offer(zone="us-west-2b"),), move=True) is None
    assert mine.reached_by(*EVERYBODY) == []
    mine.publish()
    assert mine.reached_by(*EVERYBODY) == [US]
    assert mine.groups() == ["hotdesk", OWN]


@pytest.mark.parametrize("do", ["terminate", "shutdown"])
def test_a_machine_that_ended_itself(mine: Laptop, fake: FakeEc2, do: str) -> None:
    mine.publish()
    fake.post("console", id=mine.machines()[0]["id"], do=do)
    mine.time.sleep(60.0)
    assert mine.settle() is None
    assert mine.do(Goal.PARKED) is None
    assert mine.groups() == ["hotdesk"]


def test_off_it_is_closed_and_on_again_opened(mine: Laptop, fake: FakeEc2) -> None:
    mine.publish()
    assert mine.do(Goal.STOPPED) is None
    with Hotdesk(mine.folder, config=Config(), clock=mine.time) as desks:
        desks.services.clouds._providers["aws"] = mine.aws
        desks.services.exposure.close_behind(desks.services.store.desk("blue"))
    assert mine.groups() == ["hotdesk"]
    assert mine.do(Goal.RUNNING) is None
    assert mine.reached_by(*EVERYBODY) == []


def test_private_is_private_whoever_opened_it(mine: Laptop, fake: FakeEc2, tmp_path: Path) -> None:
    """1. opened at two computers; 2. one takes its own address back; 3. the other says private."""
    other = another(mine, tmp_path / "other", f"{CAFE}/32")
    mine.publish()
    other.publish()
    assert mine.reached_by(*EVERYBODY) == [US, CAFE]
    other.publish(to=RANGE)
    assert mine.reached_by(*EVERYBODY) == [US, STRANGER]
    mine.publish(to="")
    assert mine.reached_by(*EVERYBODY) == []
    assert mine.groups() == ["hotdesk"]
    other.store.close()


def test_what_stood_in_a_group_that_was_left_opens_nothing_again(mine: Laptop, fake: FakeEc2) -> None:
    """A group that could not be deleted for a while, and has a stranger's rule, is taken up again."""
    mine.publish(to=RANGE)
    ec2, machine = fake.client("ec2", HOME), mine.machines()[0]["id"]
    [kept] = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["hotdesk"]}])[
        "SecurityGroups"
    ]
    ec2.modify_instance_attribute(InstanceId=machine, Groups=[kept["GroupId"]])
    [left] = [t for t in mine.aws.survey().leftovers if t.kind == "security group"]
    assert (left.desk, "blue" in left.why) == ("", True), (
        "the planner leaves it alone: it is about to be used"
    )
    other = Laptop(fake, mine.folder.with_name("other"))
    other.store.put(mine.store.desk("blue"))
    other.publish()
    assert other.reached_by(*EVERYBODY) == [US]
    other.store.close()


def test_a_group_that_something_else_uses_holds_up_nothing(mine: Laptop, fake: FakeEc2) -> None:
    """1. opened; 2. a machine of somebody's uses the group; 3. parked all the same; 4. the next command."""
    mine.publish()
    ec2 = fake.client("ec2", HOME)
    [group] = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [OWN]}])[
        "SecurityGroups"
    ]
    image = mine.fake.get("things", kind="instance")[0]["image_id"]
    theirs = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1,
                               SecurityGroupIds=[group["GroupId"]])["Instances"][0]["InstanceId"]  # fmt: skip
    mine.work("monday")
    mine.want("blue", Goal.PARKED)
    assert mine.settle() is None
    assert [t["state"] for t in mine.things("instance") if t["tags"]] == []
    assert len(mine.things("image")) == 1
    assert mine.groups() == ["hotdesk", OWN]
    before = mine.time.slept
    assert mine.settle() is None
    assert mine.time.slept == before, "and it is not tried again and again"
    [said] = [f for f in mine.aws.examine(mine.store.desks(), [], mine.aws.survey()) if OWN in f.what]
    assert group["GroupId"] in said.fix
    ec2.terminate_instances(InstanceIds=[theirs])
    mine.time.sleep(60.0)
    mine.want("blue", Goal.PARKED)
    assert mine.settle() is None
    assert mine.groups() == ["hotdesk"]


def test_a_machine_that_can_be_in_no_further_group(mine: Laptop, fake: FakeEc2) -> None:
    ec2, [machine] = fake.client("ec2", HOME), mine.machines()
    more = [ec2.create_security_group(GroupName=f"x{n}", Description="x")["GroupId"] for n in range(4)]
    [has] = ec2.describe_instances(InstanceIds=[machine["id"]])["Reservations"][0]["Instances"]
    ec2.modify_instance_attribute(
        InstanceId=machine["id"], Groups=[has["SecurityGroups"][0]["GroupId"], *more]
    )
    with pytest.raises(NotAllowed) as no:
        mine.publish()
    assert "5 security groups" in no.value.why
    assert "L-2AFB9258" in no.value.fix
    mine.publish(to="")
    assert mine.groups() == ["hotdesk"]
    ec2.modify_instance_attribute(InstanceId=machine["id"], Groups=more[:2])
    mine.publish()
    ec2.modify_instance_attribute(InstanceId=machine["id"], Groups=more[:1])
    mine.publish()
    [now] = ec2.describe_instances(InstanceIds=[machine["id"]])["Reservations"][0]["Instances"]
    assert [g["GroupName"] for g in now["SecurityGroups"]] == ["x0", OWN], "what others have set stays"


def test_a_machine_in_no_other_group_is_closed_all_the_same(mine: Laptop, fake: FakeEc2) -> None:
    mine.publish()
    ec2, [machine] = fake.client("ec2", HOME), mine.machines()
    [group] = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [OWN]}])[
        "SecurityGroups"
    ]
    ec2.modify_instance_attribute(InstanceId=machine["id"], Groups=[group["GroupId"]])
    mine.publish(to="")
    assert mine.reached_by(*EVERYBODY) == []


@pytest.mark.parametrize("seconds", [12.0, 90.0])
def test_a_group_that_is_not_known_everywhere_yet(mine: Laptop, fake: FakeEc2, seconds: float) -> None:
    """It is waited for, for a minute; and who is told that it is not there yet says the same again."""
    fake.post("lag", group=seconds)
    if seconds > 60.0:
        with pytest.raises(NeedsDecision):
            mine.publish()
        assert mine.reached_by(*EVERYBODY) == []
        mine.time.sleep(60.0)
    assert mine.publish() == ("127.0.0.1/32",)
    assert mine.reached_by(*EVERYBODY) == [US]
    mine.publish(to="")
    assert mine.groups() == ["hotdesk"]


def test_a_group_of_that_name_that_is_not_ours(mine: Laptop, fake: FakeEc2) -> None:
    fake.client("ec2", HOME).create_security_group(GroupName=OWN, Description="x")
    with pytest.raises(NotAllowed) as no:
        mine.publish()
    assert "not made by hotdesk" in no.value.why
    mine.publish(to="")
    assert rules(fake, OWN, 8888) == {}


def test_a_changed_address_is_noticed_when_connecting_and_the_old_one_taken_back(
    mine: Laptop, fake: FakeEc2
) -> None:
    """1. opened in a cafe; 2. at home, `ssh` or `notebook` connects; 3. a range that was named stays."""
    mine.aws.open_notebook(live(mine), True, [RANGE])
    at_home = at(mine, f"{CAFE}/32")
    at_home.access(live(mine))
    assert mine.reached_by(*EVERYBODY, port=22) == [CAFE]
    assert mine.reached_by(*EVERYBODY) == [CAFE, STRANGER]


def test_a_process_that_lives_on_notices_it_too(mine: Laptop, fake: FakeEc2) -> None:
    mine.publish()
    watching = at(mine, "203.0.113.7/32")
    machine = live(mine)
    watching.access(machine)
    watching.account.settings = Settings(address=f"{CAFE}/32")  # the lid was closed, and opened elsewhere
    watching.access(machine)
    assert mine.reached_by("203.0.113.7", CAFE, port=22) == ["203.0.113.7"], "it is not asked at every step"
    mine.time.sleep(61)
    watching.access(machine)
    assert mine.reached_by("203.0.113.7", CAFE, port=22) == [CAFE]
    assert mine.reached_by("203.0.113.7", CAFE) == [CAFE]


def test_a_machine_at_the_other_end_of_a_way_is_let_in_until_then(mine: Laptop, fake: FakeEc2) -> None:
    """1. Let in. 2. Twice is once. 3. Shut out; also where the machine is gone. 4. One that was left open is
    taken away by whoever logs in once its time is over, and no earlier."""
    machine = live(mine)
    note = f"hotdesk: way 0a until {mine.time.now() + 3600:.0f}"
    mine.aws.let_in(machine.id, f"{CAFE}/32", note)
    mine.aws.let_in(machine.id, f"{CAFE}/32", note)
    assert rules(fake, "hotdesk", 22)[f"{CAFE}/32"] == note
    assert mine.reached_by(US, CAFE, port=22) == [US, CAFE]
    at(mine, f"{US}/32").access(live(mine))
    assert mine.reached_by(US, CAFE, port=22) == [US, CAFE], "its time is not over"
    mine.aws.shut_out(machine.id, note)
    mine.aws.shut_out("us-west-2/i-0123456789abcdef0", note)
    assert mine.reached_by(US, CAFE, port=22) == [US]
    mine.aws.let_in(machine.id, f"{CAFE}/32", note)
    mine.time.sleep(3700)
    at(mine, f"{US}/32").access(live(mine))
    assert mine.reached_by(US, CAFE, port=22) == [US]


# ---- which computer it is ---------------------------------------------------------------------------------


def test_two_computers_of_one_name_let_each_other_be(
    mine: Laptop, fake: FakeEc2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "MacBook-Pro.local")
    other = another(mine, tmp_path / "other", f"{CAFE}/32")
    for each in (at(mine, f"{STRANGER}/32"), other.aws, at(mine, f"{STRANGER}/32")):
        each.access(live(mine))
    assert mine.reached_by(CAFE, STRANGER, port=22) == [CAFE, STRANGER]
    names = [Computer(folder, mine.time).name for folder in (mine.folder, tmp_path / "other")]
    assert all(re.fullmatch(r"MacBook-Pro.local-[0-9a-f]{4}", name) for name in names)
    assert {f"hotdesk: {name}" for name in names} <= set(rules(fake, "hotdesk", 22).values())
    other.store.close()


def test_the_id_is_made_once_even_by_many_at_once_and_anew_where_it_is_damaged(tmp_path: Path) -> None:
    clock = SystemClock()
    with ThreadPoolExecutor(16) as pool:
        names = set(pool.map(lambda _: Computer(tmp_path / "new", clock).name, range(64)))
    assert len(names) == 1
    assert Computer(tmp_path / "new", clock).name in names
    assert {f.name for f in (tmp_path / "new").iterdir()} == {"computer", "computer.lock"}
    assert (tmp_path / "new" / "computer").stat().st_mode & 0o777 == 0o600
    (tmp_path / "new" / "computer").write_text("")
    assert Computer(tmp_path / "new", clock).name == Computer(tmp_path / "new", clock).name not in names


def old_rule(fake: FakeEc2, cidr: str, port: int, called: str) -> None:
    """As a hotdesk without ids made it."""
    ec2 = fake.client("ec2", HOME)
    [group] = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["hotdesk"]}])[
        "SecurityGroups"
    ]
    spot = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port}
    with contextlib.suppress(ec2.exceptions.ClientError):  # the same range is let in already
        ec2.revoke_security_group_ingress(
            GroupId=group["GroupId"], IpPermissions=[{**spot, "IpRanges": [{"CidrIp": cidr}]}]
        )
    ranges = [{"CidrIp": cidr, "Description": called}]
    ec2.authorize_security_group_ingress(
        GroupId=group["GroupId"], IpPermissions=[{**spot, "IpRanges": ranges}]
    )


def test_an_older_rule_for_our_address_is_ours_and_another_is_left_for_a_while(
    mine: Laptop, fake: FakeEc2, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. two rules of our host name; 2. the one for our address follows us; 3. the other goes in the end."""
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")
    for address in (US, STRANGER):
        old_rule(fake, f"{address}/32", 22, "hotdesk: localhost")
    at(mine, f"{US}/32").access(live(mine))
    name = Computer(mine.folder, mine.time).name
    assert rules(fake, "hotdesk", 22) == {
        f"{US}/32": f"hotdesk: {name}", f"{STRANGER}/32": "hotdesk: localhost"
    }  # fmt: skip
    at(mine, f"{CAFE}/32").access(live(mine))
    assert mine.reached_by(*EVERYBODY, port=22) == [CAFE, STRANGER]
    mine.time.at += GRACE_SECONDS - 100.0
    at(mine, f"{CAFE}/32").access(live(mine))
    assert mine.reached_by(*EVERYBODY, port=22) == [CAFE, STRANGER]
    mine.time.at += 200.0
    at(mine, f"{CAFE}/32").access(live(mine))
    assert mine.reached_by(*EVERYBODY, port=22) == [CAFE]


# ---- as it was, with one group for all desks of a network -------------------------------------------------


def opened_the_old_way(mine: Laptop, fake: FakeEc2, host: str) -> None:
    old_rule(fake, f"{US}/32", 8888, f"hotdesk: {host} notebooks")
    old_rule(fake, RANGE, 8888, f"hotdesk: {host} notebooks wider")


def test_what_was_opened_for_all_is_opened_for_each_that_was_meant(
    mine: Laptop, fake: FakeEc2, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. blue to us, green to a range, red not at all, all open to both; 2. any command, `ls` for one."""
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop")
    for name, to in (("green", RANGE), ("red", "")):
        mine.do(Goal.RUNNING, name=name)
        mine.store.put(msgspec.structs.replace(mine.store.desk(name), public=to))
    mine.store.put(msgspec.structs.replace(mine.store.desk("blue"), public=CALLER))
    opened_the_old_way(mine, fake, "laptop")
    assert [mine.reached_by(*EVERYBODY, name=n) for n in ("blue", "green", "red")] == [[US, STRANGER]] * 3
    with Hotdesk(mine.folder, config=Config(), clock=mine.time) as desks:
        desks.services.clouds._providers["aws"] = at(mine, f"{US}/32")
        desks.ls()
    assert [mine.reached_by(*EVERYBODY, name=n) for n in ("blue", "green", "red")] == [[US], [STRANGER], []]
    assert rules(fake, "hotdesk", 8888) == {}


@pytest.mark.parametrize("goal", [Goal.PARKED, Goal.STOPPED, Goal.GONE])
def test_what_was_opened_for_all_is_closed_behind_the_last(
    mine: Laptop, fake: FakeEc2, monkeypatch: pytest.MonkeyPatch, goal: Goal
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop")
    mine.store.put(msgspec.structs.replace(mine.store.desk("blue"), public=CALLER))
    opened_the_old_way(mine, fake, "laptop")
    mine.crash()  # (a new process)
    desk = mine.store.desk("blue")
    mine.do(goal)
    with Hotdesk(mine.folder, config=Config(), clock=mine.time) as desks:
        desks.services.clouds._providers["aws"] = mine.aws
        desks.services.exposure.close_behind(desk)
    assert rules(fake, "hotdesk", 8888) == {}


def test_another_computers_opening_for_all_ends_where_a_desk_is_made_private(
    mine: Laptop, fake: FakeEc2
) -> None:
    opened_the_old_way(mine, fake, "a-third-computer")
    mine.publish()
    assert mine.reached_by(*EVERYBODY) == [US, STRANGER], "theirs, until somebody says otherwise"
    [said] = [f for f in examine_open(mine) if "8888" in f.what or "open to" in f.what]
    assert RANGE in said.what
    mine.publish(to="")
    assert mine.reached_by(*EVERYBODY) == []


def examine_open(mine: Laptop) -> list[Finding]:
    survey = mine.aws.survey()
    found = []
    for desk in mine.store.desks():
        machine = survey.of(desk.name).live
        assert machine is not None
        found.append(doctor._open(desk, machine))
    return found


def test_the_doctor_names_a_port_that_is_open_to_strangers(mine: Laptop, fake: FakeEc2) -> None:
    mine.aws.open_notebook(live(mine), False, ["198.0.0.0/8"])
    machine, desk = live(mine), mine.store.desk("blue")
    assert doctor._open(desk, machine).level == "note", "another computer's"
    wide = doctor._open(msgspec.structs.replace(desk, public="198.0.0.0/8"), machine)
    assert (wide.level, wide.fix) == ("bad", "hotdesk notebook blue --private")


class SlowOpener:
    """A cloud that does not know a new machine for its first two questions."""

    asked = 0

    def open_notebook(self, instance: Instance, caller: bool, wider: Sequence[str]) -> tuple[str, ...]:
        self.asked += 1
        if self.asked < 3:
            raise Refused(Kind.NOT_READY, "It is not known everywhere yet.", seconds=5.0)
        return tuple(wider)

    def close_notebook(self, instance: Instance) -> None: ...

    def opened_for_all(self) -> Sequence[str]:
        return ()

    def close_for_all(self, region: str) -> None: ...


class Naps:
    """A clock on which sleeping takes no time."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


def test_what_a_new_address_waits_for_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, float, str]] = []
    clock, cloud = Naps(), SlowOpener()
    desk = Desk(
        name="blue", goal=Goal.RUNNING, since=1.0, created_at=1.0, provider="slow", public="192.0.2.0/24"
    )
    machine = Instance(
        id="i", name="n", desk="blue", generation=1, phase=Phase.READY, provider="slow", region="r", zone="z",
        instance_type="t",
    )  # fmt: skip
    with Store(tmp_path) as store:
        clouds = Clouds(
            store,
            clock,
            lambda name: cast("Provider", cloud),
            on_wait=lambda desk, wait: told.append((desk, wait.seconds, wait.why)),
        )
        exposure = Exposure(
            state=tmp_path,
            store=store,
            clock=clock,
            clouds=clouds,
            reach=lambda desk: pytest.fail("no login is needed"),
        )
        assert exposure._let_in(desk, machine) == ("192.0.2.0/24",)
    assert told == [("blue", 5.0, "It is not known everywhere yet.")] * 2
    assert clock.at == 1010.0
