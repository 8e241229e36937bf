"""Where a rented machine gets packages from: what the settings say, and the program that is sent for apt."""

from __future__ import annotations

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

from hotdesk.config import Config
from hotdesk.core.mirrors import Mirrors
from hotdesk.guest import cloud_init, plain_user_data
from hotdesk.guest.one_file import source
from hotdesk.providers.cloud.mirrors import mirrors
from tests.test_aliyun_leaving import KEY, metadata
from tests.test_user_data import HASH

__all__ = ["metadata"]  # a fixture
BEFORE = {
    "apt/sources.list.d/ubuntu.sources": "Types: deb\nURIs: http://archive.example/ubuntu/\nSuites: noble\n\n"
    "Types: deb\nURIs: http://security.example/ubuntu\nSuites: noble-security\n",
    "apt/sources.list": "deb https://ports.example/ubuntu-ports noble main\n"
    "deb https://tools.example/linux/ubuntu noble stable\n",
    "apt/sources.list.d/others.list": "deb https://others.example/ubuntu noble main\n",
    "os-release": 'NAME="Ubuntu"\nVERSION_CODENAME=noble\n',
}


class Mirror(http.server.BaseHTTPRequestHandler):
    has: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        self.send_response(200 if self.path in self.has else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None: ...


@pytest.fixture
def mirror() -> Iterator[str]:
    Mirror.has = {"/near/ubuntu/dists/noble/Release", "/near/ubuntu-ports/dists/noble/Release"}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/near"
    server.shutdown()
    server.server_close()


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    for name, text in BEFORE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def run(etc: Path, word: str, **more: str) -> str:
    """As it lies on the machine: one file, alone. What it says when it changes nothing."""
    told = {"HOTDESK_ETC": str(etc), "HOTDESK_IMDS": "http://127.0.0.1:9", **more}
    done = subprocess.run(
        [sys.executable, "-c", source("mirrors"), word],
        env={"PATH": os.environ["PATH"], **told}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, "a mirror that fails does not keep a machine from starting"
    return done.stderr


def now(etc: Path) -> dict[str, str]:
    return {name: (etc / name).read_text() for name in BEFORE}


def test_ubuntus_archive_is_taken_from_the_mirror_and_nobody_elses(etc: Path, mirror: str) -> None:
    assert run(etc, mirror) == ""
    after = now(etc)
    assert after["apt/sources.list.d/ubuntu.sources"].count(f"URIs: {mirror}/ubuntu/\n") == 2
    assert after["apt/sources.list"].splitlines() == [
        f"deb {mirror}/ubuntu-ports/ noble main",
        "deb https://tools.example/linux/ubuntu noble stable",
    ]
    same = {"apt/sources.list.d/others.list", "os-release"}
    assert all(after[name] == BEFORE[name] for name in same)
    run(etc, mirror)
    assert now(etc) == after, "a second time changes nothing"


def test_the_region_itself_names_the_mirror(etc: Path, mirror: str, metadata: str) -> None:
    from tests.test_aliyun_leaving import Metadata

    Metadata.told = {"source-address": f"{mirror}/\n"}
    assert run(etc, "auto", HOTDESK_IMDS=metadata) == ""
    assert f"URIs: {mirror}/ubuntu/\n" in now(etc)["apt/sources.list.d/ubuntu.sources"]


@pytest.mark.parametrize("how", ["another release", "nobody there", "no metadata", "not named", "no Ubuntu"])
def test_in_doubt_the_sources_stay(etc: Path, mirror: str, metadata: str, how: str) -> None:
    from tests.test_aliyun_leaving import Metadata

    Metadata.told = {}
    if how == "another release":
        Mirror.has = {path.replace("noble", "jammy") for path in Mirror.has}
    if how == "no Ubuntu":
        (etc / "os-release").write_text("NAME=Other\n")
    before = now(etc)
    word = {"nobody there": "http://127.0.0.1:9", "no metadata": "auto", "not named": "auto"}.get(how, mirror)
    told = {"HOTDESK_IMDS": metadata} if how == "not named" else {}
    assert "the package sources stay as they are" in run(etc, word, **told)
    assert now(etc) == before


# ---- what is sent ------------------------------------------------------------------------------------

ALL = Mirrors(
    "http://mirror.example", "http://mirror.example/simple", ("http://a.example", "http://b.example")
)


def sent(told: Mirrors, *, resumed: bool = False) -> dict[str, str]:
    made = cloud_init.document(password_hash=HASH, resumed=resumed, mirrors=told)
    return {file["path"]: file["content"] for file in made["write_files"]}


def test_pip_uv_and_conda_get_what_is_set_and_nothing_else() -> None:
    bare, whole = sent(Mirrors()), sent(ALL)
    new = {path: text for path, text in whole.items() if path not in bare}
    assert new.pop("/opt/hotdesk/mirrors.py") == source("mirrors")
    assert new == {
        "/etc/pip.conf": "[global]\nindex-url = http://mirror.example/simple\n",
        "/etc/uv/uv.toml": '[[index]]\nurl = "http://mirror.example/simple"\ndefault = true\n',
        "/etc/conda/.condarc": "default_channels:\n  - http://a.example\n  - http://b.example\n",
    }
    assert sent(Mirrors(), resumed=True) == sent(ALL, resumed=True), "by then it is the desk's own"


def test_the_mirror_is_in_use_before_anything_is_installed() -> None:
    first, second = cloud_init.document(password_hash=HASH, resumed=False, mirrors=ALL)["runcmd"]
    assert first == ["/usr/bin/python3", "/opt/hotdesk/mirrors.py", "http://mirror.example"]
    assert second[0] == "sh"


def test_it_fits_with_all_of_them() -> None:
    role = {"password_hash": HASH, "resumed": False, "mirrors": ALL}
    plain = plain_user_data.render(**role, public_key=KEY, role=True)  # type: ignore[arg-type]
    assert len(plain) < plain_user_data.LIMIT_BYTES * 0.95
    packed = cloud_init.render(**role)  # type: ignore[arg-type]
    assert len(packed) < cloud_init.LIMIT_BYTES * 0.98


@pytest.mark.parametrize("cloud", ["aws", "aliyun"])
def test_each_cloud_has_the_settings(home: Path, cloud: str) -> None:
    words = ("apt_mirror", ALL.apt), ("pip_index", ALL.pip), ("conda_channels", [*ALL.conda])
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in words)
    (home / "hotdesk.toml").write_text(f"[{cloud}]\n{lines}")
    assert mirrors(read(home).cloud(cloud)) == ALL
    (home / "hotdesk.toml").write_text("")
    assert mirrors(read(home).cloud(cloud)) == Mirrors("auto" if cloud == "aliyun" else "")


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("aliyun", 'pip_index = "mirror.example/simple"'),
        ("aliyun", 'pip_index = "https://me:secret@mirror.example/simple"'),
        ("aliyun", "pip_index = 'https://mirror.example/\"\\n[x]'"),
        ("aliyun", 'conda_channels = ["main"]'),
        ("aliyun", 'apt_mirror = "near"'),
        ("aws", 'apt_mirror = "auto"'),
    ],
)
def test_what_is_no_address_is_refused(home: Path, section: str, line: str) -> None:
    (home / "hotdesk.toml").write_text(f"[{section}]\n{line}\n")
    assert read(home).faults.keys() == {section}


def read(home: Path) -> Config:
    from hotdesk.config import load
    from hotdesk.providers import registry

    assert registry
    return load([home / "hotdesk.toml"])
