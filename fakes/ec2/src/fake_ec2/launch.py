"""RunInstances: checks in the order AWS makes them, the token, a place, then machines with their disks."""

from __future__ import annotations

import json
from typing import Any

from fake_ec2 import catalogue, hidden_images, keys, market, network, quotas, reservations, roles
from fake_ec2 import plan as free_plan
from fake_ec2.actions import Call, action
from fake_ec2.disks import check_mapping, make_volume
from fake_ec2.errors import Problem, bad_value, missing
from fake_ec2.instances import reservation_row
from fake_ec2.limits import refuse_user_data
from fake_ec2.machine import begin, end
from fake_ec2.things import Attachment, Image, Instance, SpotRequest
from fake_ec2.world import ACCOUNT, World, check_tag_kinds, tags_for

TAGGABLE = {"instance", "volume", "network-interface", "spot-instances-request", "elastic-gpu"}


@action("RunInstances")
def run_instances(world: World, call: Call) -> dict[str, Any]:
    order = call.params = with_template(world, call.region, call.params)
    least, most = int(order.get("MinCount") or 0), int(order.get("MaxCount") or 0)
    if not 1 <= least <= most:
        raise Problem("InvalidParameterValue", f"Invalid value '{least}' for minCount/maxCount ({most}).")
    plan = check_order(world, call.region, order)
    if replay := repeated(world, call, plan):
        return replay
    call.dry_run()
    kind, buys = plan["type"], plan["market"]
    if no := world.rules.late_refusal(call, None, buys, kind):
        raise no
    if buys == "spot":
        market.check_max_price(world, order, plan)
    allowed = quotas.check_quota(world, call.region, kind, buys, most)
    if allowed < least:
        quotas.check_quota(world, call.region, kind, buys, 0)
        raise Problem("VcpuLimitExceeded", f"Your quota allows {allowed} of the {least} instances requested.")
    reserved = reservations.joined(world, call.region, order, plan)
    if reserved:
        zone, count = reserved["zone"], min(most, reservations.left(world, call.region, reserved))
    else:
        zone, count = market.place(world, call, kind, buys, plan["zone"], least, min(most, allowed))
    reservation = world.new_id("r")
    made = [build(world, call, order, plan, zone, reservation, index) for index in range(count)]
    for instance in made:
        instance.capacity_reservation = reserved["id"] if reserved else None
        instance.reserved = order.get("CapacityReservationSpecification")
    remember(world, call, plan, [i.id for i in made])
    return reservation_row(world, call.region, made, everything=True)


# ── the order ────────────────────────────────────────────────────────────────────────────────────────────


def with_template(world: World, region: str, order: dict[str, Any]) -> dict[str, Any]:
    """The order with what its launch template says and it does not."""
    named = order.get("LaunchTemplate")
    if not named:
        return order
    try:
        version = world.moto(region)._get_template_from_args(named)
    except Exception as lost:
        raise Problem(
            "InvalidLaunchTemplateId.NotFound", f"The launch template {named} does not exist."
        ) from lost
    data = json.loads(json.dumps(dict(version.data), default=str))
    merged: dict[str, Any] = data | {k: v for k, v in order.items() if v is not None}
    merged["TagSpecifications"] = [
        *(data.get("TagSpecifications") or []),
        *(order.get("TagSpecifications") or []),
    ]
    merged["_template"] = (version.template.id, str(version.number))
    return merged


