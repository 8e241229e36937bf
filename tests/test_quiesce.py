"""Before a desk's files leave a machine, what runs there is ended, and nothing else."""

from __future__ import annotations

import os
import subprocess
import uuid
from contextlib import ExitStack
from pathlib import Path

import pytest

from hotdesk.guest import quiesce
from tests.local_rig import wait_for

#: Of which desk, and what runs: each says a line once it does.
RUNS = {
    "plain": ("mine", "echo; exec sleep 300"),
    "deaf": ("mine", "trap '' TERM HUP; echo; while :; do sleep 0.1; done"),
    "another desk's": ("another", "echo; exec sleep 300"),
    "the system's": ("mine", "echo; exec -a 'sshd: me@notty' sleep 300"),
}


@pytest.mark.slow
@pytest.mark.tools("bash")
def test_what_runs_at_a_desk_is_ended_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiesce, "ASKED_SECONDS", 2.0)
    marks = {whose: uuid.uuid4().hex for whose in ("mine", "another")}
    with ExitStack() as stack:
        started = {}
        for name, (whose, line) in RUNS.items():
            process = started[name] = subprocess.Popen(
                ["bash", "-c", line], env={**os.environ, quiesce.MARK: marks[whose]}, stdout=subprocess.PIPE
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
        system = started["the system's"].pid
        wait_for(lambda: Path(f"/proc/{system}/cmdline").read_bytes().startswith(b"sshd: "), 60)
        assert quiesce.end(marks["mine"]) == []
        ended = {name for name, process in started.items() if process.poll() is not None}
    assert ended == {"plain", "deaf"}
