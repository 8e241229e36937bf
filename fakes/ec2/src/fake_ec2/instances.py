"""Instances as they are listed and changed; how they start, stop and end is in power.py and machine.py."""

from __future__ import annotations

import base64
from typing import Any

from fake_ec2 import catalogue, network
from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem, bad_value, missing
from fake_ec2.filters import keep, page, stamp, tag_list
from fake_ec2.things import STATE_CODES, Instance
from fake_ec2.world import ACCOUNT, World

FILTERS = {
    "instance-id": "InstanceId",
    "instance-state-name": "State.Name",
    "instance-state-code": "State.Code",
    "instance-type": "InstanceType",
    "instance-lifecycle": "InstanceLifecycle",
    "spot-instance-request-id": "SpotInstanceRequestId",
    "client-token": "ClientToken",
    "image-id": "ImageId",
    "key-name": "KeyName",
    "availability-zone": "Placement.AvailabilityZone",
    "architecture": "Architecture",
    "launch-time": "LaunchTime",
    "subnet-id": "SubnetId",
    "vpc-id": "VpcId",
    "ip-address": "PublicIpAddress",
    "private-ip-address": "PrivateIpAddress",
    "dns-name": "PublicDnsName",
    "root-device-name": "RootDeviceName",
    "root-device-type": "RootDeviceType",
    "reason": "StateTransitionReason",
    "state-reason-code": "StateReason.Code",
    "instance.group-id": "SecurityGroups[].GroupId",
    "instance.group-name": "SecurityGroups[].GroupName",
    "network-interface.network-interface-id": "NetworkInterfaces[].NetworkInterfaceId",
    "block-device-mapping.volume-id": "BlockDeviceMappings[].Ebs.VolumeId",
    "block-device-mapping.device-name": "BlockDeviceMappings[].DeviceName",
    "block-device-mapping.delete-on-termination": "BlockDeviceMappings[].Ebs.DeleteOnTermination",
    "metadata-options.http-tokens": "MetadataOptions.HttpTokens",
    "tenancy": "Placement.Tenancy",
    "virtualization-type": "VirtualizationType",
    "hypervisor": "Hypervisor",
    "reservation-id": "_reservation",
    "owner-id": "_owner",
    "requester-id": "_requester",
}


def state_row(state: str) -> dict[str, Any]:
    return {"Code": STATE_CODES.get(state, 0), "Name": state}


