"""The account's plan: on AWS's Free plan (since July 2025) only types that are eligible for it start.

Words: what accounts met (LinkedInLearning/learning-terraform-3087701#345). Whether an older account answers
GetAccountPlanState otherwise is not known; here it answers that it is paid.
"""

from __future__ import annotations

from typing import Any

from fake_ec2 import catalogue
from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem
from fake_ec2.world import ACCOUNT, World


def refuse(world: World, instance_type: str) -> None:
    if world.settings.free_plan and not catalogue.TYPES[instance_type].get("FreeTierEligible"):
        raise Problem(
            "InvalidParameterCombination",
            "The specified instance type is not eligible for Free Tier. For a list of Free Tier instance "
            "types, run 'describe-instance-types' with the filter 'free-tier-eligible=true'.",
        )


@action("GetAccountPlanState", service="freetier")
def get_plan(world: World, call: Call) -> dict[str, Any]:
    free = world.settings.free_plan
    told: dict[str, Any] = {"accountPlanRemainingCredits": {"amount": 100.0, "unit": "USD"}} if free else {}
    return {
        "accountId": ACCOUNT,
        "accountPlanType": "FREE" if free else "PAID",
        "accountPlanStatus": "ACTIVE",
        **told,
    }
