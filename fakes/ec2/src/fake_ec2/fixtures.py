"""The fake as new for each test, at the real cloud's pace, with a clock that stands still."""

from __future__ import annotations

from pathlib import Path

import pytest

from fake_ec2.checks import Cloud, standing_still
from fake_ec2.process import FakeEc2


@pytest.fixture
def cloud(server: FakeEc2, tmp_path: Path) -> Cloud:
    return standing_still(server, tmp_path)


@pytest.fixture
def fake(cloud: Cloud, server: FakeEc2) -> FakeEc2:
    return server
