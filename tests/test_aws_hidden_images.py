"""Images that somebody has disabled, that Allowed AMIs hides, or that the Recycle Bin keeps and bills."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fake_ec2.process import FakeEc2
from hotdesk.core.errors import Refused
from hotdesk.core.model import Goal, Phase
from tests.aws_desk import HOME, Laptop, offer

pytest.importorskip("moto", reason="moto is not installed")


@pytest.fixture
def ec2(fake: FakeEc2) -> Any:
    return fake.client("ec2", HOME)


@pytest.fixture
def mine(fake: FakeEc2, tmp_path: Path) -> Iterator[Laptop]:
    laptop = Laptop(fake, tmp_path)
    yield laptop
    laptop.store.close()


# ---- disabled ----------------------------------------------------------------------------------------


@pytest.fixture
def parked(mine: Laptop, ec2: Any) -> str:
    """A desk whose only image somebody has disabled; its id."""
    assert mine.do(Goal.RUNNING) is None
    mine.work("monday")
    assert mine.do(Goal.PARKED) is None
    [image] = ec2.describe_images(Owners=["self"])["Images"]
    ec2.disable_image(ImageId=image["ImageId"])
    return str(image["ImageId"])


def test_ec2_shows_a_disabled_image_only_when_asked(parked: str, ec2: Any) -> None:
    assert ec2.describe_images(Owners=["self"])["Images"] == []
    [image] = ec2.describe_images(Owners=["self"], IncludeDisabled=True)["Images"]
    assert (image["ImageId"], image["State"]) == (parked, "disabled")


def test_a_disabled_image_is_kept_and_whoever_wants_it_is_told_what_enables_it(
    parked: str, mine: Laptop, ec2: Any
) -> None:
    [image] = mine.aws.survey().images
    assert (image.phase, image.verified) == (Phase.READY, True)
    asked = mine.do(Goal.RUNNING)
    assert asked is not None
    assert f"has disabled the image {parked}" in asked.why
    assert asked.fix.startswith(f"aws ec2 enable-image --region {HOME} --image-id {parked}")
    assert mine.things("instance") == []
    assert [t["state"] for t in mine.things("image")] == ["disabled"]
    [found] = [f for f in mine.aws.examine(mine.store.desks(), [], mine.aws.survey()) if "disabled" in f.why]
    assert found.fix == asked.fix
    ec2.enable_image(ImageId=parked)
    assert mine.do(Goal.RUNNING) is None
    assert mine.do(Goal.PARKED) is None


def test_a_disabled_image_is_not_copied_and_it_is_said_why(parked: str, mine: Laptop) -> None:
    with pytest.raises(Refused, match="disabled"):
        mine.aws.copy(f"{HOME}/{parked}", HOME, "hotdesk-copy")


def test_a_desk_with_a_disabled_image_can_be_deleted(parked: str, mine: Laptop) -> None:
    assert mine.do(Goal.GONE) is None


# ---- Allowed AMIs ------------------------------------------------------------------------------------


def allow(ec2: Any, *owners: str) -> None:
    ec2.replace_image_criteria_in_allowed_images_settings(ImageCriteria=[{"ImageProviders": list(owners)}])
    ec2.enable_allowed_images_settings(AllowedImagesSettingsState="enabled")


def test_an_image_that_allowed_amis_hides_is_said_to_be_hidden(mine: Laptop, ec2: Any) -> None:
    allow(ec2, "aws-backup-vault")
    asked = mine.do(Goal.RUNNING)
    assert asked is not None
    assert "Allowed AMIs" in asked.why
    assert asked.fix.startswith(f"aws ec2 get-allowed-images-settings --region {HOME}")
    assert "amazon" in asked.fix
    assert mine.things("instance") == []
    allow(ec2, "amazon")
    assert mine.do(Goal.RUNNING) is None


def test_the_desks_own_image_is_always_allowed(mine: Laptop, ec2: Any) -> None:
    assert mine.do(Goal.RUNNING) is None
    assert mine.do(Goal.PARKED) is None
    allow(ec2, "aws-backup-vault")
    assert mine.do(Goal.RUNNING, (offer("g5.xlarge", gpu="A10G"),)) is None


def test_an_image_that_does_not_exist_is_still_said_not_to(mine: Laptop, fake: FakeEc2) -> None:
    fake.post("refuse", action="GetAllowedImagesSettings", code="UnauthorizedOperation", times=None)
    from hotdesk.providers.aws.base_images import describe

    with pytest.raises(Refused, match="no image ami-0123456789abcdef0"):
        describe(mine.aws.account, HOME, "ami-0123456789abcdef0")


# ---- the Recycle Bin ---------------------------------------------------------------------------------


def gone(mine: Laptop) -> list[str]:
    assert mine.do(Goal.RUNNING) is None
    assert mine.do(Goal.PARKED) is None
    had = [s.id for s in mine.store.sighted("blue")]
    assert mine.do(Goal.GONE) is None
    return had


def test_what_a_retention_rule_keeps_is_billed_and_named(mine: Laptop, fake: FakeEc2) -> None:
    fake.post("recycle", region=HOME, days=7)
    had = gone(mine)
    assert fake.get("costs")["usd_per_hour"] > 0, "the bin is billed"
    for everywhere in (False, True):
        kept, dark = mine.aws.retained(had, everywhere=everywhere)
        assert dark == []
        assert {"image", "snapshot"} <= {r.kind for r in kept}
        assert all(r.until > mine.time.now() + 6 * 86400 for r in kept)
    assert mine.aws.retained([], everywhere=False) == ([], [])
    fake.post("clock", advance=8 * 86400)
    assert mine.aws.retained(had, everywhere=True) == ([], [])
    assert fake.get("costs")["usd_per_hour"] == 0


def test_only_snapshots_are_kept_and_found_by_the_image_that_they_were_taken_for(
    mine: Laptop, fake: FakeEc2
) -> None:
    fake.post("recycle", region=HOME, days=7, kinds=["snapshot"])
    kept, _ = mine.aws.retained(gone(mine), everywhere=False)
    assert [r.kind for r in kept] == ["snapshot"]


def test_other_peoples_things_in_the_bin_are_not_ours(mine: Laptop, fake: FakeEc2, ec2: Any) -> None:
    fake.post("recycle", region=HOME, days=7)
    zone = f"{HOME}a"
    volume = ec2.create_volume(AvailabilityZone=zone, Size=1)["VolumeId"]
    fake.post("clock", advance=60)
    snapshot = ec2.create_snapshot(VolumeId=volume, Description="somebody's")["SnapshotId"]
    fake.post("clock", advance=600)
    ec2.delete_snapshot(SnapshotId=snapshot)
    assert ec2.list_snapshots_in_recycle_bin()["Snapshots"][0]["SnapshotId"] == snapshot
    assert mine.aws.retained([], everywhere=True) == ([], [])


@pytest.mark.parametrize("rule", ["kept", "denied", "none"])
def test_down_never_says_that_nothing_is_left_where_it_is_billed(
    mine: Laptop, fake: FakeEc2, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hotdesk.api import Hotdesk
    from hotdesk.cli.commands.down import command
    from hotdesk.config import Config

    if rule == "kept":
        fake.post("recycle", region=HOME, days=7)
    if rule == "denied":
        fake.post("refuse", action="List*InRecycleBin", code="UnauthorizedOperation", times=None)
    assert mine.do(Goal.RUNNING) is None
    assert mine.do(Goal.PARKED) is None
    desks = Hotdesk(mine.folder, config=Config(), clock=mine.time)
    desks.services.clouds._providers["aws"] = mine.aws
    monkeypatch.setattr("hotdesk.cli.ui.options.open_desks", lambda live: desks)
    said = CliRunner().invoke(command, ["blue", "--yes"], catch_exceptions=False)
    assert said.exit_code == 0
    assert ("nothing is left of it" in said.output) == (rule == "none")
    assert ("keeps 1 image and 1 snapshot" in said.output) == (rule == "kept")
    assert ("is not known" in said.output) == (rule == "denied")
