"""Which copy holds whose work: by descent. A number, a name and a date tell nothing of where work comes from.

The stories of docs/failures.md that are about other computers, other beginnings and disks that come back.
"""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.lifecycle.descent import Descent, extended, holds, machine_of, mark, marked, own
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.lifecycle.plan import plan, plan_gc
from hotdesk.core.model import Desk, Disk, Goal, Image, Instance, Leftover, Market, Phase, Seen
from hotdesk.core.steps import Ask, Bake, Copy, Delete, Done, Launch, LaunchOrder, Prove, Row, Start
from hotdesk.providers.cloud import vocabulary
from tests.laptop import HERE, SPOT, THERE, Laptop, a_desk, reach, until
from tests.sim import Cloud, Faults, offers


def machine(name: str, generation: int = 1, **more: object) -> Instance:
    return Instance(
        id=f"i-{name}", name=f"hotdesk-blue-g{generation}-{name}", desk="blue", generation=generation,
        phase=Phase.READY, provider="sim", region="r1", zone="r1a", instance_type="t", **more,
    )  # type: ignore[arg-type]  # fmt: skip


def image_of(source: Instance, **more: object) -> Image:
    return Image(**{  # type: ignore[arg-type]
        "id": f"m-{source.name[-2:]}", "name": f"image-of-{source.name}", "desk": "blue",
        "phase": Phase.READY, "generation": source.generation, "provider": "sim", "region": "r1",
        "verified": True, "source_id": source.id, "machine": source.name, "line": source.line,
        "started_at": source.started_at,
        "image_id": source.image_id, "taken_at": source.started_at + 50, **more,
    })  # fmt: skip


FIRST = machine("aa", started_at=100.0, line=())
SAVED = image_of(FIRST)
SECOND = machine("bb", 2, started_at=200.0, line=extended(SAVED), image_id=SAVED.id)
LATER = image_of(SECOND)
ANEW = image_of(machine("cc", 3, started_at=300.0, line=()))  # a later number, and another beginning


# ---- the relation itself -------------------------------------------------------------------------------


def test_what_descends_holds_the_work_and_nothing_else_does() -> None:
    seen = Seen(images=(SAVED, LATER, ANEW))
    assert holds(seen, LATER, SAVED)
    assert not holds(seen, SAVED, LATER)
    assert not holds(seen, ANEW, SAVED), "a later number is no descent"
    assert not holds(seen, replace(LATER, verified=False), SAVED)


def test_a_machine_that_went_on_after_it_was_saved_is_not_held() -> None:
    woken = replace(FIRST, started_at=150.0)
    again = image_of(woken, id="m-2")
    seen = Seen(images=(SAVED, again, LATER))
    assert holds(seen, again, SAVED)
    assert not holds(seen, SAVED, again)
    assert not holds(seen, LATER, again), "it was launched from the save before"


def test_a_copy_and_its_original_hold_each_other() -> None:
    copied = replace(SAVED, id="m-copy", name="copy", region="r2")
    seen = Seen(images=(SAVED, copied))
    assert holds(seen, SAVED, copied)
    assert holds(seen, copied, SAVED)


def test_a_disk_of_which_nobody_knows_the_last_start_is_held_by_an_image_of_itself_only() -> None:
    disk = Disk(id="d-1", desk="blue", generation=1, phase=Phase.READY, provider="sim", region="r1",
                machine=FIRST.name)  # fmt: skip
    of_it = image_of(FIRST, source_id="d-1", final=True)
    assert not holds(Seen(disks=(disk,), images=(SAVED,)), SAVED, disk)
    assert holds(Seen(disks=(disk,), images=(of_it,)), of_it, disk)
    known = replace(disk, started_at=100.0)
    assert holds(Seen(disks=(known,), images=(SAVED,)), SAVED, known)


