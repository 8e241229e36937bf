"""What things cost: on-demand and spot prices per type, zone and moment, disks, snapshots and addresses.

On-demand prices in us-east-1 that AWS publishes are in KNOWN (read November 2026). Types that are not listed
there are estimated from vCPUs, memory and GPUs; other regions by a factor. A client must take prices from
this server's answers, never from this file.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache, lru_cache

from fake_ec2.catalogue import TYPES, offered, vcpus, zones

KNOWN = {
    "g4dn.xlarge": 0.526,
    "g5.xlarge": 1.006,
    "g6f.large": 0.20,
    "g6f.2xlarge": 0.475,
    "g6.xlarge": 0.805,
    "g6.2xlarge": 0.9776,
    "g6.48xlarge": 13.3504,
    "g6e.xlarge": 1.861,
    "g7e.4xlarge": 3.998,
    "p4d.24xlarge": 21.96,
    "p4de.24xlarge": 27.45,
    "p5.48xlarge": 55.04,
    "p5.4xlarge": 6.88,
    "t3.micro": 0.0104,
    "t3.medium": 0.0416,
    "t3.large": 0.0832,
    "m5.large": 0.096,
    "m5.xlarge": 0.192,
    "c5.xlarge": 0.17,
    "r5.xlarge": 0.252,
}
# Dollars an hour for one whole GPU beside the vCPUs and memory that come with it: differences of the above.
GPU = {
    "T4": 0.334,
    "T4g": 0.25,
    "A10G": 0.814,
    "L4": 0.613,
    "L40S": 1.625,
    "V100": 2.6,
    "A100": 2.1,
    "H100": 5.4,
    "H200": 6.6,
    "B200": 11.0,
    "B300": 14.0,
    "RTX PRO 4500": 1.1,
    "RTX PRO Server 6000": 3.05,
}
USD_PER_VCPU_HOUR, USD_PER_GIB_HOUR = 0.037, 0.00275  # from m5 and c5
REGION_FACTOR = {
    "us-east-1": 1.0,
    "us-east-2": 1.0,
    "us-west-2": 1.0,
    "sa-east-1": 1.59,
    "ap-northeast-1": 1.29,
}

HOURS_PER_MONTH = 730.0
USD_PER_GIB_MONTH = {
    "gp3": 0.08,
    "gp2": 0.10,
    "io1": 0.125,
    "io2": 0.125,
    "st1": 0.045,
    "sc1": 0.015,
    "standard": 0.05,
}
USD_PER_SNAPSHOT_GIB_MONTH = 0.05
USD_PER_ADDRESS_HOUR = 0.005
USD_PER_GP3_IOPS_MONTH, USD_PER_GP3_MIBPS_MONTH = 0.005, 0.04


def unit(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone: the same in every process and on every day."""
    text = "|".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") / 2.0**64


def region_factor(region: str) -> float:
    return REGION_FACTOR.get(region) or 1.05 + 0.2 * round(unit("region", region), 2)


@lru_cache(maxsize=50_000)
def on_demand(instance_type: str, region: str) -> float:
    """Dollars an hour, Linux, shared tenancy."""
    base: float | None = KNOWN.get(instance_type)
    if base is None:
        entry = TYPES[instance_type]
        base = (
            vcpus(instance_type) * USD_PER_VCPU_HOUR
            + entry["MemoryInfo"]["SizeInMiB"] / 1024 * USD_PER_GIB_HOUR
        )
        for gpu in entry.get("GpuInfo", {}).get("Gpus", []):
            share = gpu.get("GpuPartitionSize") or 1.0
            base += (
                GPU.get(gpu["Name"], 1.0)
                * share
                * max(1, gpu.get("LogicalGpuCount") or gpu.get("Count") or 1)
            )
        for other in ("NeuronInfo", "InferenceAcceleratorInfo", "FpgaInfo", "MediaAcceleratorInfo"):
            base += 1.0 if other in entry else 0.0
    return round(base * region_factor(region), 4)


# ── spot: a price per zone that wanders, seeded, the same whenever and however often it is asked ─────────

MASK = 2**64 - 1
SLOT = 4 * 3600.0  # at most one change in each four hours


