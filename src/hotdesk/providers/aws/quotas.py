"""Quotas: the account's limits in vCPUs, by family and market, and how to ask for more."""

from __future__ import annotations

import re

from hotdesk.core.errors import Refused
from hotdesk.core.model import Market
from hotdesk.core.steps import LaunchOrder
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.errors import code as error_code

#: Family -> quota codes (on-demand, spot). Source: Service Quotas, Amazon EC2; names are asked at run time.
_CODES = {
    "G and VT": ("L-DB2E81BA", "L-3819A6DF"),
    "P": ("L-417A185B", "L-7212CCBC"),
    "Inf": ("L-1945791B", "L-B5D1601B"),
    "Trn": ("L-2C3B7624", "L-6B0D517C"),
    "DL": ("L-6E869C2A", "L-85EED4F7"),
    "X": ("L-7295265B", "L-E3A00192"),
    "F": ("L-74FC7D96", "L-88CF9481"),
    "Standard (A, C, D, H, I, M, R, T, Z)": ("L-1216C47A", "L-34B43A08"),
}


def family(instance_type: str) -> str:
    """The family whose quota an instance type counts against."""
    letters = re.match(r"[a-z]+", instance_type)
    word = letters.group() if letters else ""
    for family_, words in {"G and VT": ("g", "gr", "vt"), "P": ("p",), "Inf": ("inf",), "Trn": ("trn",),
                           "DL": ("dl",), "X": ("x",), "F": ("f",)}.items():  # fmt: skip
        if word in words:
            return family_
    return "Standard (A, C, D, H, I, M, R, T, Z)"


def quota_code(instance_type: str, market: Market) -> str:
    """The quota's code in Service Quotas. On-demand and spot are counted apart."""
    on_demand, spot = _CODES[family(instance_type)]
    return spot if market is Market.SPOT else on_demand


def explained(account: Account, order: LaunchOrder, no: Refused) -> Refused:
    """The same no, with the quota's name, its code, its value and the command that asks for more."""
    offer = order.offer
    code = quota_code(offer.instance_type, offer.market)
    kind = (
        "All G and VT" if family(offer.instance_type) == "G and VT" else f"All {family(offer.instance_type)}"
    )
    name = (
        f"{kind} Spot Instance Requests"
        if offer.market is Market.SPOT
        else f"Running On-Demand {family(offer.instance_type)} instances"
    )
    value, allowed = "", 0
    try:  # the name and the value are nice to have: a no is a no without them
        quota = account.client("service-quotas", offer.region).get_service_quota(
            ServiceCode="ec2", QuotaCode=code
        )["Quota"]
        name, value = quota.get("QuotaName") or name, f", {quota['Value']:g} vCPUs in {offer.region}"
        allowed = int(quota["Value"])
    except Exception:
        pass
    needed = int(offer.vcpus) or 4
    return Refused(
        no.kind,
        f"the quota {name!r} ({code}{value}) has no room for {needed} vCPUs more"
        f" ({error_code(no.__cause__ or no)})",
        fix=(
            f"aws service-quotas request-service-quota-increase --region {offer.region} --service-code ec2 "
            f"--quota-code {code} --desired-value {allowed + needed}"
        ),
        seconds=no.seconds,
    )
