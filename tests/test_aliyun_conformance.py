"""What every provider must do, done by Alibaba Cloud's against the fake ECS over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.aliyun_desk import Rig, as_new, unknown_to_the_official_models, with_a_network
from tests.conformance import Conformance
from tests.fake_ecs.server import FakeEcs


class TestAliyun(Conformance):
    @pytest.fixture
    def rig(self, ecs: FakeEcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
        pytest.importorskip("alibabacloud_ecs20140526", reason="the official clients are not installed")
        as_new(ecs, monkeypatch)
        with_a_network(ecs)
        yield Rig(ecs, tmp_path)
        assert not unknown_to_the_official_models(ecs)
        assert not [e for e in ecs.world.log if "crash" in e]
