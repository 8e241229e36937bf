"""Lifetimes of spot machines and the waits between them.

Three sources of (life, wait) pairs, in hours, without end, for `interruptions.lived`: losses at random, as
the formula takes them; zones that come and go as recorded ones do, where the old last and the young do not;
and one recorded zone itself, as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import expm1, inf, log, log1p

from hotdesk.core.spot.policy import EDGES_SECONDS, FALLS, RISES

Spells = Iterator[tuple[float, float]]

_STARTS = (0.0, *(edge / 3600 for edge in EDGES_SECONDS))
_PIECES = tuple(pairwise((*_STARTS, inf)))


def at_random(losses_per_hour: float, wait_hours: float, exponential: Callable[[float], float]) -> Spells:
    """Memoryless interruptions. `exponential` draws with a given rate."""
    while True:
        yield exponential(losses_per_hour), exponential(1 / wait_hours) if wait_hours else 0.0


def as_recorded(
    uniform: Callable[[], float], falls: Sequence[float] = FALLS, rises: Sequence[float] = RISES
) -> Spells:
    """A zone whose chance to go or to come back depends on how long it has been so (chances in ten minutes).

    The first machine is asked for at some moment at which there is spot: an old spell, more often than not.
    """
    down, up = ([-log1p(-chance) * 6 for chance in chances] for chances in (falls, rises))
    age = _age(down, uniform)
    while True:
        yield _lasts(down, age, uniform) - age, _lasts(up, 0.0, uniform)
        age = 0.0


def of_trace(up: Sequence[bool], tick_hours: float, begin: int) -> Spells:
    """Uptimes and waits of a recorded zone from that tick on, at which it must be up; repeats at the end."""
    count, at = len(up), begin
    while True:
        life = wait = 0
        while up[at % count] and life < count:
            life, at = life + 1, at + 1
        while not up[at % count] and life < count:
            wait, at = wait + 1, at + 1
        yield (life * tick_hours if life < count else inf), wait * tick_hours


def _lasts(rates: Sequence[float], age: float, uniform: Callable[[], float]) -> float:
    """The age at which a spell ends that has reached `age`: rates per hour, constant between the edges."""
    left = -log(1 - uniform())
    for (low, high), rate in zip(_PIECES, rates, strict=True):
        if age < high:
            since = max(low, age)
            if left <= rate * (high - since):
                return since + left / rate
            left -= rate * (high - since)
    raise AssertionError("the last piece has no end")


def _age(rates: Sequence[float], uniform: Callable[[], float]) -> float:
    """How old a spell is at a moment that does not know of it: ages are as likely as they are reached."""
    masses, reached = [], 1.0
    for (low, high), rate in zip(_PIECES, rates, strict=True):
        ends = -expm1(-rate * (high - low))
        masses.append(reached * ends / rate)
        reached *= 1 - ends
    place = uniform() * sum(masses)
    for (low, high), rate, mass in zip(_PIECES, rates, masses, strict=True):
        if place < mass or high == inf:
            ends = -expm1(-rate * (high - low))
            return low - log1p(-min(place / mass, 1 - 1e-12) * ends) / rate
        place -= mass
    raise AssertionError("the last piece has no end")
