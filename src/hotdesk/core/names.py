"""Names of desks."""

from __future__ import annotations

import re

from hotdesk.core.errors import Usage

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\Z")


def is_name(name: str) -> bool:
    """Whether that can be a desk's name. (Tags in a cloud may hold anything, so they are checked.)"""
    return bool(_NAME.match(name))


def check_name(name: str) -> str:
    """Return the name if it is valid for a desk: 1 to 32 of a-z, 0-9 and inner hyphens; else raise `Usage`.

    It becomes part of tags, host aliases, folders and image names in every cloud, hence the narrow rule.
    """
    if _NAME.match(name):
        return name
    shown = name if len(name) <= 40 else name[:37] + "..."
    tidy = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:32].strip("-") or "blue"
    raise Usage(
        f"{shown!r} cannot be a desk's name.",
        "A name has 1 to 32 characters: a-z, 0-9 and hyphens between them.",
        f"hotdesk up {tidy}",
    )
