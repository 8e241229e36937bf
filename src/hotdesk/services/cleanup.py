"""The part of the façade that is about leaving: limits, the bill, and what nobody needs any more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import msgspec

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError, NeedsDecision, Refused
from hotdesk.core.model import Desk, Goal, Instance, Leftover, Phase, Retained, Survey, Value
from hotdesk.core.ports import Access, Clock, Provider, Retainer, Sweeper
from hotdesk.core.steps import Row
from hotdesk.providers import registry
from hotdesk.state.store import Store

if TYPE_CHECKING:
    from hotdesk.config import Config
    from hotdesk.connect.at_work import AtWork
    from hotdesk.services.orphans import Thing


class Unread(Value, frozen=True):
    """A cloud, or a region of one, whose things are not known now."""

    where: str
    what: str = ""  # why it could not even be asked; "": it gave no answer
    fix: str = ""


class Limits(Value, frozen=True):
    """When a desk's machine shall end itself; None leaves as it is."""

    idle_minutes: float | None = None  # 0: never
    lease_hours: float | None = None  # 0: for ever
    hours: float | None = None  # from now to the hard end; 0: none

    def of(self, desk: Desk, now: float) -> Desk:
        """The desk with these limits."""
        changes: dict[str, float] = {}
        if self.idle_minutes is not None:
            changes["idle_minutes"] = self.idle_minutes
        if self.lease_hours is not None:
            changes["lease_hours"] = self.lease_hours
        if self.hours is not None:
            changes["stop_at"] = now + self.hours * 3600 if self.hours else 0.0
        return msgspec.structs.replace(desk, **changes)


def idle_words(desk: Desk, now: float) -> str:
    """When a desk's machine ends itself, in a few words."""
    minutes = desk.idle_minutes
    if minutes is None:
        minutes = cloud(desk.provider).idle_minutes
    words = [f"{minutes:g} min" if minutes else "never"]
    if desk.lease_hours:
        words.append(f"lease {desk.lease_hours:g} h")
    if desk.stop_at:
        left = max(0.0, desk.stop_at - now)
        words.append(f"ends in {left / 3600:.1f} h" if left >= 3600 else f"ends in {left / 60:.0f} min")
    return ", ".join(words)


