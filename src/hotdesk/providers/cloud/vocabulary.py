"""The vocabulary of hotdesk's tags: encode values that a cloud writes on its resources, and read them back.

A cloud that allows fewer or shorter tags packs those that it neither searches for nor changes into a few
(Alibaba Cloud: 20 tags of 128 characters, ECS API reference, TagResources).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import count, takewhile
from urllib.parse import quote, unquote

from hotdesk.core.fleet import Hold
from hotdesk.core.steps import BakeOrder

Tags = dict[str, str]

MARK = "hotdesk"
_PREFIX = f"{MARK}:"
_PACKED = "more"
_HELD, _OVER = "held-", "over-"  # of a fleet; of several that are over


def marked(tags: Mapping[str, str]) -> Tags:
    """Tags as they are written on a resource: with our prefix, and with the mark of all our resources."""
    return {MARK: "1", **{_PREFIX + key: value for key, value in sorted(tags.items())}}


def read(written: Mapping[str, str]) -> Tags:
    """Our own tags among all those of a resource, without their prefix."""
    return {key.removeprefix(_PREFIX): v for key, v in written.items() if key.startswith(_PREFIX)}


def is_ours(written: Mapping[str, str]) -> bool:
    """Whether a resource with these tags has the mark."""
    return written.get(MARK) == "1"


def of(desk: str, name: str, **more: object) -> Tags:
    """The tags of a desk's resource. Empty values are left out."""
    return {"desk": desk, "name": name, **{k: str(v) for k, v in more.items() if v not in {"", None}}}


def held(fleet: str) -> str:
    """The key under which an image says which computer goes on with a fleet (core/fleet.py)."""
    return f"{_HELD}{fleet}"


def held_of(tags: Mapping[str, str], fleet: str) -> Hold:
    """What the tags of an image say of a fleet: its own, or one of those that several share."""
    known = [Hold.read(tags.get(held(fleet), ""))]
    for key, value in tags.items():
        if key.startswith(_OVER):
            computer, *entries = value.split()
            known += [
                Hold(number=int(number), computer=computer)
                for name, _, number in (entry.partition(":") for entry in entries)
                if name == _short(fleet) and number.isdecimal()
            ]
    return max(known, key=lambda hold: hold.number)


def settled(tags: Mapping[str, str], over: Mapping[str, Hold], longest: int) -> tuple[Tags, Tags]:
    """Tags to be written on an image, and then those to be removed, so that marks of fleets share tags.

    A shared tag has the name of the first fleet in it: nobody but who had that fleet last writes it, so two
    computers never write one.
    """
    shared: Tags = {k: v for k, v in tags.items() if k.startswith(_OVER)}
    written: Tags = {}
    freed: Tags = {}
    for fleet, hold in sorted(over.items()):
        if Hold.read(tags.get(held(fleet), "")) != hold or set(hold.computer) & {*" :"}:
            continue
        entry = f"{_short(fleet)}:{hold.number}"
        room = (
            key
            for key, value in shared.items()
            if key in {_OVER + _short(name) for name in over}
            and value.split(" ")[0] == hold.computer
            and len(f"{value} {entry}") <= longest
        )
        own = _OVER + _short(fleet)
        key = next(room, "" if own in shared else own)  # full, or another's, who had the fleet before
        if not key:
            continue
        shared[key] = written[key] = f"{shared.get(key, hold.computer)} {entry}"
        freed[held(fleet)] = str(hold)
    return written, freed


def _short(fleet: str) -> str:
    return fleet.removeprefix("sweep")


def of_image(order: BakeOrder, told: Tags, sizes: Mapping[str, int], kept: Iterable[str]) -> Tags:
    """The tags of an image of a machine, or of disks, whose tags are `told`; it has those in `kept` too."""
    return of(
        order.desk,
        order.name,
        generation=order.generation,
        born=order.born,
        attempt=order.attempt,
        goal="parked",
        source=order.source_id,
        machine=told.get("name", ""),
        started=order.started_at or "",
        disks=",".join(f"{device}={size}" for device, size in sorted(sizes.items())),
        **{key: told[key] for key in kept if told.get(key)},
    )


