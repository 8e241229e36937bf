"""Everything the fake holds: clock, seeded chance, settings, and what exists per region."""

from __future__ import annotations

import fnmatch
import random
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fake_ec2 import catalogue
from fake_ec2.clock import Clock
from fake_ec2.errors import Problem, malformed, not_found
from fake_ec2.prices import SpotPrices
from fake_ec2.rig import Rig
from fake_ec2.rules import Rules
from fake_ec2.things import Image, Instance, Region, Snapshot, SpotRequest, Thing, Volume

ACCOUNT = "123456789012"
USER_ARN = f"arn:aws:iam::{ACCOUNT}:user/hotdesk"
PREFIX = {
    "instance": "i-",
    "volume": "vol-",
    "snapshot": "snap-",
    "image": "ami-",
    "spot-instances-request": "sir-",
    "elastic-ip": "eipalloc-",
}


@dataclass
class Lag:
    """The window in which reads do not show what has been made (eventual consistency), in cloud seconds."""

    instance: float = 0.0
    volume: float = 0.0
    snapshot: float = 0.0
    image: float = 0.0
    group: float = 0.0  # security groups: by name, by id and in listings
    tags: float = 0.0  # the thing shows, its tags do not
    state: float = 0.0  # reads show the state of so many seconds ago
    vary: bool = False  # each thing draws its own window between nothing and the full one, from the seed


@dataclass
class Settings:
    lag: Lag = field(default_factory=Lag)
    latency_seconds: float = 0.0
    default_vpc: bool = True
    free_plan: bool = False
    ebs_key: str = "aws"  # or "customer": what encrypts disks by default
    may: frozenset[str] = frozenset()  # actions that a policy of the caller allows, where that is asked
    enabled_regions: set[str] = field(default_factory=lambda: set(catalogue.ALWAYS_ENABLED))
    quotas: dict[str, float] = field(default_factory=dict)  # by code, and by "region/code"
    capacity: list[dict[str, Any]] = field(default_factory=list)  # rows: zone, type, market, free
    reservations: list[dict[str, Any]] = field(default_factory=list)  # of capacity: see reservations.py
    addresses: str = ""  # a network to draw public addresses from; empty: loopback


