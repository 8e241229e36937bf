"""The day of a desk on real machines: the command line, the fake EC2, a Linux system behind each instance."""

from __future__ import annotations

import contextlib
import http.cookiejar
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.guest import tls_proxy
from tests import test_browser
from tests.conftest import Command
from tests.local_rig import wait_for
from tests.rig import ground as grounds
from tests.rig.sweep import left, name_of, sweep
from tests.test_browser import run_cell, sign_in

ROOT = Path(__file__).parents[1]
if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("moto", reason="moto is not installed")
pytestmark = [pytest.mark.root, pytest.mark.xdist_group("real machines")]  # a processor each is too much
TOOLS = ("tmux", "htop", "screen", "git", "rsync")
PACKAGE = "tabulate"  # small, pure Python, and nothing that JupyterLab needs
page = test_browser.page  # a fixture: Chromium
PYTHON = "/opt/hotdesk/venv/bin/python"


def aloud(request: pytest.FixtureRequest, text: str) -> None:
    """Print it past pytest's capturing."""
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{text}", flush=True)


@pytest.fixture(scope="module")
def ground(request: pytest.FixtureRequest) -> Iterator[None]:
    """A computer on which real machines can run, and nobody else's do just now."""
    if why := grounds.lacking() or grounds.unreachable():
        aloud(request, f"REAL MACHINES ARE NOT TESTED HERE: {why}")
        pytest.skip(why)
    with grounds.turn():
        sweep()
        yield


@pytest.fixture
def fake(ground: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEc2]:
    with FakeEc2(rig="tests.rig:machines", pace=0.02) as fake:
        name = rig_of(fake)
        for key, value in fake.environment().items():
            monkeypatch.setenv(key, value)
        yield fake
    assert left(name) == [], "the rig left something behind"


def rig_of(fake: FakeEc2) -> str:
    assert fake.process is not None
    return name_of(fake.process.pid)


def machines(fake: FakeEc2) -> list[str]:
    """What there is of machines, running or not."""
    return [thing for thing in left(rig_of(fake)) if thing.startswith(("namespace", "mount"))]


class Day:
    """What is done at one desk; how long each verb took is printed, also where output is captured."""

    def __init__(
        self, hotdesk: Command, desk: str, tunnels: list[int], request: pytest.FixtureRequest
    ) -> None:
        self.hotdesk, self.desk, self.tunnels, self.request = hotdesk, desk, tunnels, request
        self.told = ""  # what the last verb said on standard error

    def does(self, verb: str, *words: str) -> str:
        begun = time.monotonic()
        done = self.hotdesk(verb, self.desk, *words, timeout=600)
        self.told = done.stderr
        aloud(self.request, f"real machines: {verb} took {time.monotonic() - begun:.1f} s")
        assert done.returncode == 0, f"{verb}: {done.stderr}\n{done.stdout}"
        return done.stdout

    def at(self, line: str) -> str:
        """A command at the desk, over ssh."""
        done = self.hotdesk("ssh", self.desk, "--", line, timeout=300)
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
        # The watch over the GPU's driver has looked, at this boot, and has found nothing to do.
        assert json.loads(self.at("cat /run/hotdesk/driver.json"))["state"] == "none"
        assert self.at("systemctl show -P Result hotdesk-driver").strip() == "success"
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


