"""The real command line, in processes of its own, at a fake ECS with light machines behind it.

A minute of the cloud takes a second: its machines' times are told in minutes. A test module imports the
fixtures `cloud` and `ask`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.aliyun_desk import CREDENTIALS, with_a_network
from tests.conftest import typed
from tests.fake_ecs.server import FakeEcs
from tests.local_rig import tool

Done = subprocess.CompletedProcess[str]
Ask = Callable[..., Done]
NEEDED = [
    tool("ssh"),
    pytest.mark.skipif(sys.platform != "linux", reason="a loopback address for each machine, and /proc"),
]
RATE = 60.0
SETTINGS = """\
[defaults]
provider = "aliyun"
[aliyun]
regions = ["cn-hangzhou"]
address = "127.0.0.1/32"
endpoint = "{url}"
lag_seconds = 0.0
poll_seconds = 0.1
"""


def light(rate: float, folder: Path) -> Iterator[FakeEcs]:
    """The fake ECS with machines that can be logged into, at that many of its seconds in one of ours."""
    pytest.importorskip("asyncssh", reason="asyncssh is not installed")
    from tests.light.desk import ssh_for

    with pytest.MonkeyPatch.context() as patch:
        ssh_for(folder, patch)
        with FakeEcs(rate=rate, rig="tests.light:machines") as fake:
            yield fake


@pytest.fixture(scope="module")
def lit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeEcs]:
    yield from light(RATE, tmp_path_factory.mktemp("light"))


@pytest.fixture
def cloud(lit: FakeEcs) -> Iterator[FakeEcs]:
    lit.reset()
    with_a_network(lit, "cn-hangzhou")
    yield lit
    lit.reset()  # ends its machines


@pytest.fixture
def ask(cloud: FakeEcs, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """`ask("up", "blue")`: the command, as typed; variables of its environment may be given by name."""
    (tmp_path / "hotdesk.toml").write_text(SETTINGS.format(url=cloud.url))
    monkeypatch.setenv("HOTDESK_CONFIG", str(tmp_path / "hotdesk.toml"))
    (tmp_path / "state").mkdir(mode=0o700)
    for key, value in CREDENTIALS.items():
        monkeypatch.setenv(key, value)

    def run(*words: str, timeout: float = 120, cwd: str | None = None, **more: str) -> Done:
        (tmp_path / "state" / "looked").touch()  # no process beside the one that is watched
        return typed(*words, timeout=timeout, cwd=cwd, **more)

    return run


def well(done: Done) -> Done:
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done
