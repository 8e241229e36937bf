"""`Hotdesk`: the one façade behind the command line, Python and the page.

Every verb does the same thing: it writes a desk's goal down, and runs the loop until the goal is seen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import (
    Busy,
    HotdeskError,
    Kind,
    Missing,
    NeedsDecision,
    NotAllowed,
    Refused,
    Unknown,
    Unreachable,
    Usage,
)
from hotdesk.core.lifecycle.descent import machine_of, own
from hotdesk.core.lifecycle.shutdown import left
from hotdesk.core.model import (
    Desk,
    Goal,
    Instance,
    Phase,
    Seen,
    Survey,
    Want,
)
from hotdesk.core.ports import Access, Clock, Provider
from hotdesk.core.steps import AnyStep, Ask, Launch, Row, Start, Wait
from hotdesk.providers import registry
from hotdesk.services.billing import Money
from hotdesk.services.cleanup import Leaving, Limits, idle_words
from hotdesk.services.explain import not_tried, question, question_of, still_paid
from hotdesk.services.exposure import Opening
from hotdesk.services.goals import Wishes
from hotdesk.services.guest_events import Hearing
from hotdesk.services.view import View, powered, view_of
from hotdesk.state.store import Store
from hotdesk.system import SystemClock, config_files, state_folder

if TYPE_CHECKING:
    from hotdesk.config import Config
    from hotdesk.core.spot.prices import Storing
    from hotdesk.jobs.run import Runs
    from hotdesk.loop.reconcile import Reconciler, Tick

FIRST_NAME = "desk"  # of a desk that nobody named


class Hotdesk(Wishes, Leaving, Money, Hearing, Opening):
    """Your desks. Use as a context manager, or `close()` it.

    `on_row` and `on_wait` hear of each step as it begins and ends, and of what is waited for; `on_note` of
    what its owner should know. `over_budget` agrees to launch past the month's budget.
    Every verb raises a `HotdeskError` unless the wanted state was seen.
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
        self.store = Store(self.state)
        self.clock = clock or SystemClock()
        self.on_row = on_row
        self.on_wait = on_wait
        self.on_busy = on_busy
        self.on_note = on_note
        self.over_budget = over_budget
        self._config = config
        self._providers: dict[str, Provider] = {}
        self.others: dict[str, set[str]] = {}  # other owners' desks in the same clouds, by all looks
        self._heard, self._rescue = {}, False
        self.public = {}

    def __enter__(self) -> Hotdesk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.store.close()

    @property
    def config(self) -> Config:
        if self._config is None:
            from hotdesk.config import load

            self._config = load(config_files())
        return self._config

    def provider(self, name: str) -> Provider:
        """The provider of that name. Raises `Usage` for an unknown one."""
        if name not in self._providers:
            from hotdesk.connect.keys import desk_keys

            self._providers[name] = registry.provider(
                name,
                registry.Context(
                    state=self.state,
                    cache=self.store,
                    keys=partial(desk_keys, self.state),
                    clock=self.clock,
                    settings=self.config.cloud(name),
                    list_price=_list_price,
                    storing=partial(_storing, name),
                ),
            )
        return self._providers[name]

    # ---- verbs ---------------------------------------------------------------------------------------

    def up(
        self,
        name: str | None = None,
        *,
        want: Want | None = None,
        provider: str | None = None,
        fresh: bool = False,
        origin: str = "",
        limits: Limits | None = None,
        rescue: bool = False,
    ) -> View:
        """A desk that can be used: made, resumed, started or only proven, as need be.

        `want` replaces what the desk wanted until now; a running machine that does not fit is an error
        (see `move`). `limits` replaces when it ends itself. `fresh` agrees to go on from what is left
        where the newest work is not to be found; `origin` chooses, where several things have work under
        the desk's name, the image or disk that it goes on from; `Unknown` is raised for one it does not have.
        `rescue`: it is up also where its owner's start files (~/.bashrc) let no command through.
        """
        self._rescue = rescue
        desk = self.wanted(name or self.only(FIRST_NAME), Goal.RUNNING, want, provider, fresh, origin=origin)
        if limits:
            desk = limits.of(desk, self.clock.now())
        view = self._pursue(desk)
        self.renew(desk.name)
        self.republish(desk.name)
        return view

    def resume(
        self, name: str, *, want: Want | None = None, fresh: bool = False, rescue: bool = False
    ) -> View:
        """A desk that exists, running again. `fresh`, `rescue`: as of `up`."""
        self.store.desk(name)
        return self.up(name, want=want, fresh=fresh, rescue=rescue)

    def start(self, name: str, *, rescue: bool = False) -> View:
        """A stopped desk, running again."""
        return self.resume(name, rescue=rescue)

    def stop(self, name: str, *, anyway: bool = False) -> View:
        """The machine off, its disk kept (and paid).

        Where something works at the desk this raises `NeedsDecision`, as do `park`, `move` and `down`, unless
        it is to be done `anyway`; `at_work` says what that is.
        """
        self.may_end(name, "stop", anyway)
        return self._left(self._pursue(self.wanted(name, Goal.STOPPED)))

    def park(self, name: str, *, anyway: bool = False) -> View:
        """Everything in one verified image, and nothing else left to pay. `anyway`: as of `stop`."""
        self.may_end(name, "park", anyway)
        return self._left(self._pursue(self.wanted(name, Goal.PARKED)))

    def _left(self, view: View) -> View:
        self.close_behind(self.store.desk(view.name))
        return view

    def move(self, name: str, want: Want, *, anyway: bool = False) -> View:
        """The same desk on other hardware: with another type in its zone, else parked and resumed there.

        `anyway`: as of `stop`.
        """
        desk = self.moved(name, want)
        self.may_end(name, "move", anyway)
        view = self._pursue(desk)
        self.republish(name)
        return view

    def down(self, name: str, *, anyway: bool = False) -> tuple[str, ...]:
        """Nothing left of the desk: machine, disks, images and keys are deleted. Twice is once.

        What was begun by another computer under the same name is not of this desk: it stays, and is named.
        `anyway`: as of `stop`.
        """
        if self.store.find(name) is None and self.store.rows(name, limit=1):
            with self.store.hold(
                name, f"making {name} gone"
            ):  # it was; the journal remembers it, and no lock
                return ()
        desk = self.store.desk(name)
        if desk.goal is not Goal.GONE:
            self.may_end(name, "down", anyway)
        view = self._pursue(self.wanted(name, Goal.GONE))
        self.close_behind(desk)
        return view.kept

    def settle(self, name: str) -> View:
        """Go on with what was last asked of the desk, until it is so."""
        return self._pursue(self.store.desk(name))

    def watch(self, names: str | Collection[str] | None = None, seconds: float = 5.0) -> None:
        """Keep desks as wanted until interrupted: all, those of these names, or the one of this name."""
        from hotdesk.loop.reconcile import watch

        names = [names] if isinstance(names, str) else names
        for name in names or ():
            self.store.desk(name)
        watch(self._reconciler(), names, seconds, self._beside())

    def watch_alone(self) -> None:
        """Be the one watcher of all desks, until nobody asks for one; nothing when there is one."""
        from hotdesk.loop.watcher import watch_alone

        watch_alone(self._reconciler(), self._beside())

    def _beside(self) -> Callable[[list[str]], bool]:
        """What a watcher does beside the loop: it goes on with jobs, and renews leases."""
        from hotdesk.loop.leases import Leases

        runs = self.runs()
        leases = Leases(store=self.store, clock=self.clock, access=self.reached)

        def beside(names: list[str]) -> bool:
            leases.round(names)
            return runs.round(names)

        return beside

    def runs(self, progress: Callable[[str], None] | None = None) -> Runs:
        """The jobs of all desks. `progress` hears how far the fetching of results is."""
        from hotdesk.jobs.run import Runs

        return Runs(
            store=self.store,
            clock=self.clock,
            access=self.reached,
            live=self.machine,
            offers=lambda desk: self._offers(desk.provider, desk.want),
            settle=self.settle,
            on_row=self.on_row,
            progress=progress,
            works=lambda desk: self.at_work(desk.name).asks,
        )

    def machine(self, desk: Desk) -> Instance | None:
        """A desk's machine as its cloud shows it now, whatever else runs under its name."""
        return machine_of(desk, self.survey(desk.provider).of(desk.name), self.store.past(desk))

    def reached(self, desk: Desk) -> Access | None:
        """How to reach a desk, None where it has no machine that runs, or one that is to be left."""
        machine = self.machine(desk)
        if machine is None or machine.phase is not Phase.READY or machine.chosen_for < desk.generation:
            return None
        try:
            return self.provider(desk.provider).access(machine)
        except Refused:  # it went away between two looks
            return None

    # ---- what is -------------------------------------------------------------------------------------

    def plan(self, desk: Desk) -> list[AnyStep]:
        """The steps from what is seen to what this row wants: what a dry run shows. Nothing is done."""
        from hotdesk.core.lifecycle.plan import plan

        seen = self.survey(desk.provider).of(desk.name)
        return plan(desk, seen, self.store.past(desk), self.clock.now())

    def survey(self, provider: str) -> Survey:
        """Everything of ours in one cloud. Raises `NotAllowed`, `Unreachable`."""
        found = self._reconciler().survey(provider)
        for name, owners in found.others().items():
            self.others.setdefault(name, set()).update(owners)
        return found

    def ls(self) -> list[View]:
        """All desks, those that only other computers know after the others; one survey per cloud in use."""
        desks = self.store.desks()
        looks = self.look_at_each({d.provider for d in desks})
        surveys = {name: look.by_desk() for name, look in looks.items()}
        self.close_behind_all()
        known = [self._view(d, surveys[d.provider].get(d.name, looks[d.provider].nothing)) for d in desks]
        for name in (n for n in self.clouds() - surveys.keys() if cloud(n).rented):
            with contextlib.suppress(HotdeskError):  # none of these desks is there: it is no error of theirs
                surveys[name] = self.survey(name).by_desk()
        return known + [
            msgspec.structs.replace(self._view(desk, seen), elsewhere=True)
            for provider, by_desk in sorted(surveys.items())
            for name, seen in sorted(by_desk.items())
            if (desk := self.adoptable(name, seen, provider))
        ]

    def show(self, name: str) -> View:
        desk = self.store.desk(name)
        return self._view(desk, self.survey(desk.provider).of(name))

    def log(self, name: str | None = None, after: int = 0, limit: int = 1000) -> list[Row]:
        """The newest rows of the journal, oldest first; also of desks that are gone."""
        rows = self.store.rows(name, after, limit)
        if name is not None and not rows:
            self.store.desk(name)
        return rows

    def only(self, otherwise: str | None = None) -> str:
        """The name that is meant when none is given: the only desk there is.

        `otherwise` when there is none. Raises `Usage` where there are several.
        """
        names = [d.name for d in self.store.desks()]
        if len(names) == 1:
            return names[0]
        if not names and otherwise:
            return otherwise
        if not names:
            raise Unknown("There is no desk yet.", "", "hotdesk up")
        raise Usage("Which desk?", f"There are several: {', '.join(names[:12])}.", "hotdesk ls")

    def access(self, name: str) -> Access:
        """How to reach a desk that runs. Raises `NeedsDecision` when it does not run, saying what would."""
        desk = self.store.desk(name)
        machine = self._machine(desk, self.survey(desk.provider).of(name))
        try:
            return self.provider(desk.provider).access(machine)
        except Refused as refused:
            raise question_of(refused, f"{name} cannot be reached.") from refused

    def notebook(self, name: str) -> str:
        """An address at which the desk's Jupyter answers from this computer."""
        from hotdesk.connect import tunnel

        return tunnel.notebook_url(self.access(name), self.state / "desks" / name)

    def password(self, name: str) -> str:
        """The password of the desk's Jupyter. Raises `Missing` when its file is not there."""
        file = self.password_file(name)
        try:
            return file.read_text("utf-8").strip()
        except OSError as error:
            raise Missing(
                f"The password of {name} is not in {file}.",
                error.strerror or str(error),
                f"hotdesk stop {name} && hotdesk start {name}   # with a new password",
            ) from error

    def password_file(self, name: str) -> Path:
        """Where the desk's Jupyter password stands; the file is its owner's alone."""
        return self.state / "desks" / self.store.desk(name).name / "notebook-password"

    # ---- inside --------------------------------------------------------------------------------------

    def _pursue(self, desk: Desk) -> View:
        """Write the wish down, then act on it until it is so."""
        if desk.goal is Goal.RUNNING and self._may_launch(desk):
            desk = self.within_budget(desk)
        old = self.store.find(desk.name)
        changed = old is None or old.wish != desk.wish
        if changed:
            self.store.put(desk)
        try:
            return self._held(desk, changed)
        finally:
            self.go_on_with_jobs(desk)

    def _held(self, desk: Desk, changed: bool) -> View:
        doing = f"making {desk.name} {desk.goal}"
        with self.store.hold(desk.name, doing) as mine:
            if mine:
                return self._settle(desk, changed)
        self.on_busy(desk.name, self.store.holder(desk.name))
        with self.store.hold(desk.name, doing, wait=True):
            return self._settle(desk, changed)

    def _may_launch(self, desk: Desk) -> bool:
        """Whether a machine would be launched or started for it, as far as one look tells."""
        if not self.config.defaults.usd_per_month:
            return False
        live = self.patiently(desk.name, lambda: self.survey(desk.provider)).of(desk.name).live
        return not powered(live) or live.chosen_for < desk.generation  # type: ignore[union-attr]

    def _settle(self, desk: Desk, changed: bool) -> View:
        current = self.store.find(desk.name)
        if current is not None and current.wish != desk.wish:
            raise Busy(
                f"{desk.name} is now wanted {current.goal}.",
                "Another command changed its mind while this one was waiting for its turn.",
                f"hotdesk watch {desk.name}",
            )
        if current is not None and not changed:
            self.store.put(desk)  # asked again: with a fresh proof, fresh offers and fresh patience
        if current is None and desk.goal is not Goal.GONE:
            self.store.put(desk)
        tick: Tick = self._reconciler().settle(desk)
        if ask := tick.asks.get(desk.name):
            ask = not_tried(ask, desk, self.provider(desk.provider).offers)
            if meanwhile := still_paid(ask, desk, tick.seen.get(desk.name, Seen())):
                ask = msgspec.structs.replace(ask, why=f"{ask.why.rstrip('.')}. Meanwhile {meanwhile}.")
            raise question(ask)
        return self._view(desk, tick.seen.get(desk.name, Seen()))

    def _reconciler(self) -> Reconciler:
        from hotdesk.loop.reconcile import Reconciler

        def prove(access: Access) -> None:
            from hotdesk.connect.readiness import prove

            prove(access, rescue=self._rescue)
            self.listen(access)

        def proven(access: Access) -> None:
            from hotdesk.connect import editor

            self.write_down(access)
            editor.refresh_host(access, self.state)

        return Reconciler(
            store=self.store,
            provider=self.provider,
            clock=self.clock,
            prove=prove,
            on_row=self.on_row,
            on_wait=self.on_wait,
            on_gone=self._forget,
            on_proven=proven,
            may=self._may,
        )

    def _may(self, desk: Desk, step: AnyStep) -> Ask | None:
        """What keeps a step from being taken: a launch past the month's budget, by whoever watches."""
        if not isinstance(step, Launch | Start) or not self.config.defaults.usd_per_month:
            return None
        try:
            self.within_budget(desk)
        except NotAllowed as no:
            return Ask(what=no.what, why=no.why, fix=f"hotdesk up {desk.name} --over-budget", kind=Kind.QUOTA)
        return None

    def _forget(self, desk: Desk) -> None:
        from hotdesk.connect import editor, tunnel
        from hotdesk.connect.keys import forget_keys

        forget_keys(self.state, desk.name)
        editor.forget_host(self.state, desk.name)
        tunnel.forget(self.state / "desks" / desk.name)

    def _machine(self, desk: Desk, seen: Seen) -> Instance:
        machine = machine_of(desk, seen, self.store.past(desk))
        if machine is not None and machine.phase is Phase.READY:
            return machine
        view = self._view(desk, seen)
        if view.phase == "unknown":
            raise Unreachable(
                f"{desk.name} is {view.state}.", f"{view.why.rstrip('.')}.", seen.closed_fix or "hotdesk ls"
            )
        verb = "resume" if view.phase == "parked" else "up"
        raise NeedsDecision(
            f"{desk.name} is {view.state}.",
            view.why or "There is a machine to connect to only while it is running.",
            f"hotdesk {verb} {desk.name}",
        )

    def _view(self, desk: Desk, seen: Seen) -> View:
        machine = machine_of(desk, seen, self.store.past(desk))
        access = None
        if machine is not None and machine.phase is Phase.READY:
            with contextlib.suppress(HotdeskError, Refused, OSError):  # it went away between two looks
                access = self.provider(desk.provider).access(machine)
        now = self.clock.now()
        past = self.store.past(desk)
        seen = own(desk, seen, past)
        return view_of(
            desk,
            seen,
            access=access,
            cost_usd=self._cost(desk, powered(machine)),
            holder=self.store.holder(desk.name),
            idle=idle_words(desk, now),
            left=left(desk, seen, past) is not None,
        )

    def _cost(self, desk: Desk, running: bool) -> float:
        if not any(offer.usd_per_hour for offer in desk.offers):
            return 0.0
        from hotdesk.core.billing.charges import compute_usd

        rows = [r for r in self.store.rows(desk.name, limit=100_000) if r.at >= desk.created_at]
        return compute_usd(rows, self.clock.now(), running)


def _storing(provider: str, region: str) -> Storing:
    from hotdesk.market.shipped import shipped

    return shipped(provider).storing(region)


def _list_price(region: str, instance_type: str) -> tuple[float, float] | None:
    from hotdesk.market.shipped import list_price

    return list_price(region, instance_type)
