"""What a desk's machines have cost so far, counted anew only where something has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from hotdesk.core.billing.charges import compute
from hotdesk.core.billing.observed import Sighting
from hotdesk.core.billing.rates import Charge
from hotdesk.core.model import Desk
from hotdesk.core.ports import Clock
from hotdesk.services.tallies import Tallies
from hotdesk.state.store import Store


@dataclass(kw_only=True, eq=False)
class Spent:
    """Costs of machines, by desk. A year of rows takes longer to count than everything else of a listing."""

    store: Store
    clock: Clock
    _tallies: Tallies = field(init=False)
    _off: dict[str, list[Sighting]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._tallies = Tallies(store=self.store, clock=self.clock, name="spent")

    def look(self) -> None:
        """Take in what any process has written since: what follows is by the state of now."""
        self._tallies.look()
        self._off = self.store.charged_while_off()

    def usd(self, desk: Desk, running: bool) -> float:
        """US dollars, with a nominal rate where its cloud tells another currency without one.

        `running`: whether a machine of it is on now. By the last `look`.
        """
        if not any(offer.usd_per_hour for offer in desk.offers):
            return 0.0
        off = tuple(s for s in self._off.get(desk.name, ()) if s.first >= desk.created_at)

        def count() -> Callable[[float], Sequence[Charge]]:
            rows = [r for r in self.store.rows(desk.name, limit=None) if r.at >= desk.created_at]
            return partial(compute, rows, running=running, sighted=off)

        state = (desk.created_at, running, off)
        return self._tallies.of(desk.name, state, count).usd_at(self.clock.now())

    def keep(self) -> None:
        """Write down what was counted, for the next process. A failure to write is ignored."""
        self._tallies.keep()
