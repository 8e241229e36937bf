"""Instance types, regions and zones: moto's copy of the real catalogue, read quickly.

moto carries a real DescribeInstanceTypes answer and real offerings per zone, which is the best offline
catalogue there is; its own answer takes seconds because it serializes all types each time. Here each type is
serialized once, and pages are at most 100 long as they are in AWS.
"""

from __future__ import annotations

import fnmatch
from functools import cache, lru_cache
from typing import Any

from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES

from fake_ec2.errors import Problem

TYPES: dict[str, dict[str, Any]] = INSTANCE_TYPES

# Sent by AWS as opted in without asking; the others must be enabled by the account's owner first.
# https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html
ALWAYS_ENABLED = frozenset(
    [
        "us-east-1",
        "us-east-2",
        "us-west-1",
        "us-west-2",
        "ap-south-1",
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-northeast-3",
        "ap-southeast-1",
        "ap-southeast-2",
        "ca-central-1",
        "eu-central-1",
        "eu-west-1",
        "eu-west-2",
        "eu-west-3",
        "eu-north-1",
        "sa-east-1",
    ]
)
LONG_NAMES = {
    "us-east-1": "US East (N. Virginia)",
    "us-east-2": "US East (Ohio)",
    "us-west-1": "US West (N. California)",
    "us-west-2": "US West (Oregon)",
    "ap-south-1": "Asia Pacific (Mumbai)",
    "ap-northeast-1": "Asia Pacific (Tokyo)",
    "ap-northeast-2": "Asia Pacific (Seoul)",
    "ap-northeast-3": "Asia Pacific (Osaka)",
    "ap-southeast-1": "Asia Pacific (Singapore)",
    "ap-southeast-2": "Asia Pacific (Sydney)",
    "ca-central-1": "Canada (Central)",
    "eu-central-1": "EU (Frankfurt)",
    "eu-west-1": "EU (Ireland)",
    "eu-west-2": "EU (London)",
    "eu-west-3": "EU (Paris)",
    "eu-north-1": "EU (Stockholm)",
    "sa-east-1": "South America (Sao Paulo)",
}


@cache
def all_regions() -> tuple[str, ...]:
    """Regions of the ordinary partition for which the catalogue holds offerings."""
    return tuple(sorted(INSTANCE_TYPE_OFFERINGS["region"]))


@cache
def zones(region: str) -> dict[str, str]:
    """{'us-east-1a': 'use1-az6', …}"""
    return {z.name: z.zone_id for z in RegionsAndZonesBackend.zones.get(region, [])}


@cache
def offered(region: str) -> dict[str, tuple[str, ...]]:
    """{instance type: zones of the region that sell it}"""
    where: dict[str, list[str]] = {}
    for row in INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, []):
        if row["Location"] in zones(region):
            where.setdefault(row["InstanceType"], []).append(row["Location"])
    return {name: tuple(sorted(places)) for name, places in where.items()}


def vcpus(instance_type: str) -> int:
    return int(TYPES[instance_type]["VCpuInfo"]["DefaultVCpus"])


def architecture(instance_type: str) -> str:
    archs = TYPES[instance_type]["ProcessorInfo"]["SupportedArchitectures"]
    return "arm64" if "arm64" in archs else "x86_64"


def check_type(instance_type: str, region: str) -> None:
    """Raises InvalidParameterValue (no such type) or Unsupported (not sold here), as RunInstances does."""
    if instance_type not in TYPES:
        raise Problem("InvalidParameterValue", f"Invalid value '{instance_type}' for InstanceType.")
    if instance_type not in offered(region):
        raise Problem(
            "Unsupported",
            "The requested configuration is currently not supported. Please check the documentation for "
            "supported configurations.",
        )


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────


def type_page(params: dict[str, Any], region: str) -> tuple[list[str], str | None]:
    """Names of one page of DescribeInstanceTypes, and the token of the next."""
    wanted = params.get("InstanceTypes") or []
    here = offered(region)
    unknown = [t for t in wanted if t not in here]
    if unknown:
        raise Problem(
            "InvalidInstanceType",
            f"The following supplied instance types do not exist: [{', '.join(unknown)}]",
        )
    if wanted and params.get("MaxResults"):
        raise Problem(
            "InvalidParameterCombination", "Only one of InstanceTypes or MaxResults may be specified."
        )
    names = sorted(wanted or here)
    for condition in params.get("Filters") or []:
        names = [n for n in names if _type_matches(n, condition["Name"], tuple(condition["Values"]))]
    size = int(params.get("MaxResults") or 100)
    start = int(params.get("NextToken") or 0)
    end = start + size
    return names[start:end], str(end) if end < len(names) else None


@lru_cache(maxsize=200_000)
def _type_matches(name: str, field: str, values: tuple[str, ...]) -> bool:
    path = TYPE_FILTERS.get(field)
    if path is None:
        raise Problem("InvalidParameterValue", f"The filter '{field}' is invalid")
    found: Any = TYPES[name]
    for key in path:
        found = (found or {}).get(key)
    if found is None:
        return False
    texts = [
        str(f).lower() if isinstance(f, bool) else str(f)
        for f in (found if isinstance(found, list) else [found])
    ]
    return any(fnmatch.fnmatchcase(t, v) for t in texts for v in values)


def _filter_paths() -> dict[str, list[str]]:
    from moto.ec2.models.instance_types import InstanceType

    return dict(InstanceType._filter_attributes)


TYPE_FILTERS = _filter_paths()


def offerings(params: dict[str, Any], region: str) -> dict[str, Any]:
    """DescribeInstanceTypeOfferings, with wildcards in filters and pages, as AWS has them."""
    kind = params.get("LocationType") or "region"
    if kind not in {"region", "availability-zone", "availability-zone-id"}:
        raise Problem("InvalidParameterValue", f"The location type '{kind}' is not valid")
    rows = []
    for name, places in sorted(offered(region).items()):
        match kind:
            case "region":
                locations = [region]
            case "availability-zone":
                locations = list(places)
            case _:
                locations = [zones(region)[p] for p in places]
        rows += [{"InstanceType": name, "LocationType": kind, "Location": where} for where in locations]
    for condition in params.get("Filters") or []:
        key = {"location": "Location", "instance-type": "InstanceType"}.get(condition["Name"])
        if key is None:
            raise Problem("InvalidParameterValue", f"The filter '{condition['Name']}' is invalid")
        rows = [r for r in rows if any(fnmatch.fnmatchcase(r[key], v) for v in condition["Values"])]
    size = int(params.get("MaxResults") or 1000)
    start = int(params.get("NextToken") or 0)
    end = start + size
    return {"InstanceTypeOfferings": rows[start:end], "NextToken": str(end) if end < len(rows) else None}
