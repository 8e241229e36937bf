"""What would end with a desk's machine: running processes, open sessions, unsaved disks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError, NeedsDecision, Refused
from hotdesk.core.lifecycle.ending import known_end
from hotdesk.core.model import Desk, Goal, Phase
from hotdesk.core.ports import Access
from hotdesk.loop.clouds import Clouds
from hotdesk.state.store import Store

if TYPE_CHECKING:
    from hotdesk.connect.at_work import AtWork


@dataclass(kw_only=True, eq=False)
class Work:
    """Asks desks what is running there. `reach` returns how to reach a running desk."""

    store: Store
    clouds: Clouds
    reach: Callable[[Desk], Access]

    def at_stake(self, desk: Desk) -> list[str]:
        """What would be lost with a desk's machine, in words: files on disks that are in no image."""
        from hotdesk.connect import limits

        machine = self.clouds.machine(desk) if cloud(desk.provider).rented else None
        if machine is None or machine.phase is not Phase.READY or not machine.scratch_gib:
            return []
        try:
            found = limits.scratch(self.reach(desk))
        except HotdeskError as error:
            return [f"whatever lies on its {machine.scratch_gib:.0f} GiB of instance store ({error.what})"]
        return [
            f"{s.path} ({s.used_gib:.1f} GiB: {', '.join(s.names)}{', …' * (len(s.names) == 5)})"
            for s in found
        ]

    def at_work(self, desk: Desk) -> AtWork:
        """What would end with a desk's machine: what works there, what is not saved, what is open.

        Nothing where no machine is on. One that cannot be asked is said to be so among what works. Jobs that
        wait for their turn end only with the desk itself, and are not in it.
        """
        from hotdesk.connect import at_work
        from hotdesk.guest.one_file import source

        machine = self.clouds.machine(desk)
        if machine is None or machine.phase is not Phase.READY:
            return at_work.AtWork()
        try:
            found = at_work.ask(self.clouds.provider(desk.provider).access(machine), source("ending"))
        except (HotdeskError, Refused) as error:
            said = error.why or error.what if isinstance(error, HotdeskError) else error.message
            why = f" ({said.rstrip('.')})" if said else ""
            return at_work.AtWork(works=(f"something may: it cannot be asked{why}",))
        words = {f"job {job.number} runs": job.words for job in self.store.jobs(desk.name, unsettled=True)}
        works = (f"{work} ({words[work]})" if work in words else work for work in found.works)
        return msgspec.structs.replace(found, works=tuple(works))

    def would_end(self, desk: Desk) -> list[str]:
        """What would end or be lost with a desk's machine at the end of a job, when no person is asked."""
        lost = [f"{what} is in no image" for what in self.at_stake(desk)]
        return [*self.at_work(desk).asks, *lost]

    def may_end(self, desk: Desk, verb: str, anyway: bool = False) -> None:
        """Raises `NeedsDecision`, which lists it, where work would end or be lost with a desk's machine."""
        if anyway:
            return
        # Deleting a desk implies deleting its disks, but running work still needs agreement.
        if asks := self.at_work(desk).asks if verb == "down" else self.would_end(desk):
            fix = f"hotdesk {verb} {desk.name} --yes   # from Python: anyway=True"
            raise NeedsDecision(f"{desk.name} is at work: {'; '.join(asks)}.", "That would end.", fix)


def go_on_with_jobs(store: Store, desk: Desk) -> None:
    """A desk that is wanted running goes on with its jobs, whoever wants it: a watcher sees to that.

    It also sees to a desk whose machine is to be ended by its cloud at a known time.
    """
    if desk.goal is not Goal.RUNNING or store.folder is None:
        return
    goes_on = any(job.result is None for job in store.jobs(desk.name, unsettled=True))
    if goes_on or known_end(store.past(desk)):
        from hotdesk.loop import watcher

        watcher.ask_for(store, forever=False)
