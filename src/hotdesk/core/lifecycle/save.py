"""Save the disk of a stopped or terminated machine to a verified image, and delete what that supersedes.

The part of the planner that deletes: no copy of somebody's work is deleted unless a newer one exists and is
verified.
"""

from __future__ import annotations

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import Kind
from hotdesk.core.lifecycle.descent import holds
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.model import Desk, Disk, Image, Instance, Leftover, Phase, Seen
from hotdesk.core.steps import AnyStep, Ask, Bake, BakeOrder, Delete, Verify, Wait

TRIES = 3  # of one step since the owner last asked, before asking the owner
_HARMLESS_TO_REPEAT = frozenset({Kind.THROTTLED, Kind.NOT_READY})


def save(source: Instance | Disk, desk: Desk, seen: Seen, past: Past, now: float) -> list[AnyStep]:
    """Steps from a stopped machine, or the disk of a terminated one, to a verified image; then delete it."""
    began = source.started_at if source.started_at is not None else 0.0
    taken = [i for i in seen.images if _is_of(i, source)]
    if saved := next((i for i in taken if i.verified and i.phase is Phase.READY), None):
        saved_why = f"all its work is in {saved.name}"
        return [let_go(source, saved_why, saved=True), *prune(desk, seen)]
    unfinished = [i for i in taken if usable(i, past)]
    gone = let_go(source, "once the image is verified, only the image is billed", saved=True)
    if unfinished:
        return [*finish(unfinished[0], seen), gone]
    attempt, tried = 0, 0
    while True:
        order = BakeOrder(
            desk=desk.name,
            born=desk.created_at,
            generation=source.generation,
            attempt=attempt,
            source_id=source.id,
            started_at=began,
            region=source.region,
            there=desk.there,
        )
        why = "the desk will be restored from this image"
        bake = Bake(order=order, ran_seconds=_ran(source, seen), why=why)
        row = past.last.get(bake.key)
        ended = row is not None and (row.refused or (row.done and order.name not in seen.names))
        failed = next((i for i in taken if i.name == order.name), None)
        no = row.refusal if row else None
        if no is None or no.kind not in _HARMLESS_TO_REPEAT:
            tried += past.begun(bake.key, desk.since)
        if (
            failed is not None
            and tried
            and (tried >= TRIES or failed.kind in {Kind.NO_SPACE, Kind.UNREADABLE})
        ):
            return [_not_saved(desk, failed.reason, failed.kind)]
        if stop := refused(bake, desk, past, now):
            return [
                _not_saved(desk, stop.why, stop.kind, no.fix if no else "") if isinstance(stop, Ask) else stop
            ]
        if failed is not None and failed.phase is Phase.ENDING:
            return [Wait(seconds=seen.poll_seconds, why=f"{failed.name} is being deleted")]
        if failed is not None:
            why = f"a failed image: {failed.reason or 'it is incomplete'}"
            return [let_go(failed, why)]
        if not ended:
            break
        attempt += 1
    if tried >= TRIES:
        return [_not_saved(desk, f"{tried} attempts to take an image failed", None)]
    return [bake, Verify(id=order.name, why="an image counts only once it has been read back"), gone]


def _ran(source: Instance | Disk, seen: Seen) -> float | None:
    """Length of the last run of the disk's machine, if the survey shows it."""
    if isinstance(source, Instance):
        return source.ran_seconds
    return next((i.ran_seconds for i in seen.instances if i.id == source.instance_id), None)


def finish(image: Image, seen: Seen) -> list[AnyStep]:
    """What an image still needs before it counts."""
    match image.phase:
        case Phase.PENDING | Phase.VERIFYING:
            doing = "taken" if image.phase is Phase.PENDING else "read back"
            why = image.reason or f"image {image.name} is being {doing}"
            return [Wait(seconds=seen.poll_seconds, progress=image.progress, why=why)]
    return [Verify(id=image.id, why="an image counts only once it has been read back")]


