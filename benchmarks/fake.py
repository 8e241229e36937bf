"""How quick the fake EC2 is: `python benchmarks/fake.py`. "Computing" is the server's processor time."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fake_ec2.checks import DEEP
from fake_ec2.process import FakeEc2


def computed(fake: FakeEc2) -> float:
    """Seconds of processor time the server has used."""
    assert fake.process is not None
    user, system = Path(f"/proc/{fake.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    begun = time.perf_counter()
    with FakeEc2() as fake:
        ready = time.perf_counter() - begun
        print(f"{'ready':30} {ready:8.2f} s, computing {computed(fake):.2f} s")
        ec2 = fake.client()
        image = fake.client("ssm").get_parameter(Name=DEEP)["Parameter"]["Value"]
        order = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
        ec2.run_instances(**order)

        def each(what: str, count: int, do: Callable[[], object]) -> None:
            wall, computing = time.perf_counter(), computed(fake)
            for _ in range(count):
                do()
            wall, computing = time.perf_counter() - wall, computed(fake) - computing
            print(f"{what:30} {wall / count * 1000:8.1f} ms, computing {computing / count * 1000:.1f} ms")

        each("launch one", 99, lambda: ec2.run_instances(**order))
        each("list 100 machines", 50, ec2.describe_instances)
        each(
            "launch 900 in one call",
            1,
            lambda: ec2.run_instances(**(order | {"MinCount": 900, "MaxCount": 900})),
        )
        each("list 1000 machines", 3, ec2.describe_instances)
        types = ec2.get_paginator("describe_instance_types")
        each("all instance types, first", 1, lambda: list(types.paginate()))
        each("all instance types, again", 1, lambda: list(types.paginate()))
        each("reset", 10, lambda: fake.post("reset"))


if __name__ == "__main__":
    main()
