"""A sweep on this computer with real desks and real Ray: its machine and its driver are killed."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hotdesk.providers.local.paths import Folders
from hotdesk.providers.local.runtime import locks
from tests.conftest import Command
from tests.local_rig import tool, wait_for

#: One Ray at a time: a node gives up after 30 s, and two that start at once on two cores take longer.
pytestmark = [tool("ssh"), tool("rsync"), tool("git"), pytest.mark.xdist_group("ray")]
SECONDS = 400.0  # a limit for a busy computer, not an expectation: Ray takes a minute there to start

#: Logistic regression by gradient descent, which prints its loss; the ledger knows each run that ended.
TRAIN = """
import json, math, os, random, sys, time
rate, seed = float(sys.argv[1]), int(sys.argv[2])
def note(word):
    with open(os.environ["LEDGER"], "a") as file:
        file.write(f"{os.environ['HOTDESK_TASK_NUMBER']} {word}\\n")
note("began")
dice = random.Random(seed)
points = [(dice.gauss(0, 1), dice.gauss(0, 1)) for _ in range(200)]
data = [(x, y, 1 if 2 * x - y > 0 else 0) for x, y in points]
a = b = 0.0
for epoch in range(20):
    for x, y, label in data:
        p = 1 / (1 + math.exp(-(a * x + b * y)))
        a, b = a + rate * (label - p) * x, b + rate * (label - p) * y
    time.sleep(0.1)
loss = -sum(math.log(1e-9 + (p if l else 1 - p))
            for x, y, l in data for p in [1 / (1 + math.exp(-(a * x + b * y)))]) / len(data)
open("model.json", "w").write(json.dumps([a, b]))
print(json.dumps({"loss": loss}))
note("ended")
"""


def until(what: Callable[[], Any]) -> Any:
    return wait_for(what, SECONDS, pause=1.0)


def test_a_sweep_outlives_its_machine_and_its_driver(hotdesk: Command, home: Path, tmp_path: Path) -> None:
    """1. Twenty settings are trained. 2. The head's machine is killed. 3. So is the driver. 4. All end."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'hotdesk[sweep]'")
    state = Path(os.environ["HOTDESK_STATE"])
    project, ledger = home / "project", tmp_path / "ledger"
    project.mkdir()
    (project / "train.py").write_text(TRAIN)
    os.chdir(project)
    assert hotdesk("up", "blue").returncode == 0
    words = [
        "start",
        "blue",
        "--param",
        "rate=0.01..0.04..0.01",
        "--param",
        "seed=1..5",
        "--pull",
        "model.json",
    ]
    words += ["--env", f"LEDGER={ledger}", "--detach", "--", "python", "train.py", "{rate}", "{seed}"]
    planned = hotdesk("sweep", *words[:1], "--dry-run", *words[1:])
    assert planned.returncode == 0, planned.stderr
    assert "from the image of blue, which is parked for it: that is asked first" in planned.stdout
    refused = hotdesk("sweep", *words)
    assert refused.returncode == 5
    assert "blue is not parked" in refused.stderr
    assert hotdesk("park", "blue").returncode == 0
    begun = hotdesk("sweep", *words)
    assert begun.returncode == 0, begun.stderr

    def now() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(hotdesk("sweep", "show", "--json").stdout)
        return found

    until(lambda: now()["done"] >= 3)
    [machine] = (Folders.of(state).machines).glob("*sweep1-1*")
    supervisor = locks.worker_pid(machine / "run.lock")
    assert supervisor
    os.kill(supervisor, signal.SIGKILL)
    driver = int((state / "locks" / "@sweep-1").read_text().split()[0])
    os.kill(driver, signal.SIGKILL)

    last = until(lambda: (told := now())["over_at"] and told)
    assert (last["state"], last["done"], last["failed"]) == ("done", 20, 0), last
    ran = Counter(tuple(line.split()) for line in ledger.read_text().splitlines())
    ended = {task: count for (task, word), count in ran.items() if word == "ended"}
    assert len(ended) == 20
    assert max(ended.values()) == 1, "no success is repeated"

    rows = list(csv.DictReader(io.StringIO(hotdesk("sweep", "results").stdout)))
    assert [(r["task"], r["rate"], r["seed"]) for r in rows[:2]] == [("1", "0.01", "1"), ("2", "0.01", "2")]
    assert all(0 < float(r["loss"]) < 0.7 for r in rows)
    assert hotdesk("sweep", "results", "--to", "got").returncode == 0
    assert len(list((project / "got").glob("0000*/model.json"))) == 20
    assert json.loads(hotdesk("sweep", "logs", "20", "--json").stdout)["text"].startswith('{"loss"')
    assert [desk["name"] for desk in json.loads(hotdesk("ls", "--json").stdout)] == ["blue"], (
        "no machine is left"
    )