def _is_of(image: Image, source: Instance | Disk) -> bool:
    """Whether an image shows this source as it is now, not as it was before its last start.

    An image is ordered for one start of a stopped machine. If the machine was started since, the image may
    have been taken while it was running, whatever its time stamp says.
    """
    if image.source_id == source.id:
        return isinstance(source, Disk) or _since_start(image, source.started_at)
    if isinstance(source, Disk) and source.started_at is not None:
        return image.source_id == source.instance_id and _since_start(image, source.started_at)
    return False


def _since_start(image: Image, started_at: float) -> bool:
    if image.started_at is not None:
        return image.started_at == started_at
    return image.taken_at > started_at  # start not recorded: no other computer can start machines there


def superseded(disk: Disk, seen: Seen) -> bool:
    """Whether the newest image has all the work on a disk."""
    newest = seen.newest
    return newest is not None and (_is_of(newest, disk) or holds(seen, newest, disk))


def usable(image: Image, past: Past) -> bool:
    """Whether an image is, or may still become, complete."""
    row = past.last.get(Verify(id=image.id, why="").key)
    corrupt = row and row.refusal and row.refusal.kind is Kind.CORRUPT
    return image.phase not in {Phase.FAILED, Phase.ENDING} and not corrupt


def _not_saved(desk: Desk, why: str, kind: Kind | None, first: str = "") -> Ask:
    """`first`: a command, with a comment, that must run before it can be saved."""
    then = f"hotdesk park {desk.name}"
    return Ask(
        what=f"{desk.name} could not be saved. Nothing was deleted: its disk is as you left it.",
        why=why,
        fix=f"{first}{'; ' if '#' in first else '   # '}then: {then}"
        if first
        else f"{then}   # once that is fixed; or: hotdesk resume {desk.name}",
        kind=kind,
    )


# ---- tidying -----------------------------------------------------------------------------------------


def prune(desk: Desk, seen: Seen) -> list[AnyStep]:
    """Delete what costs money and is superseded."""
    free = [t for t in seen.leftovers if not last_copy(t, seen)]
    steps: list[AnyStep] = [let_go(t, t.why or f"a leftover {t.kind}") for t in free]
    why = "its machine was launched here but never used"
    steps += [let_go(disk, why) for disk in seen.spares if disk.phase is not Phase.ENDING]
    newest = seen.newest
    if newest is None:
        failed = [i for i in seen.images if i.phase is Phase.FAILED] if desk.fresh else []
        return [*steps, *(let_go(i, "it failed, and you continue without it") for i in failed)]
    for disk in seen.disks:
        if disk.phase is not Phase.ENDING and not disk.held_by and superseded(disk, seen):
            why = f"all its work is in {newest.name}"
            steps.append(let_go(disk, why))
    for image in seen.images:
        if image.id == newest.id or image.phase is Phase.ENDING:
            continue
        if image.phase is Phase.FAILED:
            if not seen.rivals:
                steps.append(let_go(image, f"it failed, and {newest.name} is verified"))
        elif holder := _holder(image, newest, seen):
            steps.append(let_go(image, f"all its work is in {holder.name}, which is verified"))
    return steps


def _holder(image: Image, newest: Image, seen: Seen) -> Image | None:
    """A verified image that makes this one redundant; of copies, the newest stays."""
    for other in (newest, *seen.images):
        if other.id == image.id or other.phase is not Phase.READY or not holds(seen, other, image):
            continue
        if other.id == newest.id or not holds(seen, image, other):
            return other
    return None


def last_copy(thing: Leftover, seen: Seen) -> bool:
    """Whether it may hold work that is nowhere else: a snapshot or disk that no image covers."""
    if thing.kind not in {"snapshot", "disk"}:
        return False
    return not any(holds(seen, i, thing) for i in seen.images if i.phase is Phase.READY)