def instance_row(world: World, instance: Instance, region: str, everything: bool = False) -> dict[str, Any]:
    """As DescribeInstances shows it now; `everything`: as the launch answers, tags included at once.

    Its disks are not there before it runs for the first time (aws-sdk-php issue 2804).
    """
    state = instance.state if everything else world.seen_state(instance)
    gone = state == "terminated"
    public = instance.public_ip if state in {"pending", "running"} or instance.address_id else None
    dns = f"ec2-{public.replace('.', '-')}.{region}.compute.amazonaws.com" if public else ""
    row: dict[str, Any] = {
        "InstanceId": instance.id,
        "ImageId": instance.image_id,
        "State": state_row(state),
        "StateReason": {"Code": instance.state_reason[0], "Message": instance.state_reason[1]}
        if instance.state_reason
        else ({"Code": "pending", "Message": "pending"} if state == "pending" else None),
        "StateTransitionReason": instance.transition_reason,
        "InstanceType": instance.type,
        "InstanceLifecycle": "spot" if instance.market == "spot" else None,
        "SpotInstanceRequestId": instance.spot_request_id,
        "ClientToken": instance.token,
        "KeyName": instance.key_name,
        "AmiLaunchIndex": instance.launch_index,
        "LaunchTime": stamp(world.clock.second(instance.launched)),
        "UsageOperationUpdateTime": stamp(world.clock.second(instance.created)),
        "Placement": {
            "AvailabilityZone": instance.zone,
            "AvailabilityZoneId": catalogue.zones(region).get(instance.zone),
            "GroupName": "",
            "Tenancy": "default",
        },
        "Architecture": instance.architecture,
        "BootMode": instance.boot_mode,
        "CurrentInstanceBootMode": "uefi" if (instance.boot_mode or "").startswith("uefi") else "legacy-bios",
        "ProductCodes": [],
        "MaintenanceOptions": {"AutoRecovery": "default", "RebootMigration": "default"},
        "NetworkPerformanceOptions": {"BandwidthWeighting": "default"},
        "IamInstanceProfile": {"Arn": instance.profile} if instance.profile else None,
        "PrivateDnsNameOptions": {
            "HostnameType": "ip-name",
            "EnableResourceNameDnsARecord": False,
            "EnableResourceNameDnsAAAARecord": False,
        },
        "RootDeviceName": instance.root_device,
        "RootDeviceType": "ebs",
        "VirtualizationType": "hvm",
        "Hypervisor": "xen",
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "EbsOptimized": instance.ebs_optimized,
        "EnaSupport": True,
        "SourceDestCheck": True,
        "Monitoring": {"State": instance.monitoring},
        "MetadataOptions": instance.metadata,
        "CpuOptions": cpu_options(instance.type),
        "CapacityReservationId": instance.capacity_reservation,
        "CapacityReservationSpecification": instance.reserved or {"CapacityReservationPreference": "open"},
        "HibernationOptions": {"Configured": False},
        "EnclaveOptions": {"Enabled": False},
        "PublicDnsName": dns,
        "PrivateDnsName": ""
        if gone
        else f"ip-{instance.private_ip.replace('.', '-')}.{region}.compute.internal",
        "BlockDeviceMappings": [
            {
                "DeviceName": a.device,
                "Ebs": {
                    "VolumeId": a.volume_id,
                    "Status": "attached",
                    "AttachTime": stamp(world.clock.second(a.since)),
                    "DeleteOnTermination": a.delete_on_termination,
                },
            }
            for a in (instance.disks.values() if state != "pending" or instance.runs else ())
        ],
        "Tags": tag_list(instance.tags if everything else world.seen_tags(instance)),
        "_reservation": instance.reservation,
        "_owner": ACCOUNT,
    }
    if not gone:
        row |= {
            "SubnetId": instance.subnet_id,
            "VpcId": instance.vpc_id,
            "PrivateIpAddress": instance.private_ip or None,
            "PublicIpAddress": public,
            "SecurityGroups": network.group_rows(world, region, instance.groups),
            "NetworkInterfaces": [network.interface_row(world, instance, region)],
        }
    return row


def cpu_options(instance_type: str) -> dict[str, Any]:
    info = catalogue.TYPES[instance_type]["VCpuInfo"]
    threads = info.get("DefaultThreadsPerCore") or 1
    return {
        "CoreCount": info.get("DefaultCores") or info["DefaultVCpus"] // threads,
        "ThreadsPerCore": threads,
    }


def reservation_row(
    world: World, region: str, instances: list[Instance], everything: bool = False
) -> dict[str, Any]:
    return {
        "ReservationId": instances[0].reservation,
        "OwnerId": ACCOUNT,
        "Groups": [],
        "Instances": [instance_row(world, i, region, everything) for i in instances],
    }


@action("DescribeInstances")
def describe_instances(world: World, call: Call) -> dict[str, Any]:
    ids = call.get("InstanceIds")
    if ids and call.get("MaxResults"):
        raise Problem(
            "InvalidParameterCombination",
            "The parameter instancesSet cannot be used with the parameter maxResults",
        )
    call.dry_run()
    found = world.listed(call.region, "instance", ids)
    rows = keep([instance_row(world, i, call.region) for i in found], call, FILTERS)
    part = page(rows, call, "Instances")  # AWS counts instances, not reservations
    by_reservation: dict[str, list[dict[str, Any]]] = {}
    for row in part["Instances"]:
        by_reservation.setdefault(row["_reservation"], []).append(row)
    reservations = [
        {"ReservationId": r, "OwnerId": ACCOUNT, "Groups": [], "Instances": rows}
        for r, rows in by_reservation.items()
    ]
    return {"Reservations": reservations, "NextToken": part["NextToken"]}


