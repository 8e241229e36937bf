"""`Hotdesk`: the one façade behind the command line, Python and the page.

Every verb does the same thing: it writes a desk's goal down, and runs the loop until the goal is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hotdesk.core.model import Desk, Goal, Want
from hotdesk.core.ports import Clock
from hotdesk.core.steps import Row, Wait
from hotdesk.services import Services
from hotdesk.services.limits import Limits
from hotdesk.services.view import View

if TYPE_CHECKING:
    from hotdesk.config import Config
    from hotdesk.services.notebook import Notebook

FIRST_NAME = "desk"  # of a desk that nobody named


class Hotdesk:
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
        self.services = Services(
            state,
            config=config,
            clock=clock,
            on_row=on_row,
            on_wait=on_wait,
            on_busy=on_busy,
            on_note=on_note,
            over_budget=over_budget,
        )

    def __enter__(self) -> Hotdesk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the state folder. What was asked for stands."""
        self.services.store.close()

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
        public: str = "",
    ) -> View:
        """A desk that can be used: made, resumed, started or only proven, as need be.

        `want` replaces what the desk wanted until now; a running machine that does not fit is an error
        (see `move`). `limits` replaces when it ends itself. `fresh` agrees to go on from what is left
        where the newest work is not to be found; `origin` chooses, where several things have work under
        the desk's name, the image or disk that it goes on from; `Unknown` is raised for one it does not have.
        `rescue`: it is up also where its owner's start files (~/.bashrc) let no command through.
        `public` opens its Jupyter, see `notebook`.
        """
        s = self.services
        s.rescue = rescue
        name = name or s.goals.only(FIRST_NAME)
        desk = s.goals.wanted(name, Goal.RUNNING, want, provider, fresh, origin=origin)
        if limits:
            desk = limits.of(desk, s.clock.now())
        if public:
            s.exposure.can_be_public(desk.provider)
        view = s.pursuit.pursue(desk)
        desk = s.store.desk(desk.name)
        s.staying.renew(desk)
        return self._open(desk, view, public)

    def _open(self, desk: Desk, view: View, public: str = "") -> View:
        """A desk that was proven: as open as it is wanted, and asked what its owner should know."""
        s = self.services
        if public:
            s.exposure.publish(desk, public)
        else:
            s.exposure.republish(desk)
        remarks = s.guest_events.remarks(desk, view.gpu, s.views.access)
        return replace(view, public=s.exposure.public.get(desk.name), remarks=remarks)

    def resume(
        self, name: str, *, want: Want | None = None, fresh: bool = False, rescue: bool = False
    ) -> View:
        """A desk that exists, running again. `fresh`, `rescue`: as of `up`."""
        self.services.store.desk(name)
        return self.up(name, want=want, fresh=fresh, rescue=rescue)

    def start(self, name: str, *, rescue: bool = False) -> View:
        """A stopped desk, running again."""
        return self.resume(name, rescue=rescue)

    def stop(self, name: str, *, anyway: bool = False) -> View:
        """The machine off, its disk kept (and paid).

        Where something works at the desk this raises `NeedsDecision`, as do `park`, `move` and `down`, unless
        it is to be done `anyway`.
        """
        return self._leave(name, Goal.STOPPED, "stop", anyway)

    def park(self, name: str, *, anyway: bool = False) -> View:
        """Everything in one verified image, and nothing else left to pay. `anyway`: as of `stop`."""
        return self._leave(name, Goal.PARKED, "park", anyway)

    def _leave(self, name: str, goal: Goal, verb: str, anyway: bool) -> View:
        s = self.services
        s.work.may_end(s.store.desk(name), verb, anyway)
        view = s.pursuit.pursue(s.goals.wanted(name, goal))
        s.exposure.close_behind(s.store.desk(name))
        return view

    def move(self, name: str, want: Want, *, anyway: bool = False) -> View:
        """The same desk on other hardware: with another type in its zone, else parked and resumed there.

        `anyway`: as of `stop`.
        """
        s = self.services
        desk = s.goals.moved(name, want)
        s.work.may_end(desk, "move", anyway)
        view = s.pursuit.pursue(desk)
        return self._open(s.store.desk(name), view)

    def down(self, name: str, *, anyway: bool = False) -> tuple[str, ...]:
        """Nothing left of the desk: machine, disks, images and keys are deleted. Twice is once.

        What was begun by another computer under the same name is not of this desk: it stays, and is named.
        `anyway`: as of `stop`.
        """
        s = self.services
        desk = s.store.find(name)
        if desk is None and s.store.rows(name, limit=1):  # it was; the journal remembers it, and no lock
            with s.store.hold(name, f"making {name} gone"):
                return ()
        desk = desk or s.store.desk(name)
        if desk.goal is not Goal.GONE:
            s.work.may_end(desk, "down", anyway)
        view = s.pursuit.pursue(s.goals.wanted(name, Goal.GONE))
        s.exposure.close_behind(desk)
        return view.kept

    def stay(self, name: str, seconds: float) -> None:
        """Neither idleness nor the lease ends a running desk for so long. Raises `NeedsDecision`."""
        self.services.staying.stay(self.services.store.desk(name), seconds)

    def watch(self, names: str | Collection[str] | None = None, seconds: float = 5.0) -> None:
        """Keep desks as wanted until interrupted: all, those of these names, or the one of this name."""
        names = [names] if isinstance(names, str) else names
        for name in names or ():
            self.services.store.desk(name)
        self.services.watch(names, seconds)

    # ---- what is -------------------------------------------------------------------------------------

    def ls(self) -> list[View]:
        """All desks, those that only other computers know after the others; one survey per cloud in use."""
        s = self.services
        desks = s.store.desks()
        views = s.views.all(desks)
        s.exposure.close_behind_all({desk.provider for desk in desks})
        return views

    def show(self, name: str | None = None) -> View:
        """One desk, and what it says of itself (`remarks`). Raises `Unknown`, `NotAllowed`, `Unreachable`."""
        s = self.services
        desk = s.store.desk(name or s.goals.only())
        view = s.views.of(desk, s.clouds.survey(desk.provider).of(desk.name))
        if view.phase != "ready":
            return view
        return replace(view, remarks=s.guest_events.remarks(desk, view.gpu, s.views.access))

    def log(self, name: str | None = None, after: int = 0, limit: int = 1000) -> list[Row]:
        """The newest rows of the journal, oldest first; also of desks that are gone."""
        rows = self.services.store.rows(name, after, limit)
        if name is not None and not rows:
            self.services.store.desk(name)
        return rows

    def notebook(self, name: str | None = None, *, public: str = "", private: bool = False) -> Notebook:
        """The desk's Jupyter, answering at `url` from this computer; its `password` is asked for there.

        `public` opens it at the machine's own address, with TLS: "caller" for the address that this computer
        calls from, a range such as "203.0.113.0/24", or "everybody". It stays so, also over park and resume,
        until `private`. Raises `NeedsDecision` where the desk does not run, `Usage`, `Unreachable`.
        """
        s = self.services
        return s.notebooks.open(s.store.desk(name or s.goals.only()), public=public, private=private)
