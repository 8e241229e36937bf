"""Charges for each desk's machines, disks, images, addresses and copies.

A charge runs as long as its thing was there at most (see core/billing/usage.py); `sure_from` and `sure_until`
are what is certain of it. What goes out of a cloud to the internet is in no journal: it is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf

from hotdesk.core import clouds
from hotdesk.core.billing.observed import SeenRun, Sighting, fresh
from hotdesk.core.billing.rates import HOURS_PER_MONTH, Charge, Rates, rates_of
from hotdesk.core.billing.usage import Lifetimes, Machine, Span
from hotdesk.core.model import Instance, Offer, Phase, Seen
from hotdesk.core.money import Amount
from hotdesk.core.steps import Row


def charges(
    desk: str,
    rows: Iterable[Row],
    now: float,
    seen: Seen | None = None,
    *,
    rates: Mapping[str, Rates] | None = None,
    provider: str = "",
    sighted: Sequence[Sighting] = (),
) -> list[Charge]:
    """Everything that one desk's rows (by id) have made and paid; `seen` is what there is of it now.

    Without `seen`, whatever is not known to have ended is taken to go on. `provider` is the desk's. `sighted`
    is what looks have shown: they tell ends that no row tells, and what is in no row is paid too.
    """
    lives = Lifetimes(desk, clouds.rates() if rates is None else rates, provider)
    for row in rows:
        if not row.refused:
            lives.take(row)
    lives.witness(sighted if seen is None else fresh(sighted, seen, now))
    bill = _Bill(lives, now, seen)
    every = [*bill.machines(), *bill.held(), *bill.stored(), *lives.copied, *_others(desk, lives.others, now)]
    return sorted(every, key=lambda c: (c.began, c.kind, c.id))


class _Bill:
    """Charges of one desk's resources until now, combined with what is seen of them."""

    def __init__(self, lives: Lifetimes, now: float, seen: Seen | None) -> None:
        self.lives, self.now, self.seen = lives, now, seen

    def machines(self) -> Iterator[Charge]:
        now, seen = self.now, self.seen
        there = {i.id: i for i in seen.machines} if seen else {}
        for m in self.lives.every:
            shown = there.get(m.id)
            going_on = self._see(m, shown)
            m.charged_while_off |= shown is not None and shown.charged_while_off
            rates = rates_of(self.lives.rates, m.offer.provider, m.offer.region)
            for run in m.runs:
                more = going_on and run is m.runs[-1]
                minute = min(run.began + rates.minimum_seconds, now) if run.first <= run.last else 0.0
                yield self._charge(
                    "compute",
                    m.id,
                    run,
                    run.offer.usd_per_hour,
                    more=more,
                    offer=run.offer,
                    ended_least=minute,
                )
                if m.dear and not run.offer.usd_per_hour:
                    free, dear, usd = m.dear
                    if run.ended > free:
                        later = run.dearer(free, dear)
                        yield self._charge("compute", m.id, later, usd, more=more, offer=run.offer)
                if usd := rates.address_usd_per_hour:
                    yield self._charge("address", m.id, run, usd, more=more)
            yield from self._disk(m, shown)
            if m.charged_while_off:
                yield from self._while_off(m, there=shown is not None)

    def held(self) -> Iterator[Charge]:
        """Placeholders. What their small disks cost in their minutes is left out."""
        for held in {id(held): held for held in self.lives.held.values()}.values():
            going_on = held.ended > self.now
            minute = rates_of(self.lives.rates, held.offer.provider, held.offer.region).minimum_seconds
            least = min(held.began + minute, self.now) if held.id else 0.0
            held.end(self.now)
            usd = held.offer.usd_per_hour
            yield self._charge(
                "compute", held.id, held, usd, more=going_on, offer=held.offer, ended_least=least
            )

    def _see(self, m: Machine, shown: Instance | None) -> bool:
        """Add what is seen of a machine now; returns whether it still exists."""
        now, looked = self.now, self.seen is not None
        if shown is not None:
            m.surely(now)
        if m.on is None:
            return False
        if not looked or (shown is not None and shown.phase not in {Phase.STOPPED, Phase.ENDING}):
            if shown is not None or m.on.last >= m.on.first:
                m.on.surely(now)
            m.on.end(now)
            return True
        m.off(now, shown.ran_seconds if shown else None)
        return False

    def _while_off(self, m: Machine, *, there: bool) -> Iterator[Charge]:
        """Between its runs and after the last, until it is gone."""
        low, high = m.sure
        for run, later in zip(m.runs, [*m.runs[1:], None], strict=True):
            off = Span(run.ended)
            off.end(later.began if later else m.ended)
            off.first, off.last = max(low, off.began), min(high, off.ended)
            if off.began < off.ended:
                more, usd = there and later is None, run.offer.usd_per_hour
                yield self._charge("compute", m.id, off, usd, more=more, offer=run.offer)

    def _disk(self, m: Machine, shown: Instance | None) -> Iterator[Charge]:
        now, disks = self.now, self.seen.disks if self.seen else ()
        left = [d for d in disks if d.instance_id == m.id or self.lives.disks.get(d.id) is m]
        known = m.usd or (shown.disk_usd_per_month if shown else 0.0) or sum(d.usd_per_month for d in left)
        rates = rates_of(self.lives.rates, m.offer.provider, m.offer.region)
        told = next((t.told_per_usd for t in (m, shown, *left, rates) if t and t.told_per_usd), None)
        usd = (
            known
            or (m.disk_gib or (shown.disk_gib if shown else 0.0) or rates.disk_gib)
            * rates.disk_usd_per_gib_month
        )
        stays = m.ended == float("inf")
        if left:
            m.surely(now)
        m.end(now)
        if not known and not m.disk_gib:
            m.first = float("inf")  # its size is not known, so no dollar of it is certain
        span: Span = m
        for at, before in m.grown:  # until then it was smaller
            small, span = Span(span.began), Span(at)
            small.surely(small.began)
            small.surely(at)
            small.end(at)
            span.first, span.last, span.ended = max(m.first, at), m.last, m.ended
            price = before / HOURS_PER_MONTH
            yield self._charge("disk", m.id, small, price, more=False, price_time=rates.price_time, told=told)
        if usd:
            more = stays and bool(shown or left or self.seen is None)
            price = usd / HOURS_PER_MONTH
            yield self._charge("disk", m.id, span, price, more=more, price_time=rates.price_time, told=told)

    def stored(self) -> Iterator[Charge]:
        now, seen = self.now, self.seen
        listed = {key: i for i in seen.images for key in (i.id, i.name)} if seen else {}
        for id_, thing in self.lives.stored.items():
            shown = listed.get(id_)
            going_on = thing.ended == float("inf") and (shown is not None or seen is None)
            if thing.began == float("inf"):
                continue  # another computer's
            if shown is not None:
                thing.surely(now)
            thing.end(now)
            known = (shown.usd_per_month if shown else 0.0) or thing.usd
            if not known:
                thing.first = float("inf")
            rates = rates_of(self.lives.rates, self.lives.provider, thing.region)
            if usd := known or thing.gib * rates.image_usd_per_gib_month:
                usd, when = usd / HOURS_PER_MONTH, rates.price_time
                told = next((t.told_per_usd for t in (thing, shown, rates) if t and t.told_per_usd), None)
                yield self._charge("image", id_, thing, usd, more=going_on, price_time=when, told=told)

    def _charge(
        self,
        kind: str,
        id_: str,
        span: Span,
        usd_per_hour: float,
        *,
        more: bool,
        offer: Offer | None = None,
        ended_least: float = 0.0,
        price_time: float | None = None,
        told: Amount | None = None,
    ) -> Charge:
        low, high = span.sure
        return Charge(
            desk=self.lives.desk,
            kind=kind,
            id=id_,
            began=span.began,
            ended=min(max(span.ended, ended_least), self.now),
            usd_per_hour=usd_per_hour,
            offer=offer,
            sure_from=low,
            sure_until=high,
            going_on=more,
            provider=self.lives.provider,
            price_time=price_time,
            told_per_usd=told,
        )


