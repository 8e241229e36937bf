"""Translate EC2's error codes into refusals, with messages for a person.

Which answers are a definite no: see cloud/refusals.py. Codes: the EC2 API reference's list of error codes,
and what accounts met in practice.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from hotdesk.core.errors import Failing, Kind, Refused, Unreachable
from hotdesk.providers.aws.session import boto, complaint
from hotdesk.providers.cloud.refusals import SECONDS, SECONDS_ELSE, kind_of

CODES: dict[str, Kind] = {
    # No capacity now. InsufficientInstanceCapacity has status 500 and is definite nevertheless.
    "InsufficientInstanceCapacity": Kind.NO_CAPACITY,
    "ReservationCapacityExceeded": Kind.NO_CAPACITY,
    "InvalidCapacityReservationId.NotFound": Kind.NO_CAPACITY,
    "InsufficientHostCapacity": Kind.NO_CAPACITY,
    "InsufficientReservedInstanceCapacity": Kind.NO_CAPACITY,
    "InsufficientFreeAddressesInSubnet": Kind.NO_CAPACITY,
    "InsufficientCapacityOnHost": Kind.NO_CAPACITY,
    "InsufficientCapacity": Kind.NO_CAPACITY,
    "InsufficientVolumeCapacity": Kind.NO_CAPACITY,  # the zone has no capacity for the disk
    "InsufficientAddressCapacity": Kind.NO_CAPACITY,
    "UnfulfillableCapacity": Kind.NO_CAPACITY,
    "SpotMaxPriceTooLow": Kind.NO_CAPACITY,
    "Server.InsufficientInstanceCapacity": Kind.NO_CAPACITY,
    # The account's quotas.
    "VcpuLimitExceeded": Kind.QUOTA,
    "InstanceLimitExceeded": Kind.QUOTA,
    "MaxSpotInstanceCountExceeded": Kind.QUOTA,
    "SpotInstanceCountExceeded": Kind.QUOTA,
    "VolumeLimitExceeded": Kind.QUOTA,
    "SnapshotLimitExceeded": Kind.QUOTA,
    "AMIQuotaExceeded": Kind.QUOTA,
    "AttachmentLimitExceeded": Kind.QUOTA,
    "ResourceCountLimitExceeded": Kind.QUOTA,
    "SecurityGroupLimitExceeded": Kind.QUOTA,
    "SecurityGroupsPerInstanceLimitExceeded": Kind.QUOTA,
    "SecurityGroupsPerInterfaceLimitExceeded": Kind.QUOTA,
    "ConcurrentSnapshotLimitExceeded": Kind.THROTTLED,
    "ConcurrentCreateImageNoRebootLimitExceeded": Kind.THROTTLED,
    # Not supported by this offer; another may.
    "Unsupported": Kind.UNSUPPORTED,
    "UnsupportedOperation": Kind.UNSUPPORTED,
    "InstanceTypeNotSupported": Kind.UNSUPPORTED,
    "UnsupportedInstanceTypeOnHost": Kind.UNSUPPORTED,
    # Authentication and authorization.
    "UnauthorizedOperation": Kind.DENIED,
    "AccessDenied": Kind.DENIED,
    "AccessDeniedException": Kind.DENIED,
    "AuthFailure": Kind.DENIED,
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": Kind.DENIED,
    "InvalidClientTokenId": Kind.DENIED,
    "UnrecognizedClientException": Kind.DENIED,
    "SignatureDoesNotMatch": Kind.DENIED,
    "InvalidSignatureException": Kind.DENIED,
    "IncompleteSignature": Kind.DENIED,
    "MissingAuthenticationToken": Kind.DENIED,
    "ExpiredToken": Kind.DENIED,
    "ExpiredTokenException": Kind.DENIED,
    "RequestExpired": Kind.DENIED,
    "RequestTimeTooSkewed": Kind.DENIED,
    "RequestInTheFuture": Kind.DENIED,
    "OptInRequired": Kind.DENIED,
    "PendingVerification": Kind.DENIED,
    "Blocked": Kind.DENIED,
    # Throttled: repeat later.
    "RequestLimitExceeded": Kind.THROTTLED,
    "Throttling": Kind.THROTTLED,
    "ThrottlingException": Kind.THROTTLED,
    "ThrottledException": Kind.THROTTLED,
    "RequestThrottled": Kind.THROTTLED,
    "RequestThrottledException": Kind.THROTTLED,
    "TooManyRequestsException": Kind.THROTTLED,
    "SlowDown": Kind.THROTTLED,
    "EC2ThrottledException": Kind.THROTTLED,
    "SnapshotCreationPerVolumeRateExceeded": Kind.THROTTLED,
    # Eventually consistent, or busy.
    "InvalidGroup.NotFound": Kind.NOT_READY,
    "InvalidKeyPair.NotFound": Kind.NOT_READY,
    "InvalidAMIID.NotFound": Kind.NOT_READY,
    "InvalidAMIID.Unavailable": Kind.NOT_READY,
    "InvalidInstanceID.NotFound": Kind.NOT_READY,
    "InvalidSnapshot.NotFound": Kind.NOT_READY,
    "InvalidVolume.NotFound": Kind.NOT_READY,
    "InvalidSnapshot.InUse": Kind.NOT_READY,
    "VolumeInUse": Kind.NOT_READY,
    "DependencyViolation": Kind.NOT_READY,
    "IncorrectState": Kind.NOT_READY,
    "IncorrectInstanceState": Kind.NOT_READY,
    "IncorrectSpotRequestState": Kind.NOT_READY,
    "IdempotentParameterMismatch": Kind.MISMATCH,
    "IdempotentInstanceTerminated": Kind.MISMATCH,  # the token's instance was terminated (since January 2025)
}

#: The fix for accounts on the Free plan: see free_plan.py.
FREE_PLAN = (
    "hotdesk up --type m7i-flex.large --market on-demand   # or upgrade the plan, for GPUs too: "
    "https://console.aws.amazon.com/billing/home#/account"
)

#: Codes whose message adds nothing to "sold out".
_SOLD_OUT = frozenset({"InsufficientInstanceCapacity", "Server.InsufficientInstanceCapacity"})

#: The signature's time differs too much from AWS's.
_CLOCK = frozenset({"RequestTimeTooSkewed", "RequestInTheFuture"})

#: Codes that mean success for a deletion: the resource does not exist.
GONE = frozenset(
    {
        "InvalidAllocationID.NotFound",
        "InvalidInstanceID.NotFound",
        "InvalidLaunchTemplateId.NotFound",
        "InvalidLaunchTemplateName.NotFoundException",
        "InvalidSpotInstanceRequestID.NotFound",
        "InvalidVolume.NotFound",
        "InvalidSnapshot.NotFound",
        "InvalidAMIID.NotFound",
        "InvalidAMIID.Unavailable",
        "InvalidKeyPair.NotFound",
        "InvalidGroup.NotFound",
        "InvalidGroupId.Malformed",
    }
)

#: Codes with a 4xx status that still leave the outcome unknown.
_UNKNOWN = frozenset({"RequestTimeout", "RequestTimeoutException"})

#: Prefixes of read-only operations.
_QUESTIONS = ("Describe", "Get", "List")


@contextmanager
def answers() -> Iterator[None]:
    """Translate AWS's errors: a definite no into `Refused`, a 5xx with unknown outcome into `Failing`.

    Other exceptions pass unchanged.
    """
    e = boto()
    try:
        yield
    except (e.BotoCoreError, e.ClientError) as error:
        if no := refusal(error):
            raise no from error
        if _status(error) >= 500:
            raise Failing(f"AWS failed to answer {error.operation_name}: {code(error)}") from error
        raise


@contextmanager
def reaching() -> Iterator[None]:
    """Translate connection errors into `Unreachable`. For read-only requests."""
    e = boto()
    try:
        yield
    except (e.HTTPClientError, e.ConnectionError) as error:
        raise unreachable(error) from error


@contextmanager
def asking(question: str) -> Iterator[None]:
    """Translate every failure of the read-only request `question` into `Unreachable`."""
    e = boto()
    try:
        yield
    except e.ClientError as error:
        said = f"AWS does not answer {question}: {code(error) or '?'}."
        raise Unreachable(said, str(error), "hotdesk doctor") from error
    except Failing as error:
        raise Unreachable(f"AWS does not answer {question}.", str(error), "hotdesk doctor") from error
    except Refused as no:
        cause = no.__cause__
        told = code(cause) if cause else ""
        if not told:
            raise
        said = f"AWS does not answer {question}: {told}."
        raise Unreachable(said, no.message, no.fix or "hotdesk doctor") from no
    except (e.BotoCoreError, OSError) as error:
        raise Unreachable(f"AWS does not answer {question}.", str(error), "hotdesk doctor") from error


def unreachable(error: Exception) -> Unreachable:
    """The user-facing error for a failed connection; it blames the network only if that may be the cause."""
    e, why = boto(), f"{type(error).__name__}: {error}"
    if isinstance(error, e.SSLError):
        return Unreachable(
            "AWS's certificate is not accepted here.",
            why,
            "export AWS_CA_BUNDLE=FILE   # where a firewall of yours opens TLS: with its certificate in it",
        )
    if isinstance(error, e.ProxyConnectionError):
        return Unreachable("The proxy does not answer.", why, "env | grep -i _proxy   # who says to use it")
    if isinstance(error, e.EndpointConnectionError):
        url = str(error.kwargs.get("endpoint_url", ""))
        if named := next(
            (n for n, v in os.environ.items() if "AWS_ENDPOINT_URL" in n and v and v in url), ""
        ):
            return Unreachable("What stands in for AWS does not answer.", why, f"unset {named}")
        if (region := _region_of(url)) and region not in _known_regions():
            return Unreachable(
                f"AWS has no region {region} that boto3 knows.",
                why,
                "aws configure list   # says where the region comes from",
            )
    return Unreachable(
        "AWS does not answer.",
        why,
        "ping amazonaws.com   # is this computer online? Then the same command goes on",
    )


def _region_of(url: str) -> str:
    found = re.search(r"//[a-z0-9.-]+?\.([a-z]{2,4}(?:-[a-z]+)+-\d+)\.", url)
    return found.group(1) if found else ""


def _known_regions() -> set[str]:
    import botocore.session

    session = botocore.session.Session()
    partitions = session.get_available_partitions()
    return {region for part in partitions for region in session.get_available_regions("ec2", part)}


def code(error: BaseException) -> str:
    """AWS's code of an error; "" if it is not an answer of AWS."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def _status(error: BaseException) -> int:
    """The HTTP status of AWS's answer; 0 if there is none."""
    response = getattr(error, "response", None)
    told = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    return int(told.get("HTTPStatusCode", 0) or 0)


