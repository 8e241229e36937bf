"""An account of Alibaba Cloud: its client, its regions, its owner's name.

There is one client for all regions. Credentials are looked for once, at the first request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from hotdesk.core.errors import Kind, Refused
from hotdesk.core.ports import Cache
from hotdesk.core.pricelist import Shipped
from hotdesk.providers.aliyun import credentials
from hotdesk.providers.aliyun.client import Client
from hotdesk.providers.aliyun.regions import HOME, REGIONS
from hotdesk.providers.aliyun.settings import Settings
from hotdesk.providers.aliyun.signing import Keys
from hotdesk.providers.cloud.kept import HOUR, Recalled
from hotdesk.providers.cloud.regions import ON, why_closed
from hotdesk.system import SystemClock

#: Operations that take no region: it is that of the id, or of the address that is asked.
_ANYWHERE = frozenset(
    {
        *("DeleteDisk", "DeleteSnapshot", "ModifyInstanceAttribute", "ModifyInstanceSpec"),
        "ModifyInstanceAutoReleaseTime",
        "DescribeInstanceTypes",
    }
)

#: The shipped on-demand price by region and type; None if unknown.
ListPrice = Callable[[str, str], Shipped | None]


class Account:
    """Safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = Client(self._key, endpoint=settings.endpoint)
        self.recalled = Recalled(None, "", SystemClock())  # in this process only, unless the provider shares
        self._find: Callable[[], Keys] | None = None
        self._lock = threading.Lock()

    def _key(self) -> Keys:
        with self._lock:  # a program that gives keys is run once, not once for each region
            if self._find is None:
                self._find = credentials.find(self.settings.profile)
            return self._find()

    @property
    def who(self) -> str:
        """What tells these credentials from others, without a request."""
        return self._key().id

    def ask(self, region: str, action: str, *, of: str = "ecs", **parameters: Any) -> dict[str, Any]:
        """A question about a region. Raises `Refused`, or `Unreachable` without an answer."""
        return self.client.ask(of, region, action, **_there(action, region), **parameters)

    def tell(self, region: str, action: str, *, of: str = "ecs", **parameters: Any) -> dict[str, Any]:
        """A change in a region, sent once: see `client.Client.tell`."""
        return self.client.tell(of, region, action, **_there(action, region), **parameters)

    def pages(
        self, region: str, action: str, *path: str, of: str = "ecs", **parameters: Any
    ) -> list[dict[str, Any]]:
        """All rows of a listing in a region."""
        return self.client.pages(of, region, action, *path, **_there(action, region), **parameters)

    @property
    def home(self) -> str:
        """The first region in hotdesk.toml, else the environment's, else the profile's, else cn-hangzhou."""
        if self.settings.regions:
            return self.settings.regions[0]
        return credentials.home_region(self.settings.profile) or HOME

    def regions(self) -> tuple[str, ...]:
        """The configured regions, else all that hotdesk knows."""
        return self.settings.regions or tuple(sorted(REGIONS.cities))

    def why_closed(self, silent: Mapping[str, Exception]) -> tuple[str, str]:
        """Why one of the regions that did not answer stays closed until a person changes something.

        Asks once an hour, and only if one is silent.
        """

        def states() -> dict[str, str]:
            key = f"states/{self.who}"
            return self.recalled.of(key, HOUR, dict[str, str], self._states)  # type: ignore[no-any-return]

        return why_closed(silent, states, label="Alibaba Cloud", switch_on="")

    def _states(self) -> dict[str, str]:
        told = self.ask(self.home, "DescribeRegions")
        return {str(r["RegionId"]): ON for r in told["Regions"]["Region"]}

    def owner(self, cache: Cache | None, now: float) -> str:
        """The owner's name, which tags all resources, so that colleagues' desks are told apart.

        From hotdesk.toml, else the user's name in the account (sts:GetCallerIdentity), asked once per key.
        Raises `Refused` if the cloud does not accept us.
        """
        if self.settings.owner:
            return self.settings.owner
        key = f"aliyun-owner/{self.who}"
        if cache and (kept := cache.cached(key)):
            return kept[1].decode()
        arn = str(self.client.ask("sts", self.home, "GetCallerIdentity").get("Arn") or "")
        if not (found := name_of(arn)):
            raise Refused(Kind.DENIED, f"Alibaba Cloud calls us {arn!r}, which names nobody.")
        if cache:
            cache.keep(key, found.encode(), now)
        return found


def _there(action: str, region: str) -> dict[str, Any]:
    return {} if action in _ANYWHERE else {"RegionId": region}


def name_of(arn: str) -> str:
    """The owner in an ARN of STS: `root`, `user/alice`, `role/desks/alice`."""
    who = arn.split(":", 4)[-1]
    kind, _, name = who.partition("/")
    return f"role/{name}" if kind == "assumed-role" else who
