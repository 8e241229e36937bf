"""Whether a base image fits an order: said before a machine is launched from it."""

from __future__ import annotations

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.steps import LaunchOrder


def check(order: LaunchOrder, arch: str, *, image: str, image_arch: str, size_gib: int) -> None:
    """Raises `Refused` for an image of another architecture than the machine's `arch`, and for one that is
    bigger than the disk that was asked for.
    """
    if image_arch != arch:
        raise Refused(
            Kind.BAD_REQUEST,
            f"{image} is an image for {image_arch}, and {order.offer.instance_type} is {arch}.",
            fix=f"hotdesk offers   # choose a type with {image_arch}, or another image",
        )
    if order.base_image and not order.image_id and 0 < order.disk_gib < size_gib:
        raise Refused(
            Kind.BAD_REQUEST,
            f"{image} needs a disk of {size_gib} GiB, and {order.disk_gib} GiB were asked for.",
            fix=f"hotdesk up {order.desk} --image {image} --disk {size_gib}",
        )
