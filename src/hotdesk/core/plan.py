"""The planner: what is left to do, as a pure function of what is wanted, seen and past.

`plan` never acts and never remembers. It is asked again after every step, so it only has to be right
about the *next* one; the rest of the list is what a dry run shows. The rules it never breaks:

* one machine for a desk: a launch whose outcome is unknown is repeated to the letter, or waited out;
* the last copy of somebody's work is deleted only when a newer one is there and verified;
* an absence is believed only when the listing's lag has passed;
* where going on could lose work or money, it asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile
from shlex import quote

from hotdesk.core.errors import OFFER_KINDS, Kind
from hotdesk.core.leaving import left
from hotdesk.core.model import (
    Desk,
    Disk,
    Goal,
    Image,
    Instance,
    Leftover,
    Market,
    Offer,
    Phase,
    Seen,
    Survey,
)
from hotdesk.core.past import Past, holds_last_work
from hotdesk.core.saving import (
    TRIES,
    delete_everything,
    finish,
    gave_up,
    last_copy,
    let_go,
    prune,
    refused,
    save,
    superseded,
    usable,
)
from hotdesk.core.steps import (
    AnyStep,
    Ask,
    Copy,
    Delete,
    Launch,
    LaunchOrder,
    Prove,
    Retype,
    Start,
    Stop,
    Wait,
)

#: Why a machine cannot become what is wanted, although another machine may well be it.
_ANOTHER_MACHINE = OFFER_KINDS | {Kind.BAD_REQUEST}

TRIES_DONE = 10  # of one step that is said to be done, and never shows
PROVE_SECONDS = 900.0  # how long a machine may take from its start to an answering Jupyter


def plan(desk: Desk, seen: Seen, past: Past, now: float) -> list[AnyStep]:
    """Steps from what is seen to what is wanted; empty when all is as wanted.

    Only the first may be taken before looking again (see `together`). `now` is this computer's clock.
    """
    if seen.unread:
        regions = ", ".join(seen.unread)
        return [Wait(seconds=seen.poll_seconds, why=f"{regions} did not answer, and may hold the desk")]
    if row := past.unsettled(seen, now):
        return [Wait(seconds=max(seen.poll_seconds, 0.05), why=f"{row.step.key} may not be listed yet")]
    if past.launch is None and seen.ids and 0 <= now - desk.since < seen.lag_seconds:
        return [Wait(seconds=seen.poll_seconds, why="another computer may have changed it a moment ago")]
    steps = _steps(desk, seen, past, now)
    return [_unless_refused(steps[0], desk, past, now), *steps[1:]] if steps else []


def together(desk: Desk, steps: list[AnyStep]) -> list[AnyStep]:
    """What may be taken before looking again: the first step, and all deletions where everything shall go.

    Elsewhere an older image goes one look after what it was replaced for: another computer, whose look is
    behind, shall not see both gone and the new one not yet there.
    """
    first, *more = steps
    if desk.goal is not Goal.GONE or not isinstance(first, Delete):
        return [first]
    return [first, *takewhile(lambda s: isinstance(s, Delete), more)]


def _steps(desk: Desk, seen: Seen, past: Past, now: float) -> list[AnyStep]:
    if ending := {m.id: m.reason for m in seen.machines if m.phase is Phase.ENDING}:
        for half in seen.leftovers:
            if half.of in ending:
                step = Delete(id=half.id, why=half.why)
                if past.begun(step.key, desk.since) >= TRIES:
                    return [gave_up(desk, f"deleting {half.of}", half.why)]
                return [step]
        why = next((reason for reason in ending.values() if reason), "its machine is ending")
        return [Wait(seconds=seen.poll_seconds, why=why)]
    if desk.goal is Goal.GONE:
        return delete_everything(seen)
    if leave := left(desk, seen, past):
        return [leave]
    if len(seen.machines) > 1:
        return [_settle_twins(desk, seen, past)]
    live = seen.live
    if live is None:
        return _without_machine(desk, seen, past, now)
    if live.phase in {Phase.PENDING, Phase.STOPPING}:
        doing = "starting" if live.phase is Phase.PENDING else "stopping"
        return [
            Wait(
                seconds=seen.poll_seconds,
                why=live.reason or f"{live.instance_type} in {live.zone} is {doing}",
                progress=live.progress,
            )
        ]
    leaving = desk.goal is Goal.PARKED or live.chosen_for < desk.generation
    leaving = leaving or (desk.goal is Goal.STOPPED and not live.stoppable)
    if leaving:
        return _leave(live, desk, seen, past, now)
    if desk.goal is Goal.STOPPED:
        if live.phase is Phase.READY:
            return [Stop(id=live.id, started_at=live.started_at, why="you asked for the machine to be off")]
        return prune(desk, seen)
    if live.phase is Phase.READY:
        return _prove(live, desk, past, now) or prune(desk, seen)
    return _start(live, desk, seen, past, now)


# ---- a machine that is there -------------------------------------------------------------------------


def _start(live: Instance, desk: Desk, seen: Seen, past: Past, now: float) -> list[AnyStep]:
    step = Start(
        id=live.id,
        started_at=live.started_at,
        usd_per_hour=live.usd_per_hour,
        ran_seconds=live.ran_seconds,
        why=live.reason or "the machine is off",
    )
    row = past.last.get(step.key)
    if row and row.refused and row.outcome and row.outcome.kind in OFFER_KINDS and row.outcome.until > now:
        # A stopped machine has no claim on capacity. Its disk can go where there is some.
        return [*save(live, desk, seen, past, now), *_launch(desk, seen, past, now, after=live)]
    proven_at = past.proof.at if past.proof else desk.since
    tries = 1 if live.fix else TRIES  # the same again is no use where its owner must do something first
    if past.begun(f"start:{live.id}", max(desk.since, proven_at)) >= tries:
        times = "" if live.fix else f" {TRIES} times"
        return [
            Ask(
                what=f"{desk.name} was started{times} and stopped again{' each time' if times else ''}.",
                why=live.reason or "The machine does not say why.",
                fix=live.fix or f"hotdesk log {desk.name}",
            )
        ]
    return [step]


def _prove(live: Instance, desk: Desk, past: Past, now: float) -> list[AnyStep]:
    """Ask the desk itself: "up" is what a login has shown since the owner asked, not what a list says."""
    step = Prove(
        id=live.id,
        generation=live.generation,
        started_at=live.started_at,
        usd_per_hour=live.usd_per_hour,
        why="up is said only after a login and an answer from Jupyter",
    )
    proof = past.last.get(step.key)
    if proof and proof.done and proof.at >= desk.since:
        return []
    if past.proof and past.proof.at >= desk.since and not past.powered(live):
        return [step]  # it was up, and another computer has changed its machine: when that began is not known
    power = past.power
    began = max(desk.since, (power.ended_at or power.at) if power else desk.since)
    if now - began > PROVE_SECONDS:
        return [
            Ask(
                what=f"{desk.name} has been running for {int(now - began) // 60} minutes and cannot be used.",
                why="Its machine is on, but a login or Jupyter does not answer.",
                fix=f"hotdesk doctor {desk.name}",
            )
        ]
    return [step]


def _leave(live: Instance, desk: Desk, seen: Seen, past: Past, now: float) -> list[AnyStep]:
    """Save a machine's work and let it go; or only give it another type, where that is enough."""
    if desk.goal is Goal.RUNNING:
        if retype := _retype(live, desk, past, now):
            again = Start(id=live.id, started_at=live.started_at, why="with everything on its own disk")
            stop = Stop(id=live.id, started_at=live.started_at, why="its type is changed while it is off")
            return [retype, again] if live.phase is Phase.STOPPED else [stop, retype, again]
        onward, reason = _launch(desk, seen, past, now, after=live), "you asked for other hardware"
    else:
        onward, reason = [], "no writes after the image is taken"
    if live.phase is Phase.STOPPED:
        return [*save(live, desk, seen, past, now), *onward]
    if live.stoppable:
        stop = Stop(id=live.id, started_at=live.started_at, why=reason)
        return [stop, *save(live, desk, seen, past, now), *onward]
    why = "a one-time spot machine cannot be stopped; its disk stays and is saved"
    release = let_go(live, why, keep_disk=True)
    return [release, *onward]


