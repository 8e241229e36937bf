"""Plan for a desk without a machine: what to save first, what to launch, and from which image.

Called by the planner (core/lifecycle/plan.py), and pure like it.
"""

from __future__ import annotations

from itertools import takewhile

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import OFFER_KINDS, Kind
from hotdesk.core.lifecycle.descent import holds, holds_proven
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.lifecycle.save import (
    TRIES,
    finish,
    gave_up,
    in_use,
    last_copy,
    let_go,
    prune,
    refused,
    save,
    superseded,
    usable,
)
from hotdesk.core.model import (
    Desk,
    Disk,
    EndedBy,
    Goal,
    Image,
    Instance,
    Market,
    Offer,
    Phase,
    Seen,
)
from hotdesk.core.money import shown
from hotdesk.core.steps import AnyStep, Ask, Copy, Delete, Launch, LaunchOrder, Prove

PUT_OFF = 20  # launches that may be answered "not yet" before asking: by then the listing has caught up
TAKEN_MOST = 20  # machines that a cloud may take back before anybody has logged in: something else is wrong


def without_machine(desk: Desk, seen: Seen, past: Past, now: float) -> list[AnyStep]:
    newest = seen.newest
    if desk.goal is Goal.RUNNING and (elsewhere := not_from_there(desk, seen, past)):
        return [elsewhere]
    for disk in seen.disks:
        if disk.phase is not Phase.ENDING and not superseded(disk, seen):
            if disk.held_by:
                if _agreed(desk, past):
                    continue
                fresh = f"hotdesk up {desk.name} --fresh"
                again = f"hotdesk up {desk.name}   # or without it, which stays: {fresh}"
                return [in_use(disk, desk, then=again)]
            if unused := _never_used(disk, desk, seen, past):
                return [unused]
            if question := _several_disks(disk, desk, seen) or _not_whole(disk, desk, past):
                return [question]
            onward = launch(desk, seen, past, now, after=disk) if desk.goal is Goal.RUNNING else []
            return [*save(disk, desk, seen, past, now), *onward]
    for image in seen.images:  # something else deleted its machine before the image was verified
        newer = newest is None or not holds(seen, newest, image)
        if newer and not image.verified and usable(image, past):
            return finish(image, seen)
    if not (desk.carried or desk.away) and (question := _missing_work(desk, seen, past)):
        return [question]
    if desk.goal is Goal.RUNNING:
        onward = launch(desk, seen, past, now)
        if not onward:  # a job that waits for spot needs no disk
            return prune(desk, seen)
        # Locally the old disk is in the way of the new one; in a cloud it only costs money.
        over: list[Disk | Image] = [*seen.disks]
        if newest and isinstance(onward[0], Ask):  # nothing can be launched: stop paying for older images
            over += [i for i in seen.images if i.age != newest.age]
        old = [s for s in prune(desk, seen) if isinstance(s, Delete) and s.id in {t.id for t in over}]
        return [*old, *onward]
    return prune(desk, seen)


def _several_disks(disk: Disk, desk: Desk, seen: Seen) -> Ask | None:
    """A question, if an image of this disk would wrongly count as all the work of its generation.

    Two computers had one machine each, or it is unknown which disk of the machine was which: the image of
    one would be the newest, and the other would be deleted as superseded.
    """
    rivals = [
        d.id
        for d in seen.disks
        if d.generation == disk.generation and d.phase not in {Phase.ENDING, Phase.FAILED}
    ]
    if len(rivals) < 2:
        return None
    return Ask(
        what=f"{desk.name} has left {len(rivals)} disks, equally new: {' and '.join(sorted(rivals))}.",
        why="Its machine is gone, and an image of one of them would lack what is on the other.",
        fix=f"hotdesk show {desk.name}   # take what you need from them; hotdesk saves the one that is left",
        unsure=True,
    )


def _kept_beside(machine: Instance, seen: Seen) -> bool:
    """Whether another computer's machine has its work in one of the strays, which are kept."""
    images = [t for t in seen.strays if isinstance(t, Image) and t.phase is Phase.READY]
    disks = [t for t in seen.strays if isinstance(t, Disk)]
    return any(holds(seen, i, machine) for i in images) or any(d.instance_id == machine.id for d in disks)


def _agreed(desk: Desk, past: Past) -> bool:
    """Whether its owner agreed (--fresh) to continue without what is missing now."""
    return desk.fresh and not (past.proof and past.proof.at >= desk.since)


def _never_used(disk: Disk, desk: Desk, seen: Seen, past: Past) -> Delete | None:
    """Delete a disk whose machine the cloud ended before it ran: it holds no work."""
    machine = next((i for i in seen.instances if i.id == disk.instance_id), None)
    if machine is None or not machine.never_ran or machine.id in past.proven:
        return None
    return let_go(disk, f"{machine.id} ended before it ran: its disk holds no work")


