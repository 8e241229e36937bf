"""Everything that this computer knew is gone; the desk is not, and work goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.conftest import Command
from tests.local_rig import tool

pytestmark = tool("ssh")


def forget(state: Path, *, keys: bool) -> None:
    for file in state.glob("hotdesk.db*"):
        file.unlink()
    shutil.rmtree(state / "locks", ignore_errors=True)
    if keys:
        shutil.rmtree(state / "desks")


def test_going_on_without_rows_journal_and_keys(hotdesk: Command, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert hotdesk("up", "blue").returncode == 0
    assert hotdesk("ssh", "blue", "--", "echo precious > work.txt").returncode == 0

    forget(state, keys=False)
    assert "belongs to no desk on this computer" in hotdesk("doctor").stdout
    adopted = hotdesk("doctor", "--adopt")
    assert "blue is known here again" in adopted.stderr
    assert hotdesk("up", "blue").returncode == 0
    assert hotdesk("ssh", "blue", "--", "cat work.txt").stdout == "precious\n"

    forget(state, keys=True)
    found = hotdesk("doctor", "--adopt", "--json")
    assert found.returncode == 5
    [bad] = [f for f in json.loads(found.stdout) if f["level"] == "bad"]
    assert "private key" in bad["what"]
    for line in bad["fix"].split(" && "):  # what it says to paste
        # Without its key it cannot be asked what works there, and there is nobody to ask.
        done = hotdesk(*line.split()[1:], *(["--yes"] if " park " in line else []))
        assert done.returncode == 0, done.stderr
    assert hotdesk("ssh", "blue", "--", "cat work.txt").stdout == "precious\n"
    assert [f for f in json.loads(hotdesk("doctor", "--json").stdout) if f["level"] == "bad"] == []


def test_a_parked_desk_comes_back_without_anything(hotdesk: Command, tmp_path: Path) -> None:
    assert hotdesk("up", "blue").returncode == 0
    assert hotdesk("ssh", "blue", "--", "echo precious > work.txt").returncode == 0
    assert hotdesk("park", "blue").returncode == 0
    forget(tmp_path / "state", keys=True)
    hotdesk("doctor", "--adopt")
    assert hotdesk("resume", "blue").returncode == 0
    assert hotdesk("ssh", "blue", "--", "cat work.txt").stdout == "precious\n"