@action("DescribeInstanceStatus")
def describe_instance_status(world: World, call: Call) -> dict[str, Any]:
    rows = []
    for instance in world.listed(call.region, "instance", call.get("InstanceIds")):
        state = world.seen_state(instance)
        if state != "running" and not call.get("IncludeAllInstances"):
            continue
        up = instance.runs[-1][0] if instance.runs else None
        ready = (
            state == "running" and up is not None and world.clock.now() - up >= world.clock.takes("status-ok")
        )
        status = "ok" if ready else ("initializing" if state in {"running", "pending"} else "not-applicable")
        passed = {"ok": "passed"}.get(status, status)
        checks = {"Status": status, "Details": [{"Name": "reachability", "Status": passed}]}
        row: dict[str, Any] = {
            "InstanceId": instance.id,
            "AvailabilityZone": instance.zone,
            "InstanceState": state_row(state),
            "InstanceStatus": checks,
            "SystemStatus": checks,
        }
        rows.append(row)
    fields = {
        "instance-state-name": "InstanceState.Name",
        "availability-zone": "AvailabilityZone",
        "instance-status.status": "InstanceStatus.Status",
        "system-status.status": "SystemStatus.Status",
    }
    return page(keep(rows, call, fields), call, "InstanceStatuses")


# ── attributes ───────────────────────────────────────────────────────────────────────────────────────────


@action("DescribeInstanceAttribute")
def describe_instance_attribute(world: World, call: Call) -> dict[str, Any]:
    instance = world.instance(call.region, call.get("InstanceId") or "")
    answer: dict[str, Any] = {"InstanceId": instance.id}
    match call.get("Attribute"):
        case "userData":
            answer["UserData"] = {"Value": instance.user_data} if instance.user_data else {}
        case "instanceType":
            answer["InstanceType"] = {"Value": instance.type}
        case "instanceInitiatedShutdownBehavior":
            answer["InstanceInitiatedShutdownBehavior"] = {"Value": instance.shutdown_behavior}
        case "disableApiTermination":
            answer["DisableApiTermination"] = {"Value": instance.disable_api_termination}
        case "disableApiStop":
            answer["DisableApiStop"] = {"Value": instance.disable_api_stop}
        case "rootDeviceName":
            answer["RootDeviceName"] = {"Value": instance.root_device}
        case "ebsOptimized":
            answer["EbsOptimized"] = {"Value": instance.ebs_optimized}
        case "sourceDestCheck":
            answer["SourceDestCheck"] = {"Value": True}
        case "blockDeviceMapping":
            answer["BlockDeviceMappings"] = instance_row(world, instance, call.region)["BlockDeviceMappings"]
        case "kernel":
            answer["KernelId"] = {}
        case "ramdisk":
            answer["RamdiskId"] = {}
        case "productCodes":
            answer["ProductCodes"] = []
        case "sriovNetSupport":
            answer["SriovNetSupport"] = {"Value": "simple"}
        case "enaSupport":
            answer["EnaSupport"] = {"Value": True}
        case "enclaveOptions":
            answer["EnclaveOptions"] = {"Enabled": False}
        case "groupSet":
            answer["Groups"] = network.group_rows(world, call.region, instance.groups)
        case other:
            raise bad_value(other, "attribute", "Unknown attribute.")
    return answer