def test_things_from_before_lines_were_written_are_followed_by_what_they_do_say() -> None:
    """The image that a machine was launched from, and the machine that an image was taken of."""
    first = replace(SAVED, machine="", line=None, image_id="")
    ended = replace(SECOND, line=None, phase=Phase.ENDED)
    second = replace(LATER, machine="", line=None, image_id="")
    assert holds(Seen(images=(first, second), instances=(ended,)), second, first)
    assert not holds(Seen(images=(first, second)), second, first), "unknown is not assumed"
    new = replace(
        second, image_id=first.id
    )  # saved by this version, of a machine that an earlier one launched
    assert holds(Seen(images=(first, new)), new, first)


def test_a_tag_may_say_anything() -> None:
    """A machine that claims to descend from itself, and lines that are no lines."""
    loop = replace(SAVED, image_id=SAVED.id)
    assert Descent(Seen(images=(loop,))).history(loop)
    assert vocabulary.line_of({"line": "abc@zz zz,@,def"}) is not None
    assert vocabulary.line_of({}) is None
    assert vocabulary.line_of({"line": "-"}) == ()
    told = vocabulary.line_of({"line": "abc@zz zz"})
    assert vocabulary.line(told or ()) == "abc@0", "what is launched from it says that it holds nothing"
    for word in ("nan", "inf", "-inf"):
        assert vocabulary.number({"started": word}, "started") == 0.0


def test_a_line_fits_into_a_tag_and_keeps_the_latest() -> None:
    marks = [marked(f"hotdesk-blue-g{n}-{n:08x}", 1.7e9 + n) for n in range(40)]
    text = vocabulary.line(marks)
    assert len(text) <= 256
    told = vocabulary.line_of({"line": text})
    assert told == tuple(marks[-len(told or ()) :])
    assert len(told or ()) >= 14
    final = marked("hotdesk-blue-g1-0badc0de", float("inf"))
    assert vocabulary.line_of({"line": vocabulary.line([final])}) == (final,)
    assert vocabulary.line([]) == "-"


# ---- several beginnings --------------------------------------------------------------------------------


def desk_of(goal: Goal = Goal.RUNNING, **more: object) -> Desk:
    return Desk(name="blue", goal=goal, since=1.0, created_at=1.0, provider="sim", offers=offers(), **more)  # type: ignore[arg-type]  # fmt: skip


def test_two_beginnings_are_a_question_to_whoever_knows_neither() -> None:
    seen = Seen(images=(LATER, ANEW))
    [ask] = plan(desk_of(), seen, Past(), 1e6)
    assert isinstance(ask, Ask)
    assert "2 separate lines of work" in ask.what
    assert "--from" in ask.fix
    [launch] = plan(desk_of(origin=LATER.id), seen, Past(), 1e6)
    assert isinstance(launch, Launch)
    assert launch.order.image_id == LATER.id
    assert own(desk_of(origin=LATER.id), seen, Past()).strays == (ANEW,)


def test_nothing_of_another_beginning_goes_and_gc_asks_about_it() -> None:
    from hotdesk.core.model import Survey

    survey = Survey(provider="sim", images=(SAVED, LATER, ANEW))
    steps = plan_gc(survey, [], 1e6)
    assert [s.id for s in steps if isinstance(s, Delete)] == [SAVED.id]
    assert [LATER.id in s.what and ANEW.id in s.what for s in steps if isinstance(s, Ask)] == [True]


def two_computers(seed: int) -> tuple[Cloud, Laptop, Laptop]:
    """One looks at both regions, the other at the second only."""
    cloud = Cloud(seed=seed, lag_seconds=20.0, faults=Faults(seconds=8.0))
    one, other = Laptop(cloud), Laptop(cloud, regions=("r2",))

    def given_up(name: str) -> bool:
        desks = [laptop.store.find(name) for laptop in (one, other)]
        return any(desk is not None and desk.goal is Goal.GONE for desk in desks)

    cloud.given_up = given_up
    return cloud, one, other


