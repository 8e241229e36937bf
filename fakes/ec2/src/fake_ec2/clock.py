"""The cloud's own time: it runs with real time by default, and can be set, stopped, sped up or advanced.

Everything that takes time in EC2 is an event on this clock. Durations are those of the real cloud, in
seconds, times `pace`: with the default pace a machine boots in 0.15 s. `pace = 1` is the real thing, best
used with a clock that is advanced by hand.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

# Seconds in the real cloud: what a person sees on an ordinary day.
DURATIONS = {
    "pending": 15.0,  # RunInstances or StartInstances to running
    "stopping": 25.0,
    "shutting-down": 20.0,
    "status-ok": 120.0,  # running to "2/2 checks passed"
    "volume": 3.0,  # creating to available
    "snapshot": 20.0,  # per snapshot, plus:
    "snapshot-per-gib": 0.1,
    "image": 5.0,  # last snapshot completed to image available
    "copy": 60.0,  # a snapshot on its way to another region
    "interruption-notice": 120.0,  # spot: warning to termination
    "relaunch": 90.0,  # a persistent spot request starts its next machine
    "linger": 10.0,  # a deleted volume, snapshot or image stays listed (DescribeImages: "a short interval")
    "untag": 600.0,  # a terminated instance keeps its tags ("a short while", says the guide)
    "forget": 3600.0,  # a terminated instance stays listed
}
NEVER_PACED = {"forget", "untag"}


class Clock:
    """Says the cloud's time in seconds since the epoch, and does what is due."""

    def __init__(self, pace: float = 0.01, durations: Mapping[str, float] = DURATIONS) -> None:
        self.pace = pace
        self.rate = 1.0
        self.durations = dict(durations)
        self._told = self._real = time.time()
        self._events: list[tuple[float, int, Callable[[], Any]]] = []
        self._order = 0
        self._instant: float | None = None

    def now(self) -> float:
        """While a due event runs, its own moment; else the cloud's present."""
        if self._instant is not None:
            return self._instant
        return self._told + (time.time() - self._real) * self.rate

    def takes(self, what: str) -> float:
        return self.durations[what] * (1.0 if what in NEVER_PACED else self.pace)

    def second(self, at: float) -> float:
        """The whole second in which that was, as EC2 tells times of machines and images; paced as all is, or
        whole lives would pass within one."""
        unit = min(1.0, self.pace)
        return math.floor(at / unit + 1e-6) * unit

    def set(self, at: float) -> None:
        self._told, self._real = at, time.time()

    def advance(self, seconds: float) -> None:
        self.set(self.now() + seconds)

    def run_at(self, rate: float) -> None:
        """Cloud seconds per real second; 0 stops the clock."""
        self.set(self.now())
        self.rate = rate

    def after(self, seconds: float, do: Callable[[], Any]) -> None:
        """`do` happens once that time has come. If it returns a number, it is tried again that much later."""
        self._order += 1
        heapq.heappush(self._events, (self.now() + seconds, self._order, do))

    def settle(self) -> None:
        """Do all that is due, in order, each at its own moment."""
        present = self.now()
        while self._events and self._events[0][0] <= present:
            at, _, do = heapq.heappop(self._events)
            self._instant = at
            try:
                again = do()
                if again is not None and again is not False and again is not True:
                    self._instant = None
                    self.after(float(again), do)
            finally:
                self._instant = None

    def next_event(self) -> float | None:
        return self._events[0][0] if self._events else None

    def forget_events(self) -> None:
        self._events.clear()
