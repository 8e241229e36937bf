"""A desk comes to a machine without the Python that its environment was made with."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.far_rig import far_machine, needs_sshd

pytestmark = [pytest.mark.tools("ssh"), pytest.mark.long]
SECONDS = 300.0  # a limit that only a hang reaches


@needs_sshd
def test_a_desk_of_another_python_is_there_with_its_files_and_says_so(
    hotdesk: Command, home: Path, tmp_path: Path
) -> None:
    """Its environment was made with a Python that the machine does not have."""
    state = Path(os.environ["HOTDESK_STATE"])
    with far_machine(tmp_path / "far") as far:
        assert hotdesk("up", "blue").returncode == 0
        assert hotdesk("ssh", "blue", "--", "echo mine > notes.txt").returncode == 0
        assert hotdesk("stop", "blue").returncode == 0
        [cfg] = state.glob("**/disks/blue/env/pyvenv.cfg")
        cfg.write_text(re.sub(r"(?m)^version = .*$", "version = 3.9.1", cfg.read_text()))
        for link in (cfg.parent / "bin").glob("python*"):
            link.unlink()
            link.symlink_to("/usr/bin/python3.9")
        to = ("--host", far.name, "--folder", far.address["folder"], "--host-key", far.fingerprint)
        moved = hotdesk("move", "blue", *to, "--yes", timeout=SECONDS)
        assert moved.returncode == 0, moved.stderr
        shown = hotdesk("show", "blue")
        assert "uses Python 3.9" in shown.stdout, "what does not fit is said"
        assert hotdesk("ssh", "blue", "--", "cat notes.txt").stdout == "mine\n"
        home_again = hotdesk("move", "blue", "--provider", "local", "--yes", timeout=SECONDS)
        assert home_again.returncode == 0, home_again.stderr
        assert not Path(far.address["folder"]).exists(), "hotdesk itself has left the machine, too"
        assert hotdesk("down", "blue", "--yes").returncode == 0
