"""Stories of a move within a zone: the machine is stopped, given another type, and started again.

`reach` checks in truth: one machine, all work on it, nothing else paid for. An image would be seen as such.
"""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import Goal, Instance, Market
from hotdesk.core.steps import Bake, Retype, Start, Stop
from tests.laptop import HERE, CrashAt, Laptop, a_desk, reach, until
from tests.sim import Cloud, Crash, offers

GPU = offers(kind="gpu.big", region="r1")  # in both zones of r1, equally cheap


def at_work(seed: int = 0, **more: object) -> tuple[Cloud, Laptop]:
    cloud, laptop = a_desk(seed, **more)  # type: ignore[arg-type]
    reach(laptop, Goal.RUNNING, HERE)
    cloud.calls.clear()
    return cloud, laptop


def machine(cloud: Cloud) -> Instance:
    [thing] = cloud.machines("blue")
    assert isinstance(thing.value, Instance)
    return thing.value


def test_a_move_within_the_zone_takes_no_image() -> None:
    cloud, laptop = at_work()
    before = machine(cloud)
    reach(laptop, Goal.RUNNING, GPU, move=True)
    after = machine(cloud)
    assert cloud.calls == ["stop", "retype", "start"]
    assert after.id == before.id
    assert (after.instance_type, after.gpu, after.usd_per_hour) == ("gpu.big", "L4", 1.0)
    reach(laptop, Goal.RUNNING, HERE, move=True)  # and back, which is another move
    assert machine(cloud).instance_type == "cpu.small"
    cloud.calls.clear()
    reach(laptop, Goal.RUNNING, GPU)  # asked for, and not moved: nothing to do, whatever is cheaper now
    assert cloud.calls == []


def test_what_was_worked_after_a_move_is_saved_from_it() -> None:
    """1. Up, park, resume. 2. Move within the zone, work. 3. Park: the only image is of that work."""
    cloud, laptop = at_work()
    reach(laptop, Goal.PARKED)
    reach(laptop, Goal.RUNNING, HERE)
    reach(laptop, Goal.RUNNING, GPU, move=True)
    reach(laptop, Goal.PARKED)
    reach(laptop, Goal.RUNNING, GPU)
    reach(laptop, Goal.GONE)
    assert cloud.calls.count("retype") == 1


def test_a_machine_interrupted_after_a_move_leaves_a_disk_that_is_newer_than_any_image() -> None:
    """1. Moved; a park is cut off once its image is there. 2. Woken, worked. 3. Somebody ends the machine."""
    cloud, laptop = at_work()
    reach(laptop, Goal.RUNNING, GPU, move=True)
    cloud.fault_at = {}
    cloud.script = {"delete": [Refused(Kind.DENIED, "no", seconds=1.0)]}
    laptop.want("blue", Goal.PARKED)
    assert laptop.settle("blue") is not None
    reach(laptop, Goal.RUNNING)
    [thing] = cloud.machines("blue")
    thing.keeps_disk = True
    cloud._delete(thing.value.id, keep_disk=True)
    reach(laptop, Goal.PARKED)


