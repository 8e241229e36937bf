"""What is wanted of a desk's hardware, from the options that somebody gave."""

from __future__ import annotations

from typing import Any

import msgspec

from hotdesk.core.errors import Usage
from hotdesk.core.matching import read_gpu
from hotdesk.core.model import MarketChoice, Want


def wanted(base: Want, given: dict[str, Any]) -> Want | None:
    """What was wanted until now, changed by the options given; None when none was given."""
    changes = {k: v for k, v in given.items() if v not in (None, (), "") and v is not False}  # 0 is a limit
    if changes.pop("cheap", None):
        if contrary := [key for key in ("gpu", "instance_type") if key in changes]:
            option = {"gpu": "--gpu", "instance_type": "--type"}[contrary[0]]
            raise Usage(
                f"--cheap and {option} contradict each other.", "Both choose the hardware.", "one of them"
            )
        changes["gpu"] = "none"
    if gpu := changes.get("gpu"):
        asked = read_gpu(gpu)
        changes |= {"gpu": asked.said, "gpu_count": asked.number, "instance_type": ""}
    if "market" in changes:
        changes["market"] = MarketChoice(changes["market"])
    if "instance_type" in changes and "gpu" not in changes:
        changes |= {"gpu": "", "gpu_count": 0}
    return msgspec.structs.replace(base, **{"initialization_rate": 0, **changes}) if changes else None
