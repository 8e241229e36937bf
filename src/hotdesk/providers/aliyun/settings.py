"""The section [aliyun] of hotdesk.toml."""

from __future__ import annotations

from hotdesk.core.model import Value

NAME = "aliyun"


class Settings(Value, frozen=True):
    """The settings for Alibaba Cloud. All have working defaults."""

    profile: str = ""  # of ~/.aliyun/config.json, that one alone; "": the environment's, else the current one
    regions: tuple[str, ...] = ()  # the only regions to survey and launch in; (): all
    vswitch: str = ""  # "": one of hotdesk's own, in a network of its own
    role: str = (
        ""  # RAM role with which a desk stops itself (hotdesk iam); "": a desk that leaves goes on costing
    )
    address: str = "auto"  # who may connect: "auto", or a CIDR such as 203.0.113.7/32
    address_url: str = "https://checkip.amazonaws.com"  # answers with the caller's address; "": never ask
    owner: str = ""  # owner of all resources; "": our name in the account
    endpoint: str = ""  # what stands in for the cloud's addresses: http://127.0.0.1:8000
    lag_seconds: float = 30.0  # how long its listings may lag
    poll_seconds: float = 5.0
