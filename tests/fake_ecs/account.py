"""Who asks, and what the account may do."""

from __future__ import annotations

from tests.fake_ecs.laws import ECS, STS, Answer, operation
from tests.fake_ecs.market import TYPES
from tests.fake_ecs.wire import Call
from tests.fake_ecs.world import ACCOUNT, World


@operation(STS)
def get_caller_identity(world: World, call: Call) -> Answer:
    user = {"LTAIbob": "bob"}.get(call.key, "alice")
    return {
        "AccountId": ACCOUNT,
        "UserId": "200000000000000001",
        "IdentityType": "RAMUser",
        "Arn": f"acs:ram::{ACCOUNT}:user/{user}",
        "PrincipalId": "200000000000000001",
    }


def _used(world: World, *, spot: bool) -> int:
    return sum(TYPES[m.type].cpus for m in world.every("instance") if (m.strategy != "NoSpot") == spot)


@operation(ECS)
def describe_account_attributes(world: World, call: Call) -> Answer:
    call.need("RegionId")
    told = {
        "real-name-authentication": "yes" if world.real_name else "no",
        "max-postpaid-instance-vcpu-count": str(world.quota),
        "max-spot-instance-vcpu-count": str(world.quota),
        "used-postpaid-instance-vcpu-count": str(_used(world, spot=False)),
        "used-spot-instance-vcpu-count": str(_used(world, spot=True)),
    }
    wanted = call.many("AttributeName") or list(told)
    return {
        "AccountAttributeItems": {
            "AccountAttributeItem": [
                {"AttributeName": name, "AttributeValues": {"ValueItem": [{"Value": told[name]}]}}
                for name in wanted
                if name in told
            ]
        }
    }
