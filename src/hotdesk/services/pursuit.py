"""Pursue a goal: save it, and run the loop until a survey shows it reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from hotdesk.core.backoff import backoff
from hotdesk.core.errors import Busy, Scarce
from hotdesk.core.model import Desk, Goal, Seen
from hotdesk.core.ports import Clock
from hotdesk.core.steps import Wait
from hotdesk.loop.clouds import Clouds
from hotdesk.loop.reconcile import Reconciler
from hotdesk.services.billing import Billing
from hotdesk.services.explain import not_tried, question, still_paid
from hotdesk.services.view import View, Views
from hotdesk.services.work import go_on_with_jobs
from hotdesk.state.store import Store

_FIRST_TRY = 4  # of the backoff of what is scarce: half a minute, then one, then two


@dataclass(kw_only=True, eq=False)
class Pursuit:
    """Brings desks to their goals. `on_busy` is told who else holds a desk that is waited for."""

    store: Store
    clouds: Clouds
    reconciler: Reconciler
    billing: Billing
    views: Views
    clock: Clock
    on_busy: Callable[[str, str], None]
    on_wait: Callable[[str, Wait], None]

    def pursue(self, desk: Desk, enough: Callable[[Seen], bool] = lambda seen: False) -> View:
        """Save a goal, then act until it is reached, or is near `enough` for who asked.

        Raises what stops it; the goal stays saved.
        """
        if desk.goal is Goal.RUNNING and self.billing.launches(desk):
            desk = self.billing.within_budget(desk)
        old = self.store.find(desk.name)
        changed = old is None or not old.wishes_as(desk)
        if changed and desk.goal is Goal.RUNNING:
            self.billing.caution(desk)
        if changed:
            self.store.put(desk)
        try:
            return replace(self._held(desk, changed, enough), holder="")  # which was this very command
        finally:
            go_on_with_jobs(self.store, desk)

    def patiently(self, desk: Desk, again: Callable[[], Desk], seconds: float) -> View:
        """Pursue a goal, and try again for so long what is sold out or over a quota.

        `again` makes its row anew, at current prices. Raises as `pursue`: `Scarce` when the time is over, and
        `Busy` when another command has changed the goal meanwhile.
        """
        until, times = self.clock.now() + seconds, 0
        while True:
            try:
                return self.pursue(desk)
            except Scarce as scarce:
                times += 1
                wait = backoff(times + _FIRST_TRY, f"{desk.name}/{self.clock.now()}")
                if (left := until - self.clock.now()) <= 0:
                    raise
                why = f"{scarce.what} {scarce.why.rstrip('.')}. Trying again, for {left / 60:.0f} more min"
                self.on_wait(desk.name, Wait(seconds=wait, why=why))
                self.clock.sleep(min(wait, left))
            now_wanted = self.store.find(desk.name)
            if now_wanted is None or now_wanted.goal is not desk.goal or now_wanted.since > desk.since:
                raise Busy(
                    f"The goal of {desk.name} is now: {now_wanted.goal if now_wanted else Goal.GONE}.",
                    "Another command changed it while this one was waiting for a machine.",
                    f"hotdesk show {desk.name}",
                )
            desk = replace(again(), retried_at=self.clock.now())

    def _held(self, desk: Desk, changed: bool, enough: Callable[[Seen], bool]) -> View:
        doing = f"making {desk.name} {desk.goal}"
        with self.store.hold(desk.name, doing) as mine:
            if mine:
                return self._settle(desk, changed, enough)
        self.on_busy(desk.name, self.store.holder(desk.name))
        with self.store.hold(desk.name, doing, wait=True):
            return self._settle(desk, changed, enough)

    def _settle(self, desk: Desk, changed: bool, enough: Callable[[Seen], bool]) -> View:
        current = self.store.find(desk.name)
        if current is not None and not current.wishes_as(desk):
            raise Busy(
                f"The goal of {desk.name} is now: {current.goal}.",
                "Another command changed it while this one was waiting.",
                f"hotdesk watch {desk.name}",
            )
        if current is not None and not changed:
            self.store.put(desk)  # asked again: needs a new proof and new offers, and resets retries
        if current is None and desk.goal is not Goal.GONE:
            self.store.put(desk)
        tick = self.reconciler.settle(desk, enough)
        seen = tick.seen.get(desk.name, Seen())
        if ask := tick.asks.get(desk.name):
            ask = not_tried(ask, desk, self.clouds.provider(desk.provider).offers)
            if meanwhile := still_paid(ask, desk, seen):
                ask = replace(ask, why=f"{ask.why.rstrip('.')}. Meanwhile {meanwhile}.")
            raise question(ask)
        return self.views.of(desk, seen)