@pytest.mark.parametrize("seed", range(6))
def test_another_computer_that_does_not_see_the_desk_makes_one_of_its_name(seed: int) -> None:
    """1. Worked and parked in r1, moved once. 2. A computer that looks at r2 makes its own, works, parks.
    3. The first resumes and parks; a third tidies. 4. All work is there. 5. Each deletes its own."""
    cloud, one, other = two_computers(seed)
    reach(one, Goal.RUNNING, HERE)
    one.want("blue", Goal.RUNNING, offers(region="r1", kind="gpu.big"), move=True)
    assert one.settle("blue") is None
    one.work("blue")
    reach(one, Goal.PARKED)
    cloud.clock.sleep(200.0)
    reach(other, Goal.RUNNING, THERE)
    reach(other, Goal.PARKED)
    cloud.clock.sleep(200.0)
    reach(one, Goal.RUNNING, HERE)
    reach(one, Goal.PARKED)
    cloud.quiet()
    for step in plan_gc(cloud.survey(), [], cloud.clock.now()):
        if isinstance(step, Delete):
            cloud.delete(step.id)
    assert cloud.violations == []
    assert len(cloud.images()) == 2
    everything = set(cloud.acknowledged["blue"])
    assert cloud.kept(everything) == everything
    one.want("blue", Goal.GONE)
    assert one.settle("blue") is None
    cloud.quiet()
    [left] = cloud.images()
    assert left.value.region == "r2", "the other's work is not this desk's to delete"
    reach(other, Goal.RUNNING, THERE)


@pytest.mark.parametrize("seed", range(6))
def test_a_disk_that_was_in_use_elsewhere_comes_back_after_fresh(seed: int) -> None:
    """1. Its disk, the only copy, hangs at a rescue machine: asked about. 2. --fresh, work, parked.
    3. The disk comes back, and stays through resume, park and gc."""
    cloud, laptop = a_desk(seed)
    reach(laptop, Goal.RUNNING, SPOT)
    cloud.interrupt(cloud.machines()[0].value.id)
    cloud.quiet()
    [disk] = [t.value.id for t in cloud.billed("blue") if isinstance(t.value, Disk)]
    cloud.lend(disk)
    cloud.quiet()
    for goal in (Goal.RUNNING, Goal.PARKED):
        laptop.want("blue", goal, HERE)
        ask = laptop.settle("blue")
        assert ask is not None
        assert "in use at i-rescue" in ask.what
    laptop.want("blue", Goal.RUNNING, HERE, fresh=True)
    assert laptop.settle("blue") is None
    laptop.work("blue")
    reach(laptop, Goal.PARKED)
    cloud.give_back(disk)
    cloud.quiet()
    reach(laptop, Goal.RUNNING, HERE)
    reach(laptop, Goal.PARKED)
    assert cloud.find(disk) is not None
    survey = cloud.survey()
    kept = plan_gc(survey, laptop.store.desks(), cloud.clock.now(), laptop.store.past)
    assert [disk in s.what for s in kept if isinstance(s, Ask)] == [True]
    reach(laptop, Goal.GONE)
    assert cloud.find(disk) is None, "this computer made it, for this desk"


@pytest.mark.parametrize("seed", range(12))
def test_started_elsewhere_in_the_middle_of_a_bake(seed: int) -> None:
    """1. Parking: the image is asked for. 2. Another computer starts the machine and works on it.
    3. The image of before that is no save: another is taken."""
    cloud, laptop = a_desk(seed, lag_seconds=0.0)
    other = Laptop(cloud)
    reach(laptop, Goal.RUNNING, HERE)
    laptop.want("blue", Goal.PARKED)
    until(laptop, Bake)
    other.want("blue", Goal.RUNNING, HERE)
    assert other.settle("blue") is None
    other.work("blue")
    reach(laptop, Goal.PARKED)
    assert cloud.violations == []
    reach(laptop, Goal.RUNNING, HERE)