def check_order(world: World, region: str, order: dict[str, Any]) -> dict[str, Any]:
    """What the order comes to: image, type, market, zone, subnet, groups, disks. Raises what AWS would."""
    image_id, kind = order.get("ImageId"), order.get("InstanceType") or "m1.small"
    if not image_id:
        raise missing("ImageId")
    if image_id.startswith("resolve:ssm:"):
        from fake_ec2.parameters import lookup

        image_id = lookup(world, region, image_id.removeprefix("resolve:ssm:"))
    image = world.image(region, image_id)
    hidden_images.refuse_launch(world, image)
    if image.state != "available":
        raise Problem("InvalidAMIID.Unavailable", f"The image ID '{image.id}' is not available")
    catalogue.check_type(kind, region)
    free_plan.refuse(world, kind)
    check_fit(image, kind)
    if order.get("KeyName") and order["KeyName"] not in world.moto(region).key_pairs:
        raise Problem("InvalidKeyPair.NotFound", f"The key pair '{order['KeyName']}' does not exist")
    roles.check_profile(order)
    if no := refuse_user_data(order.get("UserData") or "", "userData"):  # (a template's is checked here)
        raise no
    check_tag_kinds(order.get("TagSpecifications"), TAGGABLE)
    nics = order.get("NetworkInterfaces") or []
    if nics and (order.get("SubnetId") or order.get("SecurityGroupIds")):
        raise Problem(
            "InvalidParameterCombination",
            "Network interfaces and an instance-level subnet ID may not be specified on the same request",
        )
    first = nics[0] if nics else {}
    if len(nics) > 1 and any(nic.get("AssociatePublicIpAddress") for nic in nics):
        raise Problem(
            "InvalidParameterCombination",
            "The associatePublicIPAddress parameter cannot be specified when launching with multiple network "
            "interfaces.",
        )
    check_cores(kind, order.get("CpuOptions") or {})
    if (order.get("HibernationOptions") or {}).get("Configured"):
        raise Problem(
            "UnsupportedHibernationConfiguration", f"The image '{image.id}' is not supported for hibernation."
        )
    subnet_id = order.get("SubnetId") or first.get("SubnetId")
    zone = (order.get("Placement") or {}).get("AvailabilityZone") or None  # "" is not given
    if zone and zone not in catalogue.zones(region):
        raise Problem("InvalidParameterValue", f"Invalid availability zone: [{zone}]")
    subnet = network.subnet_of(world, region, subnet_id, zone)
    if subnet_id:
        if zone and zone != subnet.availability_zone:
            raise Problem("InvalidParameterValue", f"The subnet {subnet_id} is not in zone {zone}.")
        zone = subnet.availability_zone
    ids = list(order.get("SecurityGroupIds") or first.get("Groups") or [])
    groups = network.resolve_groups(world, region, ids, order.get("SecurityGroups") or [], subnet.vpc_id)
    spot = (order.get("InstanceMarketOptions") or {}).get("MarketType") == "spot"
    if spot:
        check_spot(order)
    return {
        "image": image,
        "type": kind,
        "market": "spot" if spot else "on-demand",
        "zone": zone,
        "subnet_id": subnet_id,
        "vpc_id": subnet.vpc_id,
        "groups": groups,
        "public": first.get("AssociatePublicIpAddress"),
        "disks": check_mapping(world, region, image, order.get("BlockDeviceMappings") or []),
    }


def check_fit(image: Image, kind: str) -> None:
    """Architecture and boot mode of image and type. moto accepts any pair."""
    if catalogue.architecture(kind) != image.architecture:
        theirs = catalogue.architecture(kind)
        raise Problem(
            "InvalidParameterValue",
            f"The architecture '{theirs}' of the specified instance type does not match the architecture "
            f"'{image.architecture}' of the specified AMI. Specify an instance type and an AMI that have "
            "matching architectures, and try again.",
        )
    modes = catalogue.TYPES[kind].get("SupportedBootModes") or ["legacy-bios"]
    if image.boot_mode in {"uefi", "legacy-bios"} and image.boot_mode not in modes:
        raise Problem(
            "InvalidParameterCombination",
            f"The boot mode '{image.boot_mode}' of the AMI is not supported by the instance type '{kind}'.",
        )


