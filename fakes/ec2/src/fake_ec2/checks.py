"""What EC2 does, as checks with unmodified boto3: true of the fake, and each one false of plain moto.

`@check(moto="…")` names what moto says or does instead: the guard test wants it to fail for that reason.
A check gets a Cloud and a region of its own; time passes only when it says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fake_ec2.process import FakeEc2

TAGS = [{"Key": "hotdesk", "Value": "1"}, {"Key": "hotdesk:desk", "Value": "blue"}]
DEEP = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"


@dataclass
class Cloud:
    """A server that speaks EC2: `image` is a public x86_64 image of it."""

    client: Callable[..., Any]
    image: str
    pass_time: Callable[[float], object]
    folder: Path
    region: str = "us-east-1"
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def ec2(self) -> Any:
        return self.client("ec2", self.region)

    def launch(self, **more: Any) -> dict[str, Any]:
        """One machine, pending."""
        order: dict[str, Any] = {
            "ImageId": self.image,
            "InstanceType": "g5.xlarge",
            "MinCount": 1,
            "MaxCount": 1,
        }
        return self.ec2.run_instances(**(order | more))["Instances"][0]  # type: ignore[no-any-return]

    def running(self, **more: Any) -> str:
        instance_id = self.launch(**more)["InstanceId"]
        self.pass_time(60)
        return str(instance_id)

    def stopped(self, **more: Any) -> str:
        instance_id = self.running(**more)
        self.ec2.stop_instances(InstanceIds=[instance_id])
        self.pass_time(60)
        return instance_id

    def baked(self, **more: Any) -> str:
        instance_id = self.stopped(**more)
        name = f"baked-{next(self.numbers)}"
        image = self.ec2.create_image(InstanceId=instance_id, Name=name, NoReboot=True)["ImageId"]
        self.pass_time(3600)
        return str(image)

    def machine(self, instance_id: str) -> dict[str, Any]:
        found = self.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
        return found[0]["Instances"][0]  # type: ignore[no-any-return]


Check = Callable[[Cloud], None]
CHECKS: dict[str, tuple[Check, str]] = {}


def check(moto: str) -> Callable[[Check], Check]:
    def enter(do: Check) -> Check:
        CHECKS[do.__name__] = (do, moto)
        return do

    return enter


SPOT = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time"}}


def refused(call: Callable[[], object], code: str) -> None:
    """The call is refused with that code."""
    from botocore.exceptions import ClientError

    try:
        call()
    except ClientError as error:
        found = error.response["Error"]["Code"]
        assert found == code, f"refused with {found}, not {code}"
        return
    raise AssertionError(f"not refused: {code} was due")


def specs(*kinds: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": TAGS} for kind in kinds]


def root(size: int = 100, **more: Any) -> list[dict[str, Any]]:
    return [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": size, "VolumeType": "gp3", **more}}]


def states(cloud: Cloud) -> list[str]:
    """Of all machines that a client sees."""
    found = cloud.ec2.describe_instances()["Reservations"]
    return [i["State"]["Name"] for r in found for i in r["Instances"]]


def standing_still(fake: FakeEc2, folder: Path) -> Cloud:
    """The fake as new, with a clock that moves only when `pass_time` says so."""
    fake.post("reset", seed=7)
    fake.post("clock", rate=0, pace=1)
    image = fake.client("ssm").get_parameter(Name=DEEP)["Parameter"]["Value"]
    return Cloud(fake.client, image, lambda seconds: fake.post("clock", advance=seconds), folder)


def all_checks() -> dict[str, tuple[Check, str]]:
    """{name: (check, what plain moto says)}"""
    from fake_ec2 import checks_fleets, checks_images, checks_machines, checks_market  # noqa: F401

    return CHECKS
