"""The only loop: survey, plan, journal, act, and survey again.

    survey ──> plan (pure) ──> begin (journal) ──> one step ──> end (journal) ──┐
       ^                                                                       │
       └───────────────────────────────────────────────────────────────────────┘

Nothing else acts on a cloud. There is no retry, no rollback and no clean-up here: what went wrong is a
row, and the planner reads rows. Killed at any point, the next call of `tick` goes on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import Busy, HotdeskError, Missing, NotAllowed, Overloaded, Unreachable
from hotdesk.core.lifecycle import moving
from hotdesk.core.lifecycle.descent import own
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.lifecycle.plan import plan, together
from hotdesk.core.model import Desk, Former, Goal, Phase, Seen
from hotdesk.core.ports import Access, Clock, Peeker, Prover
from hotdesk.core.steps import (
    Act,
    AnyStep,
    Ask,
    Bake,
    Bring,
    Fetch,
    Hand,
    Hold,
    Launch,
    Leave,
    Moving,
    Prove,
    Row,
    Start,
    Stop,
    Vacate,
    Wait,
)
from hotdesk.loop.clouds import Clouds
from hotdesk.loop.executor import Carry, Executor, longer, nothing_carries
from hotdesk.state.store import Store

SHUT_SECONDS = 60.0  # between two looks of a watcher at clouds that deny access
#: For so long a command waits for a cloud that answers only that it cannot: an account that is throttled is
#: let in again within minutes.
SILENT_SECONDS = 1200.0
PATIENCE = 5  # surveys that may fail in a row before a person is told
PEEK_SECONDS = 120.0  # for so long one machine or image is polled between two surveys
KNOCKS = 6  # for so many polls' time a machine that is being set up is logged into between two surveys


@dataclass(frozen=True)
class Tick:
    """The result of one look. `seconds` until the next; None if all is done or asked about."""

    seconds: float | None
    seen: Mapping[str, Seen] = field(default_factory=dict)
    waits: Mapping[str, Wait] = field(default_factory=dict)
    asks: Mapping[str, Ask] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    unproven: Mapping[str, Prove] = field(default_factory=dict)  # logins that did not work yet


class Reconciler:
    def __init__(
        self,
        *,
        store: Store,
        clouds: Clouds,
        clock: Clock,
        prove: Prover,
        on_row: Callable[[Row], None] = lambda row: None,
        on_wait: Callable[[str, Wait], None] = lambda desk, wait: None,
        on_gone: Callable[[Desk], None] = lambda desk: None,
        on_proven: Callable[[Access], None] = lambda access: None,
        may: Callable[[Desk, Act], Ask | None] = lambda desk, step: None,
        carry: Carry = nothing_carries,
    ) -> None:
        self.store = store
        self.clouds = clouds
        self.clock = clock
        self.on_wait = on_wait
        self.on_gone = on_gone
        self.may = may
        self.executor = Executor(
            store=store,
            clouds=clouds,
            clock=clock,
            prove=prove,
            on_row=on_row,
            on_proven=on_proven,
            carry=carry,
        )
        self._doubted: dict[tuple[str, str], tuple[float, float]] = {}  # its wish, and since when
        self._answered: dict[str, Prove] = {}  # logins that worked since the last look
        self._put_off: dict[str, int] = {}  # by cloud: how often in a row it was too busy to be asked

    def tick(self, names: Collection[str] | None = None) -> Tick:
        """One look, and one step per desk (of all desks, or of those named, which the caller holds).

        Raises `NotAllowed`, `Missing` or `Unreachable` when there can be no look.
        """
        return self._tick([d for d in self.store.desks() if names is None or d.name in names])

    def _tick(self, desks: Sequence[Desk]) -> Tick:
        now = self.clock.now()  # before the look: what changes during it may not be in it
        pasts = {desk.name: self._past(desk, now) for desk in desks}
        seen, unseen = self._look(desks, now)
        acts: list[tuple[Desk, Act]] = []
        waits = {d.name: unseen[d.provider] for d in desks if d.provider in unseen}
        asks: dict[str, Ask] = {}
        proofs: list[tuple[Desk, Prove]] = []
        behind: list[tuple[Desk, Former, Desk]] = []

        def take(desk: Desk, step: Act, no: Wait | Ask | None) -> None:
            """Take the step, unless it has to wait, or somebody has to be asked."""
            match no:
                case Wait():
                    waits[desk.name] = no
                case Ask():
                    asks[desk.name] = no
                case None:
                    acts.append((desk, step))

        for desk in desks:
            if desk.name in waits:
                continue
            past = pasts[desk.name]
            steps = plan(desk, seen[desk.name], past, now)
            if doubt := self._wait_for_consistency(desk, steps, seen[desk.name], past, now):
                waits[desk.name] = doubt
                continue
            match steps[0] if steps else None:
                case None if left := moving.left_behind(desk, past, now):
                    behind.append((desk, *left))
                case None:
                    if desk.goal is Goal.GONE:
                        self.on_gone(desk)
                        self.store.remove(desk.name)
                case Wait() as wait:
                    times = self._put_off.get(desk.provider, 0) if seen[desk.name].unread else 0
                    waits[desk.name] = longer(wait, desk.provider, times, now) if times else wait
                case Ask() as ask:
                    asks[desk.name] = ask
                case Prove() as step:
                    proofs.append((desk, step))
                case (Fetch() | Bring()) as step:
                    take(desk, step, self.executor.carry(desk, step))
                case Hold() as step:  # beyond the budget its machine goes on, and nobody need be asked
                    if not self.may(desk, step):
                        acts.append((desk, step))
                case step:
                    if no := self.may(desk, step):
                        asks[desk.name] = no
                    else:
                        acts += [(desk, one) for one in together(desk, step, steps)]
        unproven: dict[str, Prove] = {}
        answered, self._answered = self._answered, {}
        for desk, proof in proofs:
            if answered.get(desk.name) == proof:
                take(desk, proof, None)
        proofs = [(desk, proof) for desk, proof in proofs if answered.get(desk.name) != proof]
        for desk, proof, found in self.executor.proven(proofs, seen) if proofs else ():
            take(desk, proof, found)
            if isinstance(found, Wait):
                unproven[desk.name] = proof
        changed = False
        for desk, former, there in behind:
            match self._clear(there, pasts[desk.name], now):
                case Wait() as wait:
                    waits[desk.name] = wait
                case Ask() as ask:
                    asks[desk.name] = ask
                case None:
                    changed = True
                    self.store.put(moving.settled(desk, former, there))
                case step:
                    acts.append((there, step))
        rows = self.executor.take(acts, now) if acts else ()
        for name, wait in waits.items():
            self.on_wait(name, wait)
        if changed or any(self._more_to_do(desk, step, seen[desk.name], now) for desk, step in acts):
            return Tick(0.0, seen, waits, asks, rows)
        pause = min((w.seconds for w in waits.values()), default=None)
        if pause is not None:  # it began with the look; a cloud that is slow is left alone all the same
            pause = min(pause, max(pause - (self.clock.now() - now), pause / 2))
        return Tick(pause, seen, waits, asks, rows, unproven)

    def _clear(self, there: Desk, past: Past, now: float) -> Act | Wait | Ask | None:
        """The next step at a place that a desk has left; None if nothing is left to do there."""
        try:
            seen = self.clouds.survey(there.provider, now).of(there.name)
        except (Missing, NotAllowed, Overloaded, Unreachable) as error:
            return Wait(seconds=30.0, why=f"{there.provider}, which it has left: {error.what}")
        steps = plan(there, seen, past, now)
        if doubt := self._wait_for_consistency(there, steps, seen, past, now):
            return doubt
        return steps[0] if steps else None

    def _more_to_do(self, desk: Desk, step: AnyStep, seen: Seen, now: float) -> bool:
        """Whether to look again after a step. A proof changes nothing in the cloud: the look stays valid."""
        if not isinstance(step, Prove):
            return True
        past = self.store.past(desk)
        return bool(moving.left_behind(desk, past, now) or plan(desk, seen, past, now))

    def _past(self, desk: Desk, now: float) -> Past:
        """A desk's past, in which every step has ended."""
        past = self.store.past(desk)
        if cut := past.undated(now):
            self.executor.close(cut, now)
            return self.store.past(desk)
        return past

    def settle(self, desk: Desk, enough: Callable[[Seen], bool] = lambda seen: False) -> Tick:
        """Tick until this desk's goal is reached or a person must choose; returns the last tick.

        `enough`: whether the rest may be left to the next one who looks, by what that tick has seen.
        A cloud that is too busy is waited for. Raises `Busy` when somebody changes the desk's goal meanwhile,
        and `Unreachable` when the cloud does not answer, or answers for `SILENT_SECONDS` that it cannot: the
        goal stands.
        """
        failed = 0
        silent_since: float | None = None
        while True:
            now_wanted = self.store.find(desk.name)
            if now_wanted is None or (now_wanted != desk and now_wanted.wish != desk.wish):
                goal = now_wanted.goal if now_wanted else Goal.GONE
                raise Busy(
                    f"The goal of {desk.name} is now: {goal}.",
                    f"Another command changed it while this one was making the desk {desk.goal}.",
                    f"hotdesk watch {desk.name}",
                )
            try:
                tick = self._tick([now_wanted])
                failed = 0
            except Unreachable as error:
                failed += 1
                if failed >= PATIENCE:
                    raise _goal_stands(error, desk) from error
                tick = Tick(2.0**failed)
                self.on_wait(desk.name, Wait(seconds=2.0**failed, why=f"{error.what} Trying again"))
            if any(isinstance(row.step, Leave | Vacate | Hand | Moving) and row.done for row in tick.rows):
                desk = self.store.find(desk.name) or desk  # its machine ended itself, or it was handed over
            if tick.seconds is None or (desk.name in tick.seen and enough(tick.seen[desk.name])):
                return tick
            silent_since = self._silence(desk, tick, silent_since)
            if tick.seconds:
                self.clock.sleep(tick.seconds)
            self._peek(now_wanted, tick)

    def _silence(self, desk: Desk, tick: Tick, since: float | None) -> float | None:
        """Since when the cloud has told nothing of this desk; None if it does. Raises `Unreachable`."""
        wait, now = tick.waits.get(desk.name), self.clock.now()
        in_vain = bool(tick.rows) and all(row.in_vain for row in tick.rows)
        if not in_vain and not (wait and wait.silent):
            return None
        since = now if since is None else since
        if now - since < SILENT_SECONDS:
            return since
        said = wait.why if wait else tick.rows[-1].said
        minutes = f"{(now - since) / 60:.0f} minutes"
        raise _goal_stands(
            Unreachable(
                f"{cloud(desk.provider).label} has not been able to answer for {minutes}.",
                f"{said.rstrip('.')}. Nothing was given up: what was asked of it is written down, and looked"
                " for before it is asked again.",
            ),
            desk,
        )

    def _peek(self, desk: Desk, tick: Tick) -> None:
        """Wait while what the desk waits for is still on its way, by asking about that alone.

        It only decides when to survey again: whatever is concluded is concluded from a survey. Anything
        unexpected ends it, and so does `PEEK_SECONDS`, because others may change the desk meanwhile.
        """
        if proof := tick.unproven.get(desk.name):
            self._knock(desk, proof, tick.seen)
        moved = _in_transit(desk, tick)
        if not moved:
            return
        pause = max(tick.seen[desk.name].poll_seconds, 0.01)
        until = self.clock.now() + PEEK_SECONDS
        with contextlib.suppress(Exception):  # the survey tells what is wrong
            provider = self.clouds.provider(desk.provider)
            while isinstance(provider, Peeker) and self.clock.now() < until:
                if tick.rows:  # it was set in motion just now
                    self.on_wait(desk.name, Wait(seconds=pause, why="; ".join(moved.values())))
                    self.clock.sleep(pause)
                if self.store.find(desk.name) != desk or not provider.in_transit(moved):
                    return
                if not tick.rows:
                    self.clock.sleep(pause)

    def _knock(self, desk: Desk, proof: Prove, seen: Mapping[str, Seen]) -> None:
        """Log in again while a machine is being set up, which takes minutes, without a survey each time.

        The survey that follows shows whether it is still the machine that answered.
        """
        until = self.clock.now() + KNOCKS * seen[desk.name].poll_seconds
        with contextlib.suppress(Exception):  # the next tick tells what is wrong
            while (
                isinstance(self.clouds.provider(desk.provider), Peeker)
                and self.clock.now() < until
                and self.store.find(desk.name) == desk
            ):
                [(_, _, found)] = self.executor.proven([(desk, proof)], seen)
                if found is None:
                    self._answered[desk.name] = proof
                if not isinstance(found, Wait):
                    return
                self.on_wait(desk.name, found)
                self.clock.sleep(found.seconds)

    def _wait_for_consistency(
        self, desk: Desk, steps: list[AnyStep], seen: Seen, past: Past, now: float
    ) -> Wait | None:
        """Wait until a conclusion from one survey has held for the eventual-consistency window.

        The disk of an interrupted machine may be listed later than the machine's end. (This is kept in
        memory only, so a new process waits again.)
        """
        at = (desk.name, desk.provider)
        if not _rests_on_one_look(desk, steps, seen, past, now):
            self._doubted.pop(at, None)
            return None
        wish, since = self._doubted.get(at, (None, 0.0))
        latest = self.clock.now()
        if wish != desk.since or since > latest:  # a late disk is listed within the lag from this look's end
            since = latest
            self._doubted[at] = (desk.since, since)
        elif now - since >= seen.lag_seconds:
            return None
        if not seen.lag_seconds:
            return None
        # One more look, when the window is over: what was listed late is in it, and stays.
        left = since + seen.lag_seconds - now
        return Wait(seconds=max(left, seen.poll_seconds), why="the listing may be stale; looking again")

    def _look(self, desks: Collection[Desk], now: float) -> tuple[dict[str, Seen], dict[str, Wait]]:
        """What is seen of each desk; and, by provider, waits for clouds that could not be surveyed.

        A cloud that does not answer delays only its own desks; if none answers, its error is raised.
        """
        seen: dict[str, Seen] = {}
        unseen: dict[str, Wait] = {}
        errors: list[HotdeskError] = []
        providers = {desk.provider for desk in desks}
        for name in sorted(providers):
            try:
                survey = self.clouds.survey(name, now)
            except Overloaded as busy:  # it does answer, if only that: the verb goes on
                times = self._put_off[name] = self._put_off.get(name, 0) + 1
                unseen[name] = longer(
                    Wait(seconds=0.0, why=busy.why, silent=True), name, times, self.clock.now()
                )
                continue
            except (Missing, NotAllowed, Unreachable) as error:
                errors.append(error)
                unseen[name] = Wait(seconds=30.0, why=error.what)
                continue
            self._put_off[name] = self._put_off.get(name, 0) + 1 if survey.unread else 0
            seen |= survey.of_each([d.name for d in desks if d.provider == name])
        if errors and len(errors) == len(providers):
            raise errors[0]
        return seen, unseen


