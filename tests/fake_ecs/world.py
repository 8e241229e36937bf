"""What exists: machines, disks, images, networks, by region; the account; the scene that a test sets."""

from __future__ import annotations

import random
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from fake_ec2.clock import Clock
from fake_ec2.rig import Rig
from tests.fake_ecs.wire import Door, Problem

#: Seconds in the real cloud, on an ordinary day.
DURATIONS = {
    "pending": 4.0,  # RunInstances answered, to Starting
    "starting": 20.0,
    "initializing": 60.0,  # after the creation: may not be deleted
    "stopping": 20.0,
    "snapshot": 60.0,
    "image": 20.0,  # its last snapshot is complete, to Available
    "copy": 240.0,
    "network": 6.0,  # a VPC or vSwitch, Pending to Available
    "recycling": 300.0,  # spot: the notice, to the end
    "command": 4.0,  # of Cloud Assistant, from the request to its output
    "token": 1.0,  # a request with a token is in flight
}
ZONES = {
    "cn-hangzhou": ("cn-hangzhou-i", "cn-hangzhou-j"),
    "cn-shanghai": ("cn-shanghai-b", "cn-shanghai-l"),
    "cn-wulanchabu": ("cn-wulanchabu-a", "cn-wulanchabu-c"),
    "cn-hongkong": ("cn-hongkong-b", "cn-hongkong-d"),
    "us-west-1": ("us-west-1a", "us-west-1b"),
}
ACCOUNT = "1234567890123456"


@dataclass
class Thing:
    id: str
    region: str
    name: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    made: float = 0.0
    status: str = ""


@dataclass
class Disk(Thing):
    zone: str = ""
    size: int = 0
    category: str = ""
    level: str = ""
    bursting: bool = False
    kind: str = "data"  # system | data
    device: str = ""
    instance: str = ""
    goes_with_it: bool = True  # DeleteWithInstance
    snapshot: str = ""  # that it was made from
    origin: str = ""  # the disk that it descends from, whose host keys it has
    work: dict[str, str] = field(default_factory=dict)
    unsynced: dict[str, str] = field(default_factory=dict)


@dataclass
class Snapshot(Thing):
    disk: str = ""
    kind: str = "system"  # of its disk when it was taken
    size: int = 0
    origin: str = ""
    work: dict[str, str] = field(default_factory=dict)


@dataclass
class Image(Thing):
    snapshots: list[tuple[str, str, str, int]] = field(default_factory=list)  # id, device, kind, GiB
    arch: str = "x86_64"
    family: str = ""
    owner: str = "self"
    copied_from: str = ""
    copy_of: str = ""


@dataclass
class Machine(Thing):
    zone: str = ""
    type: str = ""
    image: str = ""
    vpc: str = ""
    vswitch: str = ""
    groups: list[str] = field(default_factory=list)
    disks: list[str] = field(default_factory=list)
    strategy: str = "NoSpot"
    behavior: str = "Terminate"
    protected_until: float = 0.0
    started: float = 0.0
    mode: str = "Not-applicable"  # StoppedMode
    bandwidth: int = 0
    public_ip: str = ""
    private_ip: str = ""
    user_data: str = ""
    role: str = ""
    release: float = 0.0  # AutoReleaseTime
    locks: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    initializing_until: float = 0.0
    console: str = ""
    epoch: int = 0  # raised by each command: what was due before is overtaken
    paid: list[list[float | None]] = field(default_factory=list)  # when compute was charged: since, until


@dataclass
class Network(Thing):
    cidr: str = ""
    zone: str = ""
    vpc: str = ""  # of a vSwitch
    last: int = 10  # of its addresses


@dataclass
class Group(Thing):
    vpc: str = ""
    inner: str = "Accept"
    rules: list[dict[str, str]] = field(default_factory=list)


@dataclass
class Region:
    name: str
    machines: dict[str, Machine] = field(default_factory=dict)
    disks: dict[str, Disk] = field(default_factory=dict)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)
    vpcs: dict[str, Network] = field(default_factory=dict)
    vswitches: dict[str, Network] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)

    def kinds(self) -> dict[str, dict[str, Any]]:
        return {
            "instance": self.machines,
            "disk": self.disks,
            "snapshot": self.snapshots,
            "image": self.images,
            "securitygroup": self.groups,
        }


