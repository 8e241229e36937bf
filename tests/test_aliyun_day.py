"""A whole day on Alibaba Cloud through the command line, which the official models read along.

ssh, rsync, jobs and Ray are real, on light machines behind the fake ECS.
"""

from __future__ import annotations

import csv
import http.cookiejar
import io
import json
import re
import shutil
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'hotdesk[sweep]'")
pytest.importorskip("starlette", reason="the extra web is not installed")
pytest.importorskip("alibabacloud_ecs20140526", reason="the official clients are not installed")

from tests.aliyun_cli import NEEDED, Ask, ask, cloud, lit, well
from tests.aliyun_desk import paid, unknown_to_the_official_models
from tests.fake_ecs.server import FakeEcs
from tests.local_rig import tool, wait_for
from tests.web_rig import web

assert all((ask, cloud, lit))
pytestmark = [
    *NEEDED,
    pytest.mark.long,
    tool("rsync"),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler: machines would share their ports"),
]
SECONDS = 400.0  # a limit for a busy computer: Ray takes a minute there to start
TASK = """
import json, sys
print(json.dumps({"square": int(sys.argv[1]) ** 2}))
"""


def seen_in_the_page(path: str) -> Any:
    """What `hotdesk web` answers to a browser that came by its link."""
    with web() as served:
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        browser = urllib.request.build_opener(jar)
        assert browser.open(served.link, timeout=60).status == 200
        return json.load(browser.open(f"{served.place}/api/{path}", timeout=60))


def swept(ask: Ask) -> dict[str, Any]:
    def over() -> dict[str, Any] | None:
        found: dict[str, Any] = json.loads(well(ask("sweep", "show", "--json")).stdout)
        return found if found["state"] in {"done", "failed", "stopped", "cancelled"} else None

    row: dict[str, Any] = wait_for(over, SECONDS, pause=0.5)
    return row


def test_a_whole_day(cloud: FakeEcs, ask: Ask, home: Path, tmp_path: Path) -> None:
    """1. Up, Jupyter and a job. 2. Away and back, with the work. 3. Other hardware. 4. A sweep of its image.
    5. The page, the bill, the check-up. 6. All of it away, and nothing is paid any more."""
    with (tmp_path / "hotdesk.toml").open("a") as settings:
        settings.write("[money]\ncny_per_usd = 7.0\nday = 2026-11-30\n")
    project = home / "project"
    project.mkdir()
    (project / "train.sh").write_text("echo trained > out.txt\n")
    (project / "task.py").write_text(TASK)

    def at(*words: str) -> str:
        return well(ask(*words, cwd=str(project), timeout=300)).stdout

    def answers(*words: str) -> str:
        """Its ssh server let us in with the pinned key, and Jupyter's own answer came through it."""
        done = well(ask(*words, timeout=300))
        assert "✓ logging in — a desk is up once a login works and Jupyter answers" in done.stderr
        return done.stdout

    assert "9.53 CNY/h" in answers("up", "blue", "--gpu", "A10", "--market", "on-demand")
    at("run", "blue", "--then", "stay", "--", "sh train.sh")
    assert "trained" in at("ssh", "blue", "--", "cat $(find . -name out.txt)")

    at("park", "blue")
    assert paid(cloud) == {"snapshot": 1}
    answers("resume", "blue")
    assert "trained" in at("ssh", "blue", "--", "cat $(find . -name out.txt)")

    answers("move", "blue", "--gpu", "T4", "--market", "on-demand", "--yes")
    assert "11.63 CNY" in at("ls")
    assert "trained" in at("ssh", "blue", "--", "cat $(find . -name out.txt)")

    at("park", "blue")
    with cloud.world.lock:  # its machines are released at a time of the cloud's, which is put off by ours
        cloud.world.clock.run_at(4.0)
    at("sweep", "start", "blue", "--param", "n=1..4", "--machines", "2", "--detach", "--yes",
       "--", "python3", "task.py", "{n}")  # fmt: skip
    row = swept(ask)
    assert (row["state"], row["done"], row["failed"]) == ("done", 4, 0), row["stopped"]
    table = csv.DictReader(io.StringIO(at("sweep", "results")))
    assert {int(r["n"]): int(r["square"]) for r in table} == {n: n * n for n in range(1, 5)}
    assert paid(cloud) == {"snapshot": 1}, "its machines are gone"

    assert re.search(r"4 of 4 .* CNY \(\$[\d.]+\) so far", at("sweep", "show")), "as its cloud tells prices"

    [line, *_] = seen_in_the_page("costs")["answer"]["lines"]
    assert line["desk"] == "blue"
    assert re.search(r"blue +0\.\d", at("costs")), "in dollars: there is a rate"
    left = [line for line in at("gc").splitlines() if line.startswith("✗")]
    assert left
    assert all("it costs nothing" in line for line in left), "the network, which no machine uses now"
    at("gc", "--yes")
    assert "Nothing is left over." in at("gc")
    at("down", "blue", "--yes")
    assert paid(cloud) == {}
    assert json.loads(at("ls", "--json")) == []
    done = Counter(entry["action"] for entry in cloud.world.log)
    assert done["RunInstances"] >= 4
    assert not [entry for entry in cloud.world.log if "crash" in entry]
    assert not unknown_to_the_official_models(cloud)