@pytest.mark.parametrize(
    ("where", "why"),
    [
        (offers(kind="gpu.big", region="r2"), "another region"),
        (tuple(o for o in GPU if o.zone == "r1b"), "another zone"),
        (offers(kind="gpu.big", region="r1", market=Market.SPOT), "another market"),
        (tuple(replace(o, arch="arm64") for o in GPU), "another architecture"),
        ((replace(GPU[1], usd_per_hour=0.9), GPU[0]), "a cheaper offer elsewhere"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_in_reach_of_the_machine_goes_by_an_image(where: tuple, why: str) -> None:
    cloud, laptop = at_work()
    before = machine(cloud)
    reach(laptop, Goal.RUNNING, where, move=True)
    assert machine(cloud).id != before.id, why
    assert "bake" in cloud.calls
    assert "retype" not in cloud.calls


def test_a_bigger_disk_goes_by_an_image() -> None:
    cloud, laptop = at_work()
    laptop.want("blue", Goal.RUNNING, GPU, move=True)
    desk = laptop.store.desk("blue")
    laptop.store.put(replace(desk, want=replace(desk.want, disk_gib=500)))
    assert laptop.settle("blue") is None
    laptop.check("blue", Goal.RUNNING)
    assert "retype" not in cloud.calls


def test_a_provider_that_cannot_goes_by_an_image() -> None:
    cloud, laptop = at_work(retypes=False)
    reach(laptop, Goal.RUNNING, GPU, move=True)
    assert machine(cloud).instance_type == "gpu.big"
    assert "retype" not in cloud.calls


@pytest.mark.parametrize("kind", [Kind.UNSUPPORTED, Kind.BAD_REQUEST, Kind.QUOTA])
def test_a_type_that_the_machine_cannot_have_goes_by_an_image(kind: Kind) -> None:
    cloud, laptop = at_work()
    before = machine(cloud)
    cloud.script = {"retype": [Refused(kind, "not this machine", seconds=30.0)]}
    reach(laptop, Goal.RUNNING, GPU[:1], move=True)
    assert machine(cloud).id != before.id
    assert machine(cloud).instance_type == "gpu.big"
    assert cloud.calls.count("bake") == 1


def test_sold_out_at_its_start_goes_by_an_image_to_where_there_is_some() -> None:
    cloud, laptop = at_work()
    cloud.sold_out = {GPU[0].key}
    reach(laptop, Goal.RUNNING, GPU, move=True)
    assert machine(cloud).zone == "r1b"
    assert "retype" in cloud.calls
    assert "bake" in cloud.calls


def test_sold_out_everywhere_is_a_question_with_the_work_saved() -> None:
    cloud, laptop = at_work()
    cloud.sold_out = {o.key for o in GPU}
    laptop.want("blue", Goal.RUNNING, GPU, move=True)
    ask = laptop.settle("blue")
    assert ask is not None
    assert ask.kind is Kind.NO_CAPACITY
    reach(laptop, Goal.PARKED)


def test_no_permission_to_change_the_type_is_a_question() -> None:
    cloud, laptop = at_work()
    cloud.script = {"retype": [Refused(Kind.DENIED, "you may not", fix="hotdesk iam", seconds=600.0)]}
    laptop.want("blue", Goal.RUNNING, GPU, move=True)
    ask = laptop.settle("blue")
    assert ask is not None
    assert ask.fix == "hotdesk iam"
    cloud.script = {}
    reach(laptop, Goal.RUNNING)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.slow
def test_a_crash_at_every_boundary_of_a_move(seed: int) -> None:
    cloud, laptop = at_work(seed)
    cloud.boundary = count = CrashAt()
    reach(laptop, Goal.RUNNING, GPU, move=True)
    reach(laptop, Goal.PARKED)
    for at in range(1, count.count + 1):
        cloud, laptop = at_work(seed)
        cloud.boundary = CrashAt(at)
        try:
            laptop.want("blue", Goal.RUNNING, GPU, move=True)
        except Crash:
            laptop.crash()
            laptop.want("blue", Goal.RUNNING, GPU, move=True)
        assert laptop.settle("blue") is None
        laptop.check("blue", Goal.RUNNING)
        assert machine(cloud).instance_type == "gpu.big"
        assert "bake" not in cloud.calls
        laptop.work("blue")
        cloud.boundary = lambda label: None
        reach(laptop, Goal.PARKED)


@pytest.mark.parametrize("fault", ["lost", "never"])
def test_a_lost_reply_at_every_call_of_a_move(fault: str) -> None:
    for at in range(3):
        cloud, laptop = at_work(at)
        cloud.fault_at = {cloud._acts + 1 + at: fault}
        reach(laptop, Goal.RUNNING, GPU, move=True)
        assert machine(cloud).instance_type == "gpu.big"
        assert "bake" not in cloud.calls


@pytest.mark.parametrize("step", [Stop, Retype, Start])
@pytest.mark.parametrize("goal", list(Goal))
def test_a_change_of_mind_after_each_step(step: type, goal: Goal) -> None:
    _, laptop = at_work()
    laptop.want("blue", Goal.RUNNING, GPU, move=True)
    until(laptop, step)
    reach(laptop, goal)
    reach(laptop, Goal.RUNNING, HERE)


def test_a_second_move_before_the_first_is_done() -> None:
    """1. A move is killed once the type is changed. 2. Another move, elsewhere. 3. It ends there."""
    cloud, laptop = at_work()
    laptop.want("blue", Goal.RUNNING, GPU, move=True)
    until(laptop, Retype)
    reach(laptop, Goal.RUNNING, offers(kind="gpu.big", region="r2"), move=True)
    assert machine(cloud).region == "r2"


def test_a_move_that_was_baking_goes_on_baking() -> None:
    """A refusal that is no longer believed must not wake a machine whose image is under way."""
    cloud, laptop = at_work()
    cloud.script = {"retype": [Refused(Kind.UNSUPPORTED, "not this machine", seconds=1.0)]}
    laptop.want("blue", Goal.RUNNING, GPU[:1], move=True)
    until(laptop, Bake)
    laptop.clock.sleep(100.0)
    assert laptop.settle("blue") is None
    assert cloud.calls.count("retype") == 0
    assert cloud.calls.count("bake") == 1
