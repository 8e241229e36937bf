"""Exponential backoff with jitter, for a cloud that answers "too many requests" or fails on its own side.

Each wait is twice as long as the one before, and a random part of it keeps two computers that were refused
at the same moment from asking again at the same moment.
"""

from __future__ import annotations

import hashlib

FIRST_SECONDS = 2.0
MOST_SECONDS = 120.0


def backoff(times: int, seed: str) -> float:
    """Seconds to wait after `times` refusals in a row (1 or more): 50–100 % of the full wait.

    Deterministic: `seed` is the only source of the jitter.
    """
    full = min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** min(times - 1, 16))
    digest = hashlib.blake2b(f"{seed}/{times}".encode(), digest_size=8).digest()
    return float(full / 2 * (1 + int.from_bytes(digest, "big") / 2**64))
