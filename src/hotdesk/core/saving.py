"""From a machine that is off, or a disk that was left, to a verified image; and what then may go.

The part of the planner that deletes: nothing here lets a copy of somebody's work go unless a newer one is
there, verified.
"""

from __future__ import annotations

from hotdesk.core.errors import Kind
from hotdesk.core.model import Desk, Disk, Image, Instance, Leftover, Phase, Seen
from hotdesk.core.past import Past
from hotdesk.core.steps import AnyStep, Ask, Bake, BakeOrder, Delete, Verify, Wait

TRIES = 3  # of one step since the owner last asked, before asking the owner
_HARMLESS_TO_REPEAT = frozenset({Kind.THROTTLED, Kind.NOT_READY})


def save(source: Instance | Disk, desk: Desk, seen: Seen, past: Past, now: float) -> list[AnyStep]:
    """From a machine that is off, or a disk that was left, to a verified image; then the source may go."""
    began = source.started_at if source.started_at is not None else 0.0
    taken = [i for i in seen.images if _is_of(i, source)]
    if saved := next((i for i in taken if i.verified and i.phase is Phase.READY), None):
        saved_why = f"its work is whole in {saved.name}"
        return [let_go(source, saved_why), *prune(desk, seen)]
    unfinished = [i for i in taken if usable(i, past)]
    gone = let_go(source, "once the image is verified, nothing is paid but the image")
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
        )
        why = "the image is what the desk comes back from"
        bake = Bake(order=order, ran_seconds=_ran(source, seen), why=why)
        row = past.last.get(bake.key)
        ended = row is not None and (row.refused or (row.done and order.name not in seen.names))
        failed = next((i for i in taken if i.name == order.name), None)
        if row is None or row.outcome is None or row.outcome.kind not in _HARMLESS_TO_REPEAT:
            tried += past.begun(bake.key, desk.since)
        if (
            failed is not None
            and tried
            and (tried >= TRIES or failed.kind in {Kind.NO_SPACE, Kind.UNREADABLE})
        ):
            return [_not_saved(desk, failed.reason, failed.kind)]
        if stop := refused(bake, desk, past, now):
            first = row.outcome.fix if row and row.outcome else ""
            return [_not_saved(desk, stop.why, stop.kind, first) if isinstance(stop, Ask) else stop]
        if failed is not None and failed.phase is Phase.ENDING:
            return [Wait(seconds=seen.poll_seconds, why=f"{failed.name} is being deleted")]
        if failed is not None:
            why = f"a failed image: {failed.reason or 'it does not hold the disk'}"
            return [let_go(failed, why)]
        if not ended:
            break
        attempt += 1
    if tried >= TRIES:
        return [_not_saved(desk, f"{tried} attempts to take an image failed", None)]
    return [bake, Verify(id=order.name, why="an image counts only after it was read back"), gone]


def _ran(source: Instance | Disk, seen: Seen) -> float | None:
    """How long the machine ran at last to which this disk belongs, as far as is seen."""
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
    return [Verify(id=image.id, why="an image counts only after it was read back")]


def _is_of(image: Image, source: Instance | Disk) -> bool:
    """Whether an image shows this source as it is now, and not as it was before its last start."""
    if image.source_id == source.id:
        return isinstance(source, Disk) or image.taken_at > source.started_at
    if isinstance(source, Disk) and source.started_at is not None:
        return image.source_id == source.instance_id and image.taken_at > source.started_at
    return False


def superseded(disk: Disk, newest: Image | None) -> bool:
    return newest is not None and (newest.generation > disk.generation or _is_of(newest, disk))


def usable(image: Image, past: Past) -> bool:
    """Whether an image is, or may yet become, whole."""
    row = past.last.get(Verify(id=image.id, why="").key)
    rotten = row and row.refused and row.outcome and row.outcome.kind is Kind.ROTTEN
    return image.phase not in {Phase.FAILED, Phase.ENDING} and not rotten


def _not_saved(desk: Desk, why: str, kind: Kind | None, first: str = "") -> Ask:
    """`first`: what has to be done before it can be saved, as a command with a remark."""
    then = f"hotdesk park {desk.name}"
    return Ask(
        what=f"{desk.name} could not be saved. Nothing was deleted: its disk is as you left it.",
        why=why,
        fix=f"{first}{'; ' if '#' in first else '   # '}then: {then}"
        if first
        else f"{then}   # once that is mended; or: hotdesk resume {desk.name}",
        kind=kind,
    )


