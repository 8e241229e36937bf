"""Build rows for desks that exist in a cloud but are unknown to this computer."""

from __future__ import annotations

from hotdesk.core.lifecycle.shutdown import ended_itself
from hotdesk.core.model import Desk, Goal, Instance, Phase, Seen
from hotdesk.core.names import is_name


def adoptable(name: str, seen: Seen, provider: str, now: float) -> Desk | None:
    """The row for a desk that was seen but has none here; None if it has no resources or an invalid name.

    Its goal is what its owner last wanted, as far as can be seen; in doubt, a goal that launches nothing.
    """
    something = seen.machines or seen.disks or seen.images
    if not something or not is_name(name):
        return None
    match seen.live:
        case None:
            goal = Goal.PARKED
        case Instance(phase=Phase.STOPPED | Phase.STOPPING) as machine:
            goal = Goal.PARKED if ended_itself(machine) else Goal.STOPPED
        case _:
            goal = Goal.RUNNING
    return Desk(name=name, goal=goal, since=now, created_at=now, provider=provider)
