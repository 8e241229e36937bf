"""The services behind the façade. Each is created on first use, with its dependencies passed in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from hotdesk.core.errors import Damaged, HotdeskError, Missing
from hotdesk.core.model import Desk, Want
from hotdesk.core.money import Money
from hotdesk.core.ports import Access, Clock, Guest, Provider
from hotdesk.core.steps import Row, Wait
from hotdesk.loop.clouds import Clouds
from hotdesk.providers import registry
from hotdesk.services.view import Views
from hotdesk.state.store import Store
from hotdesk.system import SystemClock, config_files, state_folder

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from hotdesk.config import Config
    from hotdesk.core.billing.rates import Charge
    from hotdesk.core.pricelist import Shipped
    from hotdesk.core.spot.prices import Storing
    from hotdesk.jobs.run import Runs
    from hotdesk.loop.reconcile import Reconciler
    from hotdesk.services.billing import Billing
    from hotdesk.services.carriage import Carrying
    from hotdesk.services.choosing import Choosing
    from hotdesk.services.cleanup import Cleanup
    from hotdesk.services.clusters import Clusters
    from hotdesk.services.exposure import Exposure
    from hotdesk.services.forwarding import Forwarding
    from hotdesk.services.goals import Goals
    from hotdesk.services.growing import Growing
    from hotdesk.services.guest_events import GuestEvents
    from hotdesk.services.jobs import Jobs
    from hotdesk.services.limits import Staying
    from hotdesk.services.notebook import Notebooks
    from hotdesk.services.notices import Notices
    from hotdesk.services.pursuit import Pursuit
    from hotdesk.services.sweep_view import SweepView
    from hotdesk.services.sweeps import Sweeps
    from hotdesk.services.templates import Templates
    from hotdesk.services.tops import Tops
    from hotdesk.services.transport import Transport
    from hotdesk.services.work import Work


class Services:
    """The services of one state folder: one store, one set of clouds, one loop. Close its store at the end.

    `on_row` and `on_wait` hear of each step as it begins and ends, and of what is waited for; `on_busy` of
    who else holds a desk; `on_note` of what its owner should know.
    """

    def __init__(
        self,
        state: Path | None = None,
        *,
        config: Config | None = None,
        clock: Clock | None = None,
        on_row: Callable[[Row], None] = lambda row: None,
        on_wait: Callable[[str, Wait], None] = lambda desk, wait: None,
        on_busy: Callable[[str, str], None] = lambda desk, holder: None,
        on_note: Callable[[str], None] = lambda text: None,
        over_budget: bool = False,
    ) -> None:
        self.state = state or state_folder()
        self.clock = clock or SystemClock()
        self.on_row, self.on_wait, self.on_busy, self.on_note = on_row, on_wait, on_busy, on_note
        self.over_budget = over_budget
        self.rescue = False  # whether a desk is up once a login works, although no command or no Jupyter does
        self._config = config
        self._hooked: set[str] = set()  # desks with a hook to begin once they are up

    def __enter__(self) -> Services:
        return self

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        self.say_faults(error)
        self.close()

    def say_faults(self, told: BaseException | None = None) -> None:
        """Tell of the sections of hotdesk.toml that could not be used, but for what an error has `told`."""
        config = self._config or self.__dict__.get("config")
        for fault in config.faults.values() if config else ():
            if fault is not told:
                self.on_note(f"{fault.what} {fault.why} Left out here: {fault.fix}")

    def close(self) -> None:
        """Let go of the state file, if it was opened."""
        if "store" in self.__dict__:
            self.store.close()

    @cached_property
    def store(self) -> Store:
        return Store(self.state)

    @cached_property
    def config(self) -> Config:
        if self._config is not None:
            return self._config
        from hotdesk.config import load

        return load(config_files())

    @cached_property
    def clouds(self) -> Clouds:
        told = self.config
        named = {told.defaults.provider, *(d.provider for d in told.desks.values())}
        named = {registry.DEFAULT, *(name for name in named if name)}
        return Clouds(self.store, self.clock, self._provider, named, self.on_wait, fleets=self._fleets)

    def _fleets(self) -> frozenset[str]:
        """Machines of sweeps that go on, which are no desks and no orphans."""
        return self.sweeps.fleets() if self._has_sweeps else frozenset()

    @property
    def _has_sweeps(self) -> bool:
        """Whether there ever was one; what can sweep takes time to load."""
        return (self.state / "sweeps.db").exists()

    def rented_sweeps(self) -> list[SweepView]:
        """Sweeps that have machines in a cloud now."""
        return self.sweeps.rented() if self._has_sweeps else []

    @cached_property
    def views(self) -> Views:
        return Views(store=self.store, clock=self.clock, clouds=self.clouds)

    @cached_property
    def goals(self) -> Goals:
        from hotdesk.services.goals import Goals

        return Goals(store=self.store, clock=self.clock, clouds=self.clouds, config=self.config)

    def placed(
        self, name: str, want: Want | None, provider: str | None, *, moves: bool = False
    ) -> tuple[Want | None, str | None]:
        """The wish for a desk and its provider, where "any" means the best one: see services/anywhere.py.

        A desk that exists is where it is, unless it `moves`. Raises `NotAllowed` where nothing fits anywhere.
        """
        from hotdesk.services.goals import ANY

        if provider != ANY:
            return want, provider
        if self.store.find(name) and not moves:
            return want, None
        from hotdesk.services.anywhere import best

        provider, want = best(self.goals, name, want, self.on_note)
        return want, provider

    @cached_property
    def billing(self) -> Billing:
        from hotdesk.services.billing import Billing

        return Billing(
            store=self.store,
            clock=self.clock,
            clouds=self.clouds,
            config=self.config,
            on_note=self.on_note,
            over_budget=self.over_budget,
            fleets=self._fleet_charges,
        )

    def _fleet_charges(self) -> list[Charge]:
        if not self._has_sweeps:
            return []
        from hotdesk.services.sweep_fleet import charges

        return charges(self.state, self.clock.now())

    @cached_property
    def exposure(self) -> Exposure:
        from hotdesk.services.exposure import Exposure

        return Exposure(
            state=self.state,
            store=self.store,
            clock=self.clock,
            clouds=self.clouds,
            reach=self.views.access,
        )

    @cached_property
    def notebooks(self) -> Notebooks:
        from hotdesk.services.notebook import Notebooks

        return Notebooks(state=self.state, views=self.views, exposure=self.exposure)

    @cached_property
    def forwarding(self) -> Forwarding:
        from hotdesk.services.forwarding import Forwarding

        return Forwarding(
            state=self.state, store=self.store, clock=self.clock, views=self.views,
            members=lambda: self.clusters,
        )  # fmt: skip

    @cached_property
    def growing(self) -> Growing:
        from hotdesk.services.growing import Growing

        return Growing(
            store=self.store,
            clock=self.clock,
            clouds=self.clouds,
            pursuit=lambda: self.pursuit,
            reach=self.views.proven,
        )

    @cached_property
    def staying(self) -> Staying:
        from hotdesk.services.limits import Staying

        return Staying(store=self.store, clock=self.clock, clouds=self.clouds, reach=self.views.proven)

    @cached_property
    def work(self) -> Work:
        from hotdesk.services.work import Work

        return Work(store=self.store, clouds=self.clouds, reach=self.views.access)

    @cached_property
    def transport(self) -> Transport:
        from hotdesk.services.transport import Transport

        return Transport(state=self.state, store=self.store, on_note=self.on_note)

    @cached_property
    def carrying(self) -> Carrying:
        from hotdesk.services.carriage import Carrying
        from hotdesk.services.route import Routes

        routes = Routes(store=self.store, clouds=self.clouds)
        return Carrying(store=self.store, clouds=self.clouds, reach=self.views.access, routes=routes)

    @cached_property
    def cleanup(self) -> Cleanup:
        from hotdesk.services.cleanup import Cleanup

        return Cleanup(store=self.store, clock=self.clock, clouds=self.clouds, on_row=self.on_row)

    @cached_property
    def guest_events(self) -> GuestEvents:
        from hotdesk.services.guest_events import GuestEvents

        return GuestEvents(store=self.store, clock=self.clock, on_row=self.on_row)

    @cached_property
    def reconciler(self) -> Reconciler:
        from hotdesk.loop.reconcile import Reconciler

        return Reconciler(
            store=self.store,
            clouds=self.clouds,
            clock=self.clock,
            prove=self._prove,
            on_row=self.on_row,
            on_wait=self.on_wait,
            on_gone=self._forget,
            on_proven=self._proven,
            may=self.billing.may,
            carry=self.transport.carry,
        )

    @cached_property
    def pursuit(self) -> Pursuit:
        from hotdesk.services.pursuit import Pursuit

        return Pursuit(
            store=self.store,
            clouds=self.clouds,
            reconciler=self.reconciler,
            billing=self.billing,
            views=self.views,
            clock=self.clock,
            on_busy=self.on_busy,
            on_wait=self.on_wait,
        )

    def one_login(self, name: str) -> AbstractContextManager[None]:
        """While this lasts, our own commands at a desk that runs share one login. Raises as `access`."""
        from hotdesk.connect import one_login

        return one_login.held(self.views.proven(self.store.desk(name)))

    def access(self, name: str) -> Access:
        """How to reach a desk that runs, by its name. Raises `Unknown`, `NeedsDecision`, `Unreachable`."""
        return self.views.access(self.store.desk(name))

    @cached_property
    def notices(self) -> Notices:
        from hotdesk.services.notices import Notices

        return Notices(
            store=self.store,
            clock=self.clock,
            settings=self.config.notify,
            hear=self.guest_events.hear,
            reach=self.clouds.reached,
            warn=self.billing.warn,
            ends=self.clouds.end_of,
            on_failed=self.on_note,
        )

    @cached_property
    def tops(self) -> Tops:
        from hotdesk.services.tops import Tops

        return Tops(
            store=self.store,
            clock=self.clock,
            clouds=self.clouds,
            views=self.views,
            reach=self.views.proven,
            access=self.views.access,
        )

    @cached_property
    def choosing(self) -> Choosing:
        from hotdesk.services.choosing import Choosing

        return Choosing(
            store=self.store,
            clock=self.clock,
            config=lambda: self.config,
            on_note=self.on_note,
        )

    @cached_property
    def jobs(self) -> Jobs:
        from hotdesk.services.jobs import Jobs

        return Jobs(
            store=self.store,
            clock=self.clock,
            goals=self.goals,
            reach=self.views.access,
            proven=self.views.proven,
            runs=self.runs,
        )

    @cached_property
    def sweeps(self) -> Sweeps:
        from hotdesk.services.sweeps import Sweeps

        return Sweeps(
            state=self.state,
            store=self.store,
            clock=self.clock,
            clouds=self.clouds,
            reconciler=self.reconciler,
            wanted=self.goals.wanted,
            pursue=self.pursuit.pursue,
            on_note=self.on_note,
            check_budget=lambda offers: "" if self.over_budget else self.billing.check_budget(offers),
        )

    @cached_property
    def clusters(self) -> Clusters:
        from hotdesk.services.clusters import Clusters

        return Clusters(sweeps=self.sweeps, forwarding=self.forwarding)

    @cached_property
    def templates(self) -> Templates:
        from hotdesk.services.templates import Templates

        return Templates(state=self.state, jobs=self.jobs, runs=self.runs, on_note=self.on_note)

    def runs(self, progress: Callable[[str], None] | None = None) -> Runs:
        """The jobs of all desks. `progress` hears how far the fetching of results is."""
        from hotdesk.jobs.run import Runs

        return Runs(
            store=self.store,
            clock=self.clock,
            access=self.clouds.reached,
            live=self.clouds.machine,
            offers=lambda desk: self.goals.offers(desk.provider, desk.want),
            settle=lambda name: self.pursuit.pursue(self.store.desk(name)),
            on_row=self.on_row,
            progress=progress,
            works=self.work.would_end,
        )

    # ---- watching ------------------------------------------------------------------------------------

    def watch(self, names: Collection[str] | None, seconds: float) -> None:
        """Keep these desks, or all, as they are wanted, until interrupted; `seconds` between two looks."""
        from hotdesk.loop.reconcile import watch

        watch(self.reconciler, names, seconds, self._beside())

    def watch_alone(self) -> None:
        """Run as the only watcher of all desks until none is wanted; return at once if there is one."""
        from hotdesk.loop.watcher import watch_alone

        watch_alone(self.reconciler, self._beside(), self.notices.watches)

    def park_left(self) -> list[str]:
        """Park every desk whose machine ended itself; their names."""
        from hotdesk.loop.autopark import park_left

        return park_left(self.clouds, self.clouds.in_use(), self.pursuit.pursue)

    def _beside(self) -> Callable[[list[str]], bool]:
        """The watcher's work besides the loop: continue jobs and sweeps, and renew leases."""
        from hotdesk.loop.leases import Leases

        runs = self.runs()
        tell = self.staying.tell
        leases = Leases(store=self.store, clock=self.clock, access=self.clouds.reached, tell=tell)

        def beside(names: list[str]) -> bool:
            leases.round(names)
            acted = runs.round(names)
            with contextlib.suppress(HotdeskError, OSError):  # tried again in the next round
                self.notices.round(names)
            if self._has_sweeps:
                with contextlib.suppress(HotdeskError, OSError):
                    self.sweeps.revive()  # machines that linger are ended by somebody, whatever has died
            return acted

        return beside

    def enter_machine(
        self,
        provider: str,
        address: Mapping[str, object],
        key: str = "",
        ask: Callable[[str], bool] = lambda question: False,
    ) -> str:
        """Remember a machine of the owner's by its address; its zone, to launch there. See the registry."""
        cloud = registry.known(provider)
        registry.check(cloud)
        settings = self.config.cloud(provider)
        return registry.enter_machine(provider, self.state, settings, address, key=key, ask=ask)

    # ---- what the loop is handed -----------------------------------------------------------------------

    def _provider(self, name: str) -> Provider:
        from hotdesk.connect.keys import desk_keys

        return registry.provider(
            name,
            registry.Context(
                state=self.state,
                cache=self.store,
                keys=partial(desk_keys, self.state),
                clock=self.clock,
                settings=self.config.cloud(name),
                money=self.config.money,
                list_price=partial(_list_price, name, self.config.money),
                storing=partial(_storing, name),
            ),
        )

    def _prove(self, access: Access) -> None:
        from hotdesk.connect.readiness import prove

        if prove(access, rescue=self.rescue):
            self._hooked.add(access.desk)
        self.guest_events.listen(access)

    def _proven(self, access: Access) -> None:
        from hotdesk.connect import editor
        from hotdesk.loop import forwards
        from hotdesk.services import data

        data.begin(self.state, self.config, access)
        if access.desk in self._hooked:
            from hotdesk.connect import job_runner

            with contextlib.suppress(HotdeskError):  # the desk is up all the same
                job_runner.begin_ready(access)
        self.guest_events.write_down(access)
        editor.refresh_host(access, self.state)
        forwards.revive(self.state, access.desk)

    def _forget(self, desk: Desk) -> None:
        from hotdesk.connect import editor, forwards, tunnel
        from hotdesk.connect.keys import forget_keys
        from hotdesk.services import data, template, transport

        for name in sorted({desk.provider, registry.of_machines()}):  # it may have been there before
            with contextlib.suppress(Missing, Damaged):  # then nothing of it was there, as far as is known
                if isinstance(provider := self.clouds.provider(name), Guest):
                    provider.forget(desk.name)
        for part in (data, template, transport):
            part.forget(self.state, desk.name)
        forget_keys(self.state, desk.name)
        editor.forget_host(self.state, desk.name)
        forwards.forget(self.state / "desks" / desk.name)
        tunnel.forget(self.state / "desks" / desk.name)


def _storing(provider: str, region: str) -> Storing:
    from hotdesk.market.shipped import shipped

    return shipped(provider).storing(region)


def _list_price(provider: str, money: Money, region: str, instance_type: str) -> Shipped | None:
    from hotdesk.market.lists import list_of
    from hotdesk.market.shipped import list_price

    if told := list_of(provider):
        return told.price(region, instance_type, money)
    return list_price(region, instance_type)
