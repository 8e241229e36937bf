"""Take steps: each is journaled before it is taken, and its outcome after.

What is decided elsewhere is done here, for different desks side by side where their cloud lets us.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from msgspec.structs import replace

from hotdesk.core.backoff import backoff
from hotdesk.core.errors import Failing, Kind, Refused, Unreachable
from hotdesk.core.lifecycle import moving
from hotdesk.core.model import Desk, Fetched, Instance, Seen
from hotdesk.core.ports import Access, Clock, Concurrent, Grower, Prover, Provider, Retyper, Shared
from hotdesk.core.steps import (
    Act,
    Ask,
    Bake,
    Bring,
    Copy,
    Delete,
    Done,
    Entry,
    Fetch,
    Grow,
    Hand,
    Hold,
    Launch,
    Leave,
    Moving,
    Outcome,
    Prove,
    Refusal,
    Retype,
    Row,
    Start,
    Stop,
    Unsure,
    Vacate,
    Verify,
    Wait,
)
from hotdesk.loop.clouds import Clouds
from hotdesk.parallel import abreast
from hotdesk.state.store import Store

T = TypeVar("T")

JOB_SECONDS = 300.0  # for so long a desk is not parked before its machine's end, because a job is to be moved

#: Carries a desk's work to or from the machine of a step, and returns at once: what to wait for or to ask,
#: and None once all of it has arrived and was read back.
Carry = Callable[[Desk, Moving], Wait | Ask | None]


def nothing_carries(desk: Desk, step: Moving) -> Wait | Ask | None:
    """For a loop whose desks do not move: to say that all has arrived would lose their work."""
    raise NotImplementedError(f"nothing carries the files of {desk.name}")


@dataclass(kw_only=True, eq=False)
class Executor:
    """Takes the steps of desks that the caller holds, and asks running desks whether they answer."""

    store: Store
    clouds: Clouds
    clock: Clock
    prove: Prover
    on_row: Callable[[Row], None]
    on_proven: Callable[[Access], None]
    carry: Carry
    _put_off: dict[str, int] = field(default_factory=dict, init=False)  # by desk: how often in a row its
    # cloud was too busy to prove it

    def close(self, rows: Iterable[Row], now: float) -> None:
        """Mark steps that a crash cut off as outcome unknown; date those anew that ended in the future.

        Nobody knows when a process died: what it was waiting for may have had its effect just now. What had
        its outcome before the clock was set back is no news.
        """
        cut = Unsure(message="hotdesk was stopped before the reply arrived")
        for row in rows:
            ended = self.store.end(row, row.outcome or cut, now)
            if row.outcome is None:
                self.on_row(ended)

    def proven(
        self, proofs: list[tuple[Desk, Prove]], seen: Mapping[str, Seen]
    ) -> list[tuple[Desk, Prove, Wait | Ask | None]]:
        """None for each desk that answers. It changes nothing, so only success is worth a row."""
        answers: dict[str, Callable[[], Access]] = {}

        def log_in(provider: Provider, machine: Instance) -> Access:
            access = provider.access(machine)
            self.prove(access)
            return access

        def end(job: tuple[Provider, Instance], answer: Callable[[], Access]) -> None:
            answers[job[1].desk] = answer

        for provider, some in self._by_provider(proofs):
            machines = [next(i for i in seen[d.name].machines if i.id == step.id) for d, step in some]
            lanes = [[(provider, machine)] for machine in machines]
            abreast(lanes, _at_once(provider), take=lambda job: log_in(*job), end=end)
        found = []
        for desk, step in proofs:
            machine = next(i for i in seen[desk.name].machines if i.id == step.id)
            found.append((desk, step, self._proven(desk, machine, seen[desk.name], answers[desk.name])))
        return found

    def _proven(
        self, desk: Desk, machine: Instance, seen: Seen, answer: Callable[[], Access]
    ) -> Wait | Ask | None:
        times = self._put_off.pop(desk.name, 0) + 1
        try:
            self.on_proven(answer())
        except Refused as no:
            if no.kind is Kind.THROTTLED:
                self._put_off[desk.name] = times
                return longer(Wait(seconds=0.0, why=no.message), desk.name, times, self.clock.now())
            denied = no.kind is Kind.NOT_READY and "Permission denied" in no.message
            if denied and not self.store.past(desk).made(machine):
                return _anothers_key(desk, machine)
            if no.kind is Kind.NOT_READY:
                return Wait(seconds=min(seen.poll_seconds, 2.0), why=no.message)
            fix = no.fix or f"hotdesk doctor {desk.name}"
            return Ask(what=f"{desk.name} is running but unusable.", why=no.message, fix=fix, kind=no.kind)
        except Unreachable as error:
            return Wait(seconds=seen.poll_seconds, why=error.what)
        return None

    def take(self, acts: list[tuple[Desk, Act]], now: float) -> tuple[Row, ...]:
        """Take steps: of one desk in this order, of different desks side by side where the cloud lets us."""
        for provider, steps in self._by_provider(acts):
            if isinstance(provider, Concurrent):
                provider.expect([step for _, step in steps])
        # The clock may be set back: a step is never recorded as older than the goal it serves.
        at = max([now, *(max(desk.since, desk.created_at) for desk, _ in acts)])
        begun = self.store.begin([(desk.name, step) for desk, step in acts], at)
        ended: dict[int, Row] = {}

        def end(job: tuple[Row, Desk], answer: Callable[[], str]) -> None:
            row, desk = job
            ended[row.id] = self.store.end(row, self._outcome(desk, row.step, answer), self.clock.now())
            self.on_row(ended[row.id])

        rows = [(desk, row) for row, (desk, _) in zip(begun, acts, strict=True)]
        for provider, some in self._by_provider(rows):
            lanes: dict[str, list[tuple[Row, Desk]]] = {}
            for desk, row in some:
                lanes.setdefault(desk.name, []).append((row, desk))
            abreast(
                lanes.values(),
                _at_once(provider),
                start=lambda job: self.on_row(job[0]),
                take=lambda job, provider=provider: _take(provider, job[0].step),  # type: ignore[misc]
                end=end,
            )
        return tuple(ended[row.id] for row in begun)

    def _by_provider(self, some: Iterable[tuple[Desk, T]]) -> list[tuple[Provider, list[tuple[Desk, T]]]]:
        groups: dict[str, list[tuple[Desk, T]]] = {}
        for desk, what in some:
            groups.setdefault(desk.provider, []).append((desk, what))
        return [(self.clouds.provider(name), group) for name, group in groups.items()]

    def _outcome(self, desk: Desk, step: Entry, answer: Callable[[], str]) -> Outcome:
        if isinstance(step, Leave):
            return self._leave(desk, step)
        if isinstance(step, Vacate):
            return self._vacate(desk, step)
        if isinstance(step, Hand | Moving):
            return self._moved(desk, step)
        try:
            return Done(id=answer())
        except Refused as no:
            now = self.clock.now()
            seconds = no.seconds
            if no.kind is Kind.THROTTLED:
                seconds = max(seconds, self._left_alone(desk, now))
            until = now + seconds
            return Refusal(kind=no.kind, message=no.message, fix=no.fix, until=until, scope=no.scope)
        except Failing as failing:
            until = (now := self.clock.now()) + self._left_alone(desk, now)
            return Unsure(kind=Kind.THROTTLED, message=str(failing), until=until)
        except Exception as error:  # any error: the request may have had its effect
            return Unsure(message=f"{type(error).__name__}: {error}")

    def _left_alone(self, desk: Desk, now: float) -> float:
        """Seconds until the next step of a desk, for one of which the cloud was just too busy."""
        return backoff(self.store.past(desk).put_off_times + 1, f"{desk.name}/{now}")

    def _leave(self, desk: Desk, step: Leave) -> Outcome:
        """Change the goal, unless its owner has just changed it."""
        current = self.store.find(desk.name)
        if current is None or current.wish != desk.wish or current.since != desk.since:
            return Refusal(kind=Kind.NOT_READY, message="its goal has been changed")
        since = max(self.clock.now(), desk.since)
        # `fresh` covers what had been lost by then, not what may be missing now.
        self.store.put(replace(current, goal=step.goal, since=since, fresh=False, there=False))
        return Done(id=step.id)

    def _vacate(self, desk: Desk, step: Vacate) -> Outcome:
        """Park it, unless a job of it is to go on: that is moved, where there is a place to move it to."""
        jobs = self.store.jobs(desk.name, unsettled=True)
        goes_on = any(job.result is None and not job.cancelled for job in jobs)
        if goes_on and any(not offer.ends_at for offer in desk.offers):
            until = self.clock.now() + JOB_SECONDS
            return Refusal(kind=Kind.NOT_READY, message="a job is to go on elsewhere", until=until)
        return self._leave(desk, Leave(id=step.id, started_at=0.0, why=step.why))

    def _moved(self, desk: Desk, step: Hand | Moving) -> Outcome:
        """Write down where the desk is now, unless its owner has just changed their mind."""
        current = self.store.find(desk.name)
        if current is None or current != desk:
            return Refusal(kind=Kind.NOT_READY, message="its goal has been changed")
        match step:
            case Fetch(order=order):
                fetched = Fetched(
                    image=order.name,
                    machine=order.source_id,
                    started_at=order.started_at,
                    at=self.clock.now(),
                    attempt=order.attempt,
                )
                self.store.put(replace(current, fetched=fetched))
                return Done(id=order.name)
            case Bring(id=id_):
                self.store.put(replace(current, carried=""))
                return Done(id=id_)
            case Hand(id=id_):
                if current.bound is None:
                    return Refusal(kind=Kind.NOT_READY, message="its goal has been changed")
                self.store.put(moving.handed(current, current.bound, id_, self.clock.now()))
                return Done(id=id_)


def longer(wait: Wait, who: str, times: int, now: float) -> Wait:
    """The wait, longer with each consecutive time that `who` was too busy."""
    return replace(wait, seconds=max(wait.seconds, backoff(times, f"{who}/{now}")))


def _anothers_key(desk: Desk, machine: Instance) -> Ask:
    """Why this computer's login is rejected, if another one launched the machine."""
    there = machine.computer or "another computer"
    return Ask(
        what=f"{desk.name} is up, and only {there} can log in.",
        why=f"Its machine ({machine.id}) was launched there, and its key never leaves that computer.",
        fix=f"hotdesk park {desk.name} && hotdesk resume {desk.name}   # use it here; what runs there ends",
        kind=Kind.DENIED,
    )


