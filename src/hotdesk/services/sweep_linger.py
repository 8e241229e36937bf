"""Machines that a sweep leaves to the next one: who gets them, and when."""

from __future__ import annotations

from collections.abc import Callable

from hotdesk.core.clouds import cloud
from hotdesk.core.errors import Unknown, Usage
from hotdesk.core.sweep import linger
from hotdesk.core.sweep.model import Sweep
from hotdesk.sweep.store import SweepStore


def check(provider: str, seconds: float) -> None:
    """Raises `Usage` where no machine is rented that could be kept."""
    if seconds and not cloud(provider).rented:
        raise Usage(
            "--linger is for rented machines.",
            "Those of a sweep on this computer are this computer.",
            "the same command without --linger",
        )


def predecessor(store: SweepStore, sweep: Sweep) -> int:
    """The newest sweep whose machines linger and suit this one; 0 where there is none."""
    for before in reversed([s for s in store.sweeps(left=True) if not s.away]):
        there = linger.until(before, store.counts(before.number), store.machines(before.number))
        if there and linger.suits(sweep, before, store.group(before.number)):
            return before.number
    return 0


def inherit(store: SweepStore, sweep: Sweep, drive: Callable[[int], None], rest: Callable[[], None]) -> None:
    """Return once the machines of the sweep before are this one's, or gone."""
    while sweep.after:
        try:
            before = store.sweep(sweep.after)
        except Unknown:  # it was removed, which it can only be once it is over
            return
        if before.over_at or before.away or before.heir != sweep.number:
            return
        drive(before.number)
        rest()
