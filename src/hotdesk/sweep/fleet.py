"""The machines of a sweep as desks, which the one loop brings up from the image and deletes at the end.

They carry the sweep's number in their names, and are bought, journaled and billed as every desk is; but
nothing of theirs is saved: what a sweep keeps is fetched before they go.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from hotdesk.core.billing.charges import compute_usd
from hotdesk.core.clouds import cloud
from hotdesk.core.errors import Refused
from hotdesk.core.lifecycle.descent import machine_of
from hotdesk.core.model import Desk, Goal, Instance, Phase, Survey, Want
from hotdesk.core.ports import Access, Clock
from hotdesk.core.steps import Ask, Prove
from hotdesk.core.sweep import plan
from hotdesk.core.sweep.model import Sweep
from hotdesk.loop.clouds import Clouds
from hotdesk.loop.reconcile import Reconciler
from hotdesk.state.store import Store
from hotdesk.sweep.reached import Reached
from hotdesk.sweep.site import SeenMachine

STEPS_MOST = 8  # of one tick: each is one call per desk


@dataclass(kw_only=True, eq=False)
class DeskSite(Reached):
    """A sweep's machines as desks. See `Site` for what each method promises."""

    sweep: Sweep
    folder: Path  # of the sweep, on this computer
    secrets: Callable[[Sweep], Mapping[str, str]]
    want: Want  # the hardware of each machine
    store: Store
    clouds: Clouds
    clock: Clock
    reconciler: Reconciler
    recorded = False
    _reach: dict[str, Access] = field(default_factory=dict)
    _asks: dict[str, str] = field(default_factory=dict)
    _last: dict[str, SeenMachine] = field(default_factory=dict)  # of the last tick

    # ---- all of them ---------------------------------------------------------------------------------

    def confirm(self) -> None:
        """No other computer has this one's desks."""

    def tick(self, wanted: Sequence[str], released: Collection[str]) -> Mapping[str, SeenMachine]:
        for name in wanted:
            if self.store.find(name) is None:
                self.store.put(self._row(name))
        for name in released:
            desk = self.store.find(name)
            # Not before what it holds was fetched, where it can be reached: see Driver._leave.
            if desk is not None and desk.goal is not Goal.GONE:
                self.store.put(replace(desk, goal=Goal.GONE, since=self.clock.now()))
        names = {*wanted, *released}
        with contextlib.ExitStack() as held:
            mine = [
                name
                for name in sorted(names)
                if held.enter_context(self.store.hold(name, f"hotdesk sweep {self.sweep.number}"))
                and self.store.find(name) is not None
            ]
            others = [name for name in wanted if name not in {*mine, *self._last}]
            # Of a driver that has just begun: what another command acts on is looked at.
            looked = self.clouds.survey(self.sweep.provider) if others else Survey(provider="")
            asks: Mapping[str, Ask] = {}
            shown = {name: looked.of(name) for name in others}
            for _ in range(STEPS_MOST if mine else 0):
                tick = self.reconciler.tick(mine)
                asks, shown = tick.asks, {**shown, **tick.seen}
                if tick.seconds != 0.0:
                    break
        self._asks = {name: f"{ask.what} {ask.why}" for name, ask in asks.items()}
        found: dict[str, SeenMachine] = {}
        reach = {}
        for name in wanted:
            desk = self.store.find(name)
            seen = shown.get(name)
            if desk is not None and (name not in mine or seen is None) and name in self._last:
                # Another command acts on it, or its cloud does not answer: that is no sign that it is gone.
                found[name], reach[name] = self._last[name], self._reach[name]
                continue
            if desk is None or seen is None or name in asks:
                continue
            live = machine_of(desk, seen, self.store.past(desk))
            if live is not None and live.phase is Phase.READY and self._proven(desk, live):
                with contextlib.suppress(Refused):  # it disappeared between two surveys
                    reach[name] = self.clouds.provider(desk.provider).access(live)
                    found[name] = self._seen(desk, live)
        self._reach, self._last = reach, found
        return found

    def _row(self, name: str) -> Desk:
        now = self.clock.now()
        provider = self.sweep.provider
        return Desk(
            name=name,
            goal=Goal.RUNNING,
            since=now,
            created_at=now,
            provider=provider,
            want=replace(self.want, image=self.sweep.image),
            offers=tuple(self.clouds.provider(provider).offers(self.want)),
            fresh=True,  # it has no work that could be missing
            idle_minutes=0.0,  # the sweep decides when it goes
            lease_hours=1.0 if cloud(provider).rented else 0.0,
        )

    def _proven(self, desk: Desk, live: Instance) -> bool:
        proof = self.store.past(desk).proof
        step = proof.step if proof else None
        return isinstance(step, Prove) and (step.id, step.started_at) == (live.id, live.started_at)

    def _seen(self, desk: Desk, live: Instance) -> SeenMachine:
        offer = next((o for o in desk.offers if o.instance_type == live.instance_type), desk.offers[0])
        if not cloud(desk.provider).rented:  # all of them are this one computer
            offer = plan.share(offer, self.sweep.machines)
        slots, gpus = int(offer.vcpus) or 1, int(offer.gpu_count)
        return SeenMachine(
            instance=f"{live.id}@{live.started_at!r}",
            address=self._address(desk.name),
            slots=slots,
            gpus=gpus,
            usd_per_hour=live.usd_per_hour,
        )

    def _address(self, name: str) -> str:
        """On this computer each node of a cluster has a loopback address of its own."""
        return f"127.0.0.{int(name.rpartition('-')[2]) + 1}"

    def troubles(self) -> Mapping[str, str]:
        return self._asks

    def present(self, names: Collection[str]) -> set[str]:
        return {name for name in names if self.store.find(name) is not None}

    def cleared(self) -> bool:
        return True  # a desk's row goes when nothing of it is left

    def usd(self, names: Collection[str]) -> float:
        now = self.clock.now()
        return sum(
            compute_usd(self.store.rows(name, limit=None), now, running=name in self._reach) for name in names
        )

    # ---- one of them ---------------------------------------------------------------------------------

    def _python(self, access: Access) -> str:
        return sys.executable
