"""Sweeps and clusters on Alibaba Cloud: the fake ECS with light machines; ssh, Ray and the tasks are real."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.aliyun_cli import NEEDED, Ask, ask, cloud, light, well
from tests.aliyun_desk import paid
from tests.fake_ecs import life
from tests.fake_ecs.server import FakeEcs
from tests.local_rig import tool, wait_for
from tests.test_cluster import GANG
from tests.test_sweep_checkpoints import STEPS

pytest.importorskip("ray", reason="Ray is not installed: pip install 'hotdesk[sweep]'")
pytestmark = [
    *NEEDED,
    pytest.mark.long,
    tool("rsync"),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler: machines would share their ports"),
]
assert all((ask, cloud))
SECONDS = 500.0  # a limit for a busy computer, not an expectation: Ray takes a minute there to start
RATE = 6.0  # a sweep's machines are released two hours after their lease was last told: here after 20 minutes


@pytest.fixture(scope="module")
def lit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeEcs]:
    yield from light(RATE, tmp_path_factory.mktemp("light"))


@pytest.fixture
def project(home: Path) -> str:
    (home / "project").mkdir()
    (home / "project" / "train.py").write_text(STEPS)
    (home / "project" / "gang.py").write_text(GANG)
    return str(home / "project")


def machines(cloud: FakeEcs) -> list[Any]:
    with cloud.world.lock:
        return list(cloud.world.every("instance"))


def test_a_sweep_whose_worker_is_taken_and_a_cluster(
    cloud: FakeEcs, ask: Ask, project: str, tmp_path: Path
) -> None:
    """1. Two machines hold four tasks. 2. The spot machine goes. 3. Its tasks go on from what they saved.
    4. A cluster runs a gang, whose second machine goes. 5. Nothing is left."""
    go = tmp_path / "go"
    well(ask("up", "blue", "--type", "ecs.g7.xlarge", "--market", "on-demand"))
    well(ask("park", "blue", timeout=SECONDS))
    words = [
        "--machines",
        "2",
        "--cpus",
        "2",
        "--param",
        "n=1..4",
        "--checkpoint",
        "ckpt",
        "--env",
        f"GO={go}",
    ]
    start = ("sweep", "start", "blue", *words)
    planned = well(ask(*start, "--dry-run", "--", "python3", "train.py", "{n}", cwd=project)).stdout
    assert "ecs.g7.xlarge" in planned
    well(ask(*start, "--detach", "--", "python3", "train.py", "{n}", cwd=project))

    def shown() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(ask("sweep", "show", "--json").stdout)
        return found

    def saved() -> list[Any]:
        return [task for task in shown()["each"] if (task["checkpoint"] or {}).get("attempt")]

    wait_for(lambda: len(saved()) == 4, SECONDS, pause=1.0)
    assert sorted(m.strategy for m in machines(cloud)) == ["NoSpot", "SpotAsPriceGo"]
    [taken] = [m for m in machines(cloud) if m.strategy != "NoSpot"]
    with cloud.world.lock:
        life.end(cloud.world, taken)
    wait_for(lambda: sum(task["lost"] for task in shown()["each"]) >= 2, SECONDS, pause=1.0)
    for number in range(1, 5):
        Path(f"{go}{number}").touch()
    row = wait_for(lambda: (found := shown())["over_at"] and found, SECONDS, pause=1.0)
    assert (row["state"], row["done"], row["failed"]) == ("done", 4, 0), row
    for task in row["each"]:
        said = ask("sweep", "logs", str(task["task"])).stdout.splitlines()
        began = [line for line in said if line.startswith("from step ")]
        assert (task["metrics"]["sum"], began[-1]) == (140, f"from step {5 if task['lost'] else 0}"), said
    assert paid(cloud) == {"snapshot": 1}, "no machine is left"

    well(ask("cluster", "up", "blue", "--machines", "2", "--detach"))

    def cluster() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(ask("cluster", "show", "blue", "--json").stdout)
        return found

    wait_for(lambda: [m["state"] for m in cluster()["machines"]] == ["up"] * 2, SECONDS, pause=1.0)
    run = (
        "cluster",
        "run",
        "blue",
        "--every",
        "--checkpoint",
        "ckpt",
        "--detach",
        "--",
        "python3",
        "gang.py",
    )
    well(ask(*run, cwd=project))
    wait_for(lambda: '"round": 4' in ask("cluster", "logs", "blue").stdout, SECONDS, pause=1.0)
    [taken] = [m for m in machines(cloud) if m.strategy != "NoSpot"]
    with cloud.world.lock:
        life.end(cloud.world, taken)
    last = wait_for(
        lambda: (found := cluster()["runs"][0])["state"] in {"done", "failed"} and found, SECONDS, pause=1.0
    )
    assert (last["state"], last["attempts"], last["lost"]) == ("done", 2, 1), last
    began = [line for line in ask("cluster", "logs", "blue").stdout.splitlines() if "from round" in line]
    assert int(began[-1].rpartition(" ")[2]) >= 4, "from the checkpoint"
    well(ask("cluster", "down", "blue", timeout=SECONDS))
    assert paid(cloud) == {"snapshot": 1}
