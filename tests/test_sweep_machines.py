"""A sweep's machines on the fake EC2: launched many at a time, replaced, and gone at the end, whatever fails.

What is checked is what the fake says exists. No machine is reached here: see test_sweep_ec2.py.
"""

from __future__ import annotations

import base64
import gzip
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fake_ec2.process import FakeEc2
from hotdesk.core.model import Goal, Market, MarketChoice, Offer
from hotdesk.core.sweep.group import BOOT_SECONDS, Group, Wanted, trouble
from hotdesk.core.sweep.model import Machine, MachineState, Sweep
from hotdesk.sweep.machines import Machines
from hotdesk.sweep.rented import RentedSite
from hotdesk.sweep.store import SweepStore
from tests import aliyun_desk
from tests.aws_desk import HOME, Laptop, offer, quick
from tests.boundaries import Boundaries, Crash, first_of_each, worth_a_crash
from tests.fake_ecs import life
from tests.fake_ecs.server import FakeEcs

pytest.importorskip("moto", reason="moto is not installed")

ZONES = ("us-west-2a", "us-west-2b", "us-west-2c")
POOLS: tuple[Offer, ...] = tuple(
    offer("m7i.large", zone, market, gpu="", price=price)
    for market, price in ((Market.SPOT, 0.03), (Market.ON_DEMAND, 0.1))
    for zone in ZONES
)
NAMES = tuple(f"sweep1-{n}" for n in range(1, 9))


@pytest.fixture
def fake(server: FakeEc2, monkeypatch: pytest.MonkeyPatch) -> FakeEc2:
    for key, value in server.environment(HOME).items():
        monkeypatch.setenv(key, value)
    return server


