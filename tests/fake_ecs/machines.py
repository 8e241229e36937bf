"""Operations on machines: run, describe, start, stop, delete, change."""

from __future__ import annotations

import base64
import math
import re
from datetime import datetime
from functools import partial

from tests.fake_ecs import disks, laws, life, market, network
from tests.fake_ecs.images import image_of
from tests.fake_ecs.laws import ECS, Answer, operation
from tests.fake_ecs.market import TYPES
from tests.fake_ecs.wire import Call, Problem, minute
from tests.fake_ecs.world import Image, Machine, Network, World

USER_DATA_BYTES = 32 * 1024  # before base64
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{1,127}")


@operation(ECS, tokens=True)
def run_instances(world: World, call: Call) -> Answer:
    call.need("RegionId", "ImageId", "InstanceType", "VSwitchId")
    p, name = call.params, call.get("InstanceType")
    region = world.region(call.region)
    if name not in TYPES:
        raise Problem(
            "InvalidInstanceType.ValueNotSupported", "The specified InstanceType is not valid.", 403
        )
    kind = TYPES[name]
    switch = region.vswitches.get(call.get("VSwitchId"))
    if switch is None or switch.status != "Available":
        raise Problem("InvalidVSwitchId.NotFound", "The specified VSwitchId does not exist.", 404)
    if call.get("ZoneId") not in {"", switch.zone}:
        raise Problem("InvalidParameter.Mismatch", "Specified virtual switch is not in the specified zone.")
    several = call.many("SecurityGroupIds")
    if bool(several) == bool(call.get("SecurityGroupId")):
        raise Problem("MissingParameter.SecurityGroup", "Either one or several security groups are needed.")
    groups = several or [call.get("SecurityGroupId")]
    for id_ in groups:
        if (group := region.groups.get(id_)) is None:
            raise Problem(
                "InvalidSecurityGroupId.NotFound", "The specified SecurityGroupId does not exist.", 404
            )
        if group.vpc != switch.vpc:
            raise Problem("InvalidSecurityGroup.VpcMismatch", "The security group is of another VPC.", 403)
    amount = int(call.get("Amount", "1"))
    least_amount = int(call.get("MinAmount") or amount)
    if not 1 <= least_amount <= amount <= 100:
        raise Problem("InvalidParam.Amount", "The specified parameter Amount is not valid.")
    image = image_of(world, call.region, call.get("ImageId"))
    if image.status != "Available":
        raise Problem("IncorrectImageStatus", "The current status of the image does not support this.", 403)
    data = call.get("UserData")
    if data and len(base64.b64decode(data, validate=True)) > USER_DATA_BYTES:
        raise Problem("InvalidUserData.SizeExceeded", "The specified user data exceeds 32 KB.", 400)
    if not NAME.fullmatch(call.get("InstanceName", "ab")):
        raise Problem("InvalidInstanceName.Malformed", "The specified InstanceName is not valid.")
    strategy, behavior = call.get("SpotStrategy", "NoSpot"), call.get("SpotInterruptionBehavior", "Terminate")
    if strategy not in {"NoSpot", "SpotAsPriceGo", "SpotWithPriceLimit"}:
        raise Problem("InvalidSpotStrategy", "The specified SpotStrategy is not valid.")
    if call.get("SpotDuration", "1") not in {"0", "1"}:
        raise Problem("InvalidSpotDuration", "The specified SpotDuration is not valid.")
    if behavior == "Stop" and kind.local_gib:
        raise Problem(
            "InvalidSpotInterruptionBehavior.LocalDiskNotSupport",
            "The instance with local disks does not support the stop behavior.",
        )
    release = _release_time(world, call.get("AutoReleaseTime"))
    size = int((p.get("SystemDisk") or {}).get("Size") or 0)
    least = next(gib for _, _, what, gib in image.snapshots if what == "system")
    if size < least:
        raise Problem(
            "InvalidSystemDiskSize.LessThanImageSize", "The system disk is smaller than the image.", 403
        )
    if not call.flag("DryRun"):
        laws.check_tags(call.tags)
    if not world.real_name and call.region.startswith("cn-") and call.region != "cn-hongkong":
        raise Problem(
            "RealNameAuthenticationError", "Your account has not passed the real-name authentication.", 403
        )
    how = "spot" if strategy != "NoSpot" else "on-demand"
    there = market.place(world, switch.zone, name, how, amount=amount, least=least_amount)
    used = sum(TYPES[m.type].cpus for m in world.every("instance"))
    if used + kind.cpus * amount > world.quota:  # whatever MinAmount is
        raise Problem(
            "QuotaExceed.AfterpayInstance",
            f"Living afterpay instances quota exceed, limited by user quota [{world.quota}].",
        )
    disks.check(world, switch.zone, [("system", p.get("SystemDisk") or {})])
    disks.check(world, switch.zone, [("data", one) for one in p.get("DataDisk") or ()])
    laws.dry_run(call)
    made = [
        _made(world, call, switch, image, groups=groups, release=release, size=size) for _ in range(there)
    ]
    market.taken(world, switch.zone, name, how, there)
    ids = [machine.id for machine in made]
    return {"InstanceIdSets": {"InstanceIdSet": ids}, "OrderId": "1", "TradePrice": kind.cny * there}


