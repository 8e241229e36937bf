"""Detect machines that ended themselves or were stopped elsewhere, and adapt the desk's goal."""

from __future__ import annotations

from hotdesk.core.lifecycle.descent import holds_proven
from hotdesk.core.lifecycle.history import Past
from hotdesk.core.model import Desk, EndedBy, Goal, Image, Instance, Phase, Seen
from hotdesk.core.steps import Bake, Copy, Delete, Fetch, Leave, Prove, Stop

_OFF = frozenset({Phase.STOPPED, Phase.ENDED})


def ended_itself(machine: Instance) -> bool:
    """Whether a machine was turned off from within, and neither by hotdesk nor by its cloud."""
    return machine.phase in _OFF and machine.ended_by is EndedBy.GUEST


def ended_alone(seen: Seen) -> Instance | None:
    """The desk's machine, if it ended itself with unsaved work and no other machine of the desk runs."""
    last = max(seen.instances, key=lambda i: (i.generation, i.started_at, i.id), default=None)
    if last is None or not ended_itself(last) or any(m.id != last.id for m in seen.machines):
        return None
    unsaved = last.phase is Phase.STOPPED or any(d.instance_id == last.id for d in seen.disks)
    return last if unsaved else None


def left(desk: Desk, seen: Seen, past: Past) -> Leave | None:
    """The change of goal after a machine ended itself, or was stopped elsewhere; None if neither happened.

    Elsewhere is another computer or the cloud's console. The last action wins: a row here that says "running"
    does not restart the machine. If the owner asked for the desk after its last login, it stays wanted.
    """
    proof = past.proof
    if desk.goal is not Goal.RUNNING or proof is None or proof.at < desk.since:
        return None
    assert isinstance(proof.step, Prove)
    if any(i.id != proof.step.id for i in seen.machines):
        return None
    before = past.last.get(Leave(id=proof.step.id, started_at=proof.step.started_at, why="").key)
    if before is not None and before.done and before.id > proof.id:
        return None  # whoever wants the desk since then knows of it, though the clock was set back
    for machine in seen.instances:
        ran = machine.ran_seconds
        if machine.id != proof.step.id or machine.started_at != proof.step.started_at:
            continue
        if ended_itself(machine):
            return Leave(
                id=machine.id,
                started_at=machine.started_at,
                why=machine.reason,
                ran_seconds=ran,
            )
        if _turned_off(machine) and not _by_us(machine, past):
            goal = Goal.PARKED if machine.phase is Phase.ENDED else Goal.STOPPED
            why = "it was turned off elsewhere: in the console, or on another computer"
            return Leave(
                id=machine.id,
                started_at=machine.started_at,
                goal=goal,
                why=why,
                ran_seconds=ran,
            )
    if parked := _parked_elsewhere(proof.step, seen, past):
        why = f"another computer has parked it: {parked.name} is newer than what is known here"
        return Leave(id=proof.step.id, started_at=proof.step.started_at, why=why)
    return None


def _turned_off(machine: Instance) -> bool:
    """Whether it was turned off by a request to the cloud, and not by itself."""
    return machine.phase in _OFF and machine.ended_by is EndedBy.OWNER


def _by_us(machine: Instance, past: Past) -> bool:
    """Whether a step of ours turned it off since its last start (which is part of that step's key)."""
    stop = Stop(id=machine.id, started_at=machine.started_at, why="").key
    ends = [Delete(id=machine.id, keep_disk=keep, why="").key for keep in (True, False)]
    return any(past.ever_begun(key) for key in (stop, *ends))


def _parked_elsewhere(proof: Prove, seen: Seen, past: Past) -> Image | None:
    """An image with all the work of the machine known here that no step of ours has made."""
    newest = seen.newest
    if newest is None or not holds_proven(seen, newest, proof):
        return None
    ours = {row.step.order.name for row in past.last.values() if isinstance(row.step, Bake)}
    ours |= {row.step.order.name for row in past.last.values() if isinstance(row.step, Fetch)}
    ours |= {row.step.name for row in past.last.values() if isinstance(row.step, Copy)}
    return None if newest.name in ours else newest


def is_off(seen: Seen) -> bool:
    """Whether its machine is seen to be off, and costs nothing any more; one that is not listed may be on."""
    machines = seen.machines
    return bool(machines) and not any(powered(m) or m.charged_while_off for m in machines)


def powered(machine: Instance | None) -> bool:
    """Whether a machine is on, and so is billed."""
    return machine is not None and machine.phase not in {Phase.STOPPED, Phase.ENDING}