def of_copy(told: Tags, name: str, made_at: object) -> Tags:
    """The tags of an image's copy, under its own name: the original's generation, source and time."""
    kept = {key: value for key, value in told.items() if key != "verified"}
    return kept | {"name": name, "copied": "1", "taken": told.get("taken") or str(made_at or "")}


_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
NONE = "-"


def line(marks: Sequence[str], longest: int = 256) -> str:
    """A line (core/lifecycle/descent.py) as a tag's value of at most `longest` characters.

    256 characters hold the latest fourteen saves. A longer line keeps its latest ones, whose images may still
    exist.
    """
    steps: list[str] = []
    for mark in reversed(marks):
        machine, _, started = mark.partition("@")
        steps.insert(0, f"{machine}@{_base36(float(started))}")
        if len(",".join(steps)) > longest:
            del steps[0]
            break
    return ",".join(steps) or NONE


def line_of(tags: Tags) -> tuple[str, ...] | None:
    """The line in a tag; None without such a tag, as on resources of earlier versions."""
    if not (text := tags.get("line", "")):
        return None
    pairs = [step.partition("@") for step in text.split(",") if step != NONE]
    return tuple(f"{machine}@{_number36(started)!r}" for machine, _, started in pairs)


def _base36(seconds: float) -> str:
    """Seconds in base 36, exactly: EC2 gives whole ones; a fraction follows a point, in decimals."""
    if seconds == float("inf"):
        return ""
    whole, _, part = repr(max(0.0, float(seconds))).partition(".")
    number, text = int(whole), ""
    while number or not text:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text if part == "0" else f"{text}.{part}"


def _number36(text: str) -> float:
    """Decode `_base36`; -inf, before every start, if the tag was edited and is no number."""
    try:
        whole, point, part = text.partition(".")
        return float(f"{int(whole, 36)}{point}{part}") if text else float("inf")
    except ValueError:
        return float("-inf")


def generation(tags: Tags, key: str = "generation") -> int:
    text = tags.get(key, "")
    return int(text) if text.isdecimal() else 0


def number(tags: Tags, key: str) -> float:
    try:
        told = float(tags.get(key, ""))
    except ValueError:
        return 0.0
    return told if math.isfinite(told) else 0.0  # hotdesk never writes "nan"


def packed(tags: Mapping[str, str], alone: Collection[str], most: int, longest: int) -> Tags:
    """At most `most` tags of at most `longest` characters: those in `alone` unchanged, the others packed.

    Raises `ValueError` if they do not fit, or a value in `alone` is too long: nothing is cut off.
    """
    told = {key: value for key, value in tags.items() if key in alone}
    text = "".join(f"{key}={quote(value, safe=_PLAIN)};" for key, value in tags.items() if key not in alone)
    told |= {f"{_PACKED}{n}": text[at : at + longest] for n, at in enumerate(range(0, len(text), longest))}
    if len(told) > most or any(len(value) > longest for value in told.values()):
        raise ValueError(f"{len(tags)} tags do not fit into {most} of {longest} characters")
    return told


#: Characters that are not escaped. No colon: "http://" in a tag is refused (the same reference).
_PLAIN = "/,@+."


def unpacked(told: Mapping[str, str]) -> Tags:
    """Reverse `packed`. If a part is missing, only what stands whole before it is read."""
    parts = {int(key[len(_PACKED) :]): value for key, value in told.items() if _NUMBERED.fullmatch(key)}
    text = "".join(parts[n] for n in takewhile(parts.__contains__, count()))
    pairs = [pair.partition("=") for pair in text.split(";")[:-1]]
    others = {key: value for key, value in told.items() if not _NUMBERED.fullmatch(key)}
    return {key: unquote(value) for key, equals, value in pairs if key and equals} | others


_NUMBERED = re.compile(_PACKED + r"\d+")
