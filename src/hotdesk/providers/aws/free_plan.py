"""Detect accounts on AWS's Free plan (opened since July 2025 and not upgraded), which allows few types.

RunInstances refuses every other type as "not eligible for Free Tier". DescribeInstanceTypes tells the
eligible ones (FreeTierEligible), and GetAccountPlanState the plan.
"""

from __future__ import annotations

from collections.abc import Sequence

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.ports import Cache
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.errors import FREE_PLAN, answers
from hotdesk.providers.cloud.kept import keep, kept

REGION = "us-east-1"  # the service has no other
_KEY = "aws-plan"


def on_it(account: Account, cache: Cache | None, now: float) -> bool:
    """Whether the account is on the Free plan; False if that is unknown.

    A "no" is cached for a day. A "yes" is asked again each time: the account may have been upgraded since.
    """
    if kept(cache, _KEY, now, str):
        return False
    free = False
    try:
        with answers():
            told = account.client("freetier", REGION, retry=False).get_account_plan_state()
        free = told.get("accountPlanType") == "FREE"
    except Exception:  # no permission, an older boto3, another partition: a launch will tell
        free = False
    if not free:
        keep(cache, _KEY, "other", now)
    return free


def refused(wanted: str, eligible: Sequence[str]) -> Refused:
    """The refusal of a request that no type of the Free plan meets."""
    also = f": {', '.join(eligible)}" if eligible else ""
    return Refused(
        Kind.BAD_REQUEST,
        f"This account is on AWS's Free plan, which starts its own few types only{also}. {wanted} is none.",
        fix=FREE_PLAN,
    )
