"""The planner: what is left to do, as a pure function of the goal, the survey and the journal.

`plan` never acts and keeps no state. It is called again after every step, so only the *next* step has to be
right; the rest of the list is what a dry run shows. The rules it never breaks:

* one machine for a desk: a launch whose outcome is unknown is repeated exactly, or waited out;
* the last copy of somebody's work is deleted only when a newer one exists and is verified;
* absence counts only after the listing's lag has passed;
* if continuing could lose work or money, it asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from shlex import quote

from msgspec.structs import replace

from hotdesk.core.errors import OFFER_KINDS, Kind
from hotdesk.core.lifecycle import holding, moving
from hotdesk.core.lifecycle.descent import described, own
from hotdesk.core.lifecycle.ending import vacate
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.lifecycle.launch import launch, not_from_there, without_machine
from hotdesk.core.lifecycle.save import (
    TRIES,
    delete_everything,
    gave_up,
    last_copy,
    let_go,
    prune,
    refused,
    save,
)
from hotdesk.core.lifecycle.shutdown import left
from hotdesk.core.model import (
    Desk,
    Disk,
    Goal,
    Image,
    Instance,
    Leftover,
    Phase,
    Seen,
    Survey,
)
from hotdesk.core.steps import (
    Act,
    AnyStep,
    Ask,
    Delete,
    Grow,
    Hold,
    Launch,
    Prove,
    Retype,
    Start,
    Stop,
    Wait,
)

#: Refusals to change a machine's type after which another machine may still work.
_ANOTHER_MACHINE = OFFER_KINDS | {Kind.BAD_REQUEST}

#: Leftovers that cost nothing and open nothing, as long as no machine uses them.
FREE = frozenset({"security group"})

TRIES_DONE = 10  # of one step that is reported done and never shows
TWIN_SECONDS = 300.0  # how long another computer may take to withdraw a duplicate that it launched
PROVE_SECONDS = 900.0  # how long a machine may take from its start until Jupyter answers


def plan(desk: Desk, seen: Seen, past: Past, now: float) -> list[AnyStep]:
    """Steps from what is seen to the goal; empty if it is reached.

    Only the first may be taken before the next survey (see `together`). `now` is this computer's clock.
    """
    if seen.unread:
        regions = ", ".join(seen.unread)
        if seen.closed:
            what = f"Access to {regions} is denied. Whatever {desk.name} has there stays and is billed."
            return [Ask(what=what, why=seen.closed, fix=seen.closed_fix, kind=Kind.DENIED)]
        why = f"{regions} did not answer and may hold the desk"
        return [Wait(seconds=seen.poll_seconds, why=why, silent=True)]
    if row := past.unsettled(seen, now):
        why = f"{row.step.key} may not be listed yet"
        return [Wait(seconds=max(seen.poll_seconds, 0.05), why=why, silent=row.in_vain)]
    if past.launch is None and seen.ids and 0 <= now - desk.since < seen.lag_seconds:
        return [Wait(seconds=seen.poll_seconds, why="another computer may have just changed it")]
    if busy := past.too_busy(desk.since, now):
        return [Wait(seconds=busy.until - now, why=busy.message, silent=True)]

    def again(other: Desk, seen: Seen) -> list[AnyStep]:
        return plan(other, seen, past, now)

    if desk.bound is not None:
        return moving.hand_over(desk, desk.bound, seen, past, again, now=now)
    if earlier := moving.before(desk, seen, past, again):
        return earlier
    seen, held = holding.apart(own(desk, moving.arriving(desk, seen), past))
    if partial := moving.unbrought(desk, seen):
        return partial
    steps = [step for step in _steps(desk, seen, past, now) if not _let_be(step, desk, past)]
    if (row := past.under_way(seen, now)) and not (steps and _may_go_first(steps[0], desk, row.step.key)):
        why = f"{row.step.key} may still be carried out"
        return [Wait(seconds=max(seen.poll_seconds, 1.0), why=why, silent=row.in_vain)]
    if steps and isinstance(steps[0], Launch) and seen.others and past.launch is None:
        return [_anothers_name(desk, seen)]
    steps = holding.beside(desk, seen, held, steps, past, now=now)
    return [_unless_refused(steps[0], desk, past, now), *steps[1:]] if steps else []


def _may_go_first(step: AnyStep, desk: Desk, launch: str) -> bool:
    """Whether a step may be taken while `launch` may still be carried out: that launch again, or a deletion
    for which its owner asked: nothing is to be left, however the launch ends.
    """
    return step.key == launch or (desk.goal is Goal.GONE and isinstance(step, Delete))


def _anothers_name(desk: Desk, seen: Seen) -> Ask:
    """A question before the first launch, if another owner has a desk of this name in the same account."""
    whose = " and ".join(seen.others)
    return Ask(
        what=f"{desk.name} is already a desk of {whose} in this account.",
        why="It stays as it is. If it is yours, with other credentials, add under "
        f'[{desk.provider}] in hotdesk.toml: owner = "{seen.others[0]}".',
        fix=f"hotdesk down {desk.name} && hotdesk up another-name",
    )


def together(desk: Desk, first: Act, steps: Sequence[AnyStep]) -> list[Act]:
    """Steps that may be taken before the next survey: the first; for a desk to be deleted, all deletions.

    Otherwise an older image is deleted one survey after its replacement was verified: another computer with a
    stale survey must not see the old one gone and the new one not yet there.
    """
    if desk.goal is not Goal.GONE or not isinstance(first, Delete):
        return [first]
    deletions = takewhile(lambda step: isinstance(step, Delete), steps)
    return [step for step in deletions if isinstance(step, Delete)]


def _steps(desk: Desk, seen: Seen, past: Past, now: float) -> list[AnyStep]:
    machines = seen.machines
    if ending := {m.id: m for m in machines if m.phase is Phase.ENDING}:
        for half in seen.leftovers:
            if half.of in ending:
                step = Delete(id=half.id, why=half.why)
                if past.begun(step.key, desk.since) >= TRIES:
                    return [gave_up(desk, f"deleting {half.of}", half.why)]
                return [step]
        if desk.goal is Goal.GONE and seen.leftovers:  # no need to wait until the machine has ended
            return [let_go(thing, "you asked to delete it") for thing in seen.leftovers]
        machine = next((m for m in ending.values() if m.reason), next(iter(ending.values())))
        why = machine.reason or f"{machine.instance_type} in {machine.zone} is being ended"
        return [Wait(seconds=seen.poll_seconds, why=why)]
    if desk.goal is Goal.GONE:
        return delete_everything(desk, seen)
    if leave := left(desk, seen, past) or vacate(desk, seen, past, now):
        return [leave]
    if len(machines) > 1:
        return [_settle_twins(desk, seen, past, now)]
    if seen.rivals and (desk.goal is Goal.RUNNING or machines or seen.disks):
        return [_several_ends(desk, seen)]
    live = seen.live
    if live is None:
        steps = [] if seen.rivals else without_machine(desk, seen, past, now)
        running = [t for t in seen.strays if isinstance(t, Instance)]
        launches = any(isinstance(step, Launch) for step in steps[:1])
        return [_anothers_machine(desk, running[0])] if running and launches else steps
    if desk.goal is Goal.RUNNING and (elsewhere := not_from_there(desk, seen, past)):
        return [elsewhere]
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
            return [Stop(id=live.id, started_at=live.started_at, why="you asked to stop the machine")]
        return _grow(live, desk, past, now) or prune(desk, seen)  # its next boot grows the file system
    if live.phase is Phase.READY:
        return (
            moving.bring(desk, live)
            or _prove(live, desk, past, now)
            or _grow(live, desk, past, now)
            or prune(desk, seen)
        )
    return _start(live, desk, seen, past, now)


# ---- a machine that is there -------------------------------------------------------------------------


def _start(live: Instance, desk: Desk, seen: Seen, past: Past, now: float) -> list[AnyStep]:
    step = Start(
        id=live.id,
        started_at=live.started_at,
        usd_per_hour=live.usd_per_hour,
        ran_seconds=live.ran_seconds,
        why=f"the machine is off: {live.reason}" if live.reason else "the machine is off",
    )
    row = past.last.get(step.key)
    if row and (no := row.refusal) and no.kind in OFFER_KINDS and no.until > now:
        # A stopped machine has no claim on capacity. Its disk can go where there is some.
        return [*save(live, desk, seen, past, now), *launch(desk, seen, past, now, after=live)]
    proven_at = past.proof.at if past.proof else desk.since
    tries = 1 if live.fix else TRIES  # a retry is no use if its owner must do something first
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


def _grow(live: Instance, desk: Desk, past: Past, now: float) -> list[AnyStep]:
    """Make a machine's disk as big as its desk wants it. The desk can be used, whatever becomes of it."""
    if not 0 < live.growable_gib < desk.want.disk_gib:
        return []
    step = Grow(
        id=live.id,
        gib=desk.want.disk_gib,
        disk_usd_per_month=live.disk_usd_per_month,
        why=f"its disk is {live.growable_gib:.0f} GiB, and {desk.want.disk_gib} GiB are wanted",
    )
    row = past.last.get(step.key)
    if row and row.refusal and row.at < desk.since and row.refusal.until > now:
        return []  # who asks for the desk is not asked about its disk again
    return [step]


