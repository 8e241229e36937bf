"""What everything that the journal speaks of has cost, desk by desk."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from hotdesk.core import clouds
from hotdesk.core.billing.charges import charges
from hotdesk.core.billing.observed import is_shown
from hotdesk.core.billing.rates import Charge, Rates
from hotdesk.core.billing.tally import Tally
from hotdesk.core.errors import HotdeskError, Refused
from hotdesk.core.model import Seen
from hotdesk.core.ports import Biller, Clock
from hotdesk.core.steps import Bake, Copy, Hold, Launch, Row
from hotdesk.loop.clouds import Clouds
from hotdesk.services.tallies import Tallies
from hotdesk.state.store import Store

ASKED_SECONDS = 3 * 86_400.0  # for so long a machine that went unseen is worth asking about


@dataclass(kw_only=True, eq=False)
class _Look:
    """One look at the clouds of all desks here."""

    providers: dict[str, str]  # of the desks here
    seen: dict[str, Seen]  # of them

    def of(self, desk: str) -> Seen:
        return self.seen.get(desk) or Seen()

    @property
    def in_use(self) -> set[str]:
        return set(self.providers.values())


@dataclass(kw_only=True, eq=False)
class Counting:
    """Counts the desks that are here, and those that are gone."""

    store: Store
    clock: Clock
    clouds: Clouds
    _kept: dict[str, Tallies] = field(default_factory=dict, init=False)

    def charges(self) -> list[Charge]:
        """Everything that was ever paid for, counted in full."""
        look, now = self._look(), self.clock.now()
        rows: dict[str, list[Row]] = {name: [] for name in look.providers}
        for row in self.store.rows(limit=None):
            rows.setdefault(row.desk, []).append(row)
        regions: dict[str, set[str]] = {}
        for mine in rows.values():
            _speak_of(mine, regions)
        rates = self._rates(regions, look.in_use)
        return [c for name, mine in rows.items() for c in self._count(name, mine, look, rates)(now)]

    def tallies(self, by: str) -> list[Tally]:
        """The same added up by desk, with lines by "day" or "month": counted where something has changed."""
        look = self._look()
        kept = self._kept.setdefault(
            by, Tallies(store=self.store, clock=self.clock, name=f"billed/{by}", by=by)
        )
        kept.look()
        read = {name: self.store.rows(name, limit=None) for name in kept.lacking()}
        for mine in read.values():
            _speak_of(mine, kept.regions)
        rates = self._rates(kept.regions, look.in_use)
        at_these, there = msgspec.msgpack.encode(rates), self.store.not_gone()
        found = []
        for name in sorted(kept.names | look.providers.keys()):
            seen = look.of(name)
            loose = [thing for thing in there.get(name, ()) if not is_shown(thing, seen)]
            shown = (seen.machines, seen.disks, seen.images)
            state = (look.providers.get(name, ""), shown, loose, at_these)

            def count(name: str = name) -> Callable[[float], Sequence[Charge]]:
                mine = read[name] if name in read else self.store.rows(name, limit=None)
                return self._count(name, mine, look, rates)

            found.append(kept.of(name, state, count))
        kept.keep()
        return found

    def _count(
        self, name: str, rows: Sequence[Row], look: _Look, rates: dict[str, Rates]
    ) -> Callable[[float], list[Charge]]:
        return partial(
            charges,
            name,
            rows,
            seen=look.of(name),
            rates=rates,
            provider=look.providers.get(name, ""),
            sighted=self.store.sighted(name),
        )

    def _look(self) -> _Look:
        providers = {desk.name: desk.provider for desk in self.store.desks()}
        surveys = {name: self.clouds.survey(name) for name in sorted(set(providers.values()))}
        self._ask_for_ends(surveys, self.clock.now())
        there = {name: (survey.by_desk(), survey.nothing) for name, survey in surveys.items()}
        seen = {desk: there[name][0].get(desk) or there[name][1] for desk, name in providers.items()}
        return _Look(providers=providers, seen=seen)

    def _ask_for_ends(self, in_use: Collection[str], now: float) -> None:
        """Of spot machines that ended lately and unseen, a cloud may still know when."""
        lately = [t for t in self.store.gone_since(now - ASKED_SECONDS) if t.ended_unseen]
        for provider in in_use:
            unseen = {thing.id: thing for thing in lately if thing.provider == provider}
            cloud = self.clouds.provider(provider)
            if unseen and isinstance(cloud, Biller):
                with contextlib.suppress(Refused, HotdeskError, OSError):
                    told = cloud.ended(list(unseen))
                    self.store.amend(unseen[id_].ran_until(at) for id_, at in told.items() if id_ in unseen)

    def _rates(self, regions: dict[str, set[str]], in_use: Collection[str]) -> dict[str, Rates]:
        """What each cloud charges, in each of its regions that rows speak of. A cloud `in_use` is asked."""
        known = clouds.rates()
        rates = dict(known)
        for provider in sorted(known.keys() & regions.keys()):
            cloud = self.clouds.provider(provider)
            if isinstance(cloud, Biller):
                told = cloud.storing(regions[provider] | regions.get("", set()), ask=provider in in_use)
                rates |= {
                    f"{provider}/{region}": msgspec.structs.replace(
                        known[provider], **msgspec.structs.asdict(price)
                    )
                    for region, price in sorted(told.items())
                }
        return rates


def _speak_of(rows: Iterable[Row], regions: dict[str, set[str]]) -> None:
    """Add the regions that occur in these rows, by cloud; under "" those of rows that name no cloud."""
    for row in rows:
        match row.step:
            case Launch(order=order) | Hold(order=order):
                regions.setdefault(order.offer.provider, set()).add(order.offer.region)
            case Bake(order=bake):
                regions.setdefault("", set()).add(bake.region)
            case Copy(region=region):
                regions.setdefault("", set()).add(region)
