"""Choose the image that a machine is launched from. (images.py makes the desk's own images.)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.lifecycle.descent import marked
from hotdesk.core.steps import LaunchOrder
from hotdesk.providers.aliyun import tags
from hotdesk.providers.aliyun.account import Account
from hotdesk.providers.cloud import fitting, vocabulary
from hotdesk.providers.cloud.ids import split
from hotdesk.providers.cloud.kept import HOUR

#: Ubuntu, by architecture; guest/driver.py installs the GPU's driver, which no public image has.
FAMILIES = {"x86_64": "acs:ubuntu_24_04_x64", "arm64": "acs:ubuntu_24_04_arm64"}


class Mapped(msgspec.Struct, frozen=True):
    """A disk of an image."""

    device: str
    kind: str  # system | data
    size_gib: int
    snapshot: str


class BaseImage(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of an image that RunInstances needs."""

    id: str
    arch: str
    disks: tuple[Mapped, ...]
    keys: str = ""  # the launch that made its host keys; "" if it has none yet
    line: tuple[str, ...] = ()  # of a desk's own: the saves that it comes from, with itself

    @property
    def size_gib(self) -> int:
        """Of its system disk."""
        return next((d.size_gib for d in self.disks if d.kind == "system"), 0)

    @property
    def more(self) -> tuple[Mapped, ...]:
        return tuple(d for d in self.disks if d.kind != "system")


def find_base(account: Account, order: LaunchOrder, image: Mapping[str, Any] | None = None) -> BaseImage:
    """The image to launch an order from: the desk's own, the one named, or the newest default image.

    `image`: the desk's own, as a survey of just now has it. The default one is kept for an hour.

    Raises `Refused` (bad-request) when it does not exist or cannot run on the offer.
    """
    region, arch = order.offer.region, order.offer.arch
    if order.image_id:
        home, bare = split(order.image_id)
        if home != region:
            raise Refused(Kind.BAD_REQUEST, f"The image is in {home} and the machine would be in {region}.")
        found = _base(image or describe(account, region, bare))
    elif order.base_image:
        found = _base(describe(account, region, order.base_image))
    else:
        key = f"image/{account.who}/{region}/{arch}"
        found = account.recalled.of(key, HOUR, BaseImage, lambda: _base(_newest(account, region, arch)))
    fitting.check(order, arch, image=found.id, image_arch=found.arch, size_gib=found.size_gib)
    return found


def describe(account: Account, region: str, bare: str) -> Mapping[str, Any]:
    """An image in whatever state. Raises `Refused` (bad-request) if there is none."""
    found = account.ask(region, "DescribeImages", ImageId=bare, Status="ALL")["Images"]["Image"]
    if not found:
        raise Refused(
            Kind.BAD_REQUEST,
            f"There is no image {bare} in {region} that this account may use.",
            fix=f"aliyun ecs DescribeImages --RegionId {region} --ImageId {bare}",
        )
    image: Mapping[str, Any] = found[0]
    return image


def _newest(account: Account, region: str, arch: str) -> Mapping[str, Any]:
    family = FAMILIES.get(arch, "")
    found = account.pages(
        region, "DescribeImages", "Images", "Image", ImageOwnerAlias="system", ImageFamily=family,
        Architecture=arch, PageNumber=1, PageSize=100,
    )  # fmt: skip
    if not found:
        raise Refused(
            Kind.BAD_REQUEST,
            f"{region} publishes no image of the family {family}.",
            fix=f"aliyun ecs DescribeImages --RegionId {region} --ImageOwnerAlias system   "
            "# then: hotdesk up --image ID",
        )
    newest: Mapping[str, Any] = max(found, key=lambda i: (str(i.get("CreationTime")), str(i["ImageId"])))
    return newest


def disks_of(image: Mapping[str, Any]) -> tuple[Mapped, ...]:
    """The disks of an image; one that names none is its system disk alone."""
    rows = (image.get("DiskDeviceMappings") or {}).get("DiskDeviceMapping") or ()
    found = tuple(
        Mapped(
            str(m.get("Device") or ""),
            str(m.get("Type") or "system"),
            int(m.get("Size") or 0),
            str(m.get("SnapshotId") or ""),
        )
        for m in rows
    )
    return found or (Mapped("/dev/xvda", "system", int(image.get("Size") or 0), ""),)


def _base(image: Mapping[str, Any]) -> BaseImage:
    told = tags.read(image.get("Tags"))
    return BaseImage(
        id=str(image["ImageId"]),
        arch=str(image.get("Architecture") or "x86_64"),
        disks=disks_of(image),
        keys=told.get("keys", ""),
        line=_line(told),
    )


def _line(told: vocabulary.Tags) -> tuple[str, ...]:
    """The line of a machine launched from an image with these tags; empty if it is no desk's image."""
    source = told.get("source", "")
    if not source:
        return ()
    machine = marked(told.get("machine") or source, vocabulary.number(told, "started"))
    return (*(vocabulary.line_of(told) or ()), machine)