def mixed(*numbers: int) -> float:
    """A number in [0, 1) from whole numbers: splitmix64's finish, cheap enough for 100,000 prices."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = (state ^ (number & MASK)) * 0xBF58476D1CE4E5B9 & MASK
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & MASK
        state ^= state >> 31
    return state / 2.0**64


def noise(pool: int, kind: int, position: float) -> float:
    """Smooth value noise in [-1, 1]: one independent value per whole position, eased between."""
    whole = math.floor(position)
    part = position - whole
    a, b = 2 * mixed(pool, kind, whole) - 1, 2 * mixed(pool, kind, whole + 1) - 1
    return a + (b - a) * part * part * (3 - 2 * part)


class SpotPrices:
    """Piecewise constant prices from a seed. `set` overrides a pool from a moment on."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.overrides: list[tuple[str, str, float, float]] = []  # (type, zone, from, usd per hour)

    def set(self, instance_type: str, zone: str, at: float, usd_per_hour: float) -> None:
        self.overrides.append((instance_type, zone, at, usd_per_hour))

    @cache  # noqa: B019
    def _pool(self, instance_type: str, zone: str) -> tuple[int, float, float]:
        """(the pool's number, its usual share of the on-demand price, that price). Some pools cost a tenth of
        it, some have nothing to spare."""
        full = on_demand(instance_type, zone[:-1])
        number = int(unit(self.seed, "pool", instance_type, zone) * 2**52)
        if unit(self.seed, "scarce", instance_type, zone) > 0.93:
            return number, 1.0, full
        return number, 0.16 + 0.62 * math.pow(unit(self.seed, "level", instance_type, zone), 1.3), full

    @lru_cache(maxsize=500_000)  # noqa: B019
    def _in_slot(self, instance_type: str, zone: str, slot: int) -> tuple[float, float]:
        """(moment of the change, price from then on) within one slot."""
        pool, level, full = self._pool(instance_type, zone)
        at = (slot + mixed(pool, 1, slot)) * SLOT
        wander = 0.22 * noise(pool, 2, at / (9 * 86_400.0)) + 0.07 * noise(pool, 3, at / 86_400.0)
        spike = 1.9 if mixed(pool, 4, slot // 9) > 0.985 else 1.0
        share = min(1.0, max(0.10, level * math.exp(wander) * spike))
        return at, round(share * full, 4)

    def within(self, instance_type: str, zone: str, after: float, until: float) -> list[tuple[float, float]]:
        """[(moment, usd per hour)]: the changes after the one moment and up to the other, oldest first."""
        return [row for row in self._steps(instance_type, zone, after, until) if row[0] > after]

    def in_force(self, instance_type: str, zone: str, moment: float) -> tuple[float, float]:
        """(since when, usd per hour) at that moment. The change may be an old one."""
        at, usd = self._steps(instance_type, zone, moment, moment)[0]
        slot = int(at // SLOT) - 1
        while not self.overrides and slot > int(moment // SLOT) - 600:
            earlier, before = self._in_slot(instance_type, zone, slot)
            if before != usd:
                break
            at, slot = earlier, slot - 1
        return at, usd

    def _steps(self, instance_type: str, zone: str, since: float, until: float) -> list[tuple[float, float]]:
        first = int(since // SLOT) - 1
        rows = [self._in_slot(instance_type, zone, slot) for slot in range(first, int(until // SLOT) + 1)]
        own = sorted((at, usd) for t, z, at, usd in self.overrides if t == instance_type and z in {zone, "*"})
        if own:
            rows = [r for r in rows if r[0] < own[0][0]] + own
        merged: list[tuple[float, float]] = []
        for at, usd in rows:
            if at <= until and (not merged or merged[-1][1] != usd):
                merged.append((at, usd))
        start = max((i for i, (at, _) in enumerate(merged) if at <= since), default=0)
        return merged[start:]

    def at(self, instance_type: str, zone: str, moment: float) -> float:
        """Dollars an hour in that zone at that moment."""
        found = self._steps(instance_type, zone, moment, moment)
        return found[-1][1] if found else on_demand(instance_type, zone[:-1])


def pools(instance_type: str, region: str) -> tuple[str, ...]:
    """Zones of the region where the type is sold on spot."""
    if "spot" not in TYPES[instance_type].get("SupportedUsageClasses", []):
        return ()
    return tuple(z for z in offered(region).get(instance_type, ()) if z in zones(region))
