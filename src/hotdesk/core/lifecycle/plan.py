"""The planner: what is left to do, as a pure function of what is wanted, seen and past.

`plan` never acts and never remembers. It is asked again after every step, so it only has to be right
about the *next* one; the rest of the list is what a dry run shows. The rules it never breaks:

* one machine for a desk: a launch whose outcome is unknown is repeated to the letter, or waited out;
* the last copy of somebody's work is deleted only when a newer one is there and verified;
* an absence is believed only when the listing's lag has passed;
* where going on could lose work or money, it asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from shlex import quote

from msgspec.structs import replace

from hotdesk.core.errors import OFFER_KINDS, Kind
from hotdesk.core.lifecycle.descent import described, own
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
    Launch,
    Prove,
    Retype,
    Start,
    Stop,
    Wait,
)

#: Why a machine cannot become what is wanted, although another machine may well be it.
_ANOTHER_MACHINE = OFFER_KINDS | {Kind.BAD_REQUEST}

#: Leftovers that cost nothing and open nothing, as long as no machine uses them.
FREE = frozenset({"security group"})

TRIES_DONE = 10  # of one step that is said to be done, and never shows
TWIN_SECONDS = 300.0  # for which a machine that another computer launched too is left to it to withdraw
PROVE_SECONDS = 900.0  # how long a machine may take from its start to an answering Jupyter


def plan(desk: Desk, seen: Seen, past: Past, now: float) -> list[AnyStep]:
    """Steps from what is seen to what is wanted; empty when all is as wanted.

    Only the first may be taken before looking again (see `together`). `now` is this computer's clock.
    """
    if seen.unread:
        regions = ", ".join(seen.unread)
        if seen.closed:
            what = (
                f"{regions} does not let hotdesk look. Whatever {desk.name} has there stays, and is billed."
            )
            return [Ask(what=what, why=seen.closed, fix=seen.closed_fix, kind=Kind.DENIED)]
        return [Wait(seconds=seen.poll_seconds, why=f"{regions} did not answer, and may hold the desk")]
    if row := past.unsettled(seen, now):
        return [Wait(seconds=max(seen.poll_seconds, 0.05), why=f"{row.step.key} may not be listed yet")]
    if past.launch is None and seen.ids and 0 <= now - desk.since < seen.lag_seconds:
        return [Wait(seconds=seen.poll_seconds, why="another computer may have just changed it")]
    if busy := past.too_busy(desk.since, now):
        return [Wait(seconds=busy.until - now, why=busy.message)]
    seen = own(desk, seen, past)
    steps = [step for step in _steps(desk, seen, past, now) if not _let_be(step, desk, past)]
    if steps and isinstance(steps[0], Launch) and seen.others and past.launch is None:
        return [_anothers_name(desk, seen)]
    return [_unless_refused(steps[0], desk, past, now), *steps[1:]] if steps else []


def _anothers_name(desk: Desk, seen: Seen) -> Ask:
    """A question before the first machine of a desk whose name somebody else uses in the same account."""
    whose = " and ".join(seen.others)
    return Ask(
        what=f"{desk.name} is already a desk of {whose} in this account.",
        why="It is left alone. If that is you with other credentials, add under "
        f'[{desk.provider}] in hotdesk.toml: owner = "{seen.others[0]}".',
        fix=f"hotdesk down {desk.name} && hotdesk up another-name",
    )


def together(desk: Desk, first: Act, steps: Sequence[AnyStep]) -> list[Act]:
    """What may be taken before looking again: the first step, and all deletions where everything shall go.

    Elsewhere an older image goes one look after what it was replaced for: another computer, whose look is
    behind, shall not see both gone and the new one not yet there.
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
        if desk.goal is Goal.GONE and seen.leftovers:  # what no machine needs need not wait for its end
            return [let_go(thing, "you asked to delete it") for thing in seen.leftovers]
        machine = next((m for m in ending.values() if m.reason), next(iter(ending.values())))
        why = machine.reason or f"{machine.instance_type} in {machine.zone} is being ended"
        return [Wait(seconds=seen.poll_seconds, why=why)]
    if desk.goal is Goal.GONE:
        return delete_everything(desk, seen)
    if leave := left(desk, seen, past):
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
        why=f"the machine is off: {live.reason}" if live.reason else "the machine is off",
    )
    row = past.last.get(step.key)
    if row and (no := row.refusal) and no.kind in OFFER_KINDS and no.until > now:
        # A stopped machine has no claim on capacity. Its disk can go where there is some.
        return [*save(live, desk, seen, past, now), *launch(desk, seen, past, now, after=live)]
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
        name=live.name,
        usd_per_hour=live.usd_per_hour,
        why="a desk is up once a login works and Jupyter answers",
    )
    proof = past.last.get(step.key)
    if proof and proof.done and proof.at >= desk.since:
        return []
    if past.proof and past.proof.at >= desk.since and not past.powered(live):
        return [step]  # it was up, and another computer has changed its machine: when that began is not known
    power = past.power
    began = max(desk.since, (power.ended_at or power.at) if power else desk.since)
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
    """Save a machine's work and let it go; or only give it another type, where that is enough."""
    if desk.goal is Goal.RUNNING:
        if retype := _retype(live, desk, past, now):
            again = Start(id=live.id, started_at=live.started_at, why="all its work is on its own disk")
            stop = Stop(
                id=live.id, started_at=live.started_at, why="its type can only be changed while it is stopped"
            )
            return [retype, again] if live.phase is Phase.STOPPED else [stop, retype, again]
        onward, reason = launch(desk, seen, past, now, after=live), "you asked for other hardware"
    else:
        onward, reason = [], "nothing may be written while the image is taken"
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
    offers = [o for o in desk.offers if not past.refusal(o, now, desk.since)]
    for offer in offers:
        here = (offer.zone, offer.market, offer.arch) == (live.zone, live.market, live.arch)
        if not here or offer.usd_per_hour > offers[0].usd_per_hour:
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
    """Two machines under one name: only one that nobody can have worked on may go by itself.

    Of two that two computers launched at once the one stays of which somebody was told, else the older. Both
    computers see it so: the other's is the other's to withdraw, and is waited for.
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
        why = f"another computer launched {desk.name} at the same moment, and withdraws its machine"
        return Wait(seconds=seen.poll_seconds, why=why)
    ids = " and ".join(i.id for i in seen.machines)
    return Ask(
        what=f"Two machines claim to be {desk.name}: {ids}.",
        ids=tuple(i.id for i in seen.machines),
        why="Work may be on either, so hotdesk deletes neither.",
        fix=f"hotdesk show {desk.name}",
        unsure=True,
    )


# ---- refusals ----------------------------------------------------------------------------------------


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


# ---- several beginnings under one name ------------------------------------------------------------------


def _several_ends(desk: Desk, seen: Seen) -> Ask:
    """A question, where nothing tells which of several the desk goes on from."""
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
    there = f"hotdesk park {desk.name}   # there; its work is kept beside this one's"
    return Ask(
        what=f"Another machine, started{where}, also runs as {desk.name}: {machine.id}.",
        ids=(machine.id,),
        why=f"It has none of the work of this computer's {desk.name}, and a desk has only one machine.",
        fix=f"{there}. Then here: hotdesk up {desk.name}",
        unsure=True,
    )


def _let_be(step: AnyStep, desk: Desk, past: Past) -> bool:
    """Whether a step is left to the next command: it would delete what costs nothing, and the cloud will not.

    (Something of another's may use it, or deleting it is not allowed.) Saving, and all that is paid, goes on.
    """
    if not isinstance(step, Delete) or step.kind not in FREE:
        return False
    tried, row = past.begun(step.key, desk.since), past.last.get(step.key)
    not_now = row and row.refusal and row.refusal.kind is not Kind.NOT_READY
    return tried >= TRIES or bool(tried and not_now)


def _unless_refused(step: AnyStep, desk: Desk, past: Past, now: float) -> AnyStep:
    """The step; or a question when the same one was refused, or failed again and again, since asked."""
    if not step.acts:
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
    """What in a survey belongs to no desk of this computer, and what may be done about it.

    A `Delete` holds nothing that is not held elsewhere. An `Ask` may be somebody's only copy, or somebody's
    running machine (a second computer's desk looks just like that): only a person may decide. `past` tells
    what a desk of this computer goes on from: what began elsewhere under its name is asked about too.
    """
    known = {desk.name: desk for desk in desks}
    steps: list[AnyStep] = []
    for name, seen in sorted(survey.by_desk().items()):
        if name in known:
            steps += [_kept(known[name], thing) for thing in own(known[name], seen, past(known[name])).strays]
            continue
        nobodys = Desk(name=name, goal=Goal.PARKED, since=now, created_at=0.0)
        mine = own(nobodys, seen, Past())
        # Whoever has its machine goes on from that; what is beside it is a question as well.
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