def _not_whole(disk: Disk, desk: Desk, past: Past) -> Ask | None:
    """A question, if some of a machine's disks are missing and its owner did not agree to go on without."""
    if _agreed(desk, past) or not disk.lacks:
        return None
    return Ask(
        what=f"A disk of {desk.name} is missing: {disk.lacks}. {disk.id} is left.",
        ids=(disk.id,),
        why="Its machine is gone. Something else has deleted the disk, or is using it.",
        fix=f"hotdesk up {desk.name} --fresh   # continue without it",
        unsure=True,
    )


def _missing_work(desk: Desk, seen: Seen, past: Past) -> Ask | None:
    """A question, if the newest known work is neither on a disk nor in an image."""
    # What its owner deleted, on whatever computer, is not missing; nor is a machine that never ran.
    others = (
        i
        for i in seen.instances
        if not past.made(i) and not past.let_go(i) and not i.doomed and not i.never_ran
        if not _kept_beside(i, seen)
    )
    known = [
        Prove(id=i.id, name=i.name, generation=i.generation, started_at=i.started_at, why="") for i in others
    ]
    if desk.fresh:  # the owner's agreement covers what was lost until then
        known = []
    proof = past.proof
    if proof and isinstance(proof.step, Prove) and not (desk.fresh and proof.at < desk.since):
        ended = next((i for i in seen.instances if i.id == proof.step.id), None)
        known += [] if ended and ended.doomed else [proof.step]
    if not known:
        return None
    last = max(known, key=lambda p: (p.generation, p.started_at, p.id))
    machine, older = last.id, seen.newest
    if holds_proven(seen, older, last):
        return None
    why = (
        f"The newest image is {older.name}, from before that."
        if older
        else "No verified image holds it either. Something else has deleted them, or another computer "
        "of yours (hotdesk down)."
    )
    if kept := [t.id for t in seen.leftovers if last_copy(t, seen)]:
        why = f"{why} What is left may hold it, and is billed: {', '.join(kept)}."
    fix = f"hotdesk up {desk.name} --fresh   # continue from {'that image' if older else 'an empty desk'}"
    if older is None and desk.former:  # it came from elsewhere, and the last place keeps what it held there
        place = desk.former[-1].provider
        why = f"{why} What it held before it came here is kept at {cloud(place).label}."
        fix = f"hotdesk move {desk.name} --provider {place}   # and continue from what is kept there"
    return Ask(
        what=f"The latest work on {desk.name} is missing: {machine} is gone, and so is its disk.",
        why=why,
        fix=fix,
        unsure=True,
    )


def launch(
    desk: Desk, seen: Seen, past: Past, now: float, after: Instance | Disk | None = None
) -> list[AnyStep]:
    """The next launch. `after`: what will have been saved and deleted by then, for a dry run."""
    newest = seen.newest
    same = [
        i for i in seen.images if newest and i.verified and i.phase is Phase.READY and i.age == newest.age
    ]
    if not after and (first := _the_last_one(desk, same, past, now)):
        return [first]
    if failed := _failed_at_once(desk, seen, past):
        return [failed]
    proven = past.proof and past.proof.at >= desk.since
    most = TAKEN_MOST if _taken_back(seen) else TRIES
    if past.launched(since=desk.since) >= most and not proven:
        why = f"Each machine ended before anybody could log in{_last_words(seen)}."
        return [gave_up(desk, f"{most} launches", why)]
    if (times := past.put_off(since=desk.since)) >= PUT_OFF:
        no = past.launch.said if past.launch else ""
        return [gave_up(desk, f"{times} launches", no)]
    waits = now < desk.on_demand_at
    # What stands behind on-demand is for when that is sold out, and no sooner than on-demand itself.
    offers = list(takewhile(lambda o: o.market is Market.SPOT, desk.offers)) if waits else desk.offers
    offer = next((o for o in offers if not past.refusal(o, now, desk.since, desk.retried_at)), None)
    if offer is None:
        return [] if waits else [_nothing_to_launch(desk, past, now)]
    image = next((i for i in same if i.region == offer.region), newest)
    step = _not_refused_before(desk, offer, image, _generation(desk, seen, past), past)
    work = after or image
    if work is None or work.region == offer.region:
        return [step]
    return [*_bring(work, offer, desk, seen, past), step]


