"""Durations as people write them (90m, 1.5h, 2d) and read them."""

from __future__ import annotations

import contextlib
import math
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


def said(length: float, digits: int = 3) -> str:
    """A length in seconds, in the unit that reads best: to so many significant digits, and never less than
    whole seconds, minutes, hours or days. One digit says how long ago something was."""
    number = unit = ""
    for size, most, unit in ((1, 60, "s"), (60, 90, "min"), (3600, 48, "h"), (86400, math.inf, "d")):  # noqa: B007
        amount = max(length, 0.0) / size
        number = f"{amount:.{max(0, digits - len(str(int(amount))))}f}"
        if float(number) < most:
            break
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"
