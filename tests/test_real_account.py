"""The evening on a real account, spent at a fake one: nothing unasked, nothing left, differences told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from tests.aws_cli import NEEDED, lit  # noqa: F401  (a fixture)
from tests.real_account.__main__ import main
from tests.real_account.forms import differences, shape

pytestmark = NEEDED

ACCOUNT = "123456789012"
SETTINGS = 'address = "127.0.0.1/32"\nlag_seconds = 0.0\npoll_seconds = 0.2'


@pytest.fixture
def real(lit: FakeEc2, home: Path) -> Iterator[FakeEc2]:  # noqa: F811
    lit.post("reset", seed=77)
    every = lit.post("regions")
    lit.post("regions", disable=[r for r in every if r not in {"us-west-2", "us-east-1"}])
    lit.post("clock", rate=1, pace=0.01)
    yield lit
    lit.post("reset")


@pytest.fixture
def nothing_known(tmp_path: Path) -> str:
    """An earlier record of the fake that holds nothing, so that its day is not spent first."""
    file = tmp_path / "reference.json"
    file.write_text('{"steps": [], "rows": []}')
    return str(file)


def run(folder: Path, *more: str, cap: str = "1.00") -> int:
    return main(["--spend-cap", cap, "--folder", str(folder), "--aws", SETTINGS, *more])


def launches(fake: FakeEc2) -> int:
    return len(fake.get("log", action="RunInstances"))


def test_nothing_is_launched_without_the_accounts_own_number(
    real: FakeEc2, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for given in ((), ("--confirm", "999999999999"), ("--confirm", "yes")):
        assert run(tmp_path / "day", *given) == 3
    assert ACCOUNT in capsys.readouterr().out
    assert run(tmp_path / "day", "--confirm", ACCOUNT, cap="0.10") == 2
    assert launches(real) == 0


@pytest.mark.long
def test_the_day_ends_with_nothing_left_and_says_what_differed(
    real: FakeEc2, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1. The account is on the Free plan, which the fake is not. 2. The day goes well, and that is told."""
    real.post("account", free_plan=True)
    assert run(tmp_path / "day", "--confirm", ACCOUNT) == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    assert "What differed from the fake (" in said
    assert (
        "freetier.GetAccountPlanState: AWS tells accountPlanRemainingCredits.amount, the fake does not"
        in said
    )
    assert "the second evening" in said
    assert real.get("costs")["usd_per_hour"] == 0
    assert launches(real) >= 3
    record = (tmp_path / "day" / "record.json").read_text()
    assert ACCOUNT not in record
    assert "127.0.0.1" not in record
    rows = json.loads(record)["rows"]
    assert {"ec2.RunInstances", "ec2.CopyImage"} <= {row["call"] for row in rows}


@pytest.mark.long
def test_a_day_that_goes_wrong_leaves_nothing_either(
    real: FakeEc2, tmp_path: Path, nothing_known: str, capsys: pytest.CaptureFixture[str]
) -> None:
    real.post("refuse", action="CreateImage", code="InternalError", status=500, times=2)
    real.post("refuse", action="CreateImage", code="UnauthorizedOperation", times=None)
    assert run(tmp_path / "day", "--confirm", ACCOUNT, "--reference", nothing_known) == 1
    assert "hotdesk park one-evening" in capsys.readouterr().out
    assert real.get("costs")["usd_per_hour"] == 0


# ---- what is compared --------------------------------------------------------------------------------


def test_a_shape_says_nothing_of_whose_it_is() -> None:
    row = {"InstanceId": "i-0123456789abcdef0", "State": {"Name": "running"}, "OwnerId": ACCOUNT,
           "Tags": [{"Key": "hotdesk:owner", "Value": "user/alice"}], "PublicIp": "203.0.113.9"}  # fmt: skip
    assert shape({"Instances": [row]}) == {
        "Instances[].InstanceId": ["i-…"],
        "Instances[].OwnerId": ["text"],
        "Instances[].PublicIp": ["text"],
        "Instances[].State.Name": ["'running'"],
        "Instances[].Tags[].Key": ["text"],
        "Instances[].Tags[].Value": ["text"],
    }


def test_differences_are_told_once_and_from_both_sides() -> None:
    def row(call: str, answer: object = None, code: str = "") -> dict[str, object]:
        return {"call": call, "answer": shape(answer or {}), "code": code, "status": 400 if code else 200}

    fake = [row("a", {"X": 1, "Y": "x"}), row("b", code="Old"), row("same", {"Z": True})]
    real = [row("a", {"X": 1, "W": True}), row("b", code="New"), row("same", {"Z": False}), row("c")]
    assert differences(fake, real) == [
        "a: AWS tells W, the fake does not",
        "a: the fake tells Y, AWS does not",
        "b: AWS refused with New (400)",
        "b: the fake refused with Old (400)",
        "c: asked of AWS only",
    ]
