"""Long jobs on the fake EC2, a light machine behind each instance: ssh, rsync, tmux and the job are real."""

from __future__ import annotations

import hashlib
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_ec2.process import FakeEc2
from tests.conftest import Command
from tests.light import folders, volumes
from tests.local_rig import tool
from tests.test_job_variables import SECRET, holders
from tests.test_run import SECONDS, TRAIN, Laptop, settled, weights_of

pytest.importorskip("moto", reason="moto is not installed")
pytest.importorskip("asyncssh", reason="asyncssh is not installed")
pytestmark = [
    tool("ssh"),
    tool("rsync"),
    tool("git"),
    pytest.mark.skipif(sys.platform != "linux", reason="a loopback address for each machine, and /proc"),
]


@pytest.fixture
def cloud(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEc2]:
    from tests.light.desk import light_cloud

    with light_cloud(tmp_path, monkeypatch) as fake:
        yield fake


@pytest.fixture
def desks(cloud: FakeEc2, hotdesk: Command) -> Iterator[Command]:
    """The command line; whatever watcher a test has begun ends with it, and before the cloud does."""
    yield hotdesk
    hotdesk("watch", "--stop")


@pytest.fixture
def project(home: Path) -> Path:
    folder = home / "project"
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    return folder


def disk(cloud: FakeEc2) -> Path:
    """The root of the running machine, as a folder of this computer, once there is one."""
    limit = time.monotonic() + SECONDS
    while True:
        for volume in machine(cloud)["disks"]:
            for found in volumes(cloud, volume):
                return found
        assert time.monotonic() < limit
        time.sleep(0.02)


def running(cloud: FakeEc2, attempt: int) -> None:
    """Until that attempt of the only job runs, or a later one."""
    limit = time.monotonic() + SECONDS
    while True:
        for status in disk(cloud).glob("home/.hotdesk/jobs/*/status.json"):
            told = json.loads(status.read_text() or "{}")
            if told.get("attempt", 0) >= attempt and told["phase"] == "running":
                return
        assert time.monotonic() < limit
        time.sleep(0.02)


def machine(cloud: FakeEc2, but: str = "") -> Any:
    """The one that runs, once it is another than that."""
    limit = time.monotonic() + SECONDS
    while True:
        there = [r for r in cloud.get("things", kind="instance") if r["state"] == "running"]
        rows = [r for r in there if "hotdesk:role" not in r["tags"]]  # beside it, one may keep a place
        assert len(rows) < 2, rows
        if rows and rows[0]["id"] != but:
            return rows[0]
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_a_run_goes_from_zone_to_zone_and_on_demand_with_the_same_weights(
    cloud: FakeEc2, desks: Command, home: Path, project: Path
) -> None:
    """1. It begins on spot. 2. With two minutes' notice the machine is taken, and its zone is sold out: it
    goes on in another. 3. That is taken without a word, and no zone has spot: on-demand. 4. It ends, its
    results come, the desk is parked: one image and nothing else. 5. The weights are those of a quiet run.
    6. Each attempt had its secret, and no disk and no image ever held it."""
    pytest.importorskip("numpy")
    expected = weights_of(project, home, "40", "5", "0", rented=True)
    laptop = Laptop(home)
    up = desks("up", "blue", "--type", "g4dn.xlarge", "--market", "cheapest")
    assert up.returncode == 0, up.stderr
    resume = 'echo "once more with $TOKEN" | rev; python train.py 40 5 0.1 go'
    again = f"once more with {SECRET}"[::-1] + "\nresumed at"
    laptop.environment["TOKEN"] = SECRET
    run = laptop.begin(
        project, "run", "blue", "--pull", "out", "--checkpoint", "ckpt", "--resume-command", resume,
        "--secret", "TOKEN", "--", "python", "train.py", "40", "5", "0.1", "go",
    )  # fmt: skip
    laptop.until("checkpoint 5 ")
    first = machine(cloud)
    assert first["market"] == "spot"
    assert holders(disk(cloud)) == []
    cloud.post("capacity", market="spot", zone=first["zone"], free=-1)
    cloud.post("interrupt", id=first["id"])
    second = machine(cloud, but=first["id"])
    laptop.until(again)
    assert (second["market"], second["zone"] != first["zone"]) == ("spot", True)
    cloud.post("capacity", market="spot", free=-1)
    cloud.post("interrupt", id=second["id"], notice=False)
    assert machine(cloud, but=second["id"])["market"] == "on-demand"
    running(cloud, 3)
    (disk(cloud) / "home" / "project" / "go").touch()
    assert laptop.wait(run, SECONDS) == 0, laptop.said()
    job = settled(desks, 1)
    assert (job["state"], job["attempts"], job["settled"]) == ("done", 3, True), laptop.said()
    assert hashlib.sha256((project / "out" / "weights.npy").read_bytes()).hexdigest() == expected
    paid = {"instance", "volume", "image", "snapshot"}
    left = [t for t in cloud.get("things") if t["kind"] in paid and t["state"] != "terminated"]
    assert sorted(t["kind"] for t in left) == ["image", "snapshot"]
    assert laptop.said().count(again) == 2
    disks = folders(cloud)
    assert disks
    assert [name for folder in [*disks, laptop.state] for name in holders(folder)] == []


@pytest.mark.long
@pytest.mark.parametrize("interruptions", [10])
def test_ten_interruptions_change_no_bit(
    cloud: FakeEc2, desks: Command, home: Path, project: Path, interruptions: int
) -> None:
    """1. The machine is taken without a word, ten times at random moments, once in mid-checkpoint. 2. Once
    `hotdesk run` and the watcher are killed with it; the next command goes on. 3. The same weights."""
    pytest.importorskip("numpy")
    dice = random.Random(7)
    expected = weights_of(project, home, "60", "5", "0", rented=True)
    laptop = Laptop(home)
    assert desks("up", "blue", "--type", "g4dn.xlarge", "--market", "spot").returncode == 0
    cloud.post("clock", pace=0.002)
    run = laptop.begin(
        project, "run", "blue", "--pull", "out", "--checkpoint", "ckpt", "--signal", "none",
        "--", "python", "train.py", "60", "5", "0.02", "go",
    )  # fmt: skip
    laptop.until("checkpoint 5 ")
    for number in range(interruptions):
        taken = machine(cloud)
        if number == 0:
            limit = time.monotonic() + SECONDS
            while not list(disk(cloud).glob("home/project/ckpt/*.part")):
                assert time.monotonic() < limit
                time.sleep(0.002)
        else:
            time.sleep(dice.uniform(0.0, 0.6))
        cloud.post("interrupt", id=taken["id"], notice=False)
        if number == 1:
            run.kill()
            run.wait()
            laptop.kill_watcher()
            assert desks("ls").returncode == 0  # any command starts the watcher again
            run = laptop.begin(project, "logs", "blue", "-f")
        machine(cloud, but=taken["id"])
        running(cloud, number + 2)
    (disk(cloud) / "home" / "project" / "go").touch()
    assert laptop.wait(run, SECONDS) == 0, laptop.said()
    job = settled(desks, 1)
    assert (job["state"], int(str(job["attempts"])) > interruptions) == ("done", True)
    assert hashlib.sha256((project / "out" / "weights.npy").read_bytes()).hexdigest() == expected
    assert "resumed at" in laptop.said()
