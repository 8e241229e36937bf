"""Nouns: what exists in the fake's account. Plain records; what happens to them is in the files by noun."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

STATE_CODES = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}


@dataclass(kw_only=True)
class Thing:
    """Anything with an id, tags and a price. `visible` is when reads begin to show it."""

    id: str
    region: str
    owner: str
    created: float
    visible: float = 0.0
    tags: dict[str, str] = field(default_factory=dict)
    tags_visible: dict[str, float] = field(default_factory=dict)
    gone: float | None = None
    crowd: bool = False  # belongs to other people who share the account
    states: list[tuple[float, str]] = field(default_factory=list)  # (since, state), oldest first

    @property
    def state(self) -> str:
        return self.states[-1][1] if self.states else ""

    def become(self, state: str, at: float) -> None:
        self.states.append((at, state))

    def state_at(self, at: float) -> str:
        for since, state in reversed(self.states):
            if since <= at:
                return state
        return self.states[0][1] if self.states else ""


@dataclass(kw_only=True)
class Attachment:
    volume_id: str
    device: str
    since: float
    delete_on_termination: bool


@dataclass(kw_only=True)
class Instance(Thing):
    reservation: str
    launch_index: int
    image_id: str
    type: str
    zone: str
    subnet_id: str
    vpc_id: str
    groups: list[str]
    key_name: str | None
    user_data: str  # base64, as sent
    token: str
    market: str  # on-demand | spot
    spot_request_id: str | None = None
    capacity_reservation: str | None = None
    reserved: dict[str, Any] | None = None  # which reservations it is for, as its launch said
    shutdown_behavior: str = "stop"
    disable_api_termination: bool = False
    disable_api_stop: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    private_ip: str = ""
    public_ip: str | None = None
    wants_public_ip: bool = True
    address_id: str | None = None  # an elastic address keeps its place when the machine stops
    mac: str = ""
    eni_id: str = ""
    eni_tags: dict[str, str] = field(default_factory=dict)
    root_device: str = "/dev/sda1"
    architecture: str = "x86_64"
    boot_mode: str | None = None
    disks: dict[str, Attachment] = field(default_factory=dict)
    launched: float = 0.0  # LaunchTime: changes at each start
    state_reason: tuple[str, str] | None = None
    transition_reason: str = ""
    runs: list[list[float | None]] = field(default_factory=list)  # billed spans [from, to]
    profile: str | None = None
    ebs_optimized: bool = False
    monitoring: str = "disabled"
    template: tuple[str, str] | None = None
    console: str | None = None
    epoch: int = 0  # grows with every command, so that overtaken events do nothing
    interruption: str | None = None  # terminate | stop, once warned

    @property
    def alive(self) -> bool:
        return self.state not in {"terminated", "shutting-down"}


@dataclass(kw_only=True)
class Volume(Thing):
    zone: str
    size_gib: int
    type: str
    iops: int | None
    throughput: int | None
    encrypted: bool
    kms_key: str | None
    snapshot_id: str | None
    initialization_rate: int | None = None
    modification: dict[str, Any] | None = None  # the last, as ModifyVolume answered
    attached_to: str | None = None
    device: str | None = None
    attached: float = 0.0
    work: dict[str, str] = field(default_factory=dict)  # what is safely on the disk
    unsynced: dict[str, str] = field(default_factory=dict)  # what the machine has written but not flushed


@dataclass(kw_only=True)
class Snapshot(Thing):
    volume_id: str
    volume_size_gib: int
    used_gib: float
    encrypted: bool
    kms_key: str | None
    description: str
    started: float
    done: float  # when it will be complete
    image_id: str | None = None  # taken by CreateImage or CopyImage for this one
    public: bool = False
    work: dict[str, str] = field(default_factory=dict)
    completion_minutes: int | None = None


@dataclass(kw_only=True)
class Image(Thing):
    name: str
    description: str
    architecture: str
    root_device: str
    mappings: list[dict[str, Any]]
    boot_mode: str | None = None
    ena: bool = True
    imds: str | None = None
    tpm: str | None = None
    sriov: str | None = "simple"
    alias: str | None = None
    public: bool = False
    source_instance: str | None = None
    source_image: tuple[str, str] | None = None  # (id, region)
    state_reason: tuple[str, str] | None = None
    location: str = ""
    deprecation: str | None = None
    deregistration_protection: str = "disabled"
    virtualization: str = "hvm"
    last_launched: float | None = None
    shared_with: set[str] = field(default_factory=set)  # accounts that may launch it


@dataclass(kw_only=True)
class Address(Thing):
    public_ip: str
    instance_id: str | None = None
    association_id: str | None = None


@dataclass(kw_only=True)
class SpotRequest(Thing):
    type: str  # one-time | persistent
    behavior: str  # terminate | stop | hibernate
    max_price: str | None
    instance_id: str | None
    instance_type: str
    zone: str
    image_id: str
    status: str
    message: str
    updated: float
    valid_until: float | None = None
    order: dict[str, Any] = field(default_factory=dict)  # the launch to repeat, for a persistent one


@dataclass(kw_only=True)
class Region:
    """What one region of the account holds."""

    name: str
    instances: dict[str, Instance] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)
    spot_requests: dict[str, SpotRequest] = field(default_factory=dict)
    addresses: dict[str, Address] = field(default_factory=dict)
    tokens: dict[tuple[str, str, str], tuple[str, Any]] = field(default_factory=dict)  # (action, zone, token)
    deregistered: set[str] = field(default_factory=set)

    def kinds(self) -> dict[str, dict[str, Any]]:
        return {
            "instance": self.instances,
            "volume": self.volumes,
            "snapshot": self.snapshots,
            "image": self.images,
            "spot-instances-request": self.spot_requests,
            "elastic-ip": self.addresses,
        }
