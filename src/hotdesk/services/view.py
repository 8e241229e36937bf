"""The state of a desk as one value, which every door renders in its own way."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import HotdeskError, NeedsDecision, Refused, Unreachable
from hotdesk.core.findings import Remark
from hotdesk.core.lifecycle.adopt import adoptable
from hotdesk.core.lifecycle.descent import described, machine_of, own
from hotdesk.core.lifecycle.ending import end_of
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.lifecycle.shutdown import left, powered
from hotdesk.core.model import Desk, Disk, EndedBy, Goal, Image, Instance, Phase, Seen, Stored, Value
from hotdesk.core.money import Amount, in_same
from hotdesk.core.ports import Access, Clock, Watched
from hotdesk.loop.clouds import Clouds
from hotdesk.services import idle_times
from hotdesk.services.explain import question_of
from hotdesk.services.limits import idle_words
from hotdesk.services.spent import Spent
from hotdesk.state.store import Store


class Public(Value, frozen=True):
    """A Jupyter that can be reached without a tunnel."""

    url: str
    fingerprint: str  # of its certificate, SHA-256
    open_to: tuple[str, ...]  # ranges of addresses


class View(Value, frozen=True, omit_defaults=False):
    """The state of a desk: its row, and what a survey shows of it."""

    name: str
    goal: Goal
    phase: str  # of its machine; without one: parked, saving, none; unknown where it cannot be looked for
    provider: str
    region: str = ""
    zone: str = ""
    instance_type: str = ""
    market: str = ""
    gpu: str = ""
    usd_per_hour: float = 0.0
    told_per_hour: Amount | None = None  # as its cloud tells it, if not in US dollars
    charged_while_off: bool = False  # whether that is charged although the machine is off
    price_time: float | None = None  # when that was so, where its cloud did not tell it
    usd_per_month: float = 0.0  # of disks and images
    told_per_month: Amount | None = None  # likewise
    cost_usd: float = 0.0  # of its machines, so far
    cost_told: Amount | None = None  # the same in its cloud's currency, if not in US dollars
    notebook: str = ""  # Jupyter's address, when it can be opened from here
    ssh: str = ""
    image: str = ""  # the newest verified image
    image_time: float | None = None
    why: str = ""  # what is behind this phase
    ended_by: EndedBy = EndedBy.UNKNOWN  # who turned its machine off
    holder: str = ""  # the process that acts on it now
    since: float = 0.0  # its machine runs, by its cloud's clock; without one: its goal is what it is
    idle: str = ""  # when it ends itself: "never", "45 min", and the lease or deadline beside it
    idle_seconds: float | None = None  # nothing has worked there for so long, as was last known; None: never
    idle_at: float | None = None  # when that was known, by this computer's clock
    released_at: float = 0.0  # when its cloud deletes the machine, unless that is put off; 0: never
    ends_at: float = 0.0  # when its cloud ends the machine in any case; 0: no time is known
    open_to: tuple[str, ...] = ()  # who can reach its Jupyter without a tunnel: ranges of addresses
    elsewhere: bool = False  # this computer has no row of it: another has
    left: bool = False  # its machine has ended itself, and what is left is to be parked
    kept: tuple[str, ...] = ()  # what else holds work under its name, from another beginning, in words
    in_use: str = ""  # the machine of somebody else's that has its disk
    stays_seconds: float = 0.0  # for which neither idleness nor its lease ends it; of `show` only
    remarks: tuple[Remark, ...] = ()  # what it says of itself; of `up`, `move` and `show` only
    public: Public | None = None  # its Jupyter, where this very call has opened it

    @property
    def state(self) -> str:
        """The phase as it stands in a sentence: "blue is …"."""
        if self.phase == "none":
            return "gone" if self.goal is Goal.GONE else "without a machine"
        return {"ready": "up", "unknown": "in an unknown state"}.get(self.phase, self.phase)


def view_of(
    desk: Desk,
    seen: Seen,
    *,
    access: Access | None,
    cost_usd: float,
    holder: str,
    idle: str,
    left: bool,
    ends_at: float = 0.0,
    idle_known: idle_times.Known | None = None,
) -> View:
    """A desk's row and what is seen of it. `access`: how to reach its machine, when it can be reached."""
    machine, image = seen.live, seen.newest
    stored: list[Disk | Image] = [*seen.disks, *seen.images]
    stored += [t for t in seen.strays if not isinstance(t, Instance)]
    charged = machine if machine and (powered(machine) or machine.charged_while_off) else None
    return View(
        name=desk.name,
        goal=desk.goal,
        phase=_phase(machine, image, seen),
        provider=desk.provider,
        region=machine.region if machine else image.region if image else "",
        zone=machine.zone if machine else "",
        instance_type=machine.instance_type if machine else "",
        market=machine.market if machine else "",
        gpu=machine.gpu if machine else "",
        usd_per_hour=charged.usd_per_hour if charged else 0.0,
        told_per_hour=charged.told_per_hour if charged else None,
        charged_while_off=bool(charged and not powered(charged)),
        price_time=charged.price_time if charged else None,
        usd_per_month=sum(thing.usd_per_month for thing in stored),
        told_per_month=_told_per_month(stored),
        cost_usd=cost_usd,
        cost_told=next((told for o in desk.offers if (told := in_same(cost_usd, o))), None),
        notebook=f"http://127.0.0.1:{access.notebook_port}/lab" if access and access.notebook_here else "",
        ssh=_ssh_line(access) if access else "",
        image=image.id if image else "",
        image_time=image.taken_at if image else None,
        why=machine.reason if machine else _unseen(seen),
        ended_by=machine.ended_by if machine else EndedBy.UNKNOWN,
        holder=holder,
        since=(machine.started_at if machine and powered(machine) else 0.0) or desk.since,
        idle=idle,
        idle_seconds=idle_known.seconds if idle_known else None,
        idle_at=idle_known.at if idle_known else None,
        released_at=machine.released_at if machine else 0.0,
        ends_at=ends_at,
        open_to=machine.open_to if machine and desk.public and powered(machine) else (),
        left=left,
        kept=tuple(described(t) for t in _beside(seen)),
        in_use=next((d.held_by for d in seen.disks if d.held_by), ""),
    )


