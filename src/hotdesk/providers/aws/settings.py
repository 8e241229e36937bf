"""What a person may configure about AWS: the section [aws] of hotdesk.toml."""

from __future__ import annotations

from hotdesk.core.model import Value


class Settings(Value, frozen=True):
    """What a person may configure about AWS. Everything has a working default."""

    profile: str = ""  # "" : the environment's, else the default profile
    regions: tuple[str, ...] = ()  # hotdesk looks and launches only here; (): every enabled region
    vpc: str = ""  # "" : the default VPC
    subnet: str = ""  # "" : the zone's default subnet
    address: str = "auto"  # who may connect: "auto", or a CIDR such as 203.0.113.7/32
    address_url: str = "https://checkip.amazonaws.com"  # answers with the caller's address; "" : never ask
    owner: str = ""  # whose everything is, and what is looked for; "": who AWS says that we are
    lag_seconds: float = 30.0  # how long a change may take to show everywhere (EC2's eventual consistency)
    poll_seconds: float = 5.0
