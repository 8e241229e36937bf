"""At which rate a service may be asked: for the few whose own limit is lower than what we could ask at once.

The Price List API takes 10 requests at once and 5 a second, of the whole account (AWS Billing user guide,
"Using the AWS Price List Query API", quotas). What goes past that is refused, and a refused page loses a
region's prices. One process stays below it; what others take beside it is for the client's own backoff.
"""

from __future__ import annotations

import threading
from time import perf_counter
from typing import Any


class Pace:
    """A token bucket: so many requests at once, and so many a second after that. Safe in several threads."""

    def __init__(self, burst: float, per_second: float) -> None:
        self.burst = burst
        self.per_second = per_second
        self._tokens = burst
        self._at = perf_counter()
        self._lock = threading.Lock()

    def owed(self) -> float:
        """Take a token; seconds until it may be used."""
        with self._lock:
            now = perf_counter()
            self._tokens = min(self.burst, self._tokens + (now - self._at) * self.per_second) - 1
            self._at = now
            return max(0.0, -self._tokens / self.per_second)

    def take(self) -> None:
        """Return when a request may be sent."""
        if seconds := self.owed():
            threading.Event().wait(seconds)


#: Of this process, whoever asks: a little less than AWS's own.
PRICE_LIST = Pace(burst=8, per_second=4)

#: How often a question to the price list is sent at most, with botocore's backoff between: others ask it too.
PRICE_LIST_ATTEMPTS = 8


def keep_pace(client: Any, pace: Pace = PRICE_LIST) -> Any:
    """The client of boto3, which from now on sends nothing faster than that, repeats included."""

    def wait(**_: object) -> None:
        pace.take()

    client.meta.events.register("before-send.pricing", wait)
    return client