def refusal(error: BaseException) -> Refused | None:
    """The definite no in an error of boto3, or None when the outcome is unknown."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return _before_asking(error)
    name, said = code(error), str(response.get("Error", {}).get("Message", "")).strip()
    action, status = str(getattr(error, "operation_name", "")), _status(error)
    kind = _by_its_words(name, said) or kind_of(
        name, status, CODES, read_only=action.startswith(_QUESTIONS), unknown=_UNKNOWN
    )
    if kind is None:
        return None
    message, fix = _words(kind, name, said, action)
    return Refused(kind, message, fix=fix, seconds=SECONDS.get(kind, SECONDS_ELSE))


def _by_its_words(name: str, said: str) -> Kind | None:
    """The kind of an ambiguous code, by its message."""
    if name == "InvalidParameterCombination" and "instance type is not eligible for Free Tier" in said:
        return Kind.UNSUPPORTED
    if name == "OptInRequired" and "marketplace" in said.lower():  # for an image, not a region
        return Kind.BAD_REQUEST
    return None


def _words(kind: Kind, name: str, said: str, action: str) -> tuple[str, str]:
    message = f"{said or 'AWS gives no reason'} ({name})"
    if name in _SOLD_OUT:  # AWS's message is long, and repeated for each zone that is tried
        return f"sold out ({name})", ""
    if kind is Kind.THROTTLED:
        return f"AWS is too busy to answer {action or 'this'}: {message}", ""
    if "eligible for Free Tier" in said:  # used for types and for images
        what = "image" if "image" in said else "type"
        return f"This account is on AWS's Free plan, and that does not start this {what} ({name}).", FREE_PLAN
    if name == "OptInRequired" and kind is Kind.BAD_REQUEST:
        found = re.search(r"https?://\S+", said)
        place = found.group().rstrip(".") if found else "https://aws.amazon.com/marketplace"
        return (
            f"The image is sold in AWS Marketplace, and this account has not accepted its terms ({name}).",
            f"{place}   # subscribe there; some products cost money by the hour, and forbid images of them",
        )
    if kind is not Kind.DENIED:
        return message, ""
    if name == "AuthFailure.ServiceLinkedRoleCreationNotPermitted":
        return (
            f"The account's first spot machine needs a role that these credentials may not make ({name}).",
            (
                "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
                "   # by an administrator, once; or: --market on-demand"
            ),
        )
    if name in {"ExpiredToken", "ExpiredTokenException"}:
        return (
            f"The AWS credentials have expired ({name}).",
            "aws sso login   # or: aws login; renew them as you got them",
        )
    if name == "RequestExpired" and "signature" not in said.lower():  # EC2 uses the code for both
        return (
            f"The session's credentials have expired, or this computer's clock is off: AWS says {name}.",
            "aws sso login   # or: aws login; for the clock: sudo timedatectl set-ntp true",
        )
    if name in _CLOCK or "expired" in said.lower() or "not yet current" in said.lower():
        return (
            f"AWS finds the request's time wrong: this computer's clock is off ({name}).",
            "sudo timedatectl set-ntp true",
        )
    if name == "OptInRequired":
        return message, "aws account enable-region --region-name REGION   # or choose another region"
    if name in {"PendingVerification", "Blocked"}:
        return message, "https://console.aws.amazon.com/support   # AWS must release the account first"
    if name in {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"}:
        missing = missing_action(said) or action
        if policy := denying_policy(said):
            return (
                f"{policy} denies {missing} here. {_plainly(said)}".strip(),
                (
                    "hotdesk offers   # another region or type; or have whoever keeps the policy allow"
                    f" {missing} there"
                ),
            )
        return (
            f"These credentials may not do {missing}. {_plainly(said)}".strip(),
            "hotdesk iam   # prints the policy that hotdesk needs",
        )
    return (
        f"AWS does not accept the credentials: {message}",
        "aws configure list   # which they are; others with: aws login, aws sso login or aws configure",
    )


def _plainly(said: str) -> str:
    """AWS's details on a missing permission (who, on what, why), without its introduction and its end."""
    said = said.split(" Encoded ", maxsplit=1)[0]
    return said.removeprefix("You are not authorized to perform this operation.").strip()


def denying_policy(said: str) -> str:
    """The kind of policy with an explicit deny in a message; "" if a permission is only missing.

    Source: IAM user guide, "Troubleshoot access denied error messages".
    """
    found = re.search(r"with an explicit deny in (an? [a-z -]*?(?:policy|boundary))", said)
    if found:
        return found.group(1)[0].upper() + found.group(1)[1:]
    return "A policy" if "explicit deny" in said else ""


def missing_action(said: str) -> str:
    """The action in an "is not authorized to perform" message, such as ec2:RunInstances."""
    found = re.search(r"perform:? ([a-z0-9-]+:[A-Za-z0-9]+)", said)
    return found.group(1) if found else ""


def _before_asking(error: BaseException) -> Refused | None:
    """Errors of boto3 itself, raised before anything was sent."""
    if said := complaint(error):
        return said
    e = boto()
    if isinstance(error, e.ParamValidationError | e.InvalidRegionError | e.NoRegionError):
        return Refused(Kind.BAD_REQUEST, str(error))
    return None
