"""How long `hotdesk gc` looks at a crowded account: 17 regions, 2,000 things of ours, other people's between.

    python benchmarks/gc.py

Against the fake EC2 in a process of its own. "Own time" is the processor time of hotdesk's process: signing
17 regions' requests, reading the answers, and judging each thing; importing boto3 and making its clients is
told apart. A first look hardly ever happens twice in a process, so it is the figure that counts.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from fake_ec2.catalogue import ALWAYS_ENABLED
from fake_ec2.process import FakeEc2
from hotdesk.api import Hotdesk
from hotdesk.config import Config, Defaults

THINGS, THEIRS = 2000, 4


def fill(fake: FakeEc2, regions: list[str]) -> int:
    """Disks and snapshots with our tags, as evenly as it goes; how many."""

    count = THINGS // len(regions) // 2 + 1

    def told(number: int) -> list[dict[str, str]]:
        desk = f"desk-{number % 40}"
        said = {"hotdesk": "1", "hotdesk:desk": desk, "hotdesk:generation": str(number),
                "hotdesk:name": f"hotdesk-{desk}-g{number}"}  # fmt: skip
        return [{"Key": key, "Value": value} for key, value in said.items()]

    def disks(region: str) -> list[str]:
        ec2 = fake.client("ec2", region)
        return [
            ec2.create_volume(
                AvailabilityZone=f"{region}a", Size=8, VolumeType="gp3",
                TagSpecifications=[{"ResourceType": "volume", "Tags": told(number)}],
            )["VolumeId"]
            for number in range(count)
        ]  # fmt: skip

    def snapshots(region: str, made: list[str]) -> int:
        ec2 = fake.client("ec2", region)
        for number, disk in enumerate(made):
            tags = [{"ResourceType": "snapshot", "Tags": told(number)}]
            ec2.create_snapshot(VolumeId=disk, TagSpecifications=tags)
        return 2 * len(made)

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(disks, regions))
        fake.post("clock", advance=600)
        return sum(pool.map(snapshots, regions, made))


def main() -> None:
    regions = sorted(ALWAYS_ENABLED)[:17]
    with tempfile.TemporaryDirectory() as folder, FakeEc2() as fake:
        os.environ |= {**fake.environment(regions[0]), "HOTDESK_STATE": folder, "HOME": folder}
        fake.post("clock", rate=0, pace=0.001)
        fake.post("crowd", regions=regions, count=THEIRS)
        made = fill(fake, regions)
        fake.post("clock", advance=3600)
        config = Config(defaults=Defaults(provider="aws"))
        with Hotdesk(config=config) as desks:
            began, wall = time.process_time(), time.perf_counter()
            aws = desks.services.clouds.provider("aws")
            for region in regions:
                aws.account.ec2(region)  # type: ignore[attr-defined]
            ready = time.process_time() - began
            found, unread = desks.services.cleanup.leftovers()
            own, wall = time.process_time() - began, time.perf_counter() - wall
        assert not unread
        print(f"{len(regions)} regions, {made} things of ours, {len(found)} told of")
        print(f"own time {own:.2f} s, {ready:.2f} s of it for boto3 and its clients; {wall:.1f} s in all")


if __name__ == "__main__":
    main()
