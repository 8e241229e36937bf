"""Try again while the line to a machine is cut, as long as something gets through."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hotdesk.core.backoff import backoff
from hotdesk.providers.cloud.direct import Lost
from hotdesk.providers.local.runtime import clock
from hotdesk.providers.ssh.line import Silent
from hotdesk.snapshots.transfer import Cut

T = TypeVar("T")
PATIENCE = 5  # cuts in a row between which nothing went on


def patiently(
    work: Callable[[], T], say: Callable[[str], None], moved: Callable[[], float] = lambda: 0.0
) -> T:
    """The work's result; again, later each time, while the line is cut. `moved`: grows as it goes on."""
    times, before = 0, moved()
    while True:
        try:
            return work()
        except (Silent, Cut, Lost) as error:
            now = moved()
            times = 1 if now > before else times + 1
            before = now
            if times >= PATIENCE:
                raise
            pause = backoff(times, str(before))
            say(f"{error}; again in {pause:.0f} s")
            clock.pause(pause)
