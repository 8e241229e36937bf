"""What of EC2 plain moto answers: things that it alone keeps, and that name no machine, disk or image.

Everything else is answered from the fake's own world or refused as UnsupportedOperation: moto knows none of
the fake's ids, so what it said of them would be of another world.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

_KEPT = {  # by noun: what may be done to it
    "Vpc": "Create Delete",
    "Vpcs": "Describe",
    "VpcAttribute": "Describe Modify",
    "VpcCidrBlock": "Associate Disassociate",
    "VpcPeeringConnection": "Create Delete Accept Reject",
    "VpcPeeringConnections": "Describe",
    "VpcEndpoint": "Create",
    "VpcEndpoints": "Describe Delete",
    "VpcEndpointServices": "Describe",
    "DefaultVpc": "Create",
    "Subnet": "Create Delete",
    "Subnets": "Describe",
    "SubnetAttribute": "Modify",
    "SubnetCidrBlock": "Associate Disassociate",
    "InternetGateway": "Create Delete Attach Detach",
    "InternetGateways": "Describe",
    "EgressOnlyInternetGateway": "Create Delete",
    "EgressOnlyInternetGateways": "Describe",
    "NatGateways": "Describe",
    "RouteTable": "Create Delete Associate Disassociate",
    "RouteTables": "Describe",
    "RouteTableAssociation": "Replace",
    "Route": "Create Delete Replace",
    "NetworkAcl": "Create Delete",
    "NetworkAcls": "Describe",
    "NetworkAclEntry": "Create Delete Replace",
    "NetworkAclAssociation": "Replace",
    "DhcpOptions": "Create Delete Describe Associate",
    "ManagedPrefixList": "Create Delete Modify",
    "ManagedPrefixLists": "Describe",
    "ManagedPrefixListEntries": "Get",
    "PrefixLists": "Describe",
    "SecurityGroup": "Create",
    "SecurityGroups": "Describe",
    "SecurityGroupRules": "Describe Modify",
    "SecurityGroupIngress": "Authorize Revoke",
    "SecurityGroupEgress": "Authorize Revoke",
    "SecurityGroupRuleDescriptionsIngress": "Update",
    "SecurityGroupRuleDescriptionsEgress": "Update",
    "NetworkInterface": "Create Delete",
    "NetworkInterfaceAttribute": "Modify",
    "KeyPair": "Delete",
    "KeyPairs": "Describe",
    "LaunchTemplate": "Modify",
    "LaunchTemplates": "Describe",
    "LaunchTemplateVersion": "Create",
    "LaunchTemplateVersions": "Describe Delete",
    "EbsEncryptionByDefault": "Enable Disable Get",
    "AccountAttributes": "Describe",
}
MOTOS = frozenset(f"{verb}{noun}" for noun, verbs in _KEPT.items() for verb in verbs.split())


def quicken() -> None:
    """What moto finds out anew for every request, or after every reset, and what does not change."""
    from moto import backends
    from moto.core import responses

    names = tuple(backends.list_of_moto_modules())  # a folder of 200, asked of the disk
    backends.list_of_moto_modules = lambda: names
    asked = "method_names_from_class"
    setattr(responses, asked, functools.cache(getattr(responses, asked)))
    _keep_policies()


def _keep_policies() -> None:
    """AWS's own policies are read once, and copied for whoever looks at them.

    moto makes all 1,582 of them anew for each of eight partitions after every reset, because every request
    looks into all eight for its access key: half of the processor time of a test.
    """
    from moto.iam.models import IAMBackend

    read = IAMBackend._init_aws_policies
    kept: dict[tuple[str, str], list[Any]] = {}

    def own(backend: Any) -> tuple[list[Any], dict[str, Any]]:
        if "own_policies" not in vars(backend):
            account = backend.account_id, backend.region_name
            if account not in kept:
                kept[account] = read(backend)
            copies = [copy.copy(policy) for policy in kept[account]]  # how often it is attached changes
            backend.own_policies = copies, {policy.arn: policy for policy in copies}
        return backend.own_policies  # type: ignore[no-any-return]

    def unset(backend: Any, value: object) -> None:
        """What moto sets them to when a backend is made; `own` makes them when they are looked at."""

    for name, instead in (
        ("_init_aws_policies", lambda self: []),
        ("_init_managed_policies", lambda self: {}),
        ("aws_managed_policies", property(lambda self: own(self)[0], unset)),
        ("managed_policies", property(lambda self: own(self)[1], unset)),
    ):
        setattr(IAMBackend, name, instead)
