"""Images that are there and not to be had: disabled ones, and those that Allowed AMIs hides.

A disabled image is in no answer unless IncludeDisabled asks for it, and nothing can be launched from it (EC2
guide, "Disable an AMI"). Allowed AMIs, once enabled, hides every image of other owners that no criterion
allows; the account's own are always allowed (EC2 guide, "Control the discovery and use of AMIs").
"""

from __future__ import annotations

from typing import Any

from fake_ec2.actions import Call, action
from fake_ec2.errors import Problem
from fake_ec2.filters import pattern
from fake_ec2.things import Image
from fake_ec2.world import ACCOUNT, World

STATES = {"enabled", "audit-mode"}


def allowed(world: World, image: Image) -> bool:
    """Whether a criterion of the region allows the image, whatever the setting makes of that."""
    if image.owner == ACCOUNT:
        return True
    return any(
        _meets(image, criterion) for criterion in world.allowed.get(image.region, {}).get("criteria", [])
    )


def _meets(image: Image, criterion: dict[str, Any]) -> bool:
    owners, names = criterion.get("ImageProviders"), criterion.get("ImageNames")
    return (not owners or image.owner in owners or image.alias in owners) and (
        not names or any(pattern(name).fullmatch(image.name) for name in names)
    )


def mode(world: World, region: str) -> str:
    return str(world.allowed.get(region, {}).get("state", "disabled"))


def shown(world: World, call: Call, images: list[Image]) -> list[Image]:
    """What DescribeImages answers with, of these."""
    if not call.get("IncludeDisabled"):
        images = [i for i in images if i.state != "disabled"]
    if mode(world, call.region) == "enabled":
        images = [i for i in images if allowed(world, i)]
    return images


def refuse_launch(world: World, image: Image) -> None:
    if mode(world, image.region) == "enabled" and not allowed(world, image):
        raise Problem("InvalidAMIID.NotFound", f"The image id '[{image.id}]' does not exist")


@action("DisableImage", "EnableImage")
def disable_image(world: World, call: Call) -> dict[str, Any]:
    image = world.image(call.region, call.get("ImageId") or "")
    if image.owner != ACCOUNT:
        raise Problem("AuthFailure", f"Not authorized for image {image.id}", 403)
    wanted = "available" if call.action == "DisableImage" else "disabled"
    call.dry_run()
    if image.state not in {"available", "disabled"}:
        raise Problem("IncorrectState", f"The image {image.id} is {image.state}.")
    if image.state == wanted:
        image.become("disabled" if wanted == "available" else "available", world.clock.now())
    return {"Return": True}


@action("EnableAllowedImagesSettings")
def enable_allowed(world: World, call: Call) -> dict[str, Any]:
    state = call.get("AllowedImagesSettingsState")
    if state not in STATES:
        raise Problem(
            "InvalidParameterValue", f"Value ({state}) for parameter allowedImagesSettingsState is invalid."
        )
    call.dry_run()
    world.allowed.setdefault(call.region, {"criteria": []})["state"] = state
    return {"AllowedImagesSettingsState": state}


@action("DisableAllowedImagesSettings")
def disable_allowed(world: World, call: Call) -> dict[str, Any]:
    call.dry_run()
    world.allowed.setdefault(call.region, {"criteria": []})["state"] = "disabled"
    return {"AllowedImagesSettingsState": "disabled"}


@action("ReplaceImageCriteriaInAllowedImagesSettings")
def replace_criteria(world: World, call: Call) -> dict[str, Any]:
    call.dry_run()
    held = world.allowed.setdefault(call.region, {"state": "disabled"})
    held["criteria"] = call.get("ImageCriteria") or []
    return {"ReturnValue": True}


@action("GetAllowedImagesSettings")
def get_allowed(world: World, call: Call) -> dict[str, Any]:
    held = world.allowed.get(call.region, {})
    return {
        "State": mode(world, call.region),
        "ImageCriteria": held.get("criteria", []),
        "ManagedBy": "account",
    }