def _retype(live: Instance, desk: Desk, past: Past, now: float) -> Retype | None:
    """The change of this very machine into the best offer; None where only an image leads there.

    Another zone, market or architecture needs another machine, and so does a bigger disk. An equally cheap
    offer in the machine's own zone is as good as the best: its disk need not be carried anywhere.
    """
    if not live.retypable or desk.want.disk_gib > live.disk_gib:
        return None
    offers = [o for o in desk.offers if not past.refusal(o.key, now)]
    for offer in offers:
        here = (offer.zone, offer.market, offer.arch) == (live.zone, live.market, live.arch)
        if not here or offer.usd_per_hour > offers[0].usd_per_hour:
            continue
        step = Retype(
            id=live.id,
            started_at=live.started_at,
            offer=offer,
            generation=desk.generation,
            why=f"{offer.instance_type} is in {live.zone} too: no image is needed",
        )
        row = past.last.get(step.key)
        kind = row.outcome.kind if row and row.refused and row.outcome and row.at >= desk.since else None
        if kind not in _ANOTHER_MACHINE:
            return step
    return None


def _settle_twins(desk: Desk, seen: Seen, past: Past) -> AnyStep:
    """Two machines under one name: only one that nobody can have worked on may go by itself.

    Of two that two computers launched at once the older stays: it is the one that may be in use by now.
    """
    keep, *others = sorted(
        seen.machines, key=lambda i: (i.id in past.proven, i.generation, -i.started_at, i.id), reverse=True
    )
    for twin in others:
        if past.made(twin) and twin.id not in past.proven:
            return let_go(twin, f"a late twin of {keep.id}: launched, and never reported to anybody")
    ids = " and ".join(i.id for i in seen.machines)
    return Ask(
        what=f"Two machines claim to be {desk.name}: {ids}.",
        why="Work may be on either, so hotdesk deletes neither.",
        fix=f"hotdesk show {desk.name}",
        unsure=True,
    )


