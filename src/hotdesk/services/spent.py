"""What a desk's machines have cost so far, counted anew only where the journal has gone on."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import msgspec

import hotdesk
from hotdesk.core.errors import HotdeskError
from hotdesk.core.model import Desk
from hotdesk.core.ports import Clock
from hotdesk.state.store import Store

_LATER_SECONDS = 1e9  # what is the same then does not grow


class _Counted(msgspec.Struct, frozen=True, array_like=True):
    born: float  # the desk's creation
    change: int  # of the journal, the last that concerns the desk
    usd: float


@dataclass(kw_only=True, eq=False)
class Spent:
    """Costs of machines, by desk. A year of rows takes longer to count than everything else of a listing."""

    store: Store
    clock: Clock
    _counted: dict[str, _Counted] | None = field(default=None, init=False)
    _news: bool = field(default=False, init=False)

    @property
    def _key(self) -> str:
        return f"spent/{hotdesk.__version__}"  # another version may count otherwise

    def usd(self, desk: Desk, running: bool) -> float:
        """US dollars, with a nominal rate where its cloud tells another currency without one.

        `running`: whether a machine of it is on now.
        """
        if not any(offer.usd_per_hour for offer in desk.offers):
            return 0.0
        off = [s for s in self.store.sighted(desk.name) if s.charged_while_off and s.first >= desk.created_at]
        change = self.store.last_change(desk.name)
        known = self._known().get(desk.name)
        if not (running or off) and known and (known.born, known.change) == (desk.created_at, change):
            return known.usd
        from hotdesk.core.billing.charges import compute_usd

        rows = [r for r in self.store.rows(desk.name, limit=100_000) if r.at >= desk.created_at]
        now = self.clock.now()
        usd = compute_usd(rows, now, running, off, nominal=True)
        if not (running or off) and usd == compute_usd(
            rows, now + _LATER_SECONDS, running, off, nominal=True
        ):
            self._known()[desk.name] = _Counted(desk.created_at, change, usd)
            self._news = True
        return usd

    def _known(self) -> dict[str, _Counted]:
        if self._counted is None:
            self._counted = {}
            kept = self.store.cached(self._key)
            with contextlib.suppress(msgspec.ValidationError, msgspec.DecodeError):
                if kept:
                    self._counted = msgspec.json.decode(kept[1], type=dict[str, _Counted])
        return self._counted

    def keep(self) -> None:
        """Write down what was counted, for the next process. A failure to write is ignored."""
        if self._news:
            self._news = False
            with contextlib.suppress(HotdeskError):
                self.store.keep(self._key, msgspec.json.encode(self._known()), self.clock.now())