class Leaving:
    """What `hotdesk.api.Hotdesk` can do besides its verbs; it provides what stands here without a value."""

    store: Store
    clock: Clock
    on_row: Callable[[Row], None]

    if TYPE_CHECKING:

        @property
        def config(self) -> Config: ...
        def survey(self, provider: str) -> Survey: ...
        def provider(self, name: str) -> Provider: ...
        def access(self, name: str) -> Access: ...
        def machine(self, desk: Desk) -> Instance | None: ...
        def settle(self, name: str) -> object: ...

    def clouds(self) -> set[str]:
        """The clouds in use: those of desks, and those that hotdesk.toml names."""
        settings = self.config
        named = {settings.defaults.provider, *(d.provider for d in settings.desks.values())}
        return {registry.DEFAULT, *(n for n in named if n), *(d.provider for d in self.store.desks())}

    def clouds_in_sight(self) -> set[str]:
        """The clouds where something of ours may be: those in use, and those that credentials here open.

        After the last `down`, or with a state folder that was lost, no desk's row says where to look.
        """
        return self.clouds() | registry.within_reach()

    def look_at_each(self, providers: set[str]) -> dict[str, Survey]:
        """What is in each of these clouds; one that cannot be looked at hides no desk of another, and its
        survey says why. Raises a `HotdeskError` where none of them can."""
        found: dict[str, Survey] = {}
        failed: dict[str, HotdeskError] = {}
        for provider in sorted(providers):
            try:
                found[provider] = self.survey(provider)
            except HotdeskError as error:
                failed[provider] = error
        if failed and not found:
            raise next(iter(failed.values()))
        return found | {
            name: Survey(provider=name, unread=(name,), closed=no.why or no.what, closed_fix=no.fix)
            for name, no in failed.items()
        }

    def renew(self, name: str) -> None:
        """Tell a running desk its limits, which renews its lease; nothing where nothing was ever said."""
        from hotdesk.connect import limits

        desk = self.store.desk(name)
        if limits.limits(desk, self.clock.now()):
            limits.tell(self.access(name), desk, self.clock.now())

    def finish_left(self) -> list[str]:
        """Park every desk whose machine ended itself, also those that only other computers know; their names.

        A desk that another command holds is its work. What stops one desk does not stop the next.
        """
        from hotdesk.core.lifecycle.shutdown import ended_alone, left
        from hotdesk.core.model import is_name

        done = []
        for provider in sorted(self.clouds()):
            with contextlib.suppress(HotdeskError):
                for name, seen in self.survey(provider).by_desk().items():
                    desk, machine = self.store.find(name), ended_alone(seen)
                    # One that was deleted here may be listed for a while yet: the journal remembers it.
                    unknown = desk is None and is_name(name) and not self.store.rows(name, limit=1)
                    if unknown and machine is not None:
                        now = self.clock.now()
                        self.store.put(
                            Desk(name=name, goal=Goal.PARKED, since=now, created_at=now, provider=provider)
                        )
                    elif desk is None or left(desk, seen, self.store.past(desk)) is None:
                        continue
                    if not self.store.holder(name):
                        with contextlib.suppress(HotdeskError):
                            self.settle(name)
                            done.append(name)
        return done

    def keeping(self, name: str, access: Access) -> AbstractContextManager[None]:
        """Renew a desk's lease while the body runs: a terminal there is open."""
        from hotdesk.loop.leases import kept

        folder = self.store.folder

        def now_wanted() -> Desk | None:
            with Store(folder) as store:  # SQLite's connections are of one thread each
                return store.find(name)

        return kept(access, self.store.desk(name), self.clock, now_wanted=now_wanted if folder else None)

    def at_stake(self, name: str) -> list[str]:
        """What would be lost with a desk's machine, in words: it lies on disks that are in no image."""
        from hotdesk.connect import limits

        desk = self.store.desk(name)
        machine = self.machine(desk) if cloud(desk.provider).rented else None
        if machine is None or machine.phase is not Phase.READY or not machine.scratch_gib:
            return []
        try:
            found = limits.scratch(self.access(name))
        except HotdeskError as error:
            return [f"whatever lies on its {machine.scratch_gib:.0f} GiB of instance store ({error.what})"]
        return [
            f"{s.path} ({s.used_gib:.1f} GiB: {', '.join(s.names)}{', …' * (len(s.names) == 5)})"
            for s in found
        ]

    def at_work(self, name: str) -> AtWork:
        """What would end with a desk's machine: what works there, what is not saved, what is open.

        Nothing where no machine is on. One that cannot be asked is said to be so among what works. Jobs that
        wait for their turn end only with the desk itself, and are not in it.
        """
        from hotdesk.connect import at_work
        from hotdesk.guest.cloud_init import source

        desk = self.store.desk(name)
        machine = self.machine(desk)
        if machine is None or machine.phase is not Phase.READY:
            return at_work.AtWork()
        try:
            found = at_work.ask(self.provider(desk.provider).access(machine), source("ending"))
        except (HotdeskError, Refused) as error:
            said = error.why or error.what if isinstance(error, HotdeskError) else error.message
            why = f" ({said.rstrip('.')})" if said else ""
            return at_work.AtWork(works=(f"something may: it cannot be asked{why}",))
        words = {f"job {job.number} runs": job.words for job in self.store.jobs(name, unsettled=True)}
        works = (f"{work} ({words[work]})" if work in words else work for work in found.works)
        return msgspec.structs.replace(found, works=tuple(works))

    def may_end(self, name: str, verb: str, anyway: bool = False) -> None:
        """Raises `NeedsDecision`, which lists it, where work would end with a desk's machine."""
        self.store.desk(name)
        if not anyway and (asks := self.at_work(name).asks):
            fix = f"hotdesk {verb} {name} --yes   # from Python: anyway=True"
            raise NeedsDecision(f"{name} is at work: {'; '.join(asks)}.", "That would end.", fix)

    def go_on_with_jobs(self, desk: Desk) -> None:
        """A desk that is wanted running goes on with its jobs, whoever wants it: a watcher sees to that."""
        running = desk.goal is Goal.RUNNING and self.store.folder is not None
        if running and any(job.result is None for job in self.store.jobs(desk.name, unsettled=True)):
            from hotdesk.loop import watcher

            watcher.ask_for(self.store, forever=False)

    def _delete_leftover(self, thing: Thing) -> str:
        """Delete what no desk needs, as a row of the journal; "" or why it could not be done."""
        from hotdesk.core.steps import Delete, Outcome

        step = Delete(id=thing.id, why=thing.why, usd_per_month=thing.usd_per_month, kind=thing.kind)
        [row] = self.store.begin([(thing.desk, step)], self.clock.now())
        try:
            self.provider(thing.provider).delete(thing.id)
            outcome = Outcome(status="done", id=thing.id)
        except Refused as no:
            outcome = Outcome(status="refused", kind=no.kind, message=no.message, fix=no.fix)
        except Exception as error:  # it may have been deleted: the next look shows it
            outcome = Outcome(status="unknown", message=f"{type(error).__name__}: {error}")
        self.on_row(self.store.end(row, outcome, self.clock.now()))
        return outcome.message

    def stay(self, name: str, seconds: float) -> None:
        """Neither idleness nor the lease ends a running desk for so long. Raises `NeedsDecision`."""
        from hotdesk.connect import limits

        limits.stay(self.access(name), seconds)

    def leftovers(self) -> tuple[list[Thing], list[Unread]]:
        """What no desk needs, the dearest first; and the regions and clouds that could not be looked at."""
        from hotdesk.services.orphans import things

        found: list[Thing] = []
        unread: list[Unread] = []
        for provider in sorted(self.clouds_in_sight()):
            try:
                survey = self.survey(provider)
            except HotdeskError as error:
                unread.append(Unread(provider, " ".join(w for w in (error.what, error.why) if w), error.fix))
                continue
            swept, silent = self._swept(provider, survey)
            zones = {machine.zone for machine in survey.hidden}
            silent = [*survey.unread, *zones, *silent]
            unread += [Unread(f"{provider}/{region}") for region in sorted(set(silent))]
            found += things(survey, self.store.desks(), self.clock.now(), swept, self.store.past)
        return sorted(found, key=lambda t: (not t.safe, -t.usd_per_month, t.id)), unread

    def retained(self, ids: Sequence[str] | None = None) -> tuple[list[Retained], list[str]]:
        """What clouds keep, and bill, although it was deleted: of things of these ids, or all that is ours.

        And the regions that do not tell. What no cloud can be asked about is left out.
        """
        found: list[Retained] = []
        unread: list[str] = []
        seen = [s for s in self.store.sighted() if ids is None or s.id in ids]
        for provider in sorted(self.clouds_in_sight() if ids is None else {s.provider for s in seen}):
            cloud = self.provider(provider)
            if isinstance(cloud, Retainer):
                mine = {s.id for s in seen if s.provider == provider}
                try:
                    kept, silent = cloud.retained(mine, everywhere=ids is None)
                except (HotdeskError, Refused):
                    kept, silent = [], [provider]
                found += kept
                unread += silent
        return sorted(found, key=lambda r: (r.region, r.kind, r.id)), unread

    def _swept(self, provider: str, survey: Survey) -> tuple[list[Leftover], list[str]]:
        """What no survey shows; and the regions that did not answer."""
        cloud = self.provider(provider)
        return cloud.sweep(survey) if isinstance(cloud, Sweeper) else ([], [])

    def delete_leftovers(self, found: Sequence[Thing]) -> dict[str, str]:
        """Delete what may go; by id, "" or the reason why it is still there.

        It is looked again before each cloud's turn: what another command has come to need is left alone.
        """
        from hotdesk.services.orphans import things

        done: dict[str, str] = {}
        for provider in sorted({t.provider for t in found if t.safe}):
            survey = self.survey(provider)
            swept, _ = self._swept(provider, survey)
            now = things(survey, self.store.desks(), self.clock.now(), swept, self.store.past)
            safe = {t.id for t in now if t.safe}
            for thing in (t for t in found if t.safe and t.provider == provider):
                needed = "it is needed, or gone, by now"
                done[thing.id] = self._delete_leftover(thing) if thing.id in safe else needed
        return done
