"""When each of a desk's machines, disks, images and copies existed, from the journal.

The journal knows when each thing was asked for and when it was let go. Where it cannot know an end (an
interruption, a lost reply, a machine that ended itself), the thing is taken to have been there until the
first row that shows that it had ended; `sure` is what is certain of it. The truth lies between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hotdesk.core.billing.observed import SeenRun, Sighting
from hotdesk.core.billing.rates import UNSURE_SECONDS, Charge, Rates, rates_of
from hotdesk.core.lifecycle.holding import PLACEHOLDER, PLACEHOLDER_SECONDS
from hotdesk.core.model import Offer
from hotdesk.core.money import Amount
from hotdesk.core.steps import (
    Bake,
    Begin,
    Copy,
    Delete,
    Grow,
    Hold,
    Launch,
    Leave,
    Prove,
    Retype,
    Row,
    Start,
    Stop,
    Verify,
)

# ---- what is known of a thing ------------------------------------------------------------------------


class Span:
    """When a resource existed: at most, and for certain."""

    def __init__(self, began: float) -> None:
        self.began, self.ended = began, float("inf")
        self.first, self.last = float("inf"), float("-inf")

    def surely(self, at: float) -> None:
        """It existed then, whatever was assumed before."""
        if at > self.ended:
            self.ended = float("inf")
        self.first, self.last = min(self.first, at), max(self.last, at)

    def end(self, at: float) -> None:
        self.ended = max(self.began, min(self.ended, at))
        self.last = min(self.last, self.ended)

    def witness(self, first: float, last: float, gone: float) -> None:
        """What looks have shown: there for certain between the first two, and no more at the third (or 0)."""
        if first and last >= first:
            if first > self.ended or last > self.ended + UNSURE_SECONDS:  # no listing is so far behind
                self.ended = float("inf")
            self.first, self.last = min(self.first, first), max(self.last, min(last, self.ended))
        if gone:
            self.end(gone)

    @property
    def sure(self) -> tuple[float, float]:
        """When it existed for certain; the same moment twice if nothing is certain."""
        if self.last < self.first:
            return self.began, self.began
        return max(self.began, self.first), min(self.ended, self.last)


class Run(Span):
    """A machine that is on."""

    def __init__(self, began: float, offer: Offer) -> None:
        super().__init__(began)
        self.offer = offer
        self.answered = float("inf")  # it began by then
        self.started_at: float | None = None  # by its cloud's clock, where a step names it

    def dearer(self, free: float, dear: float) -> Run:
        """What of it came after a time when it was still free; for certain, after it was seen to be dear."""
        later = Run(max(self.began, free), self.offer)
        later.first, later.last, later.ended = max(self.first, dear), self.last, self.ended
        return later

    def ran(self, at: float, seconds: float) -> None:
        """Its running time, by its cloud's clock; it was stopped by `at`."""
        if self.first <= self.began + seconds:  # it had begun by then
            self.surely(min(at, self.began + seconds))
        self.end(min(at, self.answered + seconds))


