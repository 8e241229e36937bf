"""[aws] profile of hotdesk.toml decides whose account `offers` and `spot` ask."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from fake_ec2.process import FakeEc2
from tests import forked
from tests.market_server import Server

pytest.importorskip("moto", reason="moto is not installed")
pytest.importorskip("numpy", reason="price histories need numpy")
pytestmark = pytest.mark.slow
NO_RIGHTS, RIGHTS = "AKIANORIGHTSNORIGHTS", "AKIARIGHTSRIGHTSRIGH"


def credentials(name: str, key: str) -> str:
    return f"[{name}]\naws_access_key_id = {key}\naws_secret_access_key = fake\n"


@pytest.mark.parametrize(("profile", "other", "allowed"), [("work", "none", True), ("none", "work", False)])
def test_offers_and_spot_ask_the_profile_of_the_settings(
    tmp_path: Path, fake_ec2: FakeEc2, profile: str, other: str, allowed: bool
) -> None:
    """Two profiles, of which one has no rights; the default is whichever is not named."""
    fake_ec2.post("reset", seed=3)
    fake_ec2.post("refuse", access_key=NO_RIGHTS, code="UnauthorizedOperation", status=403, times=None)
    keys = {"work": RIGHTS, "none": NO_RIGHTS}
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(
        credentials("default", keys[other]) + "".join(credentials(*item) for item in keys.items())
    )
    settings = tmp_path / "hotdesk.toml"
    settings.write_text(f'[defaults]\nregions = ["us-west-2"]\n[aws]\nprofile = "{profile}"\n')
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "HOTDESK_"))}
    fakes = {k: v for k, v in fake_ec2.environment("us-west-2").items() if "ACCESS_KEY" not in k}
    own = {"HOME": str(tmp_path), "HOTDESK_STATE": str(tmp_path / "state"), "HOTDESK_CONFIG": str(settings)}

    def hotdesk(*words: str) -> subprocess.CompletedProcess[str]:
        env = {**clean, **fakes, **own, "HOTDESK_ADVISOR_URL": server.url, "NO_COLOR": "1"}
        return forked.run(words, env, cwd=str(tmp_path), timeout=300)

    with Server() as server:
        offers = hotdesk("offers", "g6.xlarge", "--region", "us-west-2", "--refresh", "--json")
        assert offers.returncode == 0, offers.stderr
        told = {row["source"] for row in json.loads(offers.stdout)}
        assert ("DescribeSpotPriceHistory" in told) is allowed, offers.stderr
        spot = hotdesk("spot", "g6.xlarge", "--region", "us-west-2", "--days", "3", "--json")
    if allowed:
        assert spot.returncode == 0, spot.stderr
        assert "your account" in json.loads(spot.stdout)["source"]
    else:
        assert "not authorized" in offers.stderr
        assert "your account (" not in spot.stdout