def _others(desk: str, things: Iterable[Sighting], now: float) -> Iterator[Charge]:
    """What was seen of a desk and is in no row: another computer made it, or it went before anybody acted.

    From its own cloud's time on; what was there before this computer ever looked is not known here.
    """
    for thing in things:
        if not thing.last:
            continue  # it had ended before the first look
        end, going_on = thing.gone or now, not thing.gone
        if thing.usd_per_month:
            yield Charge(
                desk=desk,
                kind="image" if thing.kind == "image" else "disk",
                id=thing.id,
                began=min(thing.made_at or thing.first, thing.first),
                ended=end,
                usd_per_hour=thing.usd_per_month / HOURS_PER_MONTH,
                told_per_usd=thing.told_per_usd,
                sure_from=thing.first,
                sure_until=now if going_on else thing.last,
                going_on=going_on,
                provider=thing.provider,
            )
        runs = [run for run in thing.runs if run.on_first]
        if thing.charged_while_off and runs:
            runs = [SeenRun(started_at=runs[0].started_at, on_first=runs[0].on_first, on_last=thing.last)]
        for run in runs:
            off = min(run.off_at or end, run.on_first + (inf if run.ran_seconds is None else run.ran_seconds))
            yield Charge(
                desk=desk,
                kind="compute",
                id=thing.id,
                began=min(run.started_at, run.on_first),
                ended=off,
                usd_per_hour=thing.usd_per_hour,
                offer=_offer(thing),
                sure_from=run.on_first,
                sure_until=min(off, run.on_last if run.off_at else now),
                going_on=going_on and not run.off_at,
                provider=thing.provider,
            )


def _offer(machine: Sighting) -> Offer:
    return Offer(
        provider=machine.provider,
        region=machine.region,
        zone=machine.zone,
        instance_type=machine.instance_type,
        market=machine.market,
        usd_per_hour=machine.usd_per_hour,
        told_per_hour=machine.told_per_hour,
    )


def compute(rows: Iterable[Row], now: float, running: bool, sighted: Sequence[Sighting] = ()) -> list[Charge]:
    """Compute charges of one desk's rows. `running`: whether a machine of it is on now."""
    bill = charges("", rows, now, None if running else Seen(), sighted=sighted)
    return [c for c in bill if c.kind == "compute"]


def compute_usd(
    rows: Iterable[Row], now: float, running: bool, sighted: Sequence[Sighting] = (), *, nominal: bool = False
) -> float:
    """The same, added up in US dollars.

    Without those that were told in a currency without a rate, unless `nominal`: for who turns them back.
    """
    bill = compute(rows, now, running, sighted)
    return sum(c.usd(0.0, now) for c in bill if nominal or c.is_in_dollars)
