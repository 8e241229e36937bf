"""What a run will cost, as far as that can be known before its machine is launched."""

from __future__ import annotations

from hotdesk.core.lifecycle.shutdown import powered
from hotdesk.core.model import Desk, Goal, Value
from hotdesk.core.money import Amount
from hotdesk.services.goals import Goals


class JobCost(Value, frozen=True, omit_defaults=False):
    """What a run will cost, as far as that can be known before it."""

    machine: str  # its instance type
    place: str  # zone or region
    market: str
    usd_per_hour: float
    told_per_hour: Amount | None  # the same as the cloud tells it, if not in US dollars
    price_time: float | None = None  # when that was the price, where its cloud did not tell it now
    runs_already: bool = False  # it is paid for with or without this run
    hours: float | None = None  # that the work takes, without the start; None: not known
    usd: float | None = None  # for those hours; None: not known

    @property
    def told(self) -> Amount | None:
        """The same for those hours as the cloud tells it; None: in US dollars, or not known."""
        return self.told_per_hour.times(self.hours) if self.told_per_hour and self.hours else None


def expected(goals: Goals, desk: str | Desk, work_seconds: float) -> JobCost | None:
    """The cost of so much work at a desk, on the machine it has, else on the best offer; None: no offer fits.

    `work_seconds` 0: not known. Raises as `Goals.wanted`.
    """
    row = goals.wanted(desk, Goal.RUNNING) if isinstance(desk, str) else desk
    live = goals.clouds.seen(row).live
    if live is not None and (not powered(live) or live.chosen_for < row.generation):
        live = None
    machine = live or next(iter(row.offers), None)
    if machine is None:
        return None
    hours = work_seconds / 3600 or None
    return JobCost(
        machine=machine.instance_type,
        place=machine.zone or machine.region,
        market=machine.market,
        usd_per_hour=machine.usd_per_hour,
        told_per_hour=machine.told_per_hour,
        price_time=live.price_time if live else None,
        runs_already=live is not None,
        hours=hours,
        usd=None if hours is None else hours * machine.usd_per_hour,
    )
