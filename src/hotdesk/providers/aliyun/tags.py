"""Tags: what is searched for or changed stands alone, the rest is packed.

A resource takes 20 tags of 128 characters (ECS API reference, TagResources). The names are those of
providers/cloud/vocabulary.py, and here also:

hotdesk:price       9.53 CNY                an hour, as offered at the launch
hotdesk:left        the StartTime of a machine that stopped itself (guest/economical.py)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hotdesk.providers.cloud import vocabulary
from hotdesk.providers.cloud.vocabulary import MARK, Tags

MOST, LONGEST = 20, 128
LINE = 640  # characters of a line: what the packed tags have room for

#: Searched for (desk, name), or written again later; those need no tag that stays free.
ALONE = frozenset(
    {
        "desk",
        "name",
        "goal",
        "owner",
        "verified",
        "reported",
        "moved",
        "price",
        "gpu",
        "scratch",
        "priced",
        "left",
    }
)
OURS = [{"Key": MARK, "Value": "1"}]


def read(listed: Mapping[str, Any] | None) -> Tags:
    """Our own tags of a resource, as its description has them."""
    return vocabulary.unpacked(vocabulary.read(_plain(listed)))


def is_ours(listed: Mapping[str, Any] | None) -> bool:
    """Whether a resource has the mark."""
    return vocabulary.is_ours(_plain(listed))


def _plain(listed: Mapping[str, Any] | None) -> Tags:
    rows: Iterable[Mapping[str, Any]] = (listed or {}).get("Tag") or ()
    # ECS says TagKey, VPC says Key.
    return {
        str(t.get("TagKey") or t.get("Key")): str(t.get("TagValue") or t.get("Value") or "") for t in rows
    }


def written(tags: Tags) -> list[dict[str, str]]:
    """Tags in the form of the API. Raises `ValueError` if they do not fit: nothing is cut off."""
    held = len(ALONE & {"verified", "reported", "moved", "left"} - tags.keys())  # written later
    packed = vocabulary.packed(tags, ALONE, most=MOST - 1 - held, longest=LONGEST)
    return [{"Key": key, "Value": value} for key, value in vocabulary.marked(packed).items()]


def changed(**tags: str) -> list[dict[str, str]]:
    """Tags that are written on a resource that has its others already; each is one of `ALONE`."""
    assert tags.keys() <= ALONE, tags
    return [{"Key": f"{MARK}:{key}", "Value": value} for key, value in tags.items()]


def named(name: str) -> list[dict[str, str]]:
    """What finds the resources of one order."""
    return [*OURS, {"Key": f"{MARK}:name", "Value": name}]