def _told_per_month(stored: Sequence[Stored]) -> Amount | None:
    """What disks and images cost in the currency in which all of them are told; None: dollars."""
    units = {thing.told_per_usd for thing in stored if thing.usd_per_month}
    unit = units.pop() if len(units) == 1 else None
    return unit and unit.times(sum(thing.usd_per_month for thing in stored))


def _beside(seen: Seen) -> list[Instance | Disk | Image]:
    """What holds work of another beginning: all that is not this desk's, or, undecided, every end."""
    every: list[Instance | Disk | Image] = [*seen.machines, *seen.disks, *seen.images]
    return [*seen.strays, *(t for t in every if t.id in seen.rivals)]


def _phase(machine: Instance | None, image: Image | None, seen: Seen) -> str:
    if machine is not None:
        return str(machine.phase)
    if seen.unread:
        return "unknown"
    if any(d.phase is not Phase.ENDING and not d.held_by for d in seen.disks):
        return "saving"
    return "parked" if image else "saving" if seen.images else "none"


def _unseen(seen: Seen) -> str:
    """Why a desk's state is unknown, or it cannot be used."""
    if held := next((d for d in seen.disks if d.held_by), None):
        return f"its disk {held.id} is in use at {held.held_by}"
    return seen.closed or (f"{', '.join(seen.unread)} did not answer" if seen.unread else "")


def _ssh_line(access: Access) -> str:
    from hotdesk.connect import ssh

    try:
        return shlex.join(ssh.printed(access))
    except HotdeskError:  # there is no ssh on this computer
        return ""