class Machine(Span):
    """A machine with its disk, which is paid from the one's beginning to the other's end."""

    def __init__(self, offer: Offer, disk_gib: float, began: float) -> None:
        super().__init__(began)
        self.offer, self.disk_gib, self.usd = offer, disk_gib, 0.0
        self.told_per_usd: Amount | None = None
        self.id, self.name, self.generation = "", "", 0
        self.charged_while_off = False
        self.dear: tuple[float, float, float] | None = None  # when it was still free, and no more; its price
        self.grown: list[tuple[float, float]] = []  # when its disk was made bigger, and its price until then
        self.on: Run | None = Run(began, offer)
        self.runs: list[Run] = [self.on]
        self.starts: dict[float, Run] = {}  # by its cloud's clock: those that are named

    def start(self, at: float) -> None:
        self.on = Run(at, self.offer)
        self.runs.append(self.on)

    def off(self, at: float, ran_seconds: float | None = None, started_at: float | None = None) -> None:
        """It was stopped by then; `ran_seconds` since `started_at`, if its cloud tells both."""
        run, self.on = self.on, None
        if run is None:
            return
        if None not in (started_at, run.started_at) and started_at != run.started_at:
            # Restarted by another computer: the cloud reports that run, and this one ended before it.
            run.end(run.answered + (started_at or 0.0) - (run.started_at or 0.0))
        elif ran_seconds is not None:
            run.ran(at, ran_seconds)
        run.end(at)

    def called(self, started_at: float) -> None:
        """The last run began then, by its cloud's clock."""
        if self.runs[-1].started_at is None and started_at not in self.starts:
            self._name(self.runs[-1], started_at)

    def _name(self, run: Run, started_at: float) -> None:
        run.started_at = started_at
        self.starts[started_at] = run

    def witness_run(self, seen: SeenRun) -> None:
        """Add what surveys have shown of one run, whether or not the journal knows it."""
        at = seen.on_first or seen.off_at
        run = self.starts.get(seen.started_at)
        if run is None:
            run = next(
                (run for run in reversed(self.runs) if run.started_at is None and run.began <= at), None
            )
            if run is not None:
                self._name(run, seen.started_at)
        if run is None:
            if not seen.on_first or any(other.began <= at <= other.ended for other in self.runs):
                return  # it is in what is charged already
            began = max((other.ended for other in self.runs if other.ended <= at), default=self.began)
            run = Run(began, self.offer)
            self.runs.append(run)
            self.runs.sort(key=lambda run: run.began)
        run.answered = min(run.answered, seen.on_first or run.answered)
        run.witness(seen.on_first, seen.on_last, seen.off_at)
        if seen.off_at and seen.ran_seconds is not None:
            run.ran(seen.off_at, seen.ran_seconds)
        if seen.off_at and run is self.on:
            self.on = None

    def was_off(self, at: float) -> None:
        """It was stopped then, by its cloud's clock: images are taken of stopped instances only."""
        before = [run for run in self.runs if run.started_at is not None and run.started_at < at]
        if before:
            run = max(before, key=lambda run: run.started_at or 0.0)
            run.end(run.answered + at - (run.started_at or 0.0))

    def begun(self, at: float) -> None:
        """The cloud confirmed that it is running."""
        self.mark_running(at)
        if self.on is not None:
            self.on.answered = min(self.on.answered, at)

    def mark_running(self, at: float) -> None:
        """It was running then, and so existed."""
        self.surely(at)
        if self.on is not None:
            self.on.surely(at)


class Held(Span):
    """A placeholder, which ends itself if nobody does."""

    def __init__(self, offer: Offer, began: float) -> None:
        super().__init__(began)
        self.offer, self.id = offer, ""
        self.end(began + PLACEHOLDER_SECONDS + UNSURE_SECONDS)


class Stored(Span):
    """An image."""

    def __init__(self, began: float, gib: float, region: str = "") -> None:
        super().__init__(began)
        self.gib, self.usd, self.region = gib, 0.0, region
        self.told_per_usd: Amount | None = None
        self.named = False  # whether its id is known, and so that it was made


# ---- the journal -------------------------------------------------------------------------------------


