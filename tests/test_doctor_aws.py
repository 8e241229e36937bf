"""The doctor at an account: each finding says what, why and how; asking changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fake_ec2.process import FakeEc2
from hotdesk.core.findings import Finding
from hotdesk.core.model import Goal
from hotdesk.core.ports import KeyFiles
from hotdesk.providers.aws.dry_run import _SAMPLE_KEY
from tests.aws_desk import HOME, Laptop, offer, quick

pytest.importorskip("moto", reason="moto is not installed")


@pytest.fixture
def mine(server: FakeEc2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Laptop]:
    for key, value in server.environment(HOME).items():
        monkeypatch.setenv(key, value)
    with quick(server) as fake:
        laptop = Laptop(fake, tmp_path / "one")
        laptop.aws._clock = Today(0.0)
        yield laptop
        laptop.store.close()


class Today:
    """This computer's clock, off by so much: what a web server says of the time is the real time."""

    def __init__(self, error: float) -> None:
        self.error = error

    def now(self) -> float:
        import time

        return time.time() + self.error

    def sleep(self, seconds: float) -> None: ...


def files(laptop: Laptop, desk: str = "blue") -> KeyFiles:
    folder = laptop.folder / "desks" / desk
    private, public = folder / "id_ed25519", folder / "id_ed25519.pub"
    return KeyFiles(desk=desk, private=private.exists(), public=public.read_text() if public.exists() else "")


def examine(laptop: Laptop, keys: KeyFiles | None = None) -> list[Finding]:
    before = {(r["kind"], r["id"], r["state"]) for r in laptop.things(gone=True)}
    desks = laptop.store.desks()
    found = list(
        laptop.aws.examine(desks, [keys or files(laptop, d.name) for d in desks], laptop.aws.survey())
    )
    assert {(r["kind"], r["id"], r["state"]) for r in laptop.things(gone=True)} == before, (
        "it changed something"
    )
    assert all(f.what and f.why and f.fix for f in found)
    return found


def test_nothing_is_said_of_an_account_in_order(mine: Laptop) -> None:
    assert examine(mine) == []
    assert mine.do(Goal.RUNNING) is None
    assert examine(mine) == []
    assert mine.do(Goal.PARKED) is None
    assert examine(mine) == []


def test_missing_permissions_are_named(mine: Laptop) -> None:
    assert mine.do(Goal.RUNNING) is None
    for action in ("CreateImage", "RunInstances", "ImportKeyPair"):
        mine.fake.post("refuse", action=action, code="UnauthorizedOperation", times=None)
    [found] = examine(mine)
    assert "ec2:CreateImage, ec2:ImportKeyPair, ec2:RunInstances" in found.what
    assert found.fix.startswith("hotdesk iam")


@pytest.mark.parametrize(("error", "level"), [(30.0, ""), (-120.0, "note"), (400.0, "bad")])
def test_the_clock(mine: Laptop, error: float, level: str) -> None:
    mine.aws._clock = Today(error)
    found = examine(mine)
    assert [f.level for f in found] == ([level] if level else [])
    if found:
        assert ("ahead" in found[0].what) == (error > 0)
        assert f" {abs(error) - 1:.0f} s" in found[0].what or f" {abs(error):.0f} s" in found[0].what


def test_a_quota_of_zero_comes_with_its_code_and_command(mine: Laptop) -> None:
    mine.want("blue", Goal.RUNNING)
    mine.fake.post("quota", type="g4dn.xlarge", market="on-demand", vcpus=0)
    [found] = examine(mine)
    assert "L-DB2E81BA" in found.why
    assert "--quota-code L-DB2E81BA --desired-value 4" in found.fix
    assert HOME in found.fix


def test_no_network(mine: Laptop) -> None:
    mine.want("blue", Goal.RUNNING)
    mine.fake.post("network", default_vpc=False)
    [found] = examine(mine)
    assert "create-default-vpc" in found.fix


def test_credentials(mine: Laptop) -> None:
    mine.fake.post("refuse", service="sts", action="GetCallerIdentity", code="ExpiredCredentials", times=None)
    [found] = examine(mine)
    assert "who we are" in found.what
    assert "aws sso login" in found.fix


def test_the_pair_without_its_file_and_the_file_without_its_pair(mine: Laptop, tmp_path: Path) -> None:
    """What fast.ai's scripts of 2017 tripped over, in both directions."""
    assert mine.do(Goal.RUNNING) is None
    whole = files(mine)
    [lost] = examine(mine, replace(whole, private=False))
    assert lost.level == "bad"
    assert "not on this computer" in lost.what
    assert lost.fix == "hotdesk park blue && hotdesk resume blue"
    [other] = examine(mine, replace(whole, public=_SAMPLE_KEY))
    assert "another one" in other.what
    for pair in mine.fake.client("ec2", HOME).describe_key_pairs()["KeyPairs"]:
        mine.fake.client("ec2", HOME).delete_key_pair(KeyName=pair["KeyName"])
    [gone] = examine(mine)
    assert (gone.level, "imports it again" in gone.why) == ("note", True)
    assert mine.do(Goal.PARKED) is None
    assert mine.do(Goal.RUNNING) is None, "and so it is: nothing fails"
    assert examine(mine) == []