def delete_everything(desk: Desk, seen: Seen) -> list[AnyStep]:
    """Delete everything of the desk, but not other beginnings under its name (`seen.strays`)."""
    things: list[Instance | Disk | Image] = [*seen.machines, *seen.disks, *seen.images]
    held = [d for d in seen.disks if d.held_by]
    doomed = [*(t for t in things if t.phase is not Phase.ENDING and t not in held), *seen.leftovers]
    if held and not doomed and len(held) == len(things):
        return [in_use(held[0], desk, then=f"hotdesk down {desk.name} --yes")]
    if things and not doomed:
        return [Wait(seconds=seen.poll_seconds, why=f"{things[0].id} is being deleted")]
    return [let_go(thing, "you asked to delete it", for_good=True) for thing in doomed]


def in_use(disk: Disk, desk: Desk, then: str) -> Ask:
    """A question about a disk that is attached to another machine."""
    return Ask(
        what=f"A disk of {desk.name} is in use at {disk.held_by}: {disk.id}.",
        ids=(disk.id,),
        why="It is attached to a machine that is not this desk's, so hotdesk can neither save nor delete it.",
        fix=f"{disk.fix} && {then}" if disk.fix else then,
        unsure=True,
    )


def let_go(
    thing: Instance | Disk | Image | Leftover,
    why: str,
    *,
    keep_disk: bool = False,
    saved: bool = False,
    for_good: bool = False,
) -> Delete:
    """The step that deletes a resource, with all that the bill needs to know about it.

    `saved`: its work as of its last start is in an image; it is deleted only if that is still its last start.
    """
    match thing:
        case Instance():
            usd, ran, kind = thing.disk_usd_per_month, thing.ran_seconds, "machine"
        case Leftover():
            usd, ran, kind = thing.usd_per_month, None, thing.kind
        case _:
            usd, ran, kind = thing.usd_per_month, None, type(thing).__name__.lower()
    of = thing.instance_id if isinstance(thing, Disk) else ""
    started_at = thing.started_at if saved and isinstance(thing, Instance) else None
    return Delete(
        id=thing.id, keep_disk=keep_disk, usd_per_month=usd, told_per_usd=thing.told_per_usd,
        ran_seconds=ran, kind=kind, of=of, started_at=started_at, for_good=for_good, why=why,
    )  # fmt: skip


# ---- refusals ----------------------------------------------------------------------------------------


def refused(step: AnyStep, desk: Desk, past: Past, now: float) -> Wait | Ask | None:
    row = past.last.get(step.key)
    no = row.refusal if row else None
    if row is None or no is None or row.at < desk.since:
        return None
    left = no.until - now
    if left <= 0:  # no longer valid: the same may be asked again
        return None
    if no.kind in _HARMLESS_TO_REPEAT:
        return Wait(seconds=left, why=no.message)
    return Ask(
        what=f"{desk.name}: {cloud(desk.provider).label} does not let hotdesk {_doing(step)}.",
        why=no.message,
        fix=no.fix or f"hotdesk log {desk.name}",
        kind=no.kind,
        unsure=no.kind is Kind.BAD_REQUEST,  # its subject may be gone and still be listed
    )


_DOING = {
    "launch": "launch a machine",
    "start": "start its machine",
    "stop": "stop its machine",
    "retype": "change its machine's type",
    "bake": "take an image",
    "verify": "read its image back",
    "copy": "copy its image",
}


def _doing(step: AnyStep) -> str:
    """A step as a verb phrase: "does not let hotdesk …"."""
    if isinstance(step, Delete):
        return f"delete {step.id}"
    kind = step.key.partition(":")[0]
    return _DOING.get(kind, kind)


def gave_up(desk: Desk, what: str, why: str) -> Ask:
    return Ask(
        what=f"{desk.name}: {what} did not work.",
        why=why or "Repeated surveys afterwards did not show the change.",
        fix=f"hotdesk log {desk.name}",
    )
