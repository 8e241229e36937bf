"""Whole numbers in what a page says."""

from __future__ import annotations

_DIGITS = 15  # more than any place in a log has, and fewer than SQLite or Python refuse


def whole(text: str) -> int | None:
    """None where nothing is said, or nothing that is the number of anything."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None