def test_an_image_that_nothing_starts_from(mine: Laptop) -> None:
    assert mine.do(Goal.RUNNING) is None
    assert mine.do(Goal.PARKED) is None
    [image] = mine.things("image")
    desk = mine.store.desk("blue")
    mine.store.put(replace(desk, offers=(offer("g5g.xlarge", arch="arm64"),)))
    [found] = examine(mine)
    assert f"{HOME}/{image['id']}" in found.what
    assert "x86_64" in found.why
    mine.store.put(desk)
    from hotdesk.providers.aws import doctor

    said: Any = {"BlockDeviceMappings": [{"Ebs": {"SnapshotId": image["snapshots"][0]}}], "EnaSupport": True}
    account = mine.aws.account
    for change, words in (
        ({"EnaSupport": False}, "ENA"),
        ({"Architecture": "i386"}, "i386"),
        ({"VirtualizationType": "paravirtual"}, "paravirtual"),
        ({"BlockDeviceMappings": []}, "no snapshot"),
        ({"BlockDeviceMappings": [{"Ebs": {"SnapshotId": "snap-0aaaaaaaaaaaaaaaa"}}]}, "is gone"),
    ):
        assert words in doctor._unbootable(account, HOME, said | {"Architecture": "x86_64"} | change, None)
    assert doctor._unbootable(account, HOME, said | {"Architecture": "x86_64"}, None) == ""


def test_a_base_image_that_is_gone(mine: Laptop) -> None:
    mine.want("blue", Goal.PARKED)
    desk = mine.store.desk("blue")
    mine.store.put(replace(desk, want=replace(desk.want, image="ami-0123456789abcdef0")))
    [found] = examine(mine)
    assert (found.level, "ami-0123456789abcdef0" in found.what) == ("note", True)


def test_the_doctor_asks_with_the_very_requests_of_a_launch(
    mine: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What EC2 refuses of a launch, a dry run of other words never shows: here, an apostrophe."""
    from hotdesk.providers.aws import network

    mine.want("blue", Goal.RUNNING)
    assert examine(mine) == []
    monkeypatch.setattr(network, "group_request", _with_an_apostrophe(network.group_request))
    found = examine(mine)
    assert {f.what for f in found} == {f"A launch in {HOME} would be refused."}
    assert "InvalidParameterValue" in found[0].why
    asked = mine.do(Goal.RUNNING)
    assert asked is not None
    assert "InvalidParameterValue" in asked.why


def _with_an_apostrophe(request: Any) -> Any:
    return lambda *words, **more: {**request(*words, **more), "Description": "the desks' owners"}


@pytest.mark.parametrize("action", ["RunInstances", "CreateSecurityGroup", "ImportKeyPair"])
def test_the_dry_run_of_a_launch_differs_from_it_by_what_is_not_made_yet_only(
    mine: Laptop, action: str
) -> None:
    mine.want("blue", Goal.RUNNING)
    examine(mine)
    dry = [_fixed(call["params"]) for call in mine.fake.get("log", action=action)]
    assert all(asked.pop("DryRun") == "true" for asked in dry)
    assert mine.do(Goal.RUNNING) is None
    real = [_fixed(call["params"]) for call in mine.fake.get("log", action=action)[len(dry) :]]
    # Doctor asks side by side about two groups, of which this launch needs one: their order is no promise.
    assert real
    assert [told for told in real if told not in dry] == []


def _fixed(params: dict[str, str]) -> dict[str, str]:
    """A request without what a launch makes or draws anew: its group, its key and its token."""
    drawn = ("ClientToken", "KeyName", "PublicKeyMaterial", "UserData", "SecurityGroupId", "GroupId")
    fixed = {}
    for key, value in params.items():
        if key.endswith(".Key") and "Tag." in key:
            fixed[f"{key.partition('.Tag.')[0]}: {value}"] = params.get(key.removesuffix("Key") + "Value", "")
        elif ".Tag." not in key and key.split(".")[0] not in drawn and ".SecurityGroupId." not in key:
            fixed[key] = value
    return {k: v for k, v in fixed.items() if not v.startswith("hotdesk-blue-")}


def test_an_image_that_is_hidden_and_a_free_plan_are_said_before_a_launch(mine: Laptop) -> None:
    mine.want("blue", Goal.RUNNING)
    mine.fake.post("account", free_plan=True)
    [found] = examine(mine)
    assert "Free plan" in found.why
    assert "upgrade the plan" in found.fix
    mine.fake.post("account", free_plan=False)
    mine.fake.client("ec2", HOME).enable_allowed_images_settings(AllowedImagesSettingsState="enabled")
    [found] = examine(mine)
    assert "Allowed AMIs" in found.why