def not_from_there(desk: Desk, seen: Seen, past: Past) -> Ask | None:
    """A question, if the machine would not be launched from what its owner chose (--from)."""
    if not desk.origin or past.made_at >= desk.since:  # the desk already continued from it
        return None
    known = [*seen.images, *seen.disks, *seen.strays]
    whole = [t for t in known if t.phase not in {Phase.ENDING, Phase.FAILED}]
    named, newest = next((t for t in whole if t.id == desk.origin), None), seen.newest
    if named is None:
        why = "It has been deleted, or it is no image or disk of this desk."
        return _another(desk, f"{desk.name} cannot continue from {desk.origin}: it does not exist.", why)
    if (live := seen.live) is not None:
        why = f"Its machine {live.id} has that work and later work."
        return _another(desk, f"{desk.name} has already continued from {desk.origin}.", why)
    if newest is None or newest.id == named.id or not isinstance(named, Image) or holds(seen, named, newest):
        return None
    why = f"All its work is in {newest.id}, which also has newer work."
    return _another(desk, f"{desk.name} has already continued from {desk.origin}.", why)


def _another(desk: Desk, what: str, why: str) -> Ask:
    fix = f"hotdesk up {desk.name}   # without --from: continues from the latest"
    return Ask(what=what, why=why, fix=fix, unsure=True)


def _the_last_one(desk: Desk, same: list[Image], past: Past, now: float) -> AnyStep | None:
    """The previous launch, to repeat if its outcome is unknown; or what follows from its refusal.

    `same`: the images that hold the newest work.
    """
    prior = past.launch
    if prior is None or not isinstance(prior.step, Launch):
        return None
    order = prior.step.order
    as_wanted = (
        any(o.key == order.offer.key for o in desk.offers)
        and order.generation >= desk.generation
        and order.image_id in ({i.id for i in same} or {""})
    )
    if prior.unsure and as_wanted:
        if past.begun(prior.step.key, desk.since) >= TRIES:
            return gave_up(desk, prior.step.key, prior.said)
        why = "the outcome of this launch is unknown; the same order cannot make a second machine"
        return Launch(order=order, why=why)
    if prior.refusal and prior.refusal.of_offer:
        return None  # refused there: another offer may work
    return refused(prior.step, desk, past, now)


def _failed_at_once(desk: Desk, seen: Seen, past: Past) -> Ask | None:
    """A question, if the cloud ended this command's last launch for a reason that will recur."""
    prior = past.launch
    if prior is None or prior.at < desk.since or not isinstance(prior.step, Launch):
        return None
    name = prior.step.order.name
    machine = next((i for i in seen.instances if i.name == name and i.never_ran and i.fix), None)
    if machine is None:
        return None
    return Ask(
        what=f"The machine of {desk.name} was launched but ended before it ran: {machine.id}.",
        ids=(machine.id,),
        why=machine.reason,
        fix=machine.fix,
        kind=Kind.DENIED,
        unsure=True,  # its disk may be listed later than its end
    )


def _generation(desk: Desk, seen: Seen, past: Past) -> int:
    """A generation above that of everything seen, and of launches that are not listed yet."""
    things: list[Instance | Disk | Image] = [*seen.instances, *seen.disks, *seen.images, *seen.strays]
    generation = max([desk.generation, *(thing.generation + 1 for thing in things)])
    prior = past.launch
    if prior and isinstance(prior.step, Launch):
        generation = max(generation, prior.step.order.generation + (0 if prior.refused else 1))
    return generation


def _not_refused_before(desk: Desk, offer: Offer, image: Image | None, generation: int, past: Past) -> Launch:
    """The first order, by attempt, that has not been refused: a refused token stays refused."""
    attempt = 0
    while True:
        order = LaunchOrder(
            desk=desk.name,
            born=desk.created_at,
            generation=generation,
            attempt=attempt,
            offer=offer,
            image_id=image.id if image else "",
            base_image=desk.want.image,
            disk_gib=desk.want.disk_gib,
            initialization_rate=desk.want.initialization_rate if image else 0,
        )
        why = offer.why or f"{offer.instance_type} in {offer.zone} fits"
        step = Launch(order=order, why=why + _loading(order, image))
        row = past.last.get(step.key)
        if row is None or not row.refused:
            return step
        attempt += 1


def _last_ended(seen: Seen) -> Instance | None:
    ended = [i for i in seen.instances if i.phase is Phase.ENDED and i.reason]
    return max(ended, key=lambda i: (i.generation, i.started_at), default=None)


def _last_words(seen: Seen) -> str:
    """The cloud's reason for the end of the latest machine."""
    last = _last_ended(seen)
    return f": {last.reason.rstrip('.')}" if last else ""


def _taken_back(seen: Seen) -> bool:
    """Whether the latest machine was spot that its cloud took back: that says nothing of the desk."""
    last = _last_ended(seen)
    return last is not None and last.market is Market.SPOT and last.ended_by is EndedBy.PROVIDER


