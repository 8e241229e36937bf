"""Machines that end themselves: how that is seen, and what it means for what is wanted."""

from __future__ import annotations

from hotdesk.core.model import Desk, Goal, Instance, Phase, Seen
from hotdesk.core.past import Past
from hotdesk.core.steps import Leave, Prove

#: How the reason of a machine's end begins when the watch at the desk has ended it (machine/idle.py),
#: and what EC2 says of a machine that was shut down from within, whoever typed that there.
_WORDS = (
    "idle ",
    "its lease ",
    "deadline:",
    "Instance initiated shutdown",
    "Client.InstanceInitiatedShutdown",
)


def ended_itself(machine: Instance) -> bool:
    """Whether a machine was turned off at the desk, and neither by hotdesk nor by its cloud."""
    off = machine.phase in {Phase.STOPPED, Phase.ENDED}
    return off and machine.reason.startswith(_WORDS)


def left(desk: Desk, seen: Seen, past: Past) -> Leave | None:
    """The change of mind that follows when a machine ended itself after its owner last asked for it.

    Asked for again since, the desk is wanted running: then the proof of its running is older than the wish.
    """
    proof = past.proof
    if desk.goal is not Goal.RUNNING or proof is None or proof.at < desk.since:
        return None
    assert isinstance(proof.step, Prove)
    newer = [i for i in seen.machines if i.id != proof.step.id]
    for machine in seen.instances:
        same = machine.id == proof.step.id and machine.started_at == proof.step.started_at
        if same and not newer and ended_itself(machine):
            return Leave(id=machine.id, started_at=machine.started_at, why=machine.reason)
    return None
