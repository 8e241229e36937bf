"""The control address /_fake/…: a test sets the scene and reads what really exists. JSON in, JSON out.

README.md describes it for users; the table at the end of this file is the list.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from fake_ec2 import catalogue, crowd, ledger, machine, market, network, quotas, reservations, routes
from fake_ec2.errors import Problem
from fake_ec2.filters import iso, seconds_of
from fake_ec2.registration import drop_image
from fake_ec2.rules import Rule
from fake_ec2.snapshots import drop_snapshot, refuse_in_use
from fake_ec2.things import Image, Instance, Snapshot, Volume
from fake_ec2.world import World

Ask = dict[str, Any]


def answer(world: World, environ: dict[str, Any], body: bytes) -> tuple[int, dict[str, str], bytes]:
    """The reply to one request to the control address."""
    path = environ["PATH_INFO"].removeprefix("/_fake").strip("/")
    ask: Ask = dict(parse_qsl(environ.get("QUERY_STRING", "")))
    try:
        ask |= json.loads(body or b"{}")
        do = CONTROLS.get((environ["REQUEST_METHOD"], path))
        if do is None:
            known = sorted({f"{method} /_fake/{name}" for method, name in CONTROLS})
            return reply(404, {"error": f"no such control: {path}", "controls": known})
        with world.lock:
            world.clock.settle()
            result = do(world, ask)
            world.clock.settle()
        return reply(200, result)
    except (KeyError, TypeError, ValueError, Problem) as bad:
        return reply(400, {"error": f"{type(bad).__name__}: {bad}"})


def reply(status: int, value: object) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(value, default=str).encode()


# ── the cloud as a whole ─────────────────────────────────────────────────────────────────────────────────


def reset(world: World, ask: Ask) -> Any:
    if world.rig:
        things = [thing for _, thing in world.everything()]
        world.rig.begin_anew(
            (machine.describe(world, t) for t in things if isinstance(t, Instance) and t.alive),
            (t.id for t in things if isinstance(t, Volume | Snapshot)),
        )
    world.reset(ask.get("seed"))
    return {"seed": world.seed}


def show_clock(world: World, ask: Ask) -> Any:
    clock = world.clock
    return {
        "now": clock.now(),
        "iso": iso(clock.now()),
        "rate": clock.rate,
        "pace": clock.pace,
        "durations": clock.durations,
        "next_event": clock.next_event(),
    }


def set_clock(world: World, ask: Ask) -> Any:
    """set (seconds or ISO), advance (seconds), rate (cloud seconds per real second), pace, durations."""
    clock = world.clock
    if "pace" in ask:
        clock.pace = float(ask["pace"])
    for name, seconds in (ask.get("durations") or {}).items():
        if name not in clock.durations:
            raise KeyError(f"{name} is none of {sorted(clock.durations)}")
        clock.durations[name] = float(seconds)
    if "rate" in ask:
        clock.run_at(float(ask["rate"]))
    if "set" in ask:
        clock.set(float(seconds_of(ask["set"]) or 0.0))
    if "advance" in ask:
        clock.advance(float(ask["advance"]))
    clock.settle()
    return show_clock(world, ask)


def set_lag(world: World, ask: Ask) -> Any:
    lag = world.settings.lag
    if "seconds" in ask:  # all reads of new things
        for name in ("instance", "volume", "snapshot", "image", "tags"):
            setattr(lag, name, float(ask["seconds"]))
    for name in ("instance", "volume", "snapshot", "image", "group", "tags", "state"):
        if name in ask:
            setattr(lag, name, float(ask[name]))
    lag.vary = bool(ask.get("vary", lag.vary))
    return vars(lag)


def set_latency(world: World, ask: Ask) -> Any:
    world.settings.latency_seconds = float(ask.get("seconds", float(ask.get("milliseconds", 0)) / 1000))
    return {"seconds": world.settings.latency_seconds}


def add_rule(what: str) -> Callable[[World, Ask], Any]:
    def add(world: World, ask: Ask) -> Any:
        ask.pop("what", None)
        return vars(world.rules.add(what, **ask))

    return add


def set_throttle(world: World, ask: Ask) -> Any:
    """A token bucket of real time for an `action`: `size` calls at once, then `per_second`; size 0: none."""
    rules = world.rules
    rules.throttles = [r for r in rules.throttles if r.action != ask.get("action", "*")]
    if size := float(ask.pop("size", 0)):
        rules.throttles.append(Rule(what="throttle", **ask, times=None, size=size, tokens=size))
    return [vars(r) for r in rules.throttles]


def show_rules(world: World, ask: Ask) -> Any:
    return [vars(r) for r in world.rules.rows]


def drop_rules(world: World, ask: Ask) -> Any:
    what = ask.get("what")
    world.rules.rows = [r for r in world.rules.rows if what not in (None, r.what)]
    return show_rules(world, ask)


# ── what there is to be had ──────────────────────────────────────────────────────────────────────────────


def set_capacity(world: World, ask: Ask) -> Any:
    """From now on `free` more machines fit into the pools that region, zone, type, market (globs) name."""
    row = {k: ask.get(k, "*") for k in ("region", "zone", "type", "market")}
    regions = list(world.regions)
    used = sum(market.taken(world, row, r) for r in regions)
    same = [r for r in world.settings.capacity if all(r[k] == row[k] for k in row)]
    for old in same:
        world.settings.capacity.remove(old)
    world.settings.capacity.append(row | {"most": int(ask["free"]) + used})
    return world.settings.capacity


def clear_capacity(world: World, ask: Ask) -> Any:
    world.settings.capacity.clear()
    return []


def set_quota(world: World, ask: Ask) -> Any:
    """vcpus for a `code`, or for the class of a `type` and `market`; in one `region` or in all."""
    code = ask.get("code") or quotas.code_of(ask["type"], ask.get("market", "on-demand"))
    if code not in quotas.CODES:
        raise KeyError(f"{code} is none of {sorted(quotas.CODES)}")
    key = f"{ask['region']}/{code}" if ask.get("region") else code
    world.settings.quotas[key] = float(ask["vcpus"])
    return {"code": code, "name": quotas.CODES[code][2], "vcpus": float(ask["vcpus"])}


def set_spot_price(world: World, ask: Ask) -> Any:
    at = float(seconds_of(ask.get("at")) or world.clock.now())
    world.spot.set(ask["type"], ask.get("zone", "*"), at, float(ask["usd_per_hour"]))
    return {"type": ask["type"], "zone": ask.get("zone", "*"), "at": at}


def set_regions(world: World, ask: Ask) -> Any:
    enabled = world.settings.enabled_regions
    unknown = {*ask.get("enable", ()), *ask.get("disable", ())} - set(catalogue.all_regions())
    if unknown:
        raise KeyError(f"unknown regions: {sorted(unknown)}")
    enabled |= set(ask.get("enable", ()))
    enabled -= set(ask.get("disable", ()))
    return sorted(enabled)


def set_outage(world: World, ask: Ask) -> Any:
    """A zone goes out of service; DELETE: all are back."""
    zone = ask["zone"]
    if zone not in catalogue.zones(zone[:-1]):
        raise KeyError(f"unknown zone: {zone}")
    world.zones_out.add(zone)
    set_capacity(world, {"zone": zone, "free": 0})
    return sorted(world.zones_out)


def end_outage(world: World, ask: Ask) -> Any:
    capacity = world.settings.capacity
    world.settings.capacity = [row for row in capacity if row["zone"] not in world.zones_out]
    world.zones_out.clear()
    return []


def set_retention(world: World, ask: Ask) -> Any:
    """The Recycle Bin keeps what is deleted in a `region` for so many `days`: images, snapshots and volumes,
    or those `kinds`."""
    kinds = ask.get("kinds", ["image", "snapshot", "volume"])
    if not {*kinds} <= {"image", "snapshot", "volume"}:
        raise KeyError(f"{kinds} are not image, snapshot, volume")
    world.retention[ask["region"]] = dict.fromkeys(kinds, float(ask["days"]))
    return world.retention


def set_account(world: World, ask: Ask) -> Any:
    settings = world.settings
    settings.free_plan = bool(ask.get("free_plan", settings.free_plan))
    settings.ebs_key = ask.get("ebs_key", settings.ebs_key)
    settings.may = frozenset(ask.get("may", settings.may))
    return {"free_plan": settings.free_plan, "ebs_key": settings.ebs_key, "may": sorted(settings.may)}


def set_network(world: World, ask: Ask) -> Any:
    world.settings.default_vpc = bool(ask.get("default_vpc", world.settings.default_vpc))
    if "addresses" in ask:
        world.settings.addresses = str(ask["addresses"])
    return {"default_vpc": world.settings.default_vpc, "addresses": world.settings.addresses}


# ── what happens to machines without a call of ours ──────────────────────────────────────────────────────


def find_instance(world: World, ask: Ask) -> Instance:
    thing = world.anywhere(ask["id"])
    if not isinstance(thing, Instance):
        raise KeyError(f"{ask['id']} is not an instance")
    return thing


def interrupt(world: World, ask: Ask) -> Any:
    """AWS takes a spot machine back; `notice: false` leaves out the two minutes' warning."""
    instance = find_instance(world, ask)
    if instance.market != "spot":
        raise ValueError(f"{instance.id} is not a spot instance")
    machine.interrupt(world, instance, notice=bool(ask.get("notice", True)))
    return {"id": instance.id, "state": instance.state, "interruption": instance.interruption}


