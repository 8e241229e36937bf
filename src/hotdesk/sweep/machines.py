"""Bring a sweep's machines in a cloud about: look, decide by core/sweep/group.py, write down, ask."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from msgspec.structs import replace

from hotdesk.core.backoff import backoff
from hotdesk.core.errors import HotdeskError, Kind, Refused
from hotdesk.core.fleet import FleetOrder, FleetReply, Hold, Shortage
from hotdesk.core.model import Instance, Phase
from hotdesk.core.ports import Clock, Fleets
from hotdesk.core.sweep import group as planning
from hotdesk.core.sweep.group import Asked, Group, Member, Wanted
from hotdesk.sweep.site import TakenOver
from hotdesk.sweep.store import SweepStore
from hotdesk.system import locked

T = TypeVar("T")
REST_SECONDS = 30.0  # between two looks while every machine is as wanted
ACT_SECONDS = 60.0  # how old a look may be by which machines are launched or ended
#: How long a computer that took a sweep over launches and ends nothing: the one before sees that by then.
SETTLE_SECONDS = 90.0


@dataclass(kw_only=True, eq=False)
class Machines:
    """One sweep's machines. Every change is in the sweep's file before it is asked for."""

    number: int
    region: str
    provider: Fleets
    store: SweepStore
    clock: Clock
    hold: Hold = field(default_factory=Hold)
    held_at: float = 0.0
    on_note: Callable[[str], None] = lambda text: None
    _shown: dict[str, Instance] = field(default_factory=dict)  # as last looked at
    _looked: float = float("-inf")
    _later: float = float("-inf")  # nothing is asked for before
    _refused: int = 0  # answers in a row that were none
    _noted: str = ""

    def group(self) -> Group:
        return self.store.group(self.number)

    def tick(self, wanted: Wanted) -> Group:
        """One look where it is due, and what follows from it; the group as it is then.

        Raises `HotdeskError` where the cloud cannot be looked at.
        """
        group = self.group()
        if 0 <= self.clock.now() - self._looked < self._pace(group, wanted):
            return group
        group = self.look(group, wanted)
        group = self._save(group, planning.bound(group, wanted.names))
        if self.hold.number and self.clock.now() - self.held_at < SETTLE_SECONDS:
            return group
        if self._is_old():  # its answer was long in coming: this computer may have slept since it was true
            return group
        group = self._end(group, wanted)
        for _ in range(len(wanted.names) + 2):  # an order for the head, and one for each thousand others
            order = planning.next_order(group, wanted, self.clock.now())
            if order is None or self.clock.now() < self._later or self._is_old():
                break
            group = self._launch(group, order)
            group = self._save(group, planning.bound(group, wanted.names))
        self._tell(group, wanted)
        return group

    def look(self, group: Group, wanted: Wanted) -> Group:
        """The group as its cloud shows it now."""
        asked_at = self.clock.now()  # what the answer shows may be as old as the question
        found = self._asked(lambda: self.provider.fleet(wanted.fleet, self.region))
        self._looked = asked_at
        self._shown = {i.id: i for i in found}
        self._mind_all(group, found, wanted, acts=bool(wanted.names))
        return self._save(group, planning.looked(group, found, wanted, self.clock.now()))

    def confirm(self, wanted: Wanted) -> None:
        """See that no other computer goes on with the sweep. Raises `TakenOver`, `HotdeskError`."""
        group = self.group()
        if not group.asked and not group.members:
            return
        found = self._asked(lambda: self.provider.fleet(wanted.fleet, self.region))
        self._mind_all(group, found, wanted, acts=True)

    def _mind_all(self, group: Group, found: Iterable[Instance], wanted: Wanted, *, acts: bool) -> None:
        """Raises `TakenOver` by what the machines say; before we act where none can tell, by the image.

        One that lives, and was seen before this look, can: whoever took the sweep over has marked it. One
        that this computer has launched since cannot.
        """
        for machine in found:
            self._mind(Hold.read(self.provider.holds.tags(machine.id).get("held", "")))
        known = {member.id for member in group.members if member.seen}
        if acts and known and not any(m.id in known and m.phase is not Phase.ENDED for m in found):
            holds = self.provider.holds
            self._mind(self._asked(lambda: holds.of_image(wanted.fleet, wanted.image_id)))

    def _mind(self, hold: Hold) -> None:
        if hold.ends(self.hold):
            raise TakenOver(hold)

    def _is_old(self) -> bool:
        """Whether the last look is too long ago: this computer may have slept since."""
        return not 0 <= self.clock.now() - self._looked <= ACT_SECONDS

    def shown(self, member: Member) -> Instance | None:
        return self._shown.get(member.id)

    def proved(self, member: Member) -> None:
        """Its runner answers."""
        group = self.group()
        members = tuple(replace(m, up=True) if m.id == member.id else m for m in group.members)
        self._save(group, replace(group, members=members))

    def clear(self, wanted: Wanted) -> bool:
        """Whether a look shows that nothing is left; what the group needed besides is deleted then."""
        group = self.group()
        if not group.members and not group.asked:
            return True
        if group.alive or group.unanswered:
            return False
        self._asked(lambda: self.provider.clear_fleet(wanted.fleet, self.region))
        if self.hold.number:
            self._settle(wanted)
        return True

    def _settle(self, wanted: Wanted) -> None:
        """Make room on the image for the marks of others. It is only room: a failure changes nothing."""
        mine = [
            s
            for s in self.store.sweeps()
            if s.image == wanted.image_id and s.hold.number and not s.away and s.over_at
        ]
        over = {**{s.fleet: s.hold for s in mine}, wanted.fleet: self.hold}
        with contextlib.ExitStack() as held, contextlib.suppress(HotdeskError):
            if self.store.folder:  # another process here may bring a sweep to its end too
                held.enter_context(locked(self.store.folder / "sweeps.marks"))
            self._asked(lambda: self.provider.holds.settle(wanted.image_id, over))

    def _pace(self, group: Group, wanted: Wanted) -> float:
        """Seconds between two looks: seldom while all is as wanted."""
        stays = [m for m in group.alive if m.stays and m.up]
        settled = {m.name for m in stays} == {*wanted.names} and len(stays) == len(group.alive)
        over = not wanted.names and not group.alive and not group.unanswered
        return REST_SECONDS if settled or (over and group.asked) else self.provider.poll_seconds

    def _end(self, group: Group, wanted: Wanted) -> Group:
        """Ask for the end of what is not wanted. Repeated until a look shows it."""
        now = self.clock.now()
        again = max(self.provider.lag_seconds, self.provider.poll_seconds)
        over = planning.to_end(group, wanted.names, now, again)
        if not over:
            return group
        group = self._save(group, planning.ending(group, {m.id for m in over}, now))
        for m in over:
            if m.name in wanted.names and not m.ending_at:
                self.on_note(f"{m.name} ({m.id}) does not answer, and is replaced.")
        try:
            self._asked(lambda: self.provider.end_fleet([m.id for m in over]))
        except HotdeskError as error:
            self.on_note(f"{len(over)} machines could not be ended yet: {error.what} {error.why}")
        return group

    def _launch(self, group: Group, order: FleetOrder) -> Group:
        """Send an order, which is written down before; and what became of it after."""
        others = [a for a in group.asked if a.order.token != order.token]
        asked = Asked(order=order, at=self.clock.now())  # again, too: what it launches is listed from now on
        group = self._save(group, replace(group, asked=(*others, asked)))
        try:
            reply = self.provider.launch_fleet(order)
        except Refused as no:
            if no.kind in {Kind.THROTTLED, Kind.NOT_READY}:
                return self._wait(group, no.message)
            if no.kind is Kind.MISMATCH:
                return self._taken(group, order)
            lacks = [
                Shortage(key=o.key, kind=no.kind, message=no.message, seconds=no.seconds)
                for o in order.offers
            ]
            reply = FleetReply(shortages=tuple(lacks))
        except Exception as error:  # it may have launched them: the same is asked again, or they are seen
            return self._wait(group, f"{type(error).__name__}: {error}")
        group = self._save(group, planning.replied(group, order, reply, self.clock.now()))
        if not reply.machines and not reply.shortages:
            return self._wait(group, "nothing was launched, and no reason was given")
        self._refused = 0
        return group

    def _taken(self, group: Group, order: FleetOrder) -> Group:
        """The cloud had taken the order before: what it launched is listed within the lag, or is gone."""
        now = self.clock.now()
        self._later = now + max(self.provider.lag_seconds, self.provider.poll_seconds)
        self.on_note(
            "An order of machines was carried out before: those that are left of it are listed soon."
        )
        return self._save(group, planning.replied(group, order, FleetReply(), now))

    def _wait(self, group: Group, why: str) -> Group:
        self._refused += 1
        seconds = backoff(self._refused, f"{self.number}/{self.clock.now()}")
        self._later = self.clock.now() + seconds
        self.on_note(f"An order of machines came to nothing, and is sent again in {seconds:.0f} s: {why}")
        return group

    def _tell(self, group: Group, wanted: Wanted) -> None:
        """Say once why machines are missing."""
        lacks = planning.shortage(group, wanted.names, self.clock.now())
        said = ""
        if lacks:
            why = next(iter(lacks.values()))
            said = f"{len(lacks)} of {len(wanted.names)} machines cannot be had now: {why}"
        if said and said != self._noted:
            self.on_note(said)
        self._noted = said

    def _asked(self, call: Callable[[], T]) -> T:
        """What a call answers. Raises `HotdeskError` for every failure."""
        try:
            return call()
        except HotdeskError:
            raise
        except Refused as no:
            raise HotdeskError("The cloud refuses.", no.message, no.fix) from no
        except Exception as error:  # any error: the request may have had its effect, and is made again
            why = f"{type(error).__name__}: {error}"
            raise HotdeskError("The cloud does not answer.", why, "") from error

    def _save(self, before: Group, after: Group) -> Group:
        if after is not before:
            self.store.put_group(self.number, before, after)
        return after


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Names of a sweep's machines by their numbers: the head's first."""
    return tuple(sorted(names, key=lambda name: int(name.rpartition("-")[2])))
