"""Bad days of a desk on EC2, typed at the real command line, with a machine that can be logged into."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from fake_ec2.process import FakeEc2
from hotdesk.core.errors import Kind
from hotdesk.core.model import Desk, Goal
from hotdesk.core.steps import Ask as Question
from hotdesk.services.explain import not_tried
from tests.aws_cli import (  # noqa: F401
    NEEDED,
    ON_DEMAND,
    SPOT,
    Ask,
    ask,
    cloud,
    console,
    lit,
    only,
    paid,
    told,
    well,
)
from tests.aws_desk import offer

ROOT = Path(__file__).parents[1]
pytestmark = NEEDED


@pytest.mark.parametrize(
    "market", [ON_DEMAND, pytest.param(SPOT, marks=pytest.mark.long)], ids=["on-demand", "spot"]
)
def test_terminated_in_the_console(cloud: FakeEc2, ask: Ask, market: tuple[str, ...]) -> None:
    """1. Work. 2. Somebody ends the machine in the console: its disk stays. 3. ls says so. 4. up: all is
    there. 5. Ended again, and the disk deleted too: a question, no empty desk. 6. --fresh agrees to it."""
    well(ask(*market))
    well(ask("ssh", "blue", "--", "echo monday > work.txt"))
    console(cloud, only(cloud, "instance"), "terminate", "terminated")
    assert paid(cloud) == {"volume": 1}
    listed = well(ask("ls"))
    assert "blue was turned off, by itself or in the console; it is being parked" in listed.stderr
    assert "saving" in listed.stdout
    told(ask("ssh", "blue", "--", "true"), 5, "blue is saving", "hotdesk up blue")
    well(ask("up", "blue"))
    assert ask("ssh", "blue", "--", "cat work.txt").stdout == "monday\n"
    disk = only(cloud, "volume")
    well(ask("ssh", "blue", "--", "echo tuesday > work.txt"))
    console(cloud, only(cloud, "instance"), "terminate", "terminated")
    console(cloud, disk, "delete")
    said = told(
        ask("up", "blue"), 5, "is gone, and so is its disk", "from before that", "hotdesk up blue --fresh"
    )
    assert "blue's work is saved" not in said
    assert paid(cloud) == {"snapshot": 1}
    well(ask("up", "blue", "--fresh"))
    assert ask("ssh", "blue", "--", "cat work.txt").stdout == "monday\n"


@pytest.mark.long
def test_an_image_deregistered_in_the_console(cloud: FakeEc2, ask: Ask) -> None:
    """Its snapshot stays, and costs: it is named, and no command says that nothing is left of the work."""
    well(ask(*ON_DEMAND))
    well(ask("park", "blue"))
    console(cloud, only(cloud, "image"), "deregister")
    snapshot = only(cloud, "snapshot")["id"]
    told(ask("resume", "blue"), 5, "is missing", "may hold it, and is billed", snapshot, "--fresh")
    assert snapshot in ask("doctor").stdout
    assert paid(cloud) == {"snapshot": 1}


@pytest.mark.long
def test_a_clock_that_is_off(cloud: FakeEc2, ask: Ask) -> None:
    well(ask(*ON_DEMAND))
    late = "Signature expired: 20261123T100000Z is now earlier than 20261123T111500Z"
    for code, message in [
        ("RequestTimeTooSkewed", ""),
        ("SignatureDoesNotMatch", late),
        ("RequestExpired", late),
    ]:
        cloud.post("refuse", action="*", code=code, message=message, status=403, times=None)
        told(ask("park", "blue"), 3, "this computer's clock is off", code, "sudo timedatectl set-ntp true")
        cloud.delete("rules")
    assert paid(cloud) == {"instance": 1, "volume": 1}
    well(ask("park", "blue"))
    assert paid(cloud) == {"snapshot": 1}


@pytest.mark.long
@pytest.mark.parametrize("hours", [-1, 1], ids=["back", "forward"])
def test_a_clock_that_jumps_between_commands(cloud: FakeEc2, ask: Ask, tmp_path: Path, hours: int) -> None:
    """By an hour, between up and park, and back again before resume."""
    off = {"PYTHONPATH": shifted(tmp_path / "shifted"), "SHIFT_SECONDS": str(3600 * hours)}
    well(ask(*ON_DEMAND))
    well(ask("park", "blue", **off))
    assert paid(cloud) == {"snapshot": 1}
    well(ask("resume", "blue"))
    well(ask("move", "blue", "--type", "g5.xlarge", **off))
    well(ask("ls"))
    well(ask("down", "blue", "--yes", **off))
    assert paid(cloud) == {}


def shifted(folder: Path) -> str:
    """A folder whose `sitecustomize` moves the clock of a process by SHIFT_SECONDS."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import os, time\n"
        "real, by = time.time, float(os.environ.get('SHIFT_SECONDS', 0))\n"
        "time.time = lambda: real() + by\n"
    )
    return f"{folder}:{ROOT / 'src'}"