def _prove(live: Instance, desk: Desk, past: Past, now: float) -> list[AnyStep]:
    """Log in to the desk: it counts as up only after a login since the owner asked, whatever is listed."""
    step = Prove(
        id=live.id,
        generation=live.generation,
        started_at=live.started_at,
        name=live.name,
        usd_per_hour=live.usd_per_hour,
        why="a desk is up once a login works and Jupyter answers",
    )
    proof = past.last.get(step.key)
    if proof and proof.done and proof.at >= desk.since:
        return []
    if past.proof and past.proof.at >= desk.since and not past.powered(live):
        return [step]  # another computer changed its machine since it was up: the start time is unknown
    rows = [past.power, past.brought]
    began = max([desk.since, *((row.ended_at or row.at) for row in rows if row)])
    if now - began > (live.proves_within or PROVE_SECONDS):
        return [
            Ask(
                what=f"{desk.name} has been running for {int(now - began) // 60} minutes and cannot be used.",
                why="Its machine is running, but the login or Jupyter does not answer.",
                fix=f"hotdesk doctor {desk.name}",
            )
        ]
    return [step]


def _leave(live: Instance, desk: Desk, seen: Seen, past: Past, now: float) -> list[AnyStep]:
    """Save a machine's work and delete it; or only change its type, if that is enough."""
    if desk.goal is Goal.RUNNING:
        if retype := _retype(live, desk, past, now):
            again = Start(id=live.id, started_at=live.started_at, why="all its work is on its own disk")
            stop = Stop(
                id=live.id, started_at=live.started_at, why="its type can only be changed while it is stopped"
            )
            return [retype, again] if live.phase is Phase.STOPPED else [stop, retype, again]
        onward, reason = launch(desk, seen, past, now, after=live), "you asked for other hardware"
    else:
        onward, reason = [], "the disk must not change while the image is taken"
    if live.phase is Phase.STOPPED:
        return [*save(live, desk, seen, past, now), *onward]
    if live.stoppable:
        stop = Stop(id=live.id, started_at=live.started_at, why=reason)
        return [stop, *save(live, desk, seen, past, now), *onward]
    why = "a one-time spot machine cannot be stopped; its disk stays and is saved"
    release = let_go(live, why, keep_disk=True)
    return [release, *onward]


