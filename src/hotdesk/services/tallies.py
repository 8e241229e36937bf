"""Tallies of desks, kept from one process to the next: only what has changed since is counted again."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

import hotdesk
from hotdesk.core import wire
from hotdesk.core.billing.rates import Charge
from hotdesk.core.billing.tally import Tally, tally
from hotdesk.core.errors import HotdeskError
from hotdesk.core.ports import Clock
from hotdesk.state.store import Changes, Store


class _Counted(msgspec.Struct, frozen=True, array_like=True):
    state: bytes  # all that was counted besides the journal and the records of what was seen
    tally: Tally


class _Kept(msgspec.Struct):
    changes: Changes = Changes()  # desks with later ones are counted again
    desks: dict[str, _Counted] = {}
    names: set[str] = set()  # of all desks in the journal
    regions: dict[str, set[str]] = {}  # that the journal speaks of, by cloud


@dataclass(kw_only=True, eq=False)
class Tallies:
    """`name`: what is counted; each kind of count is kept under its own. `by`: see `tally`."""

    store: Store
    clock: Clock
    name: str
    by: str = ""
    _loaded: _Kept | None = field(default=None, init=False)
    _news: bool = field(default=False, init=False)

    @property
    def _key(self) -> str:
        return f"{self.name}/{hotdesk.__version__}"  # another version may count otherwise

    @property
    def names(self) -> set[str]:
        """All desks in the journal, by the last `look`."""
        return self._known.names

    @property
    def regions(self) -> dict[str, set[str]]:
        """By cloud, the regions of which the journal speaks: whoever counts a desk adds its own."""
        return self._known.regions

    def look(self) -> None:
        """Take in what any process has written since: what follows is by the state of now."""
        kept = self._known
        kept.changes, written, seen = self.store.changed_desks(kept.changes)
        kept.names |= written
        for desk in (written | seen) & kept.desks.keys():
            del kept.desks[desk]
        self._news |= bool(written | seen)

    def lacking(self) -> set[str]:
        """The desks of which no tally is kept."""
        return self._known.names - self._known.desks.keys()

    def of(
        self, desk: str, state: Iterable[object], count: Callable[[], Callable[[float], Sequence[Charge]]]
    ) -> Tally:
        """The tally of a desk by the last `look`: the kept one, if it was made in the same `state`."""
        now, known = self.clock.now(), self._known.desks.get(desk)
        digest = hashlib.blake2b(msgspec.msgpack.encode(tuple(state)), digest_size=16).digest()
        if known and now >= known.tally.at and known.state == digest:
            return known.tally
        found = tally(desk, count(), now, self.by)
        if found.lasts:
            self._known.desks[desk] = _Counted(digest, found)
            self._news = True
        return found

    @property
    def _known(self) -> _Kept:
        if self._loaded is None:
            self._loaded = _Kept()
            kept = self.store.cached(self._key)
            with contextlib.suppress(msgspec.ValidationError, msgspec.DecodeError):
                if kept:
                    self._loaded = wire.msgpack(kept[1], _Kept)
        return self._loaded

    def keep(self) -> None:
        """Write down what was counted, for the next process. A failure to write is ignored."""
        if self._news:
            self._news = False
            with contextlib.suppress(HotdeskError):
                self.store.keep(self._key, msgspec.msgpack.encode(self._known), self.clock.now())
