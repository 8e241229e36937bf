"""Begin, follow and end sweeps. Their loop is in `sweep/`, in a process of its own."""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import Busy, NeedsDecision, Usage
from hotdesk.core.model import Desk, Goal, Offer, Want
from hotdesk.core.ports import Clock
from hotdesk.core.sweep.model import LEFT, Attempt, Checkpoint, MachineState, State, Sweep, Task, Wish
from hotdesk.services import sweep_checks, sweep_fleet, sweep_linger
from hotdesk.services.sweep_request import SweepRequest, values
from hotdesk.services.sweep_view import SweepResult, SweepView, left_of, state_of, to_deadline
from hotdesk.state.store import Store
from hotdesk.system import spawn, withhold

if TYPE_CHECKING:
    from hotdesk.loop.clouds import Clouds
    from hotdesk.loop.reconcile import Reconciler
    from hotdesk.services.sweep_kept import SweepKept
    from hotdesk.sweep.machine_loop import MachineLoop
    from hotdesk.sweep.store import SweepStore

MACHINES_MOST = {True: 1000, False: 64}  # of a rented cloud; of this computer
WAIT_SECONDS = 1.0  # between two looks at a sweep that is waited for


@dataclass(kw_only=True, eq=False)
class Sweeps:
    """The sweeps of one state folder."""

    state: Path
    store: Store
    clock: Clock
    clouds: Clouds
    reconciler: Reconciler
    wanted: Callable[[str, Goal], Desk]
    pursue: Callable[[Desk], object]
    on_note: Callable[[str], None]
    check_budget: Callable[[Sequence[Offer]], str] = lambda offers: (
        ""
    )  # of the month; raises where it is spent

    @cached_property
    def kept(self) -> SweepKept:
        """The files of sweeps on this computer."""
        from hotdesk.services.sweep_kept import SweepKept

        return SweepKept(state=self.state, store=self.store, clouds=self.clouds)

    # ---- beginning -----------------------------------------------------------------------------------

    def planned(self, request: SweepRequest) -> Sweep:
        """The sweep that a request would begin. Nothing is done.

        Raises `Usage`, `Unknown`, `Missing`, `NeedsDecision` where it cannot begin as it is.
        """
        request.check()
        desk = self.store.desk(request.desk)
        rented = cloud(desk.provider).rented
        if rented:
            launcher = sweep_fleet.launcher(self.clouds, desk.provider)
        else:
            sweep_checks.check_ray()
            sweep_fleet.check_fits(self.clouds.provider(desk.provider).offers(Want()), request)
        sweep_linger.check(desk.provider, request.linger_seconds)
        sweep_checks.check_size(request)
        if request.machines > MACHINES_MOST[rented]:
            raise Usage(
                f"--machines {request.machines} is too many.",
                f"At most {MACHINES_MOST[rented]:,} {'machines' if rented else 'desks on this computer'} make"
                " a sweep.",
                f"--machines {MACHINES_MOST[rented] if rented else min(os.cpu_count() or 1, 64)}",
            )
        image = sweep_checks.newest_image(desk, self.clouds.seen(desk), request)
        now = self.clock.now()
        pools: tuple[Offer, ...] = ()
        most = MACHINES_MOST[rented]
        if rented:
            region, arch = sweep_fleet.region_and_arch(image, desk, self.clouds)
            pools = sweep_fleet.pools(self.clouds.provider(desk.provider), desk, request, region, arch)
            most = sweep_fleet.most(launcher, pools, request, most, parks=image is None)
        return Sweep(
            number=0,
            desk=desk.name,
            image=image.id if image else "",
            provider=desk.provider,
            command=request.command,
            created_at=now,
            folder=request.folder,
            function=request.function.name if request.function else "",
            tags=request.tags,
            machines=sweep_fleet.machines_for(request, pools, most)
            if rented
            else min(request.machines or 1, request.space.size),
            market=request.market,
            pools=pools,
            cpus=request.cpus,
            gpus=1 / request.per_gpu if request.per_gpu else 0.0,
            memory_gib=request.memory_gib,
            retries=request.retries,
            limit_seconds=request.limit_seconds,
            environment=request.environment,
            secrets=request.secrets,
            pull=request.pull,
            checkpoint=os.path.normpath(request.checkpoint) if request.checkpoint else "",
            checkpoint_gib=request.checkpoint_gib,
            budget_usd=request.budget_usd,
            deadline_at=now + request.deadline_seconds if request.deadline_seconds else None,
            keep_going=request.keep_going,
            linger_seconds=request.linger_seconds,
        )

    def start(self, request: SweepRequest) -> Sweep:
        """Write the sweep down, with the folder as it is now, and begin it in a process of its own."""
        names = sweep_checks.check_folder(request)
        sweep = self.planned(request)
        if sweep.pools and (warning := self.check_budget(sweep.pools)):
            self.on_note(warning)
        secrets = values(request.secrets)
        withhold(request.secrets)  # the driver and the machines outlive this process
        self._check_names(sweep)
        sweep = self._keyed(sweep)
        # The folder before the row: whoever finds a sweep goes on with it, as it is.
        (self.state / "sweeps").mkdir(exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix="new-", dir=self.state / "sweeps") as new:
            parts = [Path(new) / "project"]
            sweep_checks.copy(Path(request.folder), names, parts[0])
            if request.function:
                parts.append(sweep_checks.written(request.function, Path(new) / "function"))
            with self.opened() as store:
                before = sweep_linger.predecessor(store, sweep)
                sweep = store.create(sweep, request.space.tasks(), before)
                store.keep_secrets(sweep, secrets)
            self.kept.folder(sweep).mkdir(mode=0o700)
            for part in reversed(parts):  # the project last: where it is, all is
                part.rename(self.kept.folder(sweep) / part.name)
        if sweep.after:
            self.on_note(f"It goes on with the machines of sweep {sweep.after}.")
        self.drive(sweep.number)
        return sweep

    def begin(self, sweep: Sweep) -> Sweep:
        """Write a cluster down, and begin it in a process of its own. Raises as `check_budget` does."""
        if sweep.pools and (warning := self.check_budget(sweep.pools)):
            self.on_note(warning)
        self._check_names(sweep)
        with self.opened() as store:
            sweep = store.create(self._keyed(sweep), [])
        (self.kept.folder(sweep) / "project").mkdir(parents=True, mode=0o700)
        self.drive(sweep.number)
        return sweep

    def run(self, request: SweepRequest, *, wait: bool) -> SweepResult:
        """Begin a sweep, parking its desk where that was agreed to; with `wait`, until it is over."""
        sweep_checks.check_folder(request)
        self.planned(request)
        self.parked(request)
        number = self.start(request).number
        view = self.wait(number) if wait else self.view(number)
        return SweepResult(view=view, tasks=tuple(self.tasks(number)))

    def wait(self, number: int) -> SweepView:
        """The sweep once it is over, its machines gone or kept for the next one."""
        while not (view := self.view(number)).ended:
            if not view.driven:
                self.drive(number)
            self.clock.sleep(WAIT_SECONDS)
        return view

    def parked(self, request: SweepRequest) -> None:
        """Park the desk, where it was agreed to and is needed."""
        desk = self.store.desk(request.desk)
        if self.clouds.seen(desk).live is not None:
            self.pursue(self.wanted(desk.name, Goal.PARKED))

    def _keyed(self, sweep: Sweep) -> Sweep:
        """With a token of its own, and the port of its cluster's head."""
        rented = cloud(sweep.provider).rented
        port = sweep_fleet.launcher(self.clouds, sweep.provider).cluster_ports[0] if rented else free_port()
        return replace(sweep, token=secrets.token_hex(32), head_port=port)

    def _check_names(self, sweep: Sweep) -> None:
        taken = {d.name for d in self.store.desks()}
        with self.opened() as store:
            number = store.next_number()
        prefix = replace(sweep, number=number).member(1).removesuffix("1")
        if wrong := sorted(n for n in taken if n.startswith(prefix)):
            raise Busy(
                f"There is a desk called {wrong[0]}.",
                f"Its machines would have such names: {prefix}1.",
                f"hotdesk down {wrong[0]}",
            )

    # ---- driving -------------------------------------------------------------------------------------

    def drive(self, number: int) -> None:
        """Start the process that goes on with a sweep, unless one does, here or at another computer."""
        with self.opened() as store:
            away = store.sweep(number).away
        if not away and not self.driven(number):
            folder = self.state / "sweeps"
            folder.mkdir(exist_ok=True, mode=0o700)
            spawn(
                "hotdesk",
                "sweep",
                "drive",
                str(number),
                log=folder / f"{number}.log",
                variables={"HOTDESK_STATE": str(self.state)},
            )

    def driven(self, number: int) -> bool:
        return bool(self.store.holder(lock_of(number)))

    def revive(self) -> list[int]:
        """Go on with every sweep that is not over and that nobody goes on with; which."""
        if not (self.state / "sweeps.db").exists():
            return []
        with self.opened() as store:
            left = [s.number for s in store.sweeps(left=True, clusters=None) if not s.away]
        idle = [number for number in left if not self.driven(number)]
        for number in idle:
            self.drive(number)
        return idle

    def go_on(self, number: int) -> None:
        """Be the process that goes on with a sweep, until it is over; return at once if there is one."""
        with self.store.hold(lock_of(number), f"hotdesk sweep {number}") as mine, self.opened() as store:
            sweep = store.sweep(number)
            if not mine or sweep.away:
                return
            if not (self.kept.folder(sweep) / "project").is_dir():  # killed between the two
                sweep = store.change(number, wish=Wish.CANCEL, stopped="its folder was never copied")
            sweep_linger.inherit(store, sweep, self.drive, lambda: self.clock.sleep(WAIT_SECONDS))
            self._driver(store, sweep).run()

    def _driver(self, store: SweepStore, sweep: Sweep) -> MachineLoop:
        from hotdesk.sweep.cluster import ClusterDriver
        from hotdesk.sweep.driver import Driver
        from hotdesk.sweep.fleet import DeskSite

        folder = self.kept.folder(sweep)
        kind = ClusterDriver if sweep.cluster else Driver
        if cloud(sweep.provider).rented:
            machines = sweep_fleet.machines_of(sweep, self.clouds, store, self.on_note)
            rented = sweep_fleet.site(sweep, folder, self.clouds, machines)
            return kind(sweep.number, store=store, site=rented, clock=self.clock, on_note=self.on_note)
        site = DeskSite(
            sweep=sweep,
            folder=folder,
            secrets=store.secrets,
            want=Want(),
            store=self.store,
            clouds=self.clouds,
            clock=self.clock,
            reconciler=self.reconciler,
        )
        return kind(sweep.number, store=store, site=site, clock=self.clock, on_note=self.on_note)

    # ---- looking -------------------------------------------------------------------------------------

    def views(self) -> list[SweepView]:
        """All sweeps, oldest first."""
        with self.opened() as store:
            return [self._view(store, sweep) for sweep in store.sweeps()]

    def view(self, number: int | None = None) -> SweepView:
        """One sweep, or the newest. Raises `Unknown`."""
        with self.opened() as store:
            return self._view(store, store.sweep(number))

    def _view(self, store: SweepStore, sweep: Sweep) -> SweepView:
        counts, machines = store.counts(sweep.number), tuple(store.machines(sweep.number))
        seconds, usd = store.spent(sweep.number)
        if cloud(sweep.provider).rented:  # every second of every machine, whether a task had it or not
            usd = store.group(sweep.number).usd(self.clock.now())
        left, band = left_of(sweep, counts, machines, seconds)
        return SweepView(
            sweep=sweep,
            state=state_of(sweep, counts, machines),
            counts=counts,
            machines=machines,
            usd=usd,
            usd_per_hour=sum(
                m.usd_per_hour for m in machines if m.state in {MachineState.UP, MachineState.WARM}
            ),
            task_seconds=seconds,
            left_seconds=left,
            left_band=band,
            deadline_seconds=to_deadline(sweep, self.clock.now()),
            driven=self.driven(sweep.number),
        )

    def fleets(self) -> frozenset[str]:
        """Names of the groups of machines in clouds that sweeps and clusters here still have."""
        with self.opened() as store:
            return sweep_fleet.live_fleets(store.sweeps(left=True, clusters=None))

    def rented(self) -> list[SweepView]:
        """Sweeps and clusters that have machines in a cloud now."""
        with self.opened() as store:
            left = [s for s in store.sweeps(left=True, clusters=None) if cloud(s.provider).rented]
            left = [sweep for sweep in left if not sweep.away]
            return [self._view(store, sweep) for sweep in left if store.group(sweep.number).alive]

    def tasks(self, number: int | None, states: Sequence[State] = (), limit: int = -1) -> list[Task]:
        with self.opened() as store:
            return store.tasks(store.sweep(number).number, states, limit=limit)

    def checkpoints(self, number: int | None) -> dict[int, Checkpoint]:
        """What tasks have saved that is on this computer, or why it is not, by task."""
        with self.opened() as store:
            return {c.task: c for c in store.checkpoints(store.sweep(number).number)}

    def attempts(self, number: int | None, task: int | None = None) -> list[Attempt]:
        with self.opened() as store:
            return store.attempts(store.sweep(number).number, task)

    # ---- changing one's mind -------------------------------------------------------------------------

    def cancel(self, number: int | None = None, tasks: Sequence[int] = ()) -> Sweep:
        """End a sweep, or some of its tasks: what runs is ended, what is done is kept.

        Raises `Unknown`, and `Usage` for a task that is done or has failed.
        """
        with self.opened() as store:
            sweep = store.sweep(number)
            self._check_here(sweep)
            for task in (store.task(sweep.number, n) for n in tasks):
                if task.state in {State.DONE, State.FAILED}:
                    how = "is done" if task.state is State.DONE else "has failed"
                    raise Usage(
                        f"Task {task.number} {how} already.",
                        "What has ended cannot be cancelled.",
                        f"hotdesk sweep show {sweep.number}",
                    )
            if tasks and not sweep.over_at:
                store.want(sweep.number, tasks, wanted=False)
            elif not sweep.over_at:
                sweep = store.change(
                    sweep.number, wish=Wish.CANCEL, stopped=sweep.stopped or "you cancelled it"
                )
        if not sweep.over_at:
            self.drive(sweep.number)
        return sweep

    def wait_for(self, number: int, tasks: Sequence[int]) -> None:
        """Return once these tasks have ended."""
        while True:
            with self.opened() as store:
                if all(store.task(number, task).state not in LEFT for task in tasks):
                    return
            if not self.driven(number):
                self.drive(number)
            self.clock.sleep(WAIT_SECONDS)

    def retry(self, number: int | None = None, tasks: Sequence[int] = ()) -> tuple[Sweep, int]:
        """Run again what failed or was cancelled, or these tasks; the sweep, and how many.

        Raises `NeedsDecision` while it is being ended, `Unknown` for a task that there is not.
        """
        with self.opened() as store:
            sweep = store.sweep(number)
            self._check_here(sweep)
            if (sweep.wish is Wish.CANCEL or sweep.heir) and not sweep.over_at:
                raise NeedsDecision(
                    f"Sweep {sweep.number} is still ending.",
                    "Its machines are deleted, or handed over; then it can go on.",
                    f"hotdesk sweep show {sweep.number} -f   # then the same command",
                )
            ended = (State.FAILED, State.CANCELLED)
            chosen = [store.task(sweep.number, task) for task in tasks] or store.tasks(sweep.number, ended)
            again = [t for t in chosen if t.state in ended]
            if not again:
                return sweep, 0
            taken = values(sweep.secrets if sweep.over_at else ())
            store.keep_secrets(sweep, taken)
            withhold(sweep.secrets)
            store.want(sweep.number, [t.number for t in again], wanted=True)
            store.put(sweep.number, [_anew(t) for t in again])
            sweep = store.change(
                sweep.number, wish=Wish.RUN, stopped="", over_at=0.0, keep_going=sweep.keep_going,
                deadline_at=None if sweep.over_at else sweep.deadline_at,
            )  # fmt: skip
            machines = [
                replace(m, instance="", fetched=False) for m in store.machines(sweep.number) if sweep.over_at
            ]
            store.put_machines(sweep.number, machines)
        self.drive(sweep.number)
        return sweep, len(again)

    def resume(self, desk: str, *, anyway: bool = False) -> Sweep:
        """Go on here with a desk's sweep that another computer has: see `sweep_takeover.resume`."""
        from hotdesk.services import sweep_takeover

        return sweep_takeover.resume(self, desk, anyway=anyway)

    def _check_here(self, sweep: Sweep) -> None:
        """Raises `Busy` where another computer goes on with it."""
        if sweep.away:
            raise Busy(
                f"Sweep {sweep.number} goes on at {sweep.away}.",
                "What is known of it here is of the time before.",
                f"hotdesk sweep resume {sweep.desk}   # goes on with it here",
            )

    def opened(self) -> SweepStore:
        from hotdesk.sweep.store import SweepStore

        return SweepStore(self.state)


def _anew(task: Task) -> Task:
    return replace(task, state=State.WAITING, failed=0, lost=0, exit_status=None, why="", began_at=0.0)


def lock_of(number: int) -> str:
    """Of the process that goes on with a sweep."""
    return f"@sweep-{number}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
