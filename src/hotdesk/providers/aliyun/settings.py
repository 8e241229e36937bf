"""The section [aliyun] of hotdesk.toml."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from hotdesk.core.model import Value
from hotdesk.providers.cloud.mirrors import Conda, NamedApt, Pip

NAME = "aliyun"


class Settings(Value, frozen=True):
    """The settings for Alibaba Cloud. All have working defaults; the descriptions go into `hotdesk init`."""

    profile: Annotated[
        str, Meta(description='of ~/.aliyun/config.json; "": the environment\'s, else the current one')
    ] = ""
    regions: Annotated[tuple[str, ...], Meta(description="survey and launch in these alone; []: all")] = ()
    vswitch: Annotated[str, Meta(description='"": one of hotdesk\'s own')] = ""
    role: Annotated[
        str, Meta(description='RAM role with which a desk stops itself; "": one that leaves goes on costing')
    ] = ""
    auto_release: Annotated[
        bool,
        Meta(description="let the cloud delete a machine a day after its lease or hard end, unsaved or not"),
    ] = False
    address: Annotated[str, Meta(description='who may connect: "auto", or a CIDR such as 203.0.113.7/32')] = (
        "auto"
    )
    address_url: Annotated[str, Meta(description='answers with your address; "": never ask')] = (
        "https://checkip.amazonaws.com"
    )
    owner: Annotated[str, Meta(description='owner of all resources; "": your name in the account')] = ""
    apt_mirror: NamedApt = "auto"
    pip_index: Pip = ""
    conda_channels: Conda = ()
    endpoint: Annotated[
        str, Meta(description="stands in for the cloud's addresses: http://127.0.0.1:8000")
    ] = ""
    lag_seconds: Annotated[float, Meta(description="how long its listings may lag")] = 30.0
    poll_seconds: Annotated[float, Meta(description="between two looks")] = 5.0


def caution(settings: Settings) -> str:
    """What to know before a launch: a shutdown from within does not end the charge there."""
    if settings.role:
        return ""
    return (
        "If this desk leaves by itself, its machine goes on costing until `hotdesk park` or `hotdesk watch` "
        "saves it: [aliyun] names no role with which it could stop itself (docs/aliyun.md)."
    )
