"""Somebody's computer and the fake EC2: a store, the loop, the real client, a person who works and checks.

Only the address differs from the real thing (`AWS_ENDPOINT_URL`). Time is virtual: sleeping advances the
cloud's clock. A `Laptop` can crash before and after every call that it makes, and be opened again.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from fake_ec2 import public_images
from fake_ec2.process import FakeEc2
from fake_ec2.public_images import public_id
from hotdesk.api import Hotdesk
from hotdesk.config import Config
from hotdesk.connect.keys import desk_keys
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.lifecycle.plan import plan_gc
from hotdesk.core.model import Desk, Goal, Market, Offer, Survey
from hotdesk.core.ports import Access, Keys
from hotdesk.core.steps import Ask, Delete
from hotdesk.loop.clouds import Clouds
from hotdesk.loop.reconcile import Reconciler
from hotdesk.market.shipped import shipped
from hotdesk.providers.aws.account import Account
from hotdesk.providers.aws.provider import Aws
from hotdesk.providers.aws.settings import Settings
from hotdesk.services.exposure import CALLER
from hotdesk.state.store import Store
from tests.boundaries import Boundaries, Crash, Enough

HOME = "us-west-2"
#: Somebody's image with a data disk (/dev/sdf) beside the root disk.
TWO_DISKS = public_id("ami", HOME, public_images.TWO_DISKS.name)
FREE = {"key-pair", "security-group"}  # kinds that cost nothing


def offer(
    instance_type: str = "g4dn.xlarge",
    zone: str = "us-west-2a",
    market: Market = Market.ON_DEMAND,
    gpu: str = "T4",
    price: float = 0.5,
    **more: Any,
) -> Offer:
    return Offer(
        provider="aws",
        region=zone[:-1],
        zone=zone,
        instance_type=instance_type,
        market=market,
        usd_per_hour=price,
        gpu=gpu,
        vcpus=4,
        **more,
    )


class Time:
    """The cloud's clock is advanced by sleeping; ours is five minutes behind, as clocks are."""

    def __init__(self, fake: FakeEc2, while_asleep: Callable[[], None] = lambda: None) -> None:
        self.fake = fake
        self.at = float(fake.get("clock")["now"]) - 300.0
        self.slept = 0.0
        self.while_asleep = while_asleep

    def now(self) -> float:
        self.at += 0.001
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds
        self.slept += seconds
        assert self.slept < 6000, "it never comes to an end"
        self.fake.post("clock", advance=seconds)
        self.while_asleep()


class Counted(Aws):
    """The provider; a survey is one boundary however many regions it asks."""

    boundaries: Boundaries

    def survey(self, regions: Sequence[str] = ()) -> Survey:
        with self.boundaries.one_survey():
            return super().survey(regions)


_sessions: dict[tuple[str, str], Account] = {}  # by the fake's address
_watchers: dict[str, Boundaries] = {}
_direct: dict[tuple[str, str], Any] = {}  # the checker's own clients
_making = threading.Lock()
_made_keys: dict[str, dict[str, str]] = {}


def _tell(url: str, when: str, model: Any, **_: object) -> None:
    getattr(_watchers[url], when)(model.name)


def _account(url: str, settings: Settings) -> Account:
    """A new account over clients that were made before: making them takes most of a short test's time."""
    key = (url, settings.profile)
    if key not in _sessions:
        made = _sessions[key] = Account(settings)
        events = made.session.get_component("event_emitter")
        events.register("before-call", partial(_tell, url, "before"))
        events.register("after-call", partial(_tell, url, "after"))
    account = Account(settings)
    account._session, account._clients = _sessions[key]._session, _sessions[key]._clients
    return account


