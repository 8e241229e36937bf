"""What is sold: types, zones, prices in CNY, spot prices, stock."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tests.fake_ecs import laws
from tests.fake_ecs.laws import ECS, Answer, operation
from tests.fake_ecs.wire import Call, Problem, second
from tests.fake_ecs.world import ZONES, World


@dataclass(frozen=True)
class Type:
    family: str
    cpus: int
    memory: float
    gpu: str = ""
    gpus: int = 0
    gpu_gib: float = 0.0
    local_gib: int = 0
    cny: float = 1.0  # an hour in cn-hangzhou
    arch: str = "X86"
    burstable: bool = False


TYPES = {
    "ecs.gn6i-c4g1.xlarge": Type("ecs.gn6i", 4, 15, "NVIDIA T4", 1, 16, cny=11.63),
    "ecs.gn7i-c8g1.2xlarge": Type("ecs.gn7i", 8, 30, "NVIDIA A10", 1, 24, cny=9.53),
    "ecs.gn7i-c16g1.4xlarge": Type("ecs.gn7i", 16, 60, "NVIDIA A10", 1, 24, cny=10.09),
    "ecs.gn6v-c8g1.2xlarge": Type("ecs.gn6v", 8, 32, "NVIDIA V100", 1, 16, cny=26.46),
    "ecs.gn5-c4g1.xlarge": Type("ecs.gn5", 4, 30, "NVIDIA P100", 1, 16, local_gib=440, cny=12.8),
    "ecs.vgn6i-m4-vws.xlarge": Type("ecs.vgn6i-vws", 4, 23, "NVIDIA T4/4", 1, 4, cny=5.0),
    "ecs.g7.xlarge": Type("ecs.g7", 4, 16, cny=1.0),
    "ecs.g7.2xlarge": Type("ecs.g7", 8, 32, cny=2.0),
    "ecs.c7.xlarge": Type("ecs.c7", 4, 8, cny=0.78),
    "ecs.g8y.xlarge": Type("ecs.g8y", 4, 16, cny=0.7, arch="ARM"),
    "ecs.t6-c1m2.large": Type("ecs.t6", 2, 4, cny=0.2, burstable=True),
}
#: Prices of a region, by cn-hangzhou's.
LEVEL = {"cn-wulanchabu": 0.9, "cn-hongkong": 1.7, "us-west-1": 1.6}
CATEGORIES = {"cloud_essd", "cloud_auto"}
DISK_CNY = {  # a GiB and hour, by performance level or category
    "PL0": 0.00105, "PL1": 0.0021, "PL2": 0.0042, "PL3": 0.0084, "cloud_auto": 0.0021,
    "cloud_essd_entry": 0.0007, "cloud_ssd": 0.0014, "cloud_efficiency": 0.00049,
}  # fmt: skip


def disk_cny(category: str, level: str) -> float:
    return DISK_CNY[level or ("PL1" if category == "cloud_essd" else category)]


def disks_of(world: World, zone: str) -> set[str]:
    """The categories of disk that a zone sells: all, where a test says nothing else."""
    return world.disks_sold.get(zone, CATEGORIES)


def on_demand(region: str, name: str) -> float:
    return round(TYPES[name].cny * LEVEL.get(region, 1.0), 5)


def spot(world: World, zone: str, name: str, at: float) -> float:
    """A slow wave, never above the on-demand price."""
    region = next(r for r, zones in ZONES.items() if zone in zones)
    wave = 0.3 + 0.1 * math.sin(at / 86400 + len(zone) + len(name))
    return round(on_demand(region, name) * wave, 3)


def has_stock(world: World, zone: str, name: str, market: str) -> bool:
    for where, what, how in world.sold_out:
        if where in {"*", zone} and what in {"*", name} and how in {"*", market}:
            return False
    return True


def place(world: World, zone: str, name: str, market: str, *, amount: int = 1, least: int = 1) -> int:
    """How many there are of so many. Raises the refusal of a sold-out pool. Three texts are in use."""
    there = min(amount, world.left.get((zone, name, market), amount))
    if not has_stock(world, zone, name, market) or there < least:
        raise Problem(
            "OperationDenied.NoStock",
            "The requested resource is sold out in the specified zone; try other types of resources "
            "or other regions and zones.",
            403,
        )

    return there


def taken(world: World, zone: str, name: str, market: str, count: int) -> None:
    if (key := (zone, name, market)) in world.left:
        world.left[key] -= count


@operation(ECS)
def describe_regions(world: World, call: Call) -> Answer:
    return {
        "Regions": {
            "Region": [
                {
                    "RegionId": name,
                    "LocalName": name,
                    "RegionEndpoint": f"ecs.{name}.aliyuncs.com",
                    "Status": "available",
                }
                for name in ZONES
                if name not in world.closed
            ]
        }
    }


@operation(ECS)
def describe_zones(world: World, call: Call) -> Answer:
    call.need("RegionId")
    world.region(call.region)
    return {
        "Zones": {
            "Zone": [
                {"ZoneId": zone, "LocalName": zone, "ZoneType": "AvailabilityZone"}
                for zone in ZONES[call.region]
            ]
        }
    }


@operation(ECS)
def describe_instance_types(world: World, call: Call) -> Answer:
    wanted = call.many("InstanceTypes")
    families = call.many("InstanceTypeFamilies")
    rows = [
        {
            "InstanceTypeId": name,
            "InstanceTypeFamily": kind.family,
            "CpuCoreCount": kind.cpus,
            "MemorySize": kind.memory,
            "GPUAmount": kind.gpus,
            "GPUSpec": kind.gpu,
            "GPUMemorySize": kind.gpu_gib,
            "CpuArchitecture": kind.arch,
            "LocalStorageAmount": 1 if kind.local_gib else 0,
            "LocalStorageCapacity": kind.local_gib,
            "LocalStorageCategory": "local_ssd_pro" if kind.local_gib else "",
            "InstanceFamilyLevel": "CreditEntryLevel" if kind.burstable else "EnterpriseLevel",
            "BaselineCredit": 12 if kind.burstable else 0,
        }
        for name, kind in TYPES.items()
        if (not wanted or name in wanted)
        and (not families or kind.family in families)
        and kind.gpus >= int(call.get("MinimumGPUAmount") or 0)
    ]
    page, more = laws.token_page(call, rows)
    return {"InstanceTypes": {"InstanceType": page}, **more}


@operation(ECS)
def describe_available_resource(world: World, call: Call) -> Answer:
    call.need("RegionId", "DestinationResource")
    market = "spot" if call.get("SpotStrategy", "NoSpot") != "NoSpot" else "on-demand"
    only = call.get("InstanceType")
    zones = []
    world.region(call.region)
    for zone in ZONES[call.region]:
        if call.get("ZoneId") not in {"", zone}:
            continue
        rows: list[Answer] = []
        if call.get("DestinationResource") == "SystemDisk":
            call.need("InstanceType")
            rows = [
                {
                    "Value": c,
                    "Status": "Available",
                    "StatusCategory": "WithStock",
                    "Min": 20,
                    "Max": 2048,
                    "Unit": "GiB",
                }
                for c in sorted(disks_of(world, zone))
            ]
        else:
            for name in [only] if only else TYPES:
                if name not in TYPES:
                    continue
                stock = has_stock(world, zone, name, market)
                rows.append(
                    {
                        "Value": name,
                        "Status": "Available" if stock else "SoldOut",
                        "StatusCategory": "WithStock" if stock else "WithoutStock",
                    }
                )
        stocked = any(r["Status"] == "Available" for r in rows)
        zones.append(
            {
                "RegionId": call.region,
                "ZoneId": zone,
                "Status": "Available" if stocked else "SoldOut",
                "StatusCategory": "WithStock" if stocked else "WithoutStock",
                "AvailableResources": {
                    "AvailableResource": [
                        {
                            "Type": call.get("DestinationResource"),
                            "SupportedResources": {"SupportedResource": rows},
                        }
                    ]
                },
            }
        )
    return {"AvailableZones": {"AvailableZone": zones}}


@operation(ECS)
def describe_price(world: World, call: Call) -> Answer:
    call.need("RegionId")
    world.region(call.region)
    usual = call.get("ResourceType", "instance")
    if usual == "instance":
        call.need("InstanceType")
        name = call.get("InstanceType")
        if name not in TYPES:
            raise Problem(
                "InvalidInstanceType.ValueNotSupported", "The specified InstanceType is not supported.", 403
            )
        price = on_demand(call.region, name)
        if call.get("SpotStrategy", "NoSpot") != "NoSpot":
            price = spot(world, call.get("ZoneId") or ZONES[call.region][0], name, world.clock.now())
    elif usual == "disk":
        [disk] = call.params["DataDisk"]
        price = round(disk_cny(disk["Category"], disk.get("PerformanceLevel", "")) * int(disk["Size"]), 6)
    else:
        raise Problem("InvalidResourceType.ValueNotSupported", "The specified ResourceType is not supported.")
    told = {"OriginalPrice": price, "DiscountPrice": 0.0, "TradePrice": price, "Currency": world.currency}
    return {"PriceInfo": {"Price": told, "Rules": {"Rule": []}}}


@operation(ECS)
def describe_spot_price_history(world: World, call: Call) -> Answer:
    call.need("RegionId", "NetworkType", "InstanceType")
    name = call.get("InstanceType")
    if name not in TYPES:
        raise Problem("InvalidParams.InstanceType", "The specified InstanceType is not valid.")
    until = world.clock.now()
    since = _time(call.get("StartTime")) or until - 3 * 3600
    until = _time(call.get("EndTime")) or until
    if until - since > 30 * 86400 or since > until:
        raise Problem("InvalidParams.EndTime", "The specified time range is not valid.")
    if since < world.clock.now() - world.price_days * 86400:
        raise Problem("InvalidParams.StartTime", "The specified StartTime is not valid.")
    rows: list[Answer] = []
    for zone in ZONES[call.region]:
        at = math.ceil(since / 3600) * 3600.0
        while at <= until:
            rows.append(
                {
                    "ZoneId": zone,
                    "InstanceType": name,
                    "NetworkType": "vpc",
                    "IoOptimized": "optimized",
                    "Timestamp": second(at),
                    "SpotPrice": spot(world, zone, name, at),
                    "OriginPrice": on_demand(call.region, name),
                }
            )
            at += 3600
    start = int(call.get("Offset") or 0)
    page = rows[start : start + 1000]
    return {
        "Currency": world.currency,
        "NextOffset": start + len(page) if start + len(page) < len(rows) else 0,
        "SpotPrices": {"SpotPriceType": page},
    }


def _time(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp() if text else 0.0
