"""A person's own hooks at a desk: run when it is up and before it stops, for so long, never in the way."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hotdesk.guest import hooks, job_files
from tests.conftest import Command
from tests.local_rig import tool, wait_for

ENVIRONMENT = {"PATH": os.environ["PATH"], "GREETING": "hello"}


def write(home: Path, name: str, text: str) -> Path:
    hook = home / ".hotdesk" / "hooks" / name
    hook.parent.mkdir(parents=True, exist_ok=True)
    hook.write_text(text)
    hook.chmod(0o755)
    return hook


def test_a_hook_runs_at_home_and_what_it_prints_is_logged(tmp_path: Path) -> None:
    write(tmp_path, "parking", '#!/bin/sh\necho "$GREETING $HOTDESK_HOOK $PWD"; echo bad >&2; exit 3\n')
    said = hooks.run(str(tmp_path), "parking", 10.0, ENVIRONMENT)
    assert "hooks/parking ended with 3 after " in said
    log = (tmp_path / ".hotdesk" / "hooks" / "log").read_text()
    assert f"hello parking {tmp_path}\nbad\n" in log
    assert log.startswith("== parking, ")
    assert "ended with 3" in log


def test_a_hook_that_does_not_end_is_ended_with_all_that_it_began(tmp_path: Path) -> None:
    write(tmp_path, "parking", "#!/bin/sh\nsleep 611 & echo $! > child\nsleep 611\n")
    began = time.monotonic()
    assert "the time was over" in hooks.run(str(tmp_path), "parking", 0.5, ENVIRONMENT)
    assert time.monotonic() - began < 60
    child = int((tmp_path / "child").read_text())
    wait_for(lambda: not Path(f"/proc/{child}/cwd").exists(), 5)


@pytest.mark.parametrize("kind", ["absent", "no program", "a folder", "no interpreter", "no log"])
def test_what_cannot_be_run_is_in_nobodys_way(tmp_path: Path, kind: str) -> None:
    if kind == "a folder":
        (tmp_path / ".hotdesk" / "hooks" / "parking").mkdir(parents=True)
    elif kind != "absent":
        hook = write(
            tmp_path, "parking", "#!/no/such/program\n" if kind == "no interpreter" else "#!/bin/sh\n"
        )
        if kind == "no program":
            hook.chmod(0o644)
        if kind == "no log":
            (hook.parent / "log").mkdir()
    said = hooks.run(str(tmp_path), "parking", 5.0, ENVIRONMENT)
    assert said == "" if kind in {"absent", "no program"} else "could not be run" in said


def test_the_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    log = write(tmp_path, "parking", "#!/bin/sh\n").with_name("log")
    log.write_bytes(b"x" * (hooks.LOG_BYTES + 1))
    hooks.run(str(tmp_path), "parking", 5.0, ENVIRONMENT)
    assert log.stat().st_size < 1000


def test_only_a_machine_that_has_not_begun_it_begins_the_ready_hook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "HOME", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["/no/such/runner"])
    begun: list[list[str]] = []
    monkeypatch.setattr(hooks.subprocess, "Popen", lambda argv, **more: begun.append(argv))
    write(tmp_path, "ready", "#!/bin/sh\n")
    for start in ("1.0", "1.0", "2.0"):
        monkeypatch.setenv("HOTDESK_STARTED_AT", start)
        assert hooks.ready() == 0
    assert len(begun) == 2
    assert job_files.place() == (tmp_path / ".hotdesk" / "hooks" / ".ready").read_text()


@tool("ssh")
def test_a_desk_runs_its_hooks_when_it_is_up_and_before_it_stops(hotdesk: Command, tmp_path: Path) -> None:
    """1. ready, once, and again after a stop. 2. parking, while what runs there runs; its work is saved."""
    assert hotdesk("up", "blue").returncode == 0
    home = tmp_path / "state" / "local" / "disks" / "blue" / "home"
    write(home, "ready", "#!/bin/sh\necho up >> seen\nsleep 300 & echo $! > server\n")
    write(home, "parking", '#!/bin/sh\nkill -0 "$(cat server)" && echo parking >> seen\nexit 9\n')

    def seen() -> list[str]:
        return (home / "seen").read_text().splitlines() if (home / "seen").exists() else []

    for _ in range(2):
        assert hotdesk("up", "blue").returncode == 0
    wait_for(lambda: seen() == ["up"])
    assert hotdesk("stop", "blue", "--yes").returncode == 0
    assert seen() == ["up", "parking"]
    assert hotdesk("start", "blue").returncode == 0
    wait_for(lambda: seen() == ["up", "parking", "up"])
    parked = hotdesk("park", "blue", "--yes")
    assert parked.returncode == 0, parked.stderr
    assert hotdesk("resume", "blue").returncode == 0
    wait_for(lambda: len(seen()) == 5)
    assert seen() == ["up", "parking", "up", "parking", "up"], "what it wrote is in the image"
