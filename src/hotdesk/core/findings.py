"""What a check-up reports, and what a desk reports about itself."""

from __future__ import annotations

import msgspec

from hotdesk.core.model import Value


class Finding(Value, frozen=True):
    """One result of a check-up: what it found, why, and how to fix it."""

    level: str  # ok | note | bad: how urgent it is
    what: str
    why: str = ""
    fix: str = ""
    mends: str = ""  # what `--fix` can do about it by itself: "chmod PATH", "public PATH"


class Remark(msgspec.Struct, frozen=True):
    """One fact worth knowing about a running desk. `fix` is empty if nothing is wrong."""

    topic: str
    text: str
    fix: str = ""
