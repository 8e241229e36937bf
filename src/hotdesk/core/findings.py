"""What a check-up says: one finding, with its reason and how to mend it."""

from __future__ import annotations

from hotdesk.core.model import Value


class Finding(Value, frozen=True):
    level: str  # ok | note | bad: whether something must be done
    what: str
    why: str = ""
    fix: str = ""
    mends: str = ""  # what `--fix` can do about it by itself: "chmod PATH", "public PATH"
