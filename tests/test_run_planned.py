"""`hotdesk run --plan`: the job goes to the machine that the plan answers, and nobody pays unasked."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_ec2.process import FakeEc2
from hotdesk import Hotdesk, PlanRequest
from hotdesk.core.errors import Usage
from tests.conftest import Command
from tests.local_rig import tool

pytestmark = [tool("ssh"), tool("rsync")]


@pytest.fixture
def project(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = home / "project"
    folder.mkdir()
    (folder / "train.py").write_text("print('trained')\nopen('out.txt', 'w').write('done')\n")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def no_watcher(hotdesk: Command) -> Iterator[None]:
    yield
    hotdesk("watch", "--stop")


@pytest.mark.usefixtures("no_watcher")
def test_the_planned_machine_is_opened_and_the_job_runs_there(hotdesk: Command, project: Path) -> None:
    """1. Nobody knows the job's size: nothing is opened. 2. It is said, with the machine it is meant for: the
    desk is opened there. 3. The second time both are known from the first."""
    words = ("--", sys.executable, "train.py")
    asked = hotdesk("run", "blue", "--plan", "knee", *words)
    assert (asked.returncode, "There is no desk blue" in asked.stderr) == (5, True), asked.stderr
    unknown = hotdesk("run", "blue", "--yes", "--plan", "knee", *words)
    assert unknown.returncode == 2
    assert "run time of this job is unknown" in unknown.stderr
    nowhere = hotdesk("run", "blue", "--yes", "--plan", "knee", "--work", "1", *words)
    assert "machine that this run time is about" in nowhere.stderr
    assert "blue" not in hotdesk("ls").stdout

    about = ("--job", "--took '1 min' --on local.cpu")
    given = (*about, "--then", "stay", "--pull", "out.txt")
    first = hotdesk("run", "blue", "--yes", "--plan", "knee", *given, *words)
    assert first.returncode == 0, first.stderr
    assert first.stdout == "trained\n", "only the job speaks on standard output"
    assert "→ cheapest and fastest and knee  local.cpu in local, free  1.2 min" in first.stderr
    assert "blue goes to local.cpu in local, free: the only plan; its speed: measured" in first.stderr
    assert (project / "out.txt").read_text() == "done"

    again = hotdesk("run", "blue", "--plan", "cheapest", "--then", "stay", *words)
    assert again.returncode == 0, again.stderr
    assert "Job 1 took" in again.stderr
    assert "on local.cpu" in again.stderr
    assert "blue is on local.cpu in local, free: the only plan" in again.stderr


@pytest.mark.usefixtures("no_watcher")
def test_python_runs_a_job_where_a_plan_says(project: Path) -> None:
    words = (sys.executable, "train.py")
    with Hotdesk() as desks:
        with pytest.raises(Usage, match="run time of this job is unknown"):
            desks.run("blue", words, plan="knee")
        about = PlanRequest(work_hours=1 / 60, reference="local.cpu")
        with pytest.raises(Usage, match="no answer of a plan"):
            desks.run("blue", words, plan="best", about=about)
        assert desks.ls() == [], "nothing was opened"
        job = desks.run("blue", words, plan="cheapest", about=about, pull=["out.txt"], then=None)
        assert job.result is not None
        assert (job.result.exit_status, job.work_seconds) == (0, 60.0)
        assert desks.show("blue").instance_type == "local.cpu"
    assert (project / "out.txt").read_text() == "done"


def test_what_belongs_to_a_plan_is_refused_without_one(hotdesk: Command, project: Path) -> None:
    assert project
    done = hotdesk("run", "blue", "--provider", "local", "--", "true")
    assert done.returncode == 2
    assert "belong to --plan" in done.stderr
    many = hotdesk(
        "run", "blue", "--yes", "--plan", "knee", "--job", "--took 1h --on V100 --machines 1,10", "--", "true"
    )
    assert many.returncode == 2
    assert "A desk is one machine" in many.stderr
    wrong = hotdesk("run", "blue", "--yes", "--plan", "knee", "--job", "--tok 1h", "--", "true")
    assert wrong.returncode == 2
    assert "--took" in wrong.stderr


# ---- a cloud -----------------------------------------------------------------------------------------


@pytest.fixture
def cloud(fake_ec2: FakeEc2) -> FakeEc2:
    fake_ec2.post("reset", seed=3)
    return fake_ec2


Run = subprocess.CompletedProcess[str]


def planned(hotdesk: Command, cloud: Any, answer: str, *words: str, about: str = "") -> Run:
    job = f"--took '48 h' --on V100 {about or '--region us-west-2'}"
    given = ("--provider", "aws", "--job", job, *words, "--", "python", "train.py")
    return hotdesk("run", "red", "--plan", answer, *given, **cloud.environment())


@pytest.mark.usefixtures("project")
def test_a_dry_run_shows_the_answer_and_the_launch(hotdesk: Command, cloud: Any) -> None:
    seen = {}
    for answer in ("cheapest", "fastest"):
        done = planned(hotdesk, cloud, answer, "--dry-run")
        assert done.returncode == 0, done.stderr
        taken = next(line for line in done.stderr.splitlines() if line.startswith("→"))
        assert answer in taken
        kind = taken.split("  ")[1].split()[0]
        assert f"1. launch {kind} in us-west-2" in done.stdout
        assert "Nothing was done" in done.stdout
        seen[answer] = kind
    assert seen["cheapest"] != seen["fastest"]


@pytest.mark.usefixtures("project")
def test_nobody_pays_unasked(hotdesk: Command, cloud: Any) -> None:
    Path("hotdesk.toml").write_text("[desks.red]\nusd_per_hour_max = 1000.0\n")  # its name is known
    done = planned(hotdesk, cloud, "fastest")
    assert done.returncode == 5
    assert "no terminal to ask at" in done.stderr
    assert "--yes" in done.stderr
    reserved = cloud.client("ec2", "us-west-2").describe_instances()["Reservations"]
    assert not reserved, "nothing was launched"


@pytest.mark.usefixtures("project")
def test_a_deadline_leaves_on_demand_as_the_way_out_and_an_impossible_budget_is_refused(
    hotdesk: Command, cloud: Any
) -> None:
    free, due = (
        planned(hotdesk, cloud, "cheapest", "--dry-run", *more) for more in ((), ("--deadline", "400"))
    )
    assert "spot" in due.stderr.splitlines()[1]
    assert "(on-demand, $" in due.stdout
    assert "(on-demand, $" not in free.stdout
    poor = planned(hotdesk, cloud, "fastest", "--dry-run", "--budget", "1")
    assert poor.returncode == 3
    assert "fix: --budget " in poor.stderr
    assert "--deadline" not in poor.stderr


@pytest.mark.usefixtures("project")
def test_what_is_dearer_now_than_was_known_is_planned_with_its_price_of_now(
    hotdesk: Command, cloud: Any
) -> None:
    for region in ("ap-northeast-1", "us-east-1", "eu-west-1"):
        done = planned(hotdesk, cloud, "cheapest", "--dry-run", about=f"--region {region}")
        assert done.returncode == 0, done.stderr
        said, launched = (
            float(re.search(r"\$([0-9.]+)/h", line)[1])  # type: ignore[index]
            for line in (
                next(line for line in done.stderr.splitlines() if line.startswith("→")),
                next(line for line in done.stdout.splitlines() if "1. launch" in line),
            )
        )
        assert launched <= said * 1.02
