"""1,000 machines of one sweep on the fake EC2: requests, hotdesk's own time, and what was throttled.

    python benchmarks/fleet.py [MACHINES]

A parked desk is the beginning. The fleet is launched (one machine on demand, the others on spot in three
zones), looked at until all run, interrupted once (5 % of it is taken back and replaced), shrunk to a tenth,
and ended; a look and the fake's own books prove that nothing is left. The fake's clock is advanced by
sleeping, so that an hour passes in no time; its buckets of requests are EC2's, in real time: 1,000 machines
at once and two more each second, 50 changes and 5 more each second, 100 questions and 20 more each second
(EC2 developer guide, "Request throttling for the Amazon EC2 API"). The least number of requests is that of a
script that knows everything beforehand: one template, an order for each market and moment, one request to end
each time, and the same looks.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from math import ceil
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from msgspec.structs import replace

from fake_ec2.process import FakeEc2
from hotdesk.core.model import Market
from tests.aws_desk import HOME, quick
from tests.test_sweep_machines import Fleet, all_up

BUCKETS = {"Describe*": (100, 20), "Create*": (50, 5), "TerminateInstances": (50, 5), "Delete*": (50, 5)}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with FakeEc2() as fake, tempfile.TemporaryDirectory() as folder:
        os.environ.update(fake.environment(HOME))
        with quick(fake):
            for code in ("L-34B43A08", "L-1216C47A"):
                fake.post("quota", code=code, vcpus=10_000)
            fleet = Fleet(fake, Path(folder))
            fleet.laptop.time.slept = -1e9
            fleet.laptop.time.while_asleep = lambda: None
            for action, (size, per_second) in BUCKETS.items():
                fake.post("throttle", action=action, size=size, per_second=per_second)
            fleet.wanted = replace(fleet.wanted, most=fleet.laptop.aws.fleet_most)
            run(fleet, fake, count)
            fleet.store.close()
            fleet.laptop.store.close()


def run(fleet: Fleet, fake: FakeEc2, count: int) -> None:
    names = tuple(f"sweep1-{n}" for n in range(1, count + 1))
    before, cpu, begun = len(fake.get("log")), time.process_time(), time.monotonic()
    fleet.until(all_up(names), names)
    launched = time.process_time() - cpu
    spot = [m for m in fleet.machines.group().alive if m.offer.market is Market.SPOT][: count // 20]
    aside = time.process_time()
    for member in spot:
        fake.post("interrupt", id=member.id.partition("/")[2], notice=False)
    aside = time.process_time() - aside
    fleet.until(lambda g: all_up(names)(g) and not {m.id for m in g.alive} & {m.id for m in spot}, names)
    fleet.until(lambda g: len(g.alive) == count // 10, names[: count // 10])
    fleet.until(lambda g: not g.alive, ())
    assert fleet.machines.clear(replace(fleet.wanted, names=()))
    own, wall = time.process_time() - cpu - aside, time.monotonic() - begun
    rows = [r for r in fake.get("log")[before:] if r["service"] == "ec2"]
    fleet.nothing_left()
    calls = Counter(r["action"] for r in rows)
    throttled = sum(r["code"] == "RequestLimitExceeded" for r in rows)
    pages = calls["DescribeInstances"]
    setup = {"DescribeImages", "DescribeSubnets", "DescribeSecurityGroups", "CreateSecurityGroup"}
    setup |= {
        "AuthorizeSecurityGroupIngress",
        "ImportKeyPair",
        "CreateLaunchTemplate",
        "DeleteLaunchTemplate",
    }
    ends = ceil(count * 9 / 10 / 1000) + 1
    least = len(setup) + 3 + ends + pages  # on demand, on spot, and on spot again
    total = sum(calls.values())
    print(f"{count:,} machines: {total} requests, the least is {least}: {total / least:.2f} times as many")
    print(f"own time {own:.1f} s of a processor (all up after {launched:.1f} s), {wall:.0f} s by the clock")
    print(f"throttled {throttled} times")
    for action, times in calls.most_common():
        print(f"  {times:5} {action}")


if __name__ == "__main__":
    main()