@dataclass
class Harm:
    """What a test makes go wrong with the next calls of an action."""

    action: str
    times: int | None = 1  # None: for ever
    skip: int = 0
    code: str = ""
    message: str = ""
    status: int = 400
    lose: str = ""  # "before" the effect or "after" it: the connection ends with nothing said
    body: str = ""  # instead of the service's own answer, with `status`
    headers: dict[str, str] = field(default_factory=dict)
    contains: str = ""  # only if a parameter has this value
    late: bool = False  # the effect happens, and the answer is this all the same


class World:
    """One account. `lock` is held while a request is answered."""

    def __init__(self, pace: float = 1.0) -> None:
        self.lock = threading.RLock()
        self.door = Door()
        self.rig: Rig | None = None
        self.pace = pace
        self.reset()

    def reset(self) -> None:
        self.clock = Clock(self.pace, DURATIONS)
        self.clock.advance(-self.clock.now() % 60.0)  # a minute begins: what is told in minutes is the same
        self.chance = random.Random(1)
        self.door.secrets = {"LTAIfake": "fake-secret", "STS.temporary": "temporary-secret", "LTAIbob": "bob"}
        self.door.tokens = {"STS.temporary": "the-token"}
        self.regions: dict[str, Region] = {}
        self.log: deque[dict[str, Any]] = deque(maxlen=50_000)
        self.harms: list[Harm] = []
        self.events: list[dict[str, Any]] = []
        self.tokens: dict[tuple[str, str], tuple[str, Any, float]] = {}
        self.denied: set[str] = set()  # actions that a RAM policy does not allow
        self.blind: set[str] = set()  # … of which the listing is empty instead
        self.arrears = False
        self.real_name = True
        self.quota = 1000  # vCPUs
        self.currency = "CNY"
        self.gone: list[tuple[Any, float]] = []  # what cost something, and when it was deleted
        self.discount = 1.0  # of the bill
        self.no_bill = ""  # the code with which the bill is refused
        self.price_days = 365.0  # so long ago spot prices are still told
        self.closed: set[str] = set()  # regions that there are no more
        self.disks_sold: dict[str, set[str]] = {}  # by zone, where it is not all categories
        self.sold_out: set[tuple[str, str, str]] = set()  # zone, type, market; "*": any
        self.left: dict[tuple[str, str, str], int] = {}  # machines of a pool, where they are numbered
        self.spoil: list[str] = []  # what goes wrong with the next images
        self.lag = 0.0  # seconds until a new machine, disk, image or snapshot is listed
        self.lag_varies = False  # each has a share of them, by its id
        self.silent = False  # machines print no host key on their console
        self.assistant = ""  # the error code of every command of Cloud Assistant
        self.commands: list[dict[str, Any]] = []  # Cloud Assistant's, with their results
        self.vanish = 0  # so many of the next machines find no stock after the answer
        self.throttle: dict[str, int] = {}  # calls a minute, by action
        self.retry_after = ""  # the header of throttled answers, in milliseconds
        self.counted: dict[tuple[str, int], int] = {}
        self._next = 0

    # ---- making and finding --------------------------------------------------------------------------

    def new_id(self, prefix: str) -> str:
        self._next += 1
        noise = "".join(self.chance.choices("0123456789abcdefghijklmnopqrstuvwxyz", k=12))
        return f"{prefix}-bp1{noise}{self._next:05d}"

    def region(self, name: str) -> Region:
        if name not in ZONES or name in self.closed:
            raise Problem("InvalidRegionId.NotFound", "The specified RegionId does not exist.", 404)
        if name not in self.regions:
            from tests.fake_ecs.images import public_images

            self.regions[name] = made = Region(name)
            public_images(self, made)
        return self.regions[name]

    def machine(self, region: str, id_: str) -> Machine:
        found = self.region(region).machines.get(id_)
        if found is None:
            raise Problem("InvalidInstanceId.NotFound", "The specified InstanceId does not exist.", 404)
        return found

    def anywhere(self, id_: str) -> Any:
        """A thing by its id, in whatever region; None if it does not exist."""
        for region in self.regions.values():
            for things in (*region.kinds().values(), region.vpcs, region.vswitches):
                if id_ in things:
                    return things[id_]
        return None

    def every(self, kind: str) -> list[Any]:
        """All things of a kind, without public images."""
        found = [t for region in self.regions.values() for t in region.kinds()[kind].values()]
        return [t for t in found if getattr(t, "owner", "self") == "self"]

    def event(self, machine: Machine, name: str, **more: Any) -> None:
        self.events.append(
            {"instance": machine.id, "region": machine.region, "type": name, "at": self.clock.now(), **more}
        )

    def harm(self, action: str, **how: Any) -> Harm:
        made = Harm(action, **how)
        self.harms.append(made)
        return made
