"""When a desk ends itself: its limits, and telling them to a desk that runs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import msgspec

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError
from hotdesk.core.model import Desk, Value
from hotdesk.core.ports import Access, Clock
from hotdesk.state.store import Store


class Limits(Value, frozen=True):
    """When a desk's machine ends itself; None means unchanged."""

    idle_minutes: float | None = None  # 0: never
    lease_hours: float | None = None  # 0: for ever
    hours: float | None = None  # from now to the hard end; 0: none

    def changed(self, by: Limits | None) -> Limits:
        """These limits, changed by what others say."""
        if by is None:
            return self
        told = {field: getattr(by, field) for field in by.__struct_fields__}
        return msgspec.structs.replace(self, **{f: value for f, value in told.items() if value is not None})

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


def limits_words(desk: Desk, now: float) -> dict[str, str]:
    """When a desk's machine ends itself, by the names of the options: idle, lease, until."""
    minutes = desk.idle_minutes
    if minutes is None:
        minutes = cloud(desk.provider).idle_minutes
    words = {"idle": f"{minutes:g} min" if minutes else "never"}
    if desk.lease_hours:
        words["lease"] = f"{desk.lease_hours:g} h"
    if desk.stop_at:
        left = max(0.0, desk.stop_at - now)
        words["until"] = f"ends in {left / 3600:.1f} h" if left >= 3600 else f"ends in {left / 60:.0f} min"
    return words


def idle_words(desk: Desk, now: float) -> str:
    """The same in one line."""
    words = limits_words(desk, now)
    return ", ".join(f"lease {text}" if name == "lease" else text for name, text in words.items())


@dataclass(kw_only=True, eq=False)
class Staying:
    """Tells running desks how long they may stay. `reach` says how to reach one."""

    store: Store
    clock: Clock
    reach: Callable[[Desk], Access]

    def renew(self, desk: Desk) -> None:
        """Tell a running desk its limits, which renews its lease; nothing where nothing was ever said."""
        from hotdesk.connect import limits

        if limits.limits(desk, self.clock.now()):
            limits.tell(self.reach(desk), desk, self.clock.now())

    def stay(self, desk: Desk, seconds: float) -> None:
        """Neither idleness nor the lease ends a running desk for so long. Raises `NeedsDecision`."""
        from hotdesk.connect import limits

        limits.stay(self.reach(desk), seconds)

    def stays(self, desk: Desk) -> float:
        """Seconds for which a running desk stays all the same; 0 where it cannot be asked."""
        from hotdesk.connect import limits

        try:
            return limits.ask(self.reach(desk)).stays_seconds
        except (HotdeskError, OSError, subprocess.TimeoutExpired):
            return 0.0

    def keeping(self, desk: Desk, access: Access) -> AbstractContextManager[None]:
        """Renew a desk's lease while the body runs, since a terminal is open there."""
        from hotdesk.loop.leases import kept

        folder = self.store.folder

        def now_wanted() -> Desk | None:
            with Store(folder) as store:  # SQLite's connections are of one thread each
                return store.find(desk.name)

        return kept(access, desk, self.clock, now_wanted=now_wanted if folder else None)
