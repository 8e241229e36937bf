"""How long a sweep takes on so many machines, and what it costs, before it is begun. Pure.

Three numbers each: if all goes well, as expected, and if much goes wrong. A machine takes some minutes from
its order to its first task; a spot machine may be taken back, and what it was doing is done again elsewhere.
"""

from __future__ import annotations

from math import ceil

from hotdesk.core.model import Value

BOOT_SECONDS = (90.0, 240.0, 600.0)  # from the order to the first task
TAKEN_PER_HOUR = (0.0, 0.02, 0.1)  # spot machines: AWS's own classes are below 5 % up to above 20 % a month
SLOWER = (1.0, 1.05, 1.25)  # the slowest task of a round, beside the mean
WORTH = 1.25  # times as much as the cheapest number of machines may cost, for an earlier end


class Estimate(Value, frozen=True):
    """Seconds and US dollars: at best, as expected, at worst."""

    seconds: tuple[float, float, float]
    usd: tuple[float, float, float]


class Load(Value, frozen=True):
    """What there is to do, and on what."""

    tasks: int
    each_seconds: float
    places: int  # tasks at once on one machine
    head_usd: float  # an hour, of the first machine
    worker_usd: float  # … of each other
    dear_usd: float  # … if every machine were bought on demand


def estimate(load: Load, machines: int) -> Estimate:
    rounds = ceil(load.tasks / (load.places * machines))
    seconds, usd = [], []
    for boot, taken, slower in zip(BOOT_SECONDS, TAKEN_PER_HOUR, SLOWER, strict=True):
        work = rounds * load.each_seconds * slower
        # Of each machine that is taken back half a task is done again, after another has come.
        again = taken * work / 3600 * (load.each_seconds / 2 + boot) if machines > 1 else 0.0
        seconds.append(boot + work + again)
        hourly = load.head_usd + load.worker_usd * (machines - 1)
        if slower == SLOWER[-1]:
            hourly = max(hourly, load.dear_usd * machines)
        usd.append(hourly * seconds[-1] / 3600)
    return Estimate(seconds=tuple(seconds), usd=tuple(usd))  # type: ignore[arg-type]


def left(
    waiting: int, running: int, each_seconds: float, places: float, machines: int
) -> tuple[float, float]:
    """Seconds until the tasks that are left have ended on machines that run: at best, and at worst."""
    best = (waiting + running / 2) * each_seconds / places  # those that run are half done
    work = ceil((waiting + running) / places) * each_seconds * SLOWER[-1]
    again = TAKEN_PER_HOUR[-1] * work / 3600 * (each_seconds / 2 + BOOT_SECONDS[-1]) if machines > 1 else 0.0
    return best, work + again


def most_useful(load: Load, most: int) -> int:
    """More machines than these would have nothing to do."""
    return max(1, min(most, ceil(load.tasks / load.places)))


def machines_for(load: Load, most: int, deadline_seconds: float | None, budget_usd: float | None) -> int:
    """How many machines to take; 0 where no number keeps deadline and budget.

    With a deadline: the fewest that keep it even if much goes wrong. Without: the most that cost little more
    than the cheapest number.
    """
    found = {n: estimate(load, n) for n in _candidates(most_useful(load, most))}
    found = {n: e for n, e in found.items() if budget_usd is None or e.usd[1] <= budget_usd}
    if deadline_seconds is not None:
        return min((n for n, e in found.items() if e.seconds[2] <= deadline_seconds), default=0)
    least = min((e.usd[1] for e in found.values()), default=0.0)
    return max((n for n, e in found.items() if e.usd[1] <= least * WORTH), default=0)


def _candidates(most: int) -> list[int]:
    """All small numbers; of the great ones those that are a few per cent apart."""
    numbers, n = [], 1
    while n <= most:
        numbers.append(n)
        n = max(n + 1, n * 103 // 100)
    return sorted({*numbers, most})
