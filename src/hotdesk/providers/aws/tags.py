"""The tags that every resource gets in the call that creates it, and how they are read.

hotdesk             1        the mark of all our resources
hotdesk:desk        blue
hotdesk:generation  3
hotdesk:born        the desk's creation (this computer's clock), which tells desks of one name apart
hotdesk:name        the name of the order, by which a lost answer is found again
hotdesk:goal        running | parked | gone (its owner asked for that; it may still be going on)
hotdesk:market      spot | on-demand        hotdesk:usd     per hour, as offered at launch
hotdesk:price       9.53 CNY                instead of usd, where AWS tells another currency
hotdesk:priced      date of that price, if it is not from AWS (seconds since the epoch)
hotdesk:scratch     GiB of instance store, which is in no image
hotdesk:gpu         L4                      hotdesk:user    who to log in as
hotdesk:arch        x86_64                  hotdesk:boot    boot mode, where the image has one
hotdesk:root        /dev/sda1               hotdesk:started the source's last start, on images
hotdesk:tpm         v2.0, where the image has it
hotdesk:parts       /dev/sda1=0abc,/dev/sdf=0def   which disk was made from which snapshot: see disks.py
hotdesk:device      /dev/sdf                on a snapshot: the device of its disk
hotdesk:keys        the launch that made the machine's ssh host keys, which are pinned under it
hotdesk:image       the desk's own image that a machine was launched from, also on images of that machine
hotdesk:line        0badc0de@rvqk2g,…       the saves that a machine comes from: of each, the end of the name
                                            of the machine that was saved, and its start (base 36); `-`:
                                            none. Disks and images have their machine's. See descent.py
hotdesk:machine     the name of the machine whose work an image or a snapshot holds
hotdesk:reported    1                       a login to the machine succeeded, and its owner was told
hotdesk:computer    laptop                  the computer that launched a machine, and has its key
hotdesk:version     0.2.0                   the hotdesk whose programs run on a machine
hotdesk:source      what an image was taken from
hotdesk:disks       /dev/sda1=100           what a complete image must hold
hotdesk:moved       4                       the desk's generation at which a machine got its type
hotdesk:of          blue                    on a fleet's machines: the desk whose image and keys they have
                                            (their hotdesk:desk is the fleet's name)
hotdesk:held        2 desktop-4f2a          … the computer that has taken it over, and the how manieth time;
                                            on the image, under `held-` and the fleet's name
hotdesk:over-3-a1…  desktop-4f2a 3-a1…:2    the same of fleets that are over, several in one tag
hotdesk:owner       user/alice              see owner.py
hotdesk:verified    1                       verified
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hotdesk.providers.cloud import vocabulary
from hotdesk.providers.cloud.vocabulary import MARK, Tags

OURS = [{"Name": f"tag:{MARK}", "Values": ["1"]}]


def read(listed: Iterable[Mapping[str, str]] | None) -> Tags:
    """Our own tags in EC2's list, without their prefix; others are left out."""
    return vocabulary.read({t["Key"]: t["Value"] for t in listed or ()})


def is_ours(listed: Iterable[Mapping[str, str]] | None) -> bool:
    """Whether a resource has the mark."""
    return vocabulary.is_ours({t["Key"]: t["Value"] for t in listed or ()})


def listed(tags: Tags) -> list[dict[str, str]]:
    """Tags in the form of EC2's API."""
    written = {"Name": tags.get("name", MARK), **vocabulary.marked(tags)}
    return [{"Key": key, "Value": value[:256]} for key, value in written.items()]


def specifications(kinds: Sequence[str], tags: Tags) -> list[dict[str, Any]]:
    """TagSpecifications for the kinds of resources that one call creates."""
    return [{"ResourceType": kind, "Tags": listed(tags)} for kind in kinds]
