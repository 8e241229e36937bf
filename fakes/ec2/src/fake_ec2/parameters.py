"""SSM public parameters: the way to the newest published image, which moto does not have for these trees."""

from __future__ import annotations

from typing import Any

from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem
from fake_ec2.public_images import parameters
from fake_ec2.world import World


def lookup(world: World, region: str, name: str) -> str:
    world.region(region)
    found = parameters(region).get(name)
    if found is None:
        raise Problem("ParameterNotFound", f"Parameter {name} not found.")
    return found


def row(region: str, name: str, value: str) -> dict[str, Any]:
    return {
        "Name": name,
        "Type": "String",
        "Value": value,
        "Version": 7,
        "ARN": f"arn:aws:ssm:{region}::parameter{name}",
        "DataType": "aws:ec2:image" if name.endswith("ami-id") else "text",
        "LastModifiedDate": 1792000000.0,
    }


@action("GetParameter", service="ssm")
def get_parameter(world: World, call: Call) -> dict[str, Any]:
    world.check_region(call.region)
    name = call.get("Name") or ""
    return {"Parameter": row(call.region, name, lookup(world, call.region, name))}


@action("GetParameters", service="ssm")
def get_parameters(world: World, call: Call) -> dict[str, Any]:
    world.check_region(call.region)
    known = parameters(call.region)
    names = call.get("Names") or []
    return {
        "Parameters": [row(call.region, n, known[n]) for n in names if n in known],
        "InvalidParameters": [n for n in names if n not in known],
    }


@action("GetParametersByPath", service="ssm")
def get_parameters_by_path(world: World, call: Call) -> dict[str, Any]:
    world.check_region(call.region)
    path = (call.get("Path") or "/").rstrip("/") + "/"
    deep = bool(call.get("Recursive"))
    found = [
        (n, v)
        for n, v in sorted(parameters(call.region).items())
        if n.startswith(path) and (deep or "/" not in n.removeprefix(path))
    ]
    size, start = int(call.get("MaxResults") or 10), int(call.get("NextToken") or 0)
    more = {"NextToken": str(start + size)} if start + size < len(found) else {}
    return {"Parameters": [row(call.region, n, v) for n, v in found[start : start + size]]} | more
