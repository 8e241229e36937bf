"""A job's plan in the page: the part of `PlanRequest` that names no file of this computer."""

from __future__ import annotations

from typing import Any

from msgspec import to_builtins

from hotdesk.api import Hotdesk
from hotdesk.core.model import Value
from hotdesk.services.planning import PlanRequest


class Job(Value, frozen=True):
    """A job's size and its limits; units as in `PlanRequest`."""

    work_hours: float | None = None
    reference: str = ""
    items: float | None = None
    epochs: float = 1.0
    measured: tuple[str, ...] = ()
    family: str = "other"
    precision: str = "fp16"
    memory_gib: float = 0.0
    machines: str = ""
    divisible: bool = True
    startup_minutes: float | None = None
    data_gib: float = 0.0
    deadline_hours: float | None = None
    budget_usd: float | None = None
    usd_per_hour: float | None = None
    gpu: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    market: str = ""
    max_usd: float | None = None


def plan(desks: Hotdesk, job: Job) -> dict[str, Any]:
    """What finishing it costs, and how long it takes."""
    from hotdesk.market.refused import left_out

    said = {name: getattr(job, name) for name in job.__struct_fields__}
    got = desks.plan(PlanRequest(**said))
    answer = to_builtins(got.answer)
    return {**answer, "bare": got.bare, "left_out": left_out(got.left_out)}
