"""Stable loopback ports, so that an address stays the same between runs."""

from __future__ import annotations

import hashlib

# Below the ephemeral ports (Linux from 32768, macOS from 49152), any of which may be in use when it is needed
# again.
_FIRST, _LAST = 20000, 32767


def usual_port(*names: str) -> int:
    """A port derived from these names: always the same, and rarely that of other names."""
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).digest()
    return _FIRST + int.from_bytes(digest[:4], "big") % (_LAST - _FIRST + 1)
