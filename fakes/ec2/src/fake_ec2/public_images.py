"""Images that others publish: the deep learning AMIs, Ubuntu and Amazon Linux, and their SSM parameters.

Ids depend on region and name alone, so they are the same in every run. Names, owners, root devices and boot
modes follow what AWS and Canonical publish; sizes are of the order of the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fake_ec2.prices import unit
from fake_ec2.things import Image, Region, Snapshot

if TYPE_CHECKING:
    from fake_ec2.world import World

DAY = 86_400.0
DLAMI, CANONICAL, AMAZON_LINUX = "898082745236", "099720109477", "137112412989"
DLAMI_TREE = "/aws/service/deeplearning/ami"
UBUNTU_TREE = "/aws/service/canonical/ubuntu/server"
LINUX_TREE = "/aws/service/ami-amazon-linux-latest"


@dataclass(frozen=True)
class Public:
    """One published image: `parameter` leads to it."""

    parameter: str
    name: str
    owner: str
    alias: str | None
    architecture: str
    root_device: str
    size_gib: int
    boot_mode: str
    age_days: float = 30.0
    extra: tuple[tuple[str, str], ...] = ()  # instance-store devices in the mapping
    description: str = ""
    data: tuple[tuple[str, int], ...] = ()  # disks beside the root disk: device, GiB
    tpm: str | None = None


#: One that bills a licence: `images.py` tells it by its name.
LICENSED = Public(
    "", "RHEL-10.1.0_HVM-20261012-x86_64-0-Hourly2-GP3", "309956199498", None, "x86_64", "/dev/sda1", 10,
    "uefi-preferred", 47.0, description="Provided by Red Hat, Inc.",
)  # fmt: skip
#: Somebody's own, which no parameter leads to: a disk with data beside the root disk.
TWO_DISKS = Public(
    "",
    "lab/cuda-with-data-20261001",
    "444455556666",
    None,
    "x86_64",
    "/dev/sda1",
    65,
    "uefi",
    55.0,
    description="Ubuntu 24.04 with a data disk",
    data=(("/dev/sdf", 50),),
    tpm="v2.0",
)


# AWS's release notes of the images of July and October 2026, "supported_ec2_instances"
SUPPORTED = {
    "x86_64": "G4dn, G5, G6, Gr6, G6e, G7, P4d, P4de, P5, P5e, P5en, P6",
    "arm64": "G5g, P6e-GB200, P6e-GB300",
}


def _deep_learning() -> list[Public]:
    rows = []
    store = (("/dev/sdb", "ephemeral0"), ("/dev/sdc", "ephemeral1"))
    for arch in ("x86_64", "arm64"):
        graviton = "ARM64 " if arch == "arm64" else ""
        mode = "uefi-preferred" if arch == "x86_64" else "uefi"
        for slug, text, root in (
            ("ubuntu-22.04", "Ubuntu 22.04", "/dev/sda1"),
            ("ubuntu-24.04", "Ubuntu 24.04", "/dev/sda1"),
            ("amazon-linux-2023", "Amazon Linux 2023", "/dev/xvda"),
        ):
            for date, age in (("20261009", 45.0), ("20260904", 80.0)):
                rows.append(
                    Public(
                        f"{DLAMI_TREE}/{arch}/base-oss-nvidia-driver-gpu-{slug}/latest/ami-id",
                        f"Deep Learning {graviton}Base OSS Nvidia Driver GPU AMI ({text}) {date}",
                        DLAMI,
                        "amazon",
                        arch,
                        root,
                        65 if root == "/dev/sda1" else 75,
                        mode,
                        age,
                        store if root == "/dev/sda1" else (),
                        f"Supported EC2 instances: {SUPPORTED[arch]}",
                    )
                )
        rows.append(
            Public(
                f"{DLAMI_TREE}/{arch}/oss-nvidia-driver-gpu-pytorch-2.10-ubuntu-24.04/latest/ami-id",
                f"Deep Learning {graviton}OSS Nvidia Driver AMI GPU PyTorch 2.10 (Ubuntu 24.04) 20261012",
                DLAMI,
                "amazon",
                arch,
                "/dev/sda1",
                90,
                mode,
                42.0,
                store,
            )
        )
    return rows


def _plain() -> list[Public]:
    rows = []
    for arch, short in (("x86_64", "amd64"), ("arm64", "arm64")):
        for version, code in (("22.04", "jammy"), ("24.04", "noble")):
            storage = "ebs-gp2" if version == "22.04" else "ebs-gp3"
            folder = "hvm-ssd" if version == "22.04" else "hvm-ssd-gp3"
            rows.append(
                Public(
                    f"{UBUNTU_TREE}/{version}/stable/current/{short}/hvm/{storage}/ami-id",
                    f"ubuntu/images/{folder}/ubuntu-{code}-{version}-{short}-server-20261015",
                    CANONICAL,
                    None,
                    arch,
                    "/dev/sda1",
                    8,
                    "uefi-preferred" if short == "amd64" else "uefi",
                    39.0,
                    (("/dev/sdb", "ephemeral0"), ("/dev/sdc", "ephemeral1")),
                    f"Canonical, Ubuntu, {version}, {short} {code} image",
                )
            )
        for kernel in ("6.1", "default"):
            rows.append(
                Public(
                    f"{LINUX_TREE}/al2023-ami-kernel-{kernel}-{arch}",
                    f"al2023-ami-2023.9.20261019.0-kernel-6.1-{arch}",
                    AMAZON_LINUX,
                    "amazon",
                    arch,
                    "/dev/xvda",
                    8,
                    "uefi-preferred" if arch == "x86_64" else "uefi",
                    35.0,
                )
            )
    return rows


PUBLISHED = (*_deep_learning(), *_plain(), TWO_DISKS, LICENSED)


def public_id(prefix: str, region: str, name: str) -> str:
    return f"{prefix}-0{int(unit('public', prefix, region, name) * 16**16):016x}"


def parameters(region: str) -> dict[str, str]:
    """{SSM parameter name: image id}: the newest of those that share a name."""
    newest: dict[str, Public] = {}
    for row in PUBLISHED:
        if row.parameter not in newest or row.age_days < newest[row.parameter].age_days:
            newest[row.parameter] = row
    return {name: public_id("ami", region, row.name) for name, row in newest.items() if name}


def seed_images(world: World, region: Region) -> None:
    """Put the published images into a region, with the snapshots they stand on."""
    now = world.clock.now()
    for row in PUBLISHED:
        image_id, born = public_id("ami", region.name, row.name), now - row.age_days * DAY
        mappings: list[dict[str, object]] = []
        for device, size_gib in ((row.root_device, row.size_gib), *row.data):
            of = row.name if device == row.root_device else f"{row.name} {device}"
            snapshot_id = public_id("snap", region.name, of)
            region.snapshots[snapshot_id] = Snapshot(
                id=snapshot_id,
                region=region.name,
                owner=row.owner,
                created=born,
                states=[(born, "completed")],
                volume_id="vol-ffffffff",
                volume_size_gib=size_gib,
                used_gib=size_gib * 0.7,
                encrypted=False,
                kms_key=None,
                description="",
                started=born,
                done=born,
                public=True,
            )
            ebs = {
                "SnapshotId": snapshot_id,
                "VolumeSize": size_gib,
                "VolumeType": "gp3",
                "Iops": 3000,
                "Throughput": 125,
                "Encrypted": False,
                "DeleteOnTermination": True,
            }
            mappings.append({"DeviceName": device, "Ebs": ebs})
        mappings += [{"DeviceName": device, "VirtualName": name} for device, name in row.extra]
        region.images[image_id] = Image(
            id=image_id,
            region=region.name,
            owner=row.owner,
            created=born,
            states=[(born, "available")],
            name=row.name,
            description=row.description,
            architecture=row.architecture,
            root_device=row.root_device,
            mappings=mappings,
            boot_mode=row.boot_mode,
            tpm=row.tpm,
            imds="v2.0",
            alias=row.alias,
            public=True,
            location=f"{row.alias or row.owner}/{row.name}",
        )
