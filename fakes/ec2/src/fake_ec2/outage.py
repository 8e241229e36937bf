"""A zone that is out of service: what asks about its machines fails, also without naming them.

"... and you specify instance IDs that are in the affected zone, or do not specify any instance IDs at all,
the call fails. If you describe instances and specify only instance IDs that are in an unaffected zone, the
call works normally." (EC2 API reference, DescribeInstances.) Launching there finds no capacity.
"""

from __future__ import annotations

from typing import Any

from fake_ec2.actions import Call
from fake_ec2.errors import Problem
from fake_ec2.world import World

DESCRIBE = {"DescribeInstances", "DescribeInstanceStatus"}


def refuse(world: World, call: Call) -> None:
    """Raises Unavailable (503) for what a zone that is out of service would have to answer."""
    if not world.zones_out or call.service != "ec2":
        return
    out = {zone for zone in world.zones_out if zone.startswith(call.region)}
    region = world.region(call.region)
    named = named_machines(call)
    asked = [region.instances[i] for i in named if i in region.instances]
    volume = region.volumes.get(str(call.get("VolumeId") or ""))
    zones = {machine.zone for machine in asked} | ({volume.zone} if volume else set())
    if out & zones or (out and call.action in DESCRIBE and not named):
        raise Problem("Unavailable", "The service is unavailable. Please try again shortly.")


def named_machines(call: Call) -> list[str]:
    one: Any = call.get("InstanceId")
    return [*(call.get("InstanceIds") or []), *([one] if isinstance(one, str) else [])]


def no_way(world: World, zone: str) -> str:
    return f"{zone} is out of service" if zone in world.zones_out else ""
