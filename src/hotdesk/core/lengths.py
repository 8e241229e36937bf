"""Lengths of time as people write them: 90m, 1.5h, 2d."""

from __future__ import annotations

import contextlib
import re

SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
NEVER = "never"


def seconds(text: str, unit: str = "") -> float:
    """The seconds of a length; a plain number, of any sign, is of the `unit` given. Raises `ValueError`."""
    if unit:
        with contextlib.suppress(ValueError):
            return float(text) * SECONDS[unit]
    if found := re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|m|min|h|d)", text.strip().lower()):
        return float(found[1]) * SECONDS[found[2]]
    raise ValueError(f"{text!r} is not a length of time: it is written as 90m, 2h or 1d.")
