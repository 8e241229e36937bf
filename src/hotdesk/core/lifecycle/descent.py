"""Which copies hold which work, decided by descent, never by generation numbers.

Every machine carries its *line*: the saves that it descends from, each as the machine that was saved and
that machine's start (`mark`). An image carries the line of its machine, and is itself the next mark. So one
copy holds the work of another exactly if the other is on its line. Generation numbers cannot tell a desk
that was continued from one that was started anew with --fresh, or under the same name on a computer that did
not see the first.

For resources older than lines, the image that a machine was launched from and the machine that an image
shows are used instead. If descent is unknown, both copies are kept.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime

from msgspec.structs import replace

from hotdesk.core.lifecycle.history import Past
from hotdesk.core.model import Desk, Disk, Goal, Image, Instance, Leftover, Phase, Seen
from hotdesk.core.money import shown
from hotdesk.core.steps import Prove

Holder = Instance | Disk | Image

#: Kinds of leftovers that may hold work.
_HOLDING = frozenset({"snapshot", "disk"})

#: Later than any start: for a machine that has ended.
FINAL = math.inf


def key(name: str) -> str:
    """The last part of a machine's name or id, which is unique within its desk."""
    return name.rpartition("-")[2]


def mark(image: Image) -> str:
    """An image's entry in the line of a machine launched from it: its machine, and that machine's start."""
    return marked(image.machine or image.source_id, _shows(image))


def marked(machine: str, started_at: float) -> str:
    return f"{key(machine)}@{started_at!r}"


def extended(image: Image) -> tuple[str, ...]:
    """The line of a machine that is launched from an image."""
    return (*(image.line or ()), mark(image))


def _parsed(line: Iterable[str] | None) -> dict[str, float]:
    found: dict[str, float] = {}
    for step in line or ():
        machine, _, started = step.partition("@")
        found[machine] = max(found.get(machine, -math.inf), float(started))
    return found


def _shows(image: Image) -> float:
    """The last start of the image's machine whose work it holds."""
    if image.final:
        return FINAL
    if image.started_at is not None:
        return image.started_at
    return math.nextafter(image.taken_at, -math.inf)  # not recorded: any start before it was taken


def _needs(thing: Holder | Leftover) -> float:
    """The start of its machine up to which another copy must hold the work, to hold all of this one."""
    match thing:
        case Image(started_at=None):
            return _shows(thing)
        case Disk(started_at=None) | Leftover(started_at=None):
            return FINAL
    assert thing.started_at is not None
    return thing.started_at


def _keys(thing: Holder | Leftover) -> frozenset[str]:
    """The keys under which a thing's machine may appear on another's line."""
    match thing:
        case Instance():
            known = [thing.name, thing.id]
        case Disk():
            known = [thing.machine, thing.instance_id, thing.id]
        case Image():
            known = [thing.machine, thing.source_id]
        case Leftover():
            known = [thing.machine]
    return frozenset(key(part) for part in known if part)


class Descent:
    """Descent among a desk's resources in one survey."""

    def __init__(self, seen: Seen) -> None:
        self._linear = seen.linear
        self._by_id: dict[str, Holder] = {}
        for group in (seen.instances, seen.disks, seen.images, seen.strays):
            self._by_id |= {thing.id: thing for thing in group}
        self._histories: dict[str, Mapping[str, float]] = {}

    def history(self, thing: Holder) -> Mapping[str, float]:
        """Machines whose work it holds, each with the last start up to which it does."""
        if thing.id not in self._histories:
            self._histories[thing.id] = {}  # whatever tags say, nothing descends from itself
            own = thing.started_at if isinstance(thing, Instance) else FINAL
            own = _shows(thing) if isinstance(thing, Image) else own
            found = _parsed(thing.line)
            parents = [thing.image_id, *([thing.source_id] if isinstance(thing, Image) else [])]
            for parent in (self._by_id[p] for p in parents if p in self._by_id):
                if parent is not thing:
                    # A machine may go on after it was saved: the image itself says up to which start.
                    skip = _keys(parent) if isinstance(parent, Instance | Disk) else frozenset[str]()
                    for machine, until in self.history(parent).items():
                        if machine not in skip:
                            found[machine] = max(found.get(machine, -math.inf), until)
            parts = {key(part) for part in thing.parts} if isinstance(thing, Disk) else frozenset[str]()
            for machine in _keys(thing) | parts:
                found[machine] = max(found.get(machine, -math.inf), own)
            self._histories[thing.id] = found
        return self._histories[thing.id]

    def reaches(self, thing: Holder, earlier: Holder | Leftover) -> bool:
        """Whether `thing` holds all the work of `earlier`, as far as its line tells."""
        if self._linear and thing.generation != earlier.generation:
            return thing.generation > earlier.generation
        return self.holds_start(thing, _keys(earlier), _needs(earlier))

    def holds_start(self, thing: Holder, keys: Collection[str], started_at: float) -> bool:
        """Whether `thing` holds the work of a machine, under any of these keys, up to that start."""
        history = self.history(thing)
        return any(history.get(machine, -math.inf) >= started_at for machine in keys)

    def goes_on(self, thing: Holder, earlier: Holder) -> bool:
        """Whether `thing` holds all the work of `earlier`, and more."""
        return self.reaches(thing, earlier) and not self.reaches(earlier, thing)

    def related(self, one: Holder, other: Holder) -> bool:
        return self.reaches(one, other) or self.reaches(other, one)