def check_cores(kind: str, options: dict[str, Any]) -> None:
    """As many cores, and threads on each, as the type may be launched with."""
    info = catalogue.TYPES[kind]["VCpuInfo"]
    for name, allowed in (("CoreCount", "ValidCores"), ("ThreadsPerCore", "ValidThreadsPerCore")):
        value, valid = options.get(name), info.get(allowed) or []
        if value is not None and int(value) not in valid:
            raise bad_value(value, name, f"{kind} allows {', '.join(map(str, valid)) or 'no choice'}.")


def check_spot(order: dict[str, Any]) -> None:
    options = (order.get("InstanceMarketOptions") or {}).get("SpotOptions") or {}
    behavior = options.get("InstanceInterruptionBehavior") or "terminate"
    if order.get("InstanceInitiatedShutdownBehavior") == "stop":
        raise Problem(
            "InvalidParameterCombination",
            "The shutdown behavior 'stop' is not supported for Spot Instances.",  # ansible issue 63246
        )
    persistent = options.get("SpotInstanceType") == "persistent"
    if behavior != "terminate" and not persistent:
        raise Problem(
            "InvalidParameterCombination",
            f"The instance interruption behavior {behavior} is only supported for persistent Spot requests.",
        )
    if order.get("DisableApiStop"):
        raise Problem("InvalidParameterCombination", "Stop protection is not supported for Spot Instances.")


# ── the token ────────────────────────────────────────────────────────────────────────────────────────────


def token_key(call: Call, plan: dict[str, Any]) -> tuple[str, str, str] | None:
    """Tokens are regional, unless the order names a zone or a subnet: then they belong to that zone."""
    token = call.raw.get("ClientToken")
    return ("RunInstances", plan["zone"] or "", token) if token else None


def exact_order(call: Call) -> str:
    ignored = {"ClientToken", "DryRun", "Version", "Action"}
    return json.dumps(sorted((k, v) for k, v in call.raw.items() if k not in ignored))


def repeated(world: World, call: Call, plan: dict[str, Any]) -> dict[str, Any] | None:
    """What the same order made before; raises IdempotentParameterMismatch for another order,
    IdempotentInstanceTerminated where nothing of it is left."""
    key = token_key(call, plan)
    past = world.region(call.region).tokens.get(key) if key else None
    if past is None:
        return None
    if past[0] != exact_order(call):
        raise Problem(
            "IdempotentParameterMismatch",
            "Arguments on this idempotent request are inconsistent with arguments used in previous "
            "request(s).",
        )
    machines = [world.region(call.region).instances[i] for i in past[1]]
    if not any(machine.alive for machine in machines):  # since January 2025: boto3 issue 4406
        raise Problem(
            "IdempotentInstanceTerminated",
            "The client token you have provided is associated with a terminated instance. Please use a "
            "different client token.",
        )
    return reservation_row(world, call.region, machines, everything=True)


def remember(world: World, call: Call, plan: dict[str, Any], made: list[str]) -> None:
    key = token_key(call, plan)
    if key:
        world.region(call.region).tokens[key] = (exact_order(call), made)


# ── the machine ──────────────────────────────────────────────────────────────────────────────────────────