def _made(
    world: World, call: Call, switch: Network, image: Image, *, groups: list[str], release: float, size: int
) -> Machine:
    """One machine of a request that holds."""
    p, region, data, now = call.params, world.region(call.region), call.get("UserData"), world.clock.now()
    machine = Machine(
        world.new_id("i"), call.region, name=call.get("InstanceName"), tags=call.tags, made=now,
        zone=switch.zone, type=call.get("InstanceType"), image=image.id, vpc=switch.vpc, vswitch=switch.id,
        groups=list(groups), strategy=call.get("SpotStrategy", "NoSpot"),
        behavior=call.get("SpotInterruptionBehavior", "Terminate"),
        bandwidth=int(call.get("InternetMaxBandwidthOut") or 0),
        user_data=data, role=call.get("RamRoleName"), release=release,
        metadata={
            "HttpEndpoint": call.get("HttpEndpoint", "enabled"),
            "HttpTokens": call.get("HttpTokens", "optional"),
        },
        initializing_until=now + world.clock.takes("initializing"),
        protected_until=now + 3600 * int(call.get("SpotDuration", "1")),
        private_ip=network.address(switch),
    )  # fmt: skip
    region.machines[machine.id] = machine
    asked = p.get("SystemDisk") or {}
    data_disks = list(p.get("DataDisk") or [])
    for snapshot, device, what, gib in image.snapshots:
        if what == "system":
            disks.make(
                world, machine, kind="system", device=device, asked=asked, size=size, snapshot=snapshot
            )
            continue
        own = next((d for d in data_disks if d.get("Device") == device), {"Category": asked.get("Category")})
        disks.make(
            world, machine, kind="data", device=device, asked=own,
            size=max(gib, int(own.get("Size") or 0)), snapshot=snapshot,
        )  # fmt: skip
    for number, own in enumerate(d for d in data_disks if not d.get("Device")):
        disks.make(
            world, machine, kind="data", device=f"/dev/xvd{'bcdef'[number]}", asked=own,
            size=int(own.get("Size") or 20), snapshot=str(own.get("SnapshotId") or ""),
        )  # fmt: skip
    life.begin(world, machine, first=True)
    if world.vanish > 0:
        world.vanish -= 1
        world.clock.after(world.clock.takes("pending") / 2, partial(_vanish, world, machine))
    if release:
        _at_release(world, machine)
    return machine


def _vanish(world: World, machine: Machine) -> None:
    """The stock ran out after the request was answered: the id is gone, and only an event tells."""
    if machine.id in world.region(machine.region).machines:
        for disk in disks.held(world, machine):
            disk.goes_with_it = True
        world.event(machine, "SystemFailure.Delete")
        life.end(world, machine)


def _release_time(world: World, text: str) -> float:
    if not text:
        return 0.0
    try:
        at = datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise Problem(
            "InvalidAutoReleaseTime.Malformed", "The specified AutoReleaseTime is not valid."
        ) from None
    at = math.floor(at / 60) * 60.0
    if not 1800 - 60 <= at - world.clock.now() <= 3 * 366 * 86400:
        raise Problem("InvalidAutoReleaseTime.Malformed", "The specified AutoReleaseTime is not valid.")
    return at


def _at_release(world: World, machine: Machine) -> None:
    at = machine.release

    def due() -> None:
        """It does not fire in arrears."""
        alive = machine.id in world.region(machine.region).machines
        if alive and machine.release == at and not world.arrears:
            life.end(world, machine)

    world.clock.after(at - world.clock.now(), due)


