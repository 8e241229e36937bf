"""The loop of a sweep over machines in memory: whatever dies, every task ends, and none counts twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hotdesk.core.sweep.model import MachineState, State, Sweep, Wish
from hotdesk.core.sweep.plan import ENGINE_STARTS
from hotdesk.sweep.driver import Driver
from hotdesk.sweep.store import SweepStore
from tests.sweep_world import World

HOURS = 3600.0


class Story:
    """A sweep in a world; `go` lets time pass, and the driver may be killed between any two rounds."""

    kind: type[Driver] = Driver

    def __init__(self, tasks: int = 12, world: World | None = None, **wish: Any) -> None:
        self.world = world or World()
        self.store = SweepStore(None)
        self.notes: list[str] = []
        sweep = Sweep(
            number=0, desk="blue", image="i", command=("run", "{seed}"), folder="/p",
            created_at=self.world.clock.now(), **{"machines": 3, "provider": "local", **wish},
        )  # fmt: skip
        self.number = self.store.create(sweep, ({"seed": n} for n in range(tasks))).number
        self.driver = self.new_driver()

    def new_driver(self) -> Driver:
        driver = self.kind(
            self.number, store=self.store, site=self.world, clock=self.world.clock, on_note=self.notes.append
        )
        driver.checkpoints.aside = lambda work: work()
        return driver

    def kill_driver(self) -> None:
        self.driver = self.new_driver()

    def go(
        self,
        until: Callable[[], bool] = lambda: False,
        *,
        rounds: int = 4000,
        each: Callable[[int], None] = lambda number: None,
    ) -> None:
        """Until the sweep is over, or what is waited for has come."""
        for number in range(rounds):
            each(number)
            before = self.world.clock.now()
            pause = self.driver.round()
            if pause < 0 or until():
                return
            self.world.clock.sleep(pause)
            if self.world.clock.now() - before < 0.01:
                self.world.clock.sleep(0.1)
            if number % 20 == 0:
                self.driver.looks.look(self.driver.sweep)
        raise AssertionError(f"it does not end: {self.store.counts(self.number)} {self.notes[-5:]}")

    def states(self) -> Counter[State]:
        return Counter(task.state for task in self.store.tasks(self.number))

    def check(self) -> None:
        """Every task has ended, none succeeded twice in the same place, and no machine is left."""
        assert not self.store.counts(self.number).left
        assert not self.world.runners
        assert all(m.state is MachineState.GONE for m in self.store.machines(self.number))
        begun = Counter((task, attempt) for task, attempt, _ in self.world.began)
        assert max(begun.values(), default=0) <= 1, "an attempt was begun twice"


def test_every_task_runs_once() -> None:
    story = Story(tasks=12)
    story.go()
    story.check()
    assert story.states() == {State.DONE: 12}
    assert sorted(task for task, _, _ in story.world.finished) == list(range(1, 13))
    assert story.store.task(story.number, 3).metrics == {"loss": 1.5}
    assert {m.name for m in story.store.machines(story.number)} == {"sweep1-1", "sweep1-2", "sweep1-3"}


def test_results_are_fetched_before_a_machine_goes() -> None:
    story = Story(tasks=12)
    story.go()
    assert sum(story.world.fetched.values()) == 12


def test_no_more_machines_than_tasks_can_use() -> None:
    story = Story(tasks=3, machines=50)
    story.go()
    assert len(story.store.machines(story.number)) <= 3


def test_a_failure_is_tried_again_as_often_as_was_asked() -> None:
    story = Story(tasks=4, retries=2, world=World(commands=lambda t, a: (1.0, 3 if t == 2 else 0)))
    story.go()
    story.check()
    task = story.store.task(story.number, 2)
    assert (task.state, task.attempt, task.failed, task.exit_status) == (State.FAILED, 3, 3, 3)
    assert story.states()[State.DONE] == 3
    assert [a.number for a in story.store.attempts(story.number, 2)] == [1, 2, 3]


def test_an_engine_that_does_not_start_is_told_with_its_reason_and_given_up() -> None:
    story = Story(tasks=4)

    def fail(number: int) -> None:
        story.world.engine_failures = min(number // 40, ENGINE_STARTS)

    story.go(each=fail)
    story.check()
    assert story.states() == {State.CANCELLED: 4}
    assert story.store.sweep(story.number).stopped == "Ray does not start: no room"
    assert len([note for note in story.notes if "Ray does not start: no room" in note]) == 3


def test_an_engine_that_starts_at_last_runs_every_task() -> None:
    story = Story(tasks=4)

    def fail(number: int) -> None:
        story.world.engine_failures = 3 if number < 100 else 0

    story.go(each=fail)
    story.check()
    assert story.states() == {State.DONE: 4}
    assert not any(machine.why for machine in story.store.machines(story.number))


def test_a_task_that_fails_once_ends_well() -> None:
    story = Story(tasks=4, world=World(commands=lambda t, a: (1.0, 3 if a == 1 else 0)))
    story.go()
    assert story.states() == {State.DONE: 4}


def test_a_lost_machine_does_not_count_as_a_failure() -> None:
    """1. All three machines run tasks. 2. One goes with its disk. 3. Its tasks run elsewhere."""
    story = Story(tasks=12, retries=0, world=World(commands=lambda t, a: (40.0, 0)))
    story.go(lambda: story.states()[State.RUNNING] == 6)
    story.world.kill_machine("sweep1-2")
    story.go()
    story.check()
    assert story.states() == {State.DONE: 12}
    lost = [t for t in story.store.tasks(story.number) if t.lost]
    assert len(lost) == 2
    assert all(t.attempt == 2 and t.failed == 0 for t in lost)


def test_single_tasks_are_cancelled_and_the_others_go_on() -> None:
    """1. Six of eight tasks run. 2. One of them and one not begun are cancelled. 3. Both are run again."""
    story = Story(tasks=8, retries=2, world=World(commands=lambda t, a: (30.0, 0)))
    story.go(lambda: story.states()[State.RUNNING] == 6)
    [running] = story.store.tasks(story.number, (State.RUNNING,), limit=1)
    numbers = {running.number, 7}
    story.store.want(story.number, numbers, wanted=False)
    story.go(lambda: story.states()[State.CANCELLED] == 2)
    cancelled = story.store.tasks(story.number, (State.CANCELLED,))
    assert {task.number for task in cancelled} == numbers
    assert all((task.failed, task.lost) == (0, 0) for task in cancelled)
    assert story.states()[State.DONE] == 0, "it did not wait for the others"
    story.go(lambda: not story.store.unwanted(story.number))
    story.store.put(story.number, [replace(t, state=State.WAITING) for t in cancelled])
    story.go()
    story.check()
    assert story.states() == {State.DONE: 8}
    begun = Counter(task for task, _, _ in story.world.began)
    assert begun == {**dict.fromkeys(range(1, 9), 1), running.number: 2}


def test_a_task_is_cancelled_although_its_machine_or_the_engine_goes() -> None:
    story = Story(tasks=6, world=World(commands=lambda t, a: (50.0, 0)))
    story.go(lambda: len(story.world.began) == 6)
    story.store.want(story.number, [1, 2, 3], wanted=False)
    story.world.kill_engine()
    story.world.kill_machine("sweep1-2")
    story.go()
    story.check()
    assert story.states() == {State.DONE: 3, State.CANCELLED: 3}


def test_a_killed_driver_costs_no_running_task() -> None:
    """1. Six tasks run. 2. The driver dies. 3. The next one waits for those very attempts."""
    story = Story(tasks=6, world=World(commands=lambda t, a: (100.0, 0)))
    story.go(lambda: len(story.world.began) == 6)
    story.world.kill_engine()
    story.kill_driver()
    story.go()
    story.check()
    assert story.states() == {State.DONE: 6}
    assert len(story.world.began) == 6, "each was begun once"


def test_a_lost_engine_costs_no_running_task() -> None:
    story = Story(tasks=6, world=World(commands=lambda t, a: (100.0, 0)))
    story.go(lambda: len(story.world.began) == 6)
    story.world.kill_engine()
    story.go()
    assert story.states() == {State.DONE: 6}
    assert len(story.world.began) == 6


def test_an_end_that_nobody_was_there_to_hear_counts() -> None:
    """1. Tasks run. 2. The driver dies. 3. They end. 4. The next driver counts them, and repeats none."""
    story = Story(tasks=6, world=World(commands=lambda t, a: (10.0, 0)))
    story.go(lambda: len(story.world.began) == 6)
    story.world.kill_engine()
    story.world.clock.sleep(60.0)
    story.kill_driver()
    story.go()
    assert story.states() == {State.DONE: 6}
    assert len(story.world.began) == 6


def test_a_lost_head_is_replaced_and_nothing_finished_is_repeated() -> None:
    story = Story(tasks=20, world=World(commands=lambda t, a: (10.0, 0)))
    story.go(lambda: story.states()[State.DONE] >= 6)
    done = {t.number for t in story.store.tasks(story.number, (State.DONE,))}
    story.world.kill_machine("sweep1-1")
    story.go()
    story.check()
    assert story.states() == {State.DONE: 20}
    again = Counter(task for task, _, _ in story.world.began)
    assert all(again[task] == 1 for task in done)


def test_a_silent_machine_is_given_up_and_what_it_says_later_changes_nothing() -> None:
    """1. A machine falls silent. 2. Its tasks run elsewhere. 3. It comes back: its old commands are ended."""
    story = Story(tasks=6, world=World(commands=lambda t, a: (60.0 if a == 1 else 5.0, 0)))
    story.go(lambda: story.states()[State.RUNNING] == 6)
    silent = story.world.runners["sweep1-3"]
    silent.silent = True
    story.go(lambda: any(m.state is MachineState.LOST for m in story.store.machines(story.number)))
    story.go(lambda: story.states()[State.DONE] >= 2)
    silent.silent = False
    story.go()
    story.check()
    assert story.states() == {State.DONE: 6}
    assert all(t.attempt in {1, 2} for t in story.store.tasks(story.number))


def test_a_thousand_failures_stop_early_and_say_why() -> None:
    story = Story(tasks=1000, retries=0, world=World(commands=lambda t, a: (1.0, 7)))
    story.go()
    story.check()
    sweep = story.store.sweep(story.number)
    assert "all failed, the last with exit status 7" in sweep.stopped
    assert len(story.world.began) < 60
    assert story.states()[State.CANCELLED] > 900


def test_keep_going_goes_on() -> None:
    story = Story(tasks=40, retries=0, keep_going=True, world=World(commands=lambda t, a: (1.0, 7)))
    story.go()
    assert story.states() == {State.FAILED: 40}


def test_one_failure_is_no_reason_to_stop() -> None:
    story = Story(tasks=40, retries=0, world=World(commands=lambda t, a: (1.0, 1 if t % 2 else 0)))
    story.go()
    assert story.states() == {State.FAILED: 20, State.DONE: 20}


def test_cancelling_ends_what_runs_and_keeps_what_is_done() -> None:
    story = Story(tasks=30, world=World(commands=lambda t, a: (20.0, 0)))
    story.go(lambda: story.states()[State.DONE] >= 6)
    story.store.change(story.number, wish=Wish.CANCEL)
    story.go()
    story.check()
    assert story.states()[State.DONE] >= 6
    assert story.states()[State.CANCELLED] >= 12


def test_cancelled_before_any_machine_was_there() -> None:
    story = Story(tasks=5)
    story.driver.round()
    story.store.change(story.number, wish=Wish.CANCEL)
    story.go()
    story.check()
    assert story.states() == {State.CANCELLED: 5}


def test_cancelled_after_the_driver_has_died() -> None:
    story = Story(tasks=6, world=World(commands=lambda t, a: (1000.0, 0)))
    story.go(lambda: len(story.world.began) == 6)
    story.world.kill_engine()
    story.store.change(story.number, wish=Wish.CANCEL)
    story.kill_driver()
    story.go()
    story.check()
    assert story.states() == {State.CANCELLED: 6}


def test_a_deadline_keeps_what_is_done() -> None:
    world = World(commands=lambda t, a: (30.0, 0))
    story = Story(tasks=100, world=world, deadline_at=world.clock.now() + 120.0)
    story.go()
    story.check()
    assert story.store.sweep(story.number).stopped == "its deadline"
    assert story.states()[State.DONE] >= 6


def test_a_budget_keeps_what_is_done() -> None:
    world = World(commands=lambda t, a: (60.0, 0))
    world.usd_per_hour = 6.0
    story = Story(tasks=500, world=world, budget_usd=1.0)
    story.go(rounds=20_000)
    assert "budget of $1.00" in story.store.sweep(story.number).stopped
    assert 0 < story.states()[State.DONE] < 100
    usd = sum(task.usd for task in story.store.tasks(story.number))
    assert usd == pytest.approx(story.states()[State.DONE] * 60 / 3600 * 6 / 2, rel=0.2)


def test_tasks_that_are_run_again_at_the_very_end_are_run() -> None:
    """`sweep retry` while the last machine goes: the driver lives, so that no other is started."""
    story = Story(4, World(commands=lambda task, attempt: (1.0, int(task == 2 and attempt == 1))), retries=0)
    change, again = story.store.change, iter([True])

    def late(number: int, **changes: object) -> Sweep:
        if changes.get("over_at") and next(again, False):
            [failed] = story.store.tasks(number, (State.FAILED,))
            story.store.put(number, [replace(failed, state=State.WAITING, failed=0)])
            change(number, over_at=0.0)
        return change(number, **changes)

    story.store.change = late  # type: ignore[method-assign]
    story.go()
    assert story.states() == {State.DONE: 4}
    assert story.store.sweep(story.number).over_at
    story.check()


def test_machines_that_cannot_be_had_stop_the_sweep_with_the_reason() -> None:
    story = Story(tasks=5)
    story.world.refused = {f"sweep1-{n}" for n in range(1, 9)}
    story.go()
    assert "sold out" in story.store.sweep(story.number).stopped
    assert story.states() == {State.CANCELLED: 5}


def test_some_machines_that_cannot_be_had_do_not_keep_the_others() -> None:
    story = Story(tasks=12)
    story.world.refused = {"sweep1-2", "sweep1-3"}
    story.go()
    assert story.states() == {State.DONE: 12}


def test_a_cloud_that_does_not_answer_for_a_while_costs_nothing() -> None:
    story = Story(tasks=30, world=World(commands=lambda t, a: (10.0, 0)))
    story.go(lambda: story.states()[State.DONE] >= 6)
    story.world.unseen_until = story.world.clock.now() + 60.0
    story.go()
    story.check()
    assert story.states() == {State.DONE: 30}
    assert len(story.world.began) == 30


def test_a_task_that_its_machines_never_survive_is_given_up() -> None:
    story = Story(tasks=2, machines=1, world=World(commands=lambda t, a: (30.0, 0)))

    def harm(number: int) -> None:
        for name, runner in list(story.world.runners.items()):
            if 1 in runner.running:
                story.driver.looks.look(story.driver.sweep)
                story.driver.round()
                story.world.kill_machine(name)

    story.go(each=harm, rounds=20_000)
    task = story.store.task(story.number, 1)
    assert task.state is State.FAILED
    assert "its machine was lost 8 times" in task.why


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
@example(seed=5002)  # a machine is replaced at once, under its name: nothing of it goes on at the new one
def test_whatever_dies_every_task_ends_and_none_counts_twice(seed: int) -> None:
    """One seed is one history: drivers, engines, machines and the head are killed at random moments."""
    dice = random.Random(seed)
    lengths = {n: dice.choice([0.02, 0.5, 3.0, 12.0]) for n in range(1, 41)}
    fails = {n for n in range(1, 41) if dice.random() < 0.1}
    world = World(slots=dice.choice([1, 2, 4]), commands=lambda t, a: (lengths[t], 1 if t in fails else 0))
    world.launch_seconds = dice.choice([0.0, 5.0, 30.0])
    machines = dice.choice([1, 2, 4])
    story = Story(tasks=40, retries=1, machines=machines, world=world, checkpoint="ckpt")
    harm_until = dice.choice([60, 200, 400])

    def harm(number: int) -> None:
        if number > harm_until or dice.random() > 0.08:
            return
        match dice.choice(["driver", "engine", "machine", "silent", "heard", "save"]):
            case "save":
                for name in world.runners:
                    world.save(name)
            case "driver":
                story.world.kill_engine()
                story.kill_driver()
            case "engine":
                story.world.kill_engine()
            case "machine" if world.runners:
                story.world.kill_machine(dice.choice(sorted(world.runners)))
            case "silent" if world.runners:
                world.runners[dice.choice(sorted(world.runners))].silent = True
            case _:
                for runner in world.runners.values():
                    runner.silent = False

    def each(number: int) -> None:
        harm(number)
        if number == harm_until + 1:
            for runner in world.runners.values():
                runner.silent = False

    story.go(each=each, rounds=20_000)
    assert not story.store.counts(story.number).left
    assert not world.runners
    tasks = story.store.tasks(story.number)
    assert all(t.state is (State.FAILED if t.number in fails else State.DONE) or t.lost >= 7 for t in tasks)
    done = [t for t in tasks if t.state is State.DONE]
    counted = [a for a in story.store.attempts(story.number) if a.exit_status == 0]
    assert len(counted) == len({a.task for a in counted}) == len(done), "each success is counted once"
    begun = Counter((task, attempt) for task, attempt, _ in world.began)
    assert max(begun.values()) == 1, "no attempt is begun twice"
    assert all(saved < attempt for _, attempt, saved in world.went_on)
    assert {task for task, _ in world.copies}.isdisjoint(t.number for t in done), "copies go with their need"


def test_tasks_are_counted_again_only_where_something_has_changed(tmp_path: Path) -> None:
    asked = {"command": ("a",), "created_at": 1.0, "folder": "", "provider": "local", "image": "i"}
    with SweepStore(tmp_path) as store, SweepStore(tmp_path) as other:
        number = store.create(Sweep(number=0, desk="blue", **asked), [{"n": n} for n in range(3)]).number
        asked_for: list[str] = []
        store._db.set_trace_callback(asked_for.append)
        assert [store.counts(number).waiting for _ in range(5)] == [3] * 5
        assert sum("count(*)" in query for query in asked_for) == 1
        [first, second, _] = store.tasks(number)
        other.put(number, [replace(first, state=State.DONE)])
        assert store.counts(number).done == 1, "by another process"
        store.put(number, [replace(second, state=State.FAILED)])
        assert (store.counts(number).failed, store.counts(number).waiting) == (1, 1)
        other.want(number, [3], wanted=False)
        assert store.unwanted(number) == {3}
        other.change(number, stopped="why")
        assert store.sweep(number).stopped == "why"
