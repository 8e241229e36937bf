"""Which port of the loopback something should have, so that its address stays the same."""

from __future__ import annotations

import hashlib

# Below the ports that systems give to outgoing connections (Linux from 32768, macOS from 49152): one of those
# may be taken by anything at the moment when it is wanted again.
_FIRST, _LAST = 20000, 32767


def usual_port(*names: str) -> int:
    """A port for these names: the same for the same names, and rarely that of others."""
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).digest()
    return _FIRST + int.from_bytes(digest[:4], "big") % (_LAST - _FIRST + 1)
