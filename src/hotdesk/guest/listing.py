"""List files at a desk, for a dry run of `pull`.

For each source that is given as an argument a JSON line [source, [[path, bytes]…]]: paths from the home on,
null for a source that there is not.

Runs at the desk (`python3 -`), with the standard library only.
"""

from __future__ import annotations

import glob
import json
import os
import sys


def files(source: str) -> list[tuple[str, int]] | None:
    """The files of a source, which may be a pattern; links that are named are followed."""
    found = []
    tops = glob.glob(source) if glob.has_magic(source) else [source]
    if not any(os.path.exists(top) for top in tops):
        return None
    for top in tops:
        names = [top]
        if os.path.isdir(top):
            names = [
                os.path.join(at, name) for at, _, here in os.walk(os.path.join(top, "")) for name in here
            ]
        for name in names:
            try:
                told = os.stat(name) if name == top else os.lstat(name)
            except OSError:
                continue
            found.append((os.path.normpath(name), told.st_size))
    return sorted(found)


if __name__ == "__main__":
    os.chdir(os.path.expanduser("~"))
    for one in sys.argv[1:]:
        print(json.dumps([one, files(one)]))