class Fleet:
    """A parked desk, and the machines of one sweep; `boundaries` kill this process and it begins anew."""

    cloud, region, pools = "aws", HOME, POOLS

    def __init__(self, fake: Any, folder: Path, boundaries: Boundaries | None = None, **more: Any) -> None:
        self.laptop: Any = self.new_laptop(fake, folder, **more)
        assert self.laptop.do(Goal.RUNNING) is None
        assert self.laptop.do(Goal.PARKED) is None
        self.image = next(i.id for i in self.provider.survey().images)
        self.laptop.boundaries = boundaries or Boundaries()
        self.notes: list[str] = []
        self.up: set[str] = set()  # names that have answered
        self.wanted = Wanted(
            fleet="sweep1-abc123", desk="blue", image_id=self.image, names=(), pools=self.pools,
            lag_seconds=self.laptop.settings.lag_seconds,
        )  # fmt: skip
        self.laptop.crash()  # the boundaries are those of a new process
        self.open()

    def new_laptop(self, fake: Any, folder: Path, **more: Any) -> Any:
        return Laptop(fake, folder, **more)

    @property
    def provider(self) -> Any:
        return self.laptop.aws

    def open(self) -> None:
        self.store = SweepStore(self.laptop.folder)
        if not self.store.sweeps():
            asked = {"command": ("x",), "created_at": 1.0, "folder": ""}
            self.store.create(
                Sweep(number=0, desk="blue", image=self.image, provider=self.cloud, **asked), []
            )
        self.machines = Machines(
            number=1, region=self.region, provider=self.provider, store=self.store, clock=self.laptop.time,
            on_note=self.notes.append,
        )  # fmt: skip

    def crash(self) -> None:
        self.store.close()
        self.laptop.crash()
        self.open()

    def tick(self, names: tuple[str, ...], **more: Any) -> Group:
        """One tick; dying in it is beginning anew."""
        while True:
            try:
                return self.machines.tick(replace(self.wanted, names=names, **more))
            except Crash:
                self.crash()

    def until(self, done: Callable[[Group], bool], names: tuple[str, ...], **more: Any) -> Group:
        for _ in range(200):
            group = self.tick(names, **more)
            for member in group.members:  # every machine that runs answers at once
                if member.phase == "ready" and not member.up and member.name in self.answering(names):
                    self.machines.proved(member)
            if done(self.machines.group()):
                return self.machines.group()
            self.laptop.time.sleep(5.0)
        raise AssertionError(f"it does not come to that: {self.notes[-5:]} {self.machines.group()}")

    def answering(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return names

    def end(self) -> None:
        """The sweep is over: nothing may be left."""
        self.until(lambda group: not group.alive and not group.unanswered, ())
        while True:
            try:
                assert self.machines.clear(replace(self.wanted, names=()))
                break
            except Crash:
                self.crash()
        self.nothing_left()

    def nothing_left(self) -> None:
        mine = [t for t in self.laptop.things() if t["tags"].get("hotdesk:desk") == self.wanted.fleet]
        assert [t for t in mine if t["state"] != "terminated" and t["kind"] != "spot-instances-request"] == []
        ec2 = self.laptop.fake.client("ec2", HOME)
        assert ec2.describe_launch_templates()["LaunchTemplates"] == []
        self.laptop.twins.clear()  # (a fleet's machines share their desk's place in its tags)
        assert self.laptop.check("blue", Goal.PARKED)

    def there(self) -> list[Any]:
        return self.laptop.machines(self.wanted.fleet)


@pytest.fixture
def fleet(fake: FakeEc2, tmp_path: Path) -> Iterator[Fleet]:
    with quick(fake):
        found = Fleet(fake, tmp_path)
        yield found
        found.store.close()
        found.laptop.store.close()


def all_up(names: tuple[str, ...]) -> Callable[[Group], bool]:
    return lambda group: {m.name for m in group.members if m.up and m.stays} == {*names}


def test_one_on_demand_and_the_others_on_spot_by_two_orders(fleet: Fleet) -> None:
    group = fleet.until(all_up(NAMES), NAMES)
    assert Counter(m["market"] for m in fleet.there()) == {"on-demand": 1, "spot": 7}
    assert [m.offer.market for m in group.members if m.name == NAMES[0]] == [Market.ON_DEMAND]
    assert [a.order.count for a in group.asked] == [1, 7]
    assert all(m["tags"]["hotdesk:of"] == "blue" for m in fleet.there())
    fleet.end()


def test_the_cluster_is_reached_by_itself_and_ssh_by_this_computer(fleet: Fleet) -> None:
    fleet.until(all_up(NAMES[:2]), NAMES[:2])
    ec2 = fleet.laptop.fake.client("ec2", HOME)
    told = ec2.describe_instances(InstanceIds=[m["id"] for m in fleet.there()])["Reservations"]
    ids = {g["GroupId"] for r in told for m in r["Instances"] for g in m["SecurityGroups"]}
    rules = {
        (rule["FromPort"], rule["ToPort"], *(p["GroupId"] == g["GroupId"] for p in rule["UserIdGroupPairs"]),
         *(r["CidrIp"] for r in rule["IpRanges"]))
        for g in ec2.describe_security_groups(GroupIds=sorted(ids))["SecurityGroups"]
        for rule in g["IpPermissions"]
    }  # fmt: skip
    assert rules == {(6379, 6499, True), (22, 22, "127.0.0.1/32")}
    fleet.end()


def test_its_machines_forget_the_limits_of_the_desk_whose_image_they_have(fleet: Fleet) -> None:
    """A desk that never ends by itself would leave machines that nobody reaches running for ever."""
    fleet.until(all_up(NAMES[:1]), NAMES[:1])
    ec2 = fleet.laptop.fake.client("ec2", HOME)
    [template] = ec2.describe_launch_templates()["LaunchTemplates"]
    told = ec2.describe_launch_template_versions(
        LaunchTemplateId=template["LaunchTemplateId"], Versions=["1"]
    )
    [version] = told["LaunchTemplateVersions"]
    text = gzip.decompress(base64.b64decode(version["LaunchTemplateData"]["UserData"])).decode()
    assert "rm -f /home/*/.hotdesk/leave" in text
    fleet.end()


def test_the_fleet_shrinks_and_grows_as_it_is_asked(fleet: Fleet) -> None:
    fleet.until(all_up(NAMES), NAMES)
    fleet.until(lambda g: len(g.alive) == 2, NAMES[:2])
    assert len(fleet.there()) == 2
    fleet.until(all_up(NAMES[:4]), NAMES[:4])
    fleet.end()


@pytest.mark.parametrize("notice", [True, False])
def test_a_machine_that_is_taken_back_is_replaced(fleet: Fleet, notice: bool) -> None:
    group = fleet.until(all_up(NAMES[:3]), NAMES[:3])
    lost = next(m for m in group.members if m.offer.market is Market.SPOT)
    fleet.laptop.fake.post("interrupt", id=lost.id.partition("/")[2], notice=notice)
    fleet.until(lambda g: any(m.id == lost.id and not m.alive for m in g.members), NAMES[:3])
    again = fleet.until(all_up(NAMES[:3]), NAMES[:3])
    assert len(again.members) == 4
    fleet.end()


def test_what_a_pool_lacks_comes_from_the_others(fleet: Fleet) -> None:
    """Three machines of eight are refused; what was launched is kept, and nothing is asked twice."""
    for zone in ZONES[:2]:
        fleet.laptop.fake.post("capacity", zone=zone, type="m7i.large", market="spot", free=2)
    group = fleet.until(all_up(NAMES), NAMES)
    spread = Counter((m["zone"], m["market"]) for m in fleet.there())
    assert sum(spread.values()) == 8
    assert all(spread[zone, "spot"] <= 2 for zone in ZONES[:2])
    assert len(group.members) == 8, "some were launched and ended again"
    fleet.end()


def test_with_no_spot_anywhere_the_cheapest_market_is_the_other(fleet: Fleet) -> None:
    fleet.laptop.fake.post("capacity", type="m7i.large", market="spot", free=0)
    fleet.until(all_up(NAMES[:3]), NAMES[:3])
    assert Counter(m["market"] for m in fleet.there()) == {"on-demand": 3}
    fleet.end()


def test_a_quota_smaller_than_the_fleet_is_used_up_and_said(fleet: Fleet) -> None:
    fleet.laptop.fake.post("quota", code="L-34B43A08", vcpus=6)
    fleet.laptop.fake.post("quota", code="L-1216C47A", vcpus=2)
    fleet.until(lambda g: len([m for m in g.alive if m.up]) == 4, NAMES)
    assert any("4 of 8 machines cannot be had now" in note for note in fleet.notes), fleet.notes
    assert trouble(fleet.machines.group(), replace(fleet.wanted, names=NAMES), fleet.laptop.time.now()) == ""
    calls = len(fleet.laptop.fake.get("log"))
    for _ in range(10):
        fleet.tick(NAMES)
        fleet.laptop.time.sleep(5.0)
    sent = [c["action"] for c in fleet.laptop.fake.get("log")][calls:]
    assert "CreateFleet" not in sent, "it asks again and again for what it cannot have"
    fleet.end()


def test_a_quota_of_nothing_is_told(fleet: Fleet) -> None:
    for code in ("L-34B43A08", "L-1216C47A"):
        fleet.laptop.fake.post("quota", code=code, vcpus=0)
    wanted = replace(fleet.wanted, names=NAMES)
    group = fleet.until(lambda g: bool(trouble(g, wanted, fleet.laptop.time.now())), NAMES)
    assert "MaxSpotInstanceCountExceeded" in trouble(group, wanted, fleet.laptop.time.now())
    assert group.members == ()
    fleet.end()


def test_how_many_machines_a_quota_has_room_for_is_asked(fleet: Fleet) -> None:
    fleet.laptop.fake.post("quota", code="L-34B43A08", vcpus=12)
    fleet.laptop.fake.post("quota", code="L-1216C47A", vcpus=8)  # four make a machine, by these offers
    assert fleet.provider.fleet_room(POOLS) == {Market.SPOT: 3, Market.ON_DEMAND: 2}
    fleet.until(all_up(NAMES[:2]), NAMES[:2])
    assert fleet.provider.fleet_room(POOLS) == {Market.SPOT: 2, Market.ON_DEMAND: 1}
    fleet.laptop.fake.post("refuse", action="GetServiceQuota", code="AccessDeniedException", times=None)
    assert fleet.provider.fleet_room(POOLS) == {}
    fleet.laptop.fake.delete("rules")
    fleet.end()


def test_an_image_that_does_not_boot_is_found_out(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "answering", lambda names: ())
    wanted = replace(fleet.wanted, names=NAMES[:1])

    def given_up(group: Group) -> bool:
        fleet.laptop.time.sleep(BOOT_SECONDS / 4)
        return bool(trouble(group, wanted, fleet.laptop.time.now()))

    fleet.laptop.time.slept = -1e9  # so much time is meant
    group = fleet.until(given_up, NAMES[:1])
    assert group.unbooted == 3
    assert len(group.asked) == 3
    fleet.end()


def test_an_answer_that_is_lost_launches_nothing_twice(fleet: Fleet) -> None:
    fleet.laptop.fake.post("lose", action="CreateFleet", when="after", times=2)
    group = fleet.until(all_up(NAMES), NAMES)
    assert len(group.members) == 8
    assert len([t for t in fleet.laptop.things("instance", gone=True) if "hotdesk:of" in t["tags"]]) == 8
    fleet.end()


def test_a_machine_of_an_answer_that_was_never_heard_is_ended_too(fleet: Fleet) -> None:
    """The reply is lost, and the sweep is cancelled before it can ask again."""
    fleet.laptop.fake.post("lose", action="CreateFleet", when="after", times=1)
    fleet.tick(NAMES)
    assert fleet.machines.group().unanswered is not None
    assert fleet.there()
    fleet.end()
    assert fleet.there() == []


def test_one_of_an_answer_that_was_lost_the_second_time_is_waited_for_from_then_on(
    fake: FakeEc2, tmp_path: Path
) -> None:
    """What it launched is not listed yet when the sweep is cancelled."""
    lag = 60.0
    with quick(fake, lag_seconds=lag):
        fleet = Fleet(fake, tmp_path, lag_seconds=lag + 1)
        fake.post("lose", action="CreateFleet", when="before", times=1)
        fleet.tick(NAMES[:1])
        fleet.laptop.time.sleep(2 * lag)
        fake.post("lose", action="CreateFleet", when="after", times=1)
        fleet.tick(NAMES[:1])
        assert fleet.machines.group().unanswered is not None
        fleet.end()
        fleet.laptop.time.sleep(2 * lag)
        assert fleet.there() == []
        fleet.store.close()
        fleet.laptop.store.close()


def test_an_order_that_was_taken_before_in_other_words_launches_no_second_machine(
    fake: FakeEc2, tmp_path: Path
) -> None:
    with quick(fake, lag_seconds=60.0):
        fleet = Fleet(fake, tmp_path, lag_seconds=61.0)
        fake.post("lose", action="CreateFleet", when="after", times=1)
        fleet.tick(NAMES[:1])
        fleet.laptop.time.sleep(16.0)
        fake.post("refuse", action="CreateFleet", code="IdempotentParameterMismatch", times=1)
        group = fleet.until(all_up(NAMES[:1]), NAMES[:1])
        assert len(group.members) == 1
        fleet.end()
        fleet.store.close()
        fleet.laptop.store.close()


def test_a_cloud_that_fails_to_end_machines_is_asked_again(fleet: Fleet) -> None:
    fleet.until(all_up(NAMES[:2]), NAMES[:2])
    fleet.laptop.fake.post("lose", action="TerminateInstances", when="before", times=1)
    fleet.laptop.time.sleep(60.0)
    fleet.tick(())
    fleet.laptop.fake.post("refuse", action="TerminateInstances", code="InternalError", status=500, times=1)
    fleet.laptop.time.sleep(60.0)
    fleet.tick(())
    assert len([note for note in fleet.notes if "could not be ended yet" in note]) == 2, fleet.notes
    fleet.end()


def test_a_new_process_renews_the_leases_of_machines_that_are_up(fleet: Fleet, tmp_path: Path) -> None:
    """When the one before told them is not known: it may have been an hour ago."""
    told: list[str] = []

    class Site(RentedSite):
        def _lease(self, name: str) -> None:
            told.append(name)

    def site() -> Site:
        return Site(
            sweep=replace(fleet.store.sweep(1), group=fleet.wanted.fleet), folder=tmp_path, pools=POOLS,
            market=MarketChoice.CHEAPEST, machines=fleet.machines, provider=fleet.provider,
            fleets=fleet.provider, clock=fleet.laptop.time, secrets=lambda sweep: {},
        )  # fmt: skip

    names = NAMES[:2]
    rows = [Machine(name=name, number=n, since=1.0) for n, name in enumerate(names, 1)]
    fleet.store.put_machines(1, rows)
    fleet.until(all_up(names), names)
    first = site()
    fleet.laptop.time.sleep(60.0)
    assert {*first.tick(names, ())} == {*names}
    assert told == [], "they are told when they are prepared"
    fleet.store.put_machines(1, [replace(m, state=MachineState.UP) for m in rows])
    second = site()
    for _ in range(2):
        fleet.laptop.time.sleep(60.0)
        second.tick(names, ())
    assert sorted(told) == [*names], "at once, and not again before it is due"
    fleet.end()


def test_spot_only_never_buys_a_worker_on_demand(fleet: Fleet) -> None:
    fleet.laptop.fake.post("capacity", type="m7i.large", market="spot", free=1)
    fleet.until(lambda g: len([m for m in g.alive if m.up]) == 2, NAMES, market=MarketChoice.SPOT)
    assert Counter(m["market"] for m in fleet.there()) == {"on-demand": 1, "spot": 1}
    fleet.end()


@pytest.mark.parametrize("action", ["CreateFleet", "CreateLaunchTemplate"])
def test_a_permission_that_lacks_is_told(fleet: Fleet, action: str) -> None:
    fleet.laptop.fake.post("refuse", action=action, code="UnauthorizedOperation", times=None)
    wanted = replace(fleet.wanted, names=NAMES)
    group = fleet.until(lambda g: bool(trouble(g, wanted, fleet.laptop.time.now())), NAMES)
    assert f"ec2:{action}" in trouble(group, wanted, fleet.laptop.time.now())
    fleet.laptop.fake.delete("rules")
    fleet.end()


# ---- crashes -----------------------------------------------------------------------------------------


def story(fleet: Fleet) -> None:
    """Three machines, one is taken back and replaced, then one, then none."""
    names = NAMES[:3]
    group = fleet.until(all_up(names), names)
    lost = next(m for m in group.members if m.offer.market is Market.SPOT and m.stays)
    fleet.laptop.fake.post("interrupt", id=lost.id.partition("/")[2], notice=False)
    fleet.until(lambda g: all_up(names)(g) and all(m.id != lost.id for m in g.alive), names)
    fleet.until(lambda g: len(g.alive) == 1, names[:1])
    fleet.end()


crashes = pytest.mark.parametrize(
    ("lag", "every"),
    [
        pytest.param(0.0, False, marks=pytest.mark.slow, id="first"),
        pytest.param(0.0, True, marks=pytest.mark.long, id="all"),
        pytest.param(20.0, True, marks=pytest.mark.long, id="all-lagging"),
    ],
)


@crashes
def test_a_crash_at_any_call_leaves_no_machine(
    fake: FakeEc2, tmp_path: Path, lag: float, every: bool
) -> None:
    def run(number: int, *at: int) -> Boundaries:
        boundaries = Boundaries(*at)
        with quick(fake, lag_seconds=lag):
            fleet = Fleet(fake, tmp_path / str(number), boundaries, lag_seconds=lag and lag + 1)
            try:
                story(fleet)
                alive = max(Counter(t["tags"].get("hotdesk:desk") for t in fleet.there()).values(), default=0)
                assert alive == 0
                made = [t for t in fleet.laptop.things("instance", gone=True) if "hotdesk:of" in t["tags"]]
                assert len(made) == 4, f"{len(made)} machines were launched, four were wanted"
            finally:
                fleet.store.close()
                fleet.laptop.store.close()
        return boundaries

    passed = run(0)
    places = worth_a_crash(passed, lagging=bool(lag))
    for place in places if every else first_of_each(places, passed.labels):
        run(place, place)


# ---- Alibaba Cloud -----------------------------------------------------------------------------------

ALI_ZONES = ("cn-hangzhou-i", "cn-hangzhou-j")
ALI = tuple(
    replace(
        aliyun_desk.offer("ecs.g7.xlarge", zone, market),
        usd_per_hour=usd,
        told_per_hour=None,
        vcpus=4,
        gpu="",
    )
    for market, usd in ((Market.SPOT, 0.05), (Market.ON_DEMAND, 0.14))
    for zone in ALI_ZONES
)


class OnAliyun(Fleet):
    """The same at the fake ECS."""

    cloud, region, pools = "aliyun", aliyun_desk.HOME, ALI

    def new_laptop(self, fake: Any, folder: Path, **more: Any) -> Any:
        return aliyun_desk.Laptop(fake, folder, **more)

    @property
    def provider(self) -> Any:
        return self.laptop.aliyun

    @property
    def world(self) -> Any:
        return self.laptop.fake.world

    def nothing_left(self) -> None:
        assert self.there() == []
        self.laptop.check("blue", Goal.PARKED)


@pytest.fixture
def ali(ecs: FakeEcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OnAliyun]:
    aliyun_desk.at_home(ecs, monkeypatch)
    found = OnAliyun(ecs, tmp_path)
    yield found
    found.store.close()
    found.laptop.store.close()


def test_on_alibaba_cloud_a_fleet_comes_is_seen_and_ends(ali: OnAliyun) -> None:
    """The head on demand, the others on spot; the cluster's ports are open among them, and to nobody else."""
    group = ali.until(all_up(NAMES[:4]), NAMES[:4])
    machines = ali.there()
    assert Counter(m.strategy for m in machines) == {"NoSpot": 1, "SpotAsPriceGo": 3}
    assert {m.behavior for m in machines if m.strategy != "NoSpot"} == {"Terminate"}
    assert [a.order.count for a in group.asked] == [1, 3]
    assert len([e for e in ali.world.log if e.get("action") == "RunInstances"]) == 3, "the desk's, and two"
    region = ali.world.region(ali.region)
    rules = {
        (rule["PortRange"], rule.get("SourceCidrIp") or rule["SourceGroupId"] == id_)
        for m in machines
        for id_ in m.groups
        for rule in region.groups[id_].rules
    }
    assert rules == {("22/22", "203.0.113.7/32"), ("6379/6499", True)}
    assert {region.groups[id_].inner for m in machines for id_ in m.groups} == {"Drop"}
    now = ali.world.clock.now()
    assert all(3600 < m.release - now <= 7200 for m in machines), "the cloud itself ends them, if nobody does"
    ali.laptop.time.sleep(1800.0)
    ali.provider.renew_fleet([m.id for m in group.members], 7200.0)
    assert all(m.release - ali.world.clock.now() > 7000 for m in machines)
    ali.until(lambda g: len(g.alive) == 2, NAMES[:2])
    ali.end()


def test_on_alibaba_cloud_the_pools_are_tried_in_turn(ali: OnAliyun) -> None:
    """Of seven two are in the first zone, none in the second, and the rest is bought on demand."""
    ali.world.left[ALI_ZONES[0], "ecs.g7.xlarge", "spot"] = 2
    ali.world.sold_out.add((ALI_ZONES[1], "*", "spot"))
    group = ali.until(all_up(NAMES), NAMES)
    assert Counter(m.strategy for m in ali.there()) == {"NoSpot": 6, "SpotAsPriceGo": 2}
    assert len(group.members) == 8
    ali.end()


def test_on_alibaba_cloud_a_kind_of_disk_that_is_not_sold_is_followed_by_the_next(ali: OnAliyun) -> None:
    """The listing has it, and the launch does not: no zone is passed over for that."""
    code = "InvalidSystemDiskCategory.ValueNotSupported"
    ali.world.harm("RunInstances", code=code, message="Not sold here.", times=2)
    found = ali.until(all_up(NAMES[:1]), NAMES[:1])
    assert {disk.category for disk in ali.world.every("disk")} == {"cloud_auto"}
    assert {m.zone for m in ali.there()} == {found.members[0].offer.zone} == {ALI_ZONES[0]}
    ali.end()


def test_on_alibaba_cloud_a_quota_is_told_and_used_up(ali: OnAliyun) -> None:
    """It refuses a request as a whole: half as many are asked for, and half of that."""
    ali.world.quota = 16
    assert ali.provider.fleet_room(ALI) == {Market.ON_DEMAND: 4, Market.SPOT: 4}
    wanted = replace(ali.wanted, names=NAMES, together=True)
    group = ali.until(lambda g: bool(trouble(g, wanted, ali.laptop.time.now())), NAMES)
    assert "quota" in trouble(group, wanted, ali.laptop.time.now())
    assert 3 <= len(ali.there()) <= 4
    ali.end()


def test_on_alibaba_cloud_a_machine_taken_back_is_replaced(ali: OnAliyun) -> None:
    group = ali.until(all_up(NAMES[:3]), NAMES[:3])
    lost = next(m for m in group.members if m.offer.market is Market.SPOT)
    life.end(ali.world, ali.world.machine(ali.region, lost.id.partition("/")[2]))
    again = ali.until(lambda g: all_up(NAMES[:3])(g) and lost.id not in {m.id for m in g.alive}, NAMES[:3])
    assert len(again.members) == 4
    ali.end()


def test_on_alibaba_cloud_an_order_whose_machines_went_before_its_answer_holds_up_no_other(
    ali: OnAliyun,
) -> None:
    """This computer slept in the middle of it: the same order is refused for ever."""
    ali.world.harm("RunInstances", lose="after", times=1)
    ali.tick(NAMES[:2])
    assert ali.machines.group().unanswered is not None
    for machine in list(ali.there()):
        life.end(ali.world, machine)
    ali.laptop.time.sleep(7200.0)
    group = ali.until(all_up(NAMES[:2]), NAMES[:2])
    assert [a.answered for a in group.asked] == [True] * 3
    ali.end()


@pytest.mark.parametrize("when", ["before", "after"])
def test_on_alibaba_cloud_an_answer_that_is_lost_launches_nothing_twice(ali: OnAliyun, when: str) -> None:
    ali.world.harm("RunInstances", lose=when, times=2)
    group = ali.until(all_up(NAMES[:4]), NAMES[:4])
    assert len(group.members) == 4
    assert len(ali.there()) == 4
    ali.end()


@crashes
def test_on_alibaba_cloud_a_crash_at_any_call_leaves_no_machine(
    ecs: FakeEcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lag: float, every: bool
) -> None:
    def run(number: int, *at: int) -> Boundaries:
        boundaries = Boundaries(*at)
        aliyun_desk.at_home(ecs, monkeypatch)
        ali = OnAliyun(ecs, tmp_path / str(number), boundaries, lag_seconds=lag)
        try:
            group = ali.until(all_up(NAMES[:3]), NAMES[:3])
            assert len(group.members) == 3, "three were wanted"
            ali.until(lambda g: len(g.alive) == 1, NAMES[:1])
            ali.end()
        finally:
            ali.store.close()
            ali.laptop.store.close()
        return boundaries

    passed = run(0)
    places = worth_a_crash(passed, lagging=bool(lag))
    for place in places if every else first_of_each(places, passed.labels):
        run(place, place)
