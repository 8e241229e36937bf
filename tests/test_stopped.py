"""What Ctrl-C leaves behind, and what is said of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from hotdesk.cli.main import _goes_on
from hotdesk.core.model import Desk, Goal
from hotdesk.state.store import Store
from tests.conftest import Command
from tests.local_rig import tool

pytestmark = [tool("ssh")]


def interrupted(*words: str, at: str) -> tuple[int, str]:
    """A command that gets SIGINT when it has said `at`: its exit status, and what it said."""
    with subprocess.Popen(
        [sys.executable, "-m", "hotdesk", *words],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as command:
        assert command.stderr
        said = ""
        for line in command.stderr:
            said += line
            if at in line:
                command.send_signal(signal.SIGINT)
        return command.wait(60), said


def test_a_run_says_that_no_job_was_begun_and_a_goal_that_it_stands(hotdesk: Command, home: Path) -> None:
    """The desk of a stopped run is wanted running all the same: it may cost something."""
    project = home / "project"
    project.mkdir()
    (project / "train.py").touch()
    os.chdir(project)
    status, said = interrupted("run", "--yes", "blue", "--", "python", "train.py", at="✓ launching")
    assert status == 130
    assert "no job was begun. blue was wanted running and stays so; to leave it: hotdesk park blue" in said
    assert hotdesk("jobs", "--json").stdout.strip() == "[]"
    status, said = interrupted("up", "red", at="✓ launching")
    assert status == 130
    assert "Your request is saved: the same command, or `hotdesk watch`, continues it." in said


def test_only_a_goal_that_was_written_down_stands(home: Path, tmp_path: Path) -> None:
    assert home
    before = time.time()
    with Store(tmp_path / "state") as store:
        store.put(Desk(name="blue", goal=Goal.PARKED, since=before + 1, created_at=before))
    assert "Your request is saved" in _goes_on("park", before)
    assert _goes_on("park", before + 2) == " Nothing was done."
    assert "copies only what is missing" in _goes_on("push", before)
    assert _goes_on("ls", before) == ""