class Laptop:
    def __init__(
        self,
        fake: FakeEc2,
        folder: Path,
        boundaries: Boundaries | None = None,
        *,
        lag_seconds: float = 0.0,
        settings: Settings | None = None,
        offers: tuple[Offer, ...] = (),
        provider: type[Aws] = Counted,
        time: type[Time] = Time,
    ) -> None:
        self.fake = fake
        self.folder = folder
        self.boundaries = boundaries or Boundaries()
        self.settings = settings or Settings(lag_seconds=lag_seconds, poll_seconds=max(5.0, lag_seconds / 2))
        self.offers = offers or (offer(),)
        self.time = time(fake, self.machines_boot)
        self.acknowledged: set[str] = set()
        self.proven: list[Access] = []
        self.crashes = 0
        self.enough_after_crash = False
        self.provider_class = provider
        self.twins: list[Any] = []
        self.story = ""
        self.booted: set[str] = set()
        self.open()

    # ---- the process -------------------------------------------------------------------------------------

    def open(self) -> None:
        """A new process: nothing that was only in memory is left. (boto3's clients hold no state of ours.)"""
        self.boundaries.dead = False
        self.boundaries.surveying = False
        account = _account(self.fake.url, self.settings)
        _watchers[self.fake.url] = self.boundaries
        self.store = Store(self.folder)
        self.aws = self.provider_class(
            self.folder, self.store, keys=self.keys, clock=self.time, settings=self.settings, account=account,
            storing=shipped().storing,
        )  # fmt: skip
        if isinstance(self.aws, Counted):
            self.aws.boundaries = self.boundaries
        self.reconciler = Reconciler(
            store=self.store,
            clouds=Clouds(self.store, self.time, lambda name: self.aws),
            clock=self.time,
            prove=self.prove,
            on_row=lambda row: self.moves_on(),
        )

    def moves_on(self) -> None:
        self.boundaries.moved += 1

    def crash(self) -> None:
        self.crashes += 1
        self.store.close()
        self.open()

    def keys(self, desk: str) -> Keys:
        """The real keys; made once and copied, because a good password hash takes a while."""
        there = self.folder / "desks" / desk
        if desk in _made_keys and not there.exists():
            there.mkdir(parents=True)
            for name, text in _made_keys[desk].items():
                (there / name).write_text(text)
                (there / name).chmod(0o600)
        keys = desk_keys(self.folder, desk)
        _made_keys.setdefault(desk, {p.name: p.read_text() for p in there.iterdir() if p.name != ".lock"})
        return keys

    # ---- the machines, as far as the fake does not do it itself --------------------------------------------

    def machines_boot(self) -> None:
        """Time has passed. cloud-init writes the host key on the console: the disk's, or a new one."""
        self.moves_on()
        machines = self.things("instance")
        alive = [m for m in machines if m["state"] in {"pending", "running", "stopping", "stopped"}]
        by_desk: dict[str, list[Any]] = {}
        for machine in alive:
            if "hotdesk:role" not in machine["tags"]:  # a placeholder is no desk's machine
                by_desk.setdefault(machine["tags"].get("hotdesk:desk", ""), []).append(machine["id"])
            if machine["state"] == "running" and machine["id"] not in self.booted:
                self.booted.add(machine["id"])
                lineage = machine["tags"].get("hotdesk:keys", machine["id"])
                self.fake.post("machine", id=machine["id"], console=console(lineage))
        twins = [ids for desk, ids in by_desk.items() if desk and len(ids) > 1]
        if twins and not self.twins:  # how it came about is not to be seen from where it is noticed
            sent = [f"{r['time']:.0f} {r['action']} {r['code'] or ''}" for r in self.fake.get("log")][-60:]
            rows = [repr(row) for row in self.store.rows()][-30:]
            self.story = "\n".join([*sent, *rows, *map(repr, alive)])
        self.twins += twins

    def prove(self, access: Access) -> None:
        """A login: it is answered by the machine that has this address, if it shows the pinned key."""
        [machine] = [m for m in self.things("instance") if m["public_ip"] == access.host] or [None]
        if machine is None or machine["state"] != "running":
            raise Refused(Kind.NOT_READY, "no answer on port 22")
        assert "127.0.0.1/32" in self.admitted(machine), "the group does not let this computer in"
        pinned = Path(access.known_hosts_path).read_text()
        assert host_key(machine["tags"]["hotdesk:keys"]) in pinned, "somebody else answered"
        assert pinned.startswith(f"{access.alias} ssh-ed25519 ")
        self.proven.append(access)

    def admitted(self, machine: Any) -> list[str]:
        """Who may reach a machine by ssh."""
        key = (self.fake.url, machine["region"])
        with _making:  # several desks are proven at once
            ec2 = _direct[key] = _direct.get(key) or self.fake.client("ec2", machine["region"])
        found = ec2.describe_instances(InstanceIds=[machine["id"]])["Reservations"][0]["Instances"][0]
        groups = ec2.describe_security_groups(GroupIds=[g["GroupId"] for g in found["SecurityGroups"]])
        rules = [rule for group in groups["SecurityGroups"] for rule in group["IpPermissions"]]
        return [r["CidrIp"] for rule in rules if rule["FromPort"] == 22 for r in rule["IpRanges"]]

    # ---- what a person does --------------------------------------------------------------------------------

    def want(
        self, name: str, goal: Goal, offers: tuple[Offer, ...] = (), *, move: bool = False, **fields: Any
    ) -> None:
        """Type a command: it changes the desk's row and nothing else."""
        self.moves_on()
        now = self.time.now()
        desk = self.store.find(name) or Desk(
            name=name, goal=goal, since=now, created_at=now, provider="aws", offers=self.offers
        )
        generation = desk.generation
        if move:
            machines = [m for m in self.things("instance") if m["tags"].get("hotdesk:desk") == name]
            generation = max([generation, *(served(m["tags"]) + 1 for m in machines)])
        self.store.put(
            replace(desk, goal=goal, since=now, offers=offers or desk.offers, generation=generation, **fields)
        )

    def settle(self, name: str = "blue") -> Ask | None:
        """Let the loop come to its end, through crashes too; the question it stops with, if any."""
        while True:
            try:
                desk = self.store.find(name)
                if desk is None:
                    return None
                return self.reconciler.settle(desk).asks.get(name)
            except Crash:
                self.crash()

    def do(self, goal: Goal, offers: tuple[Offer, ...] = (), name: str = "blue", **fields: Any) -> Ask | None:
        self.want(name, goal, offers, **fields)
        asked = self.settle(name)
        assert asked is not None or self.check(name, goal)
        if self.crashes and self.enough_after_crash:
            raise Enough
        return asked

    def publish(self, name: str = "blue", to: str = CALLER) -> tuple[str, ...]:
        """`hotdesk notebook --public`, as far as AWS hears of it; "" is `--private`."""
        while True:
            try:
                with Hotdesk(self.folder, config=Config(), clock=self.time) as desks:
                    desks.services.clouds._providers["aws"] = self.aws
                    desk = replace(desks.services.store.desk(name), public=to)
                    desks.services.store.put(desk)
                    self.moves_on()
                    if to:
                        return desks.services.exposure._open(desk)
                    desks.services.exposure._close(desk)
                    return ()
            except Crash:
                self.crash()

    def work(self, text: str, name: str = "blue", **more: str) -> None:
        """Write something at the desk (or on another `device` of it), and count on it from now on."""
        [machine] = self.machines(name)
        self.fake.post("write", id=machine["id"], name=text, text=text, **more)
        self.acknowledged.add(text)

    def gc(self) -> list[Ask]:
        """What `hotdesk gc --yes` does: deletes what belongs to nobody and holds nothing."""
        while True:
            try:
                steps = plan_gc(self.aws.survey(), self.store.desks(), self.time.now())
                for step in steps:
                    if isinstance(step, Delete):
                        self.aws.delete(step.id, keep_disk=step.keep_disk)
                return [step for step in steps if isinstance(step, Ask)]
            except Crash:
                self.crash()

    # ---- what is so in truth -----------------------------------------------------------------------------

    def reached_by(self, *addresses: str, name: str = "blue", port: int = 8888) -> list[str]:
        """Which of these addresses reach a port of the desk's machine, by the groups that it is in."""
        [machine] = self.machines(name)
        asks = {"id": machine["id"], "port": port}
        return [a for a in addresses if self.fake.get("reach", **asks, **{"from": a})["open"]]

    def groups(self) -> list[str]:
        """Names of the security groups that hotdesk has made."""
        return sorted(t["name"] for t in self.things("security-group") if "hotdesk" in t["tags"])

    def things(self, kind: str = "", gone: bool = False) -> list[Any]:
        rows = self.fake.get("things", gone="1" if gone else "0", crowd="0")
        return [r for r in rows if not kind or r["kind"] == kind]

    def machines(self, name: str = "blue") -> list[Any]:
        alive = {"pending", "running", "stopping", "stopped"}
        mine = [m for m in self.things("instance") if m["tags"].get("hotdesk:desk") == name]
        return [m for m in mine if m["state"] in alive]

    def on_devices(self, name: str = "blue") -> dict[str, list[str]]:
        """What is on each disk of a desk's machine."""
        work = {v["id"]: [*v["work"], *v["unsynced"]] for v in self.things("volume")}
        [machine] = self.machines(name)
        key = (self.fake.url, machine["region"])
        ec2 = _direct[key] = _direct.get(key) or self.fake.client("ec2", machine["region"])
        found = ec2.describe_instances(InstanceIds=[machine["id"]])["Reservations"][0]["Instances"][0]
        return {m["DeviceName"]: work[m["Ebs"]["VolumeId"]] for m in found["BlockDeviceMappings"]}

    def billed(self, name: str = "blue") -> list[Any]:
        """Everything of a desk that exists, free things left out."""
        rows = self.things()
        over = {"terminated"}
        return [
            r
            for r in rows
            if r["kind"] not in FREE | {"spot-instances-request", "image"}
            and r["tags"].get("hotdesk:desk") == name
            and r["state"] not in over
        ] + [r for r in rows if r["kind"] == "image" and r["tags"].get("hotdesk:desk") == name]

    def check(self, name: str, goal: Goal) -> bool:
        """The goal is reached in truth, all work is where it should be, and nothing else is paid."""
        assert self.twins == [], f"two machines for one desk: {self.twins}\n{self.story}"
        rows = self.billed(name)
        untagged = [
            r
            for r in self.things()
            if r["kind"] in {"instance", "volume", "snapshot", "image"} and r["tags"].get("hotdesk") != "1"
        ]
        assert untagged == [], "made without a tag"
        kinds = sorted(r["kind"] for r in rows)
        if goal is Goal.GONE:
            assert rows == [], "something was left behind"
            assert self.store.find(name) is None
            left = [r for r in self.things() if r["kind"] in FREE and r["tags"].get("hotdesk:desk") == name]
            assert left == []
            self.acknowledged.clear()
            return True
        if goal is Goal.PARKED:
            images = [r for r in rows if r["kind"] == "image"]
            snapshots = [r for r in rows if r["kind"] == "snapshot"]
            assert len(images) == 1, kinds
            assert sorted(images[0]["snapshots"]) == sorted(s["id"] for s in snapshots), kinds
            assert {*kinds} == {"image", "snapshot"}, kinds
            assert images[0]["tags"].get("hotdesk:verified") == "1"
            held = {work for s in snapshots for work in s["work"]}
            assert self.acknowledged <= held, "work was lost"
            return True
        [machine] = self.machines(name)
        wanted = "running" if goal is Goal.RUNNING else "stopped"
        assert machine["state"] == wanted
        volumes = [r for r in rows if r["kind"] == "volume"]
        assert sorted(v["id"] for v in volumes) == sorted(machine["disks"]), kinds
        held = {work for v in volumes for work in (*v["work"], *v["unsynced"])}
        assert self.acknowledged <= held, "work was lost"
        assert len([r for r in rows if r["kind"] == "image"]) <= 1, kinds
        return True


