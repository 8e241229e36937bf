"""What moto's STS does not ask for: an MFA code is six digits, and AWS takes each of them once."""

from __future__ import annotations

from tests.fake_ec2.actions import Call
from tests.fake_ec2.errors import Problem
from tests.fake_ec2.world import World


def check(world: World, call: Call) -> None:
    """Raises the `Problem` with which AWS refuses a code."""
    if call.action != "AssumeRole" or "SerialNumber" not in call.raw:
        return
    code = call.raw.get("TokenCode", "")
    if len(code) != 6 or not code.isdigit() or code in world.codes:
        said = "MultiFactorAuthentication failed with invalid MFA one time pass code. "
        raise Problem("AccessDenied", said, 403)
    world.codes.add(code)