def row(world: World, m: Machine) -> Answer:
    kind = TYPES[m.type]
    return {
        "InstanceId": m.id,
        "InstanceName": m.name,
        "HostName": m.id,
        "RegionId": m.region,
        "ZoneId": m.zone,
        "InstanceType": m.type,
        "InstanceTypeFamily": kind.family,
        "Cpu": kind.cpus,
        "Memory": int(kind.memory * 1024),
        "GPUAmount": kind.gpus,
        "GPUSpec": kind.gpu,
        "LocalStorageAmount": 1 if kind.local_gib else None,
        "LocalStorageCapacity": kind.local_gib or None,
        "ImageId": m.image,
        "OSType": "linux",
        "Status": m.status,
        "StoppedMode": m.mode,
        "InstanceChargeType": "PostPaid",
        "InternetChargeType": "PayByTraffic",
        "InternetMaxBandwidthOut": m.bandwidth,
        "InstanceNetworkType": "vpc",
        "SpotStrategy": m.strategy,
        "SpotInterruptionBehavior": m.behavior if m.strategy != "NoSpot" else None,
        "SpotDuration": 1 if m.strategy != "NoSpot" else None,
        "CreationTime": minute(m.made),
        "StartTime": minute(m.started),
        "AutoReleaseTime": minute(m.release) if m.release else "",
        "ExpiredTime": "2099-12-31T15:59Z",
        "PublicIpAddress": {"IpAddress": [m.public_ip] if m.public_ip else []},
        "EipAddress": {"AllocationId": "", "IpAddress": "", "InternetChargeType": ""},
        "VpcAttributes": {
            "VpcId": m.vpc,
            "VSwitchId": m.vswitch,
            "PrivateIpAddress": {"IpAddress": [m.private_ip]},
            "NatIpAddress": "",
        },
        "SecurityGroupIds": {"SecurityGroupId": list(m.groups)},
        "MetadataOptions": {
            "HttpEndpoint": m.metadata.get("HttpEndpoint"),
            "HttpTokens": m.metadata.get("HttpTokens"),
        },
        "OperationLocks": {"LockReason": [{"LockReason": why} for why in m.locks]},
        "Tags": laws.tag_list(m.tags),
    }


@operation(ECS)
def describe_instances(world: World, call: Call) -> Answer:
    call.need("RegionId")
    region = world.region(call.region)
    if "DescribeInstances" in world.blind:
        if call.flag("DryRun"):
            raise laws.denied(call)
        return {"Instances": {"Instance": []}, "NextToken": "", "TotalCount": 0}
    laws.dry_run(call)
    found = laws.listed(world, call, list(region.machines.values()))
    wanted = laws.ids(call, "InstanceIds")
    if wanted is not None:
        found = [m for m in found if m.id in wanted]
    rows, more = laws.token_page(call, found)
    return {"Instances": {"Instance": [row(world, m) for m in rows]}, "TotalCount": 0, **more}


def _responses(rows: list[tuple[Machine, str]]) -> Answer:
    return {
        "InstanceResponses": {
            "InstanceResponse": [
                {
                    "InstanceId": m.id,
                    "Code": "200",
                    "Message": "success",
                    "PreviousStatus": before,
                    "CurrentStatus": m.status,
                }
                for m, before in rows
            ]
        }
    }


def _named(world: World, call: Call) -> list[Machine]:
    call.need("InstanceId")
    return [world.machine(call.region, id_) for id_ in call.many("InstanceId")]


def wrong_status() -> Problem:
    return Problem(
        "IncorrectInstanceStatus",
        "The current status of the resource does not support this operation.",
        403,
    )


@operation(ECS)
def start_instances(world: World, call: Call) -> Answer:
    call.need("RegionId")
    rows = []
    machines = _named(world, call)
    for m in machines:
        if m.status != "Stopped":
            raise wrong_status()
        if m.mode == "StopCharging":
            market.place(world, m.zone, m.type, "spot" if m.strategy != "NoSpot" else "on-demand")
    laws.dry_run(call, "DRYRUN.SUCCESS")
    for m in machines:
        before = m.status
        life.begin(world, m, first=False)
        rows.append((m, before))
    return _responses(rows)


@operation(ECS)
def stop_instances(world: World, call: Call) -> Answer:
    call.need("RegionId")
    machines = _named(world, call)
    for m in machines:
        if m.status != "Running":
            raise wrong_status()
    laws.dry_run(call, "DRYRUN.SUCCESS")
    rows = []
    for m in machines:
        before = m.status
        life.stop(world, m, call.get("StoppedMode", "KeepCharging"), forced=call.flag("ForceStop"))
        rows.append((m, before))
    return _responses(rows)


