"""What EC2 refuses of a request before it looks at anything: lengths, characters, counts, ids.

Two sources: the constraints of botocore's service models (required, min, max, pattern, enum), and what the
same models and the user guide state in prose, which is `PLACES` below. They hold for every operation and
whoever answers it. tests/ec2_members.toml lists what hotdesk sends, and under which of these limits.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from moto.core.utils import get_service_model

from fake_ec2.actions import Call
from fake_ec2.errors import Problem, bad_value, missing

USER_DATA_BYTES = 16_384
MODELS = {"servicequotas": "service-quotas"}
_SPOKEN = r"a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*"  # in names and descriptions of security groups


@dataclass(frozen=True)
class Limit:
    """One rule: `refuse(value, member)` is the Problem with a value, if any; `over` a value that has one."""

    name: str
    refuse: Callable[[Any, str], Problem | None]
    over: Any
    code: str = "InvalidParameterValue"
    whole: bool = False  # of a list as a whole


def matching(name: str, pattern: str, over: Any, message: str = "", code: str = "") -> Limit:
    """Text that must match as a whole."""
    whole, code = re.compile(pattern, re.DOTALL), code or "InvalidParameterValue"

    def refuse(value: Any, member: str) -> Problem | None:
        if whole.fullmatch(str(value)):
            return None
        said = message or "Value ({}) for parameter {} is invalid."
        return Problem(code, said.replace("{}", str(value), 1).replace("{}", member))

    return Limit(name, refuse, over, code)


def at_most(name: str, most: int, code: str, message: str) -> Limit:
    """A list that has so many members at most."""

    def refuse(value: Any, member: str) -> Problem | None:
        return Problem(code, message) if len(value) > most else None

    return Limit(name, refuse, most + 1, code, whole=True)


def between(name: str, least: int, most: int) -> Limit:
    def refuse(value: Any, member: str) -> Problem | None:
        if least <= int(value) <= most:
            return None
        return bad_value(value, member, f"Expecting a value from {least} to {most}.")

    return Limit(name, refuse, most + 1)


def an_id(prefix: str, code: str) -> Limit:
    """An id of EC2: a prefix with 8 or 17 hexadecimal digits."""
    return matching(f"id {prefix}", rf"{prefix}-([0-9a-f]{{8}}|[0-9a-f]{{17}})", f"{prefix}-zz",
                    f'Invalid id: "{{}}" (expecting "{prefix}-...")', code)  # fmt: skip


def refuse_tags(listed: Any, member: str) -> Problem | None:
    """128 and 256 characters, 50 tags, and `aws:` is AWS's own.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions (the model's
    Tag$Key says 127 characters). Of one key twice CreateTags keeps the last: SkyPilot 0.14 names machines so.
    """
    keys = [str(tag.get("Key") or "") for tag in listed]
    if len(keys) > 50:
        return Problem("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
    for tag, key in zip(listed, keys, strict=True):
        if not 1 <= len(key) <= 128:
            return bad_value(key, member, "Tag key must be between 1 and 128 characters long.")
        if len(str(tag.get("Value") or "")) > 256:
            return bad_value(tag["Value"], member, "Tag value exceeds the maximum length of 256 characters")
        if key.lower().startswith("aws:"):
            return bad_value(key, member, "Tag keys starting with 'aws:' are reserved for internal use")
    return None


def refuse_new_tags(listed: Any, member: str) -> Problem | None:
    """What is tagged as it is made takes each key once (cloud-custodian issue 3792)."""
    keys = [str(tag.get("Key") or "") for tag in listed]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        return Problem("InvalidParameterValue", f"Duplicate tag key '{twice[0]}' specified.")
    return refuse_tags(listed, member)


def refuse_kinds(specifications: Any, member: str) -> Problem | None:
    kinds = [spec.get("ResourceType") for spec in specifications]
    if twice := [kind for kind in kinds if kinds.count(kind) > 1]:
        return bad_value(twice[0], member, "A resource type may be specified once.")
    return None


def refuse_devices(mappings: Any, member: str) -> Problem | None:
    devices = [mapping.get("DeviceName") for mapping in mappings]
    if twice := [device for device in devices if device and devices.count(device) > 1]:
        what = f"The device '{twice[0]}' is used in more than one block-device mapping"
        return Problem("InvalidBlockDeviceMapping", what)
    return None


def refuse_user_data(value: Any, member: str) -> Problem | None:
    """16 KB, counted before base64."""
    try:
        size = len(base64.b64decode(value, validate=True))
    except ValueError:
        return Problem("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.")
    if size <= USER_DATA_BYTES:
        return None
    return Problem("InvalidParameterValue", f"User data is limited to {USER_DATA_BYTES} bytes")


def refuse_cidr(value: Any, member: str) -> Problem | None:
    """Any block that can be read; host bits are cut off (see network.py), as EC2 does."""
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        return Problem("InvalidParameterValue", f"CIDR block {value} is malformed")
    return None


TAG = {"Key": "k", "Value": ""}
KIND = {"ResourceType": "instance", "Tags": [TAG]}
MALFORMED = {
    "i": "InvalidInstanceID.Malformed",
    "vol": "InvalidVolumeID.Malformed",
    "snap": "InvalidSnapshotID.Malformed",
    "ami": "InvalidAMIID.Malformed",
    "sg": "InvalidGroupId.Malformed",
    "subnet": "InvalidSubnetID.Malformed",
    "vpc": "InvalidVpcID.Malformed",
    "eni": "InvalidNetworkInterfaceId.Malformed",
    "eipalloc": "InvalidAllocationID.Malformed",
    "lt": "InvalidLaunchTemplateId.Malformed",
}
ID = {prefix: an_id(prefix, code) for prefix, code in MALFORMED.items()}
SPOKEN = matching("rule description", f"[{_SPOKEN}]{{0,255}}", "desks' owners",
                  "Invalid rule description. Valid descriptions are strings less than 256 characters from "
                  "the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*")  # fmt: skip
TAGS = Limit("tags", refuse_tags, [{"Key": "k" * 129, "Value": ""}], whole=True)
NEW_TAGS = Limit("tags once", refuse_new_tags, [TAG, TAG], whole=True)
KINDS_ONCE = Limit("kinds once", refuse_kinds, [KIND, KIND], whole=True)
DEVICES_ONCE = Limit("devices once", refuse_devices, [{"DeviceName": "/dev/sdf"}] * 2,
                     "InvalidBlockDeviceMapping", whole=True)  # fmt: skip
PAGE_1000 = between("page 5-1000", 5, 1000)
PORT = between("port", -1, 65_535)
TOKEN_64 = matching("token 64", r"[\x00-\x7f]{0,64}", "t" * 65)
NAMES_1000 = at_most(
    "1000 ids", 1000, "InvalidParameterValue", "At most 1000 ids can be given in one request."
)

_LAUNCH = (
    r"(RunInstances |CreateLaunchTemplate LaunchTemplateData\.)"  # what a launch may say, and a template
)
#: Member (a regular expression over operation and path) -> what holds there. The first that fits counts.
PLACES: tuple[tuple[str, Limit], ...] = (
    (
        r"CreateSecurityGroup GroupName",
        matching("group name", f"(?!sg-)[{_SPOKEN}]{{1,255}}", "sg-mine",
                 "Invalid security group name. Group names may not be in the format sg-*, and consist of "
                 "up to 255 characters from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"),
    ),
    (
        r"CreateSecurityGroup Description",
        matching("group description", f"[{_SPOKEN}]{{1,255}}", "desks' owners",
                 "Invalid security group description. Valid descriptions are strings less than 256 "
                 "characters from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"),
    ),
    (r"\w+ (IpPermissions|SecurityGroupRule\w*)\[\]\.(\w+\[\]\.)?Description", SPOKEN),
    (r"\w+ IpPermissions\[\]\.(From|To)Port", PORT),
    (r"\w+ IpPermissions\[\]\.IpProtocol",
     matching("protocol", r"tcp|udp|icmp|icmpv6|-1|[0-9]{1,3}", "http",
              "Invalid value '{}' for IP protocol. Unknown protocol.")),
    (r"\w+ IpPermissions\[\]\.\w+\[\]\.CidrIp(v6)?", Limit("cidr", refuse_cidr, "1.2.3.4/33")),
    (r"(Import|Create)KeyPair KeyName", matching("key name", r"[\x20-\x7e]{1,255}", "k" * 256)),
    (
        r"(Create|Copy|Register)Image Name",
        matching("image name", r"[A-Za-z0-9()\[\] ./'@_-]{3,128}", "a:b:c",
                 "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, "
                 "'(', ')', '.', '-', '/' and '_'", "InvalidAMIName.Malformed"),
    ),
    (r"\w+Image Description", matching("image description", r".{0,255}", "d" * 256)),
    (r"CreateLaunchTemplate LaunchTemplateName",
     matching("template name", r"[A-Za-z0-9().\-/_]{3,128}", "a:b:c",
              "Launch template names must be between 3 and 128 characters, and may contain letters, "
              "numbers, and the following characters: - ( ) . / _.",
              "InvalidLaunchTemplateName.MalformedException")),
    (r"(CopyImage|CreateLaunchTemplate) ClientToken",
     matching("token 128", r"[\x00-\x7f]{0,128}", "t" * 129)),
    (r"\w+ ClientToken", TOKEN_64),
    (r"\w+ (\w+\.)?TagSpecifications\[\]\.Tags", NEW_TAGS),
    (r"(Create|Delete)Tags Tags", TAGS),
    (r"\w+ (LaunchTemplateData\.)?TagSpecifications", KINDS_ONCE),
    (r"(Create|Delete)Tags Resources", at_most("1000 resources", 1000, "InvalidParameterValue",
                                               "At most 1000 resources can be tagged in one request.")),
    (r"\w+ Filters\[\]\.Values", at_most("filter 200", 200, "FilterLimitExceeded",
                                         "The maximum length for a filter value list is 200")),
    (rf"RequestSpotInstances BlockDeviceMappings|{_LAUNCH}BlockDeviceMappings",
     DEVICES_ONCE),
    (r"(Create|Register)Image BlockDeviceMappings", DEVICES_ONCE),
    (r"RunInstances (Min|Max)Count", between("count", 1, 100_000)),
    (rf"{_LAUNCH}UserData",
     Limit("16 KiB", refuse_user_data, base64.b64encode(b"x" * (USER_DATA_BYTES + 1)).decode())),
    (r"ModifyInstanceAttribute InstanceInitiatedShutdownBehavior\.Value",
     matching("shutdown", "stop|terminate", "hibernate",
              "Invalid value '{}' for instanceInitiatedShutdownBehavior.")),
    (r"RegisterImage VirtualizationType", matching("virtualization", "hvm|paravirtual", "xen")),
    (rf"{_LAUNCH}MetadataOptions\.HttpPutResponseHopLimit", between("hops", 1, 64)),
    (r"RunInstances BlockDeviceMappings\[\]\.Ebs\.VolumeInitializationRate", between("rate", 100, 300)),
    (rf"{_LAUNCH}BlockDeviceMappings\[\]\.Ebs\.VolumeSize",
     between("size", 1, 65_536)),
    (r"CreateFleet LaunchTemplateConfigs\[\]\.Overrides",
     at_most("300 overrides", 300, "InvalidParameterValue", "A fleet has at most 300 overrides.")),
    (r"DescribeInstanceStatus InstanceIds",
     at_most("100 ids", 100, "InvalidParameterValue", "At most 100 instance IDs can be given.")),
    (r"\w+ InstanceIds", NAMES_1000),
    (r"DescribeSpotPriceHistory MaxResults", between("page 1-1000", 1, 1000)),
    (r"Describe(Instances|InstanceStatus|Tags|Volumes|VolumeStatus|Snapshots) MaxResults", PAGE_1000),
    (r"DescribeSpotInstanceRequests MaxResults", PAGE_1000),
    (r"DescribeImages MaxResults", between("page 1-1000", 1, 1000)),
    *(
        (rf"\w+ ({member})", ID[prefix])
        for member, prefix in (
            (r"(\w+\.)*InstanceId(s\[\])?", "i"),
            (r"(\w+(\[\])?\.)*VolumeId(s\[\])?", "vol"),
            (r"(\w+(\[\])?\.)*(Source)?SnapshotId(s\[\])?", "snap"),
            (r"(LaunchTemplateData\.)?(Source)?ImageId(s\[\])?", "ami"),
            (r"(\w+(\[\])?\.)*(Security)?GroupId(s\[\])?|(\w+\.)?(\w+\[\]\.)?Groups\[\]", "sg"),
            (r"(\w+(\[\])?\.)*SubnetId(s\[\])?", "subnet"),
            (r"VpcId(s\[\])?", "vpc"),
            (r"(\w+(\[\])?\.)*NetworkInterfaceId(s\[\])?", "eni"),
            (r"AllocationId(s\[\])?", "eipalloc"),
            (r"(\w+(\[\])?\.)*LaunchTemplateId(s\[\])?", "lt"),
        )
    ),
    (r"\w+ SpotInstanceRequestId(s\[\])?", matching("id sir", r"sir-[a-z0-9]{8}", "sir-zz",
                                                    code="InvalidSpotInstanceRequestID.Malformed")),
)  # fmt: skip
_PLACES = tuple((re.compile(place), limit) for place, limit in PLACES)


# ── what the model itself constrains ─────────────────────────────────────────────────────────────────────


def of_shape(shape: Any) -> Limit | None:
    """The constraints that stand on a member's shape. Enumerations of instance types are always behind."""
    facts, kind = shape.metadata, shape.type_name
    least, most, pattern = facts.get("min"), facts.get("max"), facts.get("pattern")
    if kind == "string" and shape.enum and shape.name != "InstanceType":
        allowed = frozenset(shape.enum)
        return Limit(
            "enum", lambda value, member: None if value in allowed else bad_value(value, member), "no-such"
        )
    if kind in {"integer", "long"} and most is not None:
        return between(f"{least or 0}-{most}", int(least or 0), int(most))
    if kind == "list" and most is not None:
        return at_most(f"{most} at most", int(most), "InvalidParameterValue", f"At most {most} can be given.")
    if kind == "string" and (pattern or most is not None):
        return text_of(least or 0, most, pattern)
    return None


