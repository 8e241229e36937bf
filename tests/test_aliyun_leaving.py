"""A desk on Alibaba Cloud that leaves by itself: it must stop through the cloud, or it goes on costing."""

from __future__ import annotations

import base64
import gzip
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hotdesk.core.model import Goal
from hotdesk.guest.one_file import source
from hotdesk.guest.plain_user_data import LIMIT_BYTES, render
from tests.aliyun_desk import CREDENTIALS, HOME, Laptop, paid, with_a_network
from tests.fake_ecs.server import FakeEcs
from tests.test_user_data import HASH

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample hotdesk-blue"


class Metadata(http.server.BaseHTTPRequestHandler):
    """The metadata service as the ECS user guide describes it, in its hardened mode."""

    told: ClassVar[dict[str, str]] = {}

    def do_PUT(self) -> None:
        assert self.headers["X-aliyun-ecs-metadata-token-ttl-seconds"]
        self._say(200, "a-token" if self.path == "/latest/api/token" else "")

    def do_GET(self) -> None:
        known = self.told.get(self.path.removeprefix("/latest/meta-data/"))
        if self.headers["X-aliyun-ecs-metadata-token"] != "a-token":
            self._say(403, "")
        else:
            self._say(200 if known else 404, known or "<html>404</html>")

    def _say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments: Any) -> None: ...


@pytest.fixture
def metadata() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Laptop]:
    for key, value in CREDENTIALS.items():
        monkeypatch.setenv(key, value)
    with FakeEcs() as fake:
        with_a_network(fake, HOME)
        laptop = Laptop(fake, tmp_path / "state", role="hotdesk-desk")
        yield laptop
        laptop.store.close()


def leave(mine: Laptop, metadata: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What the watch on the machine runs in place of `shutdown`, as it lies there: one file, alone."""
    [machine] = mine.machines()
    keys = {
        "AccessKeyId": "STS.temporary",
        "AccessKeySecret": "temporary-secret",
        "SecurityToken": "the-token",
    }
    Metadata.told = {
        "ram/security-credentials/": "hotdesk-desk",
        "ram/security-credentials/hotdesk-desk": json.dumps({**keys, "Code": "Success"}),
        "region-id": HOME,
        "instance-id": machine.id,
    }
    (folder / "economical.py").write_text(source("economical"))
    (folder / "shutdown").write_text(f'#!/bin/sh\necho "$@" > {folder}/off\n')
    (folder / "shutdown").chmod(0o755)
    told = {
        "HOTDESK_IMDS": metadata, "HOTDESK_ECS": mine.fake.url, "HOTDESK_SHUTDOWN": f"{folder}/shutdown",
        "HOTDESK_PAUSE_SECONDS": "0", "HOTDESK_STOP_SECONDS": "0",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, str(folder / "economical.py"), "-h", "now", "hotdesk: idle for 60 minutes"],
        env={**os.environ, **told}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_it_stops_through_the_cloud_and_is_paid_no_more(mine: Laptop, metadata: str, tmp_path: Path) -> None:
    """… and the next look knows that it left by itself: the desk is saved."""
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    [machine] = mine.machines()
    assert machine.role == "hotdesk-desk"
    assert b"economical" in gzip.decompress(_files(machine.user_data)["/opt/hotdesk/economical.py"])
    mine.time.sleep(120.0)
    done = leave(mine, metadata, tmp_path)
    assert done.returncode == 0, done.stdout
    mine.time.sleep(60.0)
    assert (machine.status, machine.mode) == ("Stopped", "StopCharging")
    assert paid(mine.fake) == {"off": 1, "disk": 1}
    assert (tmp_path / "off").read_text() == "-h now hotdesk: idle for 60 minutes\n"
    mine.settle()
    mine.check("blue", Goal.PARKED)


@pytest.mark.parametrize("action", ["TagResources", "DescribeInstances"])
def test_without_the_right_to_tag_it_is_paid_no_more_either(
    mine: Laptop, metadata: str, tmp_path: Path, action: str
) -> None:
    assert mine.do(Goal.RUNNING) is None
    mine.fake.world.denied = {action}
    assert "not tagged" in leave(mine, metadata, tmp_path).stdout
    mine.fake.world.denied = set()
    mine.time.sleep(120.0)
    assert paid(mine.fake) == {"off": 1, "disk": 1}


def test_without_the_right_it_shuts_down_all_the_same_and_says_why(
    mine: Laptop, metadata: str, tmp_path: Path
) -> None:
    assert mine.do(Goal.RUNNING) is None
    mine.fake.world.denied = {"StopInstances"}
    done = leave(mine, metadata, tmp_path)
    assert (tmp_path / "off").exists()
    assert done.stdout.count("attempt") == 5


def _files(user_data: str) -> dict[str, bytes]:
    head, _, body = base64.b64decode(user_data).decode().partition("\n")
    assert head == "#cloud-config"
    files = json.loads(body)["write_files"]
    assert {f["encoding"] for f in files} == {"gz+b64"}
    return {f["path"]: base64.b64decode(f["content"]) for f in files}


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("role", [False, True])
def test_the_user_data_fits_and_is_plain_cloud_config(resumed: bool, role: bool) -> None:
    """32 KB before base64, each file packed; the same bytes for the same desk, or the token is refused."""
    made = render(password_hash=HASH, public_key=KEY, resumed=resumed, role=role)
    assert made == render(password_hash=HASH, public_key=KEY, resumed=resumed, role=role)
    assert len(made) < LIMIT_BYTES - 2000
    document = json.loads(made.decode().partition("\n")[2])
    assert document["users"][0]["ssh_authorized_keys"] == [KEY]
    files = _files(base64.b64encode(made).decode())
    assert ("/opt/hotdesk/bin/shutdown" in files) is role
    for path, packed in files.items():
        text = gzip.decompress(packed).decode()
        if path.endswith(".py"):
            compile(text, path, "exec")


def test_the_agent_hears_the_notice_of_this_cloud(metadata: str) -> None:
    """Only a time, five minutes ahead; a 404 with a body when nothing is planned."""
    code = (
        "import json, sys; sys.path.insert(0, 'src'); from hotdesk.guest import agent; "
        "print(json.dumps(agent.notice(agent.Metadata())))"
    )
    there = {"HOTDESK_IMDS": metadata, "HOTDESK_TOKEN": "X-aliyun-ecs-metadata-token",
             "HOTDESK_NOTICE": "instance/spot/termination-time"}  # fmt: skip

    def heard() -> Any:
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **there}, capture_output=True, text=True,
            check=True, cwd=Path(__file__).parents[1],
        )  # fmt: skip
        return json.loads(done.stdout)

    Metadata.told = {}
    assert heard() is None
    Metadata.told = {"instance/spot/termination-time": "2026-11-30T08:05:00Z"}
    assert heard() == {"action": "stop", "time": "2026-11-30T08:05:00Z"}
