"""Clusters: a desk's machines several times over, for its owner's own programs, Ray's among them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import Busy, HotdeskError, Missing, NeedsDecision, Unknown, Unreachable, Usage
from hotdesk.core.model import MarketChoice, Value
from hotdesk.core.ports import Access
from hotdesk.core.sweep import group as planning
from hotdesk.core.sweep.cluster import Run, launches
from hotdesk.core.sweep.model import LEFT, MachineState, Sweep, Task, Wish
from hotdesk.core.sweep.params import Space
from hotdesk.services import sweep_checks
from hotdesk.services.forwarding import Forwarding
from hotdesk.services.sweep_request import SweepRequest, check_inside, values
from hotdesk.services.sweep_view import SweepView
from hotdesk.services.sweeps import WAIT_SECONDS, Sweeps, free_port
from hotdesk.system import withhold, write_atomically

if TYPE_CHECKING:
    from hotdesk.sweep.machine import Known

MOST_SECONDS = 2400.0  # how long its machines are waited for; the cluster's own loop gives up before
DASHBOARD_PORT = 8265  # at the head of a cluster in a cloud: Ray's usual one


class ClusterRun(Value, frozen=True):
    """A program on a cluster, and how far it is."""

    number: int
    command: str
    gang: bool  # whether every machine runs it
    task: Task


class Dashboard(Value, frozen=True):
    """Ray's dashboard at this computer; it asks for the token once."""

    url: str
    token_file: str


class ClusterView(Value, frozen=True):
    """A cluster: its machines, what they cost, and its runs."""

    name: str  # of the desk whose image its machines have
    view: SweepView
    address: str  # of Ray's head, as RAY_ADDRESS takes it
    has_ray: bool | None  # whether the desk has it; None: not known yet
    runs: tuple[ClusterRun, ...]


