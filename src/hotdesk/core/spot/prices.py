"""Time-weighted statistics of a price history, and one sentence of advice with reasons.

A spot price is a step function: it holds from its timestamp until the next one. Everything here is weighted
by how long a price held, never by how often it changed: a zone that changes ten times in a bad hour is
not ten times as bad.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hotdesk.core.model import Value
from hotdesk.core.money import Amount

#: A zone whose price is at on-demand (to half a percent) for this share of the time has no spot market.
PINNED_SHARE = 0.95
PINNED_NEARNESS = 0.995

_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d+|[a-z]{2}-[a-z]+(?:-[a-z]+)?(?=-[a-z]$)")


class Storing(Value, frozen=True):
    """Prices per GiB in a region, in US dollars: a month on a disk or in an image, and transfer out of it."""

    disk_usd_per_gib_month: float
    image_usd_per_gib_month: float
    copy_usd_per_gib: float = 0.0  # once, for a copy in another region
    told_per_usd: Amount | None = None  # one of these dollars as the cloud tells it, if not in US dollars
    price_time: float | None = None  # of a month: when that was so, where it is not from its own cloud


class Share(Value, frozen=True, omit_defaults=False):
    """Share of the time in which the price was strictly below a given one."""

    usd_per_hour: float
    share: float


class ZonePrices(Value, frozen=True, omit_defaults=False):
    """One pool (an instance type in a zone) over a window. Prices in $/h, shares of the covered time.

    A quantile is the smallest price that held, together with all lower ones, for that share of the time.
    """

    zone: str
    region: str
    instance_type: str
    mean_usd_per_hour: float
    min: float
    p05: float
    p50: float
    p95: float
    p99: float
    max: float
    now: float  # the price at the window's end
    share_under: float | None  # under the first asked price, else under on-demand; None: neither is known
    shares_under: tuple[Share, ...]  # under each asked price, on-demand, and a third of it
    longest_above_hours: float | None  # the longest unbroken time above the price of `share_under`
    changes: int  # to another price; the same price announced again is none
    changes_per_day: float
    pinned: bool  # at on-demand nearly all the time: there is no spot market here
    on_demand_usd_per_hour: float | None
    covered_hours: float  # of the window, from the first known price on
    job_usd_p50: float | None  # for the asked hours from a random start inside the window
    job_usd_p95: float | None


class Cheapest(Value, frozen=True, omit_defaults=False):
    """The cheapest zone over time. Ties go to the zone that is cheapest on average."""

    instance_type: str
    zone: str  # the one with the lowest mean that has a market
    switches: int  # how often another zone became the cheapest
    share_of_time: float  # in which `zone` was the cheapest of all
    mean_usd_per_hour: float  # for somebody who always were where it is cheapest


def region_of(zone: str) -> str:
    """The region of a zone: `us-west-2a`, `us-west-2-lax-1a` and `cn-hangzhou-h` say it themselves."""
    match = _REGION.match(zone)
    return match.group() if match else zone


def is_pinned(share_at_on_demand: float) -> bool:
    return share_at_on_demand >= PINNED_SHARE


def advise(zones: Sequence[ZonePrices], cheapest: Sequence[Cheapest], *, hours: float, days: float) -> str:
    """Advice and reasons in a few sentences, including what prices cannot tell."""
    if not zones:
        return "No price is known in this window, so there is nothing to advise."
    market = [zone for zone in zones if not zone.pinned]
    if not market:
        where = "the only zone" if len(zones) == 1 else f"all {len(zones)} zones"
        return (
            f"Take on-demand: in {where} the spot price was on-demand's, so there is no spot market, "
            "and a machine that can be taken away would save nothing."
        )
    best = min(market, key=lambda zone: zone.mean_usd_per_hour)
    reasons = [f"${best.mean_usd_per_hour:.3g}/h on average over {_days(days)}{_saving(best)}"]
    if best.share_under is not None and best.shares_under:
        limit = best.shares_under[0].usd_per_hour
        reasons.append(f"under ${limit:.3g} for {_percent(best.share_under)} of the time")
    if best.on_demand_usd_per_hour:
        over = best.max > best.on_demand_usd_per_hour * (1 + 1e-9)
        reasons.append(f"at most ${best.max:.3g}, {'ABOVE' if over else 'never above'} on-demand")
    if best.job_usd_p95 is not None:
        reasons.append(
            f"{hours:g} hours cost ${best.job_usd_p50:.2f}, "
            f"${best.job_usd_p95:.2f} or more from one start in twenty"
        )
    worth = best.on_demand_usd_per_hour is None or best.mean_usd_per_hour < 0.9 * best.on_demand_usd_per_hour
    name = f"{best.instance_type} in {best.zone}"
    lead = f"Take spot, {name}" if worth else f"Take on-demand: spot saves little, even for {name}"
    sentences = [f"{lead}: {', '.join(reasons)}."]
    for one in cheapest:
        if one.instance_type == best.instance_type and one.switches and len(market) > 1:
            sentences.append(
                f"The cheapest zone changed {one.switches} times; {one.zone} was it for "
                f"{_percent(one.share_of_time)} of the time."
            )
    if pinned := [zone.zone for zone in zones if zone.pinned and zone.instance_type == best.instance_type]:
        named = ", ".join(pinned[:3]) + (f" and {len(pinned) - 3} more" if len(pinned) > 3 else "")
        sentences.append(f"No spot market in {named}: pinned at on-demand.")
    if worth:
        sentences.append("A price says nothing about interruptions: keep checkpoints.")
    return " ".join(sentences)


def _saving(zone: ZonePrices) -> str:
    if not zone.on_demand_usd_per_hour:
        return ""
    return f" ({_percent(1 - zone.mean_usd_per_hour / zone.on_demand_usd_per_hour)} below on-demand)"


def _percent(share: float) -> str:
    """Never "100 %" for less than all of it, nor "0 %" for more than nothing."""
    if 0.995 <= share < 1:
        return "over 99 %"
    if 0 < share < 0.005:
        return "under 1 %"
    return f"{100 * share:.0f} %"


def _days(days: float) -> str:
    return f"{days:.0f} days" if days >= 2 else f"{days * 24:.0f} hours"
