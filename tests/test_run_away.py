"""`hotdesk watch --on NAME`: a watcher at another desk goes on with the jobs when this computer is closed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.state.store import Store
from hotdesk.system import state_folder
from tests import test_run_ec2
from tests.conftest import Command
from tests.light import folders, volumes
from tests.test_job_variables import SECRET, holders
from tests.test_run import SECONDS, jobs, watcher, weights_of

cloud, desks, project = test_run_ec2.cloud, test_run_ec2.desks, test_run_ec2.project  # fixtures
pytestmark = test_run_ec2.pytestmark


def of(cloud: FakeEc2, desk: str, but: str = "") -> Any:
    """That desk's machine, once it runs."""
    limit = time.monotonic() + SECONDS
    while True:
        for row in cloud.get("things", kind="instance"):
            if row["tags"].get("hotdesk:desk") == desk and row["state"] == "running" and row["id"] != but:
                return row
        assert time.monotonic() < limit
        time.sleep(0.1)


def test_a_watcher_elsewhere_goes_on_with_a_job_and_its_news_come_back(
    cloud: FakeEc2, desks: Command, home: Path, project: Path
) -> None:
    """1. A job runs at blue; tower is another desk. 2. It has no credentials: that is said, and nothing goes
    there. 3. With them it gets a watcher, and this computer has none any more. 4. Blue's machine is taken.
    The job goes on, ends, blue is parked. 5. The watcher comes home with all of it."""
    pytest.importorskip("numpy")
    expected = weights_of(project, home, "40", "5", "0", rented=True)
    assert desks("watch", "--stop", "--on", "tower").returncode == 4
    assert desks("up", "tower", "--type", "t3.micro", "--market", "on-demand").returncode == 0
    assert desks("up", "blue", "--type", "g4dn.xlarge", "--market", "spot").returncode == 0
    os.chdir(project)
    run = desks(
        "run", "blue", "--detach", "--pull", "out", "--checkpoint", "ckpt", "--secret", "TOKEN",
        "--", "python", "train.py", "40", "5", "0.05", "go", TOKEN=SECRET,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    asked = desks("watch", "--on", "tower")
    assert asked.returncode == 5
    assert "ssh keys of blue" in asked.stderr
    lacks = desks("watch", "--on", "tower", "--yes")
    assert lacks.returncode == 5, lacks.stderr
    assert "--send-credentials" in lacks.stderr
    asked = desks("watch", "--on", "tower", "--send-secrets")
    assert asked.returncode == 5
    assert "the values of TOKEN of job 1" in asked.stderr
    sent = desks("watch", "--on", "tower", "--send-credentials", "--send-secrets", "--yes")
    assert sent.returncode == 0, sent.stderr
    assert "looks after blue" in sent.stdout
    assert "AKIAFAKE…" in sent.stdout
    assert "tower watches over them" in desks("ls").stdout
    assert desks("watch", "--on", "tower", "--yes").returncode == 2  # there is one already
    private = desks("ssh", "tower", "--", "stat -c %a .hotdesk/watcher .hotdesk/watcher/aws")
    assert private.stdout.split() == ["700", "600"]
    kept = desks(
        "ssh", "tower", "--", "cd .hotdesk/watcher/state && readlink -f variables && stat -c %a variables/*"
    )
    memory, mode = kept.stdout.split()
    assert memory.startswith("/dev/shm/hotdesk-")
    assert (mode, Path(memory).stat().st_mode & 0o777) == ("600", 0o700)
    assert [n for disk in folders(cloud) for n in holders(disk)] == []
    assert watcher(desks) == ""

    taken = of(cloud, "blue")
    cloud.post("interrupt", id=taken["id"], notice=False)
    [volume] = of(cloud, "blue", but=str(taken["id"]))["disks"]
    [disk] = volumes(cloud, volume)
    (disk / "home" / "project" / "go").touch()
    limit = time.monotonic() + SECONDS
    while any(
        r["state"] != "terminated" and r["tags"].get("hotdesk:desk") == "blue"
        for r in cloud.get("things", kind="instance")
    ):
        if time.monotonic() > limit:
            raise AssertionError(desks("ssh", "tower", "--", "cat .hotdesk/watcher/state/watcher.log").stdout)
        time.sleep(0.2)
    with Store(state_folder()) as store:
        assert store.job("blue").result is None  # nobody here knows
    back = desks("watch", "--stop", "--on", "tower")
    assert back.returncode == 0, back.stderr
    [job] = jobs(desks)
    assert (job["state"], job["attempts"], job["settled"]) == ("done", 2, True)
    assert hashlib.sha256((project / "out" / "weights.npy").read_bytes()).hexdigest() == expected
    assert "done 40" in desks("logs", "blue").stdout
    listed = {row["name"]: row for row in json.loads(desks("ls", "--json").stdout)}
    assert (listed["blue"]["phase"], listed["blue"]["goal"]) == ("parked", "parked")
    assert "attempt 2" in desks("log", "blue").stdout
    left = desks("ssh", "tower", "--", "ls .hotdesk/watcher")
    assert left.stdout.split() == ["lib"]
    assert not Path(memory).exists()
