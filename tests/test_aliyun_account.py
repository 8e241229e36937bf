"""Rights, check-up, leftovers, prices and public access on Alibaba Cloud."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from hotdesk.core.fleet import Hold
from hotdesk.core.model import Goal, Instance, Market, Want
from hotdesk.core.pricelist import Gathering, Shipped
from hotdesk.providers import registry
from hotdesk.providers.aliyun import network
from hotdesk.providers.aliyun.catalog import Prices
from hotdesk.providers.aliyun.iam import LEAVE, allowed, desk_policy
from tests.aliyun_desk import HOME, MONEY, Laptop, as_new, offer, unknown_to_the_official_models
from tests.fake_ecs.server import FakeEcs
from tests.test_shipped_list import Nothing

pytestmark = pytest.mark.slow


@pytest.fixture
def mine(ecs: FakeEcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Laptop]:
    as_new(ecs, monkeypatch)
    laptop = Laptop(ecs, tmp_path, role="hotdesk-desk")
    yield laptop
    laptop.store.close()


def machine(mine: Laptop) -> Instance:
    found = mine.aliyun.survey().of("blue").live
    assert found is not None
    return found


def test_the_policy_allows_exactly_what_is_done(mine: Laptop) -> None:
    """A long day with everything that hotdesk does there, and the log of its requests."""
    fake = mine.fake
    assert mine.aliyun.offers(Want(gpu="A10"))
    assert list(mine.aliyun.examine([], [], None))
    fake.world.silent = True  # its console: the host key comes through Cloud Assistant
    assert mine.do(Goal.RUNNING) is None
    mine.aliyun.open_notebook(machine(mine), True, ())
    mine.aliyun.close_notebook(machine(mine))
    assert mine.do(Goal.STOPPED) is None
    assert mine.do(Goal.RUNNING, (offer("ecs.gn7i-c16g1.4xlarge"),), move=True) is None
    assert mine.do(Goal.PARKED) is None
    [image] = mine.aliyun.survey().images
    copied = mine.aliyun.copy(image.id, "us-west-1", "a-copy-of-blue")
    mine.time.sleep(600.0)
    mine.aliyun.delete(copied)
    held = Hold(number=1, computer="tower")
    mine.aliyun.holds.write("sweep1-0a0a0a", image.id, [], held)
    mine.aliyun.holds.settle(image.id, {"sweep1-0a0a0a": held})
    mine.aliyun.delete(f"{HOME}/d-bp1nothing")
    assert mine.do(Goal.RUNNING) is None
    mine.settings = mine.aliyun.settings = replace(mine.settings, address="198.51.100.9/32")
    mine.aliyun._admitted = {}
    mine.aliyun.access(machine(mine))  # another address: let in, and the one before is not any more
    assert mine.do(Goal.GONE) is None
    assert mine.aliyun.billed(mine.time.now(), mine.time.now()).keys() == {"blue"}
    seen = mine.aliyun.survey()
    for thing in (*seen.leftovers, *mine.aliyun.sweep(seen)[0]):
        mine.aliyun.delete(thing.id)
    names = {"2014-05-26": "ecs", "2016-04-28": "vpc", "2017-12-14": "bssapi"}
    done = {f"{names[e['version']]}:{e['action']}" for e in fake.world.log if e.get("version") in names}
    networks = {"vpc:DeleteVSwitch", "vpc:DeleteVpc"}
    assert done - allowed() <= networks, "not allowed, and done"
    unused = {
        "ecs:ModifyInstanceAutoReleaseTime",
        "ram:PassRole",
        "ecs:DescribeRegions",
        "ecs:DescribeAccountAttributes",
    }
    assert allowed() - done <= unused, "allowed, and never done"
    pytest.importorskip("alibabacloud_ecs20140526", reason="the official clients are not installed")
    assert not unknown_to_the_official_models(fake)


def test_a_desks_role_may_only_stop_what_is_tagged() -> None:
    look, stop = desk_policy()["Statement"]
    assert {*look["Action"], *stop["Action"]} == {*LEAVE}
    assert stop["Condition"] == {"StringEquals": {"acs:ResourceTag/hotdesk": "1"}}
    assert registry.policy("aliyun")["Version"] == "1"


# ---- the check-up ------------------------------------------------------------------------------------


def said(mine: Laptop) -> str:
    return "\n".join(f"{f.level} {f.what} {f.fix}" for f in mine.aliyun.examine([], [], None))


def test_the_check_up_names_what_keeps_an_account_from_renting(mine: Laptop) -> None:
    world = mine.fake.world
    assert "bad The account" not in said(mine)
    world.real_name, world.quota = False, 0
    told = said(mine)
    assert "real name is not verified" in told
    assert "0 vCPUs of on-demand machines" in told
    assert "0 vCPUs of spot machines" in told
    world.blind = {"DescribeInstances"}
    assert "cannot be listed" in said(mine)
    world.door.secrets = {}
    assert said(mine).startswith("bad Alibaba Cloud does not know who we are.")


def test_the_check_up_says_that_leaving_costs_without_a_role(
    ecs: FakeEcs, mine: Laptop, tmp_path: Path
) -> None:
    assert "leaves by itself goes on costing" not in said(mine)
    plain = Laptop(ecs, tmp_path / "plain")
    assert "note A desk on Alibaba Cloud that leaves by itself goes on costing." in said(plain)
    plain.store.close()


def test_the_check_up_compares_our_clock_with_the_clouds(mine: Laptop) -> None:
    assert "s behind Alibaba Cloud's" in said(mine)  # five minutes, as the test's own clock is


# ---- leftovers ---------------------------------------------------------------------------------------


def test_gc_finds_networks_and_snapshots_that_nothing_uses(mine: Laptop) -> None:
    assert mine.do(Goal.RUNNING) is None
    assert {t.kind for t in mine.aliyun.sweep(mine.aliyun.survey())[0]} == set()
    assert mine.do(Goal.GONE) is None
    left, unread = mine.aliyun.sweep(mine.aliyun.survey())
    assert {t.kind for t in left} == {"VPC", "vSwitch"}
    assert unread == []
    for thing in (*mine.aliyun.survey().leftovers, *left):
        mine.aliyun.delete(thing.id)
    region = mine.fake.world.region(HOME)
    assert not region.vswitches
    assert not region.vpcs
    assert not region.groups


# ---- Jupyter without a tunnel ------------------------------------------------------------------------


def test_public_access_is_a_group_of_the_desks_own(mine: Laptop) -> None:
    assert mine.do(Goal.RUNNING) is None
    assert machine(mine).open_to == ()
    assert mine.aliyun.open_notebook(machine(mine), True, ("198.51.100.0/24",)) == (
        "198.51.100.0/24", "203.0.113.7/32",
    )  # fmt: skip
    assert machine(mine).open_to == ("198.51.100.0/24", "203.0.113.7/32")
    mine.aliyun.open_notebook(machine(mine), True, ())
    assert machine(mine).open_to == ("203.0.113.7/32",)
    mine.aliyun.close_notebook(machine(mine))
    assert machine(mine).open_to == ()
    assert [g.name for g in mine.fake.world.region(HOME).groups.values()] == ["hotdesk"]


def test_a_machine_at_the_other_end_of_a_way_is_let_in_until_then(mine: Laptop) -> None:
    assert mine.do(Goal.RUNNING) is None
    id_, note = machine(mine).id, "hotdesk: way 0a until 1"
    mine.aliyun.let_in(id_, "192.0.2.9/32", note)
    mine.aliyun.let_in(id_, "192.0.2.9/32", note)
    [group] = mine.fake.world.region(HOME).groups.values()

    def open_to() -> set[str]:
        rules = network.rules(mine.aliyun.account, HOME, group.id, network.SSH)
        return {network.cidr_of(rule) for rule in rules}

    assert "192.0.2.9/32" in open_to()
    mine.aliyun.shut_out(id_, note)
    mine.aliyun.shut_out(id_, note)
    assert "192.0.2.9/32" not in open_to()
    mine.aliyun.let_in(id_, "192.0.2.9/32", note)
    network.admit(mine.aliyun.account, HOME, group.id, "203.0.113.7/32", mine.aliyun._computer)
    assert open_to() == {"203.0.113.7/32"}, "its time is over"
    mine.aliyun.let_in(id_, "192.0.2.9/32", note)
    network.admit(mine.aliyun.account, HOME, group.id, "192.0.2.9/32", mine.aliyun._computer)
    assert open_to() == {"192.0.2.9/32"}, "this computer is behind the same address now"


def test_a_machine_that_goes_leaves_no_open_group(mine: Laptop) -> None:
    assert mine.do(Goal.RUNNING) is None
    mine.aliyun.open_notebook(machine(mine), True, ())
    assert mine.do(Goal.GONE) is None
    mine.aliyun.survey()
    assert "hotdesk-blue-notebook" not in [g.name for g in mine.fake.world.region(HOME).groups.values()]


# ---- prices ------------------------------------------------------------------------------------------


def test_an_account_tells_stock_and_prices_by_zone(mine: Laptop) -> None:
    mine.fake.world.sold_out = {("cn-hangzhou-j", "ecs.gn6i-c4g1.xlarge", "*")}
    names = {"ecs.gn6i-c4g1.xlarge"}
    asked = Gathering(
        cache=Nothing(), now=mine.time.now(), settings=mine.settings, money=MONEY, names=lambda types: names
    )
    source = Prices(asked)
    for job in source.jobs().values():
        job()
    told = source.told()
    assert {(o.zone, o.market) for o in told.offers} == {
        ("cn-hangzhou-i", Market.ON_DEMAND),
        ("cn-hangzhou-i", Market.SPOT),
    }
    listed = next(o for o in told.offers if o.market is Market.ON_DEMAND)
    assert str(listed.told_per_hour) == "11.63 CNY"
    assert told.spot == {HOME}
    assert "NVIDIA T4/4" not in {kind.gpu for kind in told.types}


def test_prices_in_another_currency_are_as_if_not_told(mine: Laptop) -> None:
    """An account in Japan has yen: nothing compares them, and the dated list has a price."""
    [*told] = mine.aliyun.offers(Want(gpu="A10"))
    assert {o.market for o in told} == set(Market)
    mine.fake.world.currency = "JPY"
    mine.aliyun._list_price = lambda region, name: Shipped(usd=1.3, told=None, time=1.0, source="shipped")
    found = mine.aliyun.offers(Want(gpu="A10"))
    assert {(o.market, o.usd_per_hour) for o in found} == {(Market.ON_DEMAND, 1.3)}


def test_a_local_disk_is_offered_with_a_warning(mine: Laptop) -> None:
    found = mine.aliyun.offers(Want(gpu="P100"))
    assert found
    assert all("goes on costing while it is off" in o.why for o in found)


def test_a_slice_of_a_gpu_is_not_offered(mine: Laptop) -> None:
    assert {o.instance_type for o in mine.aliyun.offers(Want(gpu="T4"))} == {"ecs.gn6i-c4g1.xlarge"}
