"""The clouds of one hotdesk: their providers, created once, and their last surveys."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from hotdesk.core.backoff import backoff
from hotdesk.core.errors import HotdeskError, Kind, NotAllowed, Overloaded, Refused, Unreachable
from hotdesk.core.lifecycle.descent import machine_of
from hotdesk.core.lifecycle.ending import end_of
from hotdesk.core.model import Desk, Instance, Phase, Seen, Survey
from hotdesk.core.ports import Access, Clock, Provider
from hotdesk.core.steps import Wait
from hotdesk.providers import registry
from hotdesk.state.store import Store

T = TypeVar("T")


class Clouds:
    """Surveys clouds and remembers the results.

    `make` makes the provider of a name, once. `named`: clouds in use although no desk is there. `fleets`:
    names of groups of machines that somebody here takes care of (a sweep), and that are no desks.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        make: Callable[[str], Provider],
        named: Collection[str] = (),
        on_wait: Callable[[str, Wait], None] = lambda desk, wait: None,
        *,
        fleets: Callable[[], Collection[str]] = lambda: (),
    ) -> None:
        self.store, self.clock, self.make, self.named, self.on_wait = store, clock, make, named, on_wait
        self.looks: dict[str, Survey] = {}  # the last at each
        self.fleets = fleets
        self._providers: dict[str, Provider] = {}

    def provider(self, name: str) -> Provider:
        """The provider of that name. Raises `Usage` for an unknown one, `Missing` without its packages."""
        if (known := self._providers.get(name)) is None:
            known = self._providers[name] = self.make(name)
        return known

    def survey(self, name: str, before: float | None = None) -> Survey:
        """Everything of ours in one cloud. Raises `NotAllowed`, `Overloaded`, `Unreachable`.

        `before`: a time (our clock) just before the look, where the caller knows one.
        """
        before = self.clock.now() if before is None else before
        try:
            survey = self.provider(name).survey()
        except OSError as error:
            raise Unreachable(f"{name} does not answer.", str(error), "hotdesk doctor") from error
        except Refused as refused:
            if refused.kind is Kind.THROTTLED:
                raise Overloaded(
                    f"{name} is too busy to answer.", refused.message, "hotdesk ls   # again in a minute"
                ) from refused
            raise NotAllowed(
                f"Access to {name} is denied.", refused.message, refused.fix or "hotdesk doctor"
            ) from refused
        survey = survey.without(self.fleets())
        self.store.witness(survey, before, self.clock.now())
        self.looks[name] = survey
        return survey

    def others(self) -> dict[str, tuple[str, ...]]:
        """Desks of other owners in the same clouds, by the last surveys, with the owners' names."""
        return {desk: owners for look in self.looks.values() for desk, owners in look.others().items()}

    def in_use(self, desks: Iterable[Desk] | None = None) -> set[str]:
        """The clouds of desks (of all here, or of these), and those that are named."""
        rows = self.store.desks() if desks is None else desks
        return {*self.named, *(desk.provider for desk in rows)}

    def in_sight(self) -> set[str]:
        """The clouds where something of ours may be: those in use, and those that credentials here open.

        After the last `down`, or with a state folder that was lost, no desk's row says where to look.
        """
        return self.in_use() | registry.within_reach()

    def look_at_each(self, names: Iterable[str]) -> dict[str, Survey]:
        """What is in each of these clouds; one that cannot be looked at hides no desk of another, and its
        survey says why. Raises a `HotdeskError` where none of them can."""
        found: dict[str, Survey] = {}
        failed: dict[str, HotdeskError] = {}
        for name in sorted(names):
            try:
                found[name] = self.survey(name)
            except HotdeskError as error:
                failed[name] = error
        if failed and not found:
            raise next(iter(failed.values()))
        return found | {
            name: Survey(provider=name, unread=(name,), closed=no.why or no.what, closed_fix=no.fix)
            for name, no in failed.items()
        }

    def seen(self, desk: Desk) -> Seen:
        """What one look shows of a desk; a cloud that is too busy is asked again, later each time."""
        return self.patiently(desk.name, lambda: self.survey(desk.provider)).of(desk.name)

    def machine(self, desk: Desk) -> Instance | None:
        """A desk's machine as its cloud shows it now, whatever else runs under its name."""
        return machine_of(desk, self.survey(desk.provider).of(desk.name), self.store.past(desk))

    def end_of(self, desk: Desk) -> float:
        """When its cloud ends a desk's machine, by the last look; 0: no time is known."""
        look = self.looks.get(desk.provider)
        machine = look and machine_of(desk, look.of(desk.name), self.store.past(desk))
        return end_of(machine, self.clock.now()) if machine else 0.0

    def reached(self, desk: Desk) -> Access | None:
        """How to reach a desk, None where it has no machine that runs, or one that is to be left."""
        machine = self.machine(desk)
        if machine is None or machine.phase is not Phase.READY or machine.chosen_for < desk.generation:
            return None
        try:
            return self.provider(desk.provider).access(machine)
        except Refused:  # it disappeared between two surveys
            return None

    def patiently(self, desk: str, ask: Callable[[], T]) -> T:
        """What `ask` tells of a desk, asked again and again, later each time, while its cloud is too busy."""
        times = 0
        while True:
            try:
                return ask()
            except Overloaded as busy:
                times += 1
                wait = Wait(seconds=backoff(times, f"{desk}/{self.clock.now()}"), why=busy.why)
            self.on_wait(desk, wait)
            self.clock.sleep(wait.seconds)
