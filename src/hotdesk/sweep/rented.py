"""A sweep's machines in a cloud: one group of equal ones, launched many at a time from the desk's image.

The group's life is in machines.py; here its machines are reached, over ssh from this computer. Among each
other they use their private addresses.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path

from hotdesk.connect import limits
from hotdesk.core.errors import Failing, HotdeskError, Refused
from hotdesk.core.model import Desk, Goal, Instance, MarketChoice, Offer, Phase
from hotdesk.core.ports import Access, Clock, Fleets, Provider
from hotdesk.core.sweep import group as planning
from hotdesk.core.sweep.group import Group, Member, Wanted
from hotdesk.core.sweep.model import Machine, MachineState, Sweep
from hotdesk.parallel import side_by_side
from hotdesk.sweep import machine as runner
from hotdesk.sweep.machines import Machines, in_order
from hotdesk.sweep.reached import Reached
from hotdesk.sweep.site import SeenMachine

LEASE_HOURS = 1.0  # without a hotdesk that goes on with its sweep, a machine ends itself
RENEW_SECONDS = 900.0
AGAIN_SECONDS = 60.0  # … of one that did not answer
CLOUD_LEASE_SECONDS = 7200.0  # … and where its cloud can end it, that is asked for too
AT_ONCE = 32


@dataclass(kw_only=True, eq=False)
class RentedSite(Reached):
    """See `Site` for what each method promises."""

    sweep: Sweep
    folder: Path
    secrets: Callable[[Sweep], Mapping[str, str]]
    pools: tuple[Offer, ...]
    market: MarketChoice
    machines: Machines
    provider: Provider
    fleets: Fleets
    clock: Clock
    _reach: dict[str, Access] = field(default_factory=dict)
    _group: Group = field(default_factory=Group)
    _wanted: Wanted | None = None
    _was_whole: bool = False  # whether all machines have been up, each at its time
    _known: dict[str, Access] = field(default_factory=dict)  # by machine's id
    _pythons: dict[str, str] = field(default_factory=dict)  # with Ray, by host
    _leased: dict[str, float] = field(default_factory=dict)  # when each was last told its lease

    # ---- all of them ---------------------------------------------------------------------------------

    def confirm(self) -> None:
        self.machines.confirm(self.wanted(()))

    def tick(self, wanted: Sequence[str], released: Collection[str]) -> Mapping[str, SeenMachine]:
        rows = {m.name: m for m in self.machines.store.machines(self.sweep.number)}
        self._was_whole |= sum(bool(m.instance) for m in rows.values()) >= self.sweep.machines
        there = {m.name for m in self.machines.group().members if m.alive}
        # One that is leaving, or lingers, is kept, but not launched again for that.
        absent = {MachineState.LEAVING, MachineState.WARM}
        names = [n for n in wanted if n in there or rows[n].state not in absent]
        self._wanted = self.wanted(names)
        self._group = self.machines.tick(self._wanted)
        found, reach = {}, {}
        for member in self._group.members:
            shown = self.machines.shown(member)
            if not (member.stays and member.phase is Phase.READY and member.name in names and shown):
                continue
            if (access := self._accessed(member, shown)) is None:
                continue
            reach[member.name] = access
            found[member.name] = SeenMachine(
                instance=member.id,
                address=shown.private_ip,
                slots=int(member.offer.vcpus) or 1,
                gpus=int(member.offer.gpu_count),
                usd_per_hour=member.offer.usd_per_hour,
            )
            if rows[member.name].state is MachineState.UP and not member.up:
                self.machines.proved(member)
        self._reach = reach
        self._renew({n for n, m in rows.items() if m.state in {MachineState.WANTED, MachineState.LOST}})
        return found

    def _accessed(self, member: Member, shown: Instance) -> Access | None:
        """How to reach a machine; None until it has shown its host key. Asked once of each but the head."""
        assert self._wanted is not None
        known = self._known.get(member.id)
        if known is None or member.name == self._wanted.names[0]:  # (asking lets our present address in)
            try:
                known = self._known[member.id] = self.provider.access(shown)
            except (Refused, Failing, OSError):  # at the next look
                return known
        return known

    def wanted(self, names: Sequence[str]) -> Wanted:
        return Wanted(
            fleet=self.sweep.fleet,
            desk=self.sweep.desk,
            image_id=self.sweep.image,
            names=in_order(names),
            pools=self.pools,
            market=self.market,
            together=self.sweep.cluster and not self._was_whole,
            most=self.fleets.fleet_most,
            burst=self.fleets.fleet_burst,
            lag_seconds=self.fleets.lag_seconds,
            held=str(self.sweep.hold),
        )

    def troubles(self) -> Mapping[str, str]:
        if self._wanted is None:
            return {}
        why = planning.trouble(self._group, self._wanted, self.clock.now())
        return dict.fromkeys(self._wanted.names, why) if why else {}

    def present(self, names: Collection[str]) -> set[str]:
        return {m.name for m in self.machines.group().members if m.alive and m.name in names}

    def cleared(self) -> bool:
        try:
            return self.machines.clear(self.wanted(()))
        except HotdeskError as error:
            self.machines.on_note(f"Whether machines are left cannot be seen: {error.what} {error.why}")
            return False

    def usd(self, names: Collection[str]) -> float:
        return self._group.usd(self.clock.now())

    def _renew(self, unprepared: Collection[str]) -> None:
        """Tell each machine that its lease goes on: without us it ends itself.

        Those that are not up yet are told when they are prepared; the others at once by a new process, which
        cannot know when they were told last.
        """
        now = self.clock.now()
        never = {n: now if n in unprepared else -inf for n in self._reach}
        due = [n for n in self._reach if now - self._leased.get(n, never[n]) > RENEW_SECONDS]
        answers = side_by_side([partial(self._lease, name) for name in due], AT_ONCE)
        told = [name for name, answer in zip(due, answers, strict=True) if not isinstance(answer, Exception)]
        self._leased |= dict.fromkeys(due, now - RENEW_SECONDS + AGAIN_SECONDS) | dict.fromkeys(told, now)
        if ids := [m.id for m in self._group.members if m.stays and m.name in told]:
            with contextlib.suppress(Exception):  # it is told again before it is due
                self.fleets.renew_fleet(ids, CLOUD_LEASE_SECONDS)

    def _lease(self, name: str) -> None:
        now = self.clock.now()
        desk = Desk(
            name=name, goal=Goal.RUNNING, since=now, created_at=now, idle_minutes=0.0, lease_hours=LEASE_HOURS
        )
        limits.tell(self._access(name), desk, now)

    # ---- one of them ---------------------------------------------------------------------------------

    def prepare(self, sweep: Sweep, machine: Machine, head: Machine) -> None:
        self._lease(machine.name)
        self._leased[machine.name] = self.clock.now()
        super().prepare(sweep, machine, head)

    def _python(self, access: Access) -> str:
        if access.host not in self._pythons:
            self._pythons[access.host] = runner.ray(access).python
        return self._pythons[access.host]

    def _ports(self, sweep: Sweep) -> int:
        return sweep.head_port