@dataclass(kw_only=True, eq=False)
class Views:
    """Surveys desks and describes each as a `View`."""

    store: Store
    clock: Clock
    clouds: Clouds
    _reached: dict[str, Access] = field(default_factory=dict, init=False)  # by desk, at the last look
    _spent: Spent = field(init=False)

    def __post_init__(self) -> None:
        self._spent = Spent(store=self.store, clock=self.clock)

    def of(self, desk: Desk, seen: Seen) -> View:
        """The view of a desk, from what is seen of it."""
        self._spent.look()
        return self._of(desk, seen)

    def _of(self, desk: Desk, seen: Seen) -> View:
        past = self.store.unread_past(desk)
        machine = machine_of(desk, seen, past)
        access = None
        if machine is not None and machine.phase is Phase.READY:
            with contextlib.suppress(HotdeskError, Refused, OSError):  # it went away between two looks
                access = self.clouds.provider(desk.provider).access(machine)
        if access:
            self._reached[desk.name] = access
        else:
            self._reached.pop(desk.name, None)
        seen = own(desk, seen, past)
        return view_of(
            desk,
            seen,
            access=access,
            cost_usd=self._spent.usd(desk, powered(machine)),
            holder=self.store.holder(desk.name),
            idle=idle_words(desk, self.clock.now()),
            left=left(desk, seen, past) is not None,
            ends_at=end_of(machine, self.clock.now()) if machine else 0.0,
            idle_known=self._idle(desk, machine, past) if access and machine else None,
        )

    def idle(self, desk: Desk, view: View) -> View:
        """The view, with what was heard of its idle time since."""
        heard = self._heard(desk, self.store.past(desk))
        if heard is None or (view.idle_at or 0.0) >= heard.at:
            return view
        return msgspec.structs.replace(view, idle_seconds=heard.seconds, idle_at=heard.at)

    def _idle(self, desk: Desk, machine: Instance, past: Past) -> idle_times.Known | None:
        """How long nothing has worked at a desk that runs."""
        provider = self.clouds.provider(desk.provider)
        if isinstance(provider, Watched):
            return idle_times.surveyed(provider, machine.id, self.clock.now())
        return self._heard(desk, past)

    def _heard(self, desk: Desk, past: Past) -> idle_times.Known | None:
        return idle_times.heard(self.store, desk.name, past.proof.at if past.proof else desk.created_at)

    def reached(self) -> dict[str, Access]:
        """The rented desks that ran at the last look, and how to reach them."""
        return {name: access for name, access in self._reached.items() if not access.supervised}

    def all(self, desks: list[Desk]) -> list[View]:
        """Views of these desks, then of those only other computers know; one survey per cloud in use."""
        looks = self.clouds.look_at_each({d.provider for d in desks})
        surveys = {name: look.by_desk() for name, look in looks.items()}
        self._spent.look()
        known = [self._of(d, surveys[d.provider].get(d.name, looks[d.provider].nothing)) for d in desks]
        self._spent.keep()
        for name in (n for n in self.clouds.in_use(desks) - surveys.keys() if cloud(n).rented):
            with contextlib.suppress(HotdeskError):  # none of these desks is there: it is no error of theirs
                surveys[name] = self.clouds.survey(name).by_desk()
        names, now = {desk.name for desk in desks}, self.clock.now()
        return known + [
            msgspec.structs.replace(self._of(desk, seen), elsewhere=True)
            for provider, by_desk in sorted(surveys.items())
            for name, seen in sorted(by_desk.items())
            if name not in names and (desk := adoptable(name, seen, provider, now))
        ]

    def proven(self, desk: Desk) -> Access:
        """How to reach a desk that a verb has just brought up, without another look. Raises as `access`."""
        return self._reached.get(desk.name) or self.access(desk)

    def access(self, desk: Desk) -> Access:
        """How to reach a running desk. Raises `NeedsDecision`, with a command to start it, if it is not."""
        seen = self.clouds.survey(desk.provider).of(desk.name)
        machine = machine_of(desk, seen, self.store.past(desk))
        if machine is None or machine.phase is not Phase.READY:
            raise self._closed(desk, seen)
        try:
            return self.clouds.provider(desk.provider).access(machine)
        except Refused as refused:
            raise question_of(refused, f"{desk.name} cannot be reached.") from refused

    def _closed(self, desk: Desk, seen: Seen) -> HotdeskError:
        """The error when there is no machine to connect to, with the command that gets one."""
        view = self.of(desk, seen)
        if view.phase == "unknown":
            fix = seen.closed_fix or "hotdesk ls"
            return Unreachable(f"{desk.name} is {view.state}.", f"{view.why.rstrip('.')}.", fix)
        verb = "resume" if view.phase == "parked" else "up"
        return NeedsDecision(
            f"{desk.name} is {view.state}.",
            view.why or "Only a running desk has a machine to connect to.",
            f"hotdesk {verb} {desk.name}",
        )
