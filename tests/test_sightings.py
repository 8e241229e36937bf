"""What looks have shown, on the bill: things that went before anybody acted, and ends that nobody saw."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hotdesk.core.billing.charges import charges
from hotdesk.core.billing.observed import Sighting, merged, news
from hotdesk.core.billing.rates import Charge, Rates
from hotdesk.core.model import Disk, Goal, Instance, Phase, Seen, Survey
from tests.laptop import HERE, SPOT, Laptop, a_desk, reach
from tests.sim import Cloud

HOUR = 3600.0
RATES = {"sim": Rates(disk_usd_per_gib_month=0.1, image_usd_per_gib_month=0.05, disk_gib=8.0)}
DISK = Disk(id="d-1", desk="blue", generation=1, phase=Phase.READY, provider="sim", region="r1",
            usd_per_month=0.8)  # fmt: skip


def bill(cloud: Cloud, laptop: Laptop, seen: Seen | None = None) -> list[Charge]:
    rows, sighted = laptop.store.rows("blue"), laptop.store.sighted("blue")
    return charges("blue", rows, cloud.clock.time, seen or Survey(provider="sim").nothing,
                   rates=RATES, provider="sim", sighted=sighted)  # fmt: skip


def look(known: dict[str, Sighting], at: float, *things: Disk, unread: tuple[str, ...] = ()) -> None:
    survey = Survey(provider="sim", disks=things, unread=unread, lag_seconds=30.0)
    known |= {t.id: t for t in news(known, survey, {"blue"}, at - 1, at + 1)}


def test_a_disk_deleted_in_the_console_before_anybody_acted_is_paid_until_it_was_missed() -> None:
    """1. Taken back. 2. Its disk is seen by `ls`. 3. Somebody deletes it by hand. 4. A week passes."""
    cloud, laptop = a_desk(lag_seconds=0.0, seconds=0.0)
    reach(laptop, Goal.RUNNING, SPOT)
    [machine] = cloud.machines()
    cloud.interrupt(machine.value.id)
    cloud.quiet()
    cloud.clock.time += 5 * HOUR
    [disk] = laptop.reconciler.clouds.survey("sim").of("blue").disks
    cloud.clock.time += HOUR
    cloud.console_delete(disk.id)
    cloud.quiet()
    cloud.clock.time += HOUR
    assert laptop.reconciler.clouds.survey("sim").of("blue").disks == ()
    missed = cloud.clock.time
    cloud.clock.time += 7 * 24 * HOUR
    [charge] = [c for c in bill(cloud, laptop) if c.kind == "disk"]
    true = missed - 2 * HOUR - machine.made_at
    assert true <= charge.ended - charge.began <= missed - machine.made_at + 1
    assert charge.sure_until is not None
    assert charge.sure_until <= disk_ended(cloud, disk.id)
    assert not charge.going_on


def disk_ended(cloud: Cloud, id_: str) -> float:
    return cloud.things[id_].ended_at


def test_an_image_deleted_in_the_console_is_not_paid_for_ever() -> None:
    cloud, laptop = a_desk(lag_seconds=0.0, seconds=0.0)
    reach(laptop, Goal.RUNNING, HERE)
    reach(laptop, Goal.PARKED)
    [image] = cloud.images()
    cloud.clock.time += 100 * HOUR
    laptop.reconciler.clouds.survey("sim")
    cloud.console_delete(image.value.id)
    cloud.quiet()
    laptop.reconciler.clouds.survey("sim")
    cloud.clock.time += 1000 * HOUR
    [charge] = [c for c in bill(cloud, laptop) if c.kind == "image"]
    assert charge.ended == pytest.approx(image.ended_at, abs=2 * HOUR)
    assert charge.usd_per_hour * 730 == pytest.approx(0.4)  # as it was seen, not as it is guessed
    assert charge.usd_least(0, 1e12) == pytest.approx(charge.usd(0, 1e12), rel=0.05)


def test_a_machine_that_ended_unseen_is_paid_for_as_long_as_its_cloud_says_that_it_ran() -> None:
    """Whoever looks while it is still listed knows when it ended; no step is needed for that."""
    cloud, laptop = a_desk(lag_seconds=0.0, seconds=0.0)
    reach(laptop, Goal.RUNNING, SPOT)
    [machine] = cloud.machines()
    began = cloud.clock.time
    cloud.clock.time += 2 * HOUR
    cloud.interrupt(machine.value.id)
    cloud.clock.time += HOUR / 2
    laptop.reconciler.clouds.survey("sim")
    cloud.clock.time += 500 * HOUR
    [run] = [c for c in bill(cloud, laptop) if c.kind == "compute"]
    assert run.ended - began == pytest.approx(2 * HOUR, abs=90)
    assert not run.at_most


def test_a_machine_that_another_computer_ran_meanwhile_is_on_the_bill_of_whoever_saw_it() -> None:
    cloud, laptop = a_desk(lag_seconds=0.0, seconds=0.0)
    reach(laptop, Goal.RUNNING, HERE)
    reach(laptop, Goal.PARKED)
    other = Laptop(cloud)
    reach(other, Goal.RUNNING, HERE)
    laptop.reconciler.clouds.survey("sim")
    cloud.clock.time += 3 * HOUR
    laptop.reconciler.clouds.survey("sim")
    reach(other, Goal.PARKED)
    laptop.reconciler.clouds.survey("sim")
    cloud.clock.time += 50 * HOUR
    runs = [c for c in bill(cloud, laptop) if c.kind == "compute"]
    assert len(runs) == 2
    [later] = [c for c in runs if c.usd_least(0, 1e12) > 0.1]
    assert later.usd_least(0, 1e12) == pytest.approx(3 * 0.1, rel=0.02)


def test_an_image_shows_that_its_machine_was_off_by_then() -> None:
    """1. Running. 2. Another computer parks it after an hour. 3. A week on, its image is all there is."""
    cloud, laptop = a_desk(lag_seconds=0.0, seconds=0.0, lists_ended=False)
    reach(laptop, Goal.RUNNING, HERE)
    [machine] = cloud.machines()
    began = cloud.clock.time
    cloud.clock.time += HOUR
    other = Laptop(cloud)
    reach(other, Goal.RUNNING, HERE)
    reach(other, Goal.PARKED)
    cloud.clock.time += 7 * 24 * HOUR
    assert laptop.reconciler.clouds.survey("sim").of("blue").machines == ()
    [run] = [c for c in bill(cloud, laptop) if c.kind == "compute" and c.id == machine.value.id]
    assert run.ended - began == pytest.approx(HOUR, abs=300)


# ---- what one look adds ------------------------------------------------------------------------------


def test_silence_of_a_region_ends_nothing() -> None:
    known: dict[str, Sighting] = {}
    look(known, 1000.0, DISK)
    look(known, 5000.0, unread=("r1",))
    assert known["d-1"].gone == 0
    look(known, 6000.0)
    assert known["d-1"].gone == 6001.0


def test_right_after_its_making_a_listing_may_forget_a_thing() -> None:
    known: dict[str, Sighting] = {}
    look(known, 1000.0, DISK)
    look(known, 1010.0)
    assert known["d-1"].gone == 0
    look(known, 1100.0)
    assert known["d-1"].gone == 1101.0
    look(known, 1200.0, DISK)
    assert known["d-1"].gone == 0, "it is there, whatever was thought"


def test_what_is_still_there_is_written_down_every_ten_minutes() -> None:
    known: dict[str, Sighting] = {}
    look(known, 1000.0, DISK)
    look(known, 1300.0, DISK)
    assert known["d-1"].last == 999.0
    look(known, 1600.0, DISK)
    assert known["d-1"].last == 1599.0


def test_what_two_processes_saw_is_put_together() -> None:
    nothing = Sighting(id="d-1", kind="disk", desk="blue", provider="sim", region="r1")
    early, late = replace(nothing, first=10, last=90), replace(nothing, first=50, last=60, gone=70)
    both = merged(early, late)
    assert (both.first, both.last, both.gone) == (10, 90, 0), "seen after it was missed"
    assert merged(late, early).gone == 0


def test_a_start_is_known_by_its_clouds_clock() -> None:
    known: dict[str, Sighting] = {}
    machine = Instance(id="i-1", name="n", desk="blue", generation=1, phase=Phase.READY, provider="sim",
                       region="r1", zone="r1a", instance_type="cpu.small", started_at=7.0)  # fmt: skip
    for at, shown in ((100.0, machine), (200.0, None), (300.0, None)):
        there = () if shown is None else (shown,)
        survey = Survey(provider="sim", instances=there)
        known |= {t.id: t for t in news(known, survey, {"blue"}, at, at)}
    [run] = known["i-1"].runs
    assert (run.started_at, run.on_first, run.off_at) == (7.0, 100.0, 200.0)
