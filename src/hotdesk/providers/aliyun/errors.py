"""Translate Alibaba Cloud's error codes into refusals, with messages for a person.

A 4xx answer is a *definite* no: nothing was made or changed. So is any code of the table, whatever its
status. Another 5xx answer, or none, leaves the outcome of a change unknown, and so does one of `IN_FLIGHT`.
Codes: the error lists of the ECS and VPC API reference, and those that terraform-provider-alicloud and
packer-plugin-alicloud take as passing.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import Any

from hotdesk.core.errors import Kind, Refused, Unreachable
from hotdesk.providers.cloud.refusals import SECONDS, SECONDS_ELSE, kind_of

CODES: dict[str, Kind] = {
    # Sold out, at this place and now.
    "OperationDenied.NoStock": Kind.NO_CAPACITY,
    "NoInstanceStock": Kind.NO_CAPACITY,
    "OperationDenied.SpotPriceLowerThanPublicPrice": Kind.NO_CAPACITY,
    "InvalidVSwitchId.IpNotEnough": Kind.NO_CAPACITY,
    "InvalidOperation.PublicIpAddressNoStock": Kind.NO_CAPACITY,
    # Not sold at this place: another may sell it.
    "Zone.NotOnSale": Kind.UNSUPPORTED,
    "Zone.NotOpen": Kind.UNSUPPORTED,
    "InvalidResourceType.NotSupported": Kind.UNSUPPORTED,
    "InstanceType.Offline": Kind.UNSUPPORTED,
    "InvalidInstanceType.ValueNotSupported": Kind.UNSUPPORTED,
    "InvalidInstanceType.ValueUnauthorized": Kind.UNSUPPORTED,
    "InvalidInstanceType.ZoneNotSupported": Kind.UNSUPPORTED,
    "InvalidSystemDiskCategory.ValueNotSupported": Kind.UNSUPPORTED,
    "InvalidDataDiskCategory.ValueNotSupported": Kind.UNSUPPORTED,
    "InvalidDiskCategory.NotSupported": Kind.UNSUPPORTED,
    "InvalidInstanceType.NotSupportDiskCategory": Kind.UNSUPPORTED,
    "OperationDenied.FlavorNotSupported": Kind.UNSUPPORTED,
    "InvalidSpotStrategy": Kind.UNSUPPORTED,
    "InvalidSpotAliUid": Kind.UNSUPPORTED,
    "InvalidAccount.NotSupportSpot": Kind.UNSUPPORTED,
    "InvalidSpotInterruptionBehavior.LocalDiskNotSupport": Kind.UNSUPPORTED,
    "ImageNotSupportInstanceType": Kind.UNSUPPORTED,
    # The account's quotas.
    "QuotaExceed": Kind.QUOTA,  # .AfterpayInstance, .SpotInstance, .Image …
    "QuotaExceeded": Kind.QUOTA,  # .Vpc, .VSwitch
    "LimitExceed": Kind.QUOTA,
    "InstanceQuotaExceed": Kind.QUOTA,
    "SecurityGroupLimitExceed": Kind.QUOTA,
    # The account, its credentials and its rights.
    "InvalidAccessKeyId": Kind.DENIED,
    "InvalidAccessKeySecret": Kind.DENIED,
    "SignatureDoesNotMatch": Kind.DENIED,
    "IncompleteSignature": Kind.DENIED,
    "InvalidSecurityToken": Kind.DENIED,
    "SecurityTokenExpired": Kind.DENIED,
    "InvalidTimeStamp.Expired": Kind.DENIED,
    "InvalidTimeStamp.Format": Kind.DENIED,
    "RealNameAuthenticationError": Kind.DENIED,
    "InvalidAccountStatus.NotEnoughBalance": Kind.DENIED,
    "InvalidAccountStatus.SaleStatusUnknown": Kind.DENIED,
    "InsufficientBalance": Kind.DENIED,
    "Account.Arrearage": Kind.DENIED,
    "Forbidden": Kind.DENIED,
    "Forbbiden": Kind.DENIED,  # as some operations spell it
    "NoPermission": Kind.DENIED,
    "NotAuthorized": Kind.DENIED,  # as the billing service says it
    "NotApplicable": Kind.DENIED,  # likewise: of an account of its other site
    "UnauthorizedOperation": Kind.DENIED,
    "InvalidUser.PassRoleForbidden": Kind.DENIED,
    "InvalidRamRole.NotEcsRole": Kind.DENIED,
    # Busy, or on its way: the same again soon.
    "IncorrectInstanceStatus": Kind.NOT_READY,
    "IncorrectInstanceStatus.Initializing": Kind.NOT_READY,
    "IncorrectVSwitchStatus": Kind.NOT_READY,
    "IncorrectVpcStatus": Kind.NOT_READY,
    "IncorrectDiskStatus": Kind.NOT_READY,
    "IncorrectDiskStatus.Initializing": Kind.NOT_READY,
    "IncorrectImageStatus": Kind.NOT_READY,
    "DiskInCoolingPeriod": Kind.NOT_READY,
    "SnapshotCreatedImage": Kind.NOT_READY,
    "TOKEN_PROCESSING": Kind.NOT_READY,
    "OperationFailed.IdempotentTokenProcessing": Kind.NOT_READY,
    "OperationConflict": Kind.NOT_READY,
    "Operation.Conflict": Kind.NOT_READY,
    "InvalidOperation.Conflict": Kind.NOT_READY,
    "TaskConflict": Kind.NOT_READY,
    "OperationDenied.OtherSubnetCreating": Kind.NOT_READY,
    "OperationFailed.DistibuteLock": Kind.NOT_READY,
    "InvalidStatus.RouteEntry": Kind.NOT_READY,
    "DependencyViolation": Kind.NOT_READY,
    "DependencyViolation.VSwitch": Kind.NOT_READY,
    "DependencyViolation.SecurityGroup": Kind.NOT_READY,
    "DependencyViolation.RouteEntry": Kind.NOT_READY,
    "InvalidInstanceId.NotFound": Kind.NOT_READY,
    "InvalidImageId.NotFound": Kind.NOT_READY,
    # The token was used for another request: three spellings (ECS error lists).
    "IdempotentParameterMismatch": Kind.MISMATCH,
    "IdempotenceParamNotMatch": Kind.MISMATCH,
    "Duplicated.ClientToken": Kind.MISMATCH,
}

#: The same request, sent before, is still being worked on: what it makes may yet come.
IN_FLIGHT = frozenset(
    {"IdempotentProcessing", "LastTokenProcessing", "LastRequestProcessing", "LastOrderProcessing"}
)

#: "Dry run passed" is an error (ECS API reference).
PASSED = frozenset({"DryRunOperation", "DRYRUN.SUCCESS"})

#: Codes that mean success for a deletion: the resource does not exist.
GONE = frozenset(
    {
        "InvalidInstanceId.NotFound",
        "InvalidInstanceIds.NotFound",
        "Forbidden.InstanceNotFound",
        "InvalidDiskId.NotFound",
        "InvalidSnapshotId.NotFound",
        "InvalidImageId.NotFound",
        "InvalidSecurityGroupId.NotFound",
        "InvalidVSwitchId.NotFound",
        "InvalidVswitchID.NotFound",
        "InvalidVpcId.NotFound",
        "InvalidVpcID.NotFound",
        "InvalidResource.NotFound",
    }
)

#: How long a refusal of that code is valid, where its kind does not say it: a new machine may not be released
#: for up to two minutes.
_SECONDS = {"IncorrectInstanceStatus.Initializing": 15.0}

#: The account is in arrears: starting and launching are refused, saving and deleting are not.
ARREARS = frozenset({"InvalidAccountStatus.NotEnoughBalance", "InsufficientBalance", "Account.Arrearage"})

#: The text of a bare OperationDenied that means "sold out".
_SOLD_OUT = re.compile(r"out of (usage|stock)|sold out|no stock", re.IGNORECASE)

RECHARGE = "https://usercenter2.aliyun.com   # 充值; then the same command goes on. Parking works meanwhile"


class Problem(Exception):
    """An error as the service told it, or an answer that is none of its own."""

    def __init__(
        self,
        action: str,
        status: int,
        code: str,
        message: str,
        *,
        request: str = "",
        denied: Mapping[str, Any] | None = None,
        seconds: float = 0.0,
    ) -> None:
        super().__init__(action, status, code, message)
        self.action = action
        self.status = status
        self.code = code
        self.message = message
        self.request = request  # the id that support asks for
        self.denied = denied or {}  # AccessDeniedDetail
        self.seconds = seconds  # after which to ask again, if it says so

    def __str__(self) -> str:
        return f"{self.message or 'it gives no reason'} ({self.code or self.status})"


def code(error: BaseException) -> str:
    """The service's code of an error, or of what a refusal was made from; "" if there is none."""
    for one in (error, error.__cause__):
        if isinstance(one, Problem):
            return one.code
    return ""


