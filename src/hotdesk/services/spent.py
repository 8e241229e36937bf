"""What a desk's machines have cost so far, counted anew only where something has changed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

import hotdesk
from hotdesk.core import wire
from hotdesk.core.billing.charges import compute_usd
from hotdesk.core.billing.observed import Sighting
from hotdesk.core.errors import HotdeskError
from hotdesk.core.model import Desk
from hotdesk.core.ports import Clock
from hotdesk.core.steps import Row
from hotdesk.state.store import Store

#: From this long after the last event on, a sum grows evenly or not at all: clouds bill a start for at least
#: a minute.
SETTLED_SECONDS = 600.0
_LATER_SECONDS = 3.6e6


class _Counted(msgspec.Struct, frozen=True, array_like=True):
    """What a desk's machines had cost at a time, and what each second adds until something changes."""

    born: float  # the desk's creation
    running: bool  # whether a machine of it was on
    off: tuple[Sighting, ...]  # of it, that cost while they are off
    usd: float
    at: float
    usd_per_second: float


class _Kept(msgspec.Struct):
    change: int = 0  # of the journal: desks with later ones are counted anew
    desks: dict[str, _Counted] = {}


@dataclass(kw_only=True, eq=False)
class Spent:
    """Costs of machines, by desk. A year of rows takes longer to count than everything else of a listing."""

    store: Store
    clock: Clock
    _loaded: _Kept | None = field(default=None, init=False)
    _off: dict[str, list[Sighting]] = field(default_factory=dict, init=False)
    _news: bool = field(default=False, init=False)

    @property
    def _key(self) -> str:
        return f"spent/{hotdesk.__version__}"  # another version may count otherwise

    def look(self) -> None:
        """Take in what any process has written since: what follows is by the state of now."""
        kept = self._known()
        kept.change, changed = self.store.changed_desks(kept.change)
        for desk in changed & kept.desks.keys():
            del kept.desks[desk]
        self._news |= bool(changed)
        self._off = self.store.charged_while_off()

    def usd(self, desk: Desk, running: bool) -> float:
        """US dollars, with a nominal rate where its cloud tells another currency without one.

        `running`: whether a machine of it is on now. By the last `look`.
        """
        if not any(offer.usd_per_hour for offer in desk.offers):
            return 0.0
        off = tuple(s for s in self._off.get(desk.name, ()) if s.first >= desk.created_at)
        now, known = self.clock.now(), self._known().desks.get(desk.name)
        state = (desk.created_at, running, off)
        if known and now >= known.at and (known.born, known.running, known.off) == state:
            return known.usd + known.usd_per_second * (now - known.at)
        rows = [r for r in self.store.rows(desk.name, limit=10_000_000) if r.at >= desk.created_at]
        usd = compute_usd(rows, now, running, off, nominal=True)
        if now >= _latest(rows, off) + SETTLED_SECONDS:
            later = compute_usd(rows, now + _LATER_SECONDS, running, off, nominal=True)
            each = (later - usd) / _LATER_SECONDS
            self._known().desks[desk.name] = _Counted(desk.created_at, running, off, usd, now, each)
            self._news = True
        return usd

    def _known(self) -> _Kept:
        if self._loaded is None:
            self._loaded = _Kept()
            kept = self.store.cached(self._key)
            with contextlib.suppress(msgspec.ValidationError, msgspec.DecodeError):
                if kept:
                    self._loaded = wire.json(kept[1], _Kept)
        return self._loaded

    def keep(self) -> None:
        """Write down what was counted, for the next process. A failure to write is ignored."""
        if self._news:
            self._news = False
            with contextlib.suppress(HotdeskError):
                self.store.keep(self._key, msgspec.json.encode(self._known()), self.clock.now())


def _latest(rows: Sequence[Row], things: Sequence[Sighting]) -> float:
    """The last time that any of them speaks of."""
    times = [at for row in rows for at in (row.at, row.ended_at or 0.0)]
    for thing in things:
        times += [thing.first, thing.last, thing.gone]
        times += [at for run in thing.runs for at in (run.on_first, run.on_last, run.off_at)]
    return max(times, default=0.0)