class World:
    """One account in one process. `lock` is held while a request is answered."""

    def __init__(
        self, seed: int = 1, latency_seconds: float = 0.0, pace: float = 0.01, addresses: str = ""
    ) -> None:
        self.lock = threading.RLock()
        self.rig: Rig | None = None
        self.started_with = {
            "seed": seed,
            "latency_seconds": latency_seconds,
            "pace": pace,
            "addresses": addresses,
        }
        self.sent: set[tuple[str, str, str]] = set()  # members of requests of hotdesk, over all resets
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """As it was when the server started."""
        start = self.started_with
        self.seed = int(start["seed"] if seed is None else seed)  # type: ignore[call-overload]
        self.clock = Clock(pace=float(start["pace"]))  # type: ignore[arg-type]
        self.chance = random.Random(self.seed)
        self.settings = Settings(
            latency_seconds=float(start["latency_seconds"]),  # type: ignore[arg-type]
            addresses=str(start["addresses"]),
        )
        self.rules = Rules()
        self.spot = SpotPrices(self.seed)
        self.regions: dict[str, Region] = {}
        self.log: deque[dict[str, Any]] = deque(maxlen=50_000)
        self.quota_requests: list[tuple[str, dict[str, Any]]] = []
        self.groups_visible: dict[str, float] = {}  # security group: from when reads show it
        self.default_made: set[str] = set()  # regions whose default network was made by hand
        self.zones_out: set[str] = set()  # zones that are out of service, see outage.py
        self.allowed: dict[str, dict[str, Any]] = {}  # by region: Allowed AMIs, see hidden_images.py
        self.retention: dict[str, dict[str, float]] = {}  # by region: days by kind of thing, see recycle.py
        self.blocked: dict[str, dict[str, Any]] = {}  # by region: VPC Block Public Access, see routes.py
        self.cursors: dict[str, Any] = {}  # price histories that are being paged through
        self.calls = 0
        self.codes: set[str] = set()  # of MFA devices, that were used
        from moto.core.base_backend import BackendDict

        from fake_ec2 import roles

        roles.take_old_policies()
        BackendDict.reset()

    # ── regions and moto ─────────────────────────────────────────────────────────────────────────────────

    def region(self, name: str) -> Region:
        """What the region holds; its public images are seeded at the first look."""
        if name not in self.regions:
            from fake_ec2.public_images import seed_images

            self.regions[name] = Region(name=name)
            seed_images(self, self.regions[name])
        return self.regions[name]

    def check_region(self, name: str) -> None:
        """A region that is unknown or not enabled refuses the credentials, as AWS does."""
        if name not in self.settings.enabled_regions:
            raise Problem("AuthFailure", "AWS was not able to validate the provided access credentials")

    def moto(self, region: str) -> Any:
        """moto's EC2 of that region: networks, groups, keys, launch templates."""
        from moto.ec2.models import ec2_backends

        backend = ec2_backends[ACCOUNT][region]
        if "describe_security_groups" not in vars(backend):
            from fake_ec2 import network, routes

            network.let_groups_lag(self, backend)
            routes.connect_default(backend)
        if not self.settings.default_vpc and region not in self.default_made:
            from fake_ec2 import routes

            routes.drop_default(backend)
        return backend

    # ── making and finding ───────────────────────────────────────────────────────────────────────────────

    def new_id(self, kind: str) -> str:
        if kind == "spot-instances-request":
            return "sir-" + "".join(self.chance.choices("abcdefghijkmnpqrstuvwxyz23456789", k=8))
        return PREFIX.get(kind, f"{kind}-") + "0" + "".join(self.chance.choices("0123456789abcdef", k=16))

    def lag_of(self, kind: str) -> float:
        full = float(getattr(self.settings.lag, kind, 0.0))
        return full * self.chance.random() if self.settings.lag.vary and full else full

    def put_tags(self, thing: Thing, tags: dict[str, str], at: float | None = None) -> None:
        now = self.clock.now() if at is None else at
        later = now + self.lag_of("tags")
        for key, value in tags.items():
            thing.tags[key] = value
            thing.tags_visible[key] = max(later, thing.visible)

    def seen_tags(self, thing: Thing) -> dict[str, str]:
        now = self.clock.now()
        if isinstance(thing, Instance) and thing.gone and now - thing.gone > self.clock.takes("untag"):
            return {}
        return {k: v for k, v in thing.tags.items() if thing.tags_visible.get(k, 0.0) <= now}

    def visible(self, thing: Thing) -> bool:
        now = self.clock.now()
        if thing.visible > now:
            return False
        if isinstance(thing, Instance):
            return thing.gone is None or now - thing.gone <= self.clock.takes("forget")
        if isinstance(thing, Volume | Snapshot | Image):
            return thing.gone is None or now - thing.gone < self.clock.takes("linger")
        return thing.gone is None

    def seen_state(self, thing: Thing) -> str:
        return thing.state_at(self.clock.now() - self.settings.lag.state)

    def find(self, region: str, kind: str, thing_id: str, *, listed: bool = False) -> Any:
        """The thing, or the NotFound of its kind: also while it is still invisible.

        What was deleted is found in listings for a while, and by nothing else.
        """
        if not str(thing_id).startswith(PREFIX[kind]):
            raise malformed(kind, thing_id)
        thing = self.region(region).kinds()[kind].get(thing_id)
        over = thing is not None and thing.gone is not None and not isinstance(thing, Instance)
        if thing is None or not self.visible(thing) or (over and not listed):
            raise not_found("spot-request" if kind == "spot-instances-request" else kind, thing_id)
        return thing

    def instance(self, region: str, thing_id: str) -> Instance:
        return self.find(region, "instance", thing_id)  # type: ignore[no-any-return]

    def volume(self, region: str, thing_id: str) -> Volume:
        return self.find(region, "volume", thing_id)  # type: ignore[no-any-return]

    def snapshot(self, region: str, thing_id: str) -> Snapshot:
        return self.find(region, "snapshot", thing_id)  # type: ignore[no-any-return]

    def image(self, region: str, thing_id: str) -> Image:
        return self.find(region, "image", thing_id)  # type: ignore[no-any-return]

    def spot_request(self, region: str, thing_id: str) -> SpotRequest:
        return self.find(region, "spot-instances-request", thing_id)  # type: ignore[no-any-return]

    def listed(self, region: str, kind: str, ids: list[str] | None) -> list[Any]:
        """Visible things: all, or exactly those ids (else NotFound)."""
        if ids:
            lost = []
            for thing_id in ids:
                try:
                    self.find(region, kind, thing_id, listed=True)
                except Problem as problem:
                    if problem.code.endswith("Malformed"):
                        raise
                    lost.append(thing_id)
            if lost:
                raise not_found("spot-request" if kind == "spot-instances-request" else kind, lost)
        wanted = set(ids or ())
        return [
            t
            for t in self.region(region).kinds()[kind].values()
            if self.visible(t) and (not wanted or t.id in wanted)
        ]

    def anywhere(self, thing_id: str) -> Any:
        """For the control address: the thing of that id in any region, visible or not."""
        for region in self.regions.values():
            for kind in region.kinds().values():
                if thing_id in kind:
                    return kind[thing_id]
        raise KeyError(thing_id)

    def everything(self) -> Iterator[tuple[str, Thing]]:
        for region in list(self.regions.values()):
            for kind, things in region.kinds().items():
                for thing in list(things.values()):
                    yield kind, thing


def tags_for(specifications: list[dict[str, Any]] | None, kind: str) -> dict[str, str]:
    """Tags of one resource type out of TagSpecifications."""
    found: dict[str, str] = {}
    for spec in specifications or []:
        if spec.get("ResourceType") == kind:
            found |= {t["Key"]: t.get("Value", "") for t in spec.get("Tags") or []}
    return found


def check_tag_kinds(specifications: list[dict[str, Any]] | None, allowed: set[str]) -> None:
    for spec in specifications or []:
        kind = spec.get("ResourceType")
        if kind not in allowed:
            raise Problem(
                "InvalidParameterValue", f"'{kind}' is not a valid taggable resource type for this operation."
            )
        for tag in spec.get("Tags") or []:
            if str(tag.get("Key", "")).lower().startswith("aws:"):
                raise Problem(
                    "InvalidParameterValue", f"Tag keys starting with 'aws:' are reserved: {tag['Key']}"
                )


def matches(pattern: str | None, value: str) -> bool:
    return pattern in (None, "", "*") or fnmatch.fnmatchcase(value, pattern)
