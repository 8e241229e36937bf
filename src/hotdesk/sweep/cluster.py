"""The loop of a cluster: its machines kept as wanted, and runs on one of them or on all at once.

It is the sweep's loop without an engine: Ray, if the desk has it, is the person's own. A run is begun at each
machine's resident runner, and asked after there. Where one rank of a gang fails, or its machine goes, the
others are ended, and all begin again once every machine is up, from the checkpoint of rank 0.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from functools import partial

from msgspec.structs import replace

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError
from hotdesk.core.ports import Clock
from hotdesk.core.sweep import cluster, plan
from hotdesk.core.sweep.cluster import Place, Run
from hotdesk.core.sweep.model import LEFT, Attempt, Machine, MachineState, Order, State, Task, Wish
from hotdesk.parallel import side_by_side
from hotdesk.sweep.looks import AT_ONCE
from hotdesk.sweep.machine import Known
from hotdesk.sweep.machine_loop import MachineLoop
from hotdesk.sweep.site import GangSite
from hotdesk.sweep.store import SweepStore

ASK_SECONDS = 2.0  # between two questions about what runs
WHOLE_SECONDS = 1800.0  # until when a cloud has to have given every machine once: those there are cost money
_FIRST_PORT, _PORTS = 6388, 12  # among those that a cluster's machines may reach at each other
_STATUS_OF_LOST = 130


class ClusterDriver(MachineLoop):
    """`site` also begins runs: see `GangSite`."""

    site: GangSite

    def __init__(
        self,
        number: int,
        *,
        store: SweepStore,
        site: GangSite,
        clock: Clock,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        super().__init__(number, store=store, site=site, clock=clock, on_note=on_note)
        self.ledger.open.clear()  # a sweep's, which its engine would know of
        self.ledger.doubtful.clear()
        self._whole = False  # whether all machines have been up, each at its time
        self._asked = 0.0  # when it was asked last what became of the runs
        self._up_since = float("inf")  # the first machine of this process
        self._ports: dict[tuple[int, int], int] = {}  # by run and attempt
        self._ready: set[str] = set()  # machines whose Ray had started at the last look, or that have none

    def _round(self) -> float:
        now = self.clock.now()
        self.sweep = self.store.sweep(self.number)
        if self.sweep.wish is Wish.RUN and (why := self._reason(now)):
            self.sweep = self.store.change(self.number, wish=Wish.CANCEL, stopped=why)
            self.on_note(f"The cluster of {self.sweep.desk} ends: {why}")
        if self.sweep.wish is Wish.CANCEL and (left := self.store.tasks(self.number, LEFT)):
            for task in left:  # they end with the runners
                self._write(_cancelled(task, now))
        machines = self._fleet(now)
        if self.sweep.wish is Wish.CANCEL:
            return self._end(machines, now)
        self._hear_looks(now)
        if now - self._asked >= ASK_SECONDS:
            self._asked = now
            self._runs(self.store.machines(self.number), now)
        return 0.5

    def _reason(self, now: float) -> str:
        sweep = self.sweep
        if sweep.deadline_at is not None and now >= sweep.deadline_at:
            return "its deadline"
        if sweep.budget_usd is not None and self._usd >= sweep.budget_usd:
            return f"its budget of ${sweep.budget_usd:,.2f} is spent"
        machines = self.store.machines(self.number)
        self._whole |= sum(bool(m.instance) for m in machines) >= sweep.machines
        if cloud(sweep.provider).rented and not self._whole:
            if why := next(iter(self.site.troubles().values()), ""):
                return f"not all of its machines can be had: {why}"
            if now - sweep.created_at >= WHOLE_SECONDS:
                return f"not all of its machines were there within {WHOLE_SECONDS / 60:.0f} minutes"
        if any(m.state is MachineState.UP for m in machines):
            self._up_since = min(self._up_since, now)
        if sweep.idle_seconds and not self.store.tasks(self.number, LEFT, limit=1):
            last = self.store.tasks(self.number, newest=True, limit=1)
            if now - max([self._up_since, *(task.ended_at for task in last)]) >= sweep.idle_seconds:
                return f"nothing has run for {sweep.idle_seconds / 60:,.0f} minutes"
        return ""

    def _hear_engine(self, machines: list[Machine], name: str, known: Known) -> list[Machine]:
        (self._ready.add if known.ready else self._ready.discard)(name)
        return super()._hear_engine(machines, name, known)

    # ---- runs ----------------------------------------------------------------------------------------

    def _runs(self, machines: Sequence[Machine], now: float) -> None:
        unwanted = self.store.unwanted(self.number)
        for task in self.store.tasks(self.number, LEFT):
            run = Run.of(task)
            ranks = [m for m in machines if run.gang or m.number == 1]
            whole = len(ranks) == (self.sweep.machines if run.gang else 1)
            up = whole and all(m.state is MachineState.UP for m in ranks)
            if task.state is State.WAITING and task.number in unwanted:
                self._write(_cancelled(task, now))
            elif task.state is State.WAITING and up and (run.gang or ranks[0].name in self._ready):
                self._begin_run(task, run, ranks, now)
            elif task.state is State.RUNNING:
                self._ask(task, run, ranks, now, unwanted=task.number in unwanted)

    def _begin_run(self, task: Task, run: Run, ranks: Sequence[Machine], now: float) -> None:
        if lacks := set(run.secrets) - self.store.secrets(self.sweep, task.number).keys():
            why = f"the value of {min(lacks)} is not on this computer any more"
            self._write(replace(task, state=State.FAILED, why=why, ended_at=now))
            return
        if self.checkpoints.awaited(task.number, {m.name for m in ranks}):
            return
        ready = [partial(self.site.bring_run, self.sweep, m.name, task.number) for m in ranks]
        for machine, answer in zip(ranks, side_by_side(ready, AT_ONCE), strict=True):
            if isinstance(answer, HotdeskError):
                self.on_note(f"{machine.name}: {answer.what} {answer.why}")
                return  # it is tried again
            if isinstance(answer, Exception):
                raise answer
        task = replace(
            task, state=State.RUNNING, attempt=task.attempt + 1, machine=ranks[0].name, began_at=now,
            usd=0.0, why="", exit_status=None,
        )  # fmt: skip
        # Which machines it is begun on: another one under the same name has not begun it.
        self._write(task, instances={m.name: m.instance for m in ranks})
        self._ask_to_begin(task, run, ranks)

    def _ask_to_begin(self, task: Task, run: Run, ranks: Sequence[Machine]) -> None:
        """Ask each machine to begin its rank: again changes nothing."""
        port = self._port(task)
        kept = self.store.secrets(self.sweep, task.number)
        secrets = {name: kept[name] for name in run.secrets if name in kept}  # not of one before it
        calls = []
        for rank, machine in enumerate(ranks):
            place = Place(rank=rank, machines=len(ranks), head=ranks[0].address, port=port, gpus=machine.gpus)
            order = Order(
                task=task.number,
                attempt=task.attempt,
                command=cluster.filled(run.command, place),
                params={},
                epoch=self.sweep.epoch,
                checkpoint=run.checkpoint,
                keeps=rank == 0,
                saved=self.checkpoints.saved(task.number),
            )
            variables = {**place.variables(), **dict(run.environment)}
            calls.append(partial(self.site.begin, self.sweep, machine.name, order, variables, secrets))
        for machine, answer in zip(ranks, side_by_side(calls, AT_ONCE), strict=True):
            if isinstance(answer, HotdeskError):
                self.on_note(f"{machine.name}: {answer.what} {answer.why}")  # asked again at the next look
            elif isinstance(answer, Exception):
                raise answer

    def _port(self, task: Task) -> int:
        """Where the ranks of an attempt meet; another one than the last time, which may linger."""
        if cloud(self.sweep.provider).rented:
            return _FIRST_PORT + (task.number + task.attempt) % _PORTS
        key = (task.number, task.attempt)
        if key not in self._ports:
            with socket.socket() as probe:
                probe.bind(("", 0))
                self._ports[key] = int(probe.getsockname()[1])
        return self._ports[key]

    def _ask(self, task: Task, run: Run, ranks: Sequence[Machine], now: float, *, unwanted: bool) -> None:
        begun = self._instances(task)
        lost = [
            name
            for name, instance in begun.items()
            if not any(
                m.name == name and m.instance == instance and m.state is MachineState.UP for m in ranks
            )
        ]
        there = [m for m in ranks if m.name in begun and m.name not in lost]
        calls = [partial(self.site.known, self.sweep, m.name, [task.number]) for m in there]
        answers = side_by_side(calls, AT_ONCE)
        known = {m.name: a for m, a in zip(there, answers, strict=True) if isinstance(a, Known)}
        running = {name for name, k in known.items() if any(g.attempt == task.attempt for g in k.running)}
        ended = {
            name: next(e for e in k.ended if e.attempt == task.attempt)
            for name, k in known.items()
            if any(e.attempt == task.attempt for e in k.ended)
        }
        failed = [name for name, e in ended.items() if e.exit_status != 0]
        if (lost or failed or unwanted) and running:
            for name in running:
                self._quietly(partial(self.site.cancel, self.sweep, name, {task.number: task.attempt}))
            return
        if running or any(m.name not in known for m in there):
            if absent := [m for m in there if m.name in known and m.name not in running | ended.keys()]:
                self.on_note(f"{absent[0].name} has not begun run {task.number}: it is asked again")
                self._ask_to_begin(task, run, [m for m in ranks if m.name in begun])
            return
        if not lost and len(ended) < len(begun) and not unwanted and not failed:
            self._ask_to_begin(task, run, [m for m in ranks if m.name in begun])
            return
        names = list(begun)
        statuses = {names.index(name): (e.exit_status, e.why or e.last) for name, e in ended.items()}
        if unwanted:
            changed = _cancelled(task, now)
        else:
            why = f"{lost[0]} went" if lost else ""
            changed = cluster.ended(task, statuses, lost=why, now=now)
            if first := ended.get(names[0]):
                changed = replace(changed, metrics=first.metrics, last=first.last)
        if first := ended.get(names[0]):
            self.checkpoints.ended(names[0], first)
        self.on_note(f"Run {task.number}: {changed.state}{f', {changed.why}' if changed.why else ''}")
        status = None if lost else max((s for s, _ in statuses.values()), default=_STATUS_OF_LOST)
        self._write(
            changed,
            Attempt(
                task=task.number, number=task.attempt, machine=names[0], began_at=task.began_at,
                seconds=now - task.began_at, exit_status=status, why=changed.why,
            ),
        )  # fmt: skip

    def _quietly(self, call: partial[None]) -> None:
        try:
            call()
        except HotdeskError as error:
            self.on_note(f"{error.what} {error.why}")

    # ---- what is written down ------------------------------------------------------------------------

    def _write(
        self, task: Task, attempt: Attempt | None = None, instances: dict[str, str] | None = None
    ) -> None:
        if instances is not None:
            task = replace(
                task, params={**task.params, "on": " ".join(f"{n}={i}" for n, i in instances.items())}
            )
        self.store.put(self.number, [task], [attempt] if attempt else [])
        if task.state not in LEFT:
            self.store.forget_secrets(self.sweep, task.number)
            self.store.want(self.number, [task.number], wanted=True)

    def _instances(self, task: Task) -> dict[str, str]:
        pairs = (pair.partition("=") for pair in str(task.params.get("on", "")).split())
        return {name: instance for name, _, instance in pairs}


def _cancelled(task: Task, now: float) -> Task:
    seconds = now - task.began_at if task.state is State.RUNNING else 0.0
    return replace(task, state=State.CANCELLED, why=plan.CANCELLED_WHY, ended_at=now, seconds=seconds)
