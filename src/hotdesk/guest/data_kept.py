"""Say by rules for rsync what is not carried from a desk: data that came from elsewhere and is unchanged.

And what is mounted there and kept elsewhere.

    python3 -

prints the rules, each with a NUL behind it, for `rsync --from0 --filter='merge FILE'`. They name what is the
desk's own, which is little, and hide all else in its data folders. Runs at the desk, with the standard
library only, for Python 3.8 and later.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from hotdesk.guest.data_record import ARRIVING, is_data, left_out, records
from hotdesk.guest.mounts import is_elsewhere, mounted

_SPECIAL = re.compile(rb"([*?\[\\])")


def rules(home: str) -> list[bytes]:
    """These rules, for a home folder."""
    fd = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        tree, folders = left_out(fd), [record["to"] for record, _ in records(fd)]
    finally:
        os.close(fd)
    top = os.path.realpath(os.fsencode(home))
    away = {path[len(top) :] for path, kind in mounted(top) if is_elsewhere(kind)}
    found = [b"H " + _pattern(path) + more for path in sorted(away) for more in (b"", b"/**")]
    for to in folders:
        at, top = tree, os.fsencode(home)
        for name in map(os.fsencode, to.split("/")[1:]):
            at, top = at.get(name, {}), os.path.join(top, name)
        if at and not os.path.islink(top):
            _own(top, at, os.fsencode(to[1:]), away, found)
            found.append(b"H " + _pattern(os.fsencode(to[1:])) + b"/**")
        found.append(b"H " + _pattern(os.fsencode(to[1:] + ARRIVING)) + b"/")
    return found


def _own(folder: bytes, known: dict[bytes, Any], shown: bytes, away: set[bytes], found: list[bytes]) -> bool:
    """Add rules for what is the desk's own in a folder; whether there is any."""
    begin, any_ = len(found), False
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        data, path = known.get(entry.name), os.path.join(shown, entry.name)
        if path in away:
            continue
        if entry.is_dir(follow_symlinks=False):
            below = data if isinstance(data, dict) else {}
            any_ = _own(os.path.join(folder, entry.name), below, path, away, found) or any_
        elif not is_data(data, entry.stat(follow_symlinks=False)):
            found.append(b"+ " + _pattern(path))
            any_ = True
    if any_ or not known:  # one without any data in it is the desk's own, too
        found.insert(begin, b"+ " + _pattern(shown) + b"/")
        return True
    return False


def _pattern(path: bytes) -> bytes:
    """A path as a pattern of it alone: rsync takes a backslash as it is where nothing else is special."""
    return _SPECIAL.sub(rb"\\\1", path) if re.search(rb"[*?\[]", path) else path


if __name__ == "__main__":
    sys.stdout.buffer.write(b"".join(rule + b"\0" for rule in rules(os.path.expanduser("~"))))
