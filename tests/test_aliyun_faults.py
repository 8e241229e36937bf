"""Lines of the provider for Alibaba Cloud, broken on purpose: each must be noticed, or it lacks a reason."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import Goal, Market, Phase
from tests.aliyun_desk import HOME, Laptop, as_new, offer, paid, with_a_network
from tests.conformance import bake_for, order_for
from tests.fake_ecs import life
from tests.fake_ecs.server import FakeEcs

pytestmark = pytest.mark.slow
ROOM = "hotdesk.providers.aliyun"
ELSEWHERE = offer("ecs.gn6i-c4g1.xlarge", "cn-hangzhou-j")


@pytest.fixture
def mine(ecs: FakeEcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Laptop]:
    as_new(ecs, monkeypatch)
    with_a_network(ecs, HOME)
    laptop = Laptop(ecs, tmp_path)
    yield laptop
    laptop.store.close()


# ---- stories -----------------------------------------------------------------------------------------


def a_day(mine: Laptop) -> None:
    """Up, work, park, up, down."""
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING) is None
    assert mine.do(Goal.GONE) is None


def stopped(mine: Laptop) -> None:
    """A stopped machine costs nothing but its disk."""
    assert mine.do(Goal.RUNNING) is None
    assert mine.do(Goal.STOPPED) is None
    assert paid(mine.fake) == {"off": 1, "disk": 1}


def shut_down_inside(mine: Laptop) -> None:
    """A machine that was shut down from within is charged, and saved."""
    assert mine.do(Goal.RUNNING) is None
    life.shut_down_inside(mine.fake.world, mine.machines()[0])
    shown = mine.aliyun.survey().of("blue").live
    assert shown is not None
    assert shown.charged_while_off
    mine.settle()
    mine.check("blue", Goal.PARKED)


def taken_back(mine: Laptop) -> None:
    """A spot machine is taken back: its work is on the next."""
    assert mine.do(Goal.RUNNING, (offer(market=Market.SPOT),)) is None
    mine.work("monday")
    life.reclaim(mine.fake.world, mine.machines()[0])
    mine.time.sleep(400.0)
    assert mine.do(Goal.RUNNING) is None


def launched_twice(mine: Laptop) -> None:
    """The same order is sent again before its machine is listed: one machine."""
    order = order_for(offer(), "blue")
    first = mine.aliyun.launch(order)
    assert mine.aliyun.launch(order) == first
    assert len(mine.fake.world.every("instance")) == 1


def sold_out(mine: Laptop) -> None:
    """One zone is sold out: the next offer is taken."""
    mine.fake.world.sold_out = {("cn-hangzhou-i", "*", "*")}
    assert mine.do(Goal.RUNNING, (offer(), ELSEWHERE)) is None


def baked_while_it_runs(mine: Laptop) -> None:
    """A machine that runs is not baked: what it writes would be missed."""
    assert mine.do(Goal.RUNNING) is None
    mine.time.sleep(120.0)
    shown = mine.aliyun.survey().of("blue").live
    assert shown is not None
    with pytest.raises(Refused):
        mine.aliyun.bake(bake_for(shown))
    assert not mine.fake.world.every("image")


def woken(mine: Laptop) -> None:
    """An order to bake a machine that was started since is refused."""
    assert mine.do(Goal.RUNNING) is None
    assert mine.do(Goal.STOPPED) is None
    before = mine.aliyun.survey().of("blue").live
    assert before is not None
    mine.time.sleep(120.0)
    assert mine.do(Goal.RUNNING) is None
    assert mine.do(Goal.STOPPED) is None
    with pytest.raises(Refused, match="started again"):
        mine.aliyun.bake(bake_for(before))


def baked_twice(mine: Laptop) -> None:
    """An order is sent again while its image is being made: the same image, and it is listed."""
    assert mine.do(Goal.RUNNING) is None
    assert mine.do(Goal.STOPPED) is None
    mine.time.sleep(120.0)
    shown = mine.aliyun.survey().of("blue").live
    assert shown is not None
    first = mine.aliyun.bake(bake_for(shown))
    assert [i.phase for i in mine.aliyun.survey().images] == [Phase.PENDING]
    mine.fake.world.tokens.clear()  # it remembers them for a while only
    assert mine.aliyun.bake(bake_for(shown)) == first


def within_the_minute(mine: Laptop) -> None:
    """Neither saved nor started within the minute of its start."""
    assert mine.do(Goal.RUNNING) is None
    [machine] = mine.machines()
    machine.started -= machine.started % 60
    mine.fake.world.clock.set(machine.started + 30)
    machine.status = "Stopped"
    shown = mine.aliyun.survey().of("blue").live
    assert shown is not None
    for call in (lambda: mine.aliyun.bake(bake_for(shown)), lambda: mine.aliyun.power(shown.id, True)):
        with pytest.raises(Refused) as no:
            call()
        assert no.value.kind is Kind.NOT_READY


def spoilt(mine: Laptop) -> None:
    """An image that holds less than it should is taken anew."""
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    mine.fake.world.spoil = ["short-disk"]
    assert mine.do(Goal.PARKED) is None
    [snapshot] = mine.fake.world.every("snapshot")
    assert snapshot.size == 64


def blind(mine: Laptop) -> None:
    """An empty listing is not believed without the right to list."""
    mine.fake.world.blind = {"DescribeInstances"}
    mine.aliyun._regions.will_make_in(HOME)
    with pytest.raises(Refused):
        mine.aliyun.survey()


def deletion_interrupted(mine: Laptop) -> None:
    """The process dies after an unverified image was deleted and before its snapshots: they are found."""
    assert mine.do(Goal.RUNNING) is None
    assert mine.do(Goal.STOPPED) is None
    mine.time.sleep(120.0)
    shown = mine.aliyun.survey().of("blue").live
    assert shown is not None
    image = mine.aliyun.bake(bake_for(shown))
    mine.time.sleep(300.0)
    mine.fake.world.harm("DeleteSnapshot", lose="before")
    with pytest.raises(OSError, match="without response"):
        mine.aliyun.delete(image)
    assert [t.kind for t in mine.aliyun.survey().leftovers] == ["snapshot"]


def two_networks(mine: Laptop) -> None:
    """The network that was just made is not listed yet when it is looked for again: there is one."""
    mine.fake.reset()
    region = mine.fake.world.region(HOME)
    with pytest.raises(Refused, match="is being made"):
        mine.aliyun.launch(order_for(offer(), "blue"))
    [vpc] = region.vpcs.values()
    vpc.tags, told = {}, vpc.tags
    mine.time.sleep(3.0)
    with pytest.raises(Refused, match="is being made"):
        mine.aliyun.launch(order_for(offer(), "blue"))
    vpc.tags = told
    assert mine.do(Goal.RUNNING) is None
    assert (len(region.vpcs), len(region.vswitches), len(region.groups)) == (1, 1, 1)
    assert [g.inner for g in region.groups.values()] == ["Drop"]


def another_base_image(mine: Laptop) -> None:
    """A newer public image comes out between an order and its repetition: the token's machine is found."""
    from dataclasses import replace

    order = order_for(offer(), "blue")
    first = mine.aliyun.launch(order)
    images = mine.fake.world.region(HOME).images
    newest = max((i for i in images.values() if i.arch == "x86_64"), key=lambda i: i.made)
    images["newer"] = replace(newest, id="newer", made=newest.made + 86400.0)
    mine.aliyun.account.recalled.drop("image/")  # an hour later
    assert mine.aliyun.launch(order) == first