@pytest.mark.parametrize("seed", range(12))
def test_started_elsewhere_between_the_look_and_the_deletion(seed: int) -> None:
    """The machine goes only if it is still off, and was not started again: its cloud is asked at the end."""
    cloud, laptop = a_desk(seed, lag_seconds=0.0, seconds=0.0)
    reach(laptop, Goal.RUNNING, HERE)
    [thing] = cloud.machines()
    laptop.want("blue", Goal.PARKED)
    woken: list[str] = []

    def wake(label: str) -> None:
        if label == "before delete" and not woken:
            woken.append(label)
            cloud._power(thing.value.id, True)
            cloud.clock.time += 60.0
            cloud._advance()
            cloud.work(thing.value.id)

    cloud.boundary = wake
    assert laptop.settle("blue") is None
    assert woken
    laptop.check("blue", Goal.PARKED)


@pytest.mark.parametrize("market", list(Market))
def test_down_at_one_computer_is_no_loss_to_another(market: Market) -> None:
    """1. Known at both. 2. down at one. 3. Within the hour, up at the other: no question, a new desk."""
    where = {Market.SPOT: SPOT, Market.ON_DEMAND: HERE}[market]
    for seed in range(8):
        cloud, laptop = a_desk(seed)
        other = Laptop(cloud)
        reach(laptop, Goal.RUNNING, where)
        cloud.clock.sleep(100.0)
        if seed % 2:
            reach(other, Goal.RUNNING, where)
        laptop.want("blue", Goal.GONE)
        assert laptop.settle("blue") is None
        cloud.acknowledged.clear()
        cloud.clock.sleep(100.0)
        reach(other, Goal.RUNNING, where)


def test_a_down_that_was_taken_back_silences_no_question() -> None:
    """1. down, which the cloud does not allow. 2. up, and work. 3. Deleted in the console: asked about."""
    cloud, laptop = a_desk(3)
    reach(laptop, Goal.RUNNING, HERE)
    [machine] = cloud.machines()
    cloud.script["delete"] = [Refused(Kind.DENIED, "not allowed", seconds=600.0)]
    laptop.want("blue", Goal.GONE)
    assert laptop.settle("blue") is not None
    cloud.clock.sleep(1000.0)
    reach(laptop, Goal.RUNNING, HERE)
    cloud.clock.sleep(1000.0)
    cloud.console_delete(machine.value.id)
    cloud.clock.sleep(200.0)
    laptop.want("blue", Goal.RUNNING, HERE)
    ask = laptop.settle("blue")
    assert ask is not None
    assert f"{machine.value.id} is gone" in ask.what


def _entered(seen_machine: Instance) -> Past:
    """What a computer knows that has launched and entered this machine, and nothing else."""
    order = LaunchOrder(desk="blue", born=1.0, generation=1, attempt=0, offer=offers()[0])
    proof = Prove(id=seen_machine.id, name=seen_machine.name, generation=1, started_at=100.0, why="")
    done = Done(id=seen_machine.id)
    return Past([
        Row(id=1, desk="blue", at=2.0, step=Launch(order=order, why=""), ended_at=3.0, outcome=done),
        Row(id=2, desk="blue", at=4.0, step=proof, ended_at=5.0, outcome=done),
    ])  # fmt: skip


def test_down_leaves_a_snapshot_of_another_beginning_and_takes_its_own() -> None:
    """The image of another computer's machine is gone, and its snapshot is the only copy."""
    left = [
        Leftover(id=f"snap-{name}", kind="snapshot", provider="sim", region="r1", desk="blue", generation=4,
                 machine=f"hotdesk-blue-g4-{name}", started_at=400.0)
        for name in ("aa", "cc", "dd")
    ]  # fmt: skip
    seen = Seen(instances=(FIRST,), images=(ANEW,), leftovers=tuple(left))
    steps = plan(desk_of(Goal.GONE), seen, _entered(FIRST), 1e6)
    assert [s.id for s in steps if isinstance(s, Delete)] == [FIRST.id, "snap-aa"]
    unknown = plan(desk_of(Goal.GONE), seen, Past(), 1e6)
    assert {s.id for s in unknown if isinstance(s, Delete)} >= {"snap-aa", "snap-cc", "snap-dd"}


