"""One desk lives a day: born here, at an ssh machine, at AWS, parked, at Alibaba Cloud, and home again."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_ec2.process import FakeEc2
from tests import aliyun_cli, aws_cli
from tests.aliyun_desk import CREDENTIALS, with_a_network
from tests.aliyun_desk import paid as paid_to_aliyun
from tests.aws_cli import lit, paid, well
from tests.conftest import typed
from tests.fake_ecs.server import FakeEcs
from tests.far_rig import FarMachine, far_machine, needs_sshd
from tests.local_rig import tool

pytest.importorskip("moto", reason="moto is not installed")
pytestmark = [*aws_cli.NEEDED, tool("rsync"), needs_sshd, pytest.mark.long]
__all__ = ["lit"]

_SETTINGS = """\
[aws]
regions = ["us-west-2"]
address = "127.0.0.1/32"
lag_seconds = 0.0
poll_seconds = 0.1
[aliyun]
regions = ["cn-hangzhou"]
address = "127.0.0.1/32"
endpoint = "{url}"
lag_seconds = 0.0
poll_seconds = 0.1
[money]
cny_per_usd = 7.1
"""

_NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "execution_count": 1,
            "metadata": {},
            "source": ["6 * 7"],
            "outputs": [
                {
                    "output_type": "execute_result",
                    "execution_count": 1,
                    "metadata": {},
                    "data": {"text/plain": ["42"]},
                }
            ],
        }
    ],
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 5,
}

#: Everything of the owner's: kind, permissions, time, size and content or target of each name.
_MANIFEST = r"""
import hashlib, os, stat
for top in ("work", "lib"):
    for folder, below, names in os.walk(top):
        below.sort()
        for name in sorted([*below, *names]):
            path = os.path.join(folder, name)
            if "__pycache__" in path:
                continue
            at = os.lstat(path)
            what = os.readlink(path) if stat.S_ISLNK(at.st_mode) else ""
            if stat.S_ISREG(at.st_mode):
                with open(path, "rb") as file:
                    what = hashlib.sha256(file.read()).hexdigest()
                what += f" {at.st_size} {at.st_mtime_ns // 1000} {at.st_nlink}"
            print(ascii(path), oct(at.st_mode), what)
"""


@pytest.fixture
def clouds(lit: FakeEc2, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeEc2, FakeEcs]]:
    aws_cli.as_new(lit)
    serving = aliyun_cli.light(aliyun_cli.RATE, tmp_path_factory.mktemp("light-aliyun"))
    aliyun = next(serving)
    with_a_network(aliyun, "cn-hangzhou")
    yield lit, aliyun
    lit.post("reset")
    next(serving, None)


@pytest.fixture
def far(tmp_path: Path, clouds: object) -> Iterator[FarMachine]:
    with far_machine(tmp_path / "far-machine") as machine:
        yield machine


@pytest.fixture
def say(
    clouds: tuple[FakeEc2, FakeEcs],
    far: FarMachine,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., str]:
    (tmp_path / "hotdesk.toml").write_text(_SETTINGS.format(url=clouds[1].url))
    monkeypatch.setenv("HOTDESK_CONFIG", str(tmp_path / "hotdesk.toml"))
    (tmp_path / "state").mkdir(mode=0o700)
    for key, value in CREDENTIALS.items():
        monkeypatch.setenv(key, value)

    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text("print('trained')")
    monkeypatch.chdir(project)

    def run(*words: str) -> str:
        (tmp_path / "state" / "looked").touch()  # no process beside the one that is watched
        return well(typed(*words, timeout=400)).stdout

    return run


def _wheel() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as wheel:
        wheel.writestr("dayling/__init__.py", "answer = 42\n")
        wheel.writestr(
            "dayling-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: dayling\nVersion: 1.0\n"
        )
        wheel.writestr(
            "dayling-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("dayling-1.0.dist-info/RECORD", "")
    return made.getvalue()


def _script(words: str) -> str:
    """A program as one word of a shell."""
    return f"echo {base64.b64encode(words.encode()).decode()} | base64 -d | python3 -"


def test_a_day(say: Callable[..., str], clouds: tuple[FakeEc2, FakeEcs], far: FarMachine) -> None:
    aws, aliyun = clouds

    def at_desk(line: str) -> str:
        return say("ssh", "blue", "--", line)

    def seen(place: str) -> tuple[str, list[Any]]:
        """All that must be the same wherever it is: its files, its package at work, and its jobs."""
        assert json.loads(say("show", "blue", "--json"))["provider"] == place
        package = at_desk("PYTHONPATH=lib python3 -c 'import dayling; print(dayling.answer)'")
        assert package == "42\n"
        jobs = json.loads(say("jobs", "blue", "--json"))
        return at_desk(_script(_MANIFEST)), [
            (job["id"], job["command"], job["state"], job["exit_status"]) for job in jobs
        ]

    def cost() -> float:
        return float(json.loads(say("costs", "blue", "--json"))["usd"])

    say("up", "blue", "--provider", "local")
    notebook, wheel = json.dumps(_NOTEBOOK), base64.b64encode(_wheel()).decode()
    at_desk(
        "mkdir -p work/deep lib; head -c 3000000 /dev/urandom > work/big; ln work/big work/deep/same; "
        "ln -s ../big work/deep/link; echo x > 'work/odd name ü'; chmod 750 'work/odd name ü'; "
        f"touch -d '2020-02-02 02:02:02' work/big; echo '{notebook}' > work/day.ipynb; "
        f"echo {wheel} | base64 -d > work/dayling-1.0-py3-none-any.whl; "
        "python -m pip install -q --no-index --no-deps --target lib work/dayling-1.0-py3-none-any.whl"
    )
    say("run", "blue", "--then", "stay", "--yes", "--", "python train.py > result")
    born = seen("local")
    assert born[1], "a job is in its history"
    assert "day.ipynb" in born[0]

    say(
        "move",
        "blue",
        "--host",
        far.name,
        "--folder",
        far.address["folder"],
        "--host-key",
        far.fingerprint,
        "--yes",
    )
    assert seen("ssh") == born

    say("move", "blue", "--provider", "aws", "--type", "m7i.large", "--market", "on-demand", "--yes")
    assert seen("aws") == born
    assert not Path(far.address["folder"]).exists(), "hotdesk itself has left, too"
    say("park", "blue", "--yes")
    assert "instance" not in paid(aws)
    at_aws = cost()

    say("move", "blue", "--provider", "aliyun", "--gpu", "A10", "--market", "on-demand", "--yes")
    assert seen("aliyun") == born
    assert "instance" not in paid(aws), "never two"
    at_aliyun = cost()

    say("move", "blue", "--provider", "local", "--keep-old", "0", "--yes")
    assert seen("local") == born
    assert paid_to_aliyun(aliyun) == {}
    assert cost() >= at_aliyun > at_aws > 0
    say("down", "blue", "--yes")
    assert paid(aws) == {}
    assert not [*Path(far.address["folder"]).glob("of-*/local/disks/*")], "nothing of the desk is there"