def _retype(live: Instance, desk: Desk, past: Past, now: float) -> Retype | None:
    """Change this machine's type to the best offer; None if that needs an image and a new machine.

    Another zone, market or architecture needs a new machine, and so does a bigger disk. An offer in the
    machine's own zone at the price of the best is preferred: the disk can stay. Only a launch can go into
    what is reserved.
    """
    if not live.retypable or desk.want.disk_gib > live.disk_gib:
        return None
    offers = [o for o in desk.offers if not past.refusal(o, now, desk.since, desk.retried_at)]
    for offer in offers:
        here = (offer.zone, offer.market, offer.arch) == (live.zone, live.market, live.arch)
        if not here or offer.reservation or offer.usd_per_hour > offers[0].usd_per_hour:
            continue
        step = Retype(
            id=live.id,
            started_at=live.started_at,
            offer=offer,
            generation=desk.generation,
            why=f"{live.zone} also offers {offer.instance_type}: no image is needed",
        )
        row = past.last.get(step.key)
        kind = row.refusal.kind if row and row.refusal and row.at >= desk.since else None
        if kind not in _ANOTHER_MACHINE:
            return step
    return None


def _settle_twins(desk: Desk, seen: Seen, past: Past, now: float) -> AnyStep:
    """Resolve two machines under one name: only one that was never reported to a user is deleted unasked.

    Of two that two computers launched at once, the reported one stays, else the older: both computers decide
    the same. Each deletes only its own machine and waits for the other to do so.
    """

    def told(machine: Instance) -> bool:
        return machine.reported or machine.id in past.proven

    keep, *others = sorted(
        seen.machines, key=lambda i: (told(i), i.generation, -i.started_at, i.id), reverse=True
    )
    for twin in others:
        if past.made(twin) and not told(twin):
            why = f"duplicate of {keep.id}: launched by a retry and never used"
            return let_go(twin, why, for_good=True)
    launched = past.launch.ended_at or past.launch.at if past.launch else None
    if launched and now - launched < TWIN_SECONDS and past.made(keep) and not any(map(told, others)):
        why = f"another computer launched {desk.name} at the same moment and will delete its machine"
        return Wait(seconds=seen.poll_seconds, why=why)
    ids = " and ".join(i.id for i in seen.machines)
    return Ask(
        what=f"Two machines claim to be {desk.name}: {ids}.",
        ids=tuple(i.id for i in seen.machines),
        why="Work may be on either, so hotdesk deletes neither.",
        fix=f"hotdesk show {desk.name}",
        unsure=True,
    )


# ---- several beginnings under one name ---------------------------------------------------------------


