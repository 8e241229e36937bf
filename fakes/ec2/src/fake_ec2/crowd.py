"""A crowded account: things of other people, some of which look much like ours."""

from __future__ import annotations

from typing import Any

from fake_ec2 import catalogue
from fake_ec2.actions import TABLE, Call
from fake_ec2.things import Thing
from fake_ec2.world import World

DAY = 86_400.0
NAMES = ("hotdesk", "hotdesk-blue", "blue", "train", "web", "db", "jenkins", "notebook", "gpu-box", "desk")
KINDS = ("t3.micro", "m5.large", "g5.xlarge", "g4dn.xlarge", "c5.xlarge")


def arrive(world: World, regions: list[str], count: int) -> dict[str, Any]:
    """`count` things per kind and region, made with the ordinary calls, marked `crowd` in the listing."""
    from fake_ec2.public_images import public_id

    before = {thing.id for _, thing in world.everything()}
    made: dict[str, int] = {}
    present = world.clock.now()
    world.clock.set(present - 30 * DAY)  # they have been here for a while
    for region in regions:
        image = public_id("ami", region, "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20261015")
        for number in range(count):
            name = NAMES[number % len(NAMES)]
            tags = [{"Key": "Name", "Value": name}, {"Key": "crowd", "Value": str(number)}]
            kind = next(k for k in KINDS[number % len(KINDS) :] + KINDS if k in catalogue.offered(region))
            do(
                world,
                region,
                "CreateSecurityGroup",
                GroupName=f"crowd-{number}",
                Description="other people's",
            )
            ran = do(
                world,
                region,
                "RunInstances",
                ImageId=image,
                InstanceType=kind,
                MinCount=1,
                MaxCount=1,
                TagSpecifications=[
                    {"ResourceType": "instance", "Tags": tags},
                    {"ResourceType": "volume", "Tags": tags},
                ],
            )
            volume = do(
                world, region, "CreateVolume", AvailabilityZone=f"{region}a", Size=20, VolumeType="gp3"
            )
            world.clock.advance(min(DAY, 20 * DAY / count))
            world.clock.settle()
            do(world, region, "CreateSnapshot", VolumeId=volume["VolumeId"], Description=f"backup of {name}")
            machine = ran["Instances"][0]["InstanceId"]
            do(world, region, "CreateImage", InstanceId=machine, Name=f"{name}-crowd-{number}", NoReboot=True)
            for what in ("instance", "volume", "snapshot", "image", "key"):
                made[what] = made.get(what, 0) + 1
            world.moto(region).create_key_pair(f"crowd-{number}", "ed25519", {"crowd": "yes"})
    world.clock.set(present)
    world.clock.settle()
    for _, thing in world.everything():
        if thing.id not in before:
            mark(thing)
    return made


def mark(thing: Thing) -> None:
    if thing.owner == "123456789012":
        thing.crowd = True


def do(world: World, region: str, action: str, **params: Any) -> dict[str, Any]:
    if action == "CreateSecurityGroup":
        backend = world.moto(region)
        vpc = backend.get_default_vpc()
        backend.create_security_group(
            params["GroupName"], params["Description"], vpc_id=vpc.id if vpc else None, tags={"crowd": "yes"}
        )
        return {}
    return TABLE["ec2", action](world, Call("ec2", action, region, params)) or {}
