"""A bigger disk for a desk, where its cloud can make one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import NotAllowed, Usage
from hotdesk.core.lifecycle.descent import machine_of
from hotdesk.core.model import Desk, Phase, Value
from hotdesk.core.money import Amount
from hotdesk.core.ports import Access, Clock, Grower
from hotdesk.loop.clouds import Clouds
from hotdesk.services.pursuit import Pursuit
from hotdesk.state.store import Store


class Grown(Value, frozen=True, omit_defaults=False):
    """What became of a desk's disk."""

    desk: str
    gib: int  # that is wanted
    before_gib: float  # of the machine's root disk; 0: there is no machine, and its next one has it
    usd_per_month: float = 0.0  # of the machine's disks from then on; 0: not known
    told_per_month: Amount | None = None  # the same as its cloud tells it, if not in US dollars
    runs: bool = False  # its file system is grown too; else its next boot does it
    free_gib: float = 0.0  # of that, where it was grown


@dataclass(kw_only=True, eq=False)
class Growing:
    """Makes disks bigger. `reach` says how to reach a desk that runs."""

    store: Store
    clock: Clock
    clouds: Clouds
    pursuit: Callable[[], Pursuit]
    reach: Callable[[Desk], Access]

    def planned(self, desk: Desk, gib: int) -> Grown:
        """What `grow` would do. Raises as it does."""
        if not cloud(desk.provider).rented:
            free = shutil.disk_usage(self.store.folder or ".").free / 2**30
            raise NotAllowed(
                f"The disk of {desk.name} is this computer's.",
                f"It has no size of its own: {free:.0f} GiB are free here.",
                "df -h .",
            )
        machine = machine_of(desk, self.clouds.survey(desk.provider).of(desk.name), self.store.past(desk))
        there = machine.growable_gib or machine.disk_gib if machine else 0.0
        if gib < max(there, desk.want.disk_gib):
            raise Usage(
                f"The disk of {desk.name} has {max(there, desk.want.disk_gib):.0f} GiB already.",
                "A disk can be made bigger, and never smaller.",
                f"hotdesk ssh {desk.name} -- df -h",
            )
        if machine is None:
            return Grown(desk=desk.name, gib=gib, before_gib=0.0)
        if not machine.growable_gib or not isinstance(self.clouds.provider(desk.provider), Grower):
            raise NotAllowed(
                f"{cloud(desk.provider).label} cannot make the disk of {desk.name} bigger in place.",
                "A new machine can have a bigger one: everything is saved, and restored there.",
                f"hotdesk move {desk.name} --disk {gib}",
            )
        each = machine.disk_usd_per_month / machine.disk_gib if machine.disk_gib else 0.0
        usd = each * (machine.disk_gib + gib - there)
        return Grown(
            desk=desk.name,
            gib=gib,
            before_gib=there,
            usd_per_month=usd,
            told_per_month=machine.told_per_usd and machine.told_per_usd.times(usd),
            runs=machine.phase is Phase.READY,
        )

    def grow(self, desk: Desk, gib: int) -> Grown:
        """Make it this big: at once where there is a machine, else its next one has it.

        Raises `Usage` for a smaller one, `NotAllowed` where its cloud refuses, `Unreachable`.
        """
        from hotdesk.connect import disk_space

        planned = self.planned(desk, gib)
        since = max(self.clock.now(), self.store.latest(desk.name) + 0.001)
        wish = replace(desk, want=replace(desk.want, disk_gib=gib), since=since)
        if not planned.before_gib:
            self.store.put(wish)
            return planned
        self.pursuit().pursue(wish)
        if not planned.runs:
            return planned
        space = disk_space.grow(self.reach(self.store.desk(desk.name)), gib)
        return replace(planned, free_gib=space.free / 2**30)
