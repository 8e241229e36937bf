"""DescribeSpotPriceHistory: newest first, page by page, worked out only as far as the pages go."""

from __future__ import annotations

from typing import Any

from fake_ec2 import catalogue, prices
from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem
from fake_ec2.filters import pattern, seconds_of, stamp
from fake_ec2.prices import SpotPrices
from fake_ec2.world import World

DAYS = 90  # AWS tells no more
DAY = 86_400.0
PAGE = 1000
PRODUCTS = ("Linux/UNIX", "Linux/UNIX (Amazon VPC)")
FILTERS = {
    "availability-zone",
    "availability-zone-id",
    "instance-type",
    "product-description",
    "spot-price",
    "timestamp",
}


class Cursor:
    """One query under way: rows (moment, type, zone, usd per hour) so far, back to `reached`."""

    def __init__(self, spot: SpotPrices, pools: list[tuple[str, str]], since: float, until: float) -> None:
        self.spot, self.pools, self.since, self.reached = spot, pools, since, until
        self.rows: list[tuple[float, str, str, float]] = []
        self.complete = False

    def upto(self, count: int) -> list[tuple[float, str, str, float]]:
        """At least `count` rows, or all."""
        while len(self.rows) < count and not self.complete:
            low = max(self.since, self.reached - DAY)
            part = [
                (at, kind, zone, usd)
                for kind, zone in self.pools
                for at, usd in self.spot.within(kind, zone, low, self.reached)
            ]
            if low <= self.since:  # the price that was in force at StartTime is told too
                for kind, zone in self.pools:
                    at, usd = self.spot.in_force(kind, zone, self.since)
                    part.append((at, kind, zone, usd))
                self.complete = True
            part.sort(key=lambda row: (-row[0], row[1], row[2]))
            self.rows += part
            self.reached = low
        return self.rows


@action("DescribeSpotPriceHistory")
def spot_price_history(world: World, call: Call) -> dict[str, Any]:
    """All filters are honoured; a page is at most 1000 rows."""
    token = str(call.get("NextToken") or "")
    if token:
        number, _, offset = token.partition("-")
        cursor = world.cursors.get(number)
        if cursor is None:
            raise Problem("InvalidNextToken", f"The token '{token}' is invalid or has expired.")
    else:
        number, offset = str(world.calls), "0"
        cursor = open_cursor(world, call)
        world.cursors[number] = cursor
        while len(world.cursors) > 64:
            world.cursors.pop(next(iter(world.cursors)))
    start = int(offset)
    end = start + min(int(call.get("MaxResults") or PAGE), PAGE)
    rows = cursor.upto(end + 1)
    return {
        "SpotPriceHistory": [
            {
                "AvailabilityZone": zone,
                "AvailabilityZoneId": catalogue.zones(call.region)[zone],
                "InstanceType": kind,
                "ProductDescription": PRODUCTS[0],
                "SpotPrice": f"{usd:.6f}",
                "Timestamp": stamp(at),
            }
            for at, kind, zone, usd in rows[start:end]
        ],
        "NextToken": f"{number}-{end}" if end < len(rows) else "",
    }


def open_cursor(world: World, call: Call) -> Cursor:
    now = world.clock.now()
    until = min(seconds_of(call.get("EndTime")) or now, now)
    since = max(seconds_of(call.get("StartTime")) or 0.0, now - DAYS * DAY)
    asked = {c["Name"]: c.get("Values") or [] for c in call.get("Filters") or []}
    if unknown := set(asked) - FILTERS:
        raise Problem("InvalidParameterValue", f"The filter '{min(unknown)}' is invalid")
    kinds = call.get("InstanceTypes") or []
    if bad := [k for k in kinds if k not in catalogue.TYPES]:
        raise Problem("InvalidParameterValue", f"Invalid value '{bad[0]}' for instanceType.")
    products = call.get("ProductDescriptions") or []
    if (products and PRODUCTS[0] not in products and PRODUCTS[1] not in products) or not meets(
        asked.get("product-description"), PRODUCTS[0]
    ):
        return Cursor(world.spot, [], since, until)
    ids = catalogue.zones(call.region)
    pools = [
        (kind, zone)
        for kind in sorted(kinds or catalogue.offered(call.region))
        if meets(asked.get("instance-type"), kind)
        for zone in prices.pools(kind, call.region)
        if call.get("AvailabilityZone") in (None, zone)
        and call.get("AvailabilityZoneId") in (None, ids[zone])
        and meets(asked.get("availability-zone"), zone)
        and meets(asked.get("availability-zone-id"), ids[zone])
    ]
    return Cursor(world.spot, pools, min(since, until), until)


def meets(patterns: list[str] | None, value: str) -> bool:
    return patterns is None or any(pattern(p).fullmatch(value) for p in patterns)
