"""What a family of instance types means for what runs on it: its console, its boot, and the GPU's driver."""

from __future__ import annotations

#: On the Xen hypervisor: the console shows there what it held some minutes after a boot, and not its
#: latest (EC2 API reference, GetConsoleOutput). DescribeInstances says "xen" of every machine; this is what
#: DescribeInstanceTypes says, and of types that it lists no more, the EC2 guide's list of Nitro types.
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

#: GPUs for which AWS's Deep Learning Base image has the driver. (Its release notes of July and October 2026,
#: "supported_ec2_instances", x86_64 and ARM64; G7e, which they do not name yet, has a GPU of G7's kind.)
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

#: Older ones, which that driver's open kernel modules do not know (NVIDIA driver guide, "Kernel modules":
#: Turing and newer). Ubuntu's image has no driver, and guest/driver.py installs the one that suits.
IN_UBUNTU = frozenset(["g2", "g3", "g3s", "p2", "p3", "p3dn"])

#: Slices of a GPU, which only NVIDIA's GRID driver can use: no public image has it, and Ubuntu does not ship
#: it (EC2 user guide, "NVIDIA drivers for your EC2 instance").
SLICES = frozenset({"g6f", "gr6f"})

SLOW_SECONDS = 1800.0  # in which a machine has shown its host key that shows it late, or boots for long


def family(instance_type: str) -> str:
    return instance_type.partition(".")[0]


def is_xen(instance_type: str) -> bool:
    """Whether its console cannot be asked for its latest. (A machine without a hypervisor is like Nitro.)"""
    return family(instance_type) in XEN and ".metal" not in instance_type


def proves_within(instance_type: str) -> float:
    """Seconds within which a login at it must be possible after its start; 0: as long as usual."""
    return SLOW_SECONDS if is_xen(instance_type) or ".metal" in instance_type else 0.0


def has_image_with_driver(instance_type: str) -> bool:
    """Whether AWS's GPU image has the driver for it; where it is not known, it probably is newer."""
    return family(instance_type) not in IN_UBUNTU
