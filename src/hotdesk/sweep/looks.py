"""What a sweep's machines say when they are looked at, in a thread of its own: the loop waits for none."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from queue import Empty, SimpleQueue

from hotdesk.core.ports import Clock
from hotdesk.core.sweep.model import Sweep
from hotdesk.parallel import side_by_side
from hotdesk.sweep.machine import Known
from hotdesk.sweep.site import Site

LOOK_SECONDS = 3.0  # between two looks at what runs
FETCH_SECONDS = 60.0  # between two copies of logs and results
AT_ONCE = 32


class Looks:
    """`names`: of the machines that are looked at."""

    def __init__(self, site: Site, clock: Clock) -> None:
        self.site, self.clock = site, clock
        self.names: tuple[str, ...] = ()
        self._heard: SimpleQueue[tuple[str, Known | None]] = SimpleQueue()
        self._fetched = float("-inf")

    def look(self, sweep: Sweep) -> None:
        """In a thread: what runs on each machine; and now and then, a copy of what is there."""
        names = self.names
        answers = side_by_side([partial(self.site.look, sweep, name) for name in names], AT_ONCE)
        for name, answer in zip(names, answers, strict=True):
            self._heard.put((name, None if isinstance(answer, Exception) else answer))
        now = self.clock.now()
        if now - self._fetched > FETCH_SECONDS:
            if self._fetched > 0:
                side_by_side([partial(self.site.fetch, sweep, name) for name in names], 4)
            self._fetched = now

    def heard(self) -> Iterator[tuple[str, Known | None]]:
        """What was heard since the last call; None of a machine that did not answer."""
        while True:
            try:
                yield self._heard.get_nowait()
            except Empty:
                return