# ---- faults ------------------------------------------------------------------------------------------

Story = Callable[[Laptop], None]
FAULTS: dict[str, tuple[str, str, str, Story]] = {
    "a stop that goes on costing": (
        "instances", 'StoppedMode="StopCharging"', 'StoppedMode="KeepCharging"', stopped),
    "spot that is released": ("instances", 'else "Stop"', 'else "Terminate"', taken_back),
    "no token": ("instances", '"ClientToken": order.token', '"HostName": order.name', launched_twice),
    "no machine of an earlier order": (
        "instances", "if no.kind is Kind.MISMATCH:", "if no.kind is Kind.QUOTA:", another_base_image),
    "no category of the disk": ("instances", '{**disk, "Size": size}', '{"Size": size}', a_day),
    "baked while it runs": (
        "images", 'machine["Status"] != "Stopped"', 'machine["Status"] == "Gone"', baked_while_it_runs),
    "baked although woken": (
        "images", "if order.started_at and times.started(machine) != order.started_at:", "if 0:", woken),
    "baked within the minute": ("instances", "if now <= began:", "if False:", within_the_minute),
    "a start as the beginning of its minute": (
        "times", "return at + MINUTE if at else 0.0", "return at", within_the_minute),
    "sizes not compared": ("images", "held[device].size_gib < size", "held[device].size_gib < 0", spoilt),
    "snapshots left": ("images", "delete_snapshot(account, region, snapshot)", "ids", a_day),
    "snapshots without tags": (
        "images", 'if told and not told.get("verified"):', "if False:", deletion_interrupted),
    "only finished images listed": (
        "inventory", 'Status="ALL",', "", baked_twice),
    "an image under its name not found": (
        "images", '"InvalidImageName.Duplicated"', '"Another"', baked_twice),
    "charged while off is not told": (
        "survey", "charged_while_off=keeps_charging", "charged_while_off=False", shut_down_inside),
    "a shutdown from within is the console's": (
        "survey", "return EndedBy.GUEST, \"it was", "return EndedBy.OWNER, \"it was", shut_down_inside),
    "sold out is no refusal of the offer": (
        "errors", '"OperationDenied.NoStock": Kind.NO_CAPACITY',
        '"OperationDenied.NoStock": Kind.BAD_REQUEST',
        sold_out),
    "the right to list is not asked for": ("inventory", "if code(no) in PASSED:", "if no:", blind),
    "two networks": ("network", 'ClientToken=_token("vpc", region, now)', 'Ipv6Isp="BGP"', two_networks),
    "desks reach each other": (
        "network", 'InnerAccessPolicy="Drop"', 'InnerAccessPolicy="Accept"', two_networks),
    "nobody is let in": ("network", "admit(account, region, group, cidr, who)\n    return", "return", a_day),
}  # fmt: skip