def _rests_on_one_look(desk: Desk, steps: list[AnyStep], seen: Seen, past: Past, now: float) -> bool:
    """Whether a conclusion might change if the listing were up to date."""
    match steps:
        case [Ask(unsure=unsure), *_]:
            return unsure
        case [] if desk.goal is Goal.GONE:
            ours = past.launch is not None and all(past.made(i) for i in seen.instances)
            return not (seen.disks_throughout and ours and now - past.made_at >= seen.lag_seconds)
        case [] | [Hand()] if not seen.machines and past.launch and isinstance(past.launch.step, Launch):
            newest = own(desk, seen, past).newest
            return past.launch.step.order.generation > (newest.generation if newest else 0)
    return False


#: Steps that begin something which takes a while. (After a deletion a goal may be reached at once.)
_SET_IN_MOTION = {
    Launch: "is starting",
    Start: "is starting",
    Stop: "is stopping",
    Bake: "is being taken",
}


def _in_transit(desk: Desk, tick: Tick) -> dict[str, str]:
    """What a desk waits for, by id and in words: what was just set in motion, else what is on its way.

    Empty where it is neither.
    """
    if (seen := tick.seen.get(desk.name)) is None:
        return {}
    if tick.rows:
        if not all(row.done and type(row.step) in _SET_IN_MOTION for row in tick.rows):
            return {}
        return {row.made: f"{row.made} {_SET_IN_MOTION[type(row.step)]}" for row in tick.rows}
    wait = tick.waits.get(desk.name)
    if wait is None or wait.seconds != seen.poll_seconds:  # another reason to wait
        return {}
    going = {m.id for m in seen.machines if m.phase in {Phase.PENDING, Phase.STOPPING, Phase.ENDING}}
    going |= {i.id for i in seen.images if i.phase in {Phase.PENDING, Phase.VERIFYING}}
    return dict.fromkeys(going, wait.why)


def _goal_stands(error: Unreachable, desk: Desk) -> Unreachable:
    """The same error; its last line says what happens to the goal."""
    fix = f"hotdesk watch {desk.name}   # continues once it answers: {desk.name} is still to be {desk.goal}"
    return Unreachable(error.what, error.why, fix)


def watch(
    reconciler: Reconciler,
    names: Collection[str] | None,
    seconds: float,
    beside: Callable[[list[str]], bool] = lambda names: False,
    enough: Callable[[], bool] = lambda: False,
    *,
    unattended: bool = False,
) -> None:
    """Reconcile desks until interrupted, except those that another command holds.

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
                # One desk's wait must not delay the jobs of others.
                if pause != 0.0 and beside([name for name in mine if name not in tick.waits]):
                    pause = 0.0
            except Unreachable:  # the network may come back
                pause = None
            except (Missing, NotAllowed):
                if not unattended:
                    raise
                pause, shut = None, True
        if pause is None and enough():
            return
        reconciler.clock.sleep(SHUT_SECONDS if shut else seconds if pause is None else min(seconds, pause))
