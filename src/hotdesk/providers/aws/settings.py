"""The section [aws] of hotdesk.toml."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from hotdesk.core.model import Value
from hotdesk.providers.cloud.mirrors import Apt, Conda, Pip

NAME = "aws"


class Settings(Value, frozen=True):
    """The settings for AWS. All have working defaults; the descriptions go into `hotdesk init`."""

    profile: Annotated[str, Meta(description='"": the environment\'s, else the default profile')] = ""
    regions: Annotated[
        tuple[str, ...], Meta(description="survey and launch in these alone; []: every enabled region")
    ] = ()
    vpc: Annotated[str, Meta(description='"": the default VPC')] = ""
    subnet: Annotated[str, Meta(description='"": the zone\'s default subnet')] = ""
    address: Annotated[str, Meta(description='who may connect: "auto", or a CIDR such as 203.0.113.7/32')] = (
        "auto"
    )
    address_url: Annotated[str, Meta(description='answers with your address; "": never ask')] = (
        "https://checkip.amazonaws.com"
    )
    owner: Annotated[str, Meta(description='owner of all resources; "": your name in AWS')] = ""
    apt_mirror: Apt = ""
    pip_index: Pip = ""
    conda_channels: Conda = ()
    lag_seconds: Annotated[float, Meta(description="how long EC2's listings may lag")] = 30.0
    poll_seconds: Annotated[float, Meta(description="between two looks")] = 5.0
