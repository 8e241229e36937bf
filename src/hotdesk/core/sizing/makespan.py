"""Total time and cost of a job, from launch to saved results, on N machines.

All hours are of wall-clock, all rates per machine. Symbols as in the formulas below: W work in machine-hours,
N machines, S start-up of each (boot, image, environment, data), p dollars per machine-hour, eta the
efficiency of N machines that work in step, lambda interruptions per machine-hour of a spot machine.

Divisible work (a sweep, folds, inference):  hours = S + W/N,  cost = N·p·hours, so cost/(p·W) = 1 + N·S/W.
One synchronous job:                         hours = S + W/(N·eta(N)).
On spot, W and S grow by what interruptions cost: see `interruptions.py`.
"""

from __future__ import annotations

import math

from hotdesk.core.errors import Usage
from hotdesk.core.model import Value
from hotdesk.core.spot.interruptions import Hours, Spot, calm, interrupted

#: Efficiency of N machines in step when nobody measured it: 1 / (1 + share·log2 N). The three shares give the
#: middle and the band; they are MLPerf Training v4.0 at 8 nodes of 8 H100 (unofficial: .66 to .81 of linear).
IN_STEP = (0.078, 0.12, 0.17)


class Billing(Value, frozen=True):
    """How a cloud bills time, per machine: rounded up to the quantum, at least the minimum."""

    quantum_seconds: float = 1.0
    minimum_seconds: float = 60.0

    def hours(self, hours: float) -> float:
        """Billed hours for hours used. Rounding to a second is ignored: it is less than 0.03 % of an hour."""
        seconds = hours * 3600
        if self.quantum_seconds > 1:
            seconds = math.ceil(seconds / self.quantum_seconds - 1e-9) * self.quantum_seconds
        return max(seconds, self.minimum_seconds) / 3600


PER_SECOND = Billing()
PER_HOUR = Billing(quantum_seconds=3600.0, minimum_seconds=3600.0)


class Startup(Value, frozen=True):
    """Seconds before the first step, on every machine."""

    boot: float = 90.0  # ordered to logged in, GPU types (40 s for plain ones)
    image: float = 30.0  # blocks read on first touch: importing torch from a fresh volume
    environment: float = 0.0
    data: float = 0.0

    @property
    def hours(self) -> float:
        return (self.boot + self.image + self.environment + self.data) / 3600


class Burst(Value, frozen=True):
    """A burstable CPU: full speed while credits last, then its baseline. A credit is a vCPU-minute."""

    vcpus: float
    credits_per_hour: float
    launch_credits: float

    def hours(self, full_speed_hours: float) -> float:
        """Wall-clock for work that takes so long at full speed."""
        spending = self.vcpus * 60 - self.credits_per_hour
        bursting = self.launch_credits / spending if spending > 0 else math.inf
        if full_speed_hours <= bursting:
            return full_speed_hours
        baseline = self.credits_per_hour / (self.vcpus * 60)
        return bursting + (full_speed_hours - bursting) / baseline


class Work(Value, frozen=True):
    """Machine-hours at the offer's speed, with the band that holds 9 of 10 cases."""

    hours: float
    low: float = 0.0  # 0: as sure as `hours`
    high: float = 0.0
    tasks: int = 0  # divisible work in so many equal pieces; 0: in pieces as small as one likes
    synchronous: bool = False
    efficiency_at_2: float = 0.0  # measured with two machines; 0: not measured


class Finish(Value, frozen=True):
    """One plan: so many machines of one offer, door to door. `hours` and `usd` are medians."""

    machines: int
    hours: float
    usd: float
    multiplier: float  # of `usd`: paid machine-hours over machine-hours of work
    hours_mean: float
    usd_mean: float
    hours_low: float
    hours_high: float
    usd_low: float
    usd_high: float
    work_hours: float = 0.0  # of one machine, undisturbed, without start-up
    billed_hours: float = 0.0  # of one machine on average, before the billing's quantum and minimum
    breaks: tuple[str, ...] = ()  # where "N machines for 1/N of the time at the same price" fails here


def data_hours(gib: float, files: int, mib_per_second: float, files_per_second: float) -> float:
    """Hours to load the data: limited by bytes or by files, whichever is slower."""
    return max(gib * 1024 / mib_per_second, files / files_per_second) / 3600


def efficiency(work: Work, machines: int) -> tuple[float, float, float]:
    """Low, middle and high share of linear speed that machines in step reach; 1 for divisible work.

    A measurement with two machines fixes the share of the law 1/(1 + share·log2 N); its band is a third.
    """
    if not work.synchronous or machines == 1:
        return 1.0, 1.0, 1.0
    light, middle, heavy = IN_STEP
    if work.efficiency_at_2:
        middle = 1 / work.efficiency_at_2 - 1
        light, heavy = middle * 0.67, middle * 1.33
    doublings = math.log2(machines)
    return 1 / (1 + heavy * doublings), 1 / (1 + middle * doublings), 1 / (1 + light * doublings)


