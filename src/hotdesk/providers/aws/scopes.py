"""Determine the scope of a refused launch: the other offers that would be refused for the same reason.

Some refusals apply to a single offer only, although their code may mean the whole account: a policy that
denies a region or a type, a permission that only spot needs.
"""

from __future__ import annotations

import re

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import Market, Offer, Scope
from hotdesk.core.steps import LaunchOrder
from hotdesk.providers.aws import quotas
from hotdesk.providers.aws.errors import FREE_PLAN, missing_action

_NO_SPOT_ROLE = "AuthFailure.ServiceLinkedRoleCreationNotPermitted"


def of_the_launch(no: Refused, why: str, offer: Offer) -> Refused:
    """The refusal of RunInstances (`why`: its code) with its scope, or unchanged if it has none."""
    if quotas.in_vcpus(why):
        scope = Scope(
            provider=offer.provider,
            region=offer.region,
            market=offer.market,
            types=quotas.counted_with(offer.instance_type, offer.market),
            vcpus=offer.vcpus,
        )
        return _scoped(no, scope)
    if no.kind is Kind.QUOTA:
        return _scoped(no, Scope(provider=offer.provider, region=offer.region))
    if no.fix == FREE_PLAN and no.kind is Kind.UNSUPPORTED:
        return _scoped(no, Scope(provider=offer.provider, types=(offer.instance_type,)))
    if "Free plan" in no.message:  # applies to the type in all regions
        return _scoped(no, Scope(provider=offer.provider, types=(offer.instance_type,)))
    if why == _NO_SPOT_ROLE:
        return _scoped(no, Scope(provider=offer.provider, market=Market.SPOT))
    if no.kind is Kind.DENIED and "explicit deny" in no.message:
        return _scoped(no, _denied(no.message, offer))
    return no


def of_its_surroundings(no: Refused, order: LaunchOrder) -> Refused:
    """A refusal concerning network, key or image; its scope is the region, unless it is about the order."""
    offer = order.offer
    of_region = (no.kind is Kind.DENIED and "explicit deny" in no.message) or no.kind is Kind.QUOTA
    # Another region may have what this one lacks (a default VPC, an image of that name).
    of_region |= no.kind is Kind.BAD_REQUEST and not order.image_id and offer.region in no.message
    return _scoped(no, Scope(provider=offer.provider, region=offer.region)) if of_region else no


def _denied(said: str, offer: Offer) -> Scope:
    """The scope of an explicit deny of ec2:RunInstances, by the resource in its message.

    For an instance the reason may be its type, region or market, so only this combination counts as denied.
    """
    here = Scope(provider=offer.provider, region=offer.region)
    resource = re.search(r"arn:aws[a-z-]*:ec2:[^:]*:[^:]*:([a-z-]+)/", said)
    kind = resource.group(1) if resource else "instance"
    if missing_action(said) not in {"ec2:RunInstances", ""}:
        return here
    if kind == "subnet":
        return Scope(provider=offer.provider, region=offer.region, zone=offer.zone)
    if kind in {"instance", "spot-instances-request"}:
        return Scope(
            provider=offer.provider, region=offer.region, types=(offer.instance_type,), market=offer.market
        )
    return here


def _scoped(no: Refused, scope: Scope) -> Refused:
    seconds = max(no.seconds, 3600.0) if no.kind is Kind.DENIED else no.seconds
    return Refused(no.kind, no.message, fix=no.fix, seconds=seconds, scope=scope)