def test_what_was_chosen_and_is_not_there_is_a_question_and_never_another() -> None:
    """--from of what somebody deletes in that moment, of a wrong id, and of what the desk went on from."""

    def asked(origin: str, *images: Image) -> object:
        return plan(desk_of(origin=origin), Seen(images=images), Past(), 1e6)[0]

    for images in ((SAVED,), (SAVED, ANEW)):
        ask = asked("m-gone", *images)
        assert isinstance(ask, Ask)
    assert isinstance(ask := asked("m-gone", SAVED), Ask)
    assert "cannot continue from m-gone" in ask.what
    ending = replace(ANEW, phase=Phase.ENDING)
    assert isinstance(ask := asked(ANEW.id, SAVED, ending), Ask)
    assert "cannot continue from" in ask.what
    assert isinstance(ask := asked(SAVED.id, SAVED, LATER), Ask)
    assert "has already continued" in ask.what
    asked_now = replace(desk_of(origin=SAVED.id), since=10.0)
    for phase in (Phase.READY, Phase.STOPPED):  # its machine has gone on from it: it is not started either
        machine = replace(SECOND, phase=phase)
        [ask] = plan(asked_now, Seen(instances=(machine,), images=(SAVED,)), _entered(machine), 1e6)
        assert isinstance(ask, Ask)
        assert "has already continued" in ask.what
    for origin, images in ((ANEW, (SAVED, ANEW)), (SAVED, (SAVED, ANEW)), (LATER, (SAVED, LATER))):
        step = asked(origin.id, *images)
        assert isinstance(step, Launch)
        assert step.order.image_id == origin.id


def test_a_command_goes_to_the_machine_that_this_computer_knows() -> None:
    """Another computer runs a desk of the same name, with a later number."""
    theirs = machine("cc", 7, started_at=900.0, line=())
    seen = Seen(instances=(FIRST, theirs))
    assert machine_of(desk_of(), seen, _entered(FIRST)) == FIRST
    assert machine_of(desk_of(), seen, Past()) == theirs, "it knows neither: as listed"
    assert machine_of(desk_of(), Seen(instances=(theirs,), images=(SAVED,)), _entered(FIRST)) is None


@pytest.mark.parametrize("seed", range(20))
def test_two_computers_say_up_at_the_same_moment(seed: int) -> None:
    """Both launch; one machine stays, nobody is asked, and both come to an end."""
    cloud, laptop = a_desk(seed, lag_seconds=seed % 2 * 20.0, seconds=seed % 4 * 3.0)
    other = Laptop(cloud)
    both = (laptop, other)
    for one in both:
        one.want("blue", Goal.RUNNING, HERE)
        cloud.clock.time += 0.01
    desks = [one.store.desk("blue") for one in both]
    for one in both:  # each has looked before the other's machine can be seen
        one.reconciler.executor.take([(desks[both.index(one)], _launch(one))], one.clock.now())
        cloud.clock.time += seed % 3
    assert len(cloud.machines()) == 2
    cloud.violations.clear()  # two machines for a moment: that is the story
    for _ in range(300):
        ticks = [one.reconciler.tick({"blue"}) for one in both]
        assert not any(tick.asks for tick in ticks), [tick.asks for tick in ticks]
        if all(tick.seconds is None for tick in ticks):
            break
        cloud.clock.sleep(min(t.seconds for t in ticks if t.seconds is not None))
    assert len(cloud.machines()) == 1
    assert cloud.violations == []


