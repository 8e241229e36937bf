"""The exact lock of a desk's environment, read from its disk: the same at whichever computer that is."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from hotdesk.guest.content import content


def locked(disk: Path) -> list[str]:
    """What the environment on a disk has from an index, in lines: "name==version  # sha256:CONTENT".

    A version has its build (+cpu); where nobody knows what the package consists of, no digest.
    """
    sites = [str(site) for site in (disk / "env").glob("lib/python3*/site-packages")]
    found = {
        f"{one.metadata['Name']}=={one.version}" + (f"  # sha256:{sum_}" if (sum_ := content(one)) else "")
        for one in importlib.metadata.distributions(path=sites)
        if one.metadata["Name"] and not one.read_text("direct_url.json")
    }
    return sorted(found) if sites else []
