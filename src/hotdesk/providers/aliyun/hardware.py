"""Properties of instance types, from DescribeInstanceTypes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hotdesk.core.matching import InstanceType
from hotdesk.providers.aliyun.settings import NAME

#: GPUs that are offered, by the service's `GPUSpec`. Only whole ones: a slice ("NVIDIA T4/4") needs a driver
#: with a licence, which no public image has. (ECS user guide, "GPU-accelerated compute-optimized families".)
GPUS = {
    "NVIDIA T4": "T4",
    "NVIDIA A10": "A10",
    "NVIDIA A30": "A30",
    "NVIDIA A100": "A100",
    "NVIDIA V100": "V100",
    "NVIDIA P100": "P100",
    "NVIDIA P4": "P4",
    "NVIDIA L20": "L20",
    "NVIDIA L4": "L4",
    "NVIDIA H20": "H20",
    "NVIDIA H100": "H100",
}
_ARCH = {"X86": "x86_64", "ARM": "arm64"}

#: For a desk without a GPU: families of general use.
CPU_FAMILIES = ("ecs.g7", "ecs.c7", "ecs.r7", "ecs.g8i", "ecs.c8i", "ecs.u1")


def as_type(raw: Mapping[str, Any]) -> InstanceType | None:
    """A row of DescribeInstanceTypes; None if it is unreadable, or has a GPU that is not offered."""
    spec, count = str(raw.get("GPUSpec") or ""), float(raw.get("GPUAmount") or 0)
    if (spec or count) and spec not in GPUS:
        return None
    try:
        return InstanceType(
            provider=NAME,
            instance_type=str(raw["InstanceTypeId"]),
            gpu=GPUS[spec] if count else "",
            gpu_count=count,
            gpu_memory_gib=float(raw.get("GPUMemorySize") or 0) if count else 0.0,
            vcpus=float(raw["CpuCoreCount"]),
            memory_gib=float(raw["MemorySize"]),
            arch=_ARCH.get(str(raw.get("CpuArchitecture") or "X86"), ""),
            burstable=bool(raw.get("BaselineCredit")),
            scratch_gib=_scratch(raw),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _scratch(raw: Mapping[str, Any]) -> float:
    """GiB of local disks, which are in no image; a type with some cannot be stopped without paying."""
    return float(raw.get("LocalStorageCapacity") or 0) * float(raw.get("LocalStorageAmount") or 0)


def has_local_disk(raw: Mapping[str, Any]) -> bool:
    """Whether an instance, as it is described, has a local disk."""
    return bool(raw.get("LocalStorageAmount") or raw.get("LocalStorageCapacity"))
