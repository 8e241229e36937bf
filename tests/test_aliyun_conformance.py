"""What every provider must do, done by Alibaba Cloud's against the fake ECS over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.aliyun_desk import CREDENTIALS, Rig, unknown_to_the_official_models, with_a_network
from tests.conformance import Conformance
from tests.fake_ecs.server import FakeEcs


@pytest.fixture(scope="module")
def served() -> Iterator[FakeEcs]:
    with FakeEcs() as fake:
        yield fake


class TestAliyun(Conformance):
    @pytest.fixture
    def rig(self, served: FakeEcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
        pytest.importorskip("alibabacloud_ecs20140526", reason="the official clients are not installed")
        for key, value in CREDENTIALS.items():
            monkeypatch.setenv(key, value)
        served.reset()
        with_a_network(served)
        yield Rig(served, tmp_path)
        assert not unknown_to_the_official_models(served)
        assert not [e for e in served.world.log if "crash" in e]
