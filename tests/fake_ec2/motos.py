"""What of EC2 plain moto answers: things that it alone keeps, and that name no machine, disk or image.

Everything else is answered from the fake's own world or refused as UnsupportedOperation: moto knows none of
the fake's ids, so what it said of them would be of another world.
"""

from __future__ import annotations

import copy
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
    "LaunchTemplate": "Create Delete Modify",
    "LaunchTemplates": "Describe",
    "LaunchTemplateVersion": "Create",
    "LaunchTemplateVersions": "Describe Delete",
    "EbsEncryptionByDefault": "Enable Disable Get",
    "AccountAttributes": "Describe",
}
MOTOS = frozenset(f"{verb}{noun}" for noun, verbs in _KEPT.items() for verb in verbs.split())


def keep_policies() -> None:
    """AWS's own policies are read once; moto reads all 1,582 at every reset, for 0.17 s of a processor."""
    from moto.iam.models import IAMBackend

    read, kept = IAMBackend._init_aws_policies, {}

    def copies(backend: Any) -> list[Any]:
        account = backend.account_id, backend.region_name
        if account not in kept:
            kept[account] = read(backend)
        return [copy.copy(policy) for policy in kept[account]]  # how often it is attached changes

    IAMBackend._init_aws_policies = copies
