"""How users of other tools have lost money or data, one test for each, and why it cannot happen here.

What another file shows already is not shown again:

* a running download was culled, because idleness was judged by the browser: tests/test_idle.py
* the laptop was off and the bill ran on: tests/test_lease.py; a month of it: tests/test_month.py
* a key file without its pair, a pair without its file, an empty file: tests/test_doctor_aws.py, test_keys.py
* ports open to the world: tests/test_security.py, test_aws_trouble.py; disks that are not encrypted, metadata
  that anybody can ask, roles that may do anything: tests/test_aws_faults.py
* no notice of an interruption: tests/test_rig.py; recovery that began anew: tests/test_run.py
* a command line that takes seconds: tests/test_doors.py; offers that take half a minute: benchmarks/offers.py
* two computers that fight over one desk: tests/test_two_computers.py
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.core.billing.charges import charges
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import Goal, Market, Seen, Want
from hotdesk.core.steps import Bake, Launch, Prove
from tests.conftest import Command
from tests.laptop import HERE, SPOT, THERE, CrashAt, a_desk, reach, until
from tests.sim import Crash


def test_a_disk_whose_snapshot_failed_stays() -> None:
    """The volume was deleted although its snapshot had failed."""
    cloud, laptop = a_desk()
    reach(laptop, Goal.RUNNING)
    cloud.script["image"] = ["failed", "failed", "failed", "failed"]
    laptop.want("blue", Goal.PARKED)
    ask = laptop.settle("blue")
    assert ask is not None
    assert "Nothing was deleted" in ask.what
    [machine] = cloud.machines("blue")
    assert cloud.acknowledged["blue"] <= machine.work
    cloud.script["image"] = []
    reach(laptop, Goal.PARKED, asks_max=3)


def test_an_image_that_was_never_read_back_replaces_nothing() -> None:
    """A freeze that neither waited nor verified; the next start was empty."""
    cloud, laptop = a_desk()
    reach(laptop, Goal.RUNNING)
    reach(laptop, Goal.PARKED)
    reach(laptop, Goal.RUNNING)
    cloud.script["image"] = ["rotten"]
    reach(laptop, Goal.PARKED)
    reach(laptop, Goal.RUNNING)
    [machine] = cloud.machines("blue")
    assert len(machine.work) == len(cloud.acknowledged["blue"]) > 2


def test_a_lost_answer_makes_no_orphan() -> None:
    """The machine was made, its id never arrived, and nobody ever looked for it."""
    cloud, laptop = a_desk()
    cloud.script["launch"] = ["lost"]
    reach(laptop, Goal.RUNNING)
    assert len(cloud.machines()) == 1
    assert cloud.violations == []


def test_ctrl_c_in_the_middle_leaves_nothing_that_the_next_command_does_not_find() -> None:
    """Ctrl-C during `up` left a machine running that no later `down` knew of."""
    for at in range(1, 40):
        cloud, laptop = a_desk(seed=at)
        laptop.want("blue", Goal.RUNNING)
        cloud.boundary = CrashAt(at)
        try:
            laptop.reconciler.settle(laptop.store.desk("blue"))
        except Crash:
            laptop.crash()
        cloud.boundary = lambda label: None
        laptop.want("blue", Goal.GONE)
        assert laptop.settle("blue") is None
        cloud.quiet()
        assert cloud.billed("blue") == []


def test_terminated_is_said_when_it_is_so() -> None:
    """ "terminated", and billed for days: the listing was never asked again."""
    cloud, laptop = a_desk(lag_seconds=60.0)
    reach(laptop, Goal.RUNNING)
    reach(laptop, Goal.GONE)
    assert cloud.billed("blue") == []


def test_no_capacity_for_a_stopped_machine_is_not_the_end() -> None:
    """A stopped machine could not be started again, and its disk was bound to the zone that was full."""
    cloud, laptop = a_desk()
    reach(laptop, Goal.RUNNING, HERE)
    reach(laptop, Goal.STOPPED)
    cloud.sold_out = {offer.key for offer in HERE}
    reach(laptop, Goal.RUNNING, (*HERE, *THERE), asks_max=1)
    [machine] = cloud.machines("blue")
    assert machine.value.region == "r2"
    assert cloud.acknowledged["blue"] <= machine.work


def test_an_interrupted_machine_comes_back_with_its_disk() -> None:
    """Recovery from an interruption began on a fresh disk."""
    cloud, laptop = a_desk()
    reach(laptop, Goal.RUNNING, SPOT)
    [machine] = cloud.machines("blue")
    cloud.interrupt(machine.value.id)
    cloud.quiet()
    assert laptop.settle("blue") is None
    laptop.check("blue", Goal.RUNNING)
    [after] = cloud.machines("blue")
    assert after.value.id != machine.value.id
    assert cloud.acknowledged["blue"] <= after.work


def test_a_terminated_machine_is_not_relaunched_behind_ones_back() -> None:
    """A persistent spot request launched an unnamed, billed machine after the owner had ended his."""
    cloud, laptop = a_desk()
    reach(laptop, Goal.RUNNING, SPOT)
    reach(laptop, Goal.GONE)
    cloud.clock.time += 86_400.0
    cloud.quiet()
    assert cloud.billed() == []


def test_nothing_dearer_than_agreed_is_launched() -> None:
    """A far dearer offer was provisioned in silence when the cheap one was sold out."""
    want = Want(usd_per_hour_max=0.2)
    cloud, laptop = a_desk()
    fits = tuple(cloud.offers(want))
    assert fits
    assert all(offer.usd_per_hour <= 0.2 for offer in fits)
    cloud.sold_out = {offer.key for offer in fits}
    laptop.want("blue", Goal.RUNNING, fits)
    ask = laptop.settle("blue")
    assert ask is not None
    assert ask.kind is Kind.NO_CAPACITY
    assert cloud.machines() == []


def test_up_is_said_only_after_a_login() -> None:
    """UP was reported for a machine that nobody had ever logged into."""
    _, laptop = a_desk()

    def never(access: object) -> None:
        raise Refused(Kind.NOT_READY, "port 22 does not answer yet")

    laptop.reconciler.executor.prove = never
    laptop.want("blue", Goal.RUNNING, SPOT)
    ask = laptop.settle("blue")
    assert ask is not None, "it asks, in the end, and never says that it is up"
    rows = laptop.store.rows("blue")
    assert [r for r in rows if isinstance(r.step, Launch)]
    assert not [r for r in rows if isinstance(r.step, Prove)]


def test_what_is_parked_is_on_the_bill() -> None:
    """Disks and images of stopped machines were counted nowhere."""
    cloud, laptop = a_desk()
    reach(laptop, Goal.RUNNING)
    reach(laptop, Goal.PARKED)
    cloud.clock.time += 730 * 3600.0
    seen: Seen = cloud.survey().of("blue")
    bill = charges("blue", laptop.store.rows("blue"), cloud.clock.time, seen)
    [image] = [c for c in bill if c.kind == "image"]
    assert image.usd(0.0, cloud.clock.time) == pytest.approx(0.4, rel=0.01)  # the simulator's price a month


def test_the_market_is_as_it_was_asked_for() -> None:
    """An on-demand machine was taken where spot had been asked for."""
    cloud, laptop = a_desk()
    reach(laptop, Goal.RUNNING, SPOT)
    assert all(m.value.market is Market.SPOT for m in cloud.machines("blue"))


def test_a_killed_park_is_finished_by_the_next_command() -> None:
    """A script that died half-way left a machine stopped, an image half-made, and both billed."""
    _, laptop = a_desk()
    reach(laptop, Goal.RUNNING)
    laptop.want("blue", Goal.PARKED)
    until(laptop, Bake)
    assert laptop.settle("blue") is None
    laptop.check("blue", Goal.PARKED)


def test_a_stopped_machine_comes_back_with_what_was_on_it() -> None:
    """A stopped machine came back empty."""
    cloud, laptop = a_desk()
    reach(laptop, Goal.RUNNING, HERE)
    for _ in range(3):
        reach(laptop, Goal.STOPPED)
        reach(laptop, Goal.RUNNING)
    [machine] = cloud.machines("blue")
    assert cloud.acknowledged["blue"] <= machine.work
    assert len(cloud.acknowledged["blue"]) >= 4
    assert cloud.calls.count("launch") == 1


def test_the_disk_of_a_stopped_machine_is_on_the_bill() -> None:
    """A stopped machine was said to cost nothing, and its disk was paid for months."""
    cloud, laptop = a_desk()
    reach(laptop, Goal.RUNNING, HERE)
    reach(laptop, Goal.STOPPED)
    cloud.clock.time += 730 * 3600.0
    bill = charges("blue", laptop.store.rows("blue"), cloud.clock.time, cloud.survey().of("blue"))
    [disk] = [c for c in bill if c.kind == "disk"]
    assert disk.going_on
    assert disk.usd(0.0, cloud.clock.time) == pytest.approx(0.8, rel=0.01)  # the simulator's price a month


def test_an_interruption_is_noticed_at_the_next_look() -> None:
    """It took from two to twenty minutes until somebody noticed."""
    for seed in range(10):
        cloud, laptop = a_desk(seed, lag_seconds=0.0, seconds=0.0)
        reach(laptop, Goal.RUNNING, SPOT)
        [machine] = cloud.machines("blue")
        began = cloud.clock.time
        cloud.interrupt(machine.value.id)
        while not any(isinstance(r.step, Bake) for r in laptop.store.rows("blue")):
            laptop.clock.sleep(laptop.reconciler.tick().seconds or 0.0)
        # A machine takes up to a minute to end in this cloud, and only then is its disk free.
        assert cloud.clock.time - began < 75.0


@pytest.mark.parametrize("words", [("ls",), ("costs",), ("gc",), ("offers", "--gpu", "L4", "--limit", "3")])
def test_no_price_without_its_unit(hotdesk: Command, words: tuple[str, ...]) -> None:
    """A price was shown without saying of what: an hour, a month, a machine or all of them."""
    said = hotdesk(*words).stdout
    for line in said.splitlines():
        for price in re.findall(r"\$ ?\d[\d.,]*(?:\S*)(?: \S+){0,3}", line):
            assert re.search(r"/h|/month|a month|an hour|spent|TOTAL|together|this month", price + line), line


def test_the_group_goes_when_nothing_uses_it(tmp_path: Path, fake: FakeEc2) -> None:
    """Security groups, key pairs and addresses were left behind by every launch, and never deleted."""
    from tests.aws_desk import Laptop as AwsLaptop

    mine = AwsLaptop(fake, tmp_path)
    assert mine.do(Goal.RUNNING) is None
    assert mine.do(Goal.GONE) is None
    mine.time.sleep(4000.0)  # a machine that ended is listed for an hour
    assert mine.gc() == []
    kinds = {"security-group", "key-pair", "elastic-ip", "volume", "snapshot", "image"}
    left = [r for r in mine.things() if r["kind"] in kinds and r["tags"].get("hotdesk") == "1"]
    assert left == []
    mine.store.close()
