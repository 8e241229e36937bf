"""What an installed package consists of, by the checksums that its wheel gave its files.

The standard library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
from typing import Any

#: Written by whoever installs, and not from the wheel.
_INSTALLERS = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json")


def content(dist: importlib.metadata.Distribution) -> str:
    """A digest of all that a wheel has brought, the same wherever it is installed; "" where nobody knows."""
    rows = sorted(f"{file},{file.hash.value}" for file in _of_wheel(dist))
    return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest() if rows else ""


def altered(dist: importlib.metadata.Distribution) -> str:
    """A file that is not what the wheel has brought, or is missing; "" if there is none. All are read."""
    for file in _of_wheel(dist):
        digest = hashlib.sha256()
        try:
            with open(str(file.locate()), "rb") as data:
                for part in iter(lambda: data.read(1 << 20), b""):
                    digest.update(part)
        except OSError:
            return f"{file} is missing"
        if base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode() != file.hash.value:
            return f"{file} is not what was installed"
    return ""


def _of_wheel(dist: importlib.metadata.Distribution) -> list[Any]:
    return [
        file
        for file in dist.files or ()
        if file.hash and file.hash.mode == "sha256" and file.parts[0] != ".." and file.name not in _INSTALLERS
    ]
