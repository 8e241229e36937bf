"""The pricing service, which moto lacks: GetProducts for EC2, in the real answers' form."""

from __future__ import annotations

import fnmatch
import json
from typing import Any

from fake_ec2 import catalogue, prices
from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem
from fake_ec2.world import World

HOME_REGIONS = {"us-east-1", "eu-central-1", "ap-south-1"}  # the service lives in these only
SNAPSHOTS = {"snapshot": prices.USD_PER_SNAPSHOT_GIB_MONTH, "archive": 0.0125}
USAGE_PREFIX = {"us-east-1": "", "us-east-2": "USE2-", "us-west-2": "USW2-", "eu-west-1": "EU-"}


def attributes(kind: str, region: str) -> dict[str, str]:
    entry = catalogue.TYPES[kind]
    gpus = entry.get("GpuInfo", {}).get("Gpus", [])
    row = {
        "servicecode": "AmazonEC2",
        "servicename": "Amazon Elastic Compute Cloud",
        "instanceType": kind,
        "instanceFamily": "GPU instance" if gpus else "General purpose",
        "regionCode": region,
        "location": catalogue.LONG_NAMES.get(region, region),
        "locationType": "AWS Region",
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "licenseModel": "No License required",
        "marketoption": "OnDemand",
        "operation": "RunInstances",
        "usagetype": f"{USAGE_PREFIX.get(region, region.upper() + '-')}BoxUsage:{kind}",
        "vcpu": str(entry["VCpuInfo"]["DefaultVCpus"]),
        "memory": f"{entry['MemoryInfo']['SizeInMiB'] / 1024:g} GiB",
        "currentGeneration": "Yes" if entry.get("CurrentGeneration") else "No",
    }
    if gpus:
        row["gpu"] = str(gpus[0].get("LogicalGpuCount") or gpus[0].get("Count"))
        row["gpuMemory"] = f"{gpus[0]['MemoryInfo']['SizeInMiB'] / 1024:g} GB"
    return row


def stored_attributes(kind: str, region: str) -> dict[str, str]:
    """Of a disk or of snapshots, as the same service lists them."""
    family = "Storage Snapshot" if kind in SNAPSHOTS else "Storage"
    usage = {"snapshot": "EBS:SnapshotUsage", "archive": "EBS:SnapshotArchiveStorage"}
    row = {
        "servicecode": "AmazonEC2",
        "productFamily": family,
        "regionCode": region,
        "location": catalogue.LONG_NAMES.get(region, region),
        "locationType": "AWS Region",
        "usagetype": USAGE_PREFIX.get(region, region.upper() + "-")
        + usage.get(kind, f"EBS:VolumeUsage.{kind}"),
    }
    return row | ({"storageMedia": "Amazon S3"} if kind in SNAPSHOTS else {"volumeApiName": kind})


def usd_of(kind: str, region: str) -> float:
    """An hour of a machine, or a GiB and month of what is stored."""
    if kind in catalogue.TYPES:
        return prices.on_demand(kind, region)
    month = SNAPSHOTS.get(kind) or prices.USD_PER_GIB_MONTH[kind]
    return round(month * prices.region_factor(region), 6)


def product(kind: str, region: str, wanted: dict[str, str]) -> str:
    machine = kind in catalogue.TYPES
    of_what = f"On Demand Linux {kind} Instance Hour" if machine else f"GB-month of {kind}"
    sku = f"{int(prices.unit('sku', kind, region) * 36**12):x}".upper()[:16]
    term = f"{sku}.JRTCKXETXF"
    rate: dict[str, Any] = {
        "rateCode": f"{term}.6YS6EN2CT7",
        "unit": "Hrs" if machine else "GB-Mo",
        "beginRange": "0",
        "endRange": "Inf",
        "description": f"${usd_of(kind, region):.4f} per {of_what}",
        "appliesTo": [],
        "pricePerUnit": {"USD": f"{usd_of(kind, region):.10f}"},
    }
    offer = {
        "offerTermCode": "JRTCKXETXF",
        "sku": sku,
        "effectiveDate": "2026-11-01T00:00:00Z",
        "termAttributes": {},
        "priceDimensions": {rate["rateCode"]: rate},
    }
    document = {
        "serviceCode": "AmazonEC2",
        "version": "20261101000000",
        "publicationDate": "2026-11-01T00:00:00Z",
        "product": {
            "productFamily": wanted.get("productFamily", "Compute Instance"),
            "sku": sku,
            "attributes": {k: v for k, v in wanted.items() if k != "productFamily"},
        },
        "terms": {"OnDemand": {term: offer}},
    }
    return json.dumps(document)


def meets(value: str | None, condition: dict[str, str]) -> bool:
    want, kind = condition.get("Value") or "", condition.get("Type") or "TERM_MATCH"
    values = want.split(",")
    match kind:
        case "TERM_MATCH" | "EQUALS":
            return value is not None and value.lower() == want.lower()
        case "CONTAINS":
            return value is not None and fnmatch.fnmatchcase(value.lower(), f"*{want.lower()}*")
        case "ANY_OF":
            return value in values
        case "NONE_OF":
            return value not in values
    raise Problem("InvalidParameterException", f"Invalid filter type {kind}", 400)


@action("GetProducts", service="pricing")
def get_products(world: World, call: Call) -> dict[str, Any]:
    if call.region not in HOME_REGIONS:
        raise Problem("AccessDeniedException", f"The pricing service has no endpoint in {call.region}.", 400)
    if call.get("ServiceCode") != "AmazonEC2":
        return {"FormatVersion": "aws_v1", "PriceList": []}
    conditions = call.get("Filters") or []
    fixed = {
        c["Field"]: c["Value"]
        for c in conditions
        if (c.get("Type") or "TERM_MATCH") in {"TERM_MATCH", "EQUALS"}
    }
    by_location = {name: code for code, name in catalogue.LONG_NAMES.items()}
    only = fixed.get("regionCode") or by_location.get(fixed.get("location", ""))
    places = [only] if only else list(catalogue.all_regions())
    found: list[tuple[str, str, dict[str, str]]] = []
    for region in places:
        sold = catalogue.offered(region)
        if fixed.get("productFamily", "").startswith("Storage"):
            stored = (*prices.USD_PER_GIB_MONTH, *SNAPSHOTS)
            rows = [(kind, stored_attributes(kind, region)) for kind in stored]
        else:
            kinds = [fixed["instanceType"]] if "instanceType" in fixed else sorted(sold)
            rows = [(kind, attributes(kind, region)) for kind in kinds if kind in sold]
        for kind, row in rows:
            if all(meets(row.get(c["Field"]), c) for c in conditions):
                found.append((kind, region, row))
    size, start = min(int(call.get("MaxResults") or 100), 100), int(call.get("NextToken") or 0)
    more = {"NextToken": str(start + size)} if start + size < len(found) else {}
    return {"FormatVersion": "aws_v1", "PriceList": [product(*f) for f in found[start : start + size]]} | more
