"""Durations as people write them: 90m, 1.5h, 2d."""

from __future__ import annotations

import contextlib
import re

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
NEVER = "never"


def seconds(text: str, unit: str = "") -> float:
    """Seconds in a duration; a plain number, of either sign, is in `unit`. Raises `ValueError`."""
    if unit:
        with contextlib.suppress(ValueError):
            return float(text) * SECONDS[unit]
    form = r"(\d+(?:\.\d*)?|\.\d+)\s*(s|sec|m|min|h|hours?|d|days?)"
    if found := re.fullmatch(form, text.strip().lower()):
        return float(found[1]) * SECONDS[found[2][0]]
    raise ValueError(f"{text!r} is not a duration: write 90m, 2h or 1d.")
