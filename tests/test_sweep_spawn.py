"""How a sweep's runner begins a task's command, and that nobody else takes the status with which it ends."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from hotdesk.guest.sweep_attempts import Attempts, Running
from hotdesk.guest.sweep_processes import children, is_zombie
from hotdesk.guest.sweep_spawn import spawn, wait

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc on this computer")


def said_by(argv: list[str], environment: dict[str, str], folder: Path) -> tuple[int | None, str]:
    log = os.open(folder / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        status = wait(spawn(argv, environment, log))
    finally:
        os.close(log)
    return status, (folder / "log").read_text()


def test_a_command_has_a_session_and_no_file_of_the_runner(tmp_path: Path) -> None:
    program = (
        "import json, os\n"
        "print(json.dumps([os.getsid(0) == os.getpid(), os.readlink('/proc/self/fd/0'),"
        " sorted(map(int, os.listdir('/proc/self/fd')))[:4], os.environ.get('ODD'), os.getcwd()]))"
    )
    with Path("/dev/null").open("rb"):  # a file that is open here
        environment = {"ODD": "ü=\n'\"$(x)", "PYTHONDONTWRITEBYTECODE": "1"}
        status, said = said_by([sys.executable, "-c", program], environment, tmp_path)
    leads, stdin, files, odd, folder = json.loads(said)
    assert status == 0
    assert (leads, stdin, files[:3], odd, folder) == (
        True, "/dev/null", [0, 1, 2], environment["ODD"], str(Path.cwd()),
    )  # fmt: skip
    assert files[3:] in ([], [3])  # (3: the listing itself)


def test_a_broken_pipe_ends_a_command_though_python_ignores_it(tmp_path: Path) -> None:
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN
    status, _ = said_by(["/bin/sh", "-c", "kill -PIPE $$; echo lives"], {}, tmp_path)
    assert status == 128 + signal.SIGPIPE


def test_what_cannot_be_begun_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        said_by([str(tmp_path / "absent")], {}, tmp_path)
    for argv, environment in ((["/bin/echo", "a\0b"], {}), (["/bin/echo"], {"A": "\0"})):
        with pytest.raises(ValueError, match="null byte"):
            said_by(argv, environment, tmp_path)


def test_tidying_takes_no_status_of_a_command_that_is_being_begun(tmp_path: Path) -> None:
    """1. A command is begun, and fails at once. 2. Before its thread has noted its process id, the runner
    reaps what tasks have left. 3. It has failed all the same."""
    attempts = Attempts(str(tmp_path), {"grace_seconds": 1.0}, dict(os.environ))
    attempts.running[1] = Running({"task": 1, "attempt": 1}, 0, 0.0)
    log = os.open(os.devnull, os.O_WRONLY)
    pid = spawn(["/bin/sh", "-c", "exit 3"], {}, log)
    os.close(log)
    while not is_zombie(pid):
        pass
    attempts.tidy()
    assert wait(pid) == 3


def test_tidying_reaps_what_nobody_waits_for(tmp_path: Path) -> None:
    attempts = Attempts(str(tmp_path), {"grace_seconds": 1.0}, dict(os.environ))
    attempts.running[1] = Running({"task": 1, "attempt": 1}, os.getpid(), 0.0)
    log = os.open(os.devnull, os.O_WRONLY)
    pid = spawn(["/bin/sh", "-c", "exit 3"], {}, log)
    os.close(log)
    while not is_zombie(pid):
        pass
    attempts.tidy()
    assert pid not in children()
    assert wait(pid) is None


def test_a_status_that_somebody_else_took_is_what_the_shell_has_written(tmp_path: Path) -> None:
    attempts = Attempts(str(tmp_path), {"grace_seconds": 1.0}, dict(os.environ))
    one = Running({"task": 1, "attempt": 2}, 0, 0.0)
    attempts.running[1] = one
    (tmp_path / "out" / "000001.status").write_text("2 7\n")
    attempts._see_to_the_end(one, lambda pid: None)
    assert one.ended is not None
    assert (one.ended["exit_status"], one.ended["why"]) == (7, "")