def _kept(desk: Desk, thing: Instance | Disk | Image) -> Ask:
    pasted = f"hotdesk up {desk.name} --from {thing.id}   # continues from that one; what is here now stays"
    if isinstance(thing, Instance):
        pasted = f"hotdesk park {desk.name}   # on the computer where it was started"
    return Ask(
        what=f"{desk.name}: {type(thing).__name__.lower()} {thing.id}",
        ids=(thing.id,),
        why=f"Work from another beginning of {desk.name}, which is nowhere else.",
        fix=pasted,
    )


def _several_ends(desk: Desk, seen: Seen) -> Ask:
    """A question, if nothing tells which of several lines the desk continues from."""
    things: list[Instance | Disk | Image] = [*seen.machines, *seen.disks, *seen.images]
    ends = sorted((t for t in things if t.id in seen.rivals), key=lambda t: (t.generation, t.id))
    last = next((t for t in reversed(ends) if not isinstance(t, Instance)), ends[-1])
    return Ask(
        what=f"{desk.name} has {len(ends)} separate lines of work: {', '.join(map(described, ends))}.",
        ids=tuple(t.id for t in ends),
        why="None of them contains the work of another, so all are kept.",
        fix=f"hotdesk up {desk.name} --from {last.id}   # continues from that one; the others stay",
        unsure=True,
    )


def _anothers_machine(desk: Desk, machine: Instance) -> Ask:
    where = f" at {machine.computer}" if machine.computer else " at another computer"
    there = f"hotdesk park {desk.name}   # there; its work is kept separately from this one's"
    return Ask(
        what=f"Another machine, started{where}, also runs as {desk.name}: {machine.id}.",
        ids=(machine.id,),
        why=f"It has none of the work of this computer's {desk.name}, and a desk has only one machine.",
        fix=f"{there}. Then here: hotdesk up {desk.name}",
        unsure=True,
    )


def _let_be(step: AnyStep, desk: Desk, past: Past) -> bool:
    """Whether to leave a step to the next command: it deletes something free of charge and was refused.

    (Something else may use it, or deleting it is not allowed.) Saving and deleting what is billed goes on.
    """
    if not isinstance(step, Delete) or step.kind not in FREE:
        return False
    tried, row = past.begun(step.key, desk.since), past.last.get(step.key)
    not_now = row and row.refusal and row.refusal.kind is not Kind.NOT_READY
    return tried >= TRIES or bool(tried and not_now)


def _unless_refused(step: AnyStep, desk: Desk, past: Past, now: float) -> AnyStep:
    """The step; or a question, if it was refused or failed repeatedly since the owner last asked."""
    if not step.acts or isinstance(step, Hold):  # whatever is refused there, its machine works
        return step
    if stop := refused(step, desk, past, now):
        return stop
    row = past.last.get(step.key)
    if row and past.begun(step.key, desk.since) >= (TRIES if row.unsure else TRIES_DONE):
        return gave_up(desk, step.key, row.said)
    return step


# ---- orphaned resources ------------------------------------------------------------------------------


def plan_gc(
    survey: Survey, desks: Iterable[Desk], now: float, past: Callable[[Desk], Past] = lambda desk: Past()
) -> list[AnyStep]:
    """Steps for the orphaned resources in a survey: those that no desk on this computer owns.

    `Delete` is for what holds no work of its own. `Ask` is for what may be the only copy of somebody's work,
    or a running machine (another computer's desk looks the same): a person must decide. `past` tells what a
    desk of this computer continues from; other beginnings under its name are asked about too.
    """
    known = {desk.name: desk for desk in desks}
    steps: list[AnyStep] = []
    for name, seen in sorted(survey.by_desk().items()):
        if name in known:
            steps += [_kept(known[name], thing) for thing in own(known[name], seen, past(known[name])).strays]
            continue
        nobodys = Desk(name=name, goal=Goal.PARKED, since=now, created_at=0.0)
        mine = own(nobodys, seen, Past())
        # Its owner continues from its machine; what is beside it is asked about as well.
        ends = mine.rivals or tuple(t.id for t in mine.strays)
        steps += prune(nobodys, replace(seen, rivals=ends))
        pruned = {s.id for s in steps if isinstance(s, Delete)}
        things: list[Instance | Disk | Image | Leftover] = [*seen.machines, *seen.disks, *seen.images]
        things += [t for t in seen.leftovers if last_copy(t, seen)]
        pasted = quote(name)  # a tag may hold anything
        if kept := [t for t in things if t.id not in pruned]:
            what = ", ".join(f"{type(t).__name__.lower()} {t.id}" for t in kept)
            steps.append(
                Ask(
                    what=f"{name}: {what}",
                    why="No desk on this computer has that name; it may be another computer's.",
                    fix=f"hotdesk doctor --adopt   # then: hotdesk resume {pasted}, or hotdesk down {pasted}",
                    ids=tuple(t.id for t in kept),
                )
            )
    return steps
