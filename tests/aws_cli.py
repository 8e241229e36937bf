"""The real command line, in processes of its own, at a fake EC2 with light machines behind it.

A test module imports the fixtures `cloud` and `ask`. The fake is one for all; each test has it as new, with
ids that no other test has, and a state folder of its own.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_ec2.process import FakeEc2
from tests.conftest import typed
from tests.local_rig import tool

Done = subprocess.CompletedProcess[str]
Ask = Callable[..., Done]

NEEDED = [
    tool("ssh"),
    pytest.mark.skipif(sys.platform != "linux", reason="a loopback address for each machine, and /proc"),
]
REGION = "us-west-2"
ON_DEMAND = ("up", "blue", "--type", "g4dn.xlarge", "--market", "on-demand")
SPOT = ("up", "blue", "--type", "g4dn.xlarge", "--market", "spot")
_SEEDS = itertools.count(os.getpid() * 100)


@pytest.fixture(scope="module")
def lit(light_ec2: FakeEc2, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeEc2]:
    from tests.light.desk import known, ssh_for

    with pytest.MonkeyPatch.context() as patch:
        ssh_for(tmp_path_factory.mktemp("light"), patch)
        known(light_ec2, patch)
        yield light_ec2


@pytest.fixture
def cloud(lit: FakeEc2) -> Iterator[FakeEc2]:
    as_new(lit)
    yield lit
    lit.post("reset")  # ends its machines


def as_new(fake: FakeEc2) -> None:
    """An empty account with two regions, whose time runs."""
    fake.post("reset", seed=next(_SEEDS))  # a rig keeps disks by their ids
    enabled = fake.post("regions")
    fake.post("regions", disable=[r for r in enabled if r not in {REGION, "us-east-1"}])
    fake.post("clock", rate=1, pace=0.01)


@pytest.fixture
def ask(cloud: FakeEc2, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """`ask("up", "blue")`: the command, as typed; variables of its environment may be given by name."""
    (tmp_path / "hotdesk.toml").write_text(_SETTINGS)
    monkeypatch.setenv("HOTDESK_CONFIG", str(tmp_path / "hotdesk.toml"))
    (tmp_path / "state").mkdir(mode=0o700)

    def run(*words: str, timeout: float = 120, **more: str) -> Done:
        (tmp_path / "state" / "looked").touch()  # no process beside the one that is watched
        return typed(*words, timeout=timeout, **more)

    return run


_SETTINGS = """\
[defaults]
provider = "aws"
regions = ["us-west-2"]
[aws]
address = "127.0.0.1/32"
lag_seconds = 0.0
poll_seconds = 0.1
"""


def paid(cloud: FakeEc2) -> dict[str, int]:
    """What is there and costs money, by kind; machines that are off are `off`."""
    found: dict[str, int] = {}
    for thing in cloud.get("things", crowd="0"):
        if thing["kind"] not in {"instance", "volume", "snapshot"} or thing["state"] in {"terminated"}:
            continue
        kind = "off" if (thing["kind"], thing["state"]) == ("instance", "stopped") else thing["kind"]
        found[kind] = found.get(kind, 0) + 1
    return found


def only(cloud: FakeEc2, kind: str) -> Any:
    """The one thing of that kind that is there."""
    [thing] = [t for t in cloud.get("things", crowd="0", kind=kind) if t["state"] != "terminated"]
    return thing


def console(cloud: FakeEc2, thing: Any, do: str, state: str = "") -> None:
    """Somebody clicks in the web console; returns when it is done."""
    cloud.post("console", id=thing["id"], do=do)
    limit = time.monotonic() + 30
    while state and time.monotonic() < limit:
        rows = [t for t in cloud.get("things", gone="1") if t["id"] == thing["id"]]
        if not rows or rows[0]["state"] == state:
            return
        time.sleep(0.02)


def told(done: Done, code: int, *words: str) -> str:
    """The three lines that a command ends with; that exit code, those words, a fix to paste, no traceback."""
    assert done.returncode == code, f"{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line.strip()][-3:]
    assert [line.split()[0] for line in said] == ["✗", "why:", "fix:"], done.stderr
    command = said[2].removeprefix("  fix: ").split("#")[0].split()
    assert command[0] in {"hotdesk", "aws", "sudo", "ping", "unset"}, done.stderr
    text = "\n".join(said)
    for word in words:
        assert word in text, done.stderr
    return text


def well(done: Done) -> Done:
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done
