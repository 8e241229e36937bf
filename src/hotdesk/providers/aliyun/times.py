"""Times as the service tells them: machines' in minutes, images' and disks' in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

#: DescribeInstances tells StartTime to the minute, rounded down: the start was before the minute's end.
MINUTE = 60.0


def seconds(text: Any) -> float:
    """Seconds since the epoch; 0 for no time."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return 0.0


def started(machine: Mapping[str, Any]) -> float:
    """A machine's last start, as late as it may have been: the end of the minute that is told.

    The error is then on the safe side: an image too many is taken, never one that misses work.
    """
    at = seconds(machine.get("StartTime"))
    return at + MINUTE if at else 0.0


def clock(date: str) -> float:
    """The service's clock, from the header `Date` of its answer; 0 without one."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return 0.0
