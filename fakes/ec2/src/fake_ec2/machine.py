"""The life of one machine: begin, stop, end, each a change that takes time on the cloud's clock."""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from fake_ec2 import network
from fake_ec2.filters import iso
from fake_ec2.things import Instance
from fake_ec2.world import World

POLL_SECONDS = 0.05  # between looks at a real machine that is on its way


def describe(world: World, instance: Instance, first: bool = False) -> dict[str, Any]:
    """What a rig is told about a machine."""
    region = world.region(instance.region)
    disks = [
        {
            "device": a.device,
            "volume_id": a.volume_id,
            "snapshot_id": region.volumes[a.volume_id].snapshot_id,
            "size_gib": region.volumes[a.volume_id].size_gib,
            "root": a.device == instance.root_device,
        }
        for a in instance.disks.values()
    ]
    return {
        "id": instance.id,
        "region": instance.region,
        "zone": instance.zone,
        "type": instance.type,
        "architecture": instance.architecture,
        "market": instance.market,
        "image_id": instance.image_id,
        "user_data": base64.b64decode(instance.user_data) if instance.user_data else b"",
        "public_key": network.public_key(world, instance.region, instance.key_name),
        "key_name": instance.key_name,
        "tags": dict(instance.tags),
        "disks": disks,
        "private_ip": instance.private_ip,
        "public_ip": instance.public_ip,
        "mac": instance.mac,
        "first": first,
    }


def begin(world: World, instance: Instance, first: bool) -> None:
    """Pending, then running with an address. A new LaunchTime each time."""
    now = world.clock.now()
    instance.become("pending", now)
    instance.epoch += 1
    instance.launched = now
    instance.state_reason, instance.transition_reason = None, ""
    if instance.wants_public_ip and not instance.address_id:
        instance.public_ip = network.public_address(world, instance.region)
    booting = world.rig.call("start", describe(world, instance, first)) if world.rig else None
    offered = instance.public_ip
    if booting is not None and not instance.address_id:
        instance.public_ip = None  # the real machine may have another: clients keep the first that they see

    def running(facts: dict[str, Any]) -> None:
        at = world.clock.now()
        instance.public_ip = facts.get("public_ip") or offered
        instance.private_ip = facts.get("private_ip") or instance.private_ip
        instance.console = facts.get("console") or instance.console
        instance.become("running", at)
        instance.runs.append([at, None])

    when(world, instance, world.clock.takes("pending"), booting, running)


def when(
    world: World,
    instance: Instance,
    seconds: float,
    real: Future[Any] | None,
    then: Callable[[dict[str, Any]], None],
) -> None:
    """`then` after that time and once the real machine has done its part, unless overtaken by a command."""
    epoch = instance.epoch

    def due() -> float | None:
        if instance.epoch != epoch:
            return None
        if real is not None and not real.done():
            return POLL_SECONDS * max(world.clock.rate, 0.001)
        if real is not None and real.exception() is not None:
            instance.console = f"{instance.console or ''}\n{real.exception()!r}"
            end(world, instance, ("Server.InternalError", f"Server.InternalError: {real.exception()}"))
            return None
        then((real.result() if real is not None else None) or {})
        return None

    world.clock.after(seconds, due)


def bill_stops(world: World, instance: Instance) -> None:
    """Computing is billed until the machine begins to stop."""
    if instance.runs and instance.runs[-1][1] is None:
        instance.runs[-1][1] = world.clock.now()


def sync(world: World, instance: Instance) -> None:
    """A clean shutdown writes everything to the disks."""
    for attachment in instance.disks.values():
        volume = world.region(instance.region).volumes[attachment.volume_id]
        volume.work |= volume.unsynced
        volume.unsynced = {}


def cut_off(world: World, instance: Instance) -> None:
    """The machine ends without a shutdown of its system: what it had not written is lost."""
    for attachment in instance.disks.values():
        world.region(instance.region).volumes[attachment.volume_id].unsynced = {}


