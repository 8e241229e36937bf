"""Say from which address this machine connects to another one: what that one's rules have to let in.

    python3 - HOST URL      prints the address, or nothing

URL: who is asked, where this machine is behind a router that changes addresses ("": nobody). Runs at the
machine, with the standard library only, for Python 3.8 and later.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
import urllib.request


def address(host: str, url: str) -> str:
    with contextlib.suppress(OSError, ValueError):
        found = socket.getaddrinfo(host, 22, socket.AF_UNSPEC, socket.SOCK_DGRAM)[0]
        with socket.socket(found[0], socket.SOCK_DGRAM) as probe:  # connected by UDP, nothing is sent
            probe.connect(found[4])
            ours = ipaddress.ip_address(probe.getsockname()[0].partition("%")[0])
        theirs = ipaddress.ip_address(str(found[4][0]).partition("%")[0])
        if ours.is_global or not theirs.is_global:
            return str(ours)
    with contextlib.suppress(OSError, ValueError):
        if url:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return str(ipaddress.ip_address(answer.read(200).decode("ascii", "replace").strip()))
    return ""


if __name__ == "__main__":
    print(address(*sys.argv[1:3]))
