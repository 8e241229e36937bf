"""Random days of a desk on the fake EC2: refusals, lost answers, crashes, lag, spot, a hand in the console.

What is checked is what the fake says exists, not what hotdesk believes. A seed is one history, except for the
order of calls that are made side by side. `HOTDESK_AWS_DAYS=500 pytest tests/test_aws_chaos.py` lives more of
them; `HOTDESK_AWS_DAY=123` lives that one alone.
"""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.core.model import Goal, Market, Want
from hotdesk.core.ports import Provider
from tests.aws_desk import FREE, HOME, TWO_DISKS, Laptop, offer, quick
from tests.boundaries import Dying
from tests.random_day import RandomDay

pytest.importorskip("moto", reason="moto is not installed")

DAYS = int(os.environ.get("HOTDESK_AWS_DAYS", "8"))
BATCHES = 4
ABROAD = "us-east-1"
OFFERS = (
    offer(),
    offer(zone="us-west-2b"),
    offer("g5.xlarge", gpu="A10G"),
    offer("g5.xlarge", "us-west-2b", gpu="A10G"),
    offer(market=Market.SPOT, price=0.2),
    offer("g5.xlarge", "us-west-2b", market=Market.SPOT, gpu="A10G", price=0.3),
    offer(zone="us-east-1b"),
)
CHANGES = (
    *("RunInstances", "StartInstances", "StopInstances", "TerminateInstances", "CreateImage"),
    *("CreateSnapshot", "RegisterImage", "DeregisterImage", "DeleteVolume", "CopyImage", "CreateTags"),
    "ModifyInstanceAttribute",
)
ALIVE = {"pending", "running", "stopping", "stopped"}


