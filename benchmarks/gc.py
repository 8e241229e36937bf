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

from hotdesk.api import Hotdesk
from hotdesk.config import Config, Defaults
from tests.fake_ec2.catalogue import ALWAYS_ENABLED
from tests.fake_ec2.process import FakeEc2

THINGS, THEIRS = 2000, 4


def fill(fake: FakeEc2, regions: list[str]) -> int:
    """Disks and snapshots with our tags, as evenly as it goes; how many."""

    def one(region: str) -> int:
        ec2, made = fake.client("ec2", region), 0
        for number in range(THINGS // len(regions) // 2 + 1):
            tags = [{"Key": k, "Value": v} for k, v in {
                "hotdesk": "1", "hotdesk:desk": f"desk-{number % 40}", "hotdesk:generation": str(number),
                "hotdesk:name": f"hotdesk-desk-{number % 40}-g{number}"}.items()]  # fmt: skip
            volume = ec2.create_volume(
                AvailabilityZone=f"{region}a", Size=8, VolumeType="gp3",
                TagSpecifications=[{"ResourceType": "volume", "Tags": tags}],
            )["VolumeId"]  # fmt: skip
            ec2.create_snapshot(
                VolumeId=volume, TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}]
            )
            made += 2
        return made

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(one, regions))


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
            aws = desks.provider("aws")
            for region in regions:
                aws.account.ec2(region)  # type: ignore[attr-defined]
            ready = time.process_time() - began
            found, unread = desks.leftovers()
            own, wall = time.process_time() - began, time.perf_counter() - wall
        assert not unread
        print(f"{len(regions)} regions, {made} things of ours, {len(found)} told of")
        print(
            f"own time {own:.2f} s (of it {ready:.2f} s to import boto3 and make clients); {wall:.1f} s in all"
        )


if __name__ == "__main__":
    main()