@dataclass(kw_only=True, eq=False)
class Clusters:
    """The clusters of one state folder: each is of one desk, and a desk has one at a time."""

    sweeps: Sweeps
    forwarding: Forwarding

    # ---- up and down ---------------------------------------------------------------------------------

    def planned(
        self,
        name: str,
        *,
        machines: int,
        market: MarketChoice = MarketChoice.CHEAPEST,
        budget_usd: float | None = None,
        deadline_seconds: float | None = None,
        idle_seconds: float | None = None,
        anyway: bool = False,
    ) -> Sweep:
        """The cluster that `up` would begin. Nothing is done. Raises as `Hotdesk.sweep` does."""
        request = self._request(
            name, machines, market=market, budget_usd=budget_usd, deadline_seconds=deadline_seconds,
            anyway=anyway,
        )  # fmt: skip
        request.check()
        sweep = self.sweeps.planned(request)
        return replace(
            sweep,
            cluster=True,
            command=(),
            checkpoint_gib=0.0,  # no limit: each run says whether it has one
            idle_seconds=idle_seconds,
            dashboard_port=DASHBOARD_PORT if sweep.pools else free_port(),
        )

    def _request(self, name: str, machines: int, **more: Any) -> SweepRequest:
        """What is asked of a cluster as of a sweep: as many machines, from the same image."""
        space = Space(each=tuple({"machine": n} for n in range(machines)))
        return SweepRequest(
            desk=name,
            command=("true",),
            space=space,
            tags=("machine",),
            machines=machines,
            whole=True,
            push=False,
            **more,
        )

    def up(self, name: str, *, machines: int, anyway: bool = False, **limits: Any) -> Sweep:
        """Begin a cluster, parking its desk where that was agreed to.

        Raises `Busy` where the desk has one already, else as `planned`.
        """
        self.sweeps.store.desk(name)
        with self.sweeps.store.hold(f"@cluster-{name}", f"hotdesk cluster up {name}") as mine:
            if not mine:
                raise Busy(
                    f"Another process is beginning a cluster of {name}.",
                    "A desk has one at a time.",
                    f"hotdesk cluster show {name}   # in a while",
                )
            return self._up(name, machines=machines, anyway=anyway, **limits)

    def _up(self, name: str, *, machines: int, anyway: bool, **limits: Any) -> Sweep:
        with self.sweeps.opened() as store:
            for sweep in store.sweeps(left=True, clusters=True):
                if sweep.desk == name:
                    raise Busy(
                        f"{name} has a cluster already, of {sweep.machines} machines.",
                        "A desk has one at a time.",
                        f"hotdesk cluster show {name}   # or: hotdesk cluster down {name}",
                    )
        self.planned(name, machines=machines, anyway=anyway, **limits)
        self.sweeps.parked(self._request(name, machines))
        return self.sweeps.begin(self.planned(name, machines=machines, anyway=anyway, **limits))

    def down(self, name: str) -> SweepView:
        """End a cluster, and what runs on it; once its machines are gone. Raises `Unknown`."""
        sweep = self._of(name)
        self.sweeps.cancel(sweep.number)
        return self.sweeps.wait(sweep.number)

    def wait_up(self, name: str) -> ClusterView:
        """The cluster once all of its machines are up. Raises `NeedsDecision` where it ends before."""
        clock, number = self.sweeps.clock, self._of(name, over=True).number
        until, said = clock.now() + MOST_SECONDS, ""
        while (view := self._view(number)).up < view.sweep.machines or not self._all_ready(view):
            if view.sweep.over_at or view.state == "stopping":
                view = self.sweeps.wait(number)
                raise NeedsDecision(
                    f"The cluster of {name} is not up, and none of its machines is left.",
                    f"{view.sweep.stopped[:1].upper()}{view.sweep.stopped[1:].rstrip('.')}.",
                    self._instead(view),
                )
            if clock.now() > until:
                why = next((m.why for m in view.machines if m.why), "")
                raise NeedsDecision(
                    f"The cluster of {name} is not up yet.", why, f"hotdesk cluster show {name}"
                )
            why = next((f"{m.name}: {m.why}" for m in view.machines if m.why), "")
            if why and why != said:
                self.sweeps.on_note(why)
                said = why
            if not view.driven:
                self.sweeps.drive(number)
            clock.sleep(WAIT_SECONDS)
        return self.show(name)

    def _view(self, number: int) -> SweepView:
        """As a sweep's; of a machine that its cloud does not have now, why."""
        view = self.sweeps.view(number)
        if not cloud(view.sweep.provider).rented or view.sweep.over_at:
            return view
        with self.sweeps.opened() as store:
            group = store.group(number)
        names = [m.name for m in view.machines if m.state in {MachineState.WANTED, MachineState.LOST}]
        lacks = planning.shortage(group, names, self.sweeps.clock.now())
        machines = [replace(m, why=lacks.get(m.name, m.why)) for m in view.machines]
        return replace(view, machines=tuple(machines))

    def _instead(self, view: SweepView) -> str:
        """What may be had where a cluster was not."""
        with self.sweeps.opened() as store:
            had = len({m.name for m in store.group(view.sweep.number).members if m.name})
        if 0 < had < view.sweep.machines:
            return f"hotdesk cluster up {view.sweep.desk} --machines {had}"
        return f"hotdesk cluster show {view.sweep.desk}"

    def _all_ready(self, view: SweepView) -> bool:
        """Whether Ray has started on every machine that has it."""
        up = [m.name for m in view.machines if m.state is MachineState.UP]
        answers = [self._look(view.sweep, name) for name in up]
        return all(answer is not None and answer.ready for answer in answers)

    # ---- looking -------------------------------------------------------------------------------------

    def ls(self) -> list[ClusterView]:
        """The clusters that are not over, oldest first."""
        self.sweeps.revive()
        with self.sweeps.opened() as store:
            names = [sweep.desk for sweep in store.sweeps(left=True, clusters=True)]
        return [self.show(name) for name in names]

    def show(self, name: str) -> ClusterView:
        """The cluster of a desk, or its last one. Raises `Unknown`."""
        sweep = self._of(name, over=True)
        view = self._view(sweep.number)
        head = next((m for m in view.machines if m.number == 1), None)
        runs = tuple(_run(task) for task in self.sweeps.tasks(sweep.number))
        there = head is not None and head.state is MachineState.UP
        known = self._look(sweep, sweep.member(1)) if there else None
        return ClusterView(
            name=name,
            view=view,
            address=f"{head.address}:{sweep.head_port}" if there and head else "",
            has_ray=known.engine if known else None,
            runs=runs,
        )

    def _look(self, sweep: Sweep, name: str) -> Known | None:
        from hotdesk.sweep import machine

        try:
            if access := self.sweeps.kept.reached(sweep, name):
                return machine.look(access, sweep.id)
        except HotdeskError:
            pass
        return None

    def _of(self, name: str, *, over: bool = False) -> Sweep:
        with self.sweeps.opened() as store:
            found = [s for s in store.sweeps(clusters=True) if s.desk == name and (over or not s.over_at)]
        if not found:
            raise Unknown(
                f"{name} has no cluster.",
                "",
                f"hotdesk cluster up {name} --machines 4",
            )
        return found[-1]

    def dashboard(self, name: str) -> Dashboard:
        """Ray's dashboard at this computer, through ssh.

        Raises `Missing` where the desk has no ray[default], `NeedsDecision` where its head is not up.
        """
        sweep = self._of(name)
        member = sweep.member(1)
        known = self._look(sweep, member)
        if known is None:
            raise NeedsDecision(
                f"The head of {name}'s cluster is not up.", "", f"hotdesk cluster show {name}"
            )
        if not known.dashboard:
            raise Missing(
                f"The cluster of {name} has no dashboard.",
                "It is a part of ray[default], which the desk's image does not have.",
                f"hotdesk up {name} && hotdesk ssh {name} -- pip install 'ray[default]'   # and park it",
            )
        here = sweep.dashboard_port
        if cloud(sweep.provider).rented:
            here = self.forwarding.open_member(member, here, f"hotdesk cluster show {name}").here
        elif (head := self.sweeps.store.find(member)) is not None:
            self.forwarding.open(head, [here])
            here = next((f.here for f in self.forwarding.listed(member) if f.there == here), here)
        file = self.sweeps.kept.folder(sweep) / "token"
        write_atomically(file, sweep.token)
        return Dashboard(url=f"http://127.0.0.1:{here}", token_file=str(file))

    def stays(self, member: str) -> bool:
        """Whether a machine of this name belongs to a cluster in a cloud that is not ending."""
        return self._with(member) is not None

    def reach(self, member: str) -> Access:
        """How to reach such a machine. Raises `Unreachable` while it is away."""
        sweep = self._with(member)
        if sweep is None or (access := self.sweeps.kept.reached(sweep, member)) is None:
            raise Unreachable(f"{member} is not there.", "", "hotdesk cluster ls")
        return access

    def _with(self, member: str) -> Sweep | None:
        if not (self.sweeps.state / "sweeps.db").exists():
            return None
        with self.sweeps.opened() as store:
            for sweep in store.sweeps(left=True, clusters=True):
                names = {m.name for m in store.machines(sweep.number)}
                if member in names and cloud(sweep.provider).rented and sweep.wish is Wish.RUN:
                    return sweep
        return None

    # ---- runs ----------------------------------------------------------------------------------------

    def run(
        self,
        name: str,
        command: str | Sequence[str],
        *,
        gang: bool | None = None,
        folder: Path,
        push: bool = True,
        everything: bool = False,
        checkpoint: str = "",
        retries: int = 3,
        env: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
    ) -> ClusterRun:
        """Begin a program on a cluster. `gang`: on every machine at once; None: where torchrun is called.

        `secrets`: variables of this environment. Raises `Usage` where one is not there.
        """
        sweep = self._of(name)
        if sweep.wish is Wish.CANCEL:
            raise NeedsDecision(
                f"The cluster of {name} is ending.",
                f"{sweep.stopped[:1].upper()}{sweep.stopped[1:]}.",
                f"hotdesk cluster up {name}   # once it is gone",
            )
        words = (command,) if isinstance(command, str) else tuple(command)
        if not any(words):
            raise Usage("There is no command to run.", "", f"hotdesk cluster run {name} -- python train.py")
        if checkpoint:
            check_inside("--checkpoint", checkpoint, "the run's folder", "ckpt")
        run = Run(
            command=words,
            gang=launches(words) if gang is None else gang,
            checkpoint=checkpoint,
            retries=retries,
            environment=tuple((env or {}).items()),
            secrets=tuple(secrets),
        )
        private = values(secrets)
        withhold(secrets)
        request = SweepRequest(
            desk=name, command=words, space=Space(each=({"run": 0},)), folder=str(folder), push=push,
            everything=everything,
        )  # fmt: skip
        names = sweep_checks.check_folder(request)
        target = self.sweeps.kept.folder(sweep) / "runs"
        target.mkdir(exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix="new-", dir=target) as new:
            sweep_checks.copy(folder, names, Path(new) / "project")
            hold = self.sweeps.store.hold(f"@runs-{sweep.number}", f"hotdesk cluster run {name}", wait=True)
            with hold, self.sweeps.opened() as store:
                number = store.counts(sweep.number).total + 1
                # The folder before the row: who finds a run begins it.
                place = target / f"{number:06d}"
                shutil.rmtree(place, ignore_errors=True)  # of a process that was killed between the two
                shutil.move(new, place)
                Path(new).mkdir()
                store.keep_secrets(sweep, private, number)
                task = Task(number=number, params=run.params())
                store.put(sweep.number, [task])
        self.sweeps.drive(sweep.number)
        return _run(task)

    def wait(self, name: str, number: int) -> ClusterRun:
        """A run once it has ended."""
        while (found := self.run_of(name, number)).task.state in LEFT:
            sweep = self._of(name, over=True)
            if not self.sweeps.driven(sweep.number):
                self.sweeps.drive(sweep.number)
            self.sweeps.clock.sleep(WAIT_SECONDS)
        return found

    def cancel(self, name: str, number: int) -> ClusterRun:
        """End a run; the machines stay. Raises `Usage` where it has ended, `Unknown`."""
        found = self.run_of(name, number)
        sweep = self._of(name, over=True)
        self.sweeps.cancel(sweep.number, [number])
        self.sweeps.wait_for(sweep.number, [number])
        return self.run_of(name, found.number)

    def run_of(self, name: str, number: int) -> ClusterRun:
        """A run by its number. Raises `Unknown`."""
        sweep = self._of(name, over=True)
        with self.sweeps.opened() as store:
            return _run(store.task(sweep.number, number))

    def log(self, name: str, number: int | None = None, rank: int = 0) -> bytes:
        """What a rank of a run has said so far: of the newest, if none is given. Raises `Unknown`."""
        sweep = self._of(name, over=True)
        with self.sweeps.opened() as store:
            last = store.counts(sweep.number).total
            if not last:
                why = "Nothing was run on it."
                raise Unknown(f"{name} has no run yet.", why, f"hotdesk cluster run {name} -- …")
            task = store.task(sweep.number, number or last)
        if rank >= (sweep.machines if Run.of(task).gang else 1):
            raise Unknown(f"Run {task.number} has no rank {rank}.", "Ranks begin at 0.", "--rank 0")
        return self.sweeps.kept.log_at(sweep.number, sweep.member(rank + 1), task.number)


def _run(task: Task) -> ClusterRun:
    run = Run.of(task)
    return ClusterRun(number=task.number, command=run.title, gang=run.gang, task=task)