class Lifetimes:
    """One desk's journal, row after row."""

    def __init__(self, desk: str, rates: Mapping[str, Rates], provider: str) -> None:
        self.desk, self.rates = desk, rates
        self.every: list[Machine] = []
        self.machines: dict[str, Machine] = {}  # by token, later by id too
        self.disks: dict[str, Machine] = {}  # those that outlived their machines, by id
        self.stored: dict[str, Stored] = {}  # by id, and by name until the id is known
        self.copied: list[Charge] = []
        self.held: dict[str, Held] = {}  # placeholders, by token, later by id too
        self.others: list[Sighting] = []  # what is in no row: another computer's, or nobody acted on it
        self.provider = provider
        # What the next row may end, of all there ever was: the last row takes as long as the first.
        self._on: list[Machine] = []  # those that may be
        self._doubted: list[tuple[str, Span]] = []  # asked to end, without an answer; with an image's id
        self._nameless: dict[str, Stored] = {}  # images of which no id is known
        self._generations: dict[int, list[Machine]] = {}

    @property
    def last(self) -> Machine | None:
        return self.every[-1] if self.every else None

    def of(self, id_: str) -> Machine | None:
        if id_ in self.machines:
            return self.machines[id_]
        if self.last is not None and not self.last.id:  # the reply that would have named it was lost
            self.last.id, self.machines[id_] = id_, self.last
            return self.last
        return None

    def _known(self, id_: str, usd_per_hour: float, at: float) -> Machine | None:
        """A machine that this journal speaks of; one that another computer launched, from now on."""
        if (found := self.of(id_)) is not None or not usd_per_hour:
            return found
        offer = Offer(provider=self.provider, region="", zone="", instance_type="", usd_per_hour=usd_per_hour)
        self._all_off(at)
        machine = self.machines[id_] = Machine(offer, 0.0, at)
        machine.id = id_
        self._add(machine)
        return machine

    def _add(self, machine: Machine) -> None:
        self.every.append(machine)
        self._on.append(machine)
        self._generations.setdefault(machine.generation, []).append(machine)

    def _all_off(self, at: float) -> None:
        """There are never two: whatever was on had ended by then."""
        for machine in self._on:
            machine.off(at)
        self._on.clear()

    def take(self, row: Row) -> None:
        at = row.at if row.ended_at is None else row.ended_at
        self._settle_doubts(row)
        match row.step:
            case Launch():
                self._launch(row, row.step, at)
            case Hold(order=order):
                held = self.held.setdefault(order.token, Held(order.offer, row.at))
                if row.made:
                    held.id = row.made
                    held.surely(at)
                    self.held[held.id] = held
            case Start(id=id_, usd_per_hour=usd, ran_seconds=ran, started_at=began) if m := self._known(
                id_, usd, row.at
            ):
                m.surely(row.at)
                m.called(began)
                m.off(row.at, ran, began)  # it was off, whether or not a row says so
                m.start(row.at)
                self._on.append(m)
                if row.done:
                    m.begun(at)
            case Stop(id=id_, started_at=began) if (m := self.of(id_)) is not None:
                m.mark_running(row.at)
                m.called(began)
                if row.done:
                    m.off(at)
            case Retype(id=id_, offer=offer) if (m := self.of(id_)) is not None:
                m.off(row.at)  # it is off, whether or not a row says so
                m.offer = offer
            case Grow(id=id_, gib=gib, disk_usd_per_month=usd) if (
                row.done and (m := self.of(id_)) is not None
            ):
                m.grown.append((at, usd))
                m.disk_gib = float(gib)
            case Prove(id=id_, usd_per_hour=usd, started_at=began) if m := self._known(id_, usd, row.at):
                m.mark_running(row.at)
                m.called(began)
            case Begin() if self.last is not None and row.done:
                self.last.mark_running(row.at)
            case Leave(id=id_, ran_seconds=ran, started_at=began) if (m := self.of(id_)) is not None:
                m.called(began)
                m.off(row.at, ran, began)
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
            self._all_off(row.at)
            machine = self.machines[order.token] = Machine(order.offer, order.disk_gib, row.at)
            machine.generation, machine.name = order.generation, order.name
            self._add(machine)
        if row.made:
            machine.id = row.made
            self.machines[machine.id] = machine
            machine.begun(at)

    def _image(self, row: Row, step: Bake | Copy, at: float) -> None:
        source: Machine | Stored | None
        if isinstance(step, Bake):
            name, region = step.order.name, step.order.region
            source = self.of(step.order.source_id) or self._disk(step.order.source_id, step.order.generation)
            if source is not None:
                source.off(row.at, step.ran_seconds, step.order.started_at or None)
                source.surely(row.at)
            gib = self._gib(source)
        else:
            name, region, source = step.name, step.region, self.stored.get(step.id)
            gib = (source.gib if source else 0.0) or self._gib(self.last)
        self._not_there(row.at, but=name)
        id_ = row.made
        self._nameless.pop(name, None)
        thing = self.stored.pop(name, None) or self.stored.get(id_) or Stored(row.at, gib, region)
        if row.done:
            thing.named = bool(id_)
            thing.surely(at)
        self._store(id_ or name, thing)
        if isinstance(step, Copy) and row.done:
            leaves = source.region if isinstance(source, Stored) else ""
            rates = rates_of(self.rates, self.provider, leaves)
            if usd := gib * rates.copy_usd_per_gib:
                self.copied.append(
                    Charge(desk=self.desk, kind="transfer", id=id_ or name, began=at, ended=at,
                           usd_per_hour=0.0, usd_once=usd, told_per_usd=rates.told_per_usd,
                           provider=self.provider)
                )  # fmt: skip

    def _named(self, id_: str) -> Stored:
        """The image of that id: perhaps one whose name alone is known, because a reply was lost."""
        if (thing := self.stored.get(id_)) is None:
            nameless = [(thing.ended, name) for name, thing in self._nameless.items()]
            thing = self.stored.pop(max(nameless)[1]) if nameless else Stored(float("inf"), 0.0)
            if nameless:
                del self._nameless[max(nameless)[1]]
        thing.named = True
        self._store(id_, thing)
        return thing

    def _store(self, key: str, thing: Stored) -> None:
        self.stored[key] = thing
        if thing.named:
            self._nameless.pop(key, None)
        else:
            self._nameless[key] = thing

    def _disk(self, id_: str, generation: int) -> Machine | None:
        """The machine from which a disk was left."""
        if id_ not in self.disks:
            found = (m for m in reversed(self._generations.get(generation, ())) if m.id != id_)
            if (machine := next(found, None)) is None:
                return None
            self.disks[id_] = machine
        return self.disks[id_]

    def _delete(self, row: Row, step: Delete, at: float) -> None:
        thing: Stored | Machine | Held | None
        if step.kind == PLACEHOLDER:  # under its id, or the last one whose reply was lost
            nameless = [held for held in self.held.values() if not held.id]
            thing = self.held.get(step.id) or (nameless[-1] if nameless else None)
            if isinstance(thing, Held):
                thing.id, self.held[step.id] = step.id, thing
        elif step.id in self.machines or step.kind == "machine":
            thing = self.of(step.id)
        elif step.id in self.stored or step.kind == "image":
            thing = self._named(step.id)
        else:
            thing = self.disks.get(step.id) or self.machines.get(step.of) or self._left_disk(step)
        if thing is None:
            return
        if step.usd_per_month and not isinstance(thing, Held):
            thing.usd, thing.told_per_usd = step.usd_per_month, step.told_per_usd
        thing.surely(row.at)
        if isinstance(thing, Machine):
            if step.ran_seconds is not None or row.done:
                thing.off(at if row.done else row.at, step.ran_seconds)
            if step.keep_disk:
                return
        if not row.done:
            self._doubted.append((step.id, thing))
            return
        thing.end(at)

    def _left_disk(self, step: Delete) -> Machine | None:
        """A disk that its machine left, and that nobody here has baked: the youngest that is still paid."""
        if not step.usd_per_month or step.kind not in {"disk", ""}:
            return None
        return next((m for m in reversed(self.every) if m.on is None and m.ended == float("inf")), None)

    def _settle_doubts(self, row: Row) -> None:
        """Before this step somebody looked: what was to end then, and is not spoken of again, had ended.

        But for steps that save: they come first, and what is to go waits for them.
        """
        if isinstance(row.step, Bake | Verify | Copy):
            return
        about = getattr(row.step, "id", "")
        for id_, thing in self._doubted:
            if (thing.id if isinstance(thing, Machine) else id_) != about:
                thing.end(row.at)
                if isinstance(thing, Machine):
                    thing.off(row.at)
        self._doubted.clear()

    def _not_there(self, at: float, but: str = "") -> None:
        """An image whose making was never answered, and which the look before this step did not show."""
        for name, thing in self._nameless.items():
            if name != but:
                thing.end(at)

    # ---- what was seen -------------------------------------------------------------------------------

    def witness(self, things: Sequence[Sighting]) -> None:
        """Take in what looks have shown, after all rows; what no row speaks of is in `others` then."""
        by_name = {m.name: m for m in self.every if m.name}
        ends: dict[int, list[Sighting]] = {}  # by machine: itself, and the disks that it left
        for thing in (t for t in things if t.kind == "machine"):
            m = self.machines.get(thing.id) or by_name.get(thing.name)
            if m is None:
                self.others.append(thing)
                continue
            self.machines[thing.id], m.id = m, m.id or thing.id
            ends.setdefault(id(m), []).append(thing)
            m.charged_while_off |= thing.charged_while_off
            if thing.dear:
                m.dear = (*thing.dear, thing.usd_per_hour)
            for run in thing.runs:
                m.witness_run(run)
        for thing in (t for t in things if t.kind == "disk"):
            m = (
                self.disks.get(thing.id)
                or self.machines.get(thing.id)
                or self.machines.get(thing.of)
                or self._disk(thing.id, thing.generation)
            )
            if m is None:
                self.others.append(thing)
                continue
            self.disks[thing.id] = m
            ends.setdefault(id(m), []).append(thing)
        for m in self.every:
            seen = ends.get(id(m), [])
            for thing in seen:
                m.usd, m.told_per_usd = m.usd or thing.usd_per_month, m.told_per_usd or thing.told_per_usd
                m.witness(thing.first, thing.last, 0.0)
            if seen and all(thing.gone for thing in seen):
                m.end(max(thing.gone for thing in seen))
        for thing in (t for t in things if t.kind == "image"):
            if m := self.machines.get(thing.of) or self.disks.get(thing.of):
                m.was_off(thing.made_at)
            key = thing.id if thing.id in self.stored else thing.name
            image = self.stored.get(key)
            if image is None or image.began == float("inf"):
                self.others.append(thing)
                continue
            self.stored[thing.id] = self.stored.pop(key)
            image.usd, image.told_per_usd = (
                image.usd or thing.usd_per_month,
                image.told_per_usd or thing.told_per_usd,
            )
            image.witness(thing.first, thing.last, thing.gone)

    @property
    def its_rates(self) -> Rates:
        return rates_of(self.rates, self.provider)

    def _gib(self, machine: Machine | None) -> float:
        """The size of a machine's disk at most, as far as the journal tells."""
        return (machine.disk_gib if machine else 0.0) or self.its_rates.disk_gib