def _at_once(provider: Provider) -> int:
    return provider.at_once if isinstance(provider, Concurrent) else 1


def _take(provider: Provider, step: Act) -> str:
    """Take a step; the id of what it is about."""
    match step:
        case Launch(order=order) | Hold(order=order):
            return provider.launch(order)
        case Bake(order=bake):
            return provider.bake(bake)
        case Copy(id=id_, region=region, name=name):
            return provider.copy(id_, region, name)
        case Start(id=id_):
            provider.power(id_, True)
        case Stop(id=id_):
            provider.power(id_, False)
        case Retype(id=id_, offer=offer, generation=generation):
            if not isinstance(provider, Retyper):
                raise Refused(Kind.UNSUPPORTED, f"{provider.name} cannot change a machine's type")
            provider.retype(id_, offer, generation)
        case Grow(id=id_, gib=gib):
            if not isinstance(provider, Grower):
                raise Refused(Kind.UNSUPPORTED, f"{provider.name} cannot make a disk bigger")
            provider.grow(id_, gib)
        case Verify(id=id_):
            provider.verify(id_)
        case Delete(id=id_, started_at=float(started_at)) if isinstance(provider, Shared):
            provider.delete_saved(id_, started_at)
        case Delete(id=id_, keep_disk=keep_disk, for_good=for_good):
            if for_good and isinstance(provider, Shared):
                provider.doom(id_)
            provider.delete(id_, keep_disk=keep_disk)
        case Prove(id=id_) if isinstance(provider, Shared):
            provider.report(id_)
        case Fetch(order=order):
            return order.name
        case Prove(id=id_) | Leave(id=id_) | Vacate(id=id_) | Hand(id=id_) | Bring(id=id_):
            pass  # it was proven before it was written down; a desk's row is changed by the loop alone
    return id_