def console_action(world: World, ask: Ask) -> Any:
    """As if somebody had clicked in the web console: terminate, stop, start, shutdown (typed on the machine),
    crash, deregister, delete, untag."""
    thing, do = world.anywhere(ask["id"]), ask["do"]
    if isinstance(thing, Instance):
        user = ("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")
        match do:
            case "terminate":
                machine.end(world, thing, user)
            case "stop":
                machine.stop(world, thing, user)
            case "start":
                machine.begin(world, thing, first=False)
            case "shutdown":
                machine.shut_down_inside(world, thing)
            case "crash":  # the host dies: nothing is flushed
                for attachment in thing.disks.values():
                    world.regions[thing.region].volumes[attachment.volume_id].unsynced = {}
                machine.end(
                    world, thing, ("Server.InternalError", "Server.InternalError: Internal error on launch")
                )
            case "untag":
                thing.tags.clear()
            case _:
                raise ValueError(f"{do} cannot be done to an instance")
    elif isinstance(thing, Image) and do == "deregister":
        drop_image(world, thing, bool(ask.get("with_snapshots")))
    elif isinstance(thing, Snapshot) and do == "delete":
        refuse_in_use(world, thing)
        drop_snapshot(world, thing)
    elif isinstance(thing, Volume) and do == "delete":
        from fake_ec2.disks import drop_volume

        drop_volume(world, thing)
    elif do == "untag":
        thing.tags.clear()
    else:
        raise ValueError(f"{do} cannot be done to {thing.id}")
    return {"id": thing.id, "state": thing.state}


