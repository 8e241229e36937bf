"""Which Python answers at a rented desk whose image brings an environment with torch.

A made twin of the layout of current AWS Deep Learning images: a venv, /opt/pytorch there, which logins do not
activate by themselves. What the set-up writes for it is in test_user_data.py.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.guest import cloud_init
from tests.conftest import Command
from tests.light import volumes
from tests.local_rig import tool
from tests.test_local_jupyter import wheel

pytest.importorskip("moto", reason="moto is not installed")
pytest.importorskip("asyncssh", reason="asyncssh is not installed")
pytestmark = [
    *(tool(name) for name in ("ssh", "rsync", "git")),
    pytest.mark.skipif(sys.platform != "linux", reason="a loopback address for each machine, and /proc"),
    pytest.mark.slow,
]


@pytest.fixture
def cloud(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEc2]:
    from tests.light.desk import light_cloud

    with light_cloud(tmp_path, monkeypatch) as fake:
        yield fake


@pytest.fixture
def desks(cloud: FakeEc2, hotdesk: Command) -> Iterator[Command]:
    yield hotdesk
    hotdesk("watch", "--stop")


def torch_environment(cloud: FakeEc2) -> Path:
    """The running machine's own, and the file that its set-up would have written."""
    [machine] = [r for r in cloud.get("things", kind="instance") if r["state"] == "running"]
    [volume] = volumes(cloud, machine["disks"][0])
    env = volume / "pytorch"
    subprocess.run([sys.executable, "-m", "venv", str(env)], check=True)
    [packages] = env.glob("lib/python3*/site-packages")
    (packages / "torch.py").write_text("where = __file__\n")
    (volume / "etc" / "hotdesk.sh").write_text(cloud_init._PROFILE.replace("@", str(env)))
    return env


def test_python_pip_and_jobs_are_those_of_the_environment_with_torch(
    cloud: FakeEc2, desks: Command, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. `ssh --`; 2. `pip install` there changes that environment; 3. a job sees both; 4. so it is after a
    park: what was installed and the file come with the image."""
    project = home / "project"
    project.mkdir()
    code = "import torch, deskthing, sys; print(torch.where, deskthing.WORDS, sys.prefix)"
    (project / "train.py").write_text(code)
    monkeypatch.chdir(project)
    up = desks("up", "red", "--type", "g4dn.xlarge", "--market", "on-demand")
    assert up.returncode == 0, up.stderr
    env = torch_environment(cloud)
    said = desks("ssh", "red", "--", "command -v python; command -v pip; echo ${VIRTUAL_ENV-none}")
    assert said.stdout.split() == [f"{env}/bin/python", f"{env}/bin/pip", "none"]
    assert desks("push", "red", str(wheel(tmp_path))).returncode == 0
    assert desks("ssh", "red", "--", "pip install -q --no-index deskthing*.whl").returncode == 0
    assert list(env.glob("lib/python3*/site-packages/deskthing.py"))
    ran = desks("run", "red", "--then", "stay", "--", "python", "train.py")
    assert ran.returncode == 0, ran.stderr
    assert f"{env}/lib" in ran.stdout
    assert f"made at the desk {env}" in ran.stdout
    assert desks("park", "red").returncode == 0
    assert desks("resume", "red").returncode == 0
    said = desks("ssh", "red", "--", "head -n 2 $HOTDESK_START | tail -n 1")
    assert "/pytorch/bin:" in said.stdout
