"""How busy a desk is: one look, and the curves of a job's life. Pure; guest/measure.py measures."""

from __future__ import annotations

import msgspec

from hotdesk.core import wire
from hotdesk.core.model import Value


class GpuLoad(Value, frozen=True):
    """One GPU. Sizes in bytes; None is what its driver does not tell."""

    name: str
    use: float | None = None  # the share of the last second in which it computed
    memory: int | None = None
    memory_of: int | None = None


class Load(Value, frozen=True):
    """A machine at one moment. Sizes in bytes, shares from 0 to 1; None is what it does not tell."""

    at: float  # its clock
    cpus: int
    cpu: float | None = None
    memory: int | None = None
    memory_of: int | None = None
    disk: int | None = None
    disk_of: int | None = None
    gpus: tuple[GpuLoad, ...] = ()


class Curve(Value, frozen=True):
    """One thing over a job's life: shares from 0 to 1, at times of the desk's clock."""

    name: str
    times: tuple[float, ...]
    shares: tuple[float, ...]


#: The shares of a kept sample, in their order (guest/measure.py, `shares`).
_NAMES = ("CPU", "memory", "disk", "GPU", "GPU memory")


def read_curves(text: bytes) -> tuple[Curve, ...]:
    """The curves in a job's samples; of what was never known there is none."""
    rows: list[list[float | None]] = []
    for line in text.splitlines():
        try:
            rows.append(wire.json(line, list[float | None]))
        except msgspec.DecodeError:
            continue  # half a line, of a machine that was cut off
    found = []
    for n, name in enumerate(_NAMES, 1):
        known = [(row[0], row[n]) for row in rows if len(row) > n]
        points = [(at, share) for at, share in known if at is not None and share is not None]
        if points:
            times, shares = zip(*points, strict=True)
            found.append(Curve(name=name, times=times, shares=shares))
    return tuple(found)
