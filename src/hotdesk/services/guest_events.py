"""Import what the guest agents report into the journal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError
from hotdesk.core.findings import Remark
from hotdesk.core.model import Desk
from hotdesk.core.steps import Row, Told
from hotdesk.services import idle_times
from hotdesk.state.store import Store

if TYPE_CHECKING:
    from hotdesk.connect import guest_agent
    from hotdesk.core.ports import Access, Clock


@dataclass(kw_only=True, eq=False)
class GuestEvents:
    """Queries desks' agents. `on_row` gets each row added to the journal."""

    store: Store
    clock: Clock
    on_row: Callable[[Row], None]
    _heard: dict[str, guest_agent.Report] = field(default_factory=dict, init=False)  # what agents said last

    def remarks(self, desk: Desk, gpu: str, reach: Callable[[Desk], Access]) -> tuple[Remark, ...]:
        """What a running desk reports about itself.

        Nothing from a desk on this computer, which has no agent, or from one that cannot be asked.
        """
        if not cloud(desk.provider).rented:
            return ()
        from hotdesk.connect import guest_agent

        if desk.name not in self._heard:
            with contextlib.suppress(HotdeskError):
                self.hear(reach(desk))
        said = self._heard.get(desk.name)
        return tuple(guest_agent.remarks(said, desk.name, gpu)) if said else ()

    def hear(self, access: Access) -> None:
        """Query a desk and journal the events since the last query: also one on this computer."""
        self._listen(access)
        self.write_down(access)

    def listen(self, access: Access) -> None:
        """Query a desk's agent and only remember the answer: from any thread, for several desks at once."""
        if not access.supervised:  # on this computer: it has no agent
            self._listen(access)

    def _listen(self, access: Access) -> None:
        from hotdesk.connect import guest_agent

        if said := guest_agent.report(access):
            self._heard[access.desk] = said

    def write_down(self, access: Access) -> None:
        """Journal the events that a desk last reported."""
        name = access.desk
        if (said := self._heard.get(name)) is None:
            return
        if said.idle_for:
            idle_times.keep(self.store, name, said.idle_for, self.clock.now())
        desk = self.store.desk(name)
        known = self.store.past(desk).last
        new = [
            Told(id=e.id, at=e.at, why=e.what, age_seconds=max(0.0, said.now - e.at) if said.now else 0.0)
            for e in said.events
        ]
        for step in (s for s in new if s.key not in known):
            self.on_row(self.store.note(desk, step, self.clock.now(), step.id))
