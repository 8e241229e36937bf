"""A sweep on rented machines: the fake EC2 with light machines behind it; ssh, Ray and the tasks are real."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_ec2.process import FakeEc2
from hotdesk import Hotdesk
from tests.conftest import Command
from tests.light import volumes
from tests.local_rig import tool, wait_for
from tests.test_cluster import GANG
from tests.test_sweep_checkpoints import STEPS

pytest.importorskip("moto", reason="moto is not installed")
pytest.importorskip("asyncssh", reason="asyncssh is not installed")
pytest.importorskip("ray", reason="Ray is not installed: pip install 'hotdesk[sweep]'")
pytestmark = [
    pytest.mark.long,
    tool("ssh"),
    tool("rsync"),
    pytest.mark.skipif(sys.platform != "linux", reason="a loopback address for each machine, and /proc"),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler: machines would share their ports"),
]
SECONDS = 400.0  # a limit for a busy computer, not an expectation: Ray takes a minute there to start
REGION = "us-west-2"
TASK = """
import json, os, sys, time
def note(word):
    with open(os.environ["LEDGER"], "a") as file:
        file.write(f"{os.environ['HOTDESK_TASK_NUMBER']} {word}\\n")
note("began")
while os.path.exists(os.environ["LEDGER"] + ".hold"):
    time.sleep(0.1)
time.sleep(float(os.environ["NAP"]))
print(json.dumps({"square": int(sys.argv[1]) ** 2}))
note("ended")
"""
#: A Ray program of one's own: it joins the cluster by its environment, and waits for every machine.
NODES = """
import time
import ray
ray.init()
while len([node for node in ray.nodes() if node["Alive"]]) < 3:
    time.sleep(0.5)