@pytest.mark.parametrize(
    ("action", "there", "words"),
    [
        pytest.param(
            "StopInstances", {"instance": 1, "volume": 1}, "blue's machine is on, for $0.526/h",
            marks=pytest.mark.long,
        ),
        ("CreateImage", {"off": 1, "volume": 1}, "blue's machine is off; its disk has all the work, for $"),
        pytest.param(
            "TerminateInstances", {"off": 1, "volume": 1, "snapshot": 1}, "blue's machine is off",
            marks=pytest.mark.long,
        ),
    ],
)  # fmt: skip
def test_credentials_that_expire_in_the_middle_of_a_park(
    cloud: FakeEc2, ask: Ask, action: str, there: dict[str, int], words: str
) -> None:
    """What is left and what it costs is said, and what to do first; then the same command ends well."""
    well(ask(*ON_DEMAND))
    cloud.post("refuse", action=action, code="ExpiredCredentials", times=None)
    told(ask("park", "blue"), 3, "credentials have expired", "aws sso login", words)
    assert paid(cloud) == there
    cloud.delete("rules")
    well(ask("park", "blue"))
    assert paid(cloud) == {"snapshot": 1}


def test_credentials_that_expire_while_it_looks(cloud: FakeEc2, ask: Ask) -> None:
    """A command that waits for a region for ever would be waited for all night."""
    well(ask(*ON_DEMAND))
    cloud.post("refuse", action="DescribeInstances", code="ExpiredCredentials", times=None)
    told(ask("park", "blue"), 3, "is denied", "is billed", "aws sso login")
    listed = well(ask("ls"))
    assert "blue cannot be seen, and may cost money" in listed.stderr
    assert "unknown" in listed.stdout
    told(ask("ssh", "blue", "--", "true"), 7, "blue is in an unknown state", "aws sso login")
    cloud.delete("rules")
    well(ask("park", "blue"))


def test_no_capacity_on_the_way_back(cloud: FakeEc2, ask: Ask) -> None:
    """What was tried, when to try again, and what else there is, of the same GPU and of others."""
    well(ask(*ON_DEMAND))
    well(ask("park", "blue"))
    cloud.post("capacity", type="g4dn.xlarge", market="on-demand", free=0)
    done = ask("resume", "blue")
    said = told(
        done, 3, "g4dn.xlarge (on-demand) in us-west-2a, us-west-2b, us-west-2c: sold out", "again in 10 min"
    )
    assert "offered now: g4dn." in said
    assert "blue's work is saved in its image" in said
    assert "launching g4dn.xlarge in us-west-2a, from its image: sold out" in done.stderr
    assert paid(cloud) == {"snapshot": 1}
    cloud.post("capacity", type="g4dn.*", market="*", free=0)
    both = ("--type", "g4dn.xlarge", "--market", "cheapest", "--region", "us-west-2", "--region", "us-east-1")
    said = told(ask("resume", "blue", *both, timeout=300), 3, "us-east-1", ": sold out", "again in 10 min")
    assert (
        "g4dn.xlarge (spot), g4dn.xlarge (on-demand) in " in said or "(on-demand), g4dn.xlarge (spot)" in said
    )
    assert "Not tried, and offered now: g4dn." in said
    assert "instance" not in paid(cloud)


def test_where_no_more_of_a_gpu_can_be_had_others_with_as_much_memory_are_named() -> None:
    t4, l4 = replace(offer(), gpu_memory_gib=16.0), replace(offer("g6.xlarge", gpu="L4"), gpu_memory_gib=24.0)
    small = replace(offer("g6f.large", gpu="L4"), gpu_memory_gib=3.0)
    desk = Desk(name="blue", goal=Goal.RUNNING, since=1.0, created_at=1.0, offers=(t4,))
    sold_out = Question(what="no", why="sold out", fix="hotdesk up blue   # again", kind=Kind.NO_CAPACITY)
    said = not_tried(sold_out, desk, lambda want: [t4] if want.gpu == "T4" else [small, l4])
    assert said.why == "sold out. Not tried, and offered now: g6.xlarge in us-west-2a (on-demand, $0.5/h)"
    assert said.fix.endswith("--type g6.xlarge --market on-demand")


def test_a_quota_of_zero_on_the_way_back_and_on_a_move(cloud: FakeEc2, ask: Ask) -> None:
    well(ask("up", "blue", "--type", "m7i.large", "--market", "on-demand"))
    cloud.post("quota", type="g4dn.xlarge", market="on-demand", vcpus=0)
    words = (
        "L-DB2E81BA, 0 vCPUs",
        "request-service-quota-increase",
        "--desired-value 4",
        "saved in its image",
    )
    told(ask("move", "blue", "--type", "g4dn.xlarge"), 3, *words)
    assert paid(cloud) == {"snapshot": 1}
    told(ask("resume", "blue"), 3, *words)
    well(ask("resume", "blue", "--type", "m7i.large"))


def test_what_nobody_sells_names_the_nearest_and_the_command(cloud: FakeEc2, ask: Ask) -> None:
    said = told(ask("up", "blue", "--type", "g5.xlrage"), 3, "✗ g5.xlrage is not sold in us-west-2.")
    assert "fix: hotdesk up blue --type g5.xlarge" in said
    well(ask(*ON_DEMAND))
    said = told(ask("move", "blue", "--type", "g4dn.xlrage"), 3, "The nearest there: g4dn.xlarge")
    assert "fix: hotdesk move blue --type g4dn.xlarge" in said
    assert paid(cloud) == {"instance": 1, "volume": 1}
