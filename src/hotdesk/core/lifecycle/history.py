"""Per-desk index over the journal, for the planner's questions.

`Past` is rebuilt from journal rows; the planner only reads it. A row is added twice: when its step began,
and again when it ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property

from hotdesk.core.errors import SCARCE, Kind
from hotdesk.core.model import Instance, Offer, Phase, Scope, Seen
from hotdesk.core.steps import (
    Bake,
    Bring,
    Copy,
    Delete,
    Grow,
    Hand,
    Hold,
    Launch,
    Prove,
    Refusal,
    Retype,
    Row,
    Start,
    Stop,
    Unsure,
    Verify,
)

#: Refusals that a person can fix at once.
_MENDED = frozenset({Kind.DENIED, Kind.BAD_REQUEST})

#: What is derived from launches and logins, and kept until the next one.
_OF_MACHINES = frozenset({"recent_machines", "machines", "in_use", "_ordered"})

#: How long after its reply was lost a request may still be carried out.
IN_FLIGHT_SECONDS = 60.0


class Past:
    def __init__(self, rows: Iterable[Row] = (), earlier: Callable[[], Iterable[Row]] = tuple) -> None:
        """`earlier`: the rows of previous, deleted desks of this name.

        They may be many, and are read only if a machine is seen that this desk did not launch.
        """
        self.last: dict[str, Row] = {}  # by step key
        self.launch: Row | None = None  # the last launch
        self.power: Row | None = None  # the last launch or start
        self.proof: Row | None = None  # the last proven login
        self.brought: Row | None = None  # the last arrival of its work at a machine
        self.made_at = 0.0  # when anything was last made or requested
        self.proven: set[str] = set()  # machines that were ever logged into
        self._recent: dict[int, Row] = {}  # begun or ended lately: what a survey may not show yet
        self._begun: dict[str, dict[int, float]] = {}  # by step key: when each row was begun
        self._launches: dict[int, Row] = {}
        self._refusals: dict[str, Row] = {}  # by offer key
        self._scopes: dict[Scope, Row] = {}  # of refusals that apply to more than one offer
        self._holds: dict[str, Row] = {}  # the last request for a placeholder, by offer key
        self._released: set[str] = set()  # placeholders and others that were deleted
        self._too_busy: dict[int, Row] = {}  # rows that the cloud was too busy for
        self._answered: set[int] = set()  # rows with any other outcome
        self._earlier = earlier
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Add a row that was begun or has ended, in any order."""
        step, key = row.step, row.step.key
        self._recent[row.id] = row
        self._begun.setdefault(key, {})[row.id] = row.at
        self.last[key] = _later(self.last.get(key), row)
        if isinstance(step, Launch | Prove):
            for derived in _OF_MACHINES & vars(self).keys():
                del vars(self)[derived]
        if isinstance(step, Launch | Bake | Copy):
            self.made_at = max(self.made_at, row.at, row.ended_at or 0.0)
        match step:
            case Launch(order=order):
                self._launches[row.id] = row
                self.launch = _later(self.launch, row)
                self.power = _later(self.power, row)
                if (no := row.refusal) and no.of_offer:
                    key = order.offer.key
                    self._refusals[key] = _longer(self._refusals.get(key), row)
                    if scope := no.scope:
                        self._scopes[scope] = _longer(self._scopes.get(scope), row)
            case Hold(order=order):
                self._holds[order.offer.key] = _later(self._holds.get(order.offer.key), row)
                if (no := row.refusal) and no.kind is Kind.NO_CAPACITY:
                    self._refusals[order.offer.key] = _longer(self._refusals.get(order.offer.key), row)
            case Delete(id=id_) if row.done and self._holds:
                self._released.add(id_)
            case Start(id=id_):
                self._begun.setdefault(f"start:{id_}", {})[row.id] = row.at
                self.power = _later(self.power, row)
            case Bring() if row.done:
                self.brought = _later(self.brought, row)
            case Hand() if row.done:  # what was done before is in the listings of another place
                self._recent = {id_: r for id_, r in self._recent.items() if id_ >= row.id or not r.outcome}
            case Prove(id=id_) if row.done:
                self.proof = _later(self.proof, row)
                self.proven.add(id_)
                self.proven |= {step.name} - {""}

        if isinstance(row.outcome, Refusal | Unsure) and row.outcome.kind is Kind.THROTTLED:
            self._too_busy[row.id] = row
            self._answered.discard(row.id)
        elif row.outcome:
            self._answered.add(row.id)
            self._too_busy.pop(row.id, None)

    @property
    def _put_off(self) -> list[Row]:
        """The latest rows that the cloud was too busy for, without any other answer since; in any order."""
        answered = max(self._answered, default=0) if self._too_busy else 0
        return [row for id_, row in self._too_busy.items() if id_ > answered]

    @property
    def put_off_times(self) -> int:
        """Number of consecutive steps that the cloud was too busy for, up to the last one that ended."""
        return len(self._put_off)

    def too_busy(self, since: float, now: float) -> Refusal | Unsure | None:
        """The last "too busy" answer since then, if its back-off time has not passed."""
        row = max(self._put_off, key=lambda r: r.id, default=None)
        if row is None or row.at < since or not isinstance(row.outcome, Refusal | Unsure):
            return None
        return row.outcome if row.outcome.until > now else None

    def undated(self, now: float) -> list[Row]:
        """Steps without a recorded end, or with one in the future (the clock was set back since)."""
        return [r for r in self._recent.values() if r.ended_at is None or r.ended_at > now]

    def refusal(self, offer: Offer, now: float, since: float = 0.0, retried: float = 0.0) -> Refusal | None:
        """Why this offer was refused, if the refusal is still valid.

        Refusals that a person can fix at once (a permission, a network) count only since `since`: asking
        again implies that the cause was fixed. What was sold out or over a quota counts since `retried`.
        """
        own = self._refusals.get(offer.key)
        for row in [*([own] if own else []), *(r for s, r in self._scopes.items() if s.covers(offer))]:
            no = row.refusal
            counts = since if no and no.kind in _MENDED else retried if no and no.kind in SCARCE else 0.0
            if no and no.until > now and row.at >= counts:
                return no
        return None

    @property
    def held(self) -> Row | None:
        """The last placeholder that was granted, if it was not deleted since."""
        granted = (row for row in self._holds.values() if row.made and row.made not in self._released)
        return max(granted, key=lambda row: row.id, default=None)

    def hold_of(self, offer: Offer) -> Row | None:
        """The last request for a placeholder there."""
        return self._holds.get(offer.key)

    def no_placeholder(self, offer: Offer, now: float) -> Kind | None:
        """Why one was refused there, if that is not for want of capacity: a launch need not be refused."""
        row = self._holds.get(offer.key)
        no = row.refusal if row else None
        return no.kind if no and no.kind is not Kind.NO_CAPACITY and no.until > now else None

    def refused(
        self, offers: Iterable[Offer], now: float, since: float = 0.0, retried: float = 0.0
    ) -> dict[str, Refusal]:
        """The refusals of these offers that are still valid, by offer key; see `refusal`."""
        found = {offer.key: self.refusal(offer, now, since, retried) for offer in offers}
        return {key: no for key, no in found.items() if no}

    def refuses(self, now: float) -> bool:
        """Whether any refusal of an offer is still to be believed."""
        return any(row.refusal and row.refusal.until > now for row in self._refusals.values())

    def begun(self, key: str, since: float) -> int:
        """How often a step of this key was begun since then; "start:ID" counts every start of a machine.

        Attempts that the cloud was too busy for do not count: they say nothing about the step.
        """
        begun = self._begun.get(key, {})
        return sum(at >= since and id_ not in self._too_busy for id_, at in begun.items())

    def ever_begun(self, key: str) -> bool:
        """Whether a step of this key may ever have had an effect."""
        return key in self._begun

    def launched(self, since: float) -> int:
        """Number of launches that succeeded since then."""
        return sum(row.at >= since and row.done for row in self._launches.values())

    def put_off(self, since: float) -> int:
        """Number of launches refused as not-ready since then and since the last login."""
        since = max(since, self.proof.at if self.proof else since)
        refusals = [row.refusal for row in self._launches.values() if row.at >= since]
        return sum(no is not None and no.kind is Kind.NOT_READY for no in refusals)

    @cached_property
    def recent_machines(self) -> list[frozenset[str]]:
        """The machines that were launched or logged into here, latest first, each as its possible keys."""
        found: list[tuple[float, int, tuple[str, ...]]] = []
        for row in self._launches.values():
            if not row.refused and isinstance(row.step, Launch):
                found.append((row.at, row.id, (row.step.order.name, row.made)))
        if self.proof and isinstance(self.proof.step, Prove):
            found.append((self.proof.at, self.proof.id, (self.proof.step.id, self.proof.step.name)))
        return [_keys(*names) for _, _, names in sorted(found, reverse=True)]

    @cached_property
    def machines(self) -> frozenset[str]:
        """Keys of all machines that this journal ordered for the desk."""
        rows = [r for r in self._launches.values() if not r.refused and isinstance(r.step, Launch)]
        return frozenset[str]().union(
            *(_keys(r.step.order.name, r.made) for r in rows)  # type: ignore[union-attr]
        )

    @cached_property
    def in_use(self) -> frozenset[str]:
        """Keys of the machines that were reported to a user on this computer."""
        return _keys(*self.proven)

    def made(self, instance: Instance) -> bool:
        """Whether this journal ordered that machine: its name is unique to the order."""
        return instance.name in self._ordered

    @cached_property
    def _ordered(self) -> frozenset[str]:
        """The names of all machines that this journal asked for."""
        return frozenset(r.step.order.name for r in self._launches.values() if isinstance(r.step, Launch))

    def let_go(self, instance: Instance) -> bool:
        """Whether that machine belonged to an earlier desk of this name that was deleted on this computer."""
        return instance.id in self._gone or instance.name in self._gone

    @cached_property
    def _gone(self) -> frozenset[str]:
        """The machines of earlier desks, by id and by name."""
        found = set()
        for row in self._earlier():
            match row.step:
                case Launch(order=order):
                    found.add(order.name)
                case Prove(id=id_) | Delete(id=id_):
                    found.add(id_)
        return frozenset(found)

    def powered(self, instance: Instance) -> bool:
        """Whether the journal's last launch or start is of this machine."""
        step = self.power.step if self.power else None
        match step:
            case Launch(order=order):
                return order.name == instance.name
            case Start(id=id_):
                return id_ == instance.id
        return False

    def unsettled(self, seen: Seen, now: float) -> Row | None:
        """A step whose effect may exist although this survey does not show it.

        A listing may lag behind a change by `seen.lag_seconds`; nothing may be concluded from absence before
        that, even if an earlier survey showed the effect (the next may be answered by another replica).
        `now` is from before the survey was taken.
        """
        lagging = None
        for row in list(self._recent.values()):
            if row.refused or now - _ended(row) >= seen.lag_seconds:
                if row.outcome is not None:
                    del self._recent[row.id]
            elif not _shows(row, seen):
                lagging = lagging or row
        return lagging

    def under_way(self, seen: Seen, now: float) -> Row | None:
        """The last launch, if nobody knows whether it is still to happen.

        A request whose reply was lost, or whose process died, may be carried out `IN_FLIGHT_SECONDS` later.
        To send the same order again is safe at any time; another launch is not, nor is to count on none.
        Once somebody was logged in to its machine, it was carried out, whatever became of that machine since:
        a listing may lag behind that alone.
        """
        row = self.launch
        if row is None or not row.unsure or _shows(row, seen) or seen.linear:
            return None  # `linear`: on this computer a request ends with its process
        since, seconds = _ended(row), seen.lag_seconds + IN_FLIGHT_SECONDS
        login = self.proof.step if self.proof and self.proof.id > row.id else None
        if isinstance(login, Prove) and isinstance(row.step, Launch) and login.name == row.step.order.name:
            assert self.proof is not None
            since, seconds = self.proof.at, seen.lag_seconds
        return row if 0 <= now - since < seconds else None


