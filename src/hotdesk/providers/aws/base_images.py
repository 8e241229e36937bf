"""Choose the image that an instance is launched from. (images.py makes the desk's own images.)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.lifecycle.descent import FINAL, marked
from hotdesk.core.model import Market
from hotdesk.core.steps import LaunchOrder
from hotdesk.providers.aws import disks, hardware, tags
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.errors import answers, code
from hotdesk.providers.cloud import fitting, vocabulary
from hotdesk.providers.cloud.ids import split

#: Where AWS and Canonical publish the newest images (reference: DLAMI release notes; Ubuntu on AWS).
GPU_PARAMETER = "/aws/service/deeplearning/ami/{arch}/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
CPU_PARAMETER = "/aws/service/canonical/ubuntu/server/24.04/stable/current/{debian}/hvm/ebs-gp3/ami-id"
_DEBIAN = {"x86_64": "amd64", "arm64": "arm64"}
#: Fallback without that parameter: the newest image of this owner and name, by whether it is for GPUs.
_BY_NAME = {
    True: ("amazon", "Deep Learning {graviton}Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) *"),
    False: ("099720109477", "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-{debian}-server-*"),
}


class BaseImage(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of an image that RunInstances needs."""

    id: str  # EC2's own
    arch: str
    root: str  # device of the root disk: a wrong name would silently add a disk
    size_gib: int
    boot: str
    user: str
    keys: str = ""  # the launch that made its host keys; "" if it has none yet
    tpm: str = ""
    more: tuple[tuple[str, int], ...] = ()  # its other disks: device, GiB
    line: tuple[
        str, ...
    ] = ()  # of a desk's own: the saves that it comes from, with itself (core/lifecycle/descent.py)
    parts: str = ""  # with several disks: how they are told apart, see disks.py
    licence: str = ""  # a licence that is billed with it, such as "Red Hat Enterprise Linux"


def find_base(account: Account, order: LaunchOrder, own: Mapping[str, Any] | None = None) -> BaseImage:
    """The image to launch an order from: the desk's own, the one named, or the newest default image.

    `own`: the desk's own as a survey of just now has it.

    Raises `Refused` (bad-request) when it does not exist or cannot run on the offer.
    """
    region, arch = order.offer.region, order.offer.arch
    if order.image_id:
        home, ami = split(order.image_id)
        if home != region:
            raise Refused(Kind.BAD_REQUEST, f"The image is in {home} and the machine would be in {region}.")
        image = own if own and own["State"] == "available" else usable(account, region, ami)
    elif order.base_image:
        image = usable(account, region, order.base_image)
    else:
        offer = order.offer
        gpu = offer.gpu not in {"", "none"} and hardware.has_image_with_driver(offer.instance_type)
        gpu = gpu and not order.placeholder
        image = _newest(account, region, arch, gpu=gpu)
    found = _base(image)
    fitting.check(order, arch, image=found.id, image_arch=found.arch, size_gib=found.size_gib)
    if found.more and order.offer.market is Market.SPOT and not disks.tells_apart(found.parts):
        raise Refused(
            Kind.UNSUPPORTED,
            f"{found.id} has {len(found.more) + 1} disks that cannot be told apart once a spot machine is"
            " taken back: two are empty or from one snapshot, or there are too many.",
        )
    if found.licence and order.offer.market is Market.SPOT:
        # EC2 API reference, RegisterImage: an image registered from a snapshot loses the product's billing
        # information, so its instances are not licensed.
        raise Refused(
            Kind.UNSUPPORTED,
            f"{found.id} bills a licence ({found.licence}), which an image of a spot machine's disk would "
            "lose: parking could not save the desk whole.",
            fix=f"hotdesk up {order.desk} --market on-demand"
            + (f" --image {order.base_image}" if order.base_image else ""),
        )
    return found


def describe(account: Account, region: str, ami: str) -> Mapping[str, Any]:
    """DescribeImages of one id, even if disabled. Raises `Refused` (bad-request) if there is none."""
    try:
        with answers():
            found = account.ec2(region).describe_images(ImageIds=[ami], IncludeDisabled=True)["Images"]
    except Refused as no:
        if code(no.__cause__ or no) in {
            "InvalidAMIID.NotFound",
            "InvalidAMIID.Malformed",
            "InvalidAMIID.Unavailable",
        }:
            found = []
        else:
            raise
    if not found:
        raise _hidden(account, region) or Refused(
            Kind.BAD_REQUEST,
            f"There is no image {ami} in {region} that this account may use.",
            fix=f"aws ec2 describe-images --region {region} --image-ids {ami}",
        )
    image: Mapping[str, Any] = found[0]
    return image


def usable(account: Account, region: str, ami: str) -> Mapping[str, Any]:
    """An image that can be launched or copied. Raises `Refused` (bad-request), also if it is disabled."""
    image = describe(account, region, ami)
    if image["State"] == "disabled":
        raise Refused(
            Kind.BAD_REQUEST,
            f"Somebody has disabled the image {ami} in {region}: what is in it is kept, and no machine "
            "starts from it.",
            fix=enabling(region, ami),
        )
    return image


