"""Instance store: what is on it is in no image, so it is named and asked about before its machine goes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.api import Hotdesk
from hotdesk.core.errors import NeedsDecision
from hotdesk.core.model import Goal
from hotdesk.guest.scratch import written
from tests.aws_desk import HOME, Laptop, offer, quick

Ask = Callable[..., subprocess.CompletedProcess[str]]


# ---- at the desk ---------------------------------------------------------------------------------------


def a_computer(root: Path, model: str = "Amazon EC2 NVMe Instance Storage") -> Path:
    """/sys/block of a machine with a root disk, and one more of which a logical volume is made."""
    for name, text in {
        "nvme0n1/device/model": "Amazon Elastic Block Store",
        "nvme0n1/nvme0n1p1/partition": "1",
        "nvme1n1/device/model": f"{model}        \n",
        "nvme1n1/nvme1n1p1/partition": "1",
        "nvme1n1/nvme1n1p1/holders/dm-0/x": "",
        "dm-0/dm/name": "vg.01-lv_ephemeral",
    }.items():
        file = root / "sys" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root / "sys"


def test_what_is_written_there_is_told(tmp_path: Path) -> None:
    store, root = tmp_path / "opt nvme", tmp_path / "root"
    for folder in (store, root):
        (folder / "lost+found").mkdir(parents=True)
        (folder / "data").mkdir()
    place = str(store).replace(" ", "\\040")
    mounts = f"/dev/nvme0n1p1 {root} ext4 rw 0 0\n/dev/mapper/vg.01-lv_ephemeral {place} ext4 rw 0 0\n"
    [found] = written(a_computer(tmp_path), mounts)
    assert found["path"] == str(store)
    assert found["names"] == ["data"]
    assert isinstance(found["used_gib"], float)


@pytest.mark.parametrize("why", ["nothing is written", "nothing is mounted", "it is another kind of disk"])
def test_nothing_is_told_where_nothing_would_be_lost(tmp_path: Path, why: str) -> None:
    (tmp_path / "nvme" / "lost+found").mkdir(parents=True)
    if why != "nothing is written":
        (tmp_path / "nvme" / "data").mkdir()
    sys = a_computer(tmp_path, "Amazon Elastic Block Store" if "another" in why else "Instance Storage")
    mounts = "" if why == "nothing is mounted" else f"/dev/nvme1n1p1 {tmp_path / 'nvme'} ext4 rw 0 0\n"
    assert written(sys, mounts) == []


# ---- at the command line -------------------------------------------------------------------------------


@pytest.fixture
def ask(server: FakeEc2, hotdesk: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """The command line at the fake; `ssh` says what the file `desk-says` beside it has, and that nothing
    works there.
    """
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "ssh").write_text(
        f"#!/bin/sh\ncat > {programs}/asked\n"
        f"grep -q '^\"\"\"List what would be lost' {programs}/asked && echo '{{}}' && exit\n"
        f"mv {programs}/asked {programs}/heard\ncat {programs}/desk-says\n"
    )
    (programs / "ssh").chmod(0o755)
    config = tmp_path / "hotdesk.toml"
    config.write_text('[aws]\nlag_seconds = 0.0\npoll_seconds = 0.1\naddress = "127.0.0.1/32"\n')
    for key, value in server.environment(HOME).items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("HOTDESK_CONFIG", str(config))
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    with quick(server):
        yield hotdesk


def a_desk(fake: FakeEc2, folder: Path, scratch_gib: float = 116.0) -> None:
    mine = Laptop(fake, folder / "state", offers=(offer(scratch_gib=scratch_gib),))
    assert mine.do(Goal.RUNNING) is None
    mine.store.close()
    fake.post("clock", rate=1, pace=0.01)


def test_parking_names_what_would_be_lost_and_asks(server: FakeEc2, ask: Ask, tmp_path: Path) -> None:
    a_desk(server, tmp_path)
    says = tmp_path / "programs" / "desk-says"
    says.write_text('[{"path": "/opt/dlami/nvme", "used_gib": 12.5, "names": ["imagenet", "tmp"]}]')
    for verb in (["park", "blue"], ["stop", "blue"], ["move", "blue", "--type", "g5.xlarge"]):
        done = ask(*verb)
        assert done.returncode == 5, done.stderr
        assert "/opt/dlami/nvme (12.5 GiB: imagenet, tmp)" in done.stderr
        assert f"hotdesk {' '.join(verb)} --yes" in done.stderr
    assert b"Instance Storage" in (tmp_path / "programs" / "heard").read_bytes()
    assert [t["state"] for t in server.get("things", kind="instance")] == ["running"]
    done = ask("park", "blue", "--yes")
    assert done.returncode == 0, done.stderr
    assert {t["state"] for t in server.get("things", kind="instance")} <= {"terminated"}


def test_the_park_after_a_job_and_that_from_python_look_there_too(
    server: FakeEc2, ask: Ask, tmp_path: Path
) -> None:
    a_desk(server, tmp_path)
    says = tmp_path / "programs" / "desk-says"
    says.write_text('[{"path": "/opt/dlami/nvme", "used_gib": 12.5, "names": ["checkpoints"]}]')
    with Hotdesk(tmp_path / "state") as desks:
        found = desks.services.runs().works(desks.services.store.desk("blue"))
        assert list(found) == ["/opt/dlami/nvme (12.5 GiB: checkpoints) is in no image"]
        with pytest.raises(NeedsDecision, match="checkpoints"):
            desks.park("blue")
    assert [t["state"] for t in server.get("things", kind="instance")] == ["running"]


def test_a_desk_that_does_not_answer_is_asked_about_too(server: FakeEc2, ask: Ask, tmp_path: Path) -> None:
    a_desk(server, tmp_path)
    (tmp_path / "programs" / "ssh").write_text("#!/bin/sh\necho no route >&2\nexit 255\n")
    done = ask("park", "blue")
    assert done.returncode == 5, done.stderr
    assert "something may: it cannot be asked (no route)" in done.stderr
    assert "whatever lies on its 116 GiB of instance store" in done.stderr


@pytest.mark.parametrize(("gib", "says"), [(116.0, "[]"), (0.0, "never asked")])
def test_nothing_is_asked_where_nothing_would_be_lost(
    server: FakeEc2, ask: Ask, tmp_path: Path, gib: float, says: str
) -> None:
    a_desk(server, tmp_path, gib)
    (tmp_path / "programs" / "desk-says").write_text(says)
    done = ask("park", "blue")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "programs" / "heard").exists() is bool(gib)
