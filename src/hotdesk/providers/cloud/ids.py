"""Ids of resources: `region/id`, so that a new process can take a step without searching all regions."""

from __future__ import annotations

from hotdesk.core.errors import Kind, Refused


def qualified(region: str, bare: str) -> str:
    """An id with its region: `us-west-2/i-0abc`. The cloud's own ids have none."""
    return f"{region}/{bare}"


def split(thing_id: str) -> tuple[str, str]:
    """Region and the cloud's own id. Raises `Refused` (bad-request) for anything else."""
    region, slash, bare = thing_id.partition("/")
    if not (region and slash and bare):
        raise Refused(
            Kind.BAD_REQUEST, f"{thing_id!r} is not an id of a rented cloud: it should look like REGION/ID."
        )
    return region, bare
