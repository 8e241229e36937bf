"""Numbers of bytes as people read them."""

from __future__ import annotations


def said(count: float) -> str:
    """A number of bytes in the unit that reads best: 1.5 GiB, 20.0 MiB, 4 KiB, 256 bytes."""
    for size, unit in ((2**30, "GiB"), (2**20, "MiB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 2**10:.0f} KiB" if count >= 2**10 else f"{count:.0f} bytes"
