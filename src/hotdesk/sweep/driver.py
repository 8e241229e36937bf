"""The loop of one sweep: look, decide by core/sweep/plan.py, write down, act. One process at a time runs it.

It may be killed at any point. What it has asked for is in the sweep's file before it is asked; what was begun
is known to the machines' runners, which go on. The next driver raises the epoch, asks each runner what became
of the open attempts, and goes on from there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from msgspec.structs import replace

from hotdesk.core.errors import HotdeskError
from hotdesk.core.ports import Clock
from hotdesk.core.sweep import plan
from hotdesk.core.sweep.model import OPEN, Machine, MachineState, Order, State, Task, Wish
from hotdesk.core.sweep.params import fill
from hotdesk.parallel import side_by_side
from hotdesk.sweep.engine import Batch, EngineLost, Told
from hotdesk.sweep.looks import AT_ONCE
from hotdesk.sweep.machine import Known
from hotdesk.sweep.machine_loop import RETRY_SECONDS, MachineLoop
from hotdesk.sweep.site import Site
from hotdesk.sweep.store import SweepStore

WAIT_SECONDS = 0.1  # for the engine
CONNECT_MOST_SECONDS = 8.0  # between two attempts to reach the engine


class Driver(MachineLoop):
    def __init__(
        self,
        number: int,
        *,
        store: SweepStore,
        site: Site,
        clock: Clock,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        super().__init__(number, store=store, site=site, clock=clock, on_note=on_note)
        self.flying: dict[int, list[Task]] = {}  # by batch
        self._batches = 0
        self._tried = float("-inf")
        self._vain = 0  # attempts to reach the engine, in a row
        self._cancelled = False
        self._ending: dict[int, int] = {}  # attempts that the engine was asked to end, one by one

    def _round(self) -> float:
        now = self.clock.now()
        self.sweep = self.store.sweep(self.number)
        counts = self.store.counts(self.number)
        if self.sweep.wish is Wish.RUN and (why := self._reason_to_stop(now)):
            self.sweep = self.store.change(self.number, wish=Wish.CANCEL, stopped=why)
            self.on_note(f"Sweep {self.number} stops: {why}")
        if self.sweep.wish is Wish.CANCEL and not self._cancelled:
            self._cancel(now)
            counts = self.store.counts(self.number)
        self.ledger.unwanted = self.store.unwanted(self.number)
        if self.ledger.unwanted:
            self._cancel_some()
            counts = self.store.counts(self.number)
        machines = self._fleet(now)
        if not counts.left and not self.ledger.open:
            return self._end(machines, now)
        head = next((m for m in machines if m.number == 1), None)
        if self.engine is None and head is not None and head.state is MachineState.UP:
            self._connect(head, now)
        self._hear_looks(now)
        if self.ledger.doubtful:
            self._resolve(machines, now)
        if self.engine is None:
            return RETRY_SECONDS / 2
        self._submit(machines, now)
        self._record(self.engine.wait(WAIT_SECONDS))
        return 0.0

    # ---- the engine ----------------------------------------------------------------------------------

    def _connect(self, head: Machine, now: float) -> None:
        if now - self._tried < min(RETRY_SECONDS * 2**self._vain, CONNECT_MOST_SECONDS):
            return
        self._tried = now
        self._vain += 1  # each attempt costs the head, which is starting, seconds of a processor
        # What an earlier engine was asked for, and has not begun, is refused by every runner from now on.
        self.sweep = self.store.change(self.number, epoch=self.sweep.epoch + 1)
        self._answered.clear()
        with contextlib.suppress(EngineLost):
            self.engine = self.site.engine(self.sweep, head)
            self._vain = 0

    def _let_go(self) -> None:
        for tasks in self.flying.values():
            self.ledger.doubtful.update(
                {t.number: self.ledger.open[t.number] for t in tasks if t.number in self.ledger.open}
            )
        self.flying.clear()
        self._ending.clear()
        if self.engine is not None:
            engine, self.engine = self.engine, None
            engine.close()

    def _submit(self, machines: Sequence[Machine], now: float) -> None:
        """Ask for as many attempts as keep every place busy."""
        assert self.engine is not None
        places = plan.places(self.sweep, machines)
        room = places * plan.DEPTH - len(self.flying)
        if room <= 0 or self.sweep.wish is Wish.CANCEL or self._unheard(machines, now):
            return
        counts = self.store.counts(self.number)
        size = plan.batch_size(self.ledger.recent, counts.waiting, places)
        if size > 1:
            room += places * plan.DEPTH  # short tasks end while we write down those before
        there = {m.name for m in machines if m.state is MachineState.UP}
        asked = [
            plan.asked(task, self.checkpoints.saved(task.number), now)
            for task in self.store.tasks(self.number, (State.WAITING,), limit=room * size)
            if not self.checkpoints.awaited(task.number, there)
        ]
        if not asked:
            return
        self.ledger.write(asked)
        self._begin([asked[n : n + size] for n in range(0, len(asked), size)])

    def _begin(self, groups: Iterable[list[Task]], node: str = "") -> None:
        """Ask the engine for these batches; with `node`, to wait for what has begun there."""
        batches = []
        for tasks in groups:
            self._batches += 1
            self.flying[self._batches] = tasks
            batches.append(
                Batch(
                    batch=self._batches,
                    orders=tuple(self._order(task, begun=bool(node)) for task in tasks),
                    cpus=self.sweep.cpus,
                    gpus=self.sweep.gpus,
                    memory=self.sweep.memory_gib * 2**30,
                    node=node,
                )
            )
        assert self.engine is not None
        self.engine.begin(batches)

    def _order(self, task: Task, begun: bool) -> Order:
        command = fill(self.sweep.command, task.params, task.number)
        return Order(
            task=task.number,
            attempt=task.attempt,
            command=command,
            params=task.params,
            epoch=self.sweep.epoch,
            begun=begun,
            checkpoint=self.sweep.checkpoint,
            saved=self.checkpoints.saved(task.number),
        )

    def _record(self, told: Sequence[Told]) -> None:
        """Write down how batches ended, in one transaction; what is missing in an answer is in doubt."""
        machines = {m.name: m for m in self.store.machines(self.number)} if told else {}
        for one in told:
            tasks = self.flying.pop(one.batch, [])
            self.ledger.hear(machines.get(one.machine), one.results)
            ended = {r.task for r in one.results if r.why != plan.FENCED_WHY}
            missing = [
                self.ledger.open[t.number]
                for t in tasks
                if t.number not in ended and t.number in self.ledger.open
            ]
            if one.lost == "withdrawn":
                self.ledger.write([plan.unbegun(task) for task in missing])
            else:
                self.ledger.doubtful.update({task.number: task for task in missing})
                self._answered.clear() if missing else None

    # ---- doubt ---------------------------------------------------------------------------------------

    def _resolve(self, machines: Sequence[Machine], now: float) -> None:
        """Ask every runner what became of the attempts in doubt, and go on with each accordingly.

        One that no runner knows has not begun, once every machine has answered that may have begun it.
        """
        if self.engine is None or self._unheard(machines, now):
            return
        up = [m for m in machines if m.state is MachineState.UP]
        leaving = [m for m in machines if m.state is MachineState.LEAVING and m.instance]
        unasked = [m for m in [*up, *leaving] if m.name not in self._answered]
        asked = list(self.ledger.doubtful)
        calls = [partial(self.site.known, self.sweep, m.name, asked) for m in unasked]
        for machine, answer in zip(unasked, side_by_side(calls, AT_ONCE), strict=True):
            if isinstance(answer, HotdeskError):
                continue
            if isinstance(answer, Exception):
                raise answer
            self._answered.add(machine.name)
            self.ledger.hear(machine, answer.ended)
            self._attach(machine, answer)
        if any(m.name not in self._answered for m in up):
            return
        # A machine that was lost since, or is, may have begun it: then its number is not used again.
        may = any(
            m.state is MachineState.LOST or (m in leaving and m.name not in self._answered) for m in machines
        )
        since = now if may else max((m.lost_at for m in machines), default=0.0)
        doubtful = list(self.ledger.doubtful.values())
        self.ledger.write([plan.lost(t, now) if since >= t.began_at else plan.unbegun(t) for t in doubtful])

    def _attach(self, machine: Machine, known: Known) -> None:
        """Wait, through the engine, for what already runs on a machine."""
        if self.engine is None:
            return
        found = []
        for going in known.running:
            task = self.ledger.doubtful.get(going.task)
            if task is not None and task.attempt == going.attempt:
                del self.ledger.doubtful[going.task]
                found.append(replace(task, state=State.RUNNING, machine=machine.name))
        self.ledger.write(found)
        self._begin([[task] for task in found], machine.address)

    # ---- ending --------------------------------------------------------------------------------------

    def _reason_to_stop(self, now: float) -> str:
        counts = self.store.counts(self.number)
        if lacks := set(self.sweep.secrets) - self.store.secrets(self.sweep).keys():
            return f"the value of {min(lacks)} is not on this computer any more"
        failing = counts.failed >= plan.FAILED_AT_ONCE and not counts.done
        failures = self.store.tasks(self.number, (State.FAILED,), newest=True, limit=1) if failing else []
        return plan.stop_reason(self.sweep, counts, failures, self._usd, now)

    def _cancel(self, now: float) -> None:
        """Begin nothing more, and end what runs."""
        waiting = self.store.tasks(self.number, (State.WAITING,))
        self.ledger.write(list(map(plan.cancelled, waiting)))
        attempts = {task.number: task.attempt for task in self.ledger.open.values()}
        machines = self.store.machines(self.number)
        if attempts and not any(m.state is MachineState.UP for m in machines):
            # Nobody can be asked; what may run on a machine that was lost ends with it.
            self.ledger.write(list(map(plan.cancelled, self.ledger.open.values())))
        elif attempts:
            if self.engine is None:
                return  # it is asked as soon as it can be
            self.engine.cancel(attempts)
        self._cancelled = True

    def _cancel_some(self) -> None:
        """Begin the tasks no more whose cancellation was asked for, and end those that run."""
        numbers = self.ledger.unwanted
        tasks = [self.ledger.open.get(n) or self.store.task(self.number, n) for n in numbers]
        self.ledger.write([task for task in tasks if task.state is State.WAITING])
        self.store.want(self.number, [t.number for t in tasks if t.state not in OPEN], wanted=True)
        ending = {t.number: t.attempt for t in tasks if t.state in OPEN}
        if self.engine is not None and (new := dict(ending.items() - self._ending.items())):
            self.engine.cancel(new)
            self._ending.update(new)