def broken(monkeypatch: pytest.MonkeyPatch, module: str, line: str, wrong: str) -> None:
    """Replace what a module defines by the same with a fault in one line."""
    found = sys.modules[f"{ROOM}.{module}"]
    source = Path(str(found.__file__)).read_text("utf-8")
    assert source.count(line) == 1, f"{line!r} is {source.count(line)} times in {module}.py"
    made = dict(vars(found))
    exec(compile(source.replace(line, wrong), str(found.__file__), "exec"), made)
    for name, old in vars(found).items():
        new = made[name]
        if callable(old) and hasattr(old, "__code__"):
            monkeypatch.setattr(old, "__code__", new.__code__)
        elif isinstance(old, dict) and not name.startswith("__"):
            for key, value in new.items():
                if old.get(key) != value:
                    monkeypatch.setitem(old, key, value)


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_noticed(mine: Laptop, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    module, line, wrong, story = FAULTS[name]
    broken(monkeypatch, module, line, wrong)
    with pytest.raises((AssertionError, Refused, pytest.fail.Exception, OSError, RuntimeError)):
        story(mine)


BY_NAME = sorted({story for *_, story in FAULTS.values()}, key=lambda story: story.__name__)


@pytest.mark.parametrize("story", BY_NAME, ids=lambda story: story.__name__)
def test_the_stories_end_well_without_a_fault(mine: Laptop, story: Story) -> None:
    story(mine)
