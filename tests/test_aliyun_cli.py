"""A day at a desk on Alibaba Cloud, as typed: real ssh, and a cloud that only keeps its laws."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.aliyun_cli import NEEDED, Ask, ask, cloud, lit, well
from tests.aliyun_desk import paid, unknown_to_the_official_models
from tests.fake_ecs import life
from tests.fake_ecs.server import FakeEcs, wait_until

pytestmark = [*NEEDED, pytest.mark.slow]
assert all((ask, cloud, lit))


def test_a_day_as_typed(cloud: FakeEcs, ask: Ask) -> None:
    """Up, work, leave, come back to the work, stop without paying for the machine, and away with it all."""
    up = well(ask("up", "blue", "--gpu", "A10", "--market", "on-demand"))
    assert "blue is up: ecs.gn7i-c8g1.2xlarge in cn-hangzhou-i, A10, 9.53 CNY/h" in up.stdout
    assert "its machine goes on costing" in up.stderr, "there is no role with which it could stop itself"
    well(ask("ssh", "blue", "--", "echo all of it > work.txt"))
    assert "aliyun/cn-hangzhou-i" in well(ask("ls")).stdout
    parked = well(ask("park", "blue")).stdout
    assert " CNY/month, read back and whole" in parked
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


def test_a_world_that_begins_anew_has_nothing_of_the_one_before(cloud: FakeEcs, ask: Ask) -> None:
    """Its ids come again: a disk of that name would have yesterday's files, and yesterday's host key."""
    well(ask("up", "blue", "--type", "ecs.g7.xlarge", "--market", "on-demand"))
    well(ask("park", "blue"))
    well(ask("resume", "blue"))
    assert cloud.world.rig is not None
    machines = cloud.world.rig.machines
    [id_] = machines.running
    assert machines.console(id_)
    assert [path for path in machines.folder.iterdir() if path.is_dir()]
    cloud.reset()
    assert machines.console(id_) is None
    assert not [path for path in machines.folder.iterdir() if path.is_dir()]


def test_a_job_and_other_hardware_as_typed(cloud: FakeEcs, ask: Ask, home: Path) -> None:
    """A job runs there, the desk moves to another GPU with its work, and what it costs is told in CNY."""
    project = home / "project"
    project.mkdir()
    (project / "train.sh").write_text("echo trained > out.txt\n")
    well(ask("up", "blue", "--gpu", "A10", "--market", "on-demand"))
    well(ask("run", "blue", "--then", "stay", "--", "sh train.sh", cwd=str(project)))
    costs = well(ask("costs")).stdout
    assert "Besides" in costs
    assert "$" not in costs, "there is no rate"
    moved = well(ask("move", "blue", "--gpu", "T4", "--market", "on-demand", "--yes"))
    assert "does not end the charge" not in moved.stderr, "it was stopped by us"
    assert "11.63 CNY" in well(ask("ls")).stdout
    found = well(ask("ssh", "blue", "--", "cat $(find . -name out.txt)")).stdout
    assert found == "trained\n"
    assert "Nothing is left over." in well(ask("gc")).stdout
    assert '"ecs:RunInstances"' in well(ask("iam", "--provider", "aliyun")).stdout
    assert "no role with which" in ask("doctor").stdout
    well(ask("down", "blue", "--yes"))
    assert paid(cloud) == {}
    well(ask("gc", "--yes"))
    assert "Nothing is left over." in well(ask("gc")).stdout, "the network went after what was in it"


def test_an_interruption_as_typed(cloud: FakeEcs, ask: Ask) -> None:
    """A spot machine is taken back and its pool is sold out: the work is saved, and goes on on demand."""
    well(ask("up", "blue", "--gpu", "A10"))
    well(ask("ssh", "blue", "--", "echo monday > work.txt"))
    with cloud.world.lock:
        [machine] = cloud.world.every("instance")
        assert machine.strategy == "SpotAsPriceGo"
        cloud.world.sold_out = {("*", "*", "spot")}
        life.reclaim(cloud.world, machine)
        cloud.world.clock.advance(290.0)
    wait_until(lambda: machine.status == "Stopped")
    well(ask("up", "blue"))
    assert well(ask("ssh", "blue", "--", "cat work.txt")).stdout == "monday\n"
    [now] = cloud.world.every("instance")
    assert (now.id != machine.id, now.strategy) == (True, "NoSpot")


def test_a_watcher_elsewhere_is_lent_the_keys_that_it_needs(cloud: FakeEcs, ask: Ask) -> None:
    """It went off without any, and looked after nothing."""
    well(ask("up", "tower", "--gpu", "T4", "--market", "on-demand"))
    well(ask("up", "blue", "--gpu", "A10"))
    lacks = ask("watch", "--on", "tower", "--yes")
    assert lacks.returncode == 5, lacks.stderr
    assert "tower has no Alibaba Cloud credentials" in lacks.stderr
    sent = well(ask("watch", "--on", "tower", "--send-credentials", "--yes"))
    assert "It uses the Alibaba Cloud access key LTAIfake…, which was sent there" in sent.stdout
    with cloud.world.lock:
        [machine] = [one for one in cloud.world.every("instance") if one.strategy == "SpotAsPriceGo"]
        life.reclaim(cloud.world, machine)
    log = ("ssh", "tower", "--", "cat .hotdesk/watcher/state/watcher.log")
    wait_until(lambda: "✓ starting the machine" in ask(*log).stdout, 120.0)


@pytest.mark.long
def test_a_few_kills(tmp_path: Path) -> None:
    """`python -m tests.aliyun_storm` is as many as there is time for."""
    from tests.aliyun_storm import storm

    said: list[str] = []
    assert storm(kills=4, seed=5, folder=tmp_path, every=4, tell=said.append) >= 4, said
