"""Tags: what is written on everything in the very call that makes it, and how it is read back.

hotdesk             1        the mark of everything that is ours
hotdesk:desk        blue
hotdesk:generation  3
hotdesk:born        the desk's creation (this computer's clock), which tells desks of one name apart
hotdesk:name        the name of the order: what a lost answer is found again by
hotdesk:goal        running | parked
hotdesk:market      spot | on-demand        hotdesk:usd     per hour, as offered at launch
hotdesk:priced      when that price was so, where AWS did not tell it (seconds since the epoch)
hotdesk:scratch     GiB of instance store, which is in no image
hotdesk:gpu         L4                      hotdesk:user    who to log in as
hotdesk:arch        x86_64                  hotdesk:boot    boot mode, where the image has one
hotdesk:root        /dev/sda1               hotdesk:started the source's last start, on images
hotdesk:keys        the launch that made the machine's ssh host keys: what they are pinned under
hotdesk:image       the desk's own image that a machine was launched from
hotdesk:source      what an image was taken from
hotdesk:disks       /dev/sda1=100           what an image must hold to be whole
hotdesk:moved       4                       the desk's generation that a machine was given its type for
hotdesk:owner       user/alice              whose it is: see owner.py
hotdesk:verified    1                       read back and found whole
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MARK = "hotdesk"
OURS = [{"Name": f"tag:{MARK}", "Values": ["1"]}]

Tags = dict[str, str]


def read(listed: Iterable[Mapping[str, str]] | None) -> Tags:
    """Our own tags out of EC2's list, without their prefix; other people's are left out."""
    found = {t["Key"]: t["Value"] for t in listed or ()}
    return {key.removeprefix("hotdesk:"): v for key, v in found.items() if key.startswith("hotdesk:")}


def is_ours(listed: Iterable[Mapping[str, str]] | None) -> bool:
    """Whether something carries the mark."""
    return any(t["Key"] == MARK and t["Value"] == "1" for t in listed or ())


def of(desk: str, name: str, **more: object) -> Tags:
    """The tags of something made for a desk. Empty values are left out."""
    return {"desk": desk, "name": name, **{k: str(v) for k, v in more.items() if v not in {"", None}}}


def listed(tags: Tags) -> list[dict[str, str]]:
    """For the API."""
    ours = [{"Key": f"hotdesk:{key}", "Value": value[:256]} for key, value in sorted(tags.items())]
    return [{"Key": MARK, "Value": "1"}, {"Key": "Name", "Value": tags.get("name", MARK)[:256]}, *ours]


def specifications(kinds: Sequence[str], tags: Tags) -> list[dict[str, Any]]:
    """TagSpecifications for the kinds of things that one call makes."""
    return [{"ResourceType": kind, "Tags": listed(tags)} for kind in kinds]


def generation(tags: Tags, key: str = "generation") -> int:
    text = tags.get(key, "")
    return int(text) if text.isdecimal() else 0


def number(tags: Tags, key: str) -> float:
    try:
        return float(tags.get(key, ""))
    except ValueError:
        return 0.0
