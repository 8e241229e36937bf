"""A Ray Tune program of one's own on a cluster of this computer: real Ray and two machines."""

from __future__ import annotations

import json
import os
import shlex
import sysconfig
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.local_rig import tool

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("ray"), tool("ssh"), tool("rsync"), tool("git")]
TUNE = """
import json
import ray
from ray import tune

def train(config):
    at = ray.util.get_node_ip_address()
    for step in range(1, 6):
        tune.report({"loss": (config["lr"] - 0.03) ** 2 + 1 / step, "at": at})

settings = tune.TuneConfig(
    metric="loss", mode="min", max_concurrent_trials=2,
    scheduler=tune.schedulers.ASHAScheduler(grace_period=1, reduction_factor=2),
)
space = {"lr": tune.grid_search([0.01, 0.02, 0.03, 0.04, 0.05, 0.06])}
found = tune.Tuner(train, param_space=space, tune_config=settings).fit()
best = found.get_best_result("loss", "min", scope="all")
nodes = [node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]]
print("RESULT", json.dumps({
    "trials": len(found), "errors": found.num_errors, "lr": best.config["lr"], "nodes": sorted(nodes),
    "steps": sorted(result.metrics["training_iteration"] for result in found),
}))
"""


def test_a_tune_program_finds_its_best_trial_on_a_cluster(hotdesk: Command, home: Path) -> None:
    """Tune needs no change: it connects by its environment, and its scheduler stops trials early."""
    pytest.importorskip(
        "ray.tune", reason="ray.tune is not there: pip install 'ray[tune]'", exc_type=ImportError
    )
    project = home / "project"
    project.mkdir()
    (project / "tune.py").write_text(TUNE)
    os.chdir(project)
    assert hotdesk("up", "blue").returncode == 0
    # What `pip install "ray[tune]"` would bring to the desk is that of these tests.
    here = {"purelib": sysconfig.get_path("purelib"), "scripts": sysconfig.get_path("scripts")}
    shown = (
        "import os, pathlib, sysconfig as s; "
        f"pathlib.Path(s.get_path('purelib'), 'ray.pth').write_text({here['purelib']!r}); "
        f"os.symlink({here['scripts'] + '/ray'!r}, s.get_path('scripts') + '/ray')"
    )
    told = hotdesk("ssh", "blue", "--", shlex.join(["python", "-c", shown]))
    assert told.returncode == 0, told.stderr
    up = hotdesk("cluster", "up", "blue", "--machines", "2", "--yes")
    assert up.returncode == 0, up.stderr
    run = hotdesk("cluster", "run", "blue", "--retries", "0", "--", "python", "tune.py")
    said = run.stdout + hotdesk("cluster", "logs", "blue").stdout
    assert run.returncode == 0, run.stderr + said
    line = next(line for line in said.splitlines() if line.startswith("RESULT "))
    found = json.loads(line.removeprefix("RESULT "))
    assert (found["trials"], found["errors"], found["lr"]) == (6, 0, 0.03), found
    assert found["nodes"] == ["127.0.0.2", "127.0.0.3"], found
    assert found["steps"][0] < 5 == found["steps"][-1], "the scheduler stops what is worse"
    assert hotdesk("cluster", "down", "blue").returncode == 0
    assert [desk["name"] for desk in json.loads(hotdesk("ls", "--json").stdout)] == ["blue"]
