"""StartInstances, StopInstances, TerminateInstances, RebootInstances: what is allowed when."""

from __future__ import annotations

from functools import partial
from typing import Any

from fake_ec2 import keys, market, quotas
from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem, missing
from fake_ec2.instances import state_row
from fake_ec2.machine import begin, cut_off, end, one_time_spot, stop
from fake_ec2.things import Instance
from fake_ec2.world import World

USER = ("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")


def named(world: World, call: Call) -> list[Instance]:
    """All of them or none: one unknown id refuses the whole call."""
    ids = call.get("InstanceIds") or []
    if not ids:
        raise missing("InstanceId")
    return world.listed(call.region, "instance", ids)


def change(instance: Instance, before: str) -> dict[str, Any]:
    return {
        "InstanceId": instance.id,
        "PreviousState": state_row(before),
        "CurrentState": state_row(instance.state),
    }


def request_state(world: World, machine: Instance, state: str, status: str) -> None:
    """A persistent spot request follows its machine."""
    request = world.region(machine.region).spot_requests.get(machine.spot_request_id or "")
    if request and request.state in {"active", "disabled"}:
        request.become(state, world.clock.now())
        request.status, request.updated = status, world.clock.now()


@action("StopInstances")
def stop_instances(world: World, call: Call) -> dict[str, Any]:
    machines = named(world, call)
    if call.get("Hibernate"):  # no image here is made ready for it
        raise Problem(
            "UnsupportedHibernationConfiguration",
            f"The instance '{machines[0].id}' is not configured for hibernation.",
        )
    for machine in machines:
        if machine.market == "spot" and one_time_spot(world, machine):
            raise Problem(
                "UnsupportedOperation",
                f"You can't stop the Spot Instance '{machine.id}' because it is associated with a one-time "
                "Spot Instance request. You can only stop Spot Instances associated with persistent Spot "
                "Instance requests.",
            )
        if machine.state not in {"running", "stopping", "stopped"}:
            raise Problem(
                "IncorrectInstanceState",
                f"This instance '{machine.id}' is not in a state from which it can be stopped.",
            )
        if machine.disable_api_stop:
            raise Problem("OperationNotPermitted", f"The instance '{machine.id}' may not be stopped.")
    call.dry_run()
    rows = []
    for machine in machines:
        before = machine.state
        if before == "running":
            if call.get("SkipOsShutdown") or call.get("Force"):
                cut_off(world, machine)
            stop(world, machine, USER)
            request_state(world, machine, "disabled", "instance-stopped-by-user")
        rows.append(change(machine, before))
    return {"StoppingInstances": rows}


@action("StartInstances")
def start_instances(world: World, call: Call) -> dict[str, Any]:
    machines = named(world, call)
    for machine in machines:
        if machine.state not in {"stopped", "running", "pending"}:
            raise Problem(
                "IncorrectInstanceState",
                f"The instance '{machine.id}' is not in a state from which it can be started.",
            )
    call.dry_run()
    for machine in machines:
        if machine.state != "stopped":
            continue
        if no := world.rules.late_refusal(call, None, machine.market, machine.type):
            raise no
        quotas.check_quota(world, call.region, machine.type, machine.market, 1)
        market.place(world, call, machine.type, machine.market, machine.zone, 1, 1)
    rows = []
    for machine in machines:
        before = machine.state
        if before == "stopped":
            begin(world, machine, first=False)
            request_state(world, machine, "active", "fulfilled")
            if keys.may_not_use(world, machine):
                later = partial(stop, world, machine, keys.REFUSED)
                world.clock.after(world.clock.takes("pending") / 2, later)
        rows.append(change(machine, before))
    return {"StartingInstances": rows}


@action("TerminateInstances")
def terminate_instances(world: World, call: Call) -> dict[str, Any]:
    machines = named(world, call)
    for machine in machines:
        if machine.disable_api_termination:
            raise Problem(
                "OperationNotPermitted",
                f"The instance '{machine.id}' may not be terminated. Modify its 'disableApiTermination' "
                "instance attribute and try again.",
            )
    call.dry_run()
    rows = []
    for machine in machines:
        before = machine.state
        if machine.alive:
            if call.get("SkipOsShutdown") or call.get("Force"):
                cut_off(world, machine)
            request = world.region(call.region).spot_requests.get(machine.spot_request_id or "")
            if request:
                request.status, request.updated = "instance-terminated-by-user", world.clock.now()
            end(world, machine, USER)
        rows.append(change(machine, before))
    return {"TerminatingInstances": rows}


@action("RebootInstances")
def reboot_instances(world: World, call: Call) -> dict[str, Any]:
    machines = named(world, call)
    call.dry_run()
    for machine in machines:
        if machine.state != "running":
            raise Problem("IncorrectState", f"Instance '{machine.id}' is not in the 'running' state.")
        if world.rig:
            world.rig.call("reboot", {"id": machine.id})
    return {}
