"""When a desk ends itself: its limits, and telling them to a desk that runs."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError, Refused
from hotdesk.core.model import Desk, Value
from hotdesk.core.ports import Access, Clock, Releaser
from hotdesk.state.store import Store

if TYPE_CHECKING:
    from hotdesk.loop.clouds import Clouds


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


#: How long after its own end a machine stays at least, to be saved, where its cloud then deletes it.
SPARE_SECONDS = 24 * 3600.0


def release_seconds(desk: Desk, now: float, stays: float = 0.0) -> float:
    """From now until a desk's cloud may delete its machine, if nobody puts that off; 0: never.

    `stays`: seconds for which it stays whatever its lease says.
    """
    if not desk.lease_hours and not desk.stop_at:
        return 0.0
    return SPARE_SECONDS + max(desk.lease_hours * 3600, desk.stop_at - now, stays)


@dataclass(kw_only=True, eq=False)
class Staying:
    """Tells running desks how long they may stay. `reach` says how to reach one."""

    store: Store
    clock: Clock
    clouds: Clouds
    reach: Callable[[Desk], Access]

    def put_off(self, desk: Desk, stays: float = 0.0) -> None:
        """Put off the end that a desk's cloud makes of it, where it makes one; what fails is tried again."""
        with contextlib.suppress(HotdeskError, Refused, OSError):
            provider = self.clouds.provider(desk.provider)
            if isinstance(provider, Releaser):
                provider.release_in(desk.name, release_seconds(desk, self.clock.now(), stays))

    def tell(self, access: Access, desk: Desk, now: float) -> None:
        """Tell a running desk its limits, which renews its lease. Raises `Unreachable`."""
        from hotdesk.connect import limits

        self.put_off(desk)  # first: a desk that cannot be reached must not be deleted for that
        limits.tell(access, desk, now)

    def renew(self, desk: Desk) -> None:
        """Tell a running desk its limits, which renews its lease; nothing where nothing was ever said."""
        from hotdesk.connect import limits

        self.put_off(desk)
        if limits.limits(desk, self.clock.now()):
            limits.tell(self.reach(desk), desk, self.clock.now())

    def stay(self, desk: Desk, seconds: float) -> None:
        """Neither idleness nor the lease ends a running desk for so long. Raises `NeedsDecision`."""
        from hotdesk.connect import limits

        access = self.reach(desk)
        self.put_off(desk, seconds)
        limits.stay(access, seconds)

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

        return kept(access, desk, self.clock, self.tell, now_wanted=now_wanted if folder else None)
