"""`hotdesk disk`: a bigger disk in the fake EC2, its bill, refusals; and a real file system that grows."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from fake_ec2.process import FakeEc2
from hotdesk.api import Hotdesk
from hotdesk.config import Config, Defaults
from hotdesk.connect.disk_space import _GROW, Space
from hotdesk.core.errors import NotAllowed, Usage
from hotdesk.core.model import Desk, Goal, Want
from hotdesk.core.steps import Grow
from hotdesk.providers.aws.settings import Settings
from tests.aws_desk import HOME, Laptop, quick

pytest.importorskip("moto", reason="moto is not installed")

CONFIG = Config(defaults=Defaults(provider="aws"), clouds={"aws": Settings(lag_seconds=0.0)})


@pytest.fixture
def mine(server: FakeEc2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Laptop]:
    for key, value in server.environment(HOME).items():
        monkeypatch.setenv(key, value)
    with quick(server) as fake:
        laptop = Laptop(fake, tmp_path / "one")
        yield laptop
        laptop.store.close()


def sizes(mine: Laptop) -> list[Any]:
    client = mine.fake.client("ec2", HOME)
    volumes = client.describe_volumes(Filters=[{"Name": "status", "Values": ["in-use", "available"]}])
    return sorted(volume["Size"] for volume in volumes["Volumes"])


def grown(mine: Laptop) -> list[Grow]:
    return [row.step for row in mine.store.rows("blue") if isinstance(row.step, Grow) and row.done]


def test_a_disk_grows_while_its_machine_runs_and_only_once(mine: Laptop) -> None:
    assert mine.do(Goal.RUNNING) is None
    [before] = sizes(mine)
    mine.work("results")
    assert mine.do(Goal.RUNNING, want=Want(disk_gib=before + 100)) is None
    assert sizes(mine) == [before + 100]
    assert mine.do(Goal.RUNNING) is None
    assert len(grown(mine)) == 1
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING) is None, "and so is the next machine's, with all work"
    assert sizes(mine) == [before + 100]
    assert len(grown(mine)) == 1


def test_a_disk_grows_while_its_machine_is_off(mine: Laptop) -> None:
    assert mine.do(Goal.RUNNING) is None
    assert mine.do(Goal.STOPPED) is None
    [before] = sizes(mine)
    assert mine.do(Goal.STOPPED, want=Want(disk_gib=before + 50)) is None
    assert sizes(mine) == [before + 50]
    assert [t["state"] for t in mine.fake.get("things", kind="instance")] == ["stopped"], "it stays off"


def test_a_refusal_is_told_to_who_asked_and_keeps_nobody_from_the_desk(mine: Laptop) -> None:
    """EC2 takes one change of a volume in six hours."""
    assert mine.do(Goal.RUNNING) is None
    [before] = sizes(mine)
    said = "You've reached the maximum modification rate per volume limit."
    mine.fake.post(
        "refuse", action="ModifyVolume", code="VolumeModificationRateExceeded", message=said, status=400
    )
    mine.want("blue", Goal.RUNNING, want=Want(disk_gib=before + 1))
    ask = mine.settle()
    assert ask is not None
    assert said.rstrip(".") in ask.why
    assert mine.do(Goal.RUNNING) is None, "it is up"
    assert sizes(mine) == [before]


def test_a_policy_of_before_disks_could_grow_is_told_with_the_action_and_the_fix(mine: Laptop) -> None:
    assert mine.do(Goal.RUNNING) is None
    [before] = sizes(mine)
    mine.fake.post("refuse", action="ModifyVolume", code="UnauthorizedOperation", times=None)
    mine.want("blue", Goal.RUNNING, want=Want(disk_gib=before + 1))
    ask = mine.settle()
    assert ask is not None
    assert "ec2:ModifyVolume" in f"{ask.what} {ask.why}"
    assert "hotdesk iam" in ask.fix
    assert mine.do(Goal.RUNNING) is None, "it is up"


def test_the_bigger_disk_is_billed_from_then_on(mine: Laptop) -> None:
    assert mine.do(Goal.RUNNING) is None
    [before] = sizes(mine)
    hours(mine, 10)
    assert mine.do(Goal.RUNNING, want=Want(disk_gib=3 * before)) is None
    hours(mine, 10)
    with Hotdesk(mine.folder, config=CONFIG, clock=mine.time) as desks:
        small, big = [charge for charge in desks.services.billing.bill() if charge.kind == "disk"]
    assert big.usd_per_hour == pytest.approx(3 * small.usd_per_hour)
    assert small.ended == pytest.approx(big.began)
    assert (small.ended - small.began) / 3600 == pytest.approx(10, abs=0.2)
    assert (big.ended - big.began) / 3600 == pytest.approx(10, abs=0.2)
    assert (small.going_on, big.going_on) == (False, True)


def hours(mine: Laptop, count: float) -> None:
    mine.fake.post("clock", advance=count * 3600)
    mine.time.at += count * 3600


def test_what_would_be_done_is_said_with_its_price(mine: Laptop) -> None:
    assert mine.do(Goal.RUNNING) is None
    [before] = sizes(mine)
    with Hotdesk(mine.folder, config=CONFIG, clock=mine.time) as desks:
        planned = desks.disk("blue", 2 * before, dry_run=True)
        assert (planned.before_gib, planned.gib, planned.runs) == (before, 2 * before, True)
        [volume] = desks.services.billing.bill()[-1:]
        assert planned.usd_per_month > 0
        assert volume.desk == "blue"
        with pytest.raises(Usage, match=f"has {before} GiB already"):
            desks.disk("blue", before - 1, dry_run=True)
    assert sizes(mine) == [before]


def test_a_parked_desk_has_it_from_its_next_machine_on(mine: Laptop) -> None:
    assert mine.do(Goal.RUNNING) is None
    [before] = sizes(mine)
    assert mine.do(Goal.PARKED) is None
    with Hotdesk(mine.folder, config=CONFIG, clock=mine.time) as desks:
        assert desks.disk("blue", before + 20).before_gib == 0.0
    assert sizes(mine) == [], "nothing was launched"
    assert mine.do(Goal.RUNNING) is None
    assert sizes(mine) == [before + 20]


def test_a_desk_on_this_computer_says_what_is_true(home: Path) -> None:
    with Hotdesk() as desks:
        desks.services.store.put(Desk(name="blue", goal=Goal.PARKED, since=1.0, created_at=1.0))
        with pytest.raises(NotAllowed, match="is this computer's") as found:
            desks.disk("blue", 300)
        assert "GiB are free here" in found.value.why
        assert replace(desks.services.store.desk("blue")).want.disk_gib == 0


# ---- the file system ---------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.parametrize("partitioned", [False, True], ids=["a whole disk", "a partition"])
@pytest.mark.tools("losetup", "mkfs.ext4", "resize2fs", "findmnt")
def test_a_real_file_system_takes_all_of_a_disk_that_has_grown(tmp_path: Path, partitioned: bool) -> None:
    """A disk of 64 MiB becomes 1 GiB; what runs at a desk makes its file system as big while it is in use."""
    disk, mount = tmp_path / "disk", tmp_path / "mount"
    subprocess.run(["truncate", "-s", "64M", disk], check=True)
    if partitioned:
        if not (shutil.which("growpart") and shutil.which("sfdisk")):
            pytest.skip("no growpart on this computer")
        subprocess.run(["sfdisk", "-q", disk], input=b"label: gpt\n,,\n", check=True)
    loop = subprocess.run(["losetup", "-fP", "--show", disk], capture_output=True, text=True, check=False)
    if loop.returncode:
        pytest.skip("no loop devices here")
    device = loop.stdout.strip()
    part = f"{device}p1" if partitioned else device
    try:
        if not Path(part).exists():
            pytest.skip("this kernel makes no partitions of loop devices")
        subprocess.run(["mkfs.ext4", "-q", part], check=True)
        mount.mkdir()
        subprocess.run(["mount", part, mount], check=True)
        try:
            (mount / "work").write_text("results")
            subprocess.run(["truncate", "-s", "1G", disk], check=True)
            subprocess.run(["losetup", "-c", device], check=True)
            line = _GROW.replace(" /)", f" {mount})").replace(" / |", f" {mount} |").replace("sudo -n ", "")
            words = ["sh", "-s", "1"]
            done = subprocess.run(words, input=line, capture_output=True, text=True, timeout=100, check=False)
            if "Permission denied to resize" in done.stderr:
                pytest.skip("needs CAP_SYS_RESOURCE")
            assert done.returncode == 0, done.stderr
            total = shutil.disk_usage(mount).total
            assert total > 900 << 20
            assert msgspec.json.decode(done.stdout, type=Space).bytes == total
            assert (mount / "work").read_text() == "results"
        finally:
            subprocess.run(["umount", mount], check=True)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
