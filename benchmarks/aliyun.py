"""How many calls Alibaba Cloud gets through hotdesk, beside the shortest script with the official client.

    python benchmarks/aliyun.py [--by-action] [--warm]

Against the fake ECS in all of its regions, where an earlier launch has made the network. Both poll every five
seconds of the fake's clock, which only waiting advances, so the numbers are the same each time. Each verb of
hotdesk starts as a new process would, and a listing may lag by 30 s, as in reality. The script starts with
the zone, the image, the vSwitch and the ids that its previous step created.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from hotdesk.core.model import Goal
from tests.aliyun_desk import CREDENTIALS, HOME, Laptop, with_a_network
from tests.fake_ecs.server import FakeEcs
from tests.fake_ecs.world import ZONES

VERBS = {"up": Goal.RUNNING, "park": Goal.PARKED, "resume": Goal.RUNNING, "down": Goal.GONE}
POLL_SECONDS = 5.0
ZONE = "cn-hangzhou-i"


class Script:
    """What a person would write with the official client: the calls in sequence, safe against no crash."""

    def __init__(self, fake: FakeEcs) -> None:
        from alibabacloud_ecs20140526 import models
        from alibabacloud_ecs20140526.client import Client
        from alibabacloud_tea_openapi.models import Config

        host = fake.url.partition("://")[2]
        self.fake, self.models = fake, models
        key, secret = list(CREDENTIALS.values())[:2]
        self.ecs = Client(
            Config(
                access_key_id=key, access_key_secret=secret, endpoint=host, protocol="HTTP", region_id=HOME
            )
        )
        region = fake.world.region(HOME)
        self.switch = next(s.id for s in region.vswitches.values() if s.zone == ZONE)
        self.group = next(iter(region.groups))

    def call(self, action: str, **parameters: Any) -> Any:
        name = "".join(f"_{c.lower()}" if c.isupper() else c for c in action).lstrip("_")
        request = getattr(self.models, f"{action}Request")().from_map({"RegionId": HOME, **parameters})
        return getattr(self.ecs, name)(request).body.to_map()

    def until(self, true: Callable[[], Any]) -> Any:
        while not (told := true()):
            self.fake.advance(POLL_SECONDS)
        return told

    def _is(self, status: str) -> bool:
        told = self.call("DescribeInstances", InstanceIds=json.dumps([self.instance]))
        return bool(told["Instances"]["Instance"][0]["Status"] == status)

    def _run(self, image: str) -> None:
        made = self.call(
            "RunInstances", ImageId=image, InstanceType="ecs.gn7i-c8g1.2xlarge", VSwitchId=self.switch,
            SecurityGroupId=self.group, InternetMaxBandwidthOut=100, Amount=1, ClientToken=f"script-{image}",
            SystemDisk={"Category": "cloud_essd", "PerformanceLevel": "PL1", "Size": "64"},
        )  # fmt: skip
        [self.instance] = made["InstanceIdSets"]["InstanceIdSet"]
        self.until(lambda: self._is("Running"))
        self.until(lambda: self.call("GetInstanceConsoleOutput", InstanceId=self.instance)["ConsoleOutput"])

    def up(self) -> None:
        family = "acs:ubuntu_24_04_x64"
        found = self.call("DescribeImages", ImageOwnerAlias="system", ImageFamily=family)["Images"]["Image"]
        rule = {"IpProtocol": "TCP", "PortRange": "22/22", "SourceCidrIp": "203.0.113.9/32"}
        self.call("AuthorizeSecurityGroup", SecurityGroupId=self.group, Permissions=[rule])
        self._run(found[0]["ImageId"])

    def park(self) -> None:
        self.call("StopInstances", InstanceId=[self.instance], StoppedMode="StopCharging")
        self.until(lambda: self._is("Stopped"))
        self.image = self.call("CreateImage", InstanceId=self.instance, ImageName="script")["ImageId"]

        def whole() -> Any:
            [image] = self.call("DescribeImages", ImageId=self.image, Status="ALL")["Images"]["Image"]
            return image if image["Status"] == "Available" else None

        disks = self.until(whole)["DiskDeviceMappings"]["DiskDeviceMapping"]
        self.snapshots = [d["SnapshotId"] for d in disks]
        self.call("DescribeSnapshots", SnapshotIds=json.dumps(self.snapshots))
        self.call("DeleteInstances", InstanceId=[self.instance])

    def resume(self) -> None:
        self._run(self.image)

    def down(self) -> None:
        self.call("DeleteInstances", InstanceId=[self.instance], Force=True)
        self.until(lambda: not self._listed())
        self.call("DeleteImage", ImageId=self.image)
        for snapshot in self.snapshots:
            self.call("DeleteSnapshot", SnapshotId=snapshot)

    def _listed(self) -> bool:
        told = self.call("DescribeInstances", InstanceIds=json.dumps([self.instance]))
        return bool(told["Instances"]["Instance"])


def counted(
    fake: FakeEcs, do: Callable[[], object], wait: Callable[[float], object]
) -> tuple[Counter[str], float, float]:
    """The calls of one verb by action, its processor time and the cloud's time that it took."""
    wait(120.0)  # a new machine cannot be deleted at once
    fake.world.log.clear()
    own, at = time.process_time(), fake.world.clock.now()
    do()
    own = time.process_time() - own
    return Counter(entry["action"] for entry in fake.world.log), own, fake.world.clock.now() - at


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--by-action", action="store_true")
    asked.add_argument("--warm", action="store_true", help="a desk's day before the one that is counted")
    given = asked.parse_args()
    os.environ |= CREDENTIALS
    with FakeEcs() as fake, tempfile.TemporaryDirectory() as folder:
        with_a_network(fake, *ZONES)
        mine = Laptop(fake, Path(folder), regions=tuple(ZONES), lag_seconds=30.0, poll_seconds=POLL_SECONDS)

        def verb(goal: Goal) -> None:
            assert mine.do(goal) is None

        for _ in range(given.warm + 1):
            ours = {}
            for name, goal in VERBS.items():
                mine.store.close()
                mine.open()
                ours[name] = counted(fake, lambda goal=goal: verb(goal), mine.time.sleep)  # type: ignore[misc]
        script = Script(fake)
        theirs = {name: counted(fake, getattr(script, name), fake.advance) for name in VERBS}
    print(f"{'':8}{'hotdesk':>26}{'script':>26}{'ratio':>8}")
    print(f"{'':8}" + f"{'calls':>8}{'cloud s':>9}{'own s':>9}" * 2)
    for name in VERBS:
        (mine_calls, own, took), (calls, their_own, their_took) = ours[name], theirs[name]
        print(
            f"{name:8}{mine_calls.total():8d}{took:9.0f}{own:9.2f}{calls.total():8d}{their_took:9.0f}"
            f"{their_own:9.2f}{mine_calls.total() / calls.total():8.1f}"
        )
        if given.by_action:
            for action in sorted({*mine_calls, *calls}):
                print(f"    {mine_calls[action]:4d} {calls[action]:4d} {action}")


if __name__ == "__main__":
    main()