class Unread(Past):
    """A past whose rows are read when a question needs them: a listing mostly needs the last login alone."""

    def __init__(self, read: Callable[[], Past], last_login: Callable[[], Row | None]) -> None:
        self._read, self._last_login = read, last_login

    def __getattr__(self, name: str) -> object:  # only for what is not there yet
        if name == "proof":
            self.proof = self._last_login()
        elif name.startswith("__"):
            raise AttributeError(name)
        else:
            vars(self).update(vars(self._read()))
        return vars(self)[name]


def _keys(*names: str) -> frozenset[str]:
    return frozenset(name.rpartition("-")[2] for name in names if name)


def _later(known: Row | None, row: Row) -> Row:
    return row if known is None or row.id >= known.id else known


def _longer(known: Row | None, row: Row) -> Row:
    """The refusal that is valid for longer; of equals the later row, in any order."""

    def until(of: Row) -> tuple[float, int]:
        return (of.refusal.until if of.refusal else 0.0, of.id)

    return known if known and until(known) > until(row) else row


def _ended(row: Row) -> float:
    """When its outcome was known; when it began, if it is not."""
    return row.at if row.ended_at is None else row.ended_at


def _shows(row: Row, seen: Seen) -> bool:
    """Whether the survey shows the effect of a step that was taken."""
    match row.step:
        case Launch(order=order):
            return order.name in seen.names or any(i.id == row.made for i in seen.instances)
        case Hold(order=order):
            return any(thing.machine == order.name or thing.id == row.made for thing in seen.leftovers)
        case Start(id=id_, started_at=before):
            return any(
                i.id == id_ and (i.phase is not Phase.STOPPED or i.started_at != before)
                for i in seen.instances
            )
        case Stop(id=id_, started_at=before):
            return any(
                i.id == id_ and (i.phase not in {Phase.READY, Phase.PENDING} or i.started_at != before)
                for i in seen.instances
            )
        case Retype(id=id_, offer=offer, generation=generation):
            return any(
                i.id == id_ and i.instance_type == offer.instance_type and i.retyped_for >= generation
                for i in seen.instances
            )
        case Grow(id=id_, gib=gib):
            return any(i.id == id_ and i.growable_gib >= gib for i in seen.instances)
        case Bake(order=bake):
            return any(i.name == bake.name for i in seen.images)
        case Copy(name=name, region=region):
            return any(i.name == name and i.region == region for i in seen.images)
        case Verify(id=id_):
            return all(i.id != id_ or i.verified or i.phase is not Phase.READY for i in seen.images)
        case Delete(id=id_, keep_disk=True):
            # Between the end of a machine and the listing of its disk, the work is not listed anywhere.
            return any(d.instance_id == id_ for d in seen.disks)
        case Delete(id=id_):
            gone = all(i.id != id_ or i.phase in {Phase.ENDING, Phase.ENDED} for i in seen.instances)
            left = [t for t in seen.leftovers if t.phase is not Phase.ENDING]
            return gone and id_ not in {t.id for g in (seen.disks, seen.images, left) for t in g}
    return True
