"""Find the address from which this computer reaches a cloud, to admit it and nobody else."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from hotdesk.core.errors import Kind, Refused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def own_address(endpoint: str, configured: str, ask_url: str, *, section: str) -> str:
    """The CIDR that may connect: `configured`, or if that is "auto", this computer's address.

    With a public address, or if the cloud's `endpoint` (a URL) is reached within private networks, it is the
    address of our own socket towards it. Behind NAT only an outside service can tell, so `ask_url` is asked
    ("": never). `section`: of hotdesk.toml, for messages. Raises `Refused` if it cannot be determined.
    """
    if configured != "auto":
        try:
            return str(ipaddress.ip_network(configured))
        except ValueError as error:
            raise Refused(
                Kind.BAD_REQUEST,
                f"[{section}] address = {configured!r} is not an address range: {error}.",
                fix='address = "203.0.113.7/32"   # in hotdesk.toml',
            ) from error
    ours, theirs = _socket_addresses(endpoint)
    if ours and (ours.is_global or (theirs and not theirs.is_global)):
        return str(ipaddress.ip_network(ours))
    return str(ipaddress.ip_network(_ask(ask_url, section)))


def _socket_addresses(url: str) -> tuple[Address | None, Address | None]:
    """Our and their address on a route to that endpoint; connects a UDP socket, which sends nothing."""
    place = urlsplit(url)
    try:
        infos = socket.getaddrinfo(place.hostname, place.port or 443, socket.AF_INET, socket.SOCK_DGRAM)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(infos[0][4])
            return ipaddress.ip_address(probe.getsockname()[0]), ipaddress.ip_address(infos[0][4][0])
    except OSError:
        return None, None


def _ask(url: str, section: str) -> str:
    fix = f'address = "203.0.113.7/32"   # under [{section}] in hotdesk.toml: your address'
    if not url:
        raise Refused(
            Kind.BAD_REQUEST,
            "hotdesk does not know this computer's public address, and may not ask for it.",
            fix=fix,
        )
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read(200).decode("ascii", "replace").strip()
        return str(ipaddress.ip_address(text))
    except (OSError, ValueError) as error:
        raise Refused(
            Kind.NOT_READY,
            f"This computer's public address could not be asked from {url}: {error}.",
            fix=fix,
            seconds=10,
        ) from error
