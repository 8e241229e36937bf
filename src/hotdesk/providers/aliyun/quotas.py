"""What an account may rent in a region: vCPUs by market, and whether its owner's name is verified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hotdesk.core.model import Market
from hotdesk.providers.aliyun.account import Account

_NAMED = "real-name-authentication"
_COUNTED = {
    Market.ON_DEMAND: ("max-postpaid-instance-vcpu-count", "used-postpaid-instance-vcpu-count"),
    Market.SPOT: ("max-spot-instance-vcpu-count", "used-spot-instance-vcpu-count"),
}


class Quotas(NamedTuple):
    """`limits` and `free`: vCPUs; a market without a known limit is left out."""

    named: bool  # False: the owner's name is certainly not verified
    limits: dict[Market, float]
    free: dict[Market, float]


def of(account: Account, region: str) -> Quotas:
    """May raise `Refused`."""
    names = [_NAMED, *(name for pair in _COUNTED.values() for name in pair)]
    told = account.ask(region, "DescribeAccountAttributes", AttributeName=names)
    known = {
        str(row["AttributeName"]): [str(v.get("Value")) for v in row["AttributeValues"]["ValueItem"]]
        for row in told["AccountAttributeItems"]["AccountAttributeItem"]
    }
    limits: dict[Market, float] = {}
    free: dict[Market, float] = {}
    for market, (most, used) in _COUNTED.items():
        if (limit := _total(known.get(most))) is not None:
            limits[market] = limit
            free[market] = limit - (_total(known.get(used)) or 0.0)
    return Quotas(known.get(_NAMED) != ["no"], limits, free)


def _total(values: Sequence[str] | None) -> float | None:
    numbers = [float(value) for value in values or () if value.replace(".", "", 1).isdigit()]
    return sum(numbers) if numbers else None