class Browserless:
    """A visitor at a public Jupyter: TLS with one certificate and no other, cookies, the login form."""

    def __init__(self, url: str, pem: Path) -> None:
        context = ssl.create_default_context(cafile=str(pem))
        context.check_hostname = False
        self.url = url.removesuffix("/lab")
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
        )

    def get(self, path: str, **form: str) -> tuple[int, str]:
        data = urllib.parse.urlencode(form).encode() if form else None
        try:
            with self.opener.open(f"{self.url}{path}", data, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as no:
            with no:
                return no.code, no.read().decode()

    def sign_in(self, password: str) -> tuple[int, str]:
        page = self.get("/login")[1]
        [xsrf] = re.findall(r'name="_xsrf" value="([^"]+)"', page)
        self.get("/login", _xsrf=xsrf, password=password)
        return self.get("/api/contents")


@pytest.fixture
def day(fake: FakeEc2, hotdesk: Command, tunnels: list[int], request: pytest.FixtureRequest) -> Day:
    return Day(hotdesk, "blue", tunnels, request)


def test_a_day_on_real_machines(
    fake: FakeEc2,
    hotdesk: Command,
    page: Page,
    day: Day,
    tmp_path: Path,
) -> None:
    """1. up; 2. a package, Jupyter; 3. in public; 4. stop, start; 5. park; 6. resume elsewhere, on spot; 7.
    all is back; 8. AWS takes the machine; 9. resume; 10. busy, it stays; 11. idle, it parks itself; 12. down.
    """
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

    fingerprint = in_public(day, fake, tmp_path / "state" / "desks" / "blue", password)

    day.does("stop")
    day.does("start")
    assert day.at("cat /etc/ssh/ssh_host_ed25519_key.pub") == host_key

    day.does("park")
    kinds = sorted(
        t["kind"] for t in fake.get("things") if t["kind"] in {"instance", "volume", "image", "snapshot"}
    )
    assert kinds == ["image", "snapshot"], "parked, and only the image is paid"
    assert machines(fake) == [], "no machine is left"
    assert rules(fake, 8888) == [], "nobody is let in where nothing runs"
    assert [t["name"] for t in fake.get("things", kind="security-group") if t["tags"]] == ["hotdesk"]

    resumed = day.does("resume", "--type", "g5.xlarge", "--market", "spot")
    assert resumed.startswith("● blue is up")
    assert fingerprint in day.told, "it is public again, and known by the same certificate"
    assert "files: as they were when the desk was parked" in day.told
    day.is_ready("g5.xlarge", tools=("tmux", "screen"))
    assert day.at("cat ~/notes.txt") == "written on monday\n"
    assert day.at("cat /etc/ssh/ssh_host_ed25519_key.pub") == host_key
    assert day.at("cat /etc/machine-id") == machine_id
    assert day.at(f'{PYTHON} -c "import {PACKAGE}; print({PACKAGE}.__file__)"').strip()
    assert day.at("command -v htop || echo removed").strip() == "removed"
    shown = {r["topic"]: r for r in json.loads(day.does("show", "--json"))["remarks"]}
    assert "were read ahead" in shown["disk"]["text"], shown
    assert "no NVIDIA device" in shown["driver"]["text"], "rented with a GPU, which a container has not"
    day.does("notebook", "--private")
    page.goto(f"{day.notebook()}/tree/Untitled.ipynb?reset")
    if "/login" in page.url:
        sign_in(page, password)
    page.wait_for_selector("text=written on monday", timeout=30_000)

    taken_back(day, fake)
    leaves_by_itself(day)

    day.does("down", "--yes")
    free = {"security-group", "spot-instances-request"}  # one for all desks; a record of what was asked
    assert [t for t in fake.get("things") if "hotdesk" in t["tags"] and t["kind"] not in free] == []
    assert machines(fake) == []


def rules(fake: FakeEc2, port: int) -> list[str]:
    """Who is let in at a port by any group of ours."""
    groups = fake.client().describe_security_groups(Filters=[{"Name": "tag:hotdesk", "Values": ["1"]}])
    return [
        r["CidrIp"]
        for group in groups["SecurityGroups"]
        for rule in group["IpPermissions"]
        if rule["FromPort"] == port
        for r in rule["IpRanges"]
    ]


def in_public(day: Day, fake: FakeEc2, keys: Path, password: str) -> str:
    """Jupyter with TLS at the machine's address, then not, then again; its certificate's fingerprint."""
    url = day.does("notebook", "--public").strip()
    assert re.fullmatch(r"https://10\.[0-9.]+:8888/lab", url)
    [fingerprint] = re.findall(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", day.told)
    assert rules(fake, 8888) == ["127.0.0.1/32"], "the caller's address, and no other"
    pem = keys / "notebook-certificate.pem"
    assert tls_proxy.fingerprint(pem.read_text()) == fingerprint
    assert Browserless(url, pem).sign_in("open sesame")[0] == 403
    assert Browserless(url, pem).get("/api/contents")[0] == 403
    status, listed = Browserless(url, pem).sign_in(password)
    assert (status, "notes.txt" in listed) == (200, True)
    with pytest.raises(urllib.error.URLError, match="certificate"):
        urllib.request.urlopen(url, timeout=10)
    listening = day.at("ss -Hltn 'sport = :8888'").split()
    assert {a for a in listening if a.endswith(":8888")} == {url.split("/")[2], "127.0.0.1:8888"}
    day.does("notebook", "--private", "--url")
    assert rules(fake, 8888) == []
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(url, timeout=10)
    assert hotdesk_ls(day)["open_to"] == []
    day.does("notebook", "--public")
    assert hotdesk_ls(day)["open_to"] == ["127.0.0.1/32"]
    assert fingerprint in day.told
    return fingerprint


def hotdesk_ls(day: Day) -> dict[str, Any]:
    [row] = json.loads(day.hotdesk("ls", "--json", timeout=300).stdout)
    return dict(row)


def taken_back(day: Day, fake: FakeEc2) -> None:
    """AWS's notice: the hook runs, everybody is warned, the machine goes, and the journal knows it all."""
    day.at(
        "mkdir -p .hotdesk && printf '#!/bin/sh\\necho saved for $HOTDESK_ACTION >> hook.txt\\n' "
        "> .hotdesk/on-interruption && chmod +x .hotdesk/on-interruption && sync"
    )
    fake.post("clock", durations={"interruption-notice": 1e6})  # as long as it takes to look at it all
    [machine] = [t for t in fake.get("things", kind="instance") if t["state"] == "running"]
    fake.post("interrupt", id=machine["id"])
    wait_for(lambda: "saved for rebalance" in day.at("cat hook.txt 2>/dev/null; true"), 120)
    assert "takes this spot machine back" in day.at("cat AWS-TAKES-THIS-MACHINE.txt")
    fake.post("interrupt", id=machine["id"], notice=False)
    ended = {"terminated"}
    wait_for(lambda: {t["state"] for t in fake.get("things", kind="instance", gone=1)} == ended, 300)
    day.does("resume", "--type", "g4dn.xlarge", "--market", "on-demand")
    assert day.at("cat hook.txt").splitlines() == ["saved for terminate", "saved for rebalance"]
    assert day.at("ls").count("AWS-") == 0, "the warning was about another machine"
    told = [r["why"] for r in json.loads(day.does("log", "--json")) if r["step"] == "told"]
    assert any("takes this spot machine back" in why for why in told), told
    assert any("on-interruption ended with 0" in why for why in told), told


def leaves_by_itself(day: Day) -> None:
    """The real watch over idleness: a silent job in tmux keeps the desk, and without it the desk parks."""
    folder = "/etc/systemd/system/hotdesk-idle.service.d"
    quick = f"printf '[Service]\\nEnvironment=HOTDESK_LOOK_SECONDS=2\\n' | sudo tee {folder}/quick.conf"
    day.at(f"sudo mkdir -p {folder} && {quick} && sudo systemctl daemon-reload")
    day.at("tmux new-session -d -s job 'sleep 1000'")
    day.does("up", "--idle", "0.15")
    day.at("sudo systemctl restart hotdesk-idle")
    until = time.monotonic() + 20  # twice as long as an idle desk would stay
    while time.monotonic() < until:
        assert hotdesk_ls(day)["phase"] == "ready"
        time.sleep(2)
    day.at("tmux kill-server")
    begun = time.monotonic()
    wait_for(lambda: hotdesk_ls(day)["phase"] == "parked", 600)
    aloud(day.request, f"real machines: parked by itself after {time.monotonic() - begun:.1f} s")
    [why] = [r["why"] for r in json.loads(day.does("log", "--json")) if r["step"] == "leave"]
    assert why.startswith("Instance initiated shutdown") or "idle for" in why


def test_a_rig_that_is_killed_is_swept_away(ground: None) -> None:
    """1. a machine runs; 2. the fake is killed; 3. its machine dies with it; 4. the sweep takes the rest."""
    with FakeEc2(rig="tests.rig:machines", pace=0.02) as fake:
        ec2 = fake.client()
        image = fake.client("ssm").get_parameter(
            Name="/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
        )["Parameter"]["Value"]
        made = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)
        ec2.get_waiter("instance_running").wait(
            InstanceIds=[made["Instances"][0]["InstanceId"]], WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        name = rig_of(fake)
        kinds = {thing.split()[0] for thing in left(name)}
        assert kinds == {"namespace", "interface", "table", "group", "mount", "folder"}
        assert fake.process is not None
        fake.process.kill()
        fake.process.wait()
    swept = subprocess.run(
        [sys.executable, "-m", "tests.rig"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert "namespace" in swept.stdout
    assert left(name) == []
