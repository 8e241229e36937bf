"""Cost Explorer: the whole bill until now, as one row of the last month that is asked for."""

from __future__ import annotations

from typing import Any

from fake_ec2 import ledger
from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem
from fake_ec2.world import World

USD_PER_REQUEST = 0.01


@action("GetCostAndUsage", service="ce")
def get_cost_and_usage(world: World, call: Call) -> dict[str, Any]:
    """By one tag, filtered by one tag: what else it can do is refused."""
    period, groups = call.get("TimePeriod") or {}, call.get("GroupBy") or []
    if not period.get("Start") or period["Start"] >= period.get("End", ""):
        raise Problem("ValidationException", "Start time is not before end time.")
    if call.get("Metrics") != ["UnblendedCost"] or [g.get("Type") for g in groups] != ["TAG"]:
        raise Problem("ValidationException", "This fake knows UnblendedCost by one tag.")
    only = (call.get("Filter") or {}).get("Tags") or {}
    by: dict[str, float] = {}
    for row in ledger.listing(world, gone=True):
        if row["tags"].get(only.get("Key")) in only.get("Values", []):
            value = row["tags"].get(groups[0]["Key"], "")
            by[value] = by.get(value, 0.0) + row["usd_so_far"]
    return {
        "GroupDefinitions": groups,
        "ResultsByTime": [
            {
                "TimePeriod": period,
                "Total": {},
                "Groups": [
                    {
                        "Keys": [f"{groups[0]['Key']}${value}"],
                        "Metrics": {"UnblendedCost": {"Amount": f"{usd:.10f}", "Unit": "USD"}},
                    }
                    for value, usd in sorted(by.items())
                ],
                "Estimated": True,
            }
        ],
        "DimensionValueAttributes": [],
    }
