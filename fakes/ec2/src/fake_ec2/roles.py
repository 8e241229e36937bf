"""What moto's IAM and STS do otherwise than AWS.

An MFA code is six digits, and AWS takes each of them once. A policy that names no version is of 2008-10-17,
and taken (IAM user guide, "IAM JSON policy elements: Version"; SkyPilot 0.14 puts such a one).
"""

from __future__ import annotations

from typing import Any

from fake_ec2.actions import Call
from fake_ec2.errors import Problem, bad_value
from fake_ec2.world import ACCOUNT, World


def take_old_policies() -> None:
    """Have moto take every version that its check of a policy's syntax knows: the present and the first."""
    from moto.iam.policy_validation import IAMPolicyDocumentValidator

    IAMPolicyDocumentValidator._validate_version = lambda self: None  # type: ignore[method-assign]


def check(world: World, call: Call) -> None:
    """Raises the `Problem` with which AWS refuses a code."""
    if call.action != "AssumeRole" or "SerialNumber" not in call.raw:
        return
    code = call.raw.get("TokenCode", "")
    if len(code) != 6 or not code.isdigit() or code in world.codes:
        said = "MultiFactorAuthentication failed with invalid MFA one time pass code. "
        raise Problem("AccessDenied", said, 403)
    world.codes.add(code)


def check_profile(order: dict[str, Any]) -> None:
    """An instance profile that a launch names must be there, and hold a role."""
    from moto.iam.models import iam_backends

    wanted = order.get("IamInstanceProfile") or {}
    known = iam_backends[ACCOUNT]["aws"].instance_profiles.values()
    for member, attribute in (("Name", "name"), ("Arn", "arn")):
        value = wanted.get(member)
        found = [p for p in known if getattr(p, attribute) == value]
        if value and not any(p.roles for p in found):
            why = f"Invalid IAM Instance Profile {'name' if member == 'Name' else 'ARN'}"
            if found:
                why = "IAM Instance Profile has no associated IAM Roles"
            raise bad_value(value, f"iamInstanceProfile.{member.lower()}", why)