@operation(ECS, tokens=True)
def delete_instances(world: World, call: Call) -> Answer:
    call.need("RegionId")
    machines = _named(world, call)
    for m in machines:
        if m.status != "Stopped" and not call.flag("Force"):
            raise wrong_status()
        if world.clock.now() < m.initializing_until:
            raise Problem(
                "IncorrectInstanceStatus.Initializing",
                "The specified instance status does not support this.",
                403,
            )
    laws.dry_run(call, "DRYRUN.SUCCESS")
    for m in machines:
        if m.status == "Running" and call.get("ForceStop", "true").lower() == "true":
            disks.cut_off(world, m)
        elif m.status == "Running":
            disks.sync(world, m)
        life.end(world, m)
    return {}


@operation(ECS)
def modify_instance_attribute(world: World, call: Call) -> Answer:
    call.need("InstanceId")
    machine = world.anywhere(call.get("InstanceId"))
    if not isinstance(machine, Machine):
        raise Problem("InvalidInstanceId.NotFound", "The specified InstanceId does not exist.", 404)
    machine.name = call.get("InstanceName") or machine.name
    if wanted := call.many("SecurityGroupIds"):
        groups = world.region(machine.region).groups
        if not all(id_ in groups and groups[id_].vpc == machine.vpc for id_ in wanted):
            raise Problem(
                "InvalidSecurityGroupId.NotFound", "The specified SecurityGroupId does not exist.", 404
            )
        if len(wanted) > 10:
            raise Problem(
                "InstanceSecurityGroupLimitExceeded", "Exceeding the allowed amount of groups.", 403
            )
        machine.groups = list(wanted)
    return {}


@operation(ECS)
def modify_instance_auto_release_time(world: World, call: Call) -> Answer:
    """Without a time it is cancelled."""
    call.need("InstanceId")
    machine = world.anywhere(call.get("InstanceId"))
    if not isinstance(machine, Machine):
        raise Problem("InvalidInstanceId.NotFound", "The specified InstanceId does not exist.", 404)
    machine.release = _release_time(world, call.get("AutoReleaseTime"))
    if machine.release:
        _at_release(world, machine)
    return {}


@operation(ECS, tokens=True)
def modify_instance_spec(world: World, call: Call) -> Answer:
    """Only of a stopped machine, never of a spot one; GPU families change only within themselves."""
    call.need("InstanceId")
    machine = world.anywhere(call.get("InstanceId"))
    if not isinstance(machine, Machine):
        raise Problem("InvalidInstanceId.NotFound", "The specified InstanceId does not exist.", 404)
    if machine.strategy != "NoSpot":
        raise Problem("InvalidInstanceChargeType.ValueNotSupported", "Spot instances cannot be changed.", 403)
    if machine.status != "Stopped":
        raise wrong_status()
    new = call.get("InstanceType")
    if new not in TYPES:
        raise Problem(
            "InvalidInstanceType.ValueNotSupported", "The specified InstanceType is not valid.", 403
        )
    was, will = TYPES[machine.type], TYPES[new]
    if ((was.gpu or will.gpu) and was.family != will.family) or was.arch != will.arch or was.local_gib:
        raise Problem(
            "InvalidInstanceType.ValueNotSupported",
            "The specified InstanceType beyond the permitted range.",
            403,
        )
    market.place(world, machine.zone, new, "on-demand")
    machine.type = new
    return {}


@operation(ECS)
def get_instance_console_output(world: World, call: Call) -> Answer:
    call.need("RegionId", "InstanceId")
    machine = world.machine(call.region, call.get("InstanceId"))
    text = "" if world.silent else life.console(world, machine)
    return {
        "InstanceId": machine.id,
        "ConsoleOutput": base64.b64encode(text.encode()).decode(),
        "LastUpdateTime": minute(world.clock.now() + 8 * 3600),
    }


@operation(ECS)
def describe_instance_history_events(world: World, call: Call) -> Answer:
    call.need("RegionId")
    rows = [e for e in world.events if e["region"] == call.region]
    wanted = call.many("ResourceId") or ([call.get("InstanceId")] if call.get("InstanceId") else [])
    if wanted:
        rows = [e for e in rows if e["instance"] in wanted]
    told = [
        {
            "EventId": f"e-{number}",
            "InstanceId": e["instance"],
            "ResourceType": "instance",
            "EventType": {"Name": e["type"], "Code": 1},
            "EventPublishTime": minute(e["at"]).replace("Z", ":00Z"),
        }
        for number, e in enumerate(rows)
    ]
    page, more = laws.number_page(call, told)
    return {"InstanceSystemEventSet": {"InstanceSystemEventType": page}, **more}