def set_machine(world: World, ask: Ask) -> Any:
    """Give a machine an address or a console text, as a rig would; or take it out of its reservation."""
    instance = find_instance(world, ask)
    instance.public_ip = ask.get("public_ip", instance.public_ip)
    instance.private_ip = ask.get("private_ip", instance.private_ip)
    instance.console = ask.get("console", instance.console)
    if ask.get("unreserved"):
        instance.capacity_reservation = instance.reserved = None
    return {"id": instance.id, "public_ip": instance.public_ip}


def write_work(world: World, ask: Ask) -> Any:
    """The user's work: `name` = `text` on the machine's root disk. Unflushed until the machine stops cleanly
    or `flush` says so: what is unflushed is in no snapshot."""
    instance = find_instance(world, ask)
    if instance.state != "running":
        raise ValueError(f"{instance.id} is {instance.state}, not running")
    attachment = instance.disks[ask.get("device", instance.root_device)]
    volume = world.regions[instance.region].volumes[attachment.volume_id]
    volume.unsynced[ask["name"]] = ask["text"]
    if ask.get("flush"):
        machine.sync(world, instance)
    return {"volume": volume.id, "work": volume.work, "unsynced": volume.unsynced}


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────


def show_log(world: World, ask: Ask) -> Any:
    """Calls so far, oldest first; `since` a number, of an `action`."""
    since, action = int(ask.get("since", 0)), ask.get("action")
    return [e for e in world.log if e["number"] >= since and action in (None, e["action"])]


