"""Questions that cost nothing and make nothing, most of them refused: what AWS says to each."""

from __future__ import annotations

from typing import Any

_GROUP = {"GroupName": "hotdesk-probe", "DryRun": True}
_TOKEN = "x" * 65

#: Operation and arguments. What would make something carries DryRun.
PROBES: list[tuple[str, dict[str, Any]]] = [
    ("describe_instances", {"InstanceIds": ["i-0123456789abcdef0"]}),
    ("describe_instances", {"InstanceIds": ["i-zz"]}),
    ("describe_instances", {"MaxResults": 4}),
    ("describe_instances", {"Filters": [{"Name": "no-such-filter", "Values": ["x"]}]}),
    ("describe_volumes", {"VolumeIds": ["vol-0123456789abcdef0"]}),
    ("describe_images", {"ImageIds": ["ami-0123456789abcdef0"]}),
    ("describe_images", {"ImageIds": ["ami-zz"]}),
    ("describe_snapshots", {"SnapshotIds": ["snap-0123456789abcdef0"]}),
    ("describe_security_groups", {"GroupIds": ["sg-0123456789abcdef0"]}),
    ("describe_subnets", {}),
    ("describe_route_tables", {}),
    ("describe_internet_gateways", {}),
    ("describe_availability_zones", {}),
    ("describe_instance_types", {"InstanceTypes": ["t3.micro"]}),
    ("describe_instance_types", {"InstanceTypes": ["t9.nano"]}),
    ("describe_tags", {"MaxResults": 4}),
    ("describe_tags", {"Filters": [{"Name": "key", "Values": ["hotdesk"] * 201}]}),
    ("get_console_output", {"InstanceId": "i-0123456789abcdef0"}),
    ("get_allowed_images_settings", {}),
    ("list_images_in_recycle_bin", {}),
    ("list_snapshots_in_recycle_bin", {}),
    ("create_security_group", {**_GROUP, "Description": "the desks' owners"}),
    ("create_security_group", {**_GROUP, "Description": "as it should be"}),
    ("import_key_pair", {"KeyName": "hotdesk-probe", "PublicKeyMaterial": b"no key", "DryRun": True}),
    ("terminate_instances", {"InstanceIds": ["i-0123456789abcdef0"], "DryRun": True}),
    ("delete_volume", {"VolumeId": "vol-0123456789abcdef0", "DryRun": True}),
    ("deregister_image", {"ImageId": "ami-0123456789abcdef0", "DryRun": True}),
    ("run_instances", {"ImageId": "ami-0123456789abcdef0", "InstanceType": "t3.micro", "MinCount": 1,
                       "MaxCount": 1, "DryRun": True}),
    ("run_instances", {"ImageId": "ami-0123456789abcdef0", "InstanceType": "t3.micro", "MinCount": 1,
                       "MaxCount": 1, "DryRun": True, "ClientToken": _TOKEN}),
]  # fmt: skip


def ask(region: str) -> list[dict[str, Any]]:
    """Each probe's answer as a row of a record, under a name of its own."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    from tests.real_account.forms import shape

    ec2 = boto3.Session().client("ec2", region_name=region, config=Config(retries={"total_max_attempts": 1}))
    rows = []
    for number, (operation, asked) in enumerate(PROBES):
        code, status, answer = "", 200, {}
        try:
            answer = getattr(ec2, operation)(**asked)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        except BotoCoreError as error:
            code = type(error).__name__
        rows.append(
            {
                "call": f"probe {number + 1} {operation}",
                "answer": shape(answer),
                "code": code,
                "status": status,
            }
        )
    return rows
