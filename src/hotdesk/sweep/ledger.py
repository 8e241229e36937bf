"""The open tasks of a sweep in memory; every change of a task is written down first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from hotdesk.core.ports import Clock
from hotdesk.core.sweep import plan
from hotdesk.core.sweep.model import OPEN, Attempt, Ended, Machine, State, Sweep, Task, Wish
from hotdesk.sweep.machine import Known
from hotdesk.sweep.store import SweepStore


class Ledger:
    """`open`: tasks that somebody was asked to run; `doubtful`: those of which nobody knows where."""

    def __init__(self, sweep: Sweep, store: SweepStore, clock: Clock) -> None:
        self.sweep, self.store, self.clock = sweep, store, clock
        self.open: dict[int, Task] = {task.number: task for task in store.open(sweep.number)}
        self.doubtful: dict[int, Task] = dict(self.open)
        self.unwanted: set[int] = set()  # tasks that are being cancelled, one by one
        self.on_end: Callable[[str, Ended], None] = lambda name, ended: None  # of every end that counts
        self.recent: deque[float] = deque(maxlen=200)  # seconds of tasks that ended lately

    def write(self, tasks: Sequence[Task], attempts: Sequence[Attempt] = ()) -> None:
        """Write tasks as they are from now on. Once they are cancelled, none of them waits."""
        tasks = [
            plan.cancelled(t) if t.state is State.WAITING and self._wish(t) is Wish.CANCEL else t
            for t in tasks
        ]
        if tasks or attempts:
            self.store.put(self.sweep.number, tasks, attempts)
        for task in tasks:
            if task.state in OPEN:
                self.open[task.number] = task
            else:
                self.open.pop(task.number, None)
                self.doubtful.pop(task.number, None)

    def hear(self, machine: Machine | None, results: Iterable[Ended]) -> None:
        """Write down how attempts ended, as far as it counts."""
        now = self.clock.now()
        tasks: list[Task] = []
        attempts: list[Attempt] = []
        for result in results:
            task = self.open.get(result.task)
            if task is None or result.why == plan.FENCED_WHY:
                continue
            sweep = replace(self.sweep, wish=self._wish(task)) if self.unwanted else self.sweep
            changed = plan.outcome(task, result, sweep, machine, now)
            if changed is None:
                continue
            tasks.append(changed)
            attempts.append(
                Attempt(
                    task=task.number,
                    number=result.attempt,
                    machine=machine.name if machine else task.machine,
                    began_at=now - result.seconds,
                    seconds=result.seconds,
                    exit_status=result.exit_status,
                    why=result.why,
                )
            )
            self.on_end(attempts[-1].machine, result)
            self.recent.append(result.seconds)
            self.doubtful.pop(task.number, None)
            self.open[task.number] = changed
        self.write(tasks, attempts)

    def learn(self, known: Known) -> None:
        """Take up what an earlier driver, at another computer, has asked for since its record was made."""
        later: dict[int, Task] = {}
        running = [(going.task, going.attempt, False) for going in known.running]
        ended = [(one.task, one.attempt, one.exit_status == 0) for one in known.ended]
        for number, attempt, well in (*running, *ended):
            task = later.get(number) or self.open.get(number) or self.store.task(self.sweep.number, number)
            if task.state in {State.DONE, State.CANCELLED} or (attempt <= task.attempt and not well):
                continue
            newest, now = max(task.attempt, attempt), self.clock.now()
            later[number] = replace(task, state=State.ASKED, attempt=newest, began_at=now)
        if later:
            self.store.put(self.sweep.number, later.values())
            self.open.update(later)
            self.doubtful.update(later)

    def _wish(self, task: Task) -> Wish:
        return Wish.CANCEL if task.number in self.unwanted else self.sweep.wish

    def lose(self, machine: Machine, now: float) -> None:
        """What ran on a machine went with it."""
        gone = [t for t in self.open.values() if t.machine == machine.name and t.state is State.RUNNING]
        ended = [
            Attempt(
                task=t.number,
                number=t.attempt,
                machine=machine.name,
                began_at=t.began_at,
                seconds=max(0.0, now - t.began_at),
                exit_status=None,
                why=plan.LOST_WHY,
            )
            for t in gone
        ]
        self.write([plan.lost(task, now) for task in gone], ended)

    def running(self, name: str, known: Known, now: float) -> list[Task]:
        """The tasks that a machine says it runs, and that were only asked for until now."""
        return [
            replace(task, state=State.RUNNING, machine=name, began_at=now)
            for going in known.running
            if (task := self.open.get(going.task)) is not None
            and task.attempt == going.attempt
            and task.state is State.ASKED
        ]
