"""Machines, runners and an engine in memory: they obey the laws of the real ones, and do harm on purpose.

Time is the clock's; a command's length and end are told by the test. Each machine's runner keeps what it
knows as long as the machine lives; the engine may be lost at any call.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from msgspec.structs import replace

from hotdesk.core.errors import Unreachable
from hotdesk.core.sweep.model import Ended, Machine, Order, Sweep
from hotdesk.sweep.engine import Batch, EngineLost, Node, Told
from hotdesk.sweep.machine import Going, Known, Saved
from hotdesk.sweep.site import SeenMachine


class WorldClock:
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += max(0.0, seconds)


@dataclass
class Runner:
    """A resident runner: what it was asked to run, what runs, and what it remembers."""

    name: str
    instance: str
    began: float
    epoch: int = 0
    served: bool = False  # whether the runner was started
    silent: bool = False
    running: dict[int, tuple[Order, float]] = field(default_factory=dict)  # until when
    ended: dict[int, Ended] = field(default_factory=dict)
    saved: dict[int, Saved] = field(default_factory=dict)
    wanted: dict[int, int] = field(default_factory=dict)  # the attempt from whose checkpoint a task goes on
    going: bool = False
    fenced: dict[int, int] = field(default_factory=dict)


@dataclass
class Flying:
    batch: Batch
    node: str
    instance: str  # which machine of that name


class World:
    """`commands` gives, for (task, attempt), how long it runs and how it ends."""

    recorded = True

    def __init__(
        self, slots: int = 2, commands: Callable[[int, int], tuple[float, int]] = lambda t, a: (1.0, 0)
    ) -> None:
        self.clock = WorldClock()
        self.slots, self.commands = slots, commands
        self.runners: dict[str, Runner] = {}
        self.refused: set[str] = set()  # machines that cannot be had
        self.wanted_at: dict[str, float] = {}
        self.launch_seconds = 20.0
        self.launches = 0
        self.began: list[tuple[int, int, str]] = []  # every command that was begun, by task and attempt
        self.finished: list[tuple[int, int, str]] = []  # … that ended well
        self.fetched: dict[str, int] = {}
        self.ranks: list[tuple[int, int, int, str]] = []  # of a cluster's runs: task, attempt, rank, machine
        self.engines: list[MemoryEngine] = []
        self.usd_per_hour = 0.0
        self.engine_failures = 0  # starts of the engine at each machine, all of them in vain
        self.copies: dict[tuple[int, int], float] = {}  # checkpoints that were brought off their machines
        self.went_on: list[tuple[int, int, int]] = []  # task, attempt, and from which it goes on
        self.records: dict[str, bytes] = {}  # of the sweep, on its machines
        self.unseen_until = 0.0  # the cloud does not answer before

    # ---- time ----------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Let everything end whose time has come, in order of time."""
        while due := [
            (until, runner.name, task)
            for runner in self.runners.values()
            for task, (_, until) in runner.running.items()
            if until <= self.clock.now()
        ]:
            heapq.heapify(due)
            until, name, task = due[0]
            self._end(self.runners[name], task, until)

    def _end(self, runner: Runner, task: int, at: float) -> None:
        order, _ = runner.running.pop(task)
        seconds, status = self.commands(order.task, order.attempt)
        metrics = {"loss": task * 0.5}
        saved = runner.saved.get(task)
        runner.ended[task] = Ended(
            task=task,
            attempt=order.attempt,
            exit_status=status,
            seconds=seconds,
            began_at=at,
            metrics=metrics,
            saved_at=saved.at if saved and status else 0.0,
        )
        if status == 0:
            runner.saved.pop(task, None)
            self.finished.append((task, order.attempt, runner.name))

    def ask(self, runner: Runner, order: Order, *, gang: bool = False) -> Ended | None:
        """Ask a runner to run an attempt: how it has ended, or None while it runs."""
        task = order.task
        if task in runner.running:
            return None
        ended = runner.ended.get(task)
        done = ended is not None and ended.exit_status == 0 and not gang
        if ended is not None and (ended.attempt >= order.attempt or done):
            return ended
        fenced = order.begun or order.epoch < runner.epoch
        if fenced or runner.fenced.get(task, 0) >= order.attempt:
            why = "fenced" if fenced else "cancelled"
            return Ended(
                task=task, attempt=order.attempt, exit_status=143, seconds=0.0, began_at=0.0, why=why
            )
        self.began.append((task, order.attempt, runner.name))
        seconds, _ = self.commands(task, order.attempt)
        before = runner.ended.get(task)
        if order.saved and (before is None or before.attempt < order.saved):
            runner.wanted[task] = order.saved
            seconds = inf
        runner.running[task] = (order, self.clock.now() + seconds)
        return None

    def save(self, name: str) -> None:
        """What runs on a machine saves its checkpoint."""
        self.advance()
        runner, now = self.runners[name], self.clock.now()
        for task, (order, _) in runner.running.items():
            if task not in runner.wanted:
                runner.saved[task] = Saved(task=task, attempt=order.attempt, at=now, bytes=10)

    # ---- harm ----------------------------------------------------------------------------------------

    def kill_machine(self, name: str) -> None:
        """The machine is gone, with its disk; another takes its place later."""
        self.advance()
        if self.runners.pop(name, None) is not None:
            self.wanted_at[name] = self.clock.now()

    def kill_engine(self) -> None:
        for engine in self.engines:
            engine.lost = True

    # ---- the site ------------------------------------------------------------------------------------

    def confirm(self) -> None:
        """See `Site`; tests of two computers say who has the sweep."""

    def keep_record(self, sweep: Sweep, name: str, record: bytes) -> None:
        self._reached(name)
        self.records[name] = record

    def tick(self, wanted: Sequence[str], released: Collection[str]) -> Mapping[str, SeenMachine]:
        self.advance()
        now = self.clock.now()
        if now < self.unseen_until:
            raise Unreachable("The cloud does not answer.")
        for name in released:
            self.runners.pop(name, None)
            self.wanted_at.pop(name, None)
        found = {}
        for name in wanted:
            if name in self.refused:
                continue
            since = self.wanted_at.setdefault(name, now)
            if name not in self.runners and now - since >= self.launch_seconds:
                self.launches += 1
                self.runners[name] = Runner(name, f"i-{self.launches}", now)
            if (runner := self.runners.get(name)) is not None:
                found[name] = SeenMachine(
                    instance=runner.instance,
                    address=self.address(name),
                    slots=self.slots,
                    usd_per_hour=self.usd_per_hour,
                )
        return found

    def address(self, name: str) -> str:
        return f"10.0.0.{name.rpartition('-')[2]}"

    def troubles(self) -> Mapping[str, str]:
        return dict.fromkeys(self.refused, "sold out")

    def present(self, names: Collection[str]) -> set[str]:
        return {name for name in names if name in self.wanted_at}

    def cleared(self) -> bool:
        return not self.runners

    def usd(self, names: Collection[str]) -> float:
        hours = sum((self.clock.now() - r.began) / 3600 for r in self.runners.values())
        return hours * self.usd_per_hour

    def prepare(self, sweep: Sweep, machine: Machine, head: Machine) -> None:
        self.advance()
        if (runner := self.runners.get(machine.name)) is not None:
            runner.served = True
        self._reached(machine.name)

    def look(self, sweep: Sweep, name: str) -> Known:
        known = self._known(self._reached(name), None)
        return replace(known, engine_failures=self.engine_failures, engine_why="no room")

    def known(self, sweep: Sweep, name: str, tasks: Collection[int]) -> Known:
        runner = self._reached(name)
        runner.epoch = max(runner.epoch, sweep.epoch)
        return self._known(runner, set(tasks))

    def _known(self, runner: Runner, tasks: set[int] | None) -> Known:
        running = tuple(
            Going(task=t, attempt=order.attempt, began_at=0.0)
            for t, (order, _) in runner.running.items()
            if tasks is None or t in tasks
        )
        ended = tuple(e for t, e in runner.ended.items() if tasks is not None and t in tasks)
        wanted = tuple(Saved(task=t, attempt=a) for t, a in runner.wanted.items())
        return Known(
            machine=runner.name, running=running, ended=ended, going=runner.going, wanted=wanted,
            saved=tuple(runner.saved.values()),
        )  # fmt: skip

    def cancel(self, sweep: Sweep, name: str, attempts: Mapping[int, int]) -> None:
        runner = self._reached(name)
        runner.fenced.update(attempts)
        for task, (order, _) in list(runner.running.items()):
            if order.attempt <= attempts.get(task, 0):
                del runner.running[task]
                runner.wanted.pop(task, None)
                runner.ended[task] = Ended(
                    task=task,
                    attempt=order.attempt,
                    exit_status=143,
                    seconds=0.5,
                    began_at=0.0,
                    why="cancelled",
                )

    # ---- what a cluster asks besides -----------------------------------------------------------------

    def bring_run(self, sweep: Sweep, name: str, task: int) -> None:
        self._reached(name)

    def begin(
        self, sweep: Sweep, name: str, order: Order, variables: Mapping[str, str], secrets: Mapping[str, str]
    ) -> None:
        self.ask(self._reached(name), order, gang=True)
        self.ranks.append((order.task, order.attempt, int(variables["NODE_RANK"]), name))

    # ---- checkpoints ---------------------------------------------------------------------------------

    def fetch_checkpoints(self, sweep: Sweep, name: str, of: Sequence[Saved]) -> list[int]:
        runner = self._reached(name)
        for saved in of:
            self.copies[saved.task, saved.attempt] = runner.saved[saved.task].at
        return []

    def give_checkpoint(self, sweep: Sweep, name: str, task: int, attempt: int) -> None:
        runner = self._reached(name)
        assert (task, attempt) in self.copies
        order, _ = runner.running[task]
        del runner.wanted[task]
        runner.running[task] = order, self.clock.now() + self.commands(task, order.attempt)[0]
        self.went_on.append((task, order.attempt, attempt))

    def forget_checkpoints(self, of: Iterable[tuple[int, int]]) -> None:
        for key in of:
            self.copies.pop(key, None)

    def fetch(self, sweep: Sweep, name: str) -> None:
        self.fetched[name] = len(self._reached(name).ended)

    def stop(self, sweep: Sweep, name: str) -> None:
        self._reached(name).running.clear()

    def engine(self, sweep: Sweep, head: Machine) -> MemoryEngine:
        if head.name not in self.runners or self.engine_failures:
            raise EngineLost("no head")
        engine = MemoryEngine(self, head.name)
        self.engines = [engine]
        return engine

    def _reached(self, name: str) -> Runner:
        self.advance()
        runner = self.runners.get(name)
        if runner is None or runner.silent or not runner.served:
            raise Unreachable(f"{name} does not answer.")
        return runner