# ---- no machine --------------------------------------------------------------------------------------


def _without_machine(desk: Desk, seen: Seen, past: Past, now: float) -> list[AnyStep]:
    newest = seen.newest
    for disk in seen.disks:
        if disk.phase is not Phase.ENDING and not superseded(disk, newest):
            if question := _several_disks(disk, desk, seen):
                return [question]
            onward = _launch(desk, seen, past, now, after=disk) if desk.goal is Goal.RUNNING else []
            return [*save(disk, desk, seen, past, now), *onward]
    for image in seen.images:  # its machine was deleted behind our back before it could be verified
        newer = newest is None or image.age > newest.age
        if newer and not image.verified and usable(image, past):
            return finish(image, seen)
    if question := _missing_work(desk, seen, past):
        return [question]
    if desk.goal is Goal.RUNNING:
        onward = _launch(desk, seen, past, now)
        if not onward:  # a job that waits for spot needs no disk
            return prune(desk, seen)
        # On one computer the old disk lies where the new one will be; elsewhere it only costs.
        old = [s for s in prune(desk, seen) if isinstance(s, Delete) and s.id in {d.id for d in seen.disks}]
        return [*old, *onward]
    return prune(desk, seen)


def _several_disks(disk: Disk, desk: Desk, seen: Seen) -> Ask | None:
    """A question, where an image of this disk would be taken for all the work of its generation.

    A machine of several disks is gone, or two computers had one machine each: the image of one disk would be
    the newest, and what is on the other would go as superseded by it.
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


def _missing_work(desk: Desk, seen: Seen, past: Past) -> Ask | None:
    """A question, when the newest work that we know of is neither on a disk nor in an image."""
    others = (i for i in seen.instances if not past.made(i) and not past.let_go(i))
    known = [(i.generation, i.started_at, i.id) for i in others]
    if desk.fresh:  # said of what was lost until then
        known = []
    proof = past.proof
    if proof and isinstance(proof.step, Prove) and not (desk.fresh and proof.at < desk.since):
        known.append((proof.step.generation, proof.step.started_at, proof.step.id))
    if not known:
        return None
    generation, started_at, machine = max(known)
    older = seen.newest
    if older and holds_last_work(older, generation, started_at):
        return None
    return Ask(
        what=f"The last work on {desk.name} is not to be found: {machine} is gone, and so is its disk.",
        why=(
            f"The newest image is {older.name}, from before that."
            if older
            else "There is no verified image of it either. Something else has deleted them."
        ),
        fix=f"hotdesk up {desk.name} --fresh   # go on from {'that image' if older else 'an empty desk'}",
        unsure=True,
    )


def _launch(
    desk: Desk, seen: Seen, past: Past, now: float, after: Instance | Disk | None = None
) -> list[AnyStep]:
    """The next launch. `after`: what will have been saved and deleted by then (a dry run's outlook)."""
    prior = past.launch
    prior_order = prior.step.order if prior and isinstance(prior.step, Launch) else None
    newest = seen.newest
    same = [
        i for i in seen.images if newest and i.verified and i.phase is Phase.READY and i.age == newest.age
    ]
    if prior and prior_order and not after:
        as_wanted = (
            any(o.key == prior_order.offer.key for o in desk.offers)
            and prior_order.generation >= desk.generation
            and prior_order.image_id in ({i.id for i in same} or {""})
        )
        if prior.unsure and as_wanted:
            if past.begun(prior.step.key, desk.since) >= TRIES:
                return [gave_up(desk, prior.step.key, prior.outcome.message if prior.outcome else "")]
            return [
                Launch(
                    order=prior_order,
                    why="whether this was launched is unknown; the same order again cannot make two",
                )
            ]
        elsewhere = prior.outcome is not None and prior.outcome.kind in OFFER_KINDS
        if not elsewhere and (stop := refused(prior.step, desk, past, now)):
            return [stop]
    if past.launched(since=desk.since) >= TRIES and not (past.proof and past.proof.at >= desk.since):
        return [gave_up(desk, f"{TRIES} launches", "each machine ended before anybody could log in")]
    seen_so_far: list[Instance | Disk | Image] = [*seen.instances, *seen.disks, *seen.images]
    generation = max([desk.generation, *(thing.generation + 1 for thing in seen_so_far)])
    if prior and prior_order:
        generation = max(generation, prior_order.generation + (0 if prior.refused else 1))
    waits = now < desk.on_demand_at
    offers = [o for o in desk.offers if o.market is Market.SPOT] if waits else desk.offers
    offer = next((o for o in offers if not past.refusal(o.key, now)), None)
    if offer is None:
        return [] if waits else [_nothing_to_launch(desk, past, now)]
    image = next((i for i in same if i.region == offer.region), newest)
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
        launch = Launch(order=order, why=why + _loading(order, image))
        row = past.last.get(launch.key)
        if row is None or not row.refused:
            break
        attempt += 1
    if image and not after and image.region != offer.region:
        return [*_bring(image, offer, desk, seen, past), launch]
    return [launch]


def _loading(order: LaunchOrder, image: Image | None) -> str:
    """How long a provisioned load takes at most, which the cloud bills by its size and its rate at once."""
    if not (order.initialization_rate and image):
        return ""
    minutes = image.size_gib * 1024 / order.initialization_rate / 60
    return (
        f"; its disk of {image.size_gib:.0f} GiB is loaded at {order.initialization_rate} MiB/s, within"
        f" {max(1.0, minutes):.0f} min, which the cloud bills at once"
    )


def _bring(image: Image, offer: Offer, desk: Desk, seen: Seen, past: Past) -> list[AnyStep]:
    name = f"{image.name}-{offer.region}"
    why = f"{desk.name}'s image is in {image.region}, the machine will be in {offer.region}"
    copy = Copy(id=image.id, region=offer.region, name=name, why=why)
    for copied in seen.images:
        if copied.name == name and copied.region == offer.region:
            if usable(copied, past):
                return finish(copied, seen)
            if past.begun(copy.key, desk.since) >= TRIES:
                return [gave_up(desk, f"copying {image.name} to {offer.region}", copied.reason)]
            return [let_go(copied, f"a failed copy: {copied.reason or 'it is not as it should be'}")]
    return [copy]


def _nothing_to_launch(desk: Desk, past: Past, now: float) -> Ask:
    refusals = past.refusals(now)
    tried = [(o, refusals[o.key]) for o in desk.offers if o.key in refusals]
    if not tried:
        return Ask(
            what=f"No offer fits what {desk.name} wants.",
            why="Nothing on the price list has that hardware within those limits.",
            fix="hotdesk offers",
            kind=Kind.UNSUPPORTED,
        )
    soonest = min(refusal.until for _, refusal in tried) - now
    reasons: dict[str, list[Offer]] = {}
    for offer, refusal in tried:
        short = _SHORT.get(refusal.kind, "") if refusal.kind else ""
        reasons.setdefault(short or refusal.message, []).append(offer)
    again = f"hotdesk up {desk.name}   # again in {max(1, round(soonest / 60))} min, or with other hardware"
    fixes = {refusal.fix for _, refusal in tried if refusal.kind is Kind.QUOTA and refusal.fix}
    return Ask(
        what=f"No machine for {desk.name} could be had.",
        why="; ".join(f"{_places(offers)}: {reason}" for reason, offers in list(reasons.items())[:3]),
        fix=min(fixes) if fixes and all(r.kind is Kind.QUOTA for _, r in tried) else again,
        kind=tried[0][1].kind,
    )


#: A cloud's own words for these name one zone each, at length.
_SHORT = {Kind.NO_CAPACITY: "sold out"}


def _places(offers: list[Offer]) -> str:
    """Which types were tried where, each named once."""
    kinds = dict.fromkeys(f"{o.instance_type} ({o.market})" for o in offers)
    zones = dict.fromkeys(o.zone or o.region for o in offers)
    shown = [*list(zones)[:6], *([f"{len(zones) - 6} more zones"] if len(zones) > 6 else [])]
    return f"{', '.join(list(kinds)[:4])} in {', '.join(shown)}"


# ---- refusals ----------------------------------------------------------------------------------------


def _unless_refused(step: AnyStep, desk: Desk, past: Past, now: float) -> AnyStep:
    """The step; or a question when the same one was refused, or failed again and again, since asked."""
    if not step.acts:
        return step
    if stop := refused(step, desk, past, now):
        return stop
    row = past.last.get(step.key)
    if row and past.begun(step.key, desk.since) >= (TRIES if row.unsure else TRIES_DONE):
        return gave_up(desk, step.key, row.outcome.message if row.outcome else "")
    return step


# ---- things of nobody --------------------------------------------------------------------------------


def plan_gc(survey: Survey, desks: Iterable[Desk], now: float) -> list[AnyStep]:
    """What in a survey belongs to no desk of this computer, and what may be done about it.

    A `Delete` holds nothing that is not held elsewhere. An `Ask` may be somebody's only copy, or somebody's
    running machine (a second computer's desk looks just like that): only a person may decide.
    """
    known = {desk.name for desk in desks}
    steps: list[AnyStep] = []
    for name, seen in sorted(survey.by_desk().items()):
        if name in known:
            continue
        steps += prune(Desk(name=name, goal=Goal.PARKED, since=now, created_at=0.0), seen)
        pruned = {s.id for s in steps if isinstance(s, Delete)}
        things: list[Instance | Disk | Image | Leftover] = [*seen.machines, *seen.disks, *seen.images]
        things += [t for t in seen.leftovers if last_copy(t, seen)]
        pasted = quote(name)  # a tag may hold anything
        if kept := [t for t in things if t.id not in pruned]:
            what = ", ".join(f"{type(t).__name__.lower()} {t.id}" for t in kept)
            steps.append(
                Ask(
                    what=f"{name}: {what}",
                    why="No desk of this computer has that name; it may be another computer's.",
                    fix=f"hotdesk doctor --adopt   # then: hotdesk resume {pasted}, or hotdesk down {pasted}",
                )
            )
    return steps
