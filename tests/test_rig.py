"""The day of a desk on real machines: the command line, the fake EC2, a Linux system behind each instance."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import test_browser
from tests.conftest import Command
from tests.fake_ec2.process import ROOT, FakeEc2
from tests.rig import ground
from tests.rig.commands import run
from tests.rig.sweep import left, sweep
from tests.test_browser import run_cell, sign_in

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("moto", reason="moto is not installed")
TOOLS = ("tmux", "htop", "screen", "git", "rsync")
PACKAGE = "tabulate"  # small, pure Python, and nothing that JupyterLab needs
page = test_browser.page  # a fixture: Chromium
PYTHON = "/opt/hotdesk/venv/bin/python"


def aloud(request: pytest.FixtureRequest, text: str) -> None:
    """Print it past pytest's capturing."""
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{text}", flush=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Where the base image is kept while these tests run."""
    if why := ground.lacking() or ("" if "HOTDESK_RIG" in os.environ else "HOTDESK_RIG=1 asks for it"):
        aloud(request, f"REAL MACHINES ARE NOT TESTED HERE: {why}")
        pytest.skip(why)
    sweep()
    folder = tmp_path_factory.mktemp("base")
    yield folder
    run("rm", "-rf", str(folder), seconds=300)


@pytest.fixture
def fake(base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEc2]:
    monkeypatch.setenv("HOTDESK_RIG_BASE", str(base))
    with FakeEc2(rig="tests.rig:machines", pace=0.02) as fake:
        for key, value in fake.environment().items():
            monkeypatch.setenv(key, value)
        yield fake
    assert left() == [], "the rig left something behind"


class Day:
    """What is done at one desk; how long each verb took is printed, also where output is captured."""

    def __init__(
        self, hotdesk: Command, desk: str, tunnels: list[int], request: pytest.FixtureRequest
    ) -> None:
        self.hotdesk, self.desk, self.tunnels, self.request = hotdesk, desk, tunnels, request

    def does(self, verb: str, *words: str) -> str:
        begun = time.monotonic()
        done = self.hotdesk(verb, self.desk, *words, timeout=300)
        aloud(self.request, f"real machines: {verb} took {time.monotonic() - begun:.1f} s")
        assert done.returncode == 0, f"{verb}: {done.stderr}\n{done.stdout}"
        return done.stdout

    def at(self, line: str) -> str:
        """A command at the desk, over ssh."""
        done = self.hotdesk("ssh", self.desk, "--", line, timeout=120)
        assert done.returncode == 0, f"{line}: {done.stderr}\n{done.stdout}"
        return done.stdout

    def notebook(self) -> str:
        """Jupyter's address, through a tunnel of which a note is taken."""
        url = self.hotdesk("notebook", self.desk, "--url").stdout.strip()
        self.tunnels.append(int(url.split(":")[2].split("/")[0]))
        return url

    def is_ready(self, type_: str, tools: tuple[str, ...] = TOOLS) -> None:
        """Everything that "up" promises, asked at the machine itself."""
        status = self.at("cloud-init status --long")
        assert "status: done" in status, status
        state = json.loads(self.at("sudo python3 /opt/hotdesk/agent.py ready"))
        assert state["ready"], state
        for tool in tools:
            assert self.at(f"command -v {tool}").strip().startswith("/usr/bin/")
        ask = (
            "import urllib.request as u; r = u.Request('http://169.254.169.254/latest/api/token', "
            "headers={'X-aws-ec2-metadata-token-ttl-seconds': '60'}, method='PUT'); "
            "t = u.urlopen(r).read().decode(); "
            "print(u.urlopen(u.Request('http://169.254.169.254/latest/meta-data/instance-type', "
            "headers={'X-aws-ec2-metadata-token': t})).read().decode())"
        )
        assert self.at(f'python3 -c "{ask}"').strip() == type_


@pytest.fixture
def tunnels() -> Iterator[list[int]]:
    """Ports of this computer where an ssh tunnel listens that is to end with the test."""
    ports: list[int] = []
    yield ports
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            if any(f"127.0.0.1:{port}:127.0.0.1:" in word for port in ports for word in words):
                os.kill(int(folder.name), signal.SIGTERM)


