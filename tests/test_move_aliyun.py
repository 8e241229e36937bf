"""A desk goes from this computer to Alibaba Cloud's fake and home again, with every file."""

from __future__ import annotations

import pytest

from tests.aliyun_cli import NEEDED, Ask, ask, cloud, lit, well
from tests.aliyun_desk import paid
from tests.fake_ecs.server import FakeEcs
from tests.local_rig import tool
from tests.test_move_clouds import LOOK, TREE

pytestmark = [*NEEDED, tool("rsync"), pytest.mark.long]
assert all((ask, cloud, lit))


def test_there_and_back_with_every_file(cloud: FakeEcs, ask: Ask) -> None:
    """To the cloud, where it changes, and home without leaving an image behind."""
    well(ask("up", "blue", "--provider", "local", timeout=300))
    well(ask("ssh", "blue", "--", TREE))
    before = well(ask("ssh", "blue", "--", LOOK)).stdout
    to_cloud = ("move", "blue", "--provider", "aliyun", "--gpu", "A10", "--market", "on-demand", "--yes")
    moved = well(ask(*to_cloud, timeout=300))
    assert "traffic" not in moved.stderr, "what leaves this computer costs nothing"
    assert well(ask("ssh", "blue", "--", LOOK)).stdout == before
    well(ask("ssh", "blue", "--", "echo new > fresh.txt"))
    home = well(ask("move", "blue", "--provider", "local", "--keep-old", "0", "--yes", timeout=300))
    assert "what Alibaba Cloud takes for traffic is not known here" in home.stderr
    assert well(ask("ssh", "blue", "--", "cat fresh.txt")).stdout == "new\n"
    assert paid(cloud) == {}
    well(ask("down", "blue", "--yes"))