def stop(world: World, instance: Instance, reason: tuple[str, str]) -> None:
    """Stopping, then stopped: disks stay, the public address goes."""
    now = world.clock.now()
    instance.become("stopping", now)
    instance.epoch += 1
    bill_stops(world, instance)
    instance.state_reason = reason
    instance.transition_reason = f"{reason[1].split(': ', 1)[-1]} ({iso(now)[:19].replace('T', ' ')} GMT)"
    halting = world.rig.call("stop", describe(world, instance)) if world.rig else None

    def stopped(_: dict[str, Any]) -> None:
        sync(world, instance)
        instance.become("stopped", world.clock.now())
        if not instance.address_id:
            instance.public_ip = None

    when(world, instance, world.clock.takes("stopping"), halting, stopped)


def end(world: World, instance: Instance, reason: tuple[str, str]) -> None:
    """Shutting down, then terminated: disks marked so go with it, the others become available."""
    from fake_ec2.market import request_ends

    now = world.clock.now()
    was_stopped = instance.state == "stopped"
    instance.become("shutting-down", now)
    instance.epoch += 1
    bill_stops(world, instance)
    instance.state_reason = reason
    instance.transition_reason = f"{reason[1].split(': ', 1)[-1]} ({iso(now)[:19].replace('T', ' ')} GMT)"
    failed = reason[0] == "Server.InternalError"
    halting = world.rig.call("terminate", describe(world, instance)) if world.rig and not failed else None

    def terminated(_: dict[str, Any]) -> None:
        at = world.clock.now()
        sync(world, instance)
        instance.become("terminated", at)
        instance.gone = at
        if not instance.address_id:
            instance.public_ip = None
        release_disks(world, instance)
        request_ends(world, instance)

    wait = 0.0 if was_stopped else world.clock.takes("shutting-down")
    when(world, instance, wait, halting, terminated)


def release_disks(world: World, instance: Instance) -> None:
    from fake_ec2.disks import drop_volume

    now = world.clock.now()
    for attachment in list(instance.disks.values()):
        volume = world.region(instance.region).volumes[attachment.volume_id]
        volume.attached_to = volume.device = None
        if attachment.delete_on_termination:
            drop_volume(world, volume)
        else:
            volume.become("available", now)
    instance.disks = {}


def shut_down_inside(world: World, instance: Instance) -> None:
    """`shutdown -h now` typed on the machine: what follows depends on InstanceInitiatedShutdownBehavior."""
    reason = (
        "Client.InstanceInitiatedShutdown",
        "Client.InstanceInitiatedShutdown: Instance initiated shutdown",
    )
    if instance.shutdown_behavior == "terminate" or one_time_spot(world, instance):
        end(world, instance, reason)
    else:
        stop(world, instance, reason)


def one_time_spot(world: World, instance: Instance) -> bool:
    request = world.region(instance.region).spot_requests.get(instance.spot_request_id or "")
    return request is not None and (request.type != "persistent" or request.behavior == "terminate")


def interrupt(world: World, instance: Instance, notice: bool = True) -> None:
    """AWS takes a spot machine back: a warning, then termination (or stop, for a persistent request)."""
    request = world.region(instance.region).spot_requests.get(instance.spot_request_id or "")
    behavior = request.behavior if request else "terminate"
    instance.interruption = behavior
    epoch = instance.epoch
    if request:
        request.status, request.updated = (
            f"marked-for-{'stop' if behavior == 'stop' else 'termination'}",
            world.clock.now(),
        )

    def take() -> None:
        if instance.epoch != epoch or not instance.alive:
            return
        if behavior == "stop":
            if request:
                request.status = "instance-stopped-no-capacity"
            stop(
                world,
                instance,
                ("Server.SpotInstanceShutdown", "Server.SpotInstanceShutdown: Spot instance shutdown"),
            )
        else:
            if request:
                request.status = "instance-terminated-no-capacity"
            reason = "Server.SpotInstanceTermination: Spot instance termination"
            end(world, instance, ("Server.SpotInstanceTermination", reason))

    if notice:
        seconds = world.clock.takes("interruption-notice")
        world.clock.after(seconds, take)
        if world.rig:
            world.rig.call("warn", instance.id, behavior, world.clock.now() + seconds)
    else:
        take()