def holds(seen: Seen, image: Image | None, thing: Holder | Leftover) -> bool:
    """Whether a verified image makes another copy of the work redundant."""
    return image is not None and image.verified and Descent(seen).reaches(image, thing)


def holds_proven(seen: Seen, image: Image | None, proof: Prove) -> bool:
    """Whether an image holds all the work of the machine that was logged into."""
    if image is None:
        return False
    if image.line is None and image.generation > proof.generation:
        return True  # older than lines; nothing is deleted because of this answer
    if seen.linear:  # images of one disk follow one another, even if the machine is no longer listed
        return (image.generation, image.taken_at) > (proof.generation, proof.started_at)
    keys = {key(part) for part in (proof.id, proof.name) if part}
    return Descent(seen).holds_start(image, keys, proof.started_at)


def own(desk: Desk, seen: Seen, past: Past) -> Seen:
    """`seen` with resources of another beginning under the same name moved to `strays`.

    The desk continues from what this computer last worked on. If this computer knows none of it, the desk
    continues from the only end of a line; if there are several, they are `rivals` and a person must choose.
    """
    if seen.linear or seen.strays or seen.spares or seen.rivals:
        return seen
    descent = Descent(seen)
    things: list[Holder] = [*seen.machines, *seen.disks, *seen.images]
    whole = [t for t in things if t.phase is not Phase.FAILED]
    ends = [t for t in whole if not any(descent.goes_on(o, t) for o in whole)]
    groups: list[list[Holder]] = []
    for end in ends:  # copies of one image are one end
        same = next((g for g in groups if descent.reaches(g[0], end)), None)
        groups.append([end]) if same is None else same.append(end)
    if desk.goal is not Goal.GONE and len(groups) < 2:
        return seen
    made = past.machines
    known = made | past.in_use
    if desk.goal is Goal.GONE:
        # Delete whatever this computer has worked on, started anew or not; if it knows nothing, everything.
        chosen = [t for t in whole if descent.history(t).keys() & known] if known else whole
    elif (found := _chosen(desk, groups, past, descent, whole)) is None:
        return replace(seen, rivals=tuple(sorted(g[0].id for g in groups)))
    else:
        chosen = found

    def ours(thing: Holder) -> bool:
        failed = thing.phase is Phase.FAILED and bool(_keys(thing) & made or not made)
        return failed or any(descent.related(thing, one) for one in chosen)

    # The planner resolves two machines under one name.
    twins = seen.machines if len(seen.machines) > 1 and desk.goal is not Goal.GONE else ()
    strays = [t for t in things if t not in twins and not ours(t)]
    spares = [t for t in strays if isinstance(t, Disk) and made & _keys(t) and not _keys(t) & past.in_use]
    gone = {t.id for t in strays}
    kept = seen.leftovers
    if desk.goal is Goal.GONE and known:  # of snapshots, delete only those of machines known here
        mine = known.union(*(descent.history(t) for t in chosen))
        kept = tuple(t for t in kept if t.kind not in _HOLDING or _keys(t) & mine)
    return replace(
        seen,
        leftovers=kept,
        instances=tuple(i for i in seen.instances if i.id not in gone),
        disks=tuple(d for d in seen.disks if d.id not in gone),
        images=tuple(i for i in seen.images if i.id not in gone),
        strays=tuple(t for t in strays if t not in spares),
        spares=tuple(spares),
    )


def machine_of(desk: Desk, seen: Seen, past: Past) -> Instance | None:
    """The machine that a command for the desk refers to; of several, one that this computer knows."""
    machines = own(desk, seen, past).machines
    if len(machines) < 2:
        return machines[0] if machines else None
    known = [m for m in machines if m.id in past.proven] or [m for m in machines if past.made(m)]
    return max(known or machines, key=lambda i: (i.generation, i.started_at, i.id), default=None)


def _chosen(
    desk: Desk, groups: list[list[Holder]], past: Past, descent: Descent, things: list[Holder]
) -> list[Holder] | None:
    """The end that a desk continues from; None if it cannot be decided."""
    if desk.origin:
        named = [t for t in things if t.id == desk.origin]
        if named and (found := [g for g in groups if any(descent.reaches(t, named[0]) for t in g)]):
            return found[0] if len(found) == 1 else named
    for keys in past.recent_machines:
        found = [g for g in groups if any(descent.history(t).keys() & keys for t in g)]
        if found:
            return found[0] if len(found) == 1 else None
    running = [g for g in groups if any(isinstance(t, Instance) for t in g)]
    return running[0] if len(running) == 1 else None


def described(thing: Instance | Disk | Image) -> str:
    """A short description of a resource that holds work: what it is and what it costs."""
    kind = {Instance: "machine", Disk: "disk", Image: "image"}[type(thing)]
    if isinstance(thing, Instance):
        return f"{kind} {thing.id}"
    held = f", in use at {thing.held_by}" if isinstance(thing, Disk) and thing.held_by else ""
    at = thing.taken_at if isinstance(thing, Image) else thing.made_at
    of = f" of {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC" if at > 0 else ""
    month = shown(thing.usd_per_month, thing.told_per_month, " a month")
    return f"{kind} {thing.id}{of} ({thing.size_gib:.3g} GiB, {month}{held})"