def enabling(region: str, ami: str) -> str:
    """The command that makes a disabled image usable again."""
    return f"aws ec2 enable-image --region {region} --image-id {ami}"


def _hidden(account: Account, region: str) -> Refused | None:
    """The refusal for an image that the setting Allowed AMIs may hide; None if that is off."""
    try:
        with answers():
            told = account.ec2(region).get_allowed_images_settings()
    except Exception:  # no permission, or an older boto3: then the image does not exist
        return None
    if told.get("State") != "enabled":
        return None
    return Refused(
        Kind.BAD_REQUEST,
        f"The image was not found in {region}, where the account's setting Allowed AMIs hides all images "
        "but those of certain owners.",
        fix=f"aws ec2 get-allowed-images-settings --region {region}   # an administrator adds the owner: "
        "amazon (GPU images), 099720109477 (Canonical's Ubuntu)",
    )


def _newest(account: Account, region: str, arch: str, *, gpu: bool) -> Mapping[str, Any]:
    debian = _DEBIAN.get(arch, arch)
    name = (GPU_PARAMETER if gpu else CPU_PARAMETER).format(arch=arch, debian=debian)
    try:
        with answers():
            ami = account.client("ssm", region).get_parameter(Name=name)["Parameter"]["Value"]
        return describe(account, region, ami)
    except Refused as no:
        if no.kind is not Kind.BAD_REQUEST:  # ParameterNotFound: look for it by its name instead
            raise
    owner, pattern = _BY_NAME[gpu]
    wanted = {
        "name": pattern.format(debian=debian, graviton="ARM64 " if arch == "arm64" else ""),
        "architecture": arch,
        "state": "available",
    }
    with answers():
        found = account.ec2(region).describe_images(
            Owners=[owner], Filters=[{"Name": key, "Values": [value]} for key, value in wanted.items()]
        )["Images"]
    if not found:
        raise _hidden(account, region) or Refused(
            Kind.BAD_REQUEST,
            f"{region} publishes no {'GPU' if gpu else 'Ubuntu'} image for {arch}.",
            fix="hotdesk up --image ami-…   # name one yourself",
        )
    newest: Mapping[str, Any] = max(
        found, key=lambda image: (image.get("CreationDate", ""), image["ImageId"])
    )
    return newest


def _base(image: Mapping[str, Any]) -> BaseImage:
    root = str(image.get("RootDeviceName") or "/dev/sda1")
    sizes = {
        m.get("DeviceName"): m["Ebs"].get("VolumeSize", 0)
        for m in image.get("BlockDeviceMappings", ())
        if "Ebs" in m
    }
    made_from = {
        str(m.get("DeviceName")): str(m["Ebs"].get("SnapshotId") or "")
        for m in image.get("BlockDeviceMappings", ())
        if "Ebs" in m
    }
    told = tags.read(image.get("Tags"))
    return BaseImage(
        id=image["ImageId"],
        arch=str(image.get("Architecture", "x86_64")),
        root=root,
        size_gib=int(sizes.get(root) or 0),
        boot=str(image.get("BootMode") or ""),
        tpm=str(image.get("TpmSupport") or ""),
        user=told.get("user")
        or login_user(str(image.get("Name") or ""), str(image.get("Description") or "")),
        keys=told.get("keys", ""),
        more=tuple((str(d), int(size)) for d, size in sorted(sizes.items()) if d != root),
        line=_line(told),
        parts=disks.written(made_from) if len(made_from) > 1 else "",
        licence=_licence(image),
    )


def _licence(image: Mapping[str, Any]) -> str:
    """The licence that an image bills, "" for none. DescribeImages: plain Linux is "Linux/UNIX"."""
    platform = str(image.get("PlatformDetails") or "Linux/UNIX")
    codes = [str(c.get("ProductCodeId")) for c in image.get("ProductCodes") or ()]
    return platform if platform != "Linux/UNIX" else f"product code {codes[0]}" if codes else ""


def _line(told: vocabulary.Tags) -> tuple[str, ...]:
    """The line of an instance launched from an image with these tags; empty if it is no desk's image."""
    source = told.get("source", "")
    if not source:
        return ()
    started = vocabulary.number(told, "started") if source.partition("/")[2].startswith("i-") else FINAL
    return (*(vocabulary.line_of(told) or ()), marked(told.get("machine") or source, started))


def login_user(name: str, description: str = "") -> str:
    """The login user of an image by its name: each distribution has its own default user."""
    text = f"{name} {description}".lower()
    for user, words in {"ec2-user": ("amazon linux", "al2023", "amzn2", "rhel", "suse"), "admin": ("debian",),
                        "fedora": ("fedora",), "rocky": ("rocky",)}.items():  # fmt: skip
        if any(word in text for word in words):
            return user
    return "ubuntu"