def refusal(problem: Problem) -> Refused | None:
    """The definite no in an error; None if its outcome is unknown."""
    kind = _kind(problem)
    if kind is None:
        return None
    message, fix = _words(kind, problem)
    seconds = max(problem.seconds, _SECONDS.get(problem.code, SECONDS.get(kind, SECONDS_ELSE)))
    return Refused(kind, message, fix=fix, seconds=seconds)


def _kind(problem: Problem) -> Kind | None:
    name = problem.code
    if "Throttling" in name or (problem.status == 429 and not name):  # Rejected.Throttling, Throttling.User
        return Kind.THROTTLED
    if name == "OperationDenied" and _SOLD_OUT.search(problem.message):
        return Kind.NO_CAPACITY
    return kind_of(name, problem.status, CODES, read_only=False, unknown=IN_FLIGHT)


def _words(kind: Kind, problem: Problem) -> tuple[str, str]:
    name, said, action = problem.code, problem.message.strip(), problem.action
    message = f"{said or 'Alibaba Cloud gives no reason'} ({name})"
    if kind is Kind.NO_CAPACITY and name == "OperationDenied.NoStock":
        return f"sold out ({name})", ""
    if kind is Kind.THROTTLED:
        return f"Alibaba Cloud is asked too often for {action}: {message}", ""
    if kind is Kind.QUOTA and "user quota [0]" in said:
        return (
            f"This account may not rent such machines yet: its quota is 0 ({name}).",
            "https://ecs.console.aliyun.com/privilege-quota   # ask for vCPUs of this kind; minutes to a day",
        )
    if kind is not Kind.DENIED:
        return message, ""
    if name in ARREARS:
        return f"The account's balance is too low to start or launch machines ({name}).", RECHARGE
    if name == "RealNameAuthenticationError":
        return (
            f"Mainland regions rent to people whose name is verified, and this account's is not ({name}).",
            "https://myaccount.console.aliyun.com/cert-info   # 实名认证; or: --region cn-hongkong",
        )
    if name == "Forbidden.RiskControl":
        return (
            f"Alibaba Cloud's risk control has stopped this account from renting ({name}).",
            "https://smartservice.console.aliyun.com/service/create-ticket   # only its support lifts that",
        )
    if name in {"InvalidTimeStamp.Expired", "InvalidTimeStamp.Format"}:
        return (
            f"Alibaba Cloud finds the request's time wrong: this computer's clock is off ({name}).",
            "sudo timedatectl set-ntp true",
        )
    if "Token" in name:
        return (
            f"The temporary Alibaba Cloud credentials are not valid, or no longer ({name}).",
            "aliyun configure list   # renew them as you got them",
        )
    if name.startswith(("InvalidAccessKey", "SignatureDoesNotMatch", "IncompleteSignature")):
        return (
            f"Alibaba Cloud does not accept the access key: {message}",
            "aliyun configure   # or set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET",
        )
    missing = str(problem.denied.get("AuthAction") or action)
    return (
        f"These credentials may not do {missing}: {message}",
        "hotdesk iam --provider aliyun   # prints the policy that hotdesk needs",
    )


def unreachable(error: Exception, endpoint: str = "") -> Unreachable:
    """The error for a failed connection; it blames the network only if that may be the cause."""
    why = f"{type(error.__cause__ or error).__name__}: {error}"
    if isinstance(error.__cause__ or error, ssl.SSLError):
        return Unreachable(
            "Alibaba Cloud's certificate is not accepted here.",
            why,
            "export REQUESTS_CA_BUNDLE=FILE   # where a firewall of yours opens TLS: with its certificate",
        )
    if "through the proxy" in str(error) or (
        isinstance(error.__cause__, OSError) and "Tunnel connection failed" in str(error)
    ):
        return Unreachable("The proxy does not answer.", why, "env | grep -i _proxy   # who says to use it")
    if endpoint:
        return Unreachable(
            "What stands in for Alibaba Cloud does not answer.",
            why,
            "hotdesk doctor   # endpoint under [aliyun] in hotdesk.toml names it",
        )
    return Unreachable(
        "Alibaba Cloud does not answer.",
        why,
        "ping ecs.aliyuncs.com   # is this computer online? Then the same command goes on",
    )
