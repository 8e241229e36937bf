"""Leases: a machine that was given one ends itself, unless a hotdesk that still lives keeps renewing it.

Renewing is saying the desk's limits again (connect/limits.py): the watch at the desk counts the lease from
the moment it was last told, and the hard end (`--until`) from the one at which it was asked for, however
often it is told. A computer that dies, sleeps or loses its network says nothing any more, and the bill ends
by itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator

from hotdesk.connect import limits
from hotdesk.core.errors import HotdeskError
from hotdesk.core.model import Desk, Goal
from hotdesk.core.ports import Access, Clock
from hotdesk.parallel import every
from hotdesk.state.store import Store

LONGEST_SECONDS = 600.0  # between two renewals, however long the lease

Tell = Callable[[Access, Desk, float], None]


def period(desk: Desk) -> float:
    """Seconds between two renewals of a desk's lease: three may fail before it ends. 0: it has none.

    A desk in a capacity block is told when that ends: it may be extended.
    """
    if not desk.lease_hours:
        return LONGEST_SECONDS if any(offer.ends_at for offer in desk.offers) else 0.0
    return min(desk.lease_hours * 3600 / 4, LONGEST_SECONDS)


class Leases:
    """Renews the leases of watched desks."""

    def __init__(
        self, *, store: Store, clock: Clock, access: Callable[[Desk], Access | None], tell: Tell = limits.tell
    ) -> None:
        self.store, self.clock, self.access, self.tell = store, clock, access, tell
        self._tried: dict[str, float] = {}

    def round(self, names: Collection[str]) -> list[str]:
        """Renew the leases that are due; returns the desks renewed. One that does not answer is retried."""
        renewed = []
        for name in names:
            desk, now = self.store.find(name), self.clock.now()
            if desk is None or desk.goal is not Goal.RUNNING or not period(desk):
                continue
            if 0 <= now - self._tried.get(name, float("-inf")) < period(desk):
                continue
            self._tried[name] = now
            with contextlib.suppress(HotdeskError):
                if access := self.access(desk):
                    self.tell(access, desk, self.clock.now())
                    renewed.append(name)
        return renewed


@contextlib.contextmanager
def kept(
    access: Access,
    desk: Desk,
    clock: Clock,
    tell: Tell = limits.tell,
    *,
    now_wanted: Callable[[], Desk | None] | None = None,
) -> Iterator[None]:
    """Renew a desk's lease for as long as the body runs: a terminal that is open.

    `now_wanted`: its row at that moment, asked in a thread. Whoever renews says all limits anew, and must not
    take back what was said meanwhile in another terminal.
    """
    seconds = period(desk)
    if not seconds:
        yield
        return

    def renew() -> None:
        with contextlib.suppress(HotdeskError):  # it is tried again; a desk that is gone needs no lease
            wanted = now_wanted() if now_wanted else desk
            if wanted is not None and wanted.goal is Goal.RUNNING and wanted.created_at == desk.created_at:
                tell(access, wanted, clock.now())

    with every(seconds, renew):
        yield
