"""What tests share: a state folder of their own, and the command line as a user runs it."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests import forked

if TYPE_CHECKING:
    from fake_ec2.process import FakeEc2
    from tests.fake_ecs.server import FakeEcs

# How long a sample takes is how busy the computer is: that decides nothing.
settings.register_profile("hotdesk", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hotdesk")

# Ray loads jsonschema, which builds a grammar of it: two seconds of each process of pytest, for nothing.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

os.posix_spawn = forked.spawn  # what tests start by hotdesk's own functions, beside what they type

Command = Callable[..., subprocess.CompletedProcess[str]]
#: Fixtures that start hotdesk in a process of its own, a cloud, or machines: whoever uses one is slow.
STARTS = {"hotdesk", "fake_ec2", "lit", "ground", "rig", "moto"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if STARTS.intersection(getattr(item, "fixturenames", ())) or item.get_closest_marker("long"):
            item.add_marker("slow")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this computer has not got, and say what that is."""
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")
    if item.get_closest_marker("browser") and chromium() is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    for mark in item.iter_markers("tools"):
        for name in mark.args:
            if shutil.which(name) is None:
                pytest.skip(f"no {name} on this computer")
    for mark in item.iter_markers("recorded"):
        if not mark.args[0].exists():
            pytest.skip(f"the recorded {mark.args[0].name} is not beside the project")


#: So that it starts for root too, and looks for no host but the one of the page.
CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str | None:
    """The browser's program, under whichever name this system has it."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


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


def typed(
    *words: str, timeout: float = 120, cwd: str | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, without a terminal; `more`: variables of its environment."""
    return forked.run(words, {**os.environ, **more}, cwd=cwd, timeout=timeout)


@pytest.fixture
def hotdesk(home: Path) -> Iterator[Command]:
    """`hotdesk("up", "blue")`: the command in a process of its own. What desks are left are taken down, after
    the processes of sweeps and clusters, which would bring theirs up again."""
    yield typed
    from hotdesk.api import Hotdesk
    from hotdesk.core.errors import HotdeskError
    from hotdesk.services.sweep_watch import stop_all

    try:
        with Hotdesk() as desks:
            stop_all(desks.services.sweeps)
            for desk in desks.services.store.desks():
                desks.down(desk.name, anyway=True)
    except HotdeskError:
        pass  # a test that damaged the state made no desk


@pytest.fixture(scope="session")
def fake_ec2() -> Iterator[FakeEc2]:
    """The fake EC2, one for a process of pytest: it takes a second of a processor to start."""
    pytest.importorskip("moto", reason="moto is not installed")
    from botocore import loaders

    from fake_ec2.process import FakeEc2

    with pytest.MonkeyPatch.context() as patch, FakeEc2() as fake:
        # Every session reads EC2's model anew, for half a second; all of this process may share one reading.
        patch.setattr(loaders, "create_loader", functools.cache(loaders.create_loader))
        yield fake


@pytest.fixture(scope="module")
def ecs() -> Iterator[FakeEcs]:
    """The fake ECS; whoever uses it makes it new (tests/aliyun_desk.py: `as_new`)."""
    from tests.fake_ecs.server import FakeEcs

    with FakeEcs() as fake:
        yield fake


@pytest.fixture(scope="session")
def light_ec2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeEc2]:
    """The fake EC2 with machines that can be logged into, one for a process of pytest."""
    pytest.importorskip("moto", reason="moto is not installed")
    pytest.importorskip("asyncssh", reason="asyncssh is not installed")
    from tests.light.desk import light_cloud

    with contextlib.ExitStack() as running:
        with pytest.MonkeyPatch.context() as patch:
            fake = running.enter_context(light_cloud(tmp_path_factory.mktemp("light"), patch))
        yield fake


@pytest.fixture(scope="module")
def server(fake_ec2: FakeEc2) -> Iterator[FakeEc2]:
    """The fake EC2; whoever uses it makes it new (`quick`, or `reset`)."""
    yield fake_ec2
    from tests.aws_members import unlisted

    unlisted(fake_ec2)  # whatever hotdesk has sent is known, with its limit


@pytest.fixture
def fake(server: FakeEc2, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEc2]:
    """It as new, with an account in the environment as a user has one."""
    from tests.aws_desk import HOME, quick

    for key, value in server.environment(HOME).items():
        monkeypatch.setenv(key, value)
    with quick(server):
        yield server
