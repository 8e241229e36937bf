"""The loop of one sweep or cluster as far as its machines go: kept as wanted, looked at, and gone at the end.

What they run is decided by whoever derives from it: sweep/driver.py, sweep/cluster.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial

from msgspec.structs import replace

from hotdesk.core.errors import HotdeskError, Unreachable
from hotdesk.core.ports import Clock
from hotdesk.core.sweep import linger, plan
from hotdesk.core.sweep.model import LEFT, Machine, MachineState, State, Sweep, Task, Wish
from hotdesk.parallel import every, side_by_side
from hotdesk.sweep.checkpoints import Checkpoints
from hotdesk.sweep.engine import Engine, EngineLost
from hotdesk.sweep.ledger import Ledger
from hotdesk.sweep.looks import AT_ONCE, LOOK_SECONDS, Looks
from hotdesk.sweep.machine import Known
from hotdesk.sweep.record import Recorder
from hotdesk.sweep.site import SeenMachine, Site, TakenOver
from hotdesk.sweep.store import SweepStore

TICK_SECONDS = 1.0  # between two surveys while machines come or go
REST_SECONDS = 5.0  # … and while they are as wanted
RETRY_SECONDS = 1.0
GIVEN_UP_SECONDS = 600.0  # how long a machine that does not answer is kept for what is on it
HOLD_EPOCHS = 1_000_000  # of one computer, before another takes the sweep over
AWAY_SECONDS = 60.0  # without a round: another computer may have taken the sweep over meanwhile
MET_SECONDS = 120.0  # how long a machine of another computer is waited for, before it counts as lost
REPLACED_MOST = 3  # machines that cannot be had, before the sweep stops
_AT_REST = frozenset({MachineState.WARM, MachineState.GONE})
_SETTLED = _AT_REST | {MachineState.UP}


class MachineLoop:
    def __init__(
        self,
        number: int,
        *,
        store: SweepStore,
        site: Site,
        clock: Clock,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.number, self.store, self.site, self.clock, self.on_note = number, store, site, clock, on_note
        sweep = store.sweep(number)  # (what an earlier computer asks for is refused, however often it begins)
        epoch = max(sweep.epoch + 1, sweep.hold.number * HOLD_EPOCHS)
        self.ledger = Ledger(store.change(number, epoch=epoch), store, clock)
        self.engine: Engine | None = None  # what places tasks on the machines, where something does
        self.seen: dict[str, SeenMachine] = {}
        self._ticked = float("-inf")
        self._silent: dict[str, float] = {}  # since when a machine does not answer
        self._again: dict[str, float] = {}  # when a machine whose runner could not be started is tried again
        self._answered: set[str] = set()  # machines that have told what they know, in this epoch
        self.looks = Looks(site, clock)
        self.checkpoints = Checkpoints(number, site, store, clock)
        self.ledger.on_end = self.checkpoints.ended
        self.recorder = Recorder(number, store.folder, site, clock)
        self._replaced = 0
        self._rounded = float("-inf")  # the last round
        self._usd = 0.0

    @property
    def sweep(self) -> Sweep:
        return self.ledger.sweep

    @sweep.setter
    def sweep(self, sweep: Sweep) -> None:
        self.ledger.sweep = sweep

    def run(self) -> Sweep:
        """Until the sweep is over, its machines gone; the sweep."""
        try:
            with every(LOOK_SECONDS, self._look):
                while not (pause := self.round()) < 0:
                    self.clock.sleep(pause)
        except TakenOver as taken:
            self.sweep = self.store.give_away(self.sweep, taken.hold.computer, self.clock.now())
            self.on_note(taken.what)
        finally:
            self._let_go()
        return self.sweep

    def _look(self) -> None:
        self.looks.look(self.sweep)
        if not (self.sweep.cluster or self._is_away(self.clock.now())):  # (it may be another's by now)
            self.recorder.keep(self.sweep, self.looks.names)

    def round(self) -> float:
        """One round; how long to wait before the next, below 0 where nothing is left to do.

        Raises `TakenOver`.
        """
        now = self.clock.now()
        if self._is_away(now):
            try:
                self.site.confirm()
            except TakenOver:
                raise
            except HotdeskError as error:
                self.on_note(
                    f"Whether another computer goes on with it cannot be seen: {error.what} {error.why}"
                )
                return REST_SECONDS
        self._rounded = now
        try:
            return self._round()
        except EngineLost as error:
            self.on_note(f"The engine is started again: {error.why or error.what}")
            self._let_go()
            return 0.0

    def _is_away(self, now: float) -> bool:
        """Whether the last round was too long ago, or in what a clock that was set says is the future."""
        return not 0 <= now - self._rounded <= AWAY_SECONDS

    def _round(self) -> float:
        raise NotImplementedError

    def _let_go(self) -> None:
        """Leave what runs to itself."""

    def _attach(self, machine: Machine, known: Known) -> None:
        """Wait for what already runs on a machine that has just come up."""

    # ---- the fleet -----------------------------------------------------------------------------------

    def _fleet(self, now: float) -> list[Machine]:
        """The machines after a survey and what followed from it."""
        machines = self.store.machines(self.number)
        settled = all(m.state in _SETTLED for m in machines)
        if now - self._ticked < (REST_SECONDS if settled and machines else TICK_SECONDS):
            return machines
        self._ticked = now
        counts = self.store.counts(self.number)
        wanted = plan.machines_wanted(self.sweep, counts, machines)
        if self.ledger.open:
            wanted = max(1, wanted)
        for machine in linger.leaving(self.sweep, machines, now):
            machines = self._put(machines, machine)
        present = [m for m in machines if m.state not in plan.ABSENT]
        for machine in linger.wanted_again(machines, wanted - len(present), now):
            machines = self._put(machines, machine)
            present.append(machine)
        if len(present) < wanted:
            machines += self._more(machines, wanted - len(present), now)
        placed = all(task.state is State.RUNNING and task.machine for task in self.ledger.open.values())
        busy = {t.machine for t in self.ledger.open.values()} if placed else {m.name for m in machines}
        busy |= {m.name for m in machines if m.unmet}
        for machine in plan.superfluous(wanted, machines, busy):
            machines = self._put(machines, replace(machine, state=MachineState.LEAVING, since=now, why=""))
        machines = self._leave(machines, now)
        names = [m.name for m in machines if m.state is not MachineState.GONE and not m.may_go]
        released = [m.name for m in machines if m.may_go]
        try:
            self.seen = dict(self.site.tick(names, released))
        except TakenOver:
            raise
        except HotdeskError as error:  # no look: nothing is known to have changed
            self.on_note(f"The machines cannot be looked at: {error.what} {error.why}")
            return machines
        self._usd = self.site.usd([m.name for m in machines])
        machines = self._compare(machines, now)
        machines = self._bring_up(machines, now)
        return self._give_up_unmet(machines, now)

    def _more(self, machines: Sequence[Machine], count: int, now: float) -> list[Machine]:
        """New members. The head's number is used again: its address stays."""
        taken = {m.number for m in machines if m.state is not MachineState.GONE}
        new: list[Machine] = []
        number = 1
        while len(new) < count:
            if number not in taken:
                new.append(Machine(name=self.sweep.member(number), number=number, since=now))
            number += 1
        self.store.put_machines(self.number, new)
        known = {m.number for m in new}
        if isinstance(machines, list):
            machines[:] = [m for m in machines if m.number not in known]
        return new

    def _give_up_unmet(self, machines: list[Machine], now: float) -> list[Machine]:
        """Wait no longer for machines of another computer that are gone, or have not answered for long."""
        unmet = [m for m in machines if m.unmet]
        there = self.site.present([m.name for m in unmet])
        late = now - self.sweep.held_at > MET_SECONDS
        for machine in unmet:
            if late or machine.name not in there:
                self.ledger.lose(machine, now)
                machines = self._put(machines, replace(machine, unmet=False, lost_at=now))
        return machines

    def _unheard(self, machines: Sequence[Machine], now: float) -> bool:
        """Whether machines of another computer have still to tell what they have begun and ended."""
        if not self.sweep.hold.number or any(m.unmet for m in machines):
            return bool(self.sweep.hold.number)
        new = any(
            m.name in self.seen and m.state in {MachineState.WANTED, MachineState.LOST} for m in machines
        )
        return new and now - self.sweep.held_at < MET_SECONDS

    def _compare(self, machines: list[Machine], now: float) -> list[Machine]:
        """Note which machines went, and which cannot be had."""
        troubles = self.site.troubles()
        for machine in machines:
            seen = self.seen.get(machine.name)
            if machine.state is MachineState.UP and (seen is None or seen.instance != machine.instance):
                machines = self._lose(machines, machine, "it is gone", now)
            elif machine.state in {MachineState.WANTED, MachineState.LOST} and machine.name in troubles:
                why = troubles[machine.name]
                self._replaced += 1
                changed = replace(machine, state=MachineState.LEAVING, since=now, why=why)
                machines = self._put(machines, changed)
                if self._replaced > REPLACED_MOST and not any(m.state is MachineState.UP for m in machines):
                    self.sweep = self.store.change(self.number, wish=Wish.CANCEL, stopped=why)
        return machines

    def _lose(self, machines: list[Machine], machine: Machine, why: str, now: float) -> list[Machine]:
        self.on_note(f"{machine.name} is lost: {why}")
        self._answered.discard(machine.name)
        self._silent.pop(machine.name, None)
        self.ledger.lose(machine, now)
        return self._put(machines, replace(machine, state=MachineState.LOST, since=now, lost_at=now, why=why))

    def _bring_up(self, machines: list[Machine], now: float) -> list[Machine]:
        """Start the runner where a machine can be used and has none; not before the head has an address."""
        head = next((m for m in machines if m.number == 1), None)
        waiting = [
            replace(
                m, instance=seen.instance, address=seen.address, slots=seen.slots, gpus=seen.gpus,
                usd_per_hour=seen.usd_per_hour,
            )
            for m in machines
            if m.state in {MachineState.WANTED, MachineState.LOST}
            and now >= self._again.get(m.name, 0.0)
            and (seen := self.seen.get(m.name))
        ]  # fmt: skip
        head = next((m for m in waiting if m.number == 1), head)
        if head is None or not head.address or not waiting:
            return machines
        asked = self._to_ask()
        answers = side_by_side([partial(self._prepare, machine, head, asked) for machine in waiting], AT_ONCE)
        for machine, answer in zip(waiting, answers, strict=True):
            if isinstance(answer, HotdeskError):
                self.on_note(f"{machine.name}: {answer.what} {answer.why}")
                self._again[machine.name] = self.clock.now() + plan.SILENT_SECONDS
            elif isinstance(answer, Exception):
                raise answer
            else:
                self._answered.add(machine.name)
                up = replace(machine, state=MachineState.UP, since=now, why="", unmet=False)
                machines = self._put(machines, up)
                self._catch_up(up, answer, now)
        return machines

    def _to_ask(self) -> list[int]:
        """The tasks of which a machine that has come up may know more."""
        if not self.sweep.hold.number:
            return list(self.ledger.open)
        tasks = self.store.tasks(self.number, (*LEFT, State.FAILED))
        return [task.number for task in tasks]

    def _prepare(self, machine: Machine, head: Machine, asked: Sequence[int]) -> Known:
        self.site.prepare(self.sweep, machine, head)
        return self.site.known(self.sweep, machine.name, asked)

    def _catch_up(self, machine: Machine, known: Known, now: float) -> None:
        """What a runner tells that has just been reached: ends count, and what was given up is ended."""
        if self.sweep.hold.number:
            self.ledger.learn(known)
        self.ledger.hear(machine, known.ended)
        with contextlib.suppress(Unreachable):  # then it falls silent again
            stale = {
                going.task: going.attempt
                for going in self.site.look(self.sweep, machine.name).running
                if (task := self.ledger.open.get(going.task)) is None or task.attempt != going.attempt
            }
            if stale:
                self.site.cancel(self.sweep, machine.name, stale)
        self._attach(machine, known)

    def _leave(self, machines: list[Machine], now: float) -> list[Machine]:
        """Fetch what is on machines that may go, and note which are gone. Some linger."""
        leaving = [m for m in machines if m.state in {MachineState.LEAVING, MachineState.WARM}]
        there = self.site.present([m.name for m in leaving])
        taken = []
        for machine in leaving:
            if machine.name not in there:
                gone = replace(machine, state=MachineState.GONE, since=now, lost_at=now)
                machines = self._put(machines, gone)
            elif machine.state is MachineState.LEAVING and not machine.may_go and self._taken(machine, now):
                taken.append(machine)
        up = [m.name for m in machines if m.state is MachineState.UP]
        if (
            taken and not self.sweep.cluster
        ):  # what has ended there is known to those that stay, before it goes
            self.recorder.keep(self.sweep, up, now=True)
        for machine in taken:
            reached = machine.name in self.seen
            left = linger.fetched(self.sweep, machine, now) if reached else replace(machine, fetched=True)
            machines = self._put(machines, left)
        return machines

    def _taken(self, machine: Machine, now: float) -> bool:
        """Fetch what is on a machine, and end its runner; whether it may be deleted now."""
        if machine.name not in self.seen or self._again.get(machine.name, 0.0) > now:
            if now - machine.since < GIVEN_UP_SECONDS:
                return False
            self.on_note(f"{machine.name} did not come back: logs and results that were only there are lost")
            return True
        try:
            self.checkpoints.last(self.sweep, machine.name)
            self.site.fetch(self.sweep, machine.name)
            self.site.stop(self.sweep, machine.name)
        except HotdeskError as error:
            self.on_note(f"{machine.name}: {error.what} {error.why}")
            self._again[machine.name] = self.clock.now() + plan.SILENT_SECONDS
            return False
        return True

    def _put(self, machines: list[Machine], changed: Machine) -> list[Machine]:
        self.store.put_machines(self.number, [changed])
        return [changed if m.number == changed.number else m for m in machines]

    # ---- looking -------------------------------------------------------------------------------------

    def _hear_looks(self, now: float) -> None:
        machines = self.store.machines(self.number)
        self.looks.names = tuple(m.name for m in machines if m.state is MachineState.UP)
        changed: list[Task] = []
        for name, known in self.looks.heard():
            if known is not None:
                self._silent.pop(name, None)
                changed += self.ledger.running(name, known, now)
                self.checkpoints.hear(self.sweep, name, known)
                machines = self._hear_engine(machines, name, known)
                continue
            since = self._silent.setdefault(name, now)
            machine = next((m for m in machines if m.name == name), None)
            if machine and machine.state is MachineState.UP and now - since > plan.SILENT_SECONDS:
                machines = self._lose(machines, machine, "it does not answer", now)
        self.ledger.write(changed)
        self.checkpoints.settle()

    def _hear_engine(self, machines: list[Machine], name: str, known: Known) -> list[Machine]:
        """Say why a machine takes no tasks; where it is the head, give the sweep up after some starts."""
        why = "its cloud takes it back" if known.going else ""
        why = f"Ray does not start: {known.engine_why}" if known.engine_failures else why
        machine = next((m for m in machines if m.name == name), None)
        if machine is None or machine.state is not MachineState.UP:
            return machines
        if known.engine_failures and why != machine.why:
            self.on_note(f"{name}: {why} (start {known.engine_failures} of {plan.ENGINE_STARTS})")
        if machine.number == 1 and known.engine_failures >= plan.ENGINE_STARTS and self.engine is None:
            self.sweep = self.store.change(self.number, wish=Wish.CANCEL, stopped=why)
        return machines if why == machine.why else self._put(machines, replace(machine, why=why))

    # ---- ending --------------------------------------------------------------------------------------

    def _end(self, machines: Sequence[Machine], now: float) -> float:
        """Every task has ended: see that no machine is left, or that the next sweep has them."""
        self._let_go()
        self.looks.names = ()
        self.checkpoints.forget()
        given = bool(self.sweep.heir) and all(m.state in _AT_REST for m in machines)
        if given:
            self.store.hand_over(self.sweep, now)
        if given or (all(m.state is MachineState.GONE for m in machines) and self.site.cleared()):
            renamed = {"heir": 0, "group": f"sweep{self.sweep.id}-{self.sweep.heir}"} if given else {}
            self.sweep = self.store.change(self.number, over_at=now, **renamed)
            if self.store.counts(self.number).left:  # tasks were to be run again just before
                self.sweep = self.store.change(self.number, over_at=0.0)
                return -1.0 if given else RETRY_SECONDS / 2
            self.store.forget_secrets(self.sweep)
            return -1.0
        return RETRY_SECONDS / 2
