"""Problem: a refusal as EC2 words it. Codes, wording and HTTP statuses follow the EC2 API reference."""

from __future__ import annotations

from collections.abc import Iterable

# Codes that AWS sends with a status other than 400.
STATUS = {
    "InsufficientInstanceCapacity": 500,
    "InternalError": 500,
    "InternalFailure": 500,
    "Unavailable": 503,
    "ServiceUnavailable": 503,
    "RequestLimitExceeded": 503,
    "UnauthorizedOperation": 403,
    "ExpiredToken": 403,
    "InvalidClientTokenId": 403,
    "SignatureDoesNotMatch": 403,
    "AuthFailure": 401,
    "OptInRequired": 401,
    "DryRunOperation": 412,
}


class Problem(Exception):
    """Refuses a request with an AWS error code, a message and the HTTP status AWS uses for that code."""

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status or STATUS.get(code, 400)


def not_found(kind: str, ids: Iterable[str] | str) -> Problem:
    """The code differs per kind of thing, and so does its wording."""
    ids = [ids] if isinstance(ids, str) else sorted(ids)
    listed = ", ".join(ids)
    plural = "s" if len(ids) > 1 else ""
    do = "do" if len(ids) > 1 else "does"
    match kind:
        case "instance":
            return Problem("InvalidInstanceID.NotFound", f"The instance ID{plural} '{listed}' {do} not exist")
        case "volume":
            return Problem("InvalidVolume.NotFound", f"The volume '{listed}' does not exist.")
        case "snapshot":
            return Problem("InvalidSnapshot.NotFound", f"The snapshot '{listed}' does not exist.")
        case "image":
            return Problem("InvalidAMIID.NotFound", f"The image id{plural} '[{listed}]' {do} not exist")
        case "spot-request":
            return Problem(
                "InvalidSpotInstanceRequestID.NotFound",
                f"The spot instance request ID '{listed}' does not exist",
            )
        case "elastic-ip":
            return Problem("InvalidAllocationID.NotFound", f"The allocation ID '{listed}' does not exist")
        case "group":
            return Problem("InvalidGroup.NotFound", f"The security group '{listed}' does not exist")
        case "key":
            return Problem("InvalidKeyPair.NotFound", f"The key pair '{listed}' does not exist")
        case "subnet":
            return Problem("InvalidSubnetID.NotFound", f"The subnet ID '{listed}' does not exist")
        case "vpc":
            return Problem("InvalidVpcID.NotFound", f"The vpc ID '{listed}' does not exist")
    return Problem("InvalidID", f"The ID '{listed}' is not valid")


def malformed(kind: str, thing_id: str) -> Problem:
    code = {
        "instance": "InvalidInstanceID.Malformed",
        "volume": "InvalidVolumeID.Malformed",
        "snapshot": "InvalidSnapshotID.Malformed",
        "image": "InvalidAMIID.Malformed",
    }.get(kind, "InvalidParameterValue")
    return Problem(code, f'Invalid id: "{thing_id}"')


def missing(parameter: str) -> Problem:
    return Problem("MissingParameter", f"The request must contain the parameter {parameter}")


def bad_value(value: object, parameter: str, why: str = "") -> Problem:
    return Problem(
        "InvalidParameterValue", f"Value ({value}) for parameter {parameter} is invalid. {why}".strip()
    )


def unauthorized(action: str, user_arn: str, service: str = "ec2") -> Problem:
    """The message names the missing permission, as the real one does."""
    message = (
        f"You are not authorized to perform this operation. User: {user_arn} is not authorized to perform: "
        f"{service}:{action} on resource: * because no identity-based policy allows the "
        f"{service}:{action} action."
    )
    if service == "ec2":
        return Problem("UnauthorizedOperation", message)
    return Problem("AccessDeniedException" if service != "sts" else "AccessDenied", message, 400)


def no_capacity(instance_type: str, zone: str, others: Iterable[str]) -> Problem:
    choose = ", ".join(others)
    hint = (
        f" Our system will be working on provisioning additional capacity. You can currently get "
        f"{instance_type} capacity by not specifying an Availability Zone in your request or choosing "
        f"{choose}."
        if choose
        else " Our system will be working on provisioning additional capacity."
    )
    return Problem(
        "InsufficientInstanceCapacity",
        f"We currently do not have sufficient {instance_type} capacity in the Availability Zone you "
        f"requested ({zone}).{hint}",
    )
