"""What a check-up says, and what a desk says of itself."""

from __future__ import annotations

import msgspec

from hotdesk.core.model import Value


class Finding(Value, frozen=True):
    """Something that a check-up has found, with its reason and how to mend it."""

    level: str  # ok | note | bad: whether something must be done
    what: str
    why: str = ""
    fix: str = ""
    mends: str = ""  # what `--fix` can do about it by itself: "chmod PATH", "public PATH"


class Remark(msgspec.Struct, frozen=True):
    """One thing that is worth knowing about a desk that runs. `fix` is empty where all is well."""

    topic: str
    text: str
    fix: str = ""