class Day(RandomDay):
    """One random day of one desk, at one computer or by turns at two."""

    def __init__(self, seed: int, fake: FakeEc2, folder: Path) -> None:
        super().__init__(random.Random(f"a day on EC2 {seed}"))
        rng, self.fake = self.random, fake
        self.lag = rng.choice([0.0, 0.0, 4.0, 20.0])
        self.faults = rng.random() < 0.7
        dying = Dying(seed, rng.choice([0.0, 0.02, 0.05]))
        self.two_disks = seed % 3 == 2
        self.offers = tuple(o for o in OFFERS if o.region == HOME) if self.two_disks else OFFERS
        self.wish = {"want": Want(image=TWO_DISKS) if self.two_disks else Want()}
        laptops = [
            Laptop(
                fake, folder / f"computer {n}", dying, lag_seconds=self.lag + 1 if self.lag else 0.0,
                offers=self.offers if self.two_disks else tuple(rng.sample(OFFERS, len(OFFERS))),
            )
            for n in range(rng.choice([1, 1, 2]))
        ]  # fmt: skip
        for one in laptops[1:]:
            one.booted = laptops[0].booted
        self.begin(laptops, dying)

    @property
    def provider(self) -> Provider:
        return self.laptop.aws

    def now(self) -> float:
        return float(self.fake.get("clock")["now"])

    # ---- a day -------------------------------------------------------------------------------------------

    def work(self) -> None:
        bare = self.proven()
        if any(m["id"] == bare and m["state"] == "running" for m in self.laptop.machines()):
            self.written += 1
            text = f"work {self.written}"
            self.say(f"{text} on {bare}")
            on_data = self.two_disks and self.written % 2 == 0 and self.with_data(bare)
            more = {"device": "/dev/sdf"} if on_data else {}
            self.fake.post("write", id=bare, name=text, text=text, **more)
            self.acknowledged.add(text)

    def with_data(self, bare: str) -> bool:
        return any(len(m["disks"]) == 2 for m in self.laptop.machines() if m["id"] == bare)

    def interruption(self) -> None:
        for machine in self.laptop.machines():
            if machine["market"] == "spot" and machine["state"] == "running":
                self.say(f"AWS takes {machine['id']} back")
                self.fake.post("interrupt", id=machine["id"], notice=self.random.random() < 0.5)

    def console(self) -> None:
        if self.random.random() > 0.4:
            return
        things = [t for t in self.laptop.things() if t["kind"] in {"instance", "volume", "snapshot", "image"}]
        if not things:
            return
        thing = self.random.choice(things)
        do = {
            "instance": ["terminate", "stop", "shutdown"],
            "volume": ["delete"],
            "snapshot": ["delete"],
            "image": ["deregister"],
        }[thing["kind"]]
        choice = self.random.choice(do)
        if choice == "stop" and thing.get("market") == "spot":
            return  # AWS refuses it of a one-time spot machine
        if thing["kind"] == "instance" and thing["state"] not in ALIVE:
            return
        if thing["kind"] == "volume" and thing["attached_to"]:
            return
        if any(thing["id"] in image["snapshots"] for image in things if image["kind"] == "image"):
            return  # AWS refuses that, too
        if choice in {"stop", "shutdown"} and thing["state"] != "running":
            return
        more = {"with_snapshots": self.random.random() < 0.5} if choice == "deregister" else {}
        self.fake.post("console", id=thing["id"], do=choice, **more)
        self.say(f"in the console: {choice} {thing['kind']} {thing['id']} {more}")
        if thing["kind"] != "instance":
            self.taken = True
            self.lost |= self.acknowledged - self.somewhere()

    def trouble(self) -> None:
        if not self.faults:
            return
        rng, what = (
            self.random,
            self.random.choice(["refuse", "refuse", "lose", "spoil", "capacity", "launch"]),
        )
        match what:
            case "refuse":
                codes = [
                    "RequestLimitExceeded",
                    "InternalError",
                    "InsufficientInstanceCapacity",
                    "Unavailable",
                ]
                action, code = rng.choice(CHANGES), rng.choice(codes)
                if code.startswith("Insufficient"):
                    action = rng.choice(["RunInstances", "StartInstances"])
                self.fake.post(
                    "refuse",
                    action=action,
                    code=code,
                    status=503 if code == "Unavailable" else None,
                    times=rng.randrange(1, 3),
                )
                self.say(f"trouble: {action} {code}")
            case "lose":
                action, when = rng.choice([*CHANGES, "Describe*"]), rng.choice(["before", "after"])
                self.fake.post("lose", action=action, when=when, times=rng.randrange(1, 4))
                self.say(f"trouble: the answer of {action} is lost, {when}")
            case "spoil":
                action = rng.choice(["CreateImage", "CreateImage", "RegisterImage", "CopyImage"])
                how = rng.choice(["failed", "snapshot-error", "missing-disk", "short-disk", "wrong-source"])
                self.fake.post("spoil", action=action, how=how)
                self.say(f"trouble: {action} {how}")
            case "launch":
                code = rng.choice(
                    ["Client.InternalError", "Server.InternalError", "Client.VolumeLimitExceeded"]
                )
                self.fake.post("spoil", action="RunInstances", code=code)
                self.say(f"trouble: a launch ends with {code}")
            case "capacity":
                for pool in rng.sample(OFFERS, 3):
                    self.fake.post(
                        "capacity",
                        zone=pool.zone,
                        type=pool.instance_type,
                        market=pool.market.value,
                        free=rng.choice([0, 0, 1]),
                    )
                self.say("trouble: sold out in three pools")

    # ---- what must be so, always -------------------------------------------------------------------------

    def somewhere(self) -> set[str]:
        held: set[str] = set()
        for thing in self.laptop.things():
            held |= {*thing.get("work", ()), *thing.get("unsynced", ())}
        return held

    def holds(self) -> None:
        self.twin_free()
        desk = self.laptop.store.find("blue")
        if desk is None or desk.goal is Goal.GONE:
            self.acknowledged &= self.somewhere()  # its owner has given it up
        missing = self.acknowledged - self.lost - self.somewhere()
        assert not missing, f"lost: {missing}"
        for thing in self.laptop.things():
            if thing["kind"] in {"instance", "volume", "snapshot", "image"}:
                assert thing["tags"].get("hotdesk") == "1", f"without a tag: {thing}"
                assert thing["tags"].get("hotdesk:desk") == "blue", thing

    def twin_free(self) -> None:
        for one in self.laptops:
            assert one.twins == [], f"two machines for one desk: {one.twins}"
        assert len(self.laptop.machines()) <= 1, "two machines for one desk"

    def shown(self) -> None:
        """Whatever costs money is in a survey: what `ls`, `costs` and `gc` are made of."""
        survey = self.laptop.aws.survey()
        every = (*survey.instances, *survey.disks, *survey.images, *survey.leftovers)
        ids = {thing.id.partition("/")[2] for thing in every}
        parts = {s for r in self.laptop.things("image") if r["id"] in ids for s in r["snapshots"]}
        parts |= {part.partition("/")[2] for t in (*survey.disks, *survey.images) for part in t.parts}
        disks = {d for r in self.laptop.things("instance") if r["id"] in ids for d in r["disks"]}
        paid = {t["id"] for t in self.laptop.things() if t["usd_per_hour"] > 0}
        assert paid <= ids | parts | disks, f"billed and shown nowhere: {paid - ids - parts - disks}"

    # ---- its end -----------------------------------------------------------------------------------------

    def end(self) -> None:
        """The faults are over; the owner says what is wanted."""
        self.dying.share = 0.0
        self.fake.delete("rules")
        self.fake.delete("capacity")
        self.sleep(self.lag + 1500.0)
        self.shown()
        self.reach_each()
        self.sleep(self.lag + 60.0)
        assert self.laptop.gc() == [], "gc has a question, and there is no desk"
        self.laptop.time.sleep(self.lag + 60.0)
        assert self.laptop.gc() == []
        left = [t for t in self.laptop.things() if t["usd_per_hour"] > 0 or t["kind"] in {"image", *FREE}]
        assert left == [], f"left after down and gc: {left}"

    def keeps_nothing(self) -> bool:
        return not self.laptop.billed()


def live(seed: int, fake: FakeEc2) -> None:
    with tempfile.TemporaryDirectory() as folder, quick(fake, regions=(HOME, ABROAD)):
        day = Day(seed, fake, Path(folder))
        if day.lag:
            fake.post("lag", seconds=day.lag, vary=bool(seed % 2))
        day.lived(f"HOTDESK_AWS_DAY={seed}")


@pytest.fixture
def fake(server: FakeEc2, monkeypatch: pytest.MonkeyPatch) -> FakeEc2:
    for key, value in server.environment(HOME).items():
        monkeypatch.setenv(key, value)
    return server


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_days_on_ec2(fake: FakeEc2, batch: int) -> None:
    if only := os.environ.get("HOTDESK_AWS_DAY"):
        if batch == 0:
            live(int(only), fake)
        return
    for seed in range(batch, DAYS, BATCHES):
        live(seed, fake)
