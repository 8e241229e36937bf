"""The local provider's clock, the only source of `started_at` and `taken_at`."""

from __future__ import annotations

import time


def wall() -> float:
    """Seconds since the epoch, by this computer."""
    return time.time()  # noqa: TID251 - a cloud has its own clock, and this is it


def after(*earlier: float) -> float:
    """Now, or 1 ms after the latest of `earlier` if the clock was set back."""
    return max(wall(), *(moment + 0.001 for moment in earlier)) if earlier else wall()


def pause(seconds: float) -> None:
    """Wait inside a worker process (never in a call of the provider)."""
    time.sleep(seconds)  # noqa: TID251 - workers have no planner to hand a Wait to


def ticks() -> float:
    """Seconds on a monotonic clock, for time limits inside one process."""
    return time.monotonic()  # noqa: TID251 - for time limits, never compared with anything stored
