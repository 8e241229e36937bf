"""What was paid for, from the journal: each desk's machines, disks, images, addresses and copies.

The journal knows when each thing was asked for and when it was let go. Where it cannot know an end (an
interruption, a lost reply, a machine that ended itself), a charge runs to the first row that shows that it
had ended, and is said to be at most; `sure_from` and `sure_until` are what is certain of it. The truth, by
the prices known, lies between. What goes out of a cloud to the internet is in no journal: it is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from hotdesk.core.model import Instance, Offer, Phase, Seen
from hotdesk.core.steps import (
    Bake,
    Begin,
    Copy,
    Delete,
    Launch,
    Leave,
    Prove,
    Retype,
    Row,
    Start,
    Stop,
    Verify,
)
from hotdesk.paid import HOURS_PER_MONTH, RATES, Charge, Rates

# ---- what is known of a thing ------------------------------------------------------------------------


class _Span:
    """From when to when something was there: at most, and for certain."""

    def __init__(self, began: float) -> None:
        self.maybe_ended = False  # it was asked to end, and no answer came
        self.began, self.ended = began, float("inf")
        self.first, self.last = float("inf"), float("-inf")

    def surely(self, at: float) -> None:
        """It was there then, whatever was thought before."""
        if at > self.ended:
            self.ended = float("inf")
        self.first, self.last = min(self.first, at), max(self.last, at)

    def end(self, at: float) -> None:
        self.ended = max(self.began, min(self.ended, at))
        self.last = min(self.last, self.ended)

    @property
    def sure(self) -> tuple[float, float]:
        """From when to when it was there for certain; the same moment twice where nothing is."""
        if self.last < self.first:
            return self.began, self.began
        return max(self.began, self.first), min(self.ended, self.last)


class _Run(_Span):
    """A machine that is on."""

    def __init__(self, began: float, offer: Offer) -> None:
        super().__init__(began)
        self.offer = offer
        self.answered = float("inf")  # it began by then


class _Machine(_Span):
    """A machine with its disk, which is paid from the one's beginning to the other's end."""

    def __init__(self, offer: Offer, disk_gib: float, began: float) -> None:
        super().__init__(began)
        self.offer, self.disk_gib, self.usd = offer, disk_gib, 0.0
        self.id, self.generation = "", 0
        self.on: _Run | None = _Run(began, offer)
        self.runs: list[_Run] = [self.on]

    def start(self, at: float) -> None:
        self.on = _Run(at, self.offer)
        self.runs.append(self.on)

    def off(self, at: float, ran_seconds: float | None = None) -> None:
        """It is off by then; for how long it had run, where its cloud tells that."""
        if self.on is not None:
            if ran_seconds is not None:
                if self.on.first <= self.on.began + ran_seconds:  # it had begun by then
                    self.on.surely(min(at, self.on.began + ran_seconds))
                at = min(at, self.on.answered + ran_seconds)
            self.on.end(at)
            self.on = None

    def begun(self, at: float) -> None:
        """The answer came that it is on."""
        self.lives(at)
        if self.on is not None:
            self.on.answered = min(self.on.answered, at)

    def lives(self, at: float) -> None:
        """It was on, and so was there."""
        self.surely(at)
        if self.on is not None:
            self.on.surely(at)


class _Stored(_Span):
    def __init__(self, began: float, gib: float) -> None:
        super().__init__(began)
        self.gib, self.usd = gib, 0.0
        self.named = False  # whether its id is known, and so that it was made


# ---- the journal -------------------------------------------------------------------------------------


def charges(
    desk: str,
    rows: Iterable[Row],
    now: float,
    seen: Seen | None = None,
    *,
    rates: Mapping[str, Rates] = RATES,
    provider: str = "",
) -> list[Charge]:
    """Everything that one desk's rows (by id) have made and paid; `seen` is what there is of it now.

    Without `seen`, whatever is not known to have ended is taken to go on. `provider` is the desk's.
    """
    fold = _Fold(desk, rates, provider)
    for row in rows:
        if not row.refused:
            fold.take(row)
    bill = [*fold.machines_bill(now, seen), *fold.stored_bill(now, seen), *fold.copied]
    return sorted(bill, key=lambda c: (c.began, c.kind, c.id))


class _Fold:
    """One desk's journal, row after row."""

    def __init__(self, desk: str, rates: Mapping[str, Rates], provider: str) -> None:
        self.desk, self.rates = desk, rates
        self.every: list[_Machine] = []
        self.machines: dict[str, _Machine] = {}  # by token, later by id too
        self.disks: dict[str, _Machine] = {}  # those that outlived their machines, by id
        self.stored: dict[str, _Stored] = {}  # by id, and by name until the id is known
        self.copied: list[Charge] = []
        self.provider = provider

    @property
    def last(self) -> _Machine | None:
        return self.every[-1] if self.every else None

    def of(self, id_: str) -> _Machine | None:
        if id_ in self.machines:
            return self.machines[id_]
        if self.last is not None and not self.last.id:  # the reply that would have named it was lost
            self.last.id, self.machines[id_] = id_, self.last
            return self.last
        return None

    def _known(self, id_: str, usd_per_hour: float, at: float) -> _Machine | None:
        """A machine that this journal speaks of; one that another computer launched, from now on."""
        if (found := self.of(id_)) is not None or not usd_per_hour:
            return found
        offer = Offer(provider=self.provider, region="", zone="", instance_type="", usd_per_hour=usd_per_hour)
        for other in self.every:
            other.off(at)
        machine = self.machines[id_] = _Machine(offer, 0.0, at)
        machine.id = id_
        self.every.append(machine)
        return machine

    def take(self, row: Row) -> None:
        at = row.at if row.ended_at is None else row.ended_at
        self._settle_doubts(row)
        match row.step:
            case Launch():
                self._launch(row, row.step, at)
            case Start(id=id_, usd_per_hour=usd, ran_seconds=ran) if m := self._known(id_, usd, row.at):
                m.surely(row.at)
                m.off(row.at, ran)  # it was off, whether or not a row says so
                m.start(row.at)
                if row.done:
                    m.begun(at)
            case Stop(id=id_) if (m := self.of(id_)) is not None:
                m.lives(row.at)
                if row.done:
                    m.off(at)
            case Retype(id=id_, offer=offer) if (m := self.of(id_)) is not None:
                m.off(row.at)  # it is off, whether or not a row says so
                m.offer = offer
            case Prove(id=id_, usd_per_hour=usd) if (m := self._known(id_, usd, row.at)) is not None:
                m.lives(row.at)
            case Begin() if self.last is not None and row.done:
                self.last.lives(row.at)
            case Leave(id=id_, ran_seconds=ran) if (m := self.of(id_)) is not None:
                m.off(row.at, ran)
            case Bake() | Copy():
                self._image(row, row.step, at)
            case Verify(id=id_):
                self._named(id_).surely(row.at)
            case Delete():
                self._delete(row, row.step, at)

    def _launch(self, row: Row, step: Launch, at: float) -> None:
        order = step.order
        self.provider = order.offer.provider
        self._not_there(row.at)
        machine = self.machines.get(order.token)
        if machine is None:
            for other in self.every:
                other.off(row.at)  # there are never two: it had ended by then
            machine = self.machines[order.token] = _Machine(order.offer, order.disk_gib, row.at)
            machine.generation = order.generation
            self.every.append(machine)
        if row.done and row.outcome and row.outcome.id:
            machine.id = row.outcome.id
            self.machines[machine.id] = machine
            machine.begun(at)

    def _image(self, row: Row, step: Bake | Copy, at: float) -> None:
        source: _Machine | _Stored | None
        if isinstance(step, Bake):
            name = step.order.name
            source = self.of(step.order.source_id) or self._disk(step.order.source_id, step.order.generation)
            if source is not None:
                source.off(row.at, step.ran_seconds)
                source.surely(row.at)
            gib = self._gib(source)
        else:
            name, source = step.name, self.stored.get(step.id)
            gib = (source.gib if source else 0.0) or self._gib(self.last)
        self._not_there(row.at, but=name)
        id_ = row.outcome.id if row.outcome and row.outcome.id else ""
        thing = self.stored.pop(name, None) or self.stored.get(id_) or _Stored(row.at, gib)
        self.stored[id_ or name] = thing
        if row.done:
            thing.named = bool(id_)
            thing.surely(at)
        if isinstance(step, Copy) and row.done:
            usd = gib * self._rates().copy_usd_per_gib
            if usd:
                self.copied.append(
                    Charge(desk=self.desk, kind="transfer", id=id_ or name, began=at, ended=at,
                           usd_per_hour=0.0, usd_once=usd, provider=self.provider)
                )  # fmt: skip

    def _named(self, id_: str) -> _Stored:
        """The image of that id: perhaps one whose name alone is known, because a reply was lost."""
        if id_ not in self.stored:
            nameless = [(thing.ended, name) for name, thing in self.stored.items() if not thing.named]
            self.stored[id_] = self.stored.pop(max(nameless)[1]) if nameless else _Stored(float("inf"), 0.0)
        self.stored[id_].named = True
        return self.stored[id_]

    def _disk(self, id_: str, generation: int) -> _Machine | None:
        """The machine from which a disk was left."""
        if id_ not in self.disks:
            found = [m for m in self.every if m.generation == generation and m.id not in {id_}]
            if not found:
                return None
            self.disks[id_] = found[-1]
        return self.disks[id_]

    def _delete(self, row: Row, step: Delete, at: float) -> None:
        thing: _Stored | _Machine | None
        if step.id in self.machines or step.kind == "machine":
            thing = self.of(step.id)
        elif step.id in self.stored or step.kind == "image":
            thing = self._named(step.id)
        else:
            thing = self.disks.get(step.id) or self.machines.get(step.of) or self._left_disk(step)
        if thing is None:
            return
        thing.usd = step.usd_per_month or thing.usd
        thing.surely(row.at)
        if isinstance(thing, _Machine):
            if step.ran_seconds is not None or row.done:
                thing.off(at if row.done else row.at, step.ran_seconds)
            if step.keep_disk:
                return
        if not row.done:
            thing.maybe_ended = True
            return
        thing.end(at)

    def _left_disk(self, step: Delete) -> _Machine | None:
        """A disk that its machine left, and that nobody here has baked: the youngest that is still paid."""
        off = [m for m in self.every if m.on is None and m.ended == float("inf")]
        return off[-1] if off and step.usd_per_month and step.kind in {"disk", ""} else None

    def _settle_doubts(self, row: Row) -> None:
        """Before this step somebody looked: what was to end then, and is not spoken of again, had ended.

        But for steps that save: they come first, and what is to go waits for them.
        """
        if isinstance(row.step, Bake | Verify | Copy):
            return
        about = getattr(row.step, "id", "")
        for m in self.every:
            if m.maybe_ended and m.id != about:
                m.end(row.at)
                m.off(row.at)
            m.maybe_ended = False
        for id_, thing in self.stored.items():
            if thing.maybe_ended and id_ != about:
                thing.end(row.at)
            thing.maybe_ended = False

    def _not_there(self, at: float, but: str = "") -> None:
        """An image whose making was never answered, and which the look before this step did not show."""
        for name, thing in self.stored.items():
            if not thing.named and name != but:
                thing.end(at)

    def _rates(self) -> Rates:
        return self.rates.get(self.provider, Rates())

    def _gib(self, machine: _Machine | None) -> float:
        """The size of a machine's disk at most, as far as the journal tells."""
        return (machine.disk_gib if machine else 0.0) or self._rates().disk_gib

    # ---- what it comes to ----------------------------------------------------------------------------

    def machines_bill(self, now: float, seen: Seen | None) -> Iterator[Charge]:
        there = {i.id: i for i in seen.machines} if seen else {}
        for m in self.every:
            shown = there.get(m.id)
            going_on = self._see(m, shown, now, seen is not None)
            rates = self.rates.get(m.offer.provider, Rates())
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
                if usd := rates.address_usd_per_hour:
                    yield self._charge("address", m.id, run, usd, more=more)
            yield from self._disk_bill(m, shown, now, seen)

    def _see(self, m: _Machine, shown: Instance | None, now: float, looked: bool) -> bool:
        """Take in what is seen of a machine now; whether it goes on."""
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

    def _disk_bill(
        self, m: _Machine, shown: Instance | None, now: float, seen: Seen | None
    ) -> Iterator[Charge]:
        left = [d for d in seen.disks if d.instance_id == m.id or self.disks.get(d.id) is m] if seen else []
        known = m.usd or (shown.disk_usd_per_month if shown else 0.0) or sum(d.usd_per_month for d in left)
        rates = self.rates.get(m.offer.provider, Rates())
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
        if usd:
            more = stays and bool(shown or left or seen is None)
            yield self._charge("disk", m.id, m, usd / HOURS_PER_MONTH, more=more)

    def stored_bill(self, now: float, seen: Seen | None) -> Iterator[Charge]:
        listed = {key: i for i in seen.images for key in (i.id, i.name)} if seen else {}
        for id_, thing in self.stored.items():
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
            if usd := known or thing.gib * self._rates().image_usd_per_gib_month:
                yield self._charge("image", id_, thing, usd / HOURS_PER_MONTH, more=going_on)

    def _charge(
        self,
        kind: str,
        id_: str,
        span: _Span,
        usd_per_hour: float,
        *,
        more: bool,
        offer: Offer | None = None,
        ended_least: float = 0.0,
    ) -> Charge:
        low, high = span.sure
        return Charge(
            desk=self.desk,
            kind=kind,
            id=id_,
            began=span.began,
            ended=max(span.ended, ended_least),
            usd_per_hour=usd_per_hour,
            offer=offer,
            sure_from=low,
            sure_until=high,
            going_on=more,
            provider=self.provider,
        )