# ---- tidying -----------------------------------------------------------------------------------------


def prune(desk: Desk, seen: Seen) -> list[AnyStep]:
    """What costs money and holds nothing that is not held better elsewhere."""
    free = [t for t in seen.leftovers if not last_copy(t, seen)]
    steps: list[AnyStep] = [let_go(t, t.why or f"a leftover {t.kind}") for t in free]
    newest = seen.newest
    if newest is None:
        failed = [i for i in seen.images if i.phase is Phase.FAILED] if desk.fresh else []
        return [*steps, *(let_go(i, "it failed, and you go on without it") for i in failed)]
    for disk in seen.disks:
        if disk.phase is not Phase.ENDING and superseded(disk, newest):
            why = f"its work is whole in {newest.name}"
            steps.append(let_go(disk, why))
    for image in seen.images:
        held = image.age <= newest.age or image.phase is Phase.FAILED
        if image.id != newest.id and held and image.phase is not Phase.ENDING:
            why = f"{newest.name} is as new or newer, and verified"
            steps.append(let_go(image, why))
    return steps


def last_copy(thing: Leftover, seen: Seen) -> bool:
    """Whether somebody's work may be in it and nowhere else: a snapshot or disk without a newer image."""
    if thing.kind not in {"snapshot", "disk"}:
        return False
    return seen.newest is None or seen.newest.generation < thing.generation


def delete_everything(seen: Seen) -> list[AnyStep]:
    things: list[Instance | Disk | Image] = [*seen.machines, *seen.disks, *seen.images]
    doomed = [*(t for t in things if t.phase is not Phase.ENDING), *seen.leftovers]
    if things and not doomed:
        return [Wait(seconds=seen.poll_seconds, why=f"{things[0].id} is being deleted")]
    return [let_go(thing, "you asked for it to be gone") for thing in doomed]


def let_go(thing: Instance | Disk | Image | Leftover, why: str, *, keep_disk: bool = False) -> Delete:
    """The deletion of a thing, with all that a bill has to know of it: it is the last word on it."""
    match thing:
        case Instance():
            usd, ran, kind = thing.disk_usd_per_month, thing.ran_seconds, "machine"
        case Leftover():
            usd, ran, kind = thing.usd_per_month, None, thing.kind
        case _:
            usd, ran, kind = thing.usd_per_month, None, type(thing).__name__.lower()
    of = thing.instance_id if isinstance(thing, Disk) else ""
    return Delete(
        id=thing.id, keep_disk=keep_disk, usd_per_month=usd, ran_seconds=ran, kind=kind, of=of, why=why
    )


# ---- no for an answer --------------------------------------------------------------------------------


def refused(step: AnyStep, desk: Desk, past: Past, now: float) -> Wait | Ask | None:
    row = past.last.get(step.key)
    if row is None or not row.refused or row.outcome is None or row.at < desk.since:
        return None
    left = row.outcome.until - now
    if left <= 0:  # no longer believed: the same may be asked again
        return None
    if row.outcome.kind in _HARMLESS_TO_REPEAT:
        return Wait(seconds=left, why=row.outcome.message)
    return Ask(
        what=f"{desk.name}: {_WHO.get(desk.provider, desk.provider)} does not let hotdesk {_doing(step)}.",
        why=row.outcome.message,
        fix=row.outcome.fix or f"hotdesk log {desk.name}",
        kind=row.outcome.kind,
        unsure=row.outcome.kind is Kind.BAD_REQUEST,  # what it speaks of may be gone, and still be listed
    )


#: Clouds by the names that people know.
_WHO = {"aws": "AWS", "aliyun": "Alibaba Cloud", "local": "this computer"}
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
    """A step as it stands in a sentence: "does not let hotdesk …"."""
    if isinstance(step, Delete):
        return f"delete {step.id}"
    kind = step.key.partition(":")[0]
    return _DOING.get(kind, kind)


def gave_up(desk: Desk, what: str, why: str) -> Ask:
    return Ask(
        what=f"{desk.name}: {what} did not work.",
        why=why or "Looking afterwards, again and again, did not show its effect.",
        fix=f"hotdesk log {desk.name}",
    )
