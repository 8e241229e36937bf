"""How long to leave a cloud alone that answers "too many requests", or fails on its own side.

Exponential backoff with jitter: each wait is twice as long as the one before, and a random part of it keeps
two computers that were refused in the same moment from asking again in the same moment.
"""

from __future__ import annotations

import hashlib

FIRST_SECONDS = 2.0
MOST_SECONDS = 120.0


def backoff(times: int, seed: str) -> float:
    """Seconds to wait after so many refusals in a row (1 or more): between half of it and all of it.

    The same arguments give the same wait: chance comes from `seed` alone.
    """
    full = min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** min(times - 1, 16))
    digest = hashlib.blake2b(f"{seed}/{times}".encode(), digest_size=8).digest()
    return float(full / 2 * (1 + int.from_bytes(digest, "big") / 2**64))
