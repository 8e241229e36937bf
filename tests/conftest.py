"""What tests share: a state folder of their own, and the command line as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fake_ec2.process import FakeEc2

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty HOME with a state folder below it; nothing of this computer's own settings is seen."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("HOTDESK_CONFIG", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("HOTDESK_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def hotdesk(home: Path) -> Iterator[Command]:
    """`hotdesk("up", "blue")`: the command in a process of its own. What desks are left are taken down."""
    source = str(Path(__file__).parents[1] / "src")

    def run(*words: str, timeout: float = 120, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": source, **more}
        return subprocess.run(
            [sys.executable, "-m", "hotdesk", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    yield run
    from hotdesk.api import Hotdesk
    from hotdesk.core.errors import HotdeskError

    try:
        with Hotdesk() as desks:
            for desk in desks.services.store.desks():
                desks.down(desk.name, anyway=True)
    except HotdeskError:
        pass  # a test that damaged the state made no desk


@pytest.fixture(scope="module")
def server() -> Iterator[FakeEc2]:
    """The fake EC2, one for a module: it takes a second to start."""
    pytest.importorskip("moto", reason="moto is not installed")
    from tests.fake_ec2.process import FakeEc2

    with FakeEc2() as fake:
        yield fake
        from tests.aws_members import unlisted

        unlisted(fake)  # whatever hotdesk has sent is known, with its limit


@pytest.fixture
def fake(server: FakeEc2, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEc2]:
    """It as new, with an account in the environment as a user has one."""
    from tests.aws_desk import HOME, quick

    for key, value in server.environment(HOME).items():
        monkeypatch.setenv(key, value)
    with quick(server):
        yield server