def text_of(least: int, most: int | None, pattern: str | None) -> Limit:
    try:
        whole = re.compile(pattern or ".*", re.DOTALL)
    except re.error:  # written for another language's expressions
        whole = re.compile(".*", re.DOTALL)

    def refuse(value: Any, member: str) -> Problem | None:
        fits = least <= len(str(value)) <= (most or 10**9) and whole.fullmatch(str(value))
        return None if fits else bad_value(value, member)

    return Limit(f"{least}-{most or ''} characters", refuse, "~" * ((most or 0) + 1))


@cache
def member(service: str, action: str, path: str) -> tuple[Any, Limit | None]:
    """A member of an operation's request, as `Tags[].Key`: its shape, and what holds there."""
    shape = get_service_model(MODELS.get(service, service)).operation_model(action).input_shape
    for part in path.split("."):
        shape = getattr(shape, "members", {}).get(part.replace("[]", ""))
        for _ in range(part.count("[]")):
            shape = getattr(shape, "member", None)
    if shape is None:
        return None, None
    for pattern, limit in _PLACES:
        of_this_kind = service == "ec2" and limit.whole == (shape.type_name == "list")
        if of_this_kind and pattern.fullmatch(f"{action} {path}"):
            return shape, limit
    return shape, of_shape(shape)


def values(params: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of everything in a request, lists and structures before what is in them."""
    if path and params is not None:
        yield path, params
    if isinstance(params, dict):
        for key, value in params.items():
            yield from values(value, f"{path}.{key}" if path else key)
    elif isinstance(params, list):
        for value in params:
            yield from values(value, f"{path}[]")


def leaves(params: Any) -> set[str]:
    """The paths of what a request says, and of lists that hold something."""
    return {path for path, value in values(params) if not isinstance(value, dict | list)} | {
        path for path, value in values(params) if isinstance(value, list) and value
    }


def check(call: Call) -> None:
    """Raises the Problem of the first member of a request that has one."""
    structures = []
    for path, value in values(call.params):
        shape, limit = member(call.service, call.action, path)
        if limit is not None and (problem := limit.refuse(value, path.rsplit(".", 1)[-1])):
            raise problem
        if isinstance(value, dict):
            structures.append((shape, value))
    model = get_service_model(MODELS.get(call.service, call.service)).operation_model(call.action)
    for shape, value in [(model.input_shape, call.params), *structures]:
        require(shape, value)


def require(shape: Any, value: dict[str, Any]) -> None:
    for name in getattr(shape, "required_members", ()):
        if value.get(name) is None:
            raise missing(name)
