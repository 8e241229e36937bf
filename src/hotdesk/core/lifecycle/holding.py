"""A better place for a job is asked for before its machine is given back. Pure, called by the planner.

A *placeholder* is a machine that holds no work and that nobody logs in to. That it is granted shows that a
place has a machine, and it keeps that place while the desk's own machine is saved. So a refusal leaves the
machine that works as it is, and there is never a second one that could run the work. The rules:

* it is asked for while the desk's row seeks places (`Desk.seeks`), its machine works, and nothing else is to
  be done; there is one at most;
* it stays while the row seeks, and while the machine that it replaces is saved;
* in any other state it is deleted, by whoever looks: also right before the desk's own machine is launched;
* it ends itself after `PLACEHOLDER_SECONDS` if nobody looks.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from hotdesk.core.lifecycle.history import Past
from hotdesk.core.lifecycle.save import TRIES, let_go
from hotdesk.core.model import Desk, Goal, Instance, Leftover, Offer, Phase, Seen
from hotdesk.core.steps import AnyStep, Ask, Hold, Launch, LaunchOrder, Wait

PLACEHOLDER = "placeholder"  # its kind, as a leftover
#: When one shuts itself down. Saving a disk takes minutes; no more is paid if everything else fails.
PLACEHOLDER_SECONDS = 1800.0
#: How long a row seeks: time for a few requests, and for a checkpoint of the job.
SEEK_SECONDS = 300.0


def apart(seen: Seen) -> tuple[Seen, list[Leftover]]:
    """What is seen without placeholders, and these."""
    held = [thing for thing in seen.leftovers if thing.kind == PLACEHOLDER]
    rest = tuple(thing for thing in seen.leftovers if thing.kind != PLACEHOLDER)
    return (replace(seen, leftovers=rest) if held else seen), held


def beside(
    desk: Desk, seen: Seen, held: Sequence[Leftover], steps: list[AnyStep], past: Past, *, now: float
) -> list[AnyStep]:
    """The steps, with what is to be done about a placeholder. `seen` is without those in `held`."""
    first, live = steps[0] if steps else None, seen.live
    there = [thing for thing in held if thing.phase is not Phase.ENDING]
    if not held:
        ask = _ask(desk, live, past, now) if first is None else None
        return [ask] if ask else steps
    if not there:
        if isinstance(first, Launch):  # it may still count: for a quota, or as the last one of its place
            return [Wait(seconds=seen.poll_seconds, why=f"{held[0].id}, which kept its place, is ending")]
        return steps
    works = live is not None and live.chosen_for >= desk.generation
    keeps = seeks(desk, now) if works else first is not None and not isinstance(first, Launch | Ask)
    if keeps and desk.goal is Goal.RUNNING and len(there) == 1:
        ask = _ask(desk, live, past, now, there[0].machine) if first is None else None
        return [ask] if ask else steps  # whoever asked for it has not heard the answer
    why = "it kept a place for a move that is not made"
    if isinstance(first, Launch):
        why = "its place is for the desk's own machine now"
    return [*(let_go(thing, why) for thing in there), *steps]


def seeks(desk: Desk, now: float) -> bool:
    """Whether better places are to be asked for now."""
    return bool(desk.seeks) and now < desk.seeks_until


def unanswered(desk: Desk, past: Past, now: float) -> list[Offer]:
    """The places that a desk seeks and has not heard of since it began to."""
    began = desk.seeks_until - SEEK_SECONDS

    def answered(offer: Offer) -> bool:
        row = past.hold_of(offer)
        if row is None or row.at < began:
            return bool(past.refusal(offer, now) or past.no_placeholder(offer, now))
        return row.done or row.refused or past.begun(row.step.key, began) >= TRIES

    return [offer for offer in desk.seeks if not answered(offer)] if seeks(desk, now) else []


def granted(desk: Desk, past: Past) -> Offer | None:
    """The place among those sought that a placeholder was granted in, perhaps when it was sought before."""
    row = past.held
    if row is None or not isinstance(row.step, Hold) or row.at < desk.seeks_until - PLACEHOLDER_SECONDS:
        return None
    return next((offer for offer in desk.seeks if offer.key == row.step.order.offer.key), None)


def _ask(desk: Desk, live: Instance | None, past: Past, now: float, name: str = "") -> Hold | None:
    """Ask for the next place; or, with the `name` of a placeholder that is there, for that one again."""
    if live is None or live.phase is not Phase.READY or desk.goal is not Goal.RUNNING:
        return None
    if live.chosen_for < desk.generation:
        return None
    places = unanswered(desk, past, now)
    for offer in places if name else places[:1]:
        attempt = 0
        while True:
            order = LaunchOrder(
                desk=desk.name,
                born=desk.created_at,
                generation=desk.generation,
                attempt=attempt,
                offer=replace(offer, why=""),
                placeholder=True,
            )
            step = Hold(
                order=order, why=offer.why or f"{offer.instance_type} in {offer.zone} would be better"
            )
            row = past.last.get(step.key)
            if row is None or row.unsure:  # an unknown outcome is repeated exactly
                break
            attempt += 1
        if not name or order.name == name:
            return step
    return None
