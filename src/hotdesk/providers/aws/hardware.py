"""Properties of instance types: console, boot time, GPU driver; and parsing of DescribeInstanceTypes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from hotdesk.core.matching import InstanceType
from hotdesk.core.sizing.gpu import gpu_name

#: Families on the Xen hypervisor: their console output is from some minutes after the boot, never the latest
#: (EC2 API reference, GetConsoleOutput). DescribeInstances says "xen" of every instance; this list is from
#: DescribeInstanceTypes, and for types no longer listed there, from the EC2 guide's list of Nitro types.
XEN = frozenset(
    [
        "c1",
        "c3",
        "c4",
        "cc2",
        "cg1",
        "cr1",
        "d2",
        "f1",
        "g2",
        "g3",
        "g3s",
        "h1",
        "hi1",
        "hs1",
        "i2",
        "i3",
        "m1",
        "m2",
        "m3",
        "m4",
        "p2",
        "p3",
        "r3",
        "r4",
        "t1",
        "t2",
        "x1",
        "x1e",
    ]
)

#: Families whose GPU driver is in AWS's Deep Learning Base image. (Its release notes of July and October
#: 2026, "supported_ec2_instances", x86_64 and ARM64; they do not name G7e yet, whose GPU is like G7's.)
IN_THE_GPU_IMAGE = frozenset(
    [
        "g4dn",
        "g5",
        "g6",
        "gr6",
        "g6e",
        "g7",
        "g7e",
        "p4d",
        "p4de",
        "p5",
        "p5e",
        "p5en",
        "p6-b200",
        "p6-b300",
        "g5g",
        "p6e-gb200",
        "p6e-gb300",
    ]
)

#: Older families, which that driver's open kernel modules do not support (NVIDIA driver guide, "Kernel
#: modules": Turing and newer). They get Ubuntu's image, where guest/driver.py installs a matching driver.
IN_UBUNTU = frozenset(["g2", "g3", "g3s", "p2", "p3", "p3dn"])

#: Families with a slice of a GPU, which only NVIDIA's GRID driver supports: no public image has it, and
#: Ubuntu does not ship it (EC2 user guide, "NVIDIA drivers for your EC2 instance").
SLICES = frozenset({"g6f", "gr6f"})

SLOW_SECONDS = 1800.0  # limit for types whose console is late, or that boot slowly


def family(instance_type: str) -> str:
    return instance_type.partition(".")[0]


def is_xen(instance_type: str) -> bool:
    """Whether the console shows no latest output. (Bare-metal types are like Nitro.)"""
    return family(instance_type) in XEN and ".metal" not in instance_type


def proves_within(instance_type: str) -> float:
    """Seconds after the start within which a login must be possible; 0: the default."""
    return SLOW_SECONDS if is_xen(instance_type) or ".metal" in instance_type else 0.0


def has_image_with_driver(instance_type: str) -> bool:
    """Whether AWS's GPU image has the type's driver; assumed for unknown families, as they are newer."""
    return family(instance_type) not in IN_UBUNTU


def as_type(raw: Mapping[str, Any]) -> InstanceType | None:
    """A row of DescribeInstanceTypes as a type; None if unreadable or of another architecture."""
    try:
        gpus = [gpu for gpu in (raw.get("GpuInfo") or {}).get("Gpus") or () if gpu]
        nvidia = [gpu for gpu in gpus if str(gpu.get("Manufacturer", "NVIDIA")).upper() == "NVIDIA"]
        others = [*(gpu for gpu in gpus if gpu not in nvidia), *_other_chips(raw)]
        # A slice of a GPU (g6f) has a count of 0; GpuPartitionSize is its share.
        count = sum(
            gpu.get("Count") or gpu.get("LogicalGpuCount", 0) * gpu.get("GpuPartitionSize", 1.0)
            for gpu in nvidia
        )
        arches = raw["ProcessorInfo"]["SupportedArchitectures"]
        arch = next((a for a in ("x86_64", "arm64") if a in arches), "")
        if not arch:
            return None
        return InstanceType(
            provider="aws",
            instance_type=raw["InstanceType"],
            gpu=gpu_name(str(nvidia[0]["Name"])) if nvidia else "",
            gpu_count=float(count),
            gpu_memory_gib=round(nvidia[0]["MemoryInfo"]["SizeInMiB"] / 1024, 2) if nvidia else 0.0,
            vcpus=raw["VCpuInfo"]["DefaultVCpus"],
            memory_gib=raw["MemoryInfo"]["SizeInMiB"] / 1024,
            arch=arch,
            burstable=bool(raw.get("BurstablePerformanceSupported")),
            scratch_gib=float((raw.get("InstanceStorageInfo") or {}).get("TotalSizeInGB", 0)) * 1e9 / 2**30,
            accelerator=str(others[0].get("Name", "other chips")) if others else "",
            accelerator_count=float(sum(chip.get("Count", 1) for chip in others)),
        )
    except (KeyError, TypeError, IndexError):
        return None


def _other_chips(raw: Mapping[str, Any]) -> list[Any]:
    """Accelerators other than GPUs (EC2 API reference, InstanceTypeInfo). Inferentia is listed twice."""
    told = (
        (raw.get(info) or {}).get(chips) or []
        for info, chips in (
            ("NeuronInfo", "NeuronDevices"),
            ("InferenceAcceleratorInfo", "Accelerators"),
            ("FpgaInfo", "Fpgas"),
            ("MediaAcceleratorInfo", "Accelerators"),
        )
    )
    return next(filter(None, told), [])


class NoDriver(NamedTuple):
    why: str
    fix: str


def needs_own_image(kind: InstanceType) -> NoDriver | None:
    """Why no image that hotdesk chooses has the driver for a type's chips; None if one has it."""
    name = kind.instance_type
    if family(name) in SLICES:
        return NoDriver(
            f"{name} has a slice of a GPU. Only NVIDIA's GRID driver can use it, and no public image"
            " has that.",
            "hotdesk up --gpu L4   # a whole one; or the same with --image ami-…, yours with that driver",
        )
    if kind.accelerator:
        return NoDriver(
            f"{name} computes on {kind.accelerator}, which is no NVIDIA GPU. The images that hotdesk starts"
            " have no driver for it.",
            "hotdesk up --gpu L4   # or the same with --image ami-…, one that has its driver",
        )
    return None
