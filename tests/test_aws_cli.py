"""What a person types, and what is answered: the real command line, in a process of its own, at the fake EC2.

Whatever is wrong ends in three lines (what happened, why, a command to paste), an exit code of the family of
the error, and nothing half made that costs money.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.core.model import Goal
from tests.aws_desk import HOME, Laptop, quick

pytest.importorskip("moto", reason="moto is not installed")

Ask = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def fake(server: FakeEc2) -> Iterator[FakeEc2]:
    with quick(server):
        yield server


@pytest.fixture
def ask(fake: FakeEc2, hotdesk: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """`ask("up", "--gpu", "T4")`: the command with the fake's credentials; others may be given by name."""
    config = tmp_path / "hotdesk.toml"
    config.write_text('[defaults]\nprovider = "aws"\n[aws]\nlag_seconds = 0.0\naddress = "127.0.0.1/32"\n')
    for key, value in fake.environment(HOME).items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("HOTDESK_CONFIG", str(config))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return hotdesk


def refused(fake: FakeEc2, done: subprocess.CompletedProcess[str], code: int, *words: str) -> str:
    """Three lines with those words, that exit code, and nothing that is paid for."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line.strip()][-3:]
    assert [line.split()[0] for line in said] == ["✗", "why:", "fix:"], done.stderr
    assert all(len(line) < 420 for line in said), done.stderr
    for word in words:
        assert word in "\n".join(said), done.stderr
    paid = [t for t in fake.get("things", crowd="0") if t["kind"] in {"instance", "volume", "snapshot"}]
    assert [t for t in paid if t["state"] != "terminated"] == []
    return "\n".join(said)


UP = ("up", "blue", "--type", "g4dn.xlarge", "--market", "on-demand")


def test_no_credentials(fake: FakeEc2, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    refused(fake, ask(*UP), 3, "No AWS credentials were found", "aws configure")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("ExpiredCredentials", ("have expired", "aws sso login")),
        ("InvalidCredentials", ("does not accept the credentials", "aws configure list")),
        ("RequestExpired", ("clock is off", "timedatectl")),
    ],
)
def test_credentials_that_are_refused(fake: FakeEc2, ask: Ask, code: str, words: tuple[str, ...]) -> None:
    fake.post("refuse", action="*", code=code, times=None)
    refused(fake, ask(*UP), 3, *words)


def test_a_missing_permission_is_named(fake: FakeEc2, ask: Ask) -> None:
    fake.post("refuse", action="RunInstances", code="UnauthorizedOperation", times=None)
    refused(fake, ask(*UP), 3, "ec2:RunInstances", "hotdesk iam")


def test_a_permission_to_look_is_named(fake: FakeEc2, ask: Ask) -> None:
    fake.post("refuse", action="DescribeInstanceTypes", code="UnauthorizedOperation", times=None)
    refused(fake, ask(*UP), 3, "ec2:DescribeInstanceTypes", "hotdesk iam")


def test_a_region_that_is_not_enabled(fake: FakeEc2, ask: Ask) -> None:
    refused(fake, ask(*UP, "--region", "ap-east-1"), 3, "ap-east-1 is not a region", "enable-region")


def test_no_default_vpc(fake: FakeEc2, ask: Ask) -> None:
    fake.post("network", default_vpc=False)
    refused(fake, ask(*UP), 3, "no default VPC", "aws ec2 create-default-vpc")


def test_an_unknown_type(fake: FakeEc2, ask: Ask) -> None:
    refused(fake, ask("up", "blue", "--type", "g5.xlrage"), 3, "g5.xlarge", "hotdesk up")


def test_a_type_that_is_not_sold_in_the_region(fake: FakeEc2, ask: Ask) -> None:
    with quick(fake, regions=("eu-north-1",)):
        done = ask("up", "blue", "--type", "p3dn.24xlarge", "--region", "eu-north-1", AWS_REGION="eu-north-1",
                   AWS_DEFAULT_REGION="eu-north-1")  # fmt: skip
        refused(fake, done, 3, "p3dn.24xlarge is not sold in eu-north-1", "hotdesk")


def test_an_image_of_another_architecture(fake: FakeEc2, ask: Ask) -> None:
    images = fake.client("ec2", HOME).describe_images(Filters=[{"Name": "architecture", "Values": ["arm64"]}])
    arm = images["Images"][0]["ImageId"]
    refused(fake, ask(*UP, "--image", arm), 3, "arm64", "x86_64", "hotdesk offers")


def test_an_image_that_needs_a_bigger_disk(fake: FakeEc2, ask: Ask) -> None:
    big = fake.client("ssm", HOME).get_parameter(
        Name="/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
    )["Parameter"]["Value"]
    refused(fake, ask(*UP, "--image", big, "--disk", "10"), 3, "10 GiB were asked for", "--disk")


def test_an_image_that_does_not_exist(fake: FakeEc2, ask: Ask) -> None:
    refused(fake, ask(*UP, "--image", "ami-0123456789abcdef0"), 3, "ami-0123456789abcdef0", "describe-images")


def test_a_quota_of_zero(fake: FakeEc2, ask: Ask) -> None:
    fake.post("quota", type="g4dn.xlarge", market="on-demand", vcpus=0)
    refused(fake, ask(*UP), 3, "L-DB2E81BA", "request-service-quota-increase")


def test_no_capacity_anywhere(fake: FakeEc2, ask: Ask) -> None:
    """What was tried, when to try again, and what would be to be had now."""
    fake.post("capacity", region="*", zone="*", type="g4dn.xlarge", market="*", free=0)
    said = refused(fake, ask(*UP), 3, "us-west-2a", "us-west-2b", "min", "hotdesk")
    assert "g4dn.xlarge (on-demand)" in said
    assert "Not tried, and offered now: g4dn.xlarge in us-west-2" in said  # on spot, and bigger ones
    assert "g4dn.2xlarge" in said


def test_a_network_that_drops(fake: FakeEc2, ask: Ask) -> None:
    fake.post("lose", action="*", when="before", times=None)
    refused(fake, ask(*UP), 7, "AWS does not answer", "ping")


def test_an_image_deleted_behind_our_back(fake: FakeEc2, ask: Ask, tmp_path: Path) -> None:
    """1. Parked. 2. Somebody deregisters its image. 3. resume asks, and begins no empty desk."""
    mine = Laptop(fake, tmp_path / "state")
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    assert mine.do(Goal.PARKED) is None
    image = next(r for r in mine.billed() if r["kind"] == "image")
    mine.store.close()
    fake.post("console", id=image["id"], do="deregister", with_snapshots=True)
    said = refused(fake, ask("resume", "blue"), 5, "is missing", "hotdesk up blue --fresh")
    assert "Something else has deleted them" in said


def test_a_price_that_aws_does_not_tell_is_from_the_own_table_and_dated(fake: FakeEc2, ask: Ask) -> None:
    fake.post("refuse", action="GetProducts", service="pricing", code="AccessDeniedException", times=None)
    done = ask(*UP, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "g4dn.xlarge in us-west-2" in done.stdout
    assert "hotdesk's own table" in done.stdout
    assert "$0.526" in done.stdout


def test_a_reservation_of_the_account_is_chosen_and_the_plan_says_why(fake: FakeEc2, ask: Ask) -> None:
    reserved = fake.post("reservation", type="g4dn.xlarge", zone="us-west-2b")
    done = ask(*UP, "--dry-run")
    assert done.returncode == 0, done.stderr
    launch = next(line for line in done.stdout.splitlines() if "launch" in line)
    assert f"your capacity reservation {reserved['id']} is paid already" in launch
