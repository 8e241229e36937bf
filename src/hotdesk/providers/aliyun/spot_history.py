"""Ask for past spot prices.

DescribeSpotPriceHistory answers for one type and for at most 30 days at once, page by page, in the account's
currency (ECS API reference). How far back it answers is not said: where it refuses an older window, what it
has told is all there is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from hotdesk.core.errors import HotdeskError, Kind, Refused, Unreachable
from hotdesk.core.model import Offer
from hotdesk.core.money import Money
from hotdesk.parallel import side_by_side
from hotdesk.providers.aliyun import times
from hotdesk.providers.aliyun.account import Account
from hotdesk.providers.aliyun.credentials import LOG_IN, has_credentials
from hotdesk.providers.aliyun.settings import Settings
from hotdesk.providers.cloud.price import CURRENCIES
from hotdesk.providers.cloud.regions import named

DAY = 86_400.0
MOST_SECONDS = 30 * DAY  # between start and end of a question
AT_ONCE = 8
#: How much earlier than wanted is asked, so that the price in force at the beginning is among the rows.
BEFORE_SECONDS = DAY

Rows = list[dict[str, Any]]


def rows(account: Account, region: str, name: str, since: float = 0.0, until: float = 0.0) -> Rows:
    """The rows of a type, each with its `Currency`, in no order; without times, of the last three hours.

    Raises `Refused`, but keeps what was told where an older window is refused: it has no prices of then.
    """
    found: Rows = []
    for begin, end in windows(since, until) if since else [(0.0, 0.0)]:
        try:
            found += _window(account, region, name, _said(begin), _said(end))
        except Refused as no:
            if not found or no.kind is not Kind.BAD_REQUEST:
                raise
            break
        if not found:
            break  # it is not sold there
    return found


def windows(since: float, until: float) -> Iterator[tuple[float, float]]:
    """The span in parts that one question may have, the newest first."""
    for number in range(math.ceil((until - since) / MOST_SECONDS)):
        end = until - number * MOST_SECONDS
        yield max(since, end - MOST_SECONDS), end


def _said(at: float) -> str | None:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None


def _window(account: Account, region: str, name: str, since: str | None, until: str | None) -> Rows:
    found: Rows = []
    offset = 0
    while True:
        told = account.ask(
            region, "DescribeSpotPriceHistory", NetworkType="vpc", InstanceType=name, OSType="linux",
            StartTime=since, EndTime=until, Offset=offset,
        )  # fmt: skip
        currency = str(told.get("Currency") or "CNY")
        found += [{**row, "Currency": currency} for row in told["SpotPrices"]["SpotPriceType"]]
        after = int(told.get("NextOffset") or 0)
        if after <= offset:
            return found
        offset = after


# ---- for the bill --------------------------------------------------------------------------------------


def spot_prices(
    account: Account, offers: Sequence[Offer], since: float, until: float, money: Money
) -> dict[str, list[tuple[float, float]]]:
    """By offer key: (time, US dollars per hour), sorted by time; the first is the price in force at `since`.

    Offers in a region that does not answer, or refuses, are missing.
    """
    pairs = sorted({(offer.region, offer.instance_type) for offer in offers})
    asked = [partial(rows, account, *pair, since - BEFORE_SECONDS, until) for pair in pairs]
    told = dict(zip(pairs, side_by_side(asked, AT_ONCE), strict=True))
    found: dict[str, list[tuple[float, float]]] = {}
    for offer in offers:
        answer = told[offer.region, offer.instance_type]
        if not isinstance(answer, Exception) and (steps := _steps(answer, offer.zone, money)):
            later = [step for step in steps if step[0] > since]
            found[offer.key] = steps[len(steps) - len(later) - 1 :] if len(later) < len(steps) else steps
    return found


def _steps(told: Iterable[dict[str, Any]], zone: str, money: Money) -> list[tuple[float, float]]:
    return sorted(
        (times.seconds(row["Timestamp"]), money.dollars(float(row["SpotPrice"]), row["Currency"])[0])
        for row in told
        if row["ZoneId"] == zone and row["Currency"] in CURRENCIES
    )


# ---- for `hotdesk spot` --------------------------------------------------------------------------------


def spot_history(
    settings: Settings | None, names: Sequence[str], places: Sequence[str], now: float, days: float = 90.0
) -> tuple[Rows, tuple[str, ...]]:
    """Past prices in the given regions (or all), as `market.history_files` reads them; a note on each region
    that failed.

    Raises `Unreachable` without any price.
    """
    types = " ".join(names)
    if not has_credentials():
        what = "There is no Alibaba Cloud account here to ask for prices."
        raise Unreachable(what, "It tells them to its customers only.", LOG_IN)
    account = Account(settings or Settings())
    regions = named(account.regions(), places, f"hotdesk spot {types} --region {account.home}")
    pairs = [(region, name) for region in regions for name in names]
    asked: list[Callable[[], Rows]] = [partial(rows, account, *pair, now - days * DAY, now) for pair in pairs]
    replies = side_by_side(asked, AT_ONCE)
    notes = tuple(
        dict.fromkeys(
            _note(region, e)
            for (region, _), e in zip(pairs, replies, strict=True)
            if isinstance(e, Exception) and not _is_not_sold(e)
        )
    )
    found = [_as_history(row) for reply in replies if not isinstance(reply, Exception) for row in reply]
    if not found:
        why = "; ".join(notes[:3]) or f"None of {len(regions)} regions has one."
        raise Unreachable(f"No price of {types} was found.", why, f"hotdesk offers {types}")
    return found, notes


def _is_not_sold(error: Exception) -> bool:
    return isinstance(error, Refused) and error.kind in {Kind.BAD_REQUEST, Kind.UNSUPPORTED}


def _note(region: str, error: Exception) -> str:
    said = error.what if isinstance(error, HotdeskError) else getattr(error, "message", "") or str(error)
    return f"{region}: {said.rstrip('.')}"


def _as_history(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "InstanceType": row["InstanceType"],
        "AvailabilityZone": row["ZoneId"],
        "Timestamp": row["Timestamp"],
        "SpotPrice": float(row["SpotPrice"]),
        "Currency": row["Currency"],
    }
