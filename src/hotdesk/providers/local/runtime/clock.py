"""The local cloud's own clock: `started_at` and `taken_at` are read here, and nowhere else."""

from __future__ import annotations

import time


def wall() -> float:
    """Seconds since the epoch by this computer, which is the cloud that a local desk lives in."""
    return time.time()  # noqa: TID251 - a cloud has its own clock, and this is it


def after(*earlier: float) -> float:
    """Now, and strictly later than every one of `earlier`, even when the clock was set back."""
    return max(wall(), *(moment + 0.001 for moment in earlier)) if earlier else wall()


def pause(seconds: float) -> None:
    """Wait inside a worker process (never in a call of the provider)."""
    time.sleep(seconds)  # noqa: TID251 - workers have no planner to hand a Wait to


def ticks() -> float:
    """Seconds on a clock that is never set: for limits inside one process."""
    return time.monotonic()  # noqa: TID251 - limits of a worker, never compared with anything stored