print(sorted(ray.get([ray.remote(lambda n: n * n).remote(n) for n in range(3)])))
"""


@pytest.fixture
def cloud(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEc2]:
    from tests.light.desk import light_cloud

    with light_cloud(tmp_path, monkeypatch) as fake:
        yield fake


@pytest.fixture
def ledger(home: Path, tmp_path: Path) -> Path:
    """A project whose tasks write there when they begin and end."""
    (home / "project").mkdir()
    (home / "project" / "task.py").write_text(TASK)
    os.chdir(home / "project")
    return tmp_path / "ledger"


@pytest.fixture
def parked(cloud: FakeEc2, hotdesk: Command, ledger: Path) -> Iterator[Command]:
    """The command line, with a parked desk called blue."""
    assert hotdesk("up", "blue", "--type", "t3.large", "--market", "on-demand").returncode == 0
    assert hotdesk("park", "blue").returncode == 0
    yield hotdesk
    for row in json.loads(hotdesk("sweep", "ls", "--json").stdout):
        hotdesk("sweep", "cancel", str(row["sweep"]))
    hotdesk("cluster", "down", "blue")


def until(what: Callable[[], Any]) -> Any:
    return wait_for(what, SECONDS, pause=0.5)


def launched(cloud: FakeEc2) -> list[Any]:
    """The machines of sweeps that there have ever been."""
    rows = cloud.get("things", gone="1", crowd="0")
    return [r for r in rows if r["kind"] == "instance" and "hotdesk:of" in r["tags"]]


def fleet(cloud: FakeEc2) -> list[Any]:
    """… that exist."""
    alive = {"pending", "running", "stopping", "stopped", "shutting-down"}
    return [row for row in launched(cloud) if row["state"] in alive]


def start(tasks: int, ledger: Path, *words: str, nap: float = 0.5) -> list[str]:
    given = ["sweep", "start", "blue", "--param", f"n=1..{tasks}", "--env", f"LEDGER={ledger}"]
    return [*given, "--env", f"NAP={nap}", *words, "--detach", "--", "python3", "task.py", "{n}"]


def over(hotdesk: Command) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = json.loads(hotdesk("sweep", "show", "--json").stdout)
        return found if found["state"] in {"done", "failed", "stopped", "cancelled"} else None

    row: dict[str, Any] = until(look)
    return row


def ended(ledger: Path) -> Counter[str]:
    lines = [line.split() for line in ledger.read_text().splitlines()]
    return Counter(task for task, word in lines if word == "ended")


def test_a_sweep_on_three_machines_that_are_gone_at_its_end(
    cloud: FakeEc2, parked: Command, ledger: Path
) -> None:
    begun = parked(*start(12, ledger, "--machines", "3"))
    assert begun.returncode == 0, begun.stderr
    until(lambda: len(fleet(cloud)) == 3)
    markets = Counter(m["market"] for m in fleet(cloud))
    assert markets == {"on-demand": 1, "spot": 2}
    row = over(parked)
    assert (row["state"], row["done"]) == ("done", 12), row
    assert ended(ledger) == dict.fromkeys(map(str, range(1, 13)), 1)
    table = csv.DictReader(io.StringIO(parked("sweep", "results").stdout))
    assert {int(r["n"]): int(r["square"]) for r in table} == {n: n * n for n in range(1, 13)}
    assert fleet(cloud) == []


def test_interrupted_machines_are_replaced_and_no_task_is_lost(
    cloud: FakeEc2, parked: Command, ledger: Path
) -> None:
    """One of two spot machines is taken with notice, the other at once, while both are at work."""
    hold = Path(f"{ledger}.hold")
    hold.touch()
    assert parked(*start(24, ledger, "--machines", "3")).returncode == 0
    # Each machine has two places: with five at work, all three are.
    until(lambda: ledger.exists() and len(ledger.read_text().splitlines()) >= 5)
    taken = [m["id"] for m in fleet(cloud) if m["market"] == "spot"]
    assert len(taken) == 2
    for notice, id_ in zip((True, False), taken, strict=True):
        cloud.post("interrupt", id=id_, notice=notice)
    until(lambda: [m for m in fleet(cloud) if m["market"] == "spot" and m["id"] not in taken])
    hold.unlink()
    row = over(parked)
    assert (row["state"], row["done"], row["failed"]) == ("done", 24, 0), row
    assert ended(ledger) == dict.fromkeys(map(str, range(1, 25)), 1), "none ran to its end twice"
    each = json.loads(parked("sweep", "show", "-n", "100", "--json").stdout)["each"]
    # Two for each place are asked for: those that ran on two machines, or were about to.
    assert 3 <= sum(task["lost"] > 0 for task in each) <= 12, each
    assert fleet(cloud) == []


def test_training_goes_on_from_what_it_saved_on_machines_that_were_taken(
    cloud: FakeEc2, parked: Command, tmp_path: Path
) -> None:
    """1. Six tasks hold at step 5 on three machines. 2. Both spot machines are taken, one with notice.
    3. Their tasks go on from there, at the machines that take their place."""
    go = tmp_path / "go"
    Path("train.py").write_text(STEPS)
    words = ["--machines", "3", "--param", "n=1..6", "--env", f"GO={go}", "--checkpoint", "ckpt", "--detach"]
    begun = parked("sweep", "start", "blue", *words, "--", "python3", "train.py", "{n}")
    assert begun.returncode == 0, begun.stderr

    def each() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(parked("sweep", "show", "--json").stdout)["each"]
        return found

    def saved() -> list[dict[str, Any]]:
        return [task for task in each() if (task["checkpoint"] or {}).get("attempt")]

    until(lambda: len(saved()) == 6)
    taken = [m["id"] for m in fleet(cloud) if m["market"] == "spot"]
    for notice, id_ in zip((True, False), taken, strict=True):
        cloud.post("interrupt", id=id_, notice=notice)
    until(lambda: sum(task["lost"] for task in each()) >= 4)
    for number in range(1, 7):
        Path(f"{go}{number}").touch()
    row = over(parked)
    assert (row["state"], row["done"], row["failed"]) == ("done", 6, 0), row
    for task in each():
        said = parked("sweep", "logs", str(task["task"])).stdout.splitlines()
        began = [line for line in said if line.startswith("from step ")]
        assert task["metrics"]["sum"] == 140, "as if nothing had happened"
        assert began[-1] == ("from step 5" if task["lost"] else "from step 0"), said
    assert fleet(cloud) == []


def test_another_computer_goes_on_with_a_sweep_whose_computer_died(
    cloud: FakeEc2, parked: Command, ledger: Path, tmp_path: Path
) -> None:
    """1. Its driver is killed in mid-sweep. 2. A computer with another state folder goes on: nothing is done
    twice, and no machine launched. 3. The first one is back, says who has the sweep, and does nothing."""
    first, second = Path(os.environ["HOTDESK_STATE"]), tmp_path / "second"
    assert parked(*start(24, ledger, "--machines", "2", nap=1.0)).returncode == 0
    until(lambda: json.loads(parked("sweep", "show", "--json").stdout)["done"] >= 4)
    head = next(m for m in fleet(cloud) if m["market"] == "on-demand")
    disks = [folder for disk in head["disks"] for folder in volumes(cloud, disk)]
    until(lambda: [record for disk in disks for record in disk.glob("home/.hotdesk/sweeps/*/record")])
    hold = Path(f"{ledger}.hold")
    hold.touch()
    driver = int((first / "locks" / "@sweep-1").read_text().split()[0])
    os.kill(driver, signal.SIGKILL)
    hold.unlink()

    def other(*words: str) -> subprocess.CompletedProcess[str]:
        return parked(*words, HOTDESK_STATE=str(second))

    assert "There is no desk" in other("sweep", "resume", "blue").stderr
    adopted = other("doctor", "--adopt")
    assert "blue" in adopted.stdout + adopted.stderr
    lacks = other("sweep", "resume", "blue")
    assert "The key of blue is not on this computer" in lacks.stderr, lacks.stderr
    shutil.copytree(first / "desks" / "blue", second / "desks" / "blue", dirs_exist_ok=True)
    asked = other("sweep", "resume", "blue")
    assert asked.returncode == 5, asked.stderr
    assert "Another computer goes on with this sweep" in asked.stderr
    machines = {m["id"] for m in launched(cloud)}
    resumed = other("sweep", "resume", "blue", "--yes", "--detach")
    assert resumed.returncode == 0, resumed.stderr

    back = json.loads(parked("sweep", "show", "--json").stdout)  # which begins a driver there
    until(lambda: json.loads(parked("sweep", "show", "--json").stdout)["state"] == "elsewhere")
    assert back["tasks"] == 24
    refused = parked("sweep", "cancel")
    assert refused.returncode == 6, refused.stderr
    row = until(lambda: (r := json.loads(other("sweep", "show", "--json").stdout))["over_at"] and r)
    assert (row["state"], row["done"]) == ("done", 24), row
    assert ended(ledger) == dict.fromkeys(map(str, range(1, 25)), 1), "nothing was done twice"
    assert {m["id"] for m in launched(cloud)} == machines, "nothing was launched for it"
    assert fleet(cloud) == []
    assert len(list(csv.DictReader(io.StringIO(other("sweep", "results").stdout)))) == 24
    shown = parked("sweep", "show").stdout
    assert "it goes on at" in shown
    assert "elsewhere" in shown


def test_a_watcher_at_another_desk_goes_on_with_a_sweep_and_brings_it_back(
    cloud: FakeEc2, parked: Command, ledger: Path
) -> None:
    """1. A sweep is handed to the watcher while it runs. 2. All ends there, with this computer off.
    3. It comes back with its results and logs."""
    hold = Path(f"{ledger}.hold")
    assert parked("up", "tower", "--type", "t3.micro", "--market", "on-demand").returncode == 0
    assert parked(*start(16, ledger, "--machines", "2", "--pull", "task.py", nap=1.0)).returncode == 0
    until(lambda: json.loads(parked("sweep", "show", "--json").stdout)["done"] >= 3)
    hold.touch()
    sent = parked("watch", "--on", "tower", "--send-credentials", "--yes")
    assert sent.returncode == 0, sent.stderr
    assert "goes on with sweep 1, too" in sent.stdout
    assert json.loads(parked("sweep", "show", "--json").stdout)["state"] == "elsewhere"
    with Hotdesk() as desks:
        assert not desks.services.sweeps.driven(1)
    assert "goes on at tower" in parked("sweep", "cancel").stderr
    machines = {m["id"] for m in launched(cloud)}
    hold.unlink()
    until(lambda: len(ended(ledger)) == 16)
    until(lambda: fleet(cloud) == [])
    assert json.loads(parked("sweep", "show", "--json").stdout)["state"] == "elsewhere", "nobody here knows"
    back = parked("watch", "--stop", "--on", "tower")
    assert back.returncode == 0, back.stderr
    row = until(lambda: (r := json.loads(parked("sweep", "show", "--json").stdout))["over_at"] and r)
    assert (row["state"], row["done"], row["sweep"]) == ("done", 16, 1), row
    assert ended(ledger) == dict.fromkeys(map(str, range(1, 17)), 1)
    assert {m["id"] for m in launched(cloud)} == machines
    assert parked("sweep", "results", "--to", "got").returncode == 0
    assert len(list(Path("got").glob("0000*/task.py"))) >= 13, "what was fetched there, at least"
    assert all('"square"' in parked("sweep", "logs", str(task)).stdout for task in (1, 8, 16))


def test_machines_linger_for_the_next_sweep_and_are_gone_at_last(
    cloud: FakeEc2, parked: Command, ledger: Path
) -> None:
    begun = parked(*start(6, ledger, "--machines", "2", "--linger", "2h"))
    assert begun.returncode == 0, begun.stderr
    first = until(
        lambda: (row := json.loads(parked("sweep", "show", "--json").stdout))["state"] == "lingering" and row
    )
    assert first["done"] == 6
    assert {m["state"] for m in first["machines"]} <= {"warm", "gone"}
    kept = {m["id"] for m in fleet(cloud)}
    assert len(kept) == 2
    assert "keeps 2 machines for the next sweep" in parked("ls").stderr
    # The second has no --linger, and ends them.
    second = parked(*start(6, ledger, "--machines", "2"))
    assert "goes on with the machines of sweep 1" in second.stderr
    row = over(parked)
    assert (row["sweep"], row["state"], row["done"]) == (2, "done", 6), row
    assert {m["id"] for m in launched(cloud)} == kept, "nothing was launched for it"
    assert fleet(cloud) == []
    rows = json.loads(parked("sweep", "ls", "--json").stdout)
    assert [r["state"] for r in rows] == ["done", "done"]
    assert ended(ledger) == dict.fromkeys(map(str, range(1, 7)), 2)


def test_a_cluster_whose_worker_is_killed_goes_on_and_is_gone_at_its_end(
    cloud: FakeEc2, parked: Command, ledger: Path
) -> None:
    """1. Three ranks run. 2. A spot machine is taken without notice. 3. All go on from where rank 0 was."""
    Path("gang.py").write_text(GANG)
    plan = parked("cluster", "up", "blue", "--machines", "3", "--budget", "5", "--dry-run").stdout
    assert "3 machines (the first of them on demand)" in plan, plan
    assert "/h now" in plan
    assert "or when it has cost $5.00" in plan
    cloud.post("quota", code="L-34B43A08", vcpus=2)
    refused = parked("cluster", "up", "blue", "--machines", "3", "--market", "spot")
    assert refused.returncode == 3, refused.stderr
    assert "has room for 2 such machines now, and 3 are wanted" in refused.stderr
    assert launched(cloud) == []
    cloud.post("quota", code="L-34B43A08", vcpus=64)
    up = parked("cluster", "up", "blue", "--machines", "3", "--budget", "5", "--detach")
    assert up.returncode == 0, up.stderr

    def shown() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(parked("cluster", "show", "blue", "--json").stdout)
        return found

    until(lambda: [m["state"] for m in shown()["machines"]] == ["up"] * 3)
    assert Counter(m["market"] for m in fleet(cloud)) == {"on-demand": 1, "spot": 2}
    assert "The cluster of blue has 3 machines" in parked("ls").stderr
    assert json.loads(parked("gc", "--dry-run", "--json").stdout)["things"] == []
    run = ["cluster", "run", "blue", "--every", "--checkpoint", "ckpt", "--detach", "--", "python", "gang.py"]
    assert parked(*run).returncode == 0
    until(lambda: '"round": 4' in parked("cluster", "logs", "blue").stdout)
    taken = next(m for m in fleet(cloud) if m["market"] == "spot")
    cloud.post("interrupt", id=taken["id"], notice=False)

    done = until(lambda: (found := shown()["runs"][0])["state"] in {"done", "failed"} and found)
    assert (done["state"], done["attempts"], done["lost"]) == ("done", 2, 1), done
    said = parked("cluster", "logs", "blue").stdout
    began = [line for line in said.splitlines() if line.startswith("rank 0 of 3 from round ")]
    assert int(began[1].rpartition(" ")[2]) >= 4, "from the checkpoint"
    assert len(fleet(cloud)) == 3
    Path("nodes.py").write_text(NODES)
    assert parked("cluster", "run", "blue", "--detach", "--", "python", "nodes.py").returncode == 0
    done = until(lambda: (found := shown()["runs"][1])["state"] in {"done", "failed"} and found)
    assert done["state"] == "done", parked("cluster", "logs", "blue").stdout
    with Hotdesk() as desks:  # as the dashboard is opened; a light machine has Jupyter's port alone
        there = desks.services.forwarding.open_member("cluster1-1", 8888, "")
        with urllib.request.urlopen(there.url, timeout=SECONDS) as answer:
            assert answer.headers["X-Hotdesk-Machine"]
    down = parked("cluster", "down", "blue")
    assert down.returncode == 0, down.stderr
    assert fleet(cloud) == []
    assert len(launched(cloud)) == 4
    until(lambda: not Path(os.environ["HOTDESK_STATE"], "desks", "cluster1-1").exists())


def test_a_cluster_of_which_a_part_cannot_be_had_leaves_nothing(
    cloud: FakeEc2, parked: Command, ledger: Path
) -> None:
    """Its quota cannot be asked: the launch finds it out."""
    cloud.post("refuse", action="GetServiceQuota", code="AccessDeniedException", times=None)
    for code in ("L-34B43A08", "L-1216C47A"):  # a t3.large has two processors
        cloud.post("quota", code=code, vcpus=2)
    up = parked("cluster", "up", "blue", "--machines", "4", "--market", "spot")
    assert up.returncode == 5, up.stderr
    assert "The cluster of blue is not up, and none of its machines is left." in up.stderr
    assert "MaxSpotInstanceCountExceeded" in up.stderr
    assert "hotdesk cluster up blue --machines 2" in up.stderr
    assert launched(cloud)
    assert fleet(cloud) == []
