"""CreateTags, DeleteTags, DescribeTags over our things and moto's."""

from __future__ import annotations

from typing import Any

from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem, missing
from fake_ec2.filters import keep, page
from fake_ec2.things import Thing
from fake_ec2.world import PREFIX, World

KIND_OF = {prefix: kind for kind, prefix in PREFIX.items()}


def kind_of(thing_id: str) -> str | None:
    return KIND_OF.get(thing_id.split("-", maxsplit=1)[0] + "-")


def ours(world: World, region: str, ids: list[str]) -> tuple[list[Thing], list[str]]:
    """(our things, ids that are moto's). One that does not exist refuses the whole call."""
    found, others = [], []
    for thing_id in ids:
        kind = kind_of(thing_id)
        if kind:
            found.append(world.find(region, kind, thing_id))
        elif not thing_id.startswith("eni-"):
            others.append(thing_id)
    return found, others


@action("CreateTags")
def create_tags(world: World, call: Call) -> dict[str, Any]:
    ids = call.get("Resources") or []
    tags = {t.get("Key"): t.get("Value") or "" for t in call.get("Tags") or []}
    if not ids or not tags:
        raise missing("resourceIdSet" if not ids else "Tag")
    if any(str(key).lower().startswith("aws:") for key in tags):
        raise Problem("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
    things, others = ours(world, call.region, ids)
    for thing in things:
        if len(thing.tags | tags) > 50:
            raise Problem("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
    call.dry_run()
    for thing in things:
        world.put_tags(thing, tags)
    for instance in world.region(call.region).instances.values():
        if instance.eni_id in ids:
            instance.eni_tags |= tags
    if others:
        world.moto(call.region).create_tags(others, tags)
    return {"Return": True}


@action("DeleteTags")
def delete_tags(world: World, call: Call) -> dict[str, Any]:
    wanted = {t.get("Key"): t.get("Value") for t in call.get("Tags") or []}
    things, others = ours(world, call.region, call.get("Resources") or [])
    call.dry_run()
    for thing in things:
        for key in list(thing.tags):
            if not wanted or (key in wanted and wanted[key] in (None, thing.tags[key])):
                thing.tags.pop(key)
    if others:
        world.moto(call.region).delete_tags(others, wanted)
    return {"Return": True}


@action("DescribeTags")
def describe_tags(world: World, call: Call) -> dict[str, Any]:
    """Also of what is gone, for an hour: as in AWS, a hint and not a survey."""
    now = world.clock.now()
    rows = []
    for kind, things in world.region(call.region).kinds().items():
        for thing in things.values():
            if thing.visible > now or (
                thing.gone is not None and now - thing.gone > world.clock.takes("forget")
            ):
                continue
            for key, value in world.seen_tags(thing).items():
                rows.append({"ResourceId": thing.id, "ResourceType": kind, "Key": key, "Value": value})
    for row in world.moto(call.region).describe_tags():
        rows.append(
            {
                "ResourceId": row["resource_id"],
                "ResourceType": row["resource_type"],
                "Key": row["key"],
                "Value": row["value"],
            }
        )
    fields = {"key": "Key", "value": "Value", "resource-id": "ResourceId", "resource-type": "ResourceType"}
    plain = [c for c in call.get("Filters") or [] if not str(c.get("Name")).startswith("tag:")]
    for condition in call.get("Filters") or []:
        if str(condition.get("Name")).startswith("tag:"):
            plain += [
                {"Name": "key", "Values": [condition["Name"][4:]]},
                {"Name": "value", "Values": condition["Values"]},
            ]
    call.params["Filters"] = plain
    return page(keep(rows, call, fields), call, "Tags")