def finish(
    work: Work,
    machines: int,
    usd_per_hour: float,
    startup_hours: float,
    *,
    billing: Billing = PER_SECOND,
    spot: Spot | None = None,
    extra_usd: float = 0.0,
    quota: int = 0,
) -> Finish | None:
    """The plan for so many machines, or None where spot interruptions come faster than work gets done.

    `extra_usd`: storage and egress, paid once. Raises `Usage` for numbers that mean nothing.
    """
    _check(work, machines, usd_per_hour, startup_hours)
    low, middle, high = efficiency(work, machines)
    share = 1.0 / machines
    if work.tasks and not work.synchronous:
        share = math.ceil(work.tasks / machines) / work.tasks
    each = _door_to_door(work.hours * share / middle, startup_hours, spot, work, machines)
    best = _door_to_door((work.low or work.hours) * share / high, startup_hours, spot, work, machines)
    worst = _door_to_door((work.high or work.hours) * share / low, startup_hours, spot, work, machines)
    if each is None or best is None or worst is None:
        return None
    paid = machines * billing.hours(each.billed_median)
    return Finish(
        machines=machines,
        hours=each.wall_median,
        hours_mean=each.wall,
        work_hours=work.hours * share / middle,
        billed_hours=each.billed,
        usd=paid * usd_per_hour + extra_usd,
        usd_mean=machines * billing.hours(each.billed) * usd_per_hour + extra_usd,
        multiplier=paid / work.hours,
        hours_low=best.wall_low,
        hours_high=max(worst.wall_high, each.wall),
        usd_low=machines * billing.hours(best.billed_low) * usd_per_hour + extra_usd,
        usd_high=machines * billing.hours(max(worst.billed_high, each.billed)) * usd_per_hour + extra_usd,
        breaks=_breaks(
            work,
            machines,
            startup_hours,
            billing=billing,
            billed=each.billed_median,
            middle=middle,
            quota=quota,
        ),
    )


def _door_to_door(
    hours: float, startup_hours: float, spot: Spot | None, work: Work, machines: int
) -> Hours | None:
    """Hours of each machine."""
    if spot is None:
        return calm(startup_hours + hours)
    # In step, the loss of one machine stops all of them.
    losses = spot.interruptions_per_hour * (machines if work.synchronous else 1)
    return interrupted(hours, startup_hours, losses, spot)


def machines_worth(work_hours: float, startup_hours: float, dearer: float = 0.1) -> int:
    """How many machines finish divisible work at no more than `dearer` above the price of the work alone."""
    if startup_hours <= 0:
        return 1_000_000
    return max(1, math.floor(dearer * work_hours / startup_hours + 1e-9))


def _breaks(
    work: Work,
    machines: int,
    startup_hours: float,
    *,
    billing: Billing,
    billed: float,
    middle: float,
    quota: int,
) -> tuple[str, ...]:
    out = []
    own = work.hours / machines
    if machines > 1 and startup_hours > own:
        out.append("start-up: each machine starts longer than it works")
    paid = billing.hours(billed)
    if billed * 3600 < billing.minimum_seconds:
        out.append(f"billing minimum: {billed * 3600:.0f} s used, {paid * 3600:.0f} s paid on each machine")
    elif paid > billed * 1.005:
        out.append(f"billing: {billed * 60:.3g} min used, {paid * 60:.3g} min paid on each machine")
    if work.tasks and machines > work.tasks:
        out.append(f"tasks: {machines - work.tasks} machines have nothing to do")
    if work.synchronous and machines > 1:
        known = "from two machines" if work.efficiency_at_2 else "assumed: measure with two machines first"
        out.append(f"in step: {middle:.0%} of linear speed ({known})")
    if quota and machines > quota:
        out.append(f"quota: the account allows {quota}")
    return tuple(out)


def _check(work: Work, machines: int, usd_per_hour: float, startup_hours: float) -> None:
    if not (
        0 < work.hours < math.inf and machines >= 1 and usd_per_hour >= 0 and 0 <= startup_hours < math.inf
    ):
        _refuse(work, machines, usd_per_hour, startup_hours)
    if work.efficiency_at_2 and not 0.5 <= work.efficiency_at_2 <= 1.1:
        raise Usage(
            f"An efficiency of {work.efficiency_at_2:g} with two machines is impossible.",
            "Below 0.5 two machines are slower than one; above 1.1 the measurement is at fault.",
            "hotdesk plan --synchronous --efficiency 0.9 ...",
        )


def _refuse(work: Work, machines: int, usd_per_hour: float, startup_hours: float) -> None:
    for what, value, least in (
        ("the work, in hours,", work.hours, 1e-12),
        ("the number of machines", machines, 1),
        ("the price per hour", usd_per_hour, 0.0),
        ("the start-up time", startup_hours, 0.0),
    ):
        if not (math.isfinite(value) and value >= least):
            raise Usage(
                f"{what} cannot be {value:g}.",
                "Sizes, prices and times are finite and not negative; work and machines are more than zero.",
                "hotdesk plan --work 10h --startup 5m --machines 1,10,100",
            )
