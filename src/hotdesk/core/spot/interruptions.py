"""Time to finish on a machine that may be interrupted: expected hours, their median, and a 90 % band.

Losses come at random at a rate lambda while the machine runs. Work is saved n - 1 times, every
tau = sqrt(2·C/lambda) (Young 1974) of checkpoints of C, so a stretch of d = W/n + C hours has to pass without
a loss; after one, the machine restarts (R) and the stretch begins again:
    billed = (1 - e^(-lambda·(S+d)))·e^(lambda·(R+d))/lambda + (n-1)·(e^(lambda·d) - 1)·e^(lambda·R)/lambda,
    wall = billed·(1 + lambda·Q),
with Q hours of unbilled waiting for a new machine. n = 1 is a job that saves nothing. A job that saves itself
on the cloud's notice loses no work: billed = (e^(lambda·S) - 1)/lambda + W·e^(lambda·R). Both are exact for
that model; `python benchmarks/speed.py formula` holds them against a simulation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist
from typing import NamedTuple

from hotdesk.core.model import Value

#: A scarce GPU's spot machine lives 2.5 h (1 to 10) and a new one takes 0.6 h: traces of 2022-23 (NSDI'24).
SPOT_PRIOR_HOURS, SPOT_PRIOR_WAIT_HOURS = 2.5, 0.6
#: Expected losses per stretch, and tenfold the work, beyond which a plan is no plan.
_HOPELESS = 6.0
_NORMAL = NormalDist()


class Spot(Value, frozen=True):
    """Rate and cost of interruptions of a spot machine. `checkpoint_seconds` None: no checkpoints."""

    interruptions_per_hour: float = 1 / SPOT_PRIOR_HOURS
    wait_hours: float = SPOT_PRIOR_WAIT_HOURS
    restart_hours: float = 5 / 60
    checkpoint_seconds: float | None = 30.0
    notice_seconds: float = 0.0  # 120 on AWS and 30 elsewhere, when the job saves itself on notice


class Hours(NamedTuple):
    """Of one machine: expected, the ends that each leave out 1 case in 20, and the middle case."""

    wall: float
    billed: float
    wall_low: float
    wall_high: float
    billed_low: float
    billed_high: float
    wall_median: float
    billed_median: float


def calm(hours: float) -> Hours:
    """Hours without interruptions."""
    return Hours(*[hours] * len(Hours._fields))


def interrupted(hours: float, startup_hours: float, losses_per_hour: float, spot: Spot) -> Hours | None:
    """Hours of work on spot, with the start-up before it and all restarts and waits.

    None where losses come so fast that the work would hardly ever get done.
    """
    rate, restart = losses_per_hour, spot.restart_hours
    if rate <= 0:
        return calm(startup_hours + hours)
    if spot.checkpoint_seconds is not None and spot.checkpoint_seconds <= spot.notice_seconds:
        if rate * (startup_hours + restart) > 3:
            return None
        undisturbed = startup_hours + hours
        billed = math.expm1(rate * startup_hours) / rate + hours * math.exp(rate * restart)
        uneven = 0.0
    else:
        saving, pieces = 0.0, 1
        if spot.checkpoint_seconds is not None:
            saving = max(spot.checkpoint_seconds, 1e-3) / 3600
            pieces = max(1, math.ceil(hours / math.sqrt(2 * saving / rate)))
        last = hours / pieces
        stretch = last + saving
        if rate * (startup_hours + restart + stretch) > _HOPELESS:
            return None
        first = stretch if pieces > 1 else last
        again = math.exp(rate * restart) / rate
        billed = -math.expm1(-rate * (startup_hours + first)) * math.exp(rate * first) * again
        if pieces > 1:
            billed += ((pieces - 2) * math.expm1(rate * stretch) + math.expm1(rate * last)) * again
        undisturbed = startup_hours + hours + (pieces - 1) * saving
        uneven = pieces * math.expm1(rate * stretch) ** 2  # tries per stretch are geometric
    if billed > _HOPELESS * 10 * (hours + startup_hours):
        return None
    wall, count = billed * (1 + rate * spot.wait_hours), rate * billed
    none = math.exp(-rate * undisturbed)  # the chance of no loss at all
    low, middle, high = _quantiles(count, 2 * count + uneven, none)
    each_wall, each_billed = (wall - undisturbed) / count, (billed - undisturbed) / count
    return Hours(
        wall,
        billed,
        undisturbed + low * each_wall,
        undisturbed + high * each_wall,
        undisturbed + low * each_billed,
        undisturbed + high * each_billed,
        undisturbed + middle * each_wall,
        undisturbed + middle * each_billed,
    )


def lived(
    hours: float,
    startup_hours: float,
    losses_per_hour: float,
    spot: Spot,
    spells: Iterator[tuple[float, float]],
) -> tuple[float, float]:
    """One life of a job on spot, loss by loss: wall and billed hours.

    `spells` gives machines' lives and the waits after them (see `core.spells`); `losses_per_hour` only says
    how often the job saves. It shares no formula with `interrupted`, which it is there to check; a job that
    saves on notice counts its work as never lost.
    """
    warned = spot.checkpoint_seconds is not None and spot.checkpoint_seconds <= spot.notice_seconds
    saving, pieces = (spot.checkpoint_seconds or 0.0) / 3600, 1
    if spot.checkpoint_seconds is not None and not warned:
        pieces = max(1, math.ceil(hours / math.sqrt(2 * max(saving, 1e-3 / 3600) / losses_per_hour)))
    wall = billed = 0.0
    left, starting = hours, startup_hours
    while True:
        life, wait = next(spells)
        saves = max(round(left / hours * pieces) - 1, 0) if hours else 0
        needed = starting + left + saves * saving
        if life >= needed:
            return wall + needed, billed + needed
        worked = max(life - starting, 0.0)
        left -= worked if warned else math.floor(worked / (hours / pieces + saving)) * hours / pieces
        wall += life + wait
        billed += life
        starting = spot.restart_hours


def _quantiles(mean: float, variance: float, none: float) -> tuple[float, float, float]:
    """The 5 %, 50 % and 95 % quantiles of what losses cost together, in units of one loss.

    Zero with the chance `none`, else a gamma variable of the right mean and variance (Wilson and Hilferty's
    cube of a normal); a loss costs anything from nothing up, so single costs count as exponential.
    """
    if none >= 0.95:
        return 0.0, 0.0, 0.0
    some_mean = mean / (1 - none)
    some_variance = max((variance + mean**2) / (1 - none) - some_mean**2, 0.05 * some_mean**2)
    shape = some_mean**2 / some_variance
    found = []
    for share in (0.05, 0.5, 0.95):
        left = (share - none) / (1 - none)
        if left <= 0:
            found.append(0.0)
            continue
        cube = 1 - 1 / (9 * shape) + _NORMAL.inv_cdf(left) / math.sqrt(9 * shape)
        found.append(some_mean * max(cube, 0.0) ** 3)
    low, middle, high = found
    return min(low, mean), middle, max(high, mean)


def worth_spot(spot: Spot) -> float:
    """The share of the on-demand price below which spot is the cheaper way to finish. 0: never."""
    got = interrupted(1.0, 0.0, spot.interruptions_per_hour, spot)
    return 1 / got.billed if got else 0.0