class MemoryEngine:
    """Places batches where there is room, first come first served."""

    def __init__(self, world: World, head: str) -> None:
        self.world, self.head = world, head
        self.head_instance = world.runners[head].instance
        self.waiting: list[Batch] = []
        self.flying: list[Flying] = []
        self.told: list[Told] = []
        self.lost = False

    def _check(self) -> None:
        runner = self.world.runners.get(self.head)
        if self.lost or runner is None or runner.instance != self.head_instance:
            self.lost = True
            raise EngineLost("the engine has ended")

    def nodes(self) -> Sequence[Node]:
        self._check()
        return [Node(address=self.world.address(r.name), cpus=self.world.slots) for r in self._up()]

    def _up(self) -> list[Runner]:
        return [r for r in self.world.runners.values() if r.served and not r.silent]

    def begin(self, batches: Sequence[Batch]) -> None:
        self._check()
        self.waiting += batches
        self._place()

    def _place(self) -> None:
        self.world.advance()
        for batch in list(self.waiting):
            for runner in self._up():
                address = self.world.address(runner.name)
                busy = sum(f.batch.cpus for f in self.flying if f.node == runner.name)
                if batch.node not in {"", address} or busy + batch.cpus > self.world.slots:
                    continue
                self.waiting.remove(batch)
                self.flying.append(Flying(batch, runner.name, runner.instance))
                break
        for one in list(self.flying):
            self._go_on(one)

    def _go_on(self, one: Flying) -> None:
        runner = self.world.runners.get(one.node)
        if runner is None or runner.silent or runner.instance != one.instance:
            self._tell(one, [], "NodeDiedError")
            return
        results: list[Ended] = []
        for order in one.batch.orders:
            ended = self.world.ask(runner, order)
            if ended is None:
                return
            results.append(ended)
        self._tell(one, results, "")

    def _tell(self, one: Flying, results: list[Ended], lost: str) -> None:
        self.flying.remove(one)
        self.told.append(
            Told(batch=one.batch.batch, results=tuple(results), machine="" if lost else one.node, lost=lost)
        )

    def wait(self, seconds: float) -> Sequence[Told]:
        self._check()
        self.world.clock.sleep(seconds)
        self._place()
        told, self.told = self.told, []
        return told

    def cancel(self, attempts: Mapping[int, int]) -> None:
        self._check()
        for batch in list(self.waiting):
            if all(order.attempt <= attempts.get(order.task, 0) for order in batch.orders):
                self.waiting.remove(batch)
                self.told.append(Told(batch=batch.batch, lost="withdrawn"))
        for runner in self._up():
            self.world.cancel(None, runner.name, attempts)  # type: ignore[arg-type]

    def close(self) -> None:
        self.lost = True


def holding(text: bytes) -> list[Path]:
    """The files below the state folder that hold this."""
    state = Path(os.environ["HOTDESK_STATE"])
    return [file for file in state.rglob("*") if file.is_file() and text in file.read_bytes()]