def show_members(world: World, ask: Ask) -> Any:
    """Which members of which operations hotdesk has sent since the server began."""
    return [dict(zip(("service", "action", "member"), row, strict=True)) for row in sorted(world.sent)]


def clear_log(world: World, ask: Ask) -> Any:
    world.log.clear()
    return {"next": world.calls}


def show_things(world: World, ask: Ask) -> Any:
    rows = ledger.listing(world, gone=str(ask.get("gone", "")) in {"1", "true", "True"})
    if ask.get("kind"):
        rows = [r for r in rows if r["kind"] == ask["kind"]]
    if str(ask.get("crowd", "")) in {"0", "false"}:
        rows = [r for r in rows if not r["crowd"]]
    return rows


def show_reach(world: World, ask: Ask) -> Any:
    """Whether a packet `from` an address reaches a `port` of the machine `id`, and through which groups."""
    instance = find_instance(world, ask)
    through = network.lets_in(world, instance, ask["from"], int(ask["port"]))
    return {
        "open": bool(through),
        "through": network.group_rows(world, instance.region, through),
        "no_way": routes.no_way(world, instance, ask["from"]),
    }


def show_costs(world: World, ask: Ask) -> Any:
    """Money so far and now, all and per value of a `tag` (things without it are under '')."""
    tag = ask.get("tag", "hotdesk:desk")
    rows = ledger.listing(world, gone=True)
    by_tag: dict[str, dict[str, float]] = {}
    for row in rows:
        entry = by_tag.setdefault(row["tags"].get(tag, ""), {"usd_so_far": 0.0, "usd_per_hour": 0.0})
        entry["usd_so_far"] += row["usd_so_far"]
        entry["usd_per_hour"] += row["usd_per_hour"]
    return {
        "usd_so_far": sum(r["usd_so_far"] for r in rows),
        "usd_per_hour": sum(r["usd_per_hour"] for r in rows),
        "by_tag": by_tag,
    }


def add_crowd(world: World, ask: Ask) -> Any:
    return crowd.arrive(world, ask.get("regions") or ["us-east-1"], int(ask.get("count", 20)))


def index(world: World, ask: Ask) -> Any:
    return {"seed": world.seed, "controls": sorted({f"{m} /_fake/{name}" for m, name in CONTROLS})}


def fields_of_a_rule(world: World, ask: Ask) -> Any:
    return {name: str(kind) for name, kind in Rule.__annotations__.items()}


CONTROLS: dict[tuple[str, str], Callable[[World, Ask], Any]] = {
    ("GET", ""): index,
    ("POST", "reset"): reset,
    ("GET", "clock"): show_clock,
    ("POST", "clock"): set_clock,
    ("POST", "lag"): set_lag,
    ("POST", "latency"): set_latency,
    ("POST", "refuse"): add_rule("refuse"),
    ("POST", "lose"): add_rule("lose"),
    ("POST", "delay"): add_rule("delay"),
    ("POST", "spoil"): add_rule("spoil"),
    ("POST", "throttle"): set_throttle,
    ("GET", "throttle"): lambda world, ask: [vars(r) for r in world.rules.throttles],
    ("GET", "rules"): show_rules,
    ("DELETE", "rules"): drop_rules,
    ("OPTIONS", "rules"): fields_of_a_rule,
    ("POST", "capacity"): set_capacity,
    ("DELETE", "capacity"): clear_capacity,
    ("POST", "quota"): set_quota,
    ("POST", "reservation"): reservations.make,
    ("POST", "spot-price"): set_spot_price,
    ("POST", "regions"): set_regions,
    ("POST", "network"): set_network,
    ("POST", "outage"): set_outage,
    ("DELETE", "outage"): end_outage,
    ("POST", "account"): set_account,
    ("POST", "recycle"): set_retention,
    ("POST", "interrupt"): interrupt,
    ("POST", "console"): console_action,
    ("POST", "machine"): set_machine,
    ("POST", "write"): write_work,
    ("GET", "log"): show_log,
    ("DELETE", "log"): clear_log,
    ("GET", "members"): show_members,
    ("GET", "things"): show_things,
    ("GET", "costs"): show_costs,
    ("GET", "reach"): show_reach,
    ("POST", "crowd"): add_crowd,
}
