"""A long job on real machines: each instance of the fake EC2 is a whole Linux system with its own agent.

test_run_ec2.py is the same on machines that start at once.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from tests import test_rig
from tests.conftest import Command
from tests.test_run import Laptop
from tests.test_run_ec2 import machine
from tests.test_run_moves import COUNT

pytestmark = [*test_rig.pytestmark, pytest.mark.long]
ground, fake = test_rig.ground, test_rig.fake  # fixtures
SECONDS = 300.0


def test_a_run_on_real_machines_saves_on_notice_and_goes_on_elsewhere(
    fake: FakeEc2, hotdesk: Command, home: Path
) -> None:
    """1. A job counts on a spot machine. 2. The metadata service gives notice; the agent asks the job for a
    checkpoint. 3. The machine is taken. 4. Its disk goes on in another zone; no number is counted twice."""
    fake.post("clock", durations={"interruption-notice": 15.0 / 0.02})  # as real as a test can wait for
    folder = home / "project"
    folder.mkdir()
    (folder / "count.py").write_text(COUNT)
    laptop = Laptop(home)
    up = hotdesk("up", "blue", "--provider", "aws", "--type", "g4dn.xlarge", "--market", "spot", timeout=300)
    assert up.returncode == 0, up.stderr
    try:
        run = laptop.begin(
            folder, "run", "blue", "--checkpoint", "ckpt", "--pull", "ckpt", "--", "python3", "count.py"
        )
        laptop.until("did 5\n", SECONDS)
        first = machine(fake)
        fake.post("capacity", market="spot", zone=first["zone"], free=-1)
        fake.post("interrupt", id=first["id"])
        laptop.until("saved", SECONDS)
        laptop.until("attempt 2", SECONDS)
        second = machine(fake, but=first["id"])
        assert (second["market"], second["zone"] != first["zone"]) == ("spot", True)
        os.chdir(folder)
        assert hotdesk("ssh", "blue", "--", "touch project/go", timeout=SECONDS).returncode == 0
        assert laptop.wait(run, SECONDS) == 0, laptop.said()
    finally:
        hotdesk("watch", "--stop")
    numbers = [int(n) for n in re.findall(r"^did (\d+)", laptop.said(), re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1)), laptop.said()
    job = json.loads(hotdesk("jobs", "--json").stdout)[0]
    assert (job["state"], job["attempts"]) == ("done", 2)
    assert int((folder / "ckpt" / "done").read_text()) in numbers
    assert json.loads(hotdesk("ls", "--json").stdout)[0]["phase"] == "parked"
    hotdesk("down", "blue", "--yes", timeout=300)
