"""An AWS account: its session and its clients by region.

botocore is imported on first use. There is one session, and per region one client that retries once (for
reading) and one that never retries (for changes: an unknown outcome must reach the journal, and "sold out"
must reach the planner at once). Backoff when AWS is throttling is the loop's task, which also reports it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from hotdesk.core.clouds import Sent
from hotdesk.core.errors import Missing, Refused
from hotdesk.core.pricelist import Shipped
from hotdesk.providers.aws.errors import answers
from hotdesk.providers.aws.pacing import PRICE_LIST_ATTEMPTS, keep_pace
from hotdesk.providers.aws.session import none_found, open_session
from hotdesk.providers.aws.settings import Settings
from hotdesk.providers.cloud.kept import DAY, HOUR, Recalled
from hotdesk.providers.cloud.regions import OFF, ON, why_closed
from hotdesk.system import SystemClock

if TYPE_CHECKING:
    import botocore.session

T = TypeVar("T")

#: The shipped on-demand price by region and type; None if unknown.
ListPrice = Callable[[str, str], Shipped | None]

#: Seconds before their expiry at which botocore stops using credentials that it cannot renew.
MANDATORY_SECONDS = 600

#: The region of account-wide requests, if none is configured.
HOME = "us-east-1"


def pages(client: Any, operation: str, key: str, **asked: Any) -> list[Any]:
    """All rows of a listing. Raises as `answers` does."""
    with answers():
        found = client.get_paginator(operation).paginate(**asked)
        return [row for page in found for row in page.get(key, ())]


class Account:
    """Clients of one account. Safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.recalled = Recalled(None, "", SystemClock())  # in this process only, unless the provider shares
        self._session: botocore.session.Session | None = None
        self._clients: dict[tuple[str, str, bool], Any] = {}
        self._lock = threading.RLock()
        self._tries = 0  # failed attempts to open a session
        self._failure: Refused | Missing | None = None  # the error of the last one
        self._regions: tuple[str, ...] = ()

    @property
    def session(self) -> botocore.session.Session:
        return self._open(self._tries)

    def _open(self, tries: int) -> botocore.session.Session:
        """The session, opened once.

        Threads that waited while another one's attempt failed (`_tries` has changed since `tries`) share its
        error, so that a person is not asked, and a credential program not run, once per region.
        """
        with self._lock:
            if self._session is None:
                if self._tries != tries and self._failure:
                    raise self._failure
                try:
                    self._session = open_session(self.settings.profile)
                except (Refused, Missing) as no:
                    self._failure, self._tries = no, self._tries + 1
                    raise
            return self._session

    def renew(self) -> None:
        """Open a new session if the credentials expire soon and cannot renew themselves (a role with MFA).

        Raises as `session` does.
        """
        with self._lock:
            found: Any = self._session.get_credentials() if self._session else None
            if getattr(found, "method", "") != "assume-role":
                return
            with contextlib.suppress(Exception):  # these credentials may renew themselves
                found.get_frozen_credentials()
            if found.refresh_needed(MANDATORY_SECONDS):
                self._session = None
                self._clients.clear()
                assert self.session

    @property
    def home(self) -> str:
        """The region for account-wide requests: the first in hotdesk.toml, else AWS_REGION, else
        AWS_DEFAULT_REGION, else the profile's, else us-east-1."""
        return (
            self.settings.regions[0]
            if self.settings.regions
            else self.session.get_config_variable("region") or HOME
        )

    def client(self, service: str, region: str, *, retry: bool = True) -> Any:
        """A cached client. Without `retry`, no request is sent twice."""
        key = (service, region, retry)
        if found := self._clients.get(key):
            return found
        tries = self._tries
        with self._lock:  # making a client is not thread-safe in botocore, using one is
            if key not in self._clients:
                from botocore.config import Config

                attempts = PRICE_LIST_ATTEMPTS if service == "pricing" else 2
                config = Config(
                    retries={"mode": "standard", "total_max_attempts": attempts if retry else 1},
                    connect_timeout=5,
                    read_timeout=30,
                    max_pool_connections=16,
                    user_agent_extra="hotdesk",
                )
                with answers():
                    made = self._open(tries).create_client(service, region_name=region, config=config)
                self._clients[key] = keep_pace(made) if service == "pricing" else made
            return self._clients[key]

    def ec2(self, region: str) -> Any:
        """The EC2 client for reading, which retries once."""
        return self.client("ec2", region)

    def ec2_once(self, region: str) -> Any:
        """The EC2 client for changes, which never retries."""
        return self.client("ec2", region, retry=False)

    @property
    def who(self) -> str:
        """What tells these credentials from others, without a request."""
        with answers():
            found = self.session.get_credentials()
        return str(found.access_key) if found else ""

    def regions(self, *, fresh: bool = False) -> tuple[str, ...]:
        """The configured regions, else all that the account has enabled; asked once a day.

        `fresh`: asked now: somebody names one that was not enabled.
        """
        if self.settings.regions:
            return self.settings.regions
        if fresh or not self._regions:
            key = f"regions/{self.who}/{self.home}"
            self._regions = self.recalled.of(key, DAY, tuple[str, ...], self._enabled, fresh=fresh)
        return self._regions

    def _enabled(self) -> tuple[str, ...]:
        with answers():
            listed = self.ec2(self.home).describe_regions(
                Filters=[{"Name": "opt-in-status", "Values": ["opt-in-not-required", "opted-in"]}]
            )["Regions"]
        return tuple(sorted(r["RegionName"] for r in listed))

    def why_closed(self, silent: Mapping[str, Exception]) -> tuple[str, str]:
        """Why one of the regions that did not answer stays closed until a person changes something.

        Asks once an hour, and only if one is silent.
        """

        def states() -> dict[str, str]:
            key = f"states/{self.who}/{self.home}"
            return self.recalled.of(key, HOUR, dict[str, str], self._states)  # type: ignore[no-any-return]

        switch_on = "aws account enable-region --region-name {region}   # takes minutes; then the same again"
        return why_closed(silent, states, label="AWS", switch_on=switch_on)

    def _states(self) -> dict[str, str]:
        with answers():
            listed = self.ec2(self.home).describe_regions(AllRegions=True)["Regions"]
        off = {"not-opted-in", "disabling", "disabled"}
        return {r["RegionName"]: OFF if r.get("OptInStatus") in off else ON for r in listed}

    def known_regions(self) -> tuple[str, ...]:
        """The last result of `regions()` in this process, without a request."""
        return self.settings.regions or self._regions


def lend(settings: Settings) -> Sent:
    """The credentials that this computer uses, as a file of them. Raises `Refused`, `Missing`.

    They are those of the profile that the settings name, too: the settings are sent along.
    """
    found = Account(settings).session.get_credentials()
    if found is None:
        raise none_found(settings.profile)
    keys = found.get_frozen_credentials()
    told = {
        "aws_access_key_id": keys.access_key,
        "aws_secret_access_key": keys.secret_key,
        "aws_session_token": keys.token,
    }
    rows = "".join(f"{name} = {value}\n" for name, value in told.items() if value)
    body = "".join(f"[{name}]\n{rows}" for name in dict.fromkeys(("default", settings.profile or "default")))
    return Sent(label=f"the AWS access key {keys.access_key[:8]}…", body=body)


def own(settings: Settings) -> str:
    """Where this computer's own credentials come from, in words; "" where none can be used."""
    try:
        found = Account(settings).session.get_credentials()
    except (Missing, Refused):
        return ""
    if found is None:
        return ""
    return (
        "its own instance profile"
        if found.method in {"iam-role", "container-role"}
        else f"its own ({found.method})"
    )
