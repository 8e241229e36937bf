"""Re-evaluate the placement of a job with a deadline while it runs.

`core.spot.policy` decides, from the journal's knowledge of the zones (`core.spot.availability`) and current
prices.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import msgspec

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError, Kind
from hotdesk.core.jobs import (
    AnyAct,
    Follow,
    Job,
    Pause,
    Ready,
    Seek,
    SeenJob,
    Shift,
    Start,
    depart,
    leave_machine,
)
from hotdesk.core.lifecycle import holding
from hotdesk.core.lifecycle.ending import MOVE_SECONDS, end_of, is_near, known_end, said
from hotdesk.core.model import Desk, Instance, Market, MarketChoice, Offer
from hotdesk.core.ports import Clock
from hotdesk.core.spot.availability import events, move_usd, sold_out_seconds, spells, zones
from hotdesk.core.spot.changeovers import GUESS_SECONDS, Changeover, believed
from hotdesk.core.spot.changeovers import seen as changeovers
from hotdesk.core.spot.decision import Action, Decision
from hotdesk.core.steps import Launch
from hotdesk.jobs.terms import latest, place
from hotdesk.state.store import Store

LOOK_SECONDS = float(
    os.environ.get("HOTDESK_LOOK_SECONDS", "60")
)  # between two decisions about a machine that works
PRICE_SECONDS = 600.0  # between two questions for prices
ROWS = 5000  # of the journal: what is older says nothing of today's zones


class Placing:
    """Placement of the jobs of `Runs`. Keeps only the times of its last looks and recent prices."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        live: Callable[[Desk], Instance | None],
        offers: Callable[[Desk], Sequence[Offer]],
    ) -> None:
        self.store, self.clock, self.live, self.offers = store, clock, live, offers
        self._looked: dict[str, float] = {}  # by job id
        self._priced: dict[str, tuple[float, tuple[Offer, ...]]] = {}  # by desk

    def reconsidered(
        self, desk: Desk, act: AnyAct, jobs: Sequence[Job], seen: Mapping[str, SeenJob]
    ) -> AnyAct:
        """The act, or another if the machine should change or be waited for. The caller holds the desk."""
        match act:
            case Follow(job=job) | Start(job=job) | Pause(job=job):
                told = seen.get(job.id)
            case Ready():
                running = [j for j in jobs if j.result is None and not j.cancelled]
                if not running:
                    return act
                job, told = running[0], None
            case _:
                return act
        if told is not None and is_near(known_end(self.store.past(desk)), self.clock.now(), MOVE_SECONDS):
            machine, now = self.live(desk), self.clock.now()
            if machine is not None and is_near(end_of(machine, now), now, MOVE_SECONDS):
                return self._out(desk, act, job, told, machine)
        if job.deadline_at is None or job.work_seconds <= 0:
            return act
        if told is not None:
            done = told.saved_seconds if job.checkpoint else told.seconds
            if done != job.ran_seconds and self._due(desk, job, told):
                job = self.store.put_job(job.number, ran_seconds=done)
        if isinstance(act, Ready):
            return self._without(desk, act, job)
        if told is None or told.cancelled or not self._due(desk, job, told):
            return act
        self._looked[job.id] = self.clock.now()
        machine = self.live(desk)
        return self._with(desk, act, job, told, machine) if machine else act

    def _due(self, desk: Desk, job: Job, told: SeenJob) -> bool:
        now = self.clock.now()
        under_way = told.asked_seconds >= 0 or holding.seeks(desk, now)
        return under_way or now - self._looked.get(job.id, 0.0) >= LOOK_SECONDS

    def _with(self, desk: Desk, act: AnyAct, job: Job, told: SeenJob, machine: Instance) -> AnyAct:
        """Decide for a job on this machine: whether to move it, and its next offers after an interruption."""
        here, now, past = _key(machine), self.clock.now(), self.store.past(desk)
        if machine.market is Market.ON_DEMAND and not machine.usd_per_hour:
            return act  # it is in a reservation of the account's, whose hours are paid in any case
        if holding.seeks(desk, now):
            if held := holding.granted(desk, past):
                return self._onto(desk, act, job, told, machine, held=held)
            if holding.unanswered(desk, past, now):
                return act
        ran = max(0.0, now - self._launched(desk))

        def decided(*, keeps: bool) -> tuple[tuple[Offer, ...], Decision | None]:
            return self._decide(
                desk,
                job,
                machine,
                keeps=keeps,
                machine="on-demand" if machine.market is Market.ON_DEMAND else here,
                ran_seconds=ran,
                starting_seconds=0.0 if told.alive else max(0.0, self._changeover(desk).seconds - ran),
            )

        moves = True
        if cloud(desk.provider).holds:
            offers, decision = decided(keeps=True)
            refused = past.refused(offers, now)
            better = tuple(o for o in offers if o.key not in refused)
            asks = tuple(o for o in better if not past.no_placeholder(o, now))
            if decision is not None and asks and not told.over:
                return Seek(job=job, offers=asks, why=decision.why)
            # Where a quota has room for one machine, this one is given back first.
            full = [o for o in better if past.no_placeholder(o, now) is Kind.QUOTA]
            moves = any((o.region, o.market) == (machine.region, machine.market) for o in full)
        if moves:
            offers, decision = decided(keeps=False)
            if decision is None:
                return act
            refused = past.refused(offers, now)
            there = tuple(o for o in offers if o.key not in {here, *refused})
            leave = leave_machine(job, told, machine, decision, here)
            if leave and there and there[0] == offers[0]:
                # Where it is now stays in the list: that place was just given back, and is free if any is.
                if not isinstance(leave, Shift):
                    return leave
                at = self._on_demand_at(desk, job, offers, decision)
                return msgspec.structs.replace(leave, offers=offers, on_demand_at=at)
        offers, decision = self._decide(desk, job, machine, taken=here)
        self._write(desk, job, offers, decision)
        return act

    def _onto(
        self, desk: Desk, act: AnyAct, job: Job, told: SeenJob, machine: Instance, *, held: Offer
    ) -> AnyAct:
        """Move to the place that a placeholder keeps, once the job has written a checkpoint."""
        leave = depart(job, told, held.why)
        if not isinstance(leave, Shift):
            return leave or act
        others, later = self._decide(desk, job, machine)
        offers = (held, *(o for o in others if o.key != held.key))
        spot = held.market is Market.SPOT
        at = self._on_demand_at(desk, job, offers, later) if spot and later else 0.0
        return msgspec.structs.replace(leave, offers=offers, on_demand_at=at)

    def _out(self, desk: Desk, act: AnyAct, job: Job, told: SeenJob, machine: Instance) -> AnyAct:
        """Leave a machine that its cloud is about to end, for what the job may have instead; else stay."""
        if machine.chosen_for < desk.generation:
            return act
        if job.deadline_at is None or job.work_seconds <= 0:
            offers, decision = self._offered(desk), None
        else:
            offers, decision = self._decide(desk, job, machine)
        offers = tuple(o for o in offers if not 0 < o.ends_at <= machine.ends_at)
        why = f"its cloud ends the machine at {said(machine.ends_at)}"
        leave = depart(job, told, why) if offers else None
        if not isinstance(leave, Shift):
            return leave or act
        at = self._on_demand_at(desk, job, offers, decision) if decision else 0.0
        return msgspec.structs.replace(leave, offers=offers, on_demand_at=at)

    def _without(self, desk: Desk, act: Ready, job: Job) -> AnyAct:
        """Decide for a desk without a usable machine: which to launch, and whether at once."""
        machine = self.live(desk)
        if machine is not None and machine.chosen_for >= desk.generation:
            return act  # it is starting
        if machine is not None:
            return act  # it is being replaced, as decided before
        offers, decision = self._decide(desk, job, None)
        self._write(desk, job, offers, decision)
        refused = self.store.past(desk).refused(offers, self.clock.now())
        spot = [o for o in offers if o.market is Market.SPOT and o.key not in refused]
        waits = {Action.WAIT} if spot else {Action.WAIT, Action.SPOT}
        if decision is not None and decision.action in waits:
            return Ready(why=decision.why, waits=True)
        return act

    def _decide(
        self,
        desk: Desk,
        job: Job,
        at: Instance | None,
        *,
        taken: str = "",
        keeps: bool = False,
        **more: object,
    ) -> tuple[tuple[Offer, ...], Decision | None]:
        now = self.clock.now()
        full = self.store.past(desk).refused(desk.offers, now)  # of reservations
        offers = tuple(o for o in self._offered(desk) if not (o.reservation and o.key in full))
        running = str(more.get("machine", ""))
        last = self.store.past(desk).launch
        region, gib = (at.region, at.disk_gib) if at else ("", float(desk.want.disk_gib))
        if not region and last and isinstance(last.step, Launch):
            region = last.step.order.offer.region
        seen = events(self.store.rows(limit=ROWS), gone="" if at else desk.name, now=now)
        known = zones(
            offers,
            seen,
            now,
            running=running,
            taken=taken,
            region=region,
            disk_gib=gib,
            refused=self.store.past(desk).refused(offers, now).keys(),
        )
        if keeps:  # who is refused has lost nothing
            known = tuple(msgspec.structs.replace(zone, chance=1.0) for zone in known)
        lasted = spells({o.key: seen.get(o.key, []) for o in offers if o.market is Market.SPOT}, now)
        return place(
            job,
            offers,
            known,
            now,
            spells=lasted,
            changeover=self._changeover(desk),
            on_demand_move_usd={o.key: move_usd(region, o.region, gib) for o in offers},
            keeps=keeps,
            **more,  # type: ignore[arg-type]
        )

    def _offered(self, desk: Desk) -> tuple[Offer, ...]:
        """Offers for the desk, at prices at most `PRICE_SECONDS` old."""
        asked, known = self._priced.get(desk.name, (0.0, ()))
        if len({o.market for o in desk.offers}) < 2 and desk.want.market != MarketChoice.CHEAPEST:
            return desk.offers
        if self.clock.now() - asked >= PRICE_SECONDS:
            try:
                known = tuple(self.offers(desk))
            except HotdeskError:  # use the previous prices
                known = known or desk.offers
            self._priced[desk.name] = self.clock.now(), known
        return known or desk.offers

    def _changeover(self, desk: Desk) -> Changeover:
        """What a start of this desk on another machine is believed to take: learnt from its own, and at
        first from those of this computer's other desks. The margin is also for refusals of on-demand."""
        rows = self.store.rows(limit=ROWS)
        found = changeovers(rows)
        own = found.pop(desk.name, ())
        others = [seconds for some in found.values() for seconds in some]
        guess = believed(others).seconds if others else GUESS_SECONDS
        known = believed(own, guess)
        vain = sold_out_seconds(self._offered(desk), events(rows), self.clock.now())
        return msgspec.structs.replace(known, margin_seconds=known.margin_seconds + vain)

    def _launched(self, desk: Desk) -> float:
        row = self.store.past(desk).power
        return row.at if row else self.clock.now()

    def _write(self, desk: Desk, job: Job, offers: tuple[Offer, ...], decision: Decision | None) -> None:
        if decision is None:
            return
        at = self._on_demand_at(desk, job, offers, decision)
        changed = msgspec.structs.replace(desk, offers=offers, on_demand_at=at, seeks=(), seeks_until=0.0)
        if changed != desk:
            self.store.put(changed)

    def _on_demand_at(self, desk: Desk, job: Job, offers: tuple[Offer, ...], decision: Decision) -> float:
        """Nobody may be there to decide again: on-demand is launched when it is needed, and not before."""
        if Action.ON_DEMAND in {decision.action, decision.otherwise}:
            return 0.0
        return latest(job, offers, self._changeover(desk))


def _key(machine: Instance) -> str:
    return f"{machine.provider}/{machine.zone}/{machine.instance_type}/{machine.market}"
