"""vCPU quotas per region, class and market, and the service-quotas service that moto lacks for EC2."""

from __future__ import annotations

from typing import Any

from fake_ec2 import catalogue
from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem
from fake_ec2.world import ACCOUNT, World

DEFAULT_VCPUS = 5000.0  # a grown account; new ones have 0 for GPUs: set it with /_fake/quota

# code: (market, class, name). https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html
CODES = {
    "L-1216C47A": (
        "on-demand",
        "standard",
        "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
    ),
    "L-DB2E81BA": ("on-demand", "g", "Running On-Demand G and VT instances"),
    "L-417A185B": ("on-demand", "p", "Running On-Demand P instances"),
    "L-74FC7D96": ("on-demand", "f", "Running On-Demand F instances"),
    "L-1945791B": ("on-demand", "inf", "Running On-Demand Inf instances"),
    "L-2C3B7624": ("on-demand", "trn", "Running On-Demand Trn instances"),
    "L-7295265B": ("on-demand", "x", "Running On-Demand X instances"),
    "L-6E869C2A": ("on-demand", "dl", "Running On-Demand DL instances"),
    "L-34B43A08": ("spot", "standard", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests"),
    "L-3819A6DF": ("spot", "g", "All G and VT Spot Instance Requests"),
    "L-7212CCBC": ("spot", "p", "All P4, P3 and P2 Spot Instance Requests"),
    "L-C4BD4855": ("spot", "p5", "All P5 Spot Instance Requests"),
    "L-88CF9481": ("spot", "f", "All F Spot Instance Requests"),
    "L-B5D1601B": ("spot", "inf", "All Inf Spot Instance Requests"),
    "L-6B0D517C": ("spot", "trn", "All Trn Spot Instance Requests"),
    "L-E3A00192": ("spot", "x", "All X Spot Instance Requests"),
    "L-85EED4F7": ("spot", "dl", "All DL Spot Instance Requests"),
}


def class_of(instance_type: str, market: str) -> str:
    family = instance_type.split(".", maxsplit=1)[0]
    for name in ("inf", "trn", "dl", "vt"):
        if family.startswith(name):
            return "g" if name == "vt" else name
    if market == "spot" and family.startswith(("p5", "p6")):
        return "p5"
    return family[0] if family[0] in "gpfx" else "standard"


def code_of(instance_type: str, market: str) -> str:
    kind = class_of(instance_type, market)
    return next((code for code, (m, c, _) in CODES.items() if (m, c) == (market, kind)), "L-1216C47A")


def limit(world: World, region: str, code: str) -> float:
    own = world.settings.quotas
    return float(own.get(f"{region}/{code}", own.get(code, DEFAULT_VCPUS)))


def used(world: World, region: str, code: str) -> int:
    return sum(
        catalogue.vcpus(i.type)
        for i in world.region(region).instances.values()
        if i.state in {"pending", "running", "stopping", "shutting-down"}
        and code_of(i.type, i.market) == code
    )


def check_quota(world: World, region: str, instance_type: str, market: str, count: int) -> int:
    """How many of `count` machines the quota still allows; raises when it does not allow even one."""
    code = code_of(instance_type, market)
    allowed = limit(world, region, code)
    free = int((allowed - used(world, region, code)) // catalogue.vcpus(instance_type))
    if free < 1:
        if market == "spot":
            raise Problem("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
        raise Problem(
            "VcpuLimitExceeded",
            f"You have requested more vCPU capacity than your current vCPU limit of {allowed:.0f} allows for "
            "the instance bucket that the specified instance type belongs to. Please visit "
            "http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit.",
        )
    return min(count, free)


# ── service-quotas ───────────────────────────────────────────────────────────────────────────────────────


def quota_row(world: World, region: str, code: str, default: bool = False) -> dict[str, Any]:
    return {
        "ServiceCode": "ec2",
        "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
        "QuotaArn": f"arn:aws:servicequotas:{region}:{ACCOUNT}:ec2/{code}",
        "QuotaCode": code,
        "QuotaName": CODES[code][2],
        "Value": 0.0 if default else limit(world, region, code),
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
        "QuotaAppliedAtLevel": "ACCOUNT",
    }


def _known(call: Call) -> str:
    code = call.get("QuotaCode") or ""
    if call.get("ServiceCode") != "ec2" or code not in CODES:
        raise Problem(
            "NoSuchResourceException", "The request failed because the specified quota does not exist."
        )
    return code


@action("GetServiceQuota", "GetAWSDefaultServiceQuota", service="servicequotas")
def get_quota(world: World, call: Call) -> dict[str, Any]:
    world.check_region(call.region)
    return {"Quota": quota_row(world, call.region, _known(call), call.action.startswith("GetAWS"))}


@action("ListServiceQuotas", "ListAWSDefaultServiceQuotas", service="servicequotas")
def list_quotas(world: World, call: Call) -> dict[str, Any]:
    if call.get("ServiceCode") != "ec2":
        raise Problem(
            "NoSuchResourceException", "The request failed because the specified service does not exist."
        )
    world.check_region(call.region)
    rows = [quota_row(world, call.region, code, "Default" in call.action) for code in CODES]
    if call.get("QuotaCode"):
        rows = [r for r in rows if r["QuotaCode"] == call.get("QuotaCode")]
    size, start = int(call.get("MaxResults") or 100), int(call.get("NextToken") or 0)
    more = {"NextToken": str(start + size)} if start + size < len(rows) else {}
    return {"Quotas": rows[start : start + size]} | more


@action("RequestServiceQuotaIncrease", service="servicequotas")
def request_increase(world: World, call: Call) -> dict[str, Any]:
    code, wanted = _known(call), float(call.get("DesiredValue") or 0)
    if wanted <= limit(world, call.region, code):
        raise Problem(
            "IllegalArgumentException", "You must provide a quota value greater than the current quota value"
        )
    row = {
        "Id": world.new_id("quota")[-20:],
        "ServiceCode": "ec2",
        "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
        "QuotaCode": code,
        "QuotaName": CODES[code][2],
        "DesiredValue": wanted,
        "Status": "PENDING",
        "Created": round(world.clock.now(), 3),
        "LastUpdated": round(world.clock.now(), 3),
        "Requester": "{}",
        "QuotaArn": f"arn:aws:servicequotas:{call.region}:{ACCOUNT}:ec2/{code}",
        "GlobalQuota": False,
        "Unit": "None",
    }
    world.quota_requests.append((call.region, row))
    return {"RequestedQuota": row}


@action(
    "ListRequestedServiceQuotaChangeHistoryByQuota",
    "ListRequestedServiceQuotaChangeHistory",
    service="servicequotas",
)
def requested_increases(world: World, call: Call) -> dict[str, Any]:
    code = call.get("QuotaCode")
    return {
        "RequestedQuotas": [
            row
            for region, row in world.quota_requests
            if region == call.region and code in (None, row["QuotaCode"])
        ]
    }