def _launch(laptop: Laptop) -> Launch:
    desk = laptop.store.desk("blue")
    [step] = plan(desk, Seen(), Past(), laptop.clock.now())
    assert isinstance(step, Launch)
    return step


# ---- copies, and launches that come to nothing ---------------------------------------------------------


@pytest.mark.parametrize("how", ["failed", "pruned"])
def test_a_copy_into_a_region_can_be_made_again(how: str) -> None:
    """EC2 answers the same request with what it made then, also where that is gone: each is another."""
    for seed in range(6):
        cloud, laptop = a_desk(seed)
        reach(laptop, Goal.RUNNING, HERE)
        reach(laptop, Goal.PARKED)
        if how == "failed":
            cloud.script["image"] = ["failed"]
        else:
            cloud.sold_out = {o.key for o in THERE}
            laptop.want("blue", Goal.RUNNING, THERE)
            assert laptop.settle("blue") is not None
            reach(laptop, Goal.PARKED)
            cloud.sold_out = set()
            cloud.clock.sleep(4000.0)
        reach(laptop, Goal.RUNNING, THERE)
        copies = [r.step.name for r in laptop.store.rows("blue") if isinstance(r.step, Copy) and r.done]
        assert len(copies) == len({*copies})
        assert len(copies) == 2 or how == "pruned", "of two equal ones, either may have been kept"


@pytest.mark.parametrize("resumed", [False, True])
def test_a_launch_that_the_cloud_ends_at_once_is_tried_once(resumed: bool) -> None:
    """A key that may not be used: one launch, the cloud's words, and no empty disk taken for the desk."""
    for seed in range(6):
        cloud, laptop = a_desk(seed)
        if resumed:
            reach(laptop, Goal.RUNNING, HERE)
            reach(laptop, Goal.PARKED)
        launched = cloud.calls.count("launch")
        cloud.script["ended"] = [{"reason": "Client error on launch", "fix": "ask for the key"}]
        laptop.want("blue", Goal.RUNNING, HERE)
        ask = laptop.settle("blue")
        assert ask is not None
        assert (ask.why, ask.fix) == ("Client error on launch", "ask for the key")
        assert cloud.calls.count("launch") == launched + 1
        assert [t for t in cloud.billed("blue") if isinstance(t.value, Disk)] == []
        assert len(cloud.images()) == resumed
        reach(laptop, Goal.RUNNING, HERE)


def test_a_row_of_another_computer_starts_nothing_of_another_beginning() -> None:
    """A machine that was begun elsewhere runs under the name: neither parked nor joined from here."""
    cloud, one, other = two_computers(3)
    reach(one, Goal.RUNNING, HERE)
    reach(one, Goal.PARKED)
    cloud.clock.sleep(200.0)
    reach(other, Goal.RUNNING, THERE)
    acts = len(one.store.rows("blue"))
    one.want("blue", Goal.RUNNING, HERE)
    ask = one.settle("blue")
    assert ask is not None
    assert "none of the work of this computer" in ask.why
    one.want("blue", Goal.PARKED)
    assert one.settle("blue") is None
    assert not [r for r in one.store.rows("blue")[acts:] if isinstance(r.step, Launch | Start | Delete)]
    assert len(cloud.machines()) == 1


@pytest.mark.parametrize("started", [0.0, 1795967676.0, 1795967676.87, 1795967676.9999998])
def test_a_start_comes_back_from_its_tag_to_the_last_digit(started: float) -> None:
    """A part of a second that is lost makes work look lost at the next computer."""
    line = (f"0badc0de@{started!r}", "feedbeef@1795967000.0")
    assert vocabulary.line_of({"line": vocabulary.line(line)}) == line


def test_the_line_of_a_launch_is_what_its_image_tells() -> None:
    assert extended(SAVED) == (mark(SAVED),)
    assert extended(LATER) == (mark(SAVED), mark(LATER))