def served(tags: dict[str, str]) -> int:
    """The desk's generation that a machine's hardware was chosen for."""
    return max(int(tags["hotdesk:generation"]), int(tags.get("hotdesk:moved", 0)))


def host_key(lineage: str) -> str:
    key = hashlib.sha256(lineage.encode()).digest()
    blob = b"".join(len(part).to_bytes(4) + part for part in (b"ssh-ed25519", key))
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


def console(lineage: str) -> str:
    """Two blocks, as on a real machine; a line of the kernel stands in the middle of the second key."""
    whole = (
        f"-----BEGIN SSH HOST KEY KEYS-----\n{host_key(lineage)} root@ip\n-----END SSH HOST KEY KEYS-----\n"
    )
    half = whole.index("AAAA") + 40
    cut = f"{whole[:half]}[   31.337203] NET: Registered PF_VSOCK protocol family\n{whole[half:]}"
    return f"[    0.0] Linux\n{whole}{cut}cloud-init finished\n"


@contextmanager
def quick(fake: FakeEc2, *, lag_seconds: float = 0.0, regions: Sequence[str] = (HOME,)) -> Iterator[FakeEc2]:
    """The fake as new: its clock stands still unless somebody sleeps, and only these regions are enabled."""
    fake.post("reset")
    fake.post("clock", rate=0, pace=0.1)
    enabled = fake.post("regions")
    fake.post("regions", disable=[r for r in enabled if r not in regions], enable=list(regions))
    if lag_seconds:
        fake.post("lag", seconds=lag_seconds)
    yield fake


def leave_over(fake: FakeEc2, region: str) -> None:
    """A group and a key pair of ours, and nothing else."""
    own = [{"Key": "hotdesk", "Value": "1"}, {"Key": "hotdesk:desk", "Value": "old"}]
    ec2 = fake.client("ec2", region)
    [vpc] = ec2.describe_vpcs()["Vpcs"]
    tags = [{"ResourceType": "security-group", "Tags": own}]
    ec2.create_security_group(
        GroupName="hotdesk", Description="x", VpcId=vpc["VpcId"], TagSpecifications=tags
    )
    ec2.create_key_pair(KeyName="old", TagSpecifications=[{"ResourceType": "key-pair", "Tags": own}])