def test_a_day_on_real_machines(
    hotdesk: Command,
    fake: FakeEc2,
    page: Page,
    tunnels: list[int],
    request: pytest.FixtureRequest,
) -> None:
    """1. up; 2. a package, Jupyter; 3. stop, start; 4. park; 5. resume elsewhere; 6. all is back; 7. down."""
    day = Day(hotdesk, "blue", tunnels, request)
    day.does("up", "--provider", "aws", "--type", "g4dn.xlarge", "--market", "on-demand")
    day.is_ready("g4dn.xlarge")
    host_key = day.at("cat /etc/ssh/ssh_host_ed25519_key.pub")
    machine_id = day.at("cat /etc/machine-id")
    day.at(f"{PYTHON} -m pip install -q {PACKAGE}")
    day.at("echo written on monday > ~/notes.txt")
    day.at("sudo apt-get -q -y remove htop >/dev/null")  # what a user removes stays removed

    url = day.notebook()
    password = hotdesk("notebook", "blue", "--password").stdout.strip()
    page.goto(url)
    sign_in(page, password)
    run_cell(page, f"import {PACKAGE}; print(open('notes.txt').read(), {PACKAGE}.__name__)", PACKAGE)

    day.does("stop")
    day.does("start")
    assert day.at("cat /etc/ssh/ssh_host_ed25519_key.pub") == host_key

    day.does("park")
    kinds = sorted(
        t["kind"] for t in fake.get("things") if t["kind"] in {"instance", "volume", "image", "snapshot"}
    )
    assert kinds == ["image", "snapshot"], "parked, and only the image is paid"
    assert not [thing for thing in left() if thing.startswith(("namespace", "mount"))], "no machine is left"

    day.does("resume", "--type", "g5.xlarge")
    day.is_ready("g5.xlarge", tools=("tmux", "screen"))
    assert day.at("cat ~/notes.txt") == "written on monday\n"
    assert day.at("cat /etc/ssh/ssh_host_ed25519_key.pub") == host_key
    assert day.at("cat /etc/machine-id") == machine_id
    assert day.at(f'{PYTHON} -c "import {PACKAGE}; print({PACKAGE}.__file__)"').strip()
    assert day.at("command -v htop || echo removed").strip() == "removed"
    compared = json.loads(day.at("cat /run/hotdesk/compared.json"))
    assert (compared["same"], compared["whole"]) == (True, True), compared
    page.goto(f"{day.notebook()}/tree/Untitled.ipynb?reset")
    if "/login" in page.url:
        sign_in(page, password)
    page.wait_for_selector("text=written on monday", timeout=30_000)

    day.does("down", "--yes")
    free = {"security-group", "spot-instances-request"}  # one for all desks; a record of what was asked
    assert [t for t in fake.get("things") if "hotdesk" in t["tags"] and t["kind"] not in free] == []
    assert not [thing for thing in left() if thing.startswith(("namespace", "mount"))]


def test_a_rig_that_is_killed_is_swept_away(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1. a machine runs; 2. the fake is killed; 3. its machine dies with it; 4. the sweep takes the rest."""
    monkeypatch.setenv("HOTDESK_RIG_BASE", str(base))
    with FakeEc2(rig="tests.rig:machines", pace=0.02) as fake:
        ec2 = fake.client()
        image = fake.client("ssm").get_parameter(
            Name="/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
        )["Parameter"]["Value"]
        made = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)
        ec2.get_waiter("instance_running").wait(
            InstanceIds=[made["Instances"][0]["InstanceId"]], WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        kinds = {thing.split()[0] for thing in left()}
        assert kinds == {"namespace", "interface", "table", "group", "mount", "folder"}
        assert fake.process is not None
        fake.process.kill()
        fake.process.wait()
    swept = subprocess.run(
        [sys.executable, "-m", "tests.rig"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert "namespace" in swept.stdout
    assert left() == []
