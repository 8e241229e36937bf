"""The life of one machine: each change takes time on the cloud's clock, and a command overtakes it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from hotdesk.providers.cloud.hostkeys import on_console
from tests.fake_ecs import disks
from tests.fake_ecs.market import TYPES
from tests.fake_ecs.world import Machine, World

POLL_SECONDS = 0.05


def described(world: World, machine: Machine, first: bool = False) -> dict[str, Any]:
    """What a rig is told about a machine (`fake_ec2.rig`)."""
    region = world.region(machine.region)
    held = [region.disks[id_] for id_ in machine.disks]
    return {
        "id": machine.id,
        "region": machine.region,
        "zone": machine.zone,
        "type": machine.type,
        "architecture": "x86_64",
        "market": "spot" if machine.strategy != "NoSpot" else "on-demand",
        "image_id": machine.image,
        "user_data": base64.b64decode(machine.user_data) if machine.user_data else b"",
        "public_key": "",
        "tags": dict(machine.tags),
        "disks": [
            {
                "device": d.device,
                "volume_id": d.id,
                "snapshot_id": d.snapshot,
                "size_gib": d.size,
                "root": d.kind == "system",
            }
            for d in held
        ],
        "private_ip": machine.private_ip,
        "public_ip": machine.public_ip,
        "first": first,
    }


def begin(world: World, machine: Machine, *, first: bool) -> None:
    """Pending (a new one), Starting, Running. StartTime is that of the request."""
    now = world.clock.now()
    machine.epoch += 1
    machine.status = "Pending" if first else "Starting"
    machine.started = now
    machine.mode = "Not-applicable"
    machine.locks = []
    if machine.bandwidth and not machine.public_ip:
        chance = world.chance.randrange
        machine.public_ip = f"47.{chance(90, 120)}.{chance(256)}.{chance(1, 255)}"
    booting = world.rig.call("start", described(world, machine, first)) if world.rig else None
    machine.paid.append([now, None])
    if first:
        epoch = machine.epoch

        def starting() -> None:
            if machine.epoch == epoch and machine.status == "Pending":
                machine.status = "Starting"

        world.clock.after(world.clock.takes("pending"), starting)

    def running(facts: dict[str, Any]) -> None:
        machine.public_ip = facts.get("public_ip") or machine.public_ip
        machine.private_ip = facts.get("private_ip") or machine.private_ip
        machine.console = facts.get("console") or _console(world, machine)
        machine.status = "Running"

    wait = world.clock.takes("starting") + (world.clock.takes("pending") if first else 0.0)
    when(world, machine, wait, booting, running)


def _console(world: World, machine: Machine) -> str:
    """What cloud-init prints at the boot: the host key that is on the system disk."""
    disk = world.region(machine.region).disks[machine.disks[0]]
    kind, key = b"ssh-ed25519", hashlib.sha256(disk.origin.encode()).digest()
    blob = b"".join(len(part).to_bytes(4) + part for part in (kind, key))
    line = f"ssh-ed25519 {base64.b64encode(blob).decode()} root@host"
    return f"-----BEGIN SSH HOST KEY KEYS-----\n{line}\n-----END SSH HOST KEY KEYS-----\n"


def console(world: World, machine: Machine) -> str:
    """What the machine has printed so far."""
    live = world.rig.ask("console", machine.id) if world.rig else None
    return live or machine.console


def host_keys(world: World, machine: Machine) -> list[str]:
    """What is in its files, whatever its console shows."""
    return on_console(console(world, machine) if world.rig else _console(world, machine))


def when(
    world: World,
    machine: Machine,
    seconds: float,
    real: Future[Any] | None,
    then: Callable[[dict[str, Any]], None],
) -> None:
    """`then` after that time and once the real machine has done its part, unless overtaken."""
    epoch = machine.epoch

    def due() -> float | None:
        if machine.epoch != epoch:
            return None
        if real is not None and not real.done():
            return POLL_SECONDS * max(world.clock.rate, 0.001)
        then((real.result() if real is not None else None) or {})
        return None

    world.clock.after(seconds, due)


def parkable(machine: Machine) -> bool:
    """Whether economical mode can take it: pay-as-you-go or spot in a VPC, without a local disk."""
    return not TYPES[machine.type].local_gib


def stop(world: World, machine: Machine, mode: str, *, forced: bool = False) -> None:
    """Stopping, then Stopped. A mode that the type does not know is no error: it goes on charging."""
    machine.epoch += 1
    machine.status = "Stopping"
    if forced:
        disks.cut_off(world, machine)
    economical = mode == "StopCharging" and parkable(machine)
    halting = world.rig.call("stop", described(world, machine)) if world.rig else None

    def stopped(_: dict[str, Any]) -> None:
        disks.sync(world, machine)
        machine.status = "Stopped"
        machine.mode = "StopCharging" if economical else "KeepCharging"
        if economical:
            machine.public_ip = ""
            bill_stops(world, machine)

    when(world, machine, world.clock.takes("stopping"), halting, stopped)


def shut_down_inside(world: World, machine: Machine) -> None:
    """`shutdown -h now` typed on the machine: it is off, and charged all the same."""
    machine.epoch += 1
    disks.sync(world, machine)
    machine.status, machine.mode = "Stopped", "KeepCharging"


def bill_stops(world: World, machine: Machine) -> None:
    if machine.paid and machine.paid[-1][1] is None:
        machine.paid[-1][1] = world.clock.now()


def end(world: World, machine: Machine) -> None:
    """Released: it is simply gone, with the disks that go with it."""
    machine.epoch += 1
    bill_stops(world, machine)
    if world.rig:
        world.rig.ask("terminate", described(world, machine))
    disks.release(world, machine)
    world.gone.append((machine, world.clock.now()))
    del world.region(machine.region).machines[machine.id]


def reclaim(world: World, machine: Machine) -> None:
    """The cloud takes a spot machine back: told five minutes ahead, then stopped or released."""
    machine.locks = ["Recycling"]
    world.event(machine, "Instance:PreemptibleInstanceInterruption")
    epoch = machine.epoch
    seconds = world.clock.takes("recycling")
    if world.rig:
        world.rig.call("warn", machine.id, machine.behavior.lower(), world.clock.now() + seconds)

    def take() -> None:
        if machine.epoch != epoch or machine.status != "Running":
            return
        if machine.behavior == "Stop":
            machine.locks = []
            stop(world, machine, "StopCharging")
        else:
            end(world, machine)

    world.clock.after(seconds, take)
