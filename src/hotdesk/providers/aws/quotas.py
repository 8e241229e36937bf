"""Quotas: the account's limits in vCPUs, by family and market, and how to ask for more."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from hotdesk.core.errors import Refused
from hotdesk.core.model import Market, Offer
from hotdesk.core.steps import LaunchOrder
from hotdesk.parallel import side_by_side
from hotdesk.providers.aws.account import Account, pages
from hotdesk.providers.aws.errors import code as error_code

#: Limits that are counted in vCPUs, by family and market (EC2 user guide, "EC2 On-Demand instance limits").
_IN_VCPUS = frozenset(
    {
        "VcpuLimitExceeded",
        "InstanceLimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "SpotInstanceCountExceeded",
    }
)

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


#: For spot, P5 has a quota of its own, and the older P types share one (EC2 user guide, "Spot Instance
#: quotas"). P6 is not mentioned there, and is counted with P5, as it is no older P.
_NEW_P_SPOT, _OLD_P = "L-C4BD4855", ("p2", "p3", "p4")

_WORDS = {"G and VT": ("g", "gr", "vt"), "P": ("p",), "Inf": ("inf",), "Trn": ("trn",), "DL": ("dl",),
          "X": ("x",), "F": ("f",)}  # fmt: skip
_STANDARD = "Standard (A, C, D, H, I, M, R, T, Z)"


def family(instance_type: str) -> str:
    """The family whose quota an instance type counts against."""
    letters = re.match(r"[a-z]+", instance_type)
    word = letters.group() if letters else ""
    return next((family_ for family_, words in _WORDS.items() if word in words), _STANDARD)


def quota_code(instance_type: str, market: Market) -> str:
    """The quota's code in Service Quotas; on-demand and spot have different quotas."""
    on_demand, spot = _CODES[family(instance_type)]
    if market is Market.SPOT and _new_p(instance_type):
        return _NEW_P_SPOT
    return spot if market is Market.SPOT else on_demand


def counted_with(instance_type: str, market: Market) -> tuple[str, ...]:
    """Patterns of the instance types that count against the same quota."""
    name = family(instance_type)
    if name == "P" and market is Market.SPOT:
        return ("p[5-9]*",) if _new_p(instance_type) else tuple(f"{p}*" for p in _OLD_P)
    if name == _STANDARD:
        return (*(f"{letter}[0-9]*" for letter in "acdhimrtz"), f"{instance_type.partition('.')[0]}.*")
    return tuple(f"{word}[0-9]*" for word in _WORDS[name])


def _new_p(instance_type: str) -> bool:
    return family(instance_type) == "P" and not instance_type.startswith(_OLD_P)


def room(account: Account, offers: Sequence[Offer]) -> dict[Market, int]:
    """How many more machines of these pools, all of one region, the quotas allow now, by market.

    A market is left out where one of its quotas cannot be asked.
    """
    asked = {(o.market, quota_code(o.instance_type, o.market)): o for o in offers if o.vcpus}
    answers = side_by_side([partial(_free, account, code, o) for (_, code), o in asked.items()], 4)
    found: dict[Market, int] = {}
    unknown = set()
    for ((market, _), offer), free in zip(asked.items(), answers, strict=True):
        if isinstance(free, Exception):
            unknown.add(market)
            continue
        found[market] = found.get(market, 0) + max(0, int(free // offer.vcpus))
    return {market: count for market, count in found.items() if market not in unknown}


def _free(account: Account, quota: str, offer: Offer) -> float:
    """vCPUs that a quota has left: what runs, or is about to, counts against it."""
    told = account.client("service-quotas", offer.region).get_service_quota(
        ServiceCode="ec2", QuotaCode=quota
    )
    counted = [
        {"Name": "instance-state-name", "Values": ["pending", "running"]},
        {"Name": "instance-type", "Values": list(counted_with(offer.instance_type, offer.market))},
    ]
    rows = pages(
        account.ec2(offer.region), "describe_instances", "Reservations", Filters=counted, MaxResults=1000
    )
    spot = offer.market is Market.SPOT
    used: float = sum(
        one["CpuOptions"]["CoreCount"] * one["CpuOptions"]["ThreadsPerCore"]
        for row in rows
        for one in row["Instances"]
        if (one.get("InstanceLifecycle") == "spot") == spot and one.get("CpuOptions")
    )
    return float(told["Quota"]["Value"]) - used


def explained(account: Account, order: LaunchOrder, no: Refused) -> Refused:
    """The refusal with the quota's name, code and value, and the command that requests an increase."""
    offer = order.offer
    why = error_code(no.__cause__ or no)
    if why not in _IN_VCPUS:
        fix = (
            f"https://console.aws.amazon.com/servicequotas/home?region={offer.region}   # ask for more there"
        )
        return _caused(Refused(no.kind, no.message, fix=fix, seconds=no.seconds), no)
    code = quota_code(offer.instance_type, offer.market)
    of_p = ("P5" if _new_p(offer.instance_type) else "P4, P3 and P2") if code != "L-417A185B" else ""
    counted = family(offer.instance_type)
    name = (
        f"All {of_p if counted == 'P' else counted} Spot Instance Requests"
        if offer.market is Market.SPOT
        else f"Running On-Demand {counted} instances"
    )
    value, allowed = "", 0
    try:  # name and value only make the message better
        quota = account.client("service-quotas", offer.region).get_service_quota(
            ServiceCode="ec2", QuotaCode=code
        )["Quota"]
        name, value = quota.get("QuotaName") or name, f", {quota['Value']:g} vCPUs in {offer.region}"
        allowed = int(quota["Value"])
    except Exception:
        pass
    needed = int(offer.vcpus) or 4
    explained_ = Refused(
        no.kind,
        f"the quota {name!r} ({code}{value}) has no room for {needed} vCPUs more ({why})",
        fix=(
            f"aws service-quotas request-service-quota-increase --region {offer.region} --service-code ec2 "
            f"--quota-code {code} --desired-value {allowed + needed}"
        ),
        seconds=no.seconds,
    )
    return _caused(explained_, no)


def in_vcpus(why: str) -> bool:
    """Whether an error code of EC2 is about a quota in vCPUs."""
    return why in _IN_VCPUS


def _caused(new: Refused, no: Refused) -> Refused:
    new.__cause__ = no.__cause__
    return new
