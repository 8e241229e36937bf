"""A machine whose cloud ends it at a time that is known since its launch: the end of a capacity block.

It is left before that: a job is moved on, and a desk without one is parked, because what it would cost
elsewhere is not what its owner has agreed to. What is ended all the same is saved as after an interruption.

The time is the cloud's. This computer's clock may differ from that by minutes, not by more: signed requests
would be refused. `LEAVE_SECONDS` has room for it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from hotdesk.core.lifecycle.history import Past
from hotdesk.core.model import Desk, Goal, Instance, Phase, Seen
from hotdesk.core.steps import AnyStep, Ask, Launch, Vacate

#: How long before the end a desk is parked: time to stop it in good order.
LEAVE_SECONDS = 900.0
#: How long before the end a job is moved: it is asked for a checkpoint first.
MOVE_SECONDS = 1200.0
#: How long before the end its owner is told.
SAID_SECONDS = 3600.0
#: A machine that runs so long after its end was not ended: the time was put off, or is wrong.
BELIED_SECONDS = 1800.0


def known_end(past: Past) -> float:
    """When the machine that was launched last is ended, by its order; 0: no time is known."""
    row = past.launch
    return row.step.order.offer.ends_at if row and row.done and isinstance(row.step, Launch) else 0.0


def end_of(machine: Instance, now: float) -> float:
    """When its cloud ends a machine; 0: no time is known, or it runs although that is long past."""
    belied = machine.phase is Phase.READY and now >= machine.ends_at + BELIED_SECONDS
    return 0.0 if belied else machine.ends_at


def is_near(ends_at: float, now: float, seconds: float) -> bool:
    return bool(ends_at) and now >= ends_at - seconds


def said(ends_at: float) -> str:
    return f"{datetime.fromtimestamp(ends_at, UTC):%Y-%m-%d %H:%M} UTC"


def vacate(desk: Desk, seen: Seen, past: Past, now: float) -> AnyStep | None:
    """What to do before, and after, such an end; None where there is none, or its owner knows and goes on."""
    if desk.goal is not Goal.RUNNING:
        return None
    last = max(seen.instances, key=lambda i: (i.generation, i.started_at, i.id), default=None)
    if last is None:
        return _ended(desk, seen, past, now)
    ends = end_of(last, now)
    if not ends and last.phase is Phase.ENDED and past.made(last):
        ends = known_end(past)  # its cloud may not tell any more
    if not is_near(ends, now, LEAVE_SECONDS) or last.chosen_for < desk.generation:
        return None
    if last.phase is Phase.ENDED:
        return _park(desk, last.id, ends, past, now)
    if last.phase not in {Phase.READY, Phase.STOPPED} or len(seen.machines) > 1:
        return None
    if desk.since < ends - LEAVE_SECONDS:
        return _park(desk, last.id, ends, past, now)
    return _about_to_end(desk, last)


def _ended(desk: Desk, seen: Seen, past: Past, now: float) -> Vacate | None:
    """The same when it is not listed any more, and only its disk is left."""
    ends = known_end(past)
    row = past.launch
    if row is None or not is_near(ends, now, 0.0) or not seen.disks:
        return None
    return _park(desk, row.made, ends, past, now)


def _park(desk: Desk, id_: str, ends_at: float, past: Past, now: float) -> Vacate | None:
    step = Vacate(id=id_, ends_at=ends_at, why=f"its cloud ends the machine at {said(ends_at)}, as was known")
    row = past.last.get(step.key)
    moved = row is not None and row.refusal is not None and row.refusal.until > now
    return None if desk.since >= ends_at or moved else step


def _about_to_end(desk: Desk, machine: Instance) -> Ask:
    """A question to whoever asks for it in its last minutes: it would have to be paid for elsewhere."""
    return Ask(
        what=f"The cloud ends the machine of {desk.name} at {said(machine.ends_at)}.",
        ids=(machine.id,),
        why="The capacity block that it was launched into is over then. Its disk stays; elsewhere it costs"
        " what the offers there do.",
        fix=f"hotdesk park {desk.name} && hotdesk resume {desk.name}   # saved; launched where it is best",
    )