def of_others(desk: str, seen: Seen, bill: Sequence[Charge], now: float) -> list[Charge]:
    """What is seen of a desk and is in no row of this journal: another computer made it, and it is paid.

    From its own cloud's time on: this computer knows nothing of what was there before.
    """
    known = {c.id for c in bill}
    found = []
    for m in seen.machines:
        if m.id in known or not m.started_at:
            continue
        began = min(m.started_at, now)
        offer = Offer(provider=m.provider, region=m.region, zone=m.zone, instance_type=m.instance_type,
                      market=m.market, usd_per_hour=m.usd_per_hour)  # fmt: skip
        ended = now if m.phase not in {Phase.STOPPED, Phase.ENDING} else max(began, m.stopped_at or began)
        usd = {"compute": m.usd_per_hour, "disk": m.disk_usd_per_month / HOURS_PER_MONTH}
        for kind, per_hour in usd.items():
            end = ended if kind == "compute" else now
            found.append(
                Charge(desk=desk, kind=kind, id=m.id, began=began, ended=end, usd_per_hour=per_hour,
                       provider=m.provider, offer=offer if kind == "compute" else None, going_on=end == now)
            )  # fmt: skip
    for image in seen.images:
        if not {image.id, image.name} & known and image.taken_at:
            usd_per_hour = image.usd_per_month / HOURS_PER_MONTH
            found.append(
                Charge(desk=desk, kind="image", id=image.id, began=min(image.taken_at, now), ended=now,
                       usd_per_hour=usd_per_hour, going_on=True, provider=image.provider)
            )  # fmt: skip
    return found


def compute_usd(rows: Iterable[Row], now: float, running: bool) -> float:
    """Compute charges of one desk's rows, in US dollars. `running`: whether a machine of it is on now."""
    bill = charges("", rows, now, None if running else Seen())
    return sum(c.usd(0.0, now) for c in bill if c.kind == "compute")
