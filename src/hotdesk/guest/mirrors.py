#!/usr/bin/env python3
"""Takes Ubuntu's packages from a mirror that is near: once, before anything is installed.

mirrors.py URL    from URL/ubuntu (and URL/ubuntu-ports)
mirrors.py auto   from the mirror that Alibaba Cloud's metadata service names, which is in the region itself

One file, the standard library only. A mirror that does not have this release changes nothing: the sources
that the image came with stay. Other people's lists of packages are left alone.
"""

from __future__ import annotations

import os
import re
import sys
import urllib.request

IMDS = os.environ.get("HOTDESK_IMDS", "http://100.100.100.200")
ETC = os.environ.get("HOTDESK_ETC", "/etc")
SECONDS = float(os.environ.get("HOTDESK_MIRROR_SECONDS", "10"))
LISTS = ("apt/sources.list", "apt/sources.list.d/ubuntu.sources")
#: Ubuntu's archive at whatever host: its path is the whole of it.
ARCHIVE = re.compile(r"\bhttps?://[^/\s]+/(ubuntu(?:-ports)?)/?(?=\s|$)")


def get(url: str, method: str = "GET", **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, method=method, headers=named)
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        text: str = answer.read().decode()
        return text


def named() -> str:
    """The mirror that the metadata service names. Raises OSError."""
    token = get(f"{IMDS}/latest/api/token", "PUT", X_aliyun_ecs_metadata_token_ttl_seconds="60")
    return get(f"{IMDS}/latest/meta-data/source-address", X_aliyun_ecs_metadata_token=token).split()[0]


def release() -> str:
    """This system's code name: noble. Raises OSError or ValueError."""
    with open(os.path.join(ETC, "os-release")) as file:
        found = re.search(r"^VERSION_CODENAME=\"?([a-z]+)", file.read(), re.MULTILINE)
    if not found:
        raise ValueError("this is no Ubuntu")
    return found.group(1)


def use(base: str) -> list[str]:
    """Rewrite the lists that name Ubuntu's archive; return their paths. Raises OSError or ValueError."""
    changed: list[str] = []
    seen: set[str] = set()
    for name in LISTS:
        path = os.path.join(ETC, name)
        if not os.path.isfile(path):
            continue
        with open(path) as file:
            before = file.read()
        for archive in set(ARCHIVE.findall(before)) - seen:
            get(f"{base}/{archive}/dists/{release()}/Release")
            seen.add(archive)
        after = ARCHIVE.sub(lambda found: f"{base}/{found.group(1)}/", before)
        if after != before:
            with open(path + ".new", "w") as file:
                file.write(after)
            os.replace(path + ".new", path)
            changed.append(path)
    return changed


def main() -> int:
    try:
        base = named() if sys.argv[1] == "auto" else sys.argv[1]
        print("\n".join(use(base.rstrip("/"))))
    except (OSError, ValueError, IndexError) as error:
        print(f"the package sources stay as they are: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
