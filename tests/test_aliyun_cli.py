"""A day at a desk on Alibaba Cloud, as typed: real ssh, and a cloud that only keeps its laws."""

from __future__ import annotations

import pytest

from tests.aliyun_cli import NEEDED, Ask, ask, cloud, lit, well
from tests.aliyun_desk import paid, unknown_to_the_official_models
from tests.fake_ecs.server import FakeEcs

pytestmark = [*NEEDED, pytest.mark.slow]
assert all((ask, cloud, lit))


def test_a_day_as_typed(cloud: FakeEcs, ask: Ask) -> None:
    """Up, work, leave, come back to the work, stop without paying for the machine, and away with it all."""
    said = well(ask("up", "blue", "--gpu", "A10", "--market", "on-demand")).stdout
    assert "blue is up: ecs.gn7i-c8g1.2xlarge in cn-hangzhou-i, A10" in said
    well(ask("ssh", "blue", "--", "echo all of it > work.txt"))
    assert "aliyun/cn-hangzhou-i" in well(ask("ls")).stdout
    well(ask("park", "blue"))
    assert paid(cloud) == {"snapshot": 1}
    well(ask("resume", "blue"))
    assert well(ask("ssh", "blue", "--", "cat work.txt")).stdout == "all of it\n"
    well(ask("stop", "blue"))
    assert paid(cloud) == {"off": 1, "disk": 1, "snapshot": 1}
    well(ask("start", "blue"))
    assert well(ask("ssh", "blue", "--", "cat work.txt")).stdout == "all of it\n"
    well(ask("down", "blue", "--yes"))
    assert paid(cloud) == {}
    pytest.importorskip("alibabacloud_ecs20140526", reason="the official clients are not installed")
    assert not unknown_to_the_official_models(cloud)
