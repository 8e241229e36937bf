"""One fake for a module of tests, as new for each of them, with a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_ec2.checks import Cloud, standing_still
from tests.fake_ec2.process import FakeEc2


@pytest.fixture(scope="module")
def server() -> Iterator[FakeEc2]:
    with FakeEc2(seed=11, pace=1) as running:
        yield running


@pytest.fixture
def cloud(server: FakeEc2, tmp_path: Path) -> Cloud:
    return standing_still(server, tmp_path)


@pytest.fixture
def fake(cloud: Cloud, server: FakeEc2) -> FakeEc2:
    return server
