"""Which orders this computer can serve, whatever else is on it."""

from __future__ import annotations

import importlib.util
import sys

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.steps import LaunchOrder
from hotdesk.providers.local import offers
from hotdesk.providers.local.paths import plain

_NEEDED = ("argon2", "asyncssh", "blake3", "ipykernel", "jupyterlab", "pip", "psutil", "zstandard")


def check(order: LaunchOrder) -> None:
    """Raise `Refused` for an order that this computer cannot serve."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise Refused(
            Kind.BAD_REQUEST,
            f"a local desk needs Python packages that are not installed: {', '.join(missing)}",
            fix=f'{sys.executable} -m pip install "hotdesk[local]"',
        )
    if order.base_image:
        raise Refused(Kind.BAD_REQUEST, f"there is no base image {order.base_image} on this computer")
    if not plain(order.name) or not plain(order.desk):
        raise Refused(Kind.BAD_REQUEST, f"{order.desk!r} cannot be a folder's name")
    types = [offers.CPU_TYPE, offers.GPU_TYPE]
    if order.offer.instance_type not in types:
        raise Refused(
            Kind.UNSUPPORTED, f"this computer is {' or '.join(types)}, not {order.offer.instance_type}"
        )
    if order.offer.instance_type == offers.GPU_TYPE and not offers.has_gpu():
        raise Refused(Kind.UNSUPPORTED, "this computer shows no GPU")
