"""The fake EC2 with light machines, and this computer's settings for it, as fixtures would set them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from tests import forked
from tests.light.machine import PORT, ROOT

REGION = "us-west-2"
SETTINGS = f"""\
[defaults]
provider = "aws"
regions = ["{REGION}"]
[aws]
regions = ["{REGION}"]
address = "127.0.0.1/32"
lag_seconds = 0.0
poll_seconds = 0.2
"""
#: The first -p that ssh is given is the one that it takes. A local desk has a port of its own.
_SSH = """\
#!/bin/sh
case "$* " in *" -p 22 "*) exec {ssh} -p {port} "$@" ;; esac
exec {ssh} "$@"
"""


@contextmanager
def light_cloud(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEc2]:
    """The cloud, known to every command that begins while this lasts."""
    ssh_for(folder, monkeypatch)
    with FakeEc2(rig="tests.light:machines", pace=0.01) as fake:
        known(fake, monkeypatch)
        yield fake


def known(fake: FakeEc2, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in fake.environment(REGION).items():
        monkeypatch.setenv(key, value)


def ssh_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ssh that reaches light machines, and hotdesk's settings for them. The cloud needs them too."""
    ssh = shutil.which("ssh")
    assert ssh
    for name, value in forked.lent().items():
        monkeypatch.setenv(name, value)
    programs = folder / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    (programs / "ssh").write_text(_SSH.format(ssh=ssh, port=PORT))
    (programs / "ssh").chmod(0o755)
    (folder / "hotdesk.toml").write_text(SETTINGS)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOTDESK_CONFIG", str(folder / "hotdesk.toml"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))  # the machines' ssh server is that of a local desk
