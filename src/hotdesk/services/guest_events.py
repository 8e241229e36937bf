"""The part of the façade that listens to desks: what their agents report, and what has happened there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from hotdesk.core.errors import HotdeskError
from hotdesk.core.steps import Outcome, Row, Told
from hotdesk.state.store import Store

if TYPE_CHECKING:
    from hotdesk.connect import guest_agent
    from hotdesk.connect.guest_agent import Remark
    from hotdesk.core.ports import Access, Clock


class Hearing:
    """What `hotdesk.api.Hotdesk` can do besides its verbs; it provides what stands here without a value."""

    store: Store
    clock: Clock
    on_row: Callable[[Row], None]
    _heard: dict[str, guest_agent.Report]  # what each desk's agent said last

    if TYPE_CHECKING:

        def access(self, name: str) -> Access: ...

    def remarks(self, name: str, gpu: str = "") -> list[Remark]:
        """What a desk that runs says of itself.

        Nothing from a desk on this computer, which has no agent, or from one that cannot be asked.
        """
        from hotdesk.connect import guest_agent

        if name not in self._heard:
            with contextlib.suppress(HotdeskError):
                self.hear(self.access(name))
        said = self._heard.get(name)
        return guest_agent.remarks(said, name, gpu) if said else []

    def hear(self, access: Access) -> None:
        """Ask a desk's agent. What has happened there since somebody last asked goes into the journal."""
        self.listen(access)
        self.write_down(access)

    def listen(self, access: Access) -> None:
        """Ask a desk's agent, and only remember what it says: from any thread, for several desks at once."""
        from hotdesk.connect import guest_agent

        if not access.notebook_here and (said := guest_agent.report(access)):
            self._heard[access.desk] = said

    def write_down(self, access: Access) -> None:
        """Bring into the journal what was last heard of a desk's past."""
        name = access.desk
        if (said := self._heard.get(name)) is None:
            return
        known = self.store.past(self.store.desk(name)).last
        new = [Told(id=e.id, at=e.at, why=e.what) for e in said.events]
        for step in (s for s in new if s.key not in known):
            [row] = self.store.begin([(name, step)], self.clock.now())
            self.on_row(self.store.end(row, Outcome(status="done", id=step.id), self.clock.now()))