def _loading(order: LaunchOrder, image: Image | None) -> str:
    """A remark on provisioned initialization: its longest duration; it is billed by size and rate at once."""
    if not (order.initialization_rate and image):
        return ""
    minutes = image.size_gib * 1024 / order.initialization_rate / 60
    return (
        f"; its disk of {image.size_gib:.0f} GiB is loaded at {order.initialization_rate} MiB/s, within"
        f" {max(1.0, minutes):.0f} min, which the cloud bills at once"
    )


def _bring(work: Image | Instance | Disk, offer: Offer, desk: Desk, seen: Seen, past: Past) -> list[AnyStep]:
    """Copy the image to the machine's region. For work that is not in an image yet: a dry run's outlook."""
    image = work if isinstance(work, Image) else None
    why = f"{desk.name}'s image is in {work.region}, the machine will be in {offer.region}"
    if work.copy_usd:  # EC2 guarantees no completion time for copies (user guide, "Copy an AMI")
        told = work.told_per_usd and work.told_per_usd.times(work.copy_usd)
        why += f"; it costs {shown(work.copy_usd, told)} at most, once, and no time is promised"
    if image is None:
        return [Copy(id=work.id, region=offer.region, name="", why=why)]
    attempt, tried = 0, 0
    while True:
        # A new name for each attempt: EC2 answers a repeated request with what it made the first time, even
        # if that failed or was deleted long ago.
        name = f"{image.name}-{offer.region}{f'-{attempt}' if attempt else ''}"
        copy = Copy(id=work.id, region=offer.region, name=name, why=why)
        row = past.last.get(copy.key)
        tried += past.begun(copy.key, desk.since)
        copied = next((i for i in seen.images if i.name == name and i.region == offer.region), None)
        if copied is not None and copied.phase is not Phase.ENDING:
            if usable(copied, past):
                return finish(copied, seen)
            if tried >= TRIES:
                return [gave_up(desk, f"copying {image.name} to {offer.region}", copied.reason)]
            return [let_go(copied, f"a failed copy: {copied.reason or 'it is incomplete'}")]
        if copied is None and not (row and row.done):
            break
        attempt += 1
    if tried >= TRIES:
        return [gave_up(desk, f"copying {image.name} to {offer.region}", f"{tried} copies failed")]
    return [copy]


def _nothing_to_launch(desk: Desk, past: Past, now: float) -> Ask:
    refusals = past.refused(desk.offers, now, desk.since, desk.retried_at)
    tried = [(o, refusals[o.key]) for o in desk.offers if o.key in refusals]
    if not tried:
        return Ask(
            what=f"No offer matches what {desk.name} wants.",
            why="The price list has no such hardware within those limits.",
            fix="hotdesk offers",
            kind=Kind.UNSUPPORTED,
        )
    soonest = min(refusal.until for _, refusal in tried) - now
    reasons: dict[str, list[Offer]] = {}
    for offer, refusal in tried:
        short = _SHORT.get(refusal.kind, "") if refusal.kind else ""
        reasons.setdefault(short or refusal.message, []).append(offer)
    minutes = max(1, round(soonest / 60))
    when = f"{minutes} min" if minutes < 120 else f"{round(minutes / 60)} h"
    again = f"hotdesk up {desk.name}   # again in {when}, or with other hardware"
    fixes = [refusal.fix for _, refusal in tried if refusal.fix]
    waiting_helps = any(refusal.kind is Kind.NO_CAPACITY or not refusal.fix for _, refusal in tried)
    return Ask(
        what=f"No machine is available for {desk.name}.",
        why="; ".join(f"{_places(offers)}: {reason}" for reason, offers in list(reasons.items())[:3]),
        fix=again if waiting_helps or not fixes else fixes[0],
        kind=next((r.kind for _, r in tried if r.kind in OFFER_KINDS), tried[0][1].kind),
    )


#: Replace a cloud's long messages, each of which names one zone.
_SHORT = {Kind.NO_CAPACITY: "sold out"}


def _places(offers: list[Offer]) -> str:
    """Which types were tried where, each named once."""
    kinds = dict.fromkeys(f"{o.instance_type} ({o.market})" for o in offers)
    zones = dict.fromkeys(o.zone or o.region for o in offers)
    shown = [*list(zones)[:6], *([f"{len(zones) - 6} more zones"] if len(zones) > 6 else [])]
    types = [*list(kinds)[:4], *([f"{len(kinds) - 4} more"] if len(kinds) > 4 else [])]
    return f"{', '.join(types)} in {', '.join(shown)}"
