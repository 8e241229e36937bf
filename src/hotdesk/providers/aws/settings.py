"""The section [aws] of hotdesk.toml."""

from __future__ import annotations

from hotdesk.core.model import Value

NAME = "aws"


class Settings(Value, frozen=True):
    """The settings for AWS. All have working defaults."""

    profile: str = ""  # "" : the environment's, else the default profile
    regions: tuple[str, ...] = ()  # the only regions to survey and launch in; (): every enabled region
    vpc: str = ""  # "" : the default VPC
    subnet: str = ""  # "" : the zone's default subnet
    address: str = "auto"  # who may connect: "auto", or a CIDR such as 203.0.113.7/32
    address_url: str = "https://checkip.amazonaws.com"  # answers with the caller's address; "" : never ask
    owner: str = ""  # owner of all resources; "": our name in AWS
    lag_seconds: float = 30.0  # how long EC2's listings may lag (eventual consistency)
    poll_seconds: float = 5.0