@action("ModifyInstanceAttribute")
def modify_instance_attribute(world: World, call: Call) -> dict[str, Any]:
    """One attribute per call, as AWS has it; most need the machine stopped."""
    instance = world.instance(call.region, call.get("InstanceId") or "")
    if not instance.alive:
        raise Problem(
            "IncorrectInstanceState", f"The instance '{instance.id}' is not in a state that allows this."
        )
    call.dry_run()
    named, value = call.get("Attribute"), call.get("Value")
    if named:  # the older form: Attribute=…, Value=…
        call.params[named[0].upper() + named[1:]] = {
            "Value": value == "true" if value in {"true", "false"} else value
        }

    def given(name: str) -> Any:
        return (call.params.get(name) or {}).get("Value")

    if (kind := given("InstanceType")) is not None:
        change_type(instance, kind, call.region, world)
    elif given("UserData") is not None:
        stopped_only(instance, "userData")
        data = given("UserData")
        instance.user_data = data if isinstance(data, str) else base64.b64encode(data).decode()
    elif (behavior := given("InstanceInitiatedShutdownBehavior")) is not None:
        if instance.market == "spot" and behavior == "stop":
            raise Problem(
                "UnsupportedOperation", "The shutdown behavior of a Spot Instance can not be changed."
            )
        instance.shutdown_behavior = behavior
    elif given("DisableApiTermination") is not None:
        instance.disable_api_termination = bool(given("DisableApiTermination"))
    elif given("DisableApiStop") is not None:
        instance.disable_api_stop = bool(given("DisableApiStop"))
    elif given("EbsOptimized") is not None:
        instance.ebs_optimized = bool(given("EbsOptimized"))
    elif given("SourceDestCheck") is not None:
        pass
    elif call.get("BlockDeviceMappings"):
        for mapping in call.get("BlockDeviceMappings"):
            attached = instance.disks if instance.state != "pending" or instance.runs else {}
            attachment = attached.get(mapping.get("DeviceName") or "")
            if attachment is None:
                raise Problem(
                    "InvalidInstanceAttributeValue",
                    f"No device is currently mapped at {mapping.get('DeviceName')}",
                )
            keep_it = (mapping.get("Ebs") or {}).get("DeleteOnTermination")
            if keep_it is not None:
                attachment.delete_on_termination = bool(keep_it)
    elif call.get("Groups"):
        instance.groups = network.resolve_groups(world, call.region, call.get("Groups"), [], instance.vpc_id)
    else:
        raise Problem("InvalidParameterCombination", "No attributes specified.")
    return {}


def stopped_only(instance: Instance, what: str) -> None:
    if instance.state != "stopped":
        raise Problem(
            "IncorrectInstanceState", f"The instance '{instance.id}' is not in the 'stopped' state. ({what})"
        )


def change_type(instance: Instance, kind: str, region: str, world: World) -> None:
    stopped_only(instance, "instanceType")
    if kind not in catalogue.TYPES:
        raise Problem("InvalidInstanceAttributeValue", f"Invalid value '{kind}' for InstanceType.")
    if catalogue.architecture(kind) != instance.architecture:
        raise Problem(
            "InvalidParameterCombination",
            f"The instance type '{kind}' does not have the architecture '{instance.architecture}'.",
        )
    if instance.market == "spot":
        raise Problem("UnsupportedOperation", "The instance type of a Spot Instance can not be changed.")
    instance.type = kind


@action("ModifyInstanceMetadataOptions")
def modify_metadata_options(world: World, call: Call) -> dict[str, Any]:
    instance = world.instance(call.region, call.get("InstanceId") or "")
    call.dry_run()
    names = (
        "HttpTokens",
        "HttpPutResponseHopLimit",
        "HttpEndpoint",
        "HttpProtocolIpv6",
        "InstanceMetadataTags",
    )
    instance.metadata |= {n: call.get(n) for n in names if call.get(n) is not None}
    return {"InstanceId": instance.id, "InstanceMetadataOptions": instance.metadata}


@action("GetConsoleOutput")
def get_console_output(world: World, call: Call) -> dict[str, Any]:
    if not call.get("InstanceId"):
        raise missing("InstanceId")
    instance = world.instance(call.region, call.get("InstanceId"))
    if call.get("Latest") and catalogue.TYPES[instance.type].get("Hypervisor") == "xen":
        raise Problem(
            "UnsupportedOperation",
            "This instance type does not support retrieving the latest console logs. Please make your "
            "request without the 'Latest' parameter.",
        )
    text = world.rig.ask("console", instance.id) if world.rig else None
    if text is None:
        text = instance.console
    if text is None and instance.state in {"running", "stopped"}:
        text = f"[    0.000000] Linux version 6.14.0-aws\ncloud-init finished for {instance.id}\n"
    return {
        "InstanceId": instance.id,
        "Timestamp": stamp(world.clock.now()),
        "Output": base64.b64encode((text or "").encode()).decode() if text else None,
    }