def build(  # noqa: PLR0917
    world: World,
    call: Call,
    order: dict[str, Any],
    plan: dict[str, Any],
    zone: str,
    reservation: str,
    index: int,
) -> Instance:
    """One machine in that zone, with disks, tags and (spot) its request, pending."""
    now, region, image = world.clock.now(), call.region, plan["image"]
    subnet = network.subnet_of(world, region, plan["subnet_id"], zone)
    specs = order.get("TagSpecifications")
    public = (
        plan["public"] if plan["public"] is not None else subnet.map_public_ip_on_launch in (True, "true")
    )
    metadata = order.get("MetadataOptions") or {}
    mac = ":".join(["0a", *(f"{world.chance.randrange(256):02x}" for _ in range(5))])
    instance = Instance(
        id=world.new_id("instance"),
        region=region,
        owner=ACCOUNT,
        created=now,
        visible=now + world.lag_of("instance"),
        reservation=reservation,
        launch_index=index,
        image_id=image.id,
        type=plan["type"],
        zone=zone,
        subnet_id=subnet.id,
        vpc_id=plan["vpc_id"],
        groups=list(plan["groups"]),
        key_name=order.get("KeyName"),
        user_data=order.get("UserData") or "",
        token=order.get("ClientToken") or "",
        market=plan["market"],
        shutdown_behavior=order.get("InstanceInitiatedShutdownBehavior") or "stop",
        disable_api_termination=bool(order.get("DisableApiTermination")),
        disable_api_stop=bool(order.get("DisableApiStop")),
        metadata={
            "State": "applied",
            "HttpTokens": metadata.get("HttpTokens") or "optional",
            "HttpPutResponseHopLimit": metadata.get("HttpPutResponseHopLimit") or 1,
            "HttpEndpoint": metadata.get("HttpEndpoint") or "enabled",
            "HttpProtocolIpv6": metadata.get("HttpProtocolIpv6") or "disabled",
            "InstanceMetadataTags": metadata.get("InstanceMetadataTags") or "disabled",
        },
        private_ip=order.get("PrivateIpAddress") or network.private_address(world, region, subnet.cidr_block),
        wants_public_ip=bool(public and subnet.cidr_block),
        mac=mac,
        eni_id=world.new_id("eni"),
        eni_tags=tags_for(specs, "network-interface"),
        root_device=image.root_device,
        architecture=image.architecture,
        boot_mode=image.boot_mode,
        profile=(order.get("IamInstanceProfile") or {}).get("Name")
        or (order.get("IamInstanceProfile") or {}).get("Arn"),
        ebs_optimized=bool(order.get("EbsOptimized")),
        monitoring="enabled" if (order.get("Monitoring") or {}).get("Enabled") else "disabled",
        template=order.get("_template"),
    )
    world.put_tags(instance, tags_for(specs, "instance"))
    for disk in plan["disks"]:
        volume = make_volume(world, region, zone, disk, tags_for(specs, "volume"))
        volume.states = [(now, "in-use")]
        volume.attached_to, volume.device, volume.attached = instance.id, disk["device"], now
        instance.disks[disk["device"]] = Attachment(
            volume_id=volume.id, device=disk["device"], since=now, delete_on_termination=disk["delete"]
        )
    image.last_launched = now
    world.region(region).instances[instance.id] = instance
    if instance.market == "spot":
        instance.spot_request_id = spot_request(
            world, order, instance, tags_for(specs, "spot-instances-request")
        ).id
    begin(world, instance, first=True)
    spoil = world.rules.first("spoil", call)
    if spoil or keys.may_not_use(world, instance):  # accepted, and then it does not come up: a key, a limit
        code, message = keys.REFUSED
        why = (spoil.code or code, spoil.message or message) if spoil else keys.REFUSED
        world.clock.after(world.clock.takes("pending") / 2, lambda: end(world, instance, why))
    return instance


def spot_request(
    world: World, order: dict[str, Any], instance: Instance, tags: dict[str, str]
) -> SpotRequest:
    """The request that AWS keeps beside every spot machine; moto has none for RunInstances."""
    options = (order.get("InstanceMarketOptions") or {}).get("SpotOptions") or {}
    now = world.clock.now()
    request = SpotRequest(
        id=world.new_id("spot-instances-request"),
        region=instance.region,
        owner=ACCOUNT,
        created=now,
        visible=instance.visible,
        states=[(now, "active")],
        type=options.get("SpotInstanceType") or "one-time",
        behavior=options.get("InstanceInterruptionBehavior") or "terminate",
        max_price=options.get("MaxPrice"),
        instance_id=instance.id,
        instance_type=instance.type,
        zone=instance.zone,
        image_id=instance.image_id,
        status="fulfilled",
        message="Your spot request is fulfilled.",
        updated=now,
        order=order,
    )
    world.put_tags(request, tags)
    world.region(instance.region).spot_requests[request.id] = request
    return request
