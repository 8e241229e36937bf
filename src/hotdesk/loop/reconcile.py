"""The only loop: look, think, write down, act, and look again.

    survey ──> plan (pure) ──> begin (journal) ──> one step ──> end (journal) ──┐
       ^                                                                       │
       └───────────────────────────────────────────────────────────────────────┘

Nothing else acts on a cloud. There is no retry, no rollback and no clean-up here: what went wrong is a
row, and the planner reads rows. Killed at any point, the next call of `tick` goes on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from msgspec.structs import replace

from hotdesk.core.backoff import backoff
from hotdesk.core.errors import (
    Busy,
    Failing,
    HotdeskError,
    Kind,
    Missing,
    NotAllowed,
    Overloaded,
    Refused,
    Unreachable,
)
from hotdesk.core.lifecycle.descent import own
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.lifecycle.plan import plan, together
from hotdesk.core.model import Desk, Goal, Instance, Seen, Survey
from hotdesk.core.ports import Access, Clock, Prover, Provider, Retyper, Shared, Wide
from hotdesk.core.steps import (
    AnyStep,
    Ask,
    Bake,
    Begin,
    Copy,
    Delete,
    Launch,
    Leave,
    Move,
    Outcome,
    Prove,
    Retype,
    Row,
    Start,
    Stop,
    Told,
    Verify,
    Wait,
)
from hotdesk.parallel import abreast
from hotdesk.state.store import Store

T = TypeVar("T")

SHUT_SECONDS = 60.0  # between two looks of a watcher at clouds that do not let it look
PATIENCE = 5  # surveys that may fail in a row before a person is told


@dataclass(frozen=True)
class Tick:
    """What one look found. `seconds` to wait before the next; None when all is as wanted or asked about."""

    seconds: float | None
    seen: Mapping[str, Seen] = field(default_factory=dict)
    waits: Mapping[str, Wait] = field(default_factory=dict)
    asks: Mapping[str, Ask] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()


class Reconciler:
    def __init__(
        self,
        *,
        store: Store,
        provider: Callable[[str], Provider],
        clock: Clock,
        prove: Prover,
        on_row: Callable[[Row], None] = lambda row: None,
        on_wait: Callable[[str, Wait], None] = lambda desk, wait: None,
        on_gone: Callable[[Desk], None] = lambda desk: None,
        on_proven: Callable[[Access], None] = lambda access: None,
        may: Callable[[Desk, AnyStep], Ask | None] = lambda desk, step: None,
    ) -> None:
        self.store = store
        self.provider = provider
        self.clock = clock
        self.prove = prove
        self.on_row = on_row
        self.on_wait = on_wait
        self.on_gone = on_gone
        self.on_proven = on_proven
        self.may = may
        self._doubted: dict[str, tuple[float, float]] = {}  # by desk: its wish, and since when it is so
        self._put_off: dict[
            str, int
        ] = {}  # by cloud, or desk: how often in a row it was too busy to be asked

    def tick(self, names: Collection[str] | None = None) -> Tick:
        """One look, and one step per desk (of all desks, or of those named, which the caller holds).

        Raises `NotAllowed`, `Missing` or `Unreachable` when there can be no look.
        """
        desks = [d for d in self.store.desks() if names is None or d.name in names]
        now = self.clock.now()  # before the look: what changes during it may not be in it
        self._date_what_is_undated(desks, now)
        seen, unseen = self._look(desks)
        acts: list[tuple[Desk, AnyStep]] = []
        waits = {d.name: unseen[d.provider] for d in desks if d.provider in unseen}
        asks: dict[str, Ask] = {}
        proofs: list[tuple[Desk, Prove]] = []
        for desk in desks:
            if desk.name in waits:
                continue
            steps = plan(desk, seen[desk.name], self.store.past(desk), now)
            if doubt := self._doubt(desk, steps, seen[desk.name], now):
                waits[desk.name] = doubt
                continue
            match steps:
                case []:
                    if desk.goal is Goal.GONE:
                        self.on_gone(desk)
                        self.store.remove(desk.name)
                case [Wait() as wait, *_]:
                    times = self._put_off.get(desk.provider, 0) if seen[desk.name].unread else 0
                    waits[desk.name] = self._longer(wait, desk.provider, times, now)
                case [Ask() as ask, *_]:
                    asks[desk.name] = ask
                case [Prove() as step, *_]:
                    proofs.append((desk, step))
                case [step, *_]:
                    if no := self.may(desk, step):
                        asks[desk.name] = no
                    else:
                        acts += [(desk, one) for one in together(desk, steps)]
        for desk, proof, found in self._prove(proofs, seen):
            match found:
                case Wait() as wait:
                    waits[desk.name] = wait
                case Ask() as ask:
                    asks[desk.name] = ask
                case None:
                    acts.append((desk, proof))
        rows = self._act(acts, now)
        for name, wait in waits.items():
            self.on_wait(name, wait)
        if any(self._more_to_do(desk, step, seen[desk.name], now) for desk, step in acts):
            return Tick(0.0, seen, waits, asks, rows)
        pause = min((w.seconds for w in waits.values()), default=None)
        if pause is not None:  # it began with the look; a cloud that is slow is left alone all the same
            pause = min(pause, max(pause - (self.clock.now() - now), pause / 2))
        return Tick(pause, seen, waits, asks, rows)

    def _more_to_do(self, desk: Desk, step: AnyStep, seen: Seen, now: float) -> bool:
        """Whether to look again after a step. A proof changes nothing in the cloud: the look still holds."""
        return not isinstance(step, Prove) or bool(plan(desk, seen, self.store.past(desk), now))

    def settle(self, desk: Desk) -> Tick:
        """Tick until this desk is as wanted or a person must choose; the last tick.

        A cloud that is too busy is waited for, for as long as it takes. Raises `Busy` when somebody changes
        the desk's goal meanwhile, and `Unreachable` when the cloud does not answer: the goal stands.
        """
        failed = 0
        while True:
            now_wanted = self.store.find(desk.name)
            if now_wanted is None or now_wanted.wish != desk.wish:
                goal = now_wanted.goal if now_wanted else Goal.GONE
                raise Busy(
                    f"{desk.name} is now wanted {goal}.",
                    f"Another command changed its mind while this one was making it {desk.goal}.",
                    f"hotdesk watch {desk.name}",
                )
            try:
                tick = self.tick({desk.name})
                failed = 0
            except Unreachable as error:
                failed += 1
                if failed >= PATIENCE:
                    raise _goal_stands(error, desk) from error
                tick = Tick(2.0**failed)
                self.on_wait(desk.name, Wait(seconds=2.0**failed, why=f"{error.what} Trying again"))
            if any(isinstance(row.step, Leave) and row.done for row in tick.rows):
                desk = self.store.find(desk.name) or desk  # its machine ended itself: it is wanted parked
            if tick.seconds is None:
                return tick
            if tick.seconds:
                self.clock.sleep(tick.seconds)

    def _date_what_is_undated(self, desks: Collection[Desk], now: float) -> None:
        """Nobody knows when a process died: what it was waiting for may have had its effect just now."""
        cut = Outcome(status="unknown", message="hotdesk was stopped before the answer came")
        for desk in desks:
            for row in self.store.past(desk).undated(now):
                self.on_row(self.store.end(row, row.outcome or cut, now))

    def _doubt(self, desk: Desk, steps: list[AnyStep], seen: Seen, now: float) -> Wait | None:
        """A wait, while a conclusion from one look has not stood for the listing's lag.

        A disk that was left by an interrupted machine may be listed later than the machine's end. (That this
        is kept in memory only means that a new process waits again.)
        """
        if not _rests_on_one_look(desk, steps, seen, self.store.past(desk), now):
            self._doubted.pop(desk.name, None)
            return None
        wish, since = self._doubted.get(desk.name, (None, 0.0))
        if (
            wish != desk.since or since > self.clock.now()
        ):  # the first look: a late disk is listed within the lag from its end
            self._doubted[desk.name] = (desk.since, self.clock.now())
        elif now - since >= seen.lag_seconds:
            return None
        if not seen.lag_seconds:
            return None
        return Wait(seconds=seen.poll_seconds, why="the listing may be behind; looking again")

    def _look(self, desks: Collection[Desk]) -> tuple[dict[str, Seen], dict[str, Wait]]:
        """What is seen of each desk; and, by provider, waits for those that could not be looked at.

        One cloud that does not answer holds up its own desks only; where none answers, its error is raised.
        """
        seen: dict[str, Seen] = {}
        unseen: dict[str, Wait] = {}
        errors: list[HotdeskError] = []
        providers = {desk.provider for desk in desks}
        for name in sorted(providers):
            try:
                survey = self.survey(name)
            except Overloaded as busy:  # it does answer, if only that: the verb goes on
                times = self._put_off[name] = self._put_off.get(name, 0) + 1
                unseen[name] = self._longer(Wait(seconds=0.0, why=busy.why), name, times, self.clock.now())
                continue
            except (Missing, NotAllowed, Unreachable) as error:
                errors.append(error)
                unseen[name] = Wait(seconds=30.0, why=error.what)
                continue
            self._put_off[name] = self._put_off.get(name, 0) + 1 if survey.unread else 0
            by_desk = survey.by_desk()
            seen |= {d.name: by_desk.get(d.name, survey.nothing) for d in desks if d.provider == name}
        if errors and len(errors) == len(providers):
            raise errors[0]
        return seen, unseen

    def survey(self, provider: str) -> Survey:
        """One look at a cloud. Raises `NotAllowed`, `Unreachable`."""
        try:
            before = self.clock.now()
            survey = self.provider(provider).survey()
        except OSError as error:
            raise Unreachable(f"{provider} does not answer.", str(error), "hotdesk doctor") from error
        except Refused as refused:
            if refused.kind is Kind.THROTTLED:
                raise Overloaded(
                    f"{provider} is too busy to answer.", refused.message, "hotdesk ls   # again in a minute"
                ) from refused
            raise NotAllowed(
                f"{provider} does not let hotdesk look.", refused.message, refused.fix or "hotdesk doctor"
            ) from refused
        self.store.witness(survey, before, self.clock.now())
        return survey

    def _longer(self, wait: Wait, who: str, times: int, now: float) -> Wait:
        """The wait, made longer with each time in a row that `who` was too busy."""
        return replace(wait, seconds=max(wait.seconds, backoff(times, f"{who}/{now}"))) if times else wait

    def _prove(
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
                return self._longer(Wait(seconds=0.0, why=no.message), desk.name, times, self.clock.now())
            denied = no.kind is Kind.NOT_READY and "Permission denied" in no.message
            if denied and not self.store.past(desk).made(machine):
                return _anothers_key(desk, machine)
            if no.kind is Kind.NOT_READY:
                return Wait(seconds=min(seen.poll_seconds, 2.0), why=no.message)
            fix = no.fix or f"hotdesk doctor {desk.name}"
            return Ask(what=f"{desk.name} runs and cannot be used.", why=no.message, fix=fix, kind=no.kind)
        except Unreachable as error:
            return Wait(seconds=seen.poll_seconds, why=error.what)
        return None

    def _act(self, acts: list[tuple[Desk, AnyStep]], now: float) -> tuple[Row, ...]:
        """Take steps: of one desk in this order, of different desks side by side where the cloud lets us."""
        if not acts:
            return ()
        for provider, steps in self._by_provider(acts):
            if isinstance(provider, Wide):
                provider.expect([step for _, step in steps])
        # A clock may be set back: what is done for a desk is never written down as older than the wish.
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
        return [(self.provider(name), group) for name, group in groups.items()]

    def _outcome(self, desk: Desk, step: AnyStep, answer: Callable[[], str]) -> Outcome:
        if isinstance(step, Leave):
            return self._leave(desk, step)
        try:
            return Outcome(status="done", id=answer())
        except Refused as no:
            now = self.clock.now()
            seconds = no.seconds
            if no.kind is Kind.THROTTLED:
                seconds = max(seconds, self._left_alone(desk, now))
            return Outcome(
                status="refused", kind=no.kind, message=no.message, fix=no.fix, until=now + seconds,
                scope=no.scope,
            )  # fmt: skip
        except Failing as failing:
            until = (now := self.clock.now()) + self._left_alone(desk, now)
            return Outcome(status="unknown", kind=Kind.THROTTLED, message=str(failing), until=until)
        except Exception as error:  # whatever it was: the request may have had its effect
            return Outcome(status="unknown", message=f"{type(error).__name__}: {error}")

    def _left_alone(self, desk: Desk, now: float) -> float:
        """Seconds until the next step of a desk, for one of which the cloud was just too busy."""
        return backoff(self.store.past(desk).put_off_times + 1, f"{desk.name}/{now}")

    def _leave(self, desk: Desk, step: Leave) -> Outcome:
        """Change the wish, unless its owner has just said something else."""
        current = self.store.find(desk.name)
        if current is None or current.wish != desk.wish or current.since != desk.since:
            return Outcome(status="refused", kind=Kind.NOT_READY, message="its owner has said something else")
        since = max(self.clock.now(), desk.since)
        # `fresh` was said of what had been lost by then, and not of what may be missing now.
        self.store.put(replace(current, goal=step.goal, since=since, fresh=False))
        return Outcome(status="done", id=step.id)


def _rests_on_one_look(desk: Desk, steps: list[AnyStep], seen: Seen, past: Past, now: float) -> bool:
    """Whether a conclusion might be another one if the listing were not behind."""
    match steps:
        case [Ask(unsure=unsure), *_]:
            return unsure
        case [] if desk.goal is Goal.GONE:
            ours = past.launch is not None and all(past.made(i) for i in seen.instances)
            return not (seen.disks_throughout and ours and now - past.made_at >= seen.lag_seconds)
        case [] if not seen.machines and past.launch and isinstance(past.launch.step, Launch):
            newest = own(desk, seen, past).newest
            return past.launch.step.order.generation > (newest.generation if newest else 0)
    return False


def _goal_stands(error: Unreachable, desk: Desk) -> Unreachable:
    """The same error, with what becomes of the wish as its last line."""
    fix = (
        f"hotdesk watch {desk.name}   # goes on as soon as it answers: {desk.name} is still to be {desk.goal}"
    )
    return Unreachable(error.what, error.why, fix)


def _anothers_key(desk: Desk, machine: Instance) -> Ask:
    """Why this computer is not let in, where another launched the machine."""
    there = machine.computer or "another computer"
    return Ask(
        what=f"{desk.name} is up, and only {there} can log in.",
        why=f"Its machine ({machine.id}) was launched there, and the key for it never leaves that computer.",
        fix=f"hotdesk park {desk.name} && hotdesk resume {desk.name}   # use it here; what runs there ends",
        kind=Kind.DENIED,
    )


def _at_once(provider: Provider) -> int:
    return provider.at_once if isinstance(provider, Wide) else 1


def _take(provider: Provider, step: AnyStep) -> str:
    """Take a step; the id of what it is about."""
    match step:
        case Launch(order=order):
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
        case Prove(id=id_) | Leave(id=id_):
            pass  # it was proven before it was written down; a desk's row is changed by the loop alone
        case (
            Wait() | Ask() | Begin() | Move() | Told()
        ):  # taken by jobs/run.py, told by services/guest_events.py
            raise AssertionError(step)
    return id_


def watch(
    reconciler: Reconciler,
    names: Collection[str] | None,
    seconds: float,
    beside: Callable[[list[str]], bool] = lambda names: False,
    enough: Callable[[], bool] = lambda: False,
    *,
    unattended: bool = False,
) -> None:
    """Keep desks as wanted until interrupted, leaving alone those that another command holds.

    `beside` is done for those of them that wait for nothing, after a tick that found nothing to do, and says
    whether it did anything; `enough` is asked when neither did. `unattended`: nobody is there to be told that
    credentials have run out, who would start another watcher: it goes on when they are renewed.
    """
    while True:
        shut = False
        with contextlib.ExitStack() as held:
            store = reconciler.store
            mine = [
                desk.name
                for desk in store.desks()
                if (names is None or desk.name in names)
                and held.enter_context(store.hold(desk.name, "hotdesk watch"))
            ]
            try:
                tick = reconciler.tick(mine)
                pause = tick.seconds
                # What one desk waits for is no reason to let the others' jobs wait.
                if pause != 0.0 and beside([name for name in mine if name not in tick.waits]):
                    pause = 0.0
            except Unreachable:  # a night without network ends some day
                pause = None
            except (Missing, NotAllowed):
                if not unattended:
                    raise
                pause, shut = None, True
        if pause is None and enough():
            return
        reconciler.clock.sleep(SHUT_SECONDS if shut else seconds if pause is None else min(seconds, pause))
